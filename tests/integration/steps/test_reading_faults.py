"""A fault while files are read: ours fails the run, the file's holds the file until another day."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import poison_guard
from poison_guard import Guard
from poison_guard.errors import ReadError
from poison_guard.ingest import read
from poison_guard.ingest.raw_table import NotRead, Unreadable
from poison_guard.steps.opening import open_feed
from poison_guard.steps.run import ingest
from poison_guard.store.reading import find_records
from tests.integration.steps.conftest import answers, put

NOW = dt.datetime.now(dt.UTC)
_real = read.read_in_child


def fail(monkeypatch, error: Exception | None, name: str = "b.csv") -> list[str]:
    """Let the reading of one file fail; return the names of the files that are read from now on."""
    names: list[str] = []

    def faulty(path: Path, *args, **kwargs):
        names.append(path.name)
        if path.name == name and error is not None:
            raise error
        return _real(path, *args, **kwargs)

    monkeypatch.setattr(read, "read_in_child", faulty)
    return names


def run(guard: Guard, days: int = 0):
    with open_feed(guard.contract, guard.settings) as feed:
        return ingest(feed, None, NOW + dt.timedelta(days=days))


def stored(guard: Guard) -> set[str]:
    """Return the ids of the readable records, and ``b.csv`` where it is held as a file that cannot be read."""
    with open_feed(guard.contract, guard.settings) as feed:
        rows = find_records(feed.store, "quiz")
    return {
        "b.csv" if not readable else name for name, readable in zip(rows["record_id"], rows["readable"], strict=True)
    }


@pytest.fixture
def inbox(guard) -> Path:
    """A folder with two files; it has the ids of their records in `a` and `b`."""
    put(guard.home, answers(200, 1), "a.csv")
    return put(guard.home, answers(150, 2), "b.csv").parent


A, B = set(answers(200, 1)["id"]), set(answers(150, 2)["id"])


def test_a_fault_of_ours_stores_nothing_and_the_next_run_stores_what_an_undisturbed_one_would(
    guard, inbox, monkeypatch
):
    fail(monkeypatch, NotRead("No space left on device"))
    for _ in range(2):
        with pytest.raises(
            ReadError, match=r"b\.csv could not be read: No space left on device; nothing of this batch"
        ):
            run(guard)
        assert stored(guard) == set()
    fail(monkeypatch, None)
    assert run(guard).counts["received"] == 350
    assert stored(guard) == A | B


def test_a_file_that_cannot_be_read_is_tried_once_a_day_and_taken_in_once_it_can_be(guard, inbox, monkeypatch):
    names = fail(monkeypatch, Unreadable("it is odd"))
    first = run(guard)
    assert (first.counts["received"], first.counts["unreadable"]) == (201, 1)
    for _ in range(3):
        run(guard)
    assert names == ["a.csv", "b.csv"]
    assert stored(guard) == A | {"b.csv"}
    for _ in range(3):
        assert run(guard, days=1).run_id != first.run_id
    assert names == ["a.csv", "b.csv", "b.csv"]
    names = fail(monkeypatch, None)
    run(guard, days=1)
    assert names == []
    run(guard, days=2)
    run(guard, days=3)
    assert names == ["b.csv"]
    assert stored(guard) == A | B | {"b.csv"}


def test_a_file_that_could_not_be_read_is_read_at_once_when_a_person_names_it(guard, inbox, monkeypatch):
    fail(monkeypatch, Unreadable("it is odd"))
    run(guard)
    fail(monkeypatch, None)
    guard.ingest(str(inbox / "b*.csv"))
    assert stored(guard) == A | B | {"b.csv"}


WITHOUT_RIGHTS = """
import ctypes, os, sys
if os.geteuid() == 0:  # root writes everywhere, unless it gives up CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
    for right in (1, 2):
        assert ctypes.CDLL(None).prctl(24, right, 0, 0, 0) == 0, "rights cannot be given up here"
os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])  # from here on they are given up
"""
COMMANDS = """
import sys
from poison_guard.cli import cli
for line in sys.argv[1:]:
    try:
        cli.main(line.split("|"))
    except SystemExit as end:
        print(f"{line.split('|')[0]} ended with {end.code or 0}", flush=True)
"""
READS = ("status", "audit verify", "review list --feed quiz.toml", "scan --feed quiz.toml inbox/quiz/a.csv")


@pytest.mark.parametrize("left_by_a_kill", [False, True], ids=["closed", "killed"])
def test_a_home_that_may_only_be_read_is_read(left_by_a_kill):
    place = Path(tempfile.mkdtemp(prefix="poison-guard-"))
    try:
        place.chmod(0o755)
        (place / "quiz.toml").write_text(QUIZ)
        guard = Guard.open(place / "quiz.toml", home=place / "home")
        put(place, answers(200, 1), "a.csv")
        guard.ingest()
        if left_by_a_kill:
            write_and_die = "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('create table x (y)')"
            subprocess.run(
                [sys.executable, "-c", write_and_die + "; c.commit(); os._exit(0)", str(place / "home" / "store.db")],
                check=True,
            )
            assert (place / "home" / "store.db-wal").stat().st_size
        for path in (place, *place.rglob("*")):
            path.chmod(0o500 if path.is_dir() else 0o400)
        before = sorted(path.name for path in place.rglob("*"))
        home = str(place / "home")
        lines = [
            [str(place / part) if part.endswith((".toml", ".csv")) else part for part in line.split()] for line in READS
        ]
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_RIGHTS, COMMANDS, *("|".join([*line, "--home", home]) for line in lines)],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env={"PYTHONPATH": str(Path(poison_guard.__file__).parents[1]), "PATH": os.defpath, "HOME": "/nowhere"},
        )
        ends = [line.rsplit(" ended with ", 1) for line in done.stdout.splitlines() if " ended with " in line]
        assert [(name, code in "01") for name, code in ends] == [(line[0], True) for line in lines], done.stderr
        assert "Traceback" not in done.stderr
        assert sorted(path.name for path in place.rglob("*")) == before
    finally:
        shutil.rmtree(place)


QUIZ = """
name = "quiz"
kind = "answers"
[data]
path = "inbox/quiz/*.csv"
[columns]
record_id = "id"
source_id = "user"
item_id = "word"
answer = "said"
"""
