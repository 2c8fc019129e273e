"""Measure what hostile files cost: memory above idle of the guard and of the process that reads, computing, outcome.

`python benchmarks/bombs.py` writes `benchmarks/results/bombs.md`; each file is taken in by a fresh process.
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

RESULTS = Path(__file__).parent / "results" / "bombs.md"
LIMIT = 600
HEADER = "id,user,item,answer"


def lines(path: Path, first: str, line: str, n: int, *, zipped: bool = False) -> None:
    with gzip.open(path, "wt", compresslevel=6) if zipped else path.open("w") as file:
        file.write(first + "\n")
        for _ in range(n // 10_000):
            file.write((line + "\n") * 10_000)


def honest(n: int) -> list[str]:
    return [json.dumps({"id": f"h{i}", "user": f"u{i % 40}", "item": f"w{i % 90}", "answer": "a"}) for i in range(n)]


def wide(n: int) -> str:
    return json.dumps({"id": "x", **{f"k{i}": i for i in range(n)}})


def null_table(rows: int, columns: int) -> pa.Table:
    names = ["id", "user", "item", "answer", *(f"c{i}" for i in range(columns - 4))]
    return pa.table({name: pa.nulls(rows, pa.string()) for name in names})


def long_string(path: Path) -> None:
    rows = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100_000, np.int32)), pa.array(["x" * 500_000]))
    pq.write_table(pa.table(dict.fromkeys(("id", "user", "item", "answer"), rows)), path, compression="zstd")


def text(path: Path, rows: list[str]) -> None:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


BOMBS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "JSON: a row of 250 keys, then 80,000 of one": (
        "a.jsonl",
        lambda p: lines(p, wide(250), '{"id":"k","user":"u"}', 80_000),
    ),
    "JSON: a row of 250 keys, then 220,000 of one, gzipped": (
        "a.jsonl.gz",
        lambda p: lines(p, wide(250), '{"id":"k","user":"u"}', 220_000, zipped=True),
    ),
    "JSON: 3,000,000 empty rows, gzipped": ("a.jsonl.gz", lambda p: lines(p, "{}", "{}", 3_000_000, zipped=True)),
    "JSON: a row of 300 keys among 50 honest rows": ("a.jsonl", lambda p: text(p, [*honest(50), wide(300)])),
    "JSON: 60 MB in one row among 50 honest rows": (
        "a.jsonl",
        lambda p: text(p, [*honest(50), '{"id": "' + "x" * 60_000_000 + '"}']),
    ),
    "JSON: 4,000,000 lists in one row among 50 honest rows": (
        "a.jsonl",
        lambda p: text(p, ['{"id": [' + "[]," * 3_900_000 + "[]]}", *honest(50)]),
    ),
    "JSON: an array of 10,000,000 empty objects": (
        "a.json",
        lambda p: p.write_text("[" + "{}," * 10_000_000 + "{}]"),
    ),
    "CSV: 20,000,000 rows of 4 empty cells, gzipped": (
        "a.csv.gz",
        lambda p: lines(p, HEADER, ",,,", 20_000_000, zipped=True),
    ),
    "CSV: 250 columns, 1,000,000 rows of commas, gzipped": (
        "a.csv.gz",
        lambda p: lines(p, HEADER + "," + ",".join(f"c{i}" for i in range(246)), "," * 249, 1_000_000, zipped=True),
    ),
    "CSV: one line of 1,500 MB, gzipped": (
        "a.csv.gz",
        lambda p: lines(p, HEADER, "x" * 100, 0, zipped=True) or append_long(p),
    ),
    "CSV: 90,000 broken rows of 4,000 characters": ("a.csv", lambda p: lines(p, HEADER, "x" * 4_000, 90_000)),
    "Parquet: 5,000,000 rows of 250 null columns": (
        "a.parquet",
        lambda p: pq.write_table(null_table(100_000, 250), p) or repeat(p, 50),
    ),
    "Parquet: 20,000,000 null rows": ("a.parquet", lambda p: pq.write_table(null_table(20_000_000, 4), p)),
    "Parquet: one long string 400,000 times": ("a.parquet", long_string),
    "honest: 200,000 rows of CSV": (
        "a.csv",
        lambda p: text(p, [HEADER, *(f"h{i},u{i % 999},w{i % 5000},a{i % 7}" for i in range(200_000))]),
    ),
}


def append_long(path: Path) -> None:
    with gzip.open(path, "ab", compresslevel=6) as file:
        for _ in range(1_500):
            file.write(b"x" * 1_000_000)


def repeat(path: Path, times: int) -> None:
    table = pq.read_table(path)
    with pq.ParquetWriter(path, table.schema) as writer:
        for _ in range(times):
            writer.write_table(table)


def take_in(path: str) -> dict[str, object]:
    """Collect one file as a feed's schedule would; return memory in MB and the outcome."""
    from poison_guard.config import parse_contract
    from poison_guard.ingest.collect import collect_frames
    from poison_guard.ingest.reader import _READER

    roles = {"record_id": "id", "source_id": "user", "item_id": "item", "answer": "answer"}
    contract = parse_contract({"name": "bombs", "kind": "answers", "columns": roles, "data": {}})
    now = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    small = Path(path).with_name("small.csv")
    text(small, [HEADER, "h,u,w,a"])
    collect_frames(contract, [str(small)], home=small.parent, received_at=now)
    child = _READER._child
    assert child is not None
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child_idle = child_peak(child.pid)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime + resource.getrusage(resource.RUSAGE_SELF).ru_stime
    batch = collect_frames(contract, [f"{Path(path).parent}/a.*"], home=small.parent, received_at=now)
    after = resource.getrusage(resource.RUSAGE_SELF)
    peak = child_peak(_READER._child.pid) if _READER._child else 0
    _READER.close()
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    why = next(iter(batch.unreadable["args"]), {}).get("why", "")
    return {
        "guard": (after.ru_maxrss - idle) // 1024,
        "child": (max(peak, ended.ru_maxrss) - child_idle) // 1024,
        "cpu": round(after.ru_utime + after.ru_stime - before + ended.ru_utime + ended.ru_stime, 1),
        "records": len(batch.records) + batch.duplicates,
        "unreadable": len(batch.unreadable),
        "why": str(why)[:110],
    }


def child_peak(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(take_in(sys.argv[2])))
        return
    rows = []
    for name, (file, make) in BOMBS.items():
        if sys.argv[1:] and not any(word in name for word in sys.argv[1:]):
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / file
            make(path)
            size = path.stat().st_size / 1e6
            done = subprocess.run(
                [sys.executable, __file__, "--one", str(path)], capture_output=True, text=True, check=False
            )
        found = json.loads(done.stdout) if done.returncode == 0 else {"why": done.stderr.splitlines()[-1]}
        print(name, f"{size:.1f} MB", found, flush=True)
        rows.append((name, f"{size:,.1f}", *(found.get(k, "-") for k in ("guard", "child", "cpu")),
                     *(found.get(k, "-") for k in ("records", "unreadable", "why"))))  # fmt: skip
    head = ("file", "MB", "guard +MB", "child +MB", "CPU s", "records", "unreadable", "why")
    table = [head, tuple("---" for _ in head), *rows]
    note = (
        "# What hostile files cost\n\n`python benchmarks/bombs.py`: one file each, taken in by a fresh process; memory "
        f"is the peak above\nidle (limit {LIMIT} MB) of the guard and of the process that reads; CPU of both.\n\n"
    )
    if len(sys.argv) == 1:
        RESULTS.write_text(note + "\n".join("| " + " | ".join(map(str, row)) + " |" for row in table) + "\n")


if __name__ == "__main__":
    main()
