"""The child that reads: what an object did holds the object, what failed around it fails the run, memory is bounded."""

from __future__ import annotations

import datetime as dt
import errno
import gzip
import json
import os
import resource
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import fsspec
import pytest

from poison_guard.errors import DataError, ReadError
from poison_guard.ingest import collect as module
from poison_guard.ingest import objects, reader
from poison_guard.ingest.collect import collect_frames, failed_digest
from poison_guard.ingest.raw_table import Limits, NotRead, Unreadable
from poison_guard.ingest.reader import ChildReader, read_in_child
from tests.unit.ingest.conftest import NOW, accounted, contract_of

GOOD = "id,user,item,answer\n1,u,w,a\n2,v,w,b\n"


@pytest.fixture
def good(tmp_path) -> Path:
    path = tmp_path / "good.csv"
    path.write_text(GOOD)
    return path


@pytest.fixture
def child() -> Iterator[ChildReader]:
    with closing(ChildReader()) as child:
        yield child


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    """Let the next children run some code before they read; files named in it live in the test's folder."""

    def run(code: str) -> None:
        script = tmp_path / "faulty.py"
        script.write_text(
            "import errno, os, signal, sys, time\nfrom pathlib import Path\nimport poison_guard.ingest.child as child\n"
            f"folder = Path({str(tmp_path)!r})\nread = child._read\n"
            + textwrap.dedent(code)
            + "\nchild._read = faulty\nchild.main()\n"
        )
        monkeypatch.setattr(reader, "_COMMAND", (sys.executable, "-P", str(script)))

    return run


def test_one_child_reads_all_files(child, good):
    child.read(good, "csv", Limits())
    pid = child._child.pid
    for _ in range(3):
        child.read(good, "csv", Limits())
    assert child._child.pid == pid


def test_no_child_is_started_where_nothing_is_new(good, tmp_path, monkeypatch):
    batch = collect_frames(contract_of(), [str(good)], home=tmp_path, received_at=NOW)
    monkeypatch.setattr(reader, "read_in_child", lambda *_: pytest.fail("a child was asked"))
    monkeypatch.setattr(reader, "_start", lambda: pytest.fail("a child was started"))
    seen = {ref.digest for ref in batch.objects}
    assert not collect_frames(contract_of(), [str(good)], home=tmp_path, received_at=NOW, seen=seen).objects


def test_a_child_that_ended_for_lack_of_requests_is_started_again(child, good, faulty):
    faulty("child._IDLE_SECONDS = 0.2\nfaulty = read\n")
    first = child.read(good, "csv", Limits())
    child._child.wait(timeout=20)
    assert child.read(good, "csv", Limits()).table.equals(first.table)


def test_a_process_that_was_forked_starts_a_child_of_its_own(good):
    read_in_child(good, "csv", Limits())
    pid = os.fork()
    if pid == 0:
        started = reader._READER._child is None
        os._exit(0 if started and read_in_child(good, "csv", Limits()).table.num_rows == 2 else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert read_in_child(good, "csv", Limits()).table.num_rows == 2


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_child_that_is_killed_from_outside_fails_the_run(child, good, faulty, name):
    faulty(f"def faulty(*_): os.kill(os.getpid(), signal.{name})\n")
    with pytest.raises(NotRead, match=rf"ended from outside \({name}\)"):
        child.read(good, "csv", Limits())


def test_the_kill_of_a_child_that_waits_is_noticed_and_the_next_read_works(child, good):
    child.read(good, "csv", Limits())
    child._child.kill()
    with pytest.raises(NotRead, match="SIGKILL"):
        child.read(good, "csv", Limits())
    assert child.read(good, "csv", Limits()).table.num_rows == 2


def test_a_child_that_cannot_start_fails_the_run(child, good, faulty):
    faulty("sys.exit(3)\n")
    with pytest.raises(NotRead, match="exit status 3"):
        child.read(good, "csv", Limits())


def test_a_file_that_crashes_two_fresh_processes_is_unreadable(child, good, faulty):
    faulty("def faulty(*_): os.kill(os.getpid(), signal.SIGSEGV)\n")
    with pytest.raises(Unreadable, match=r"crashed twice \(SIGSEGV\)"):
        child.read(good, "csv", Limits())


def test_a_crash_that_does_not_come_again_costs_nothing(child, good, faulty):
    faulty(
        """
        def faulty(*args):
            if not (folder / "once").exists():
                (folder / "once").touch()
                os.kill(os.getpid(), signal.SIGSEGV)
            return read(*args)
        """
    )
    assert child.read(good, "csv", Limits()).table.num_rows == 2


def test_a_file_that_computes_for_too_long_is_unreadable_and_one_that_waits_fails_the_run(child, good, faulty):
    faulty("def faulty(*_):\n    while True: pass\n")
    with pytest.raises(Unreadable, match="takes more than 1 s of computing"):
        child.read(good, "csv", Limits(cpu_seconds=1.0))
    faulty("def faulty(*_): time.sleep(60)\n")
    with pytest.raises(NotRead, match="the machine is busy"):
        child.read(good, "csv", Limits(seconds=0.5))


@pytest.mark.parametrize("name", ["ENOSPC", "EMFILE", "ENFILE", "EIO", "ENOMEM", "EDQUOT", "EFBIG"])
def test_what_the_machine_refuses_the_child_fails_the_run(child, good, faulty, name):
    faulty(f"def faulty(*_): raise OSError(errno.{name}, os.strerror(errno.{name}))\n")
    with pytest.raises(NotRead, match=os.strerror(getattr(errno, name))):
        child.read(good, "csv", Limits())


def test_an_error_that_no_reader_foresees_holds_the_file_alone(child, good, faulty):
    faulty("def faulty(*_): raise TypeError('unhashable')\n")
    with pytest.raises(Unreadable, match="not a readable CSV file: unhashable"):
        child.read(good, "csv", Limits())


def test_a_file_that_takes_too_much_memory_is_unreadable_unless_the_machine_has_none(child, tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    path.write_text('[{"id": "' + "y" * 11_000_000 + '"}]')
    small = Limits(memory_bytes=1 << 20)
    with pytest.raises(Unreadable, match="takes more than 1 MiB of memory"):
        child.read(path, "jsonl", small)
    child.close()
    monkeypatch.setattr(reader, "free_memory", lambda: 0)
    with pytest.raises(NotRead, match="the machine has not enough memory left"):
        child.read(path, "jsonl", small)


def test_a_used_process_that_is_short_of_memory_is_no_reason_to_refuse(child, good, faulty):
    faulty(
        """
        count = 0
        def faulty(*args):
            global count
            count += 1
            if count == 2:
                raise MemoryError
            return read(*args)
        """
    )
    child.read(good, "csv", Limits())
    assert child.read(good, "csv", Limits()).table.num_rows == 2


@contextmanager
def limit(kind: int, value: int) -> Iterator[None]:
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


def test_no_file_handle_left_fails_the_run(good, tmp_path):
    with limit(resource.RLIMIT_NOFILE, 3), pytest.raises(NotRead, match="Too many open files"):
        ChildReader().read(good, "csv", Limits())
    with limit(resource.RLIMIT_NOFILE, 3), pytest.raises(ReadError, match=r"Too many open files.*nothing of this"):
        collect_frames(contract_of(), [str(good), str(good)], home=tmp_path, received_at=NOW)


def test_a_file_system_that_takes_no_more_bytes_fails_the_run(child, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,user\n" + "".join(f"{i},u\n" for i in range(50_000)))
    with limit(resource.RLIMIT_FSIZE, 65_536), pytest.raises(NotRead, match="File too large"):
        child.read(path, "csv", Limits())
    child.close()
    assert child.read(path, "csv", Limits()).table.num_rows == 50_000


def test_no_folder_for_temporary_files_fails_the_run(good, tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(reader.tempfile, "mkdtemp", full)
    with pytest.raises(ReadError, match=f"{good.name} could not be read: No space left on device; nothing of this"):
        collect_frames(contract_of(), [str(good)], home=tmp_path, received_at=NOW)


@pytest.mark.parametrize(
    "error", [ConnectionResetError(104, "reset"), TimeoutError("slow"), RuntimeError("503"), MemoryError()]
)
def test_a_network_that_fails_is_no_fault_of_the_object(tmp_path, monkeypatch, error):
    fsspec.filesystem("memory").pipe("/net/a.csv", GOOD.encode())

    def broken(*_args, **_kwargs):
        raise error

    listed = objects.resolve_paths(["memory://net/*.csv"], Limits(), by_hand=True)
    monkeypatch.setattr(objects.fsspec, "open", broken)
    with pytest.raises(ReadError, match=r"memory:///net/a\.csv could not be read") as raised:
        collect_frames(contract_of(), ["memory://net/*.csv"], home=tmp_path, received_at=NOW)
    assert raised.value.exit_code == 4
    monkeypatch.setattr(module, "resolve_paths", lambda *_, **__: listed)
    with pytest.raises(ReadError, match=r"memory:///net/a\.csv could not be read"):
        collect_frames(contract_of(), ["memory://net/*.csv"], home=tmp_path, received_at=NOW)
    fsspec.filesystem("memory").rm("/net", recursive=True)


def test_an_object_that_could_not_be_read_is_tried_again_the_next_day_or_by_hand(tmp_path, monkeypatch):
    contract = contract_of(path=str(tmp_path / "*.csv"))
    (tmp_path / "bad.csv").write_text("id,id\n1,2\n")
    (tmp_path / "good.csv").write_text(GOOD)
    batch = collect_frames(contract, None, home=tmp_path, received_at=NOW)
    bad, fine = batch.objects
    assert batch.unreadable["code"].tolist() == ["unreadable_object"]
    seen = {fine.digest, failed_digest(contract, bad, NOW)}

    def tried(source: list[str] | None = None, at: dt.datetime = NOW) -> bool:
        return bool(collect_frames(contract, source, home=tmp_path, received_at=at, seen=seen).objects)

    assert not tried()
    assert tried([str(tmp_path / "*.csv")])
    assert tried(at=NOW + dt.timedelta(days=1))
    (tmp_path / "bad.csv").write_text("id,id\n1,3\n")
    assert tried()
    (tmp_path / "bad.csv").write_text("id,id\n1,2\n")
    assert not tried()
    monkeypatch.setattr(module, "READER_FORMAT", module.READER_FORMAT + 1)
    assert tried()


def test_a_link_is_followed_in_the_feeds_own_folders_and_held_by_name_elsewhere(tmp_path, good):
    inbox, outside = tmp_path / "home" / "inbox", tmp_path / "outside.csv"
    inbox.mkdir(parents=True)
    outside.write_text(GOOD.replace("1,u", "9,x"))
    (tmp_path / "home" / "kept.csv").write_text(GOOD)
    (inbox / "in.csv").symlink_to(tmp_path / "home" / "kept.csv")
    (inbox / "out.csv").symlink_to(outside)
    (inbox / "nowhere.csv").symlink_to(tmp_path / "missing.csv")
    batch = collect_frames(contract_of(), [str(inbox / "*.csv")], home=tmp_path / "home", received_at=NOW)
    assert sorted(batch.records["record_id"]) == ["1", "2"]
    whys = {
        Path(uri).name: args["why"]
        for uri, args in zip(batch.unreadable["object"], batch.unreadable["args"], strict=True)
    }
    assert whys.keys() == {"out.csv", "nowhere.csv"}
    assert whys["out.csv"] == f"it is a link to {outside}, which is no file in the feed's own folders"
    assert accounted(batch)


def test_a_single_path_that_cannot_be_listed_is_named(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        collect_frames(contract_of(), [str(tmp_path / "missing.csv")], home=tmp_path, received_at=NOW)


PEAK = """
import json, resource, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from poison_guard.ingest.collect import collect_frames
from poison_guard.ingest.reader import _READER
from tests.unit.ingest.conftest import NOW, contract_of
folder = Path({folder!r})
def status(pid, key):
    lines = Path(f"/proc/{{pid}}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) // 1024
def read(name):
    return collect_frames(contract_of(), [str(folder / name)], home=folder, received_at=NOW)
read("small.*")
idle, child = status("self", "VmHWM"), status(_READER._child.pid, "VmHWM")
batch = read("bomb.*")
taken = status("self", "VmHWM") - idle, status(_READER._child.pid, "VmHWM") - child
print(json.dumps([*taken, len(batch.records) + batch.duplicates]))
"""


def wide_row(n: int) -> str:
    return "{" + ", ".join(f'"k{i}": {i}' for i in range(n)) + "}\n"


@pytest.mark.parametrize(
    ("name", "content", "records"),
    [
        ("bomb.jsonl.gz", gzip.compress((wide_row(250) + '{"id":"k","user":"u"}\n' * 100_000).encode()), 100_000),
        ("bomb.jsonl.gz", gzip.compress(b"{}\n" * 2_000_000), 0),
        ("bomb.jsonl", b'{"id": [' + b"[]," * 3_000_000 + b"[]]}\n" + b'{"id": "h", "user": "u"}\n' * 2, 2),
        ("bomb.csv.gz", gzip.compress(GOOD[:20].encode() + b"\n" + b"," * 3 + b"\n" + b",,,\n" * 3_000_000), 0),
    ],
    ids=["a wide row and many narrow", "empty rows", "a row of three million lists", "empty cells"],
)
def test_no_file_takes_more_than_600_mb_above_idle(tmp_path, name, content, records):
    (tmp_path / "small.csv").write_text(GOOD)
    (tmp_path / name).write_bytes(content)
    code = PEAK.format(root=str(Path(__file__).parents[3]), folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    guard, child, found = json.loads(done.stdout)
    assert found >= records
    assert guard + child < 600
