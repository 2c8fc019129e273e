"""`python -m poison_guard.airflow.run` as `make run` calls it: a process of its own, no scheduler."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.e2e.conftest import sessions

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]


def run(feeds: Path, home: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "poison_guard.airflow.run", "--home", str(home), "--feeds", str(feeds)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def place(trusted_sessions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `feeds` and `home`; making Airflow's database in it takes longer than all else here."""
    return shutil.copytree(trusted_sessions, tmp_path_factory.mktemp("run") / "place")


def test_it_runs_each_dag_with_one_line_on_stderr_and_says_where_to_look_next(place: Path):
    home = place / "home"
    done = run(place / "feeds", home)
    assert done.returncode == 0, done.stderr
    guarded, trained = done.stderr.splitlines()
    assert guarded.split()[0] == "guard_sessions"
    assert "250 received" in guarded
    assert trained.split() == ["retrain_sessions", "nothing", "new"]  # no labels, nothing to learn
    assert str(next((home / "reports").glob("*.html"))) in done.stdout
    assert "poison-guard review list" in done.stdout
    assert (home / "airflow" / "airflow.db").exists()


@pytest.mark.thorough
def test_a_task_that_fails_is_named_with_its_sentence(place: Path):
    home = place / "home"
    sessions(20, seed=3, prefix="n").to_csv(home / "inbox" / "day-2.csv", index=False)
    (home / "expectations").mkdir()
    (home / "expectations" / "sessions.json").write_text("{")
    done = run(place / "feeds", home)
    assert done.returncode == 4
    first, _, last = done.stderr.splitlines()
    assert first.split()[:2] == ["guard_sessions", "failed"]
    assert "collect: " in first
    message_handed_on = not version("apache-airflow").startswith("3.1.")
    assert ("sessions.json" if message_handed_on else "no message") in first
    assert last == f"a DAG failed; the whole story is in {home / 'airflow' / 'run.log'}"


def test_a_broken_contract_is_one_sentence_and_no_traceback(tmp_path: Path):
    feeds = tmp_path / "feeds"
    feeds.mkdir()
    (feeds / "chat.toml").write_text('name = "chat"\nkind = "gossip"\n[columns]\ntext = "message"\n')
    done = run(feeds, tmp_path / "home")
    assert done.returncode == 2
    assert done.stderr.startswith("error: kind must be one of answers, ratings, messages,")
    assert len(done.stderr.splitlines()) == 1
