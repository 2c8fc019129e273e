"""CPU seconds and peak memory of `Guard.ingest`, Parquet to stored, by stage, for each kind of record.

    python benchmarks/speed.py [--rows 1000000] [--kinds telemetry answers messages] [--write] [--profile FOLDER]
    python benchmarks/speed.py --parts [--rows 200000]

The unit is what scikit-learn's IsolationForest (100 trees of 256 samples, one job) takes to score 1,000,000 x 16
float32 standard normals in the same process, after the run; ratios are per million records. One thread, a fresh process
and home a kind. Records are honest; a run includes the child that reads the file, imports, and all writing.

``--parts`` measures what a run is made of, each part alone, in CPU seconds a million rows and in units.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import hashlib
import json
import os
import pstats
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.frames import among
from poison_guard.store import seals

RESULTS = Path(__file__).parent / "results" / "speed.md"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "ARROW_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
STAGES = ("collect", "validate", "score", "reduce", "decide", "commit")
WANTED = {"telemetry": 4, "answers": 3, "messages": 8}
"""Units a million records that the figures ask for."""
N_TRUSTED = 6_000
FEATURES = [f"f{i}" for i in range(16)]
CONTRACT = """
name = "bench"
kind = "{kind}"
[columns]
record_id = "id"
source_id = "source"
observed_at = "at"
{more}
"""
MORE = {
    "telemetry": f"features = {json.dumps(FEATURES)}",
    "answers": 'item_id = "item"\nanswer = "answer"\n[controls]\npath = "controls.csv"',
    "messages": 'text = "text"',
}


def common(n: int, seed: int, sources: int) -> pd.DataFrame:
    """Return ids, sources and times of `n` records of a day."""
    rng = np.random.default_rng([seed, n])
    at = pd.Timestamp("2026-03-01", tz="UTC") + pd.to_timedelta(rng.integers(0, 86_400_000, n), unit="ms")
    return pd.DataFrame(
        {
            "id": [f"r{seed}-{i:08d}" for i in rng.permutation(n)],
            "source": [f"u{k:07d}" for k in rng.integers(0, max(1, sources), n)],
            "at": at,
        }
    )


def telemetry(n: int, seed: int) -> pd.DataFrame:
    """Return sessions of n/10 devices with 16 skewed features that depend on each other."""
    rng, mix = np.random.default_rng([seed, n, 1]), np.random.default_rng(0).normal(size=(6, 16))
    x = np.exp(0.4 * rng.normal(size=(n, 6)) @ mix + 0.2 * rng.normal(size=(n, 16)))
    return common(n, seed, n // 10).join(pd.DataFrame(x, columns=FEATURES))


def answers(n: int, seed: int) -> pd.DataFrame:
    """Return answers of n/50 people, right four times of five, about n/5 items; ten words are possible."""
    rng = np.random.default_rng([seed, n, 2])
    items = rng.integers(0, max(1, n // 5), n)
    right = rng.random(n) < 0.8
    words = np.where(right, items % 10, rng.integers(0, 10, n))
    frame = common(n, seed, n // 50)
    return frame.assign(item=[f"i{k:07d}" for k in items], answer=[f"word{k}" for k in words])


def messages(n: int, seed: int) -> pd.DataFrame:
    """Return messages of n/10 people: 6 to 18 words of a vocabulary of 20,000 by Zipf's law."""
    rng = np.random.default_rng([seed, n, 3])
    made = np.random.default_rng(0)
    vocabulary = np.array(
        ["".join(made.choice(list("abcdefghijklmnoprstuvw"), k)) for k in made.integers(3, 10, 20_000)]
    )
    lengths = rng.integers(6, 19, n)
    words = vocabulary[np.minimum(rng.zipf(1.2, lengths.sum()), 10**9) % len(vocabulary)]
    ends = np.cumsum(lengths)
    texts = [" ".join(words[end - k : end]) for k, end in zip(lengths, ends, strict=True)]
    return common(n, seed, n // 10).assign(text=texts)


WORLDS: dict[str, Callable[[int, int], pd.DataFrame]] = {
    "telemetry": telemetry,
    "answers": answers,
    "messages": messages,
}


def cpu() -> float:
    """Return the CPU seconds of this process and of its children that ended."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


@contextlib.contextmanager
def stages_timed() -> Iterator[dict[str, float]]:
    """Count the CPU seconds of each stage of a run while the block lasts; what is in none of them is `rest`."""
    from poison_guard.steps import run

    spent: dict[str, float] = dict.fromkeys(STAGES, 0.0)

    def timed(name: str, stage: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            before = cpu()
            try:
                return stage(*args, **kwargs)
            finally:
                spent[name] += cpu() - before

        return call

    kept = {name: getattr(run, name) for name in STAGES}
    for name, stage in kept.items():
        setattr(run, name, timed(name, stage))
    try:
        yield spent
    finally:
        for name, stage in kept.items():
            setattr(run, name, stage)


def forest_unit() -> float:
    """Return the CPU seconds of an isolation forest that scores 1M x 16."""
    from sklearn.ensemble import IsolationForest

    x = np.random.default_rng(0).normal(size=(1_000_000, 16)).astype(np.float32)
    forest = IsolationForest(n_estimators=100, max_samples=256, n_jobs=1, random_state=0).fit(x[:10_000])
    before = time.process_time()
    forest.score_samples(x)
    return time.process_time() - before


def measure(kind: str, rows: int, folder: Path, profile: Path | None) -> dict[str, Any]:
    """Return what one run over a file of `rows` records cost."""
    from poison_guard import Guard

    (folder / "bench.toml").write_text(CONTRACT.format(kind=kind, more=MORE[kind]), encoding="utf-8")
    data = folder / "batch.parquet"
    WORLDS[kind](rows, 2).to_parquet(data)
    if kind == "answers":
        known = np.arange(0, max(1, rows // 5), 50)
        controls = pd.DataFrame({"item_id": [f"i{k:07d}" for k in known], "answer": [f"word{k % 10}" for k in known]})
        controls.to_csv(folder / "controls.csv", index=False)
    guard = Guard.open(folder / "bench.toml", home=folder / "home")
    if kind != "answers":
        guard.trust(WORLDS[kind](N_TRUSTED, 1), by="bench", reason="made by the benchmark")
    before, wall, at_start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter(), cpu()
    profiler = cProfile.Profile(time.process_time) if profile else None
    with stages_timed() as spent, profiler or contextlib.nullcontext():
        result = guard.ingest(data)
    total = cpu() - at_start
    if profiler and profile:
        profiler.dump_stats(profile)
    return {
        "kind": kind,
        "rows": rows,
        "cpu_s": total,
        "wall_s": time.perf_counter() - wall,
        "stages": spent | {"rest": total - sum(spent.values())},
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "before_mb": before / 1024,
        "held": int((result.decisions["action"] != "accept").sum()),
        "store_mb": (folder / "home" / "store.db").stat().st_size / 2**20,
    }


def one(kind: str, rows: int, profile: Path | None) -> dict[str, Any]:
    """Measure in this process, then the unit."""
    with tempfile.TemporaryDirectory() as folder:
        found = measure(kind, rows, Path(folder), profile)
    unit = forest_unit()
    return found | {"unit_s": unit, "ratio": found["cpu_s"] / unit / rows * 1e6}


def in_fresh_process(kind: str, rows: int) -> dict[str, Any]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--one", kind, "--rows", str(rows)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | ONE_THREAD)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def as_line(m: dict[str, Any]) -> str:
    """Return a row of the table."""
    per = 1e6 / m["rows"]
    stages = " | ".join(f"{m['stages'][name] * per:.1f}" for name in (*STAGES, "rest"))
    return (
        f"| {m['kind']} | {m['rows']:,} | {m['cpu_s'] * per:.1f} | {m['unit_s']:.2f} | **{m['ratio']:.1f}** | "
        f"{WANTED[m['kind']]} | {stages} | {m['peak_mb']:,.0f} | {m['before_mb']:,.0f} | {m['store_mb']:,.0f} |"
    )


HEAD = [
    "| kind | rows | CPU s a million | unit s | units a million | wanted | "
    + " | ".join((*STAGES, "rest"))
    + " | peak MB | MB before | store MB |",
    "|---" * (9 + len(STAGES) + 1) + "|",
]


def parts(rows: int) -> dict[str, float]:
    """Return the CPU seconds a million rows of single parts, each alone: what no way of a record goes below."""
    rng, found = np.random.default_rng(0), dict[str, float]()
    frame = telemetry(rows, 2)
    names, other = frame["id"], frame["id"].sample(frac=1, random_state=0).reset_index(drop=True)
    matrix, hashes = frame[FEATURES].to_numpy(np.float32), rng.integers(0, 2**63, rows)
    row = ("bench", "run-0123456789abcdef", 5, "0" * 32, "accepted", "accept", 0.01, None, "u0000001", None, None)
    cells = [(name, *row, None, None, None, 1, None, 2, 1, 1, 0, 5) for name in names.tolist()]

    def took(name: str, part: Callable[[], Any]) -> Any:
        before = cpu()
        value = part()
        found[name] = (cpu() - before) / rows * 1e6
        return value

    with tempfile.TemporaryDirectory() as folder:
        file, raw = Path(folder) / "batch.parquet", Path(folder) / "raw"
        took("write Parquet, 16 numbers and three other columns", lambda: frame.to_parquet(file))
        took("read it", lambda: pd.read_parquet(file))
        took("write its bytes to the disk, synced", lambda: _synced(raw, file.read_bytes()))
        took("SHA-256 of them", lambda: hashlib.sha256(file.read_bytes()).digest())
        took("sort 64-bit hashes", lambda: np.sort(hashes))
        took("sort ids as text", names.sort_values)
        took("find ids among as many, by Arrow", lambda: among(names, other))
        took("find ids among as many, by Series.isin", lambda: names.isin(other))
        took("a keyed hash of each row written as text", lambda: seals.hashes_of(b"key", "records", "", cells))
        blocks, trusted = np.array_split(matrix, -(-rows // 4096)), matrix[:6_000].T
        took("multiply n x 16 by 16 x 6,000 (distances to a trusted set)", lambda: [len(b @ trusted) for b in blocks])
        for kind, indexes in (("no index", 0), ("the eight indexes of the store", 8)):
            took(f"insert rows of 22 cells into SQLite, {kind}", lambda n=indexes: _inserted(folder, cells, n))
    return found


def _synced(path: Path, body: bytes) -> None:
    with path.open("wb") as file:
        file.write(body)
        os.fsync(file.fileno())


def _inserted(folder: str, cells: list[tuple[Any, ...]], indexes: int) -> None:
    """Insert rows into a table of the shape of the store's `records`."""
    with contextlib.closing(sqlite3.connect(Path(folder) / f"{indexes}.db", isolation_level=None)) as store:
        store.execute("PRAGMA journal_mode = WAL")
        names = ", ".join(f"c{i}" for i in range(22))
        store.execute(f"CREATE TABLE records ({names}, PRIMARY KEY (c1, c0))")
        for i, column in enumerate(
            ("c1, c5", "c1, c4", "c2", "c1, c3", "c21", "c1, c9", "c1, c12", "c1, c14")[:indexes]
        ):
            store.execute(f"CREATE INDEX i{i} ON records ({column})")
        store.execute("BEGIN")
        store.executemany(f"INSERT INTO records VALUES ({', '.join('?' * 22)})", cells)
        store.execute("COMMIT")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000_000])
    parser.add_argument("--kinds", nargs="*", default=list(WORLDS), choices=list(WORLDS))
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--profile", type=Path, help="profile in this process, a file a kind in this folder")
    parser.add_argument("--parts", action="store_true", help="measure the parts of a run, each alone")
    parser.add_argument("--one", choices=list(WORLDS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(given.one, given.rows[0], None)))
        return
    if given.parts:
        unit = forest_unit()
        for name, seconds in parts(given.rows[0]).items():
            print(f"| {name} | {seconds:.2f} | {seconds / unit:.2f} |")
        return
    if given.profile:
        for kind in given.kinds:
            with tempfile.TemporaryDirectory() as folder:
                measure(kind, given.rows[0], Path(folder), given.profile / f"{kind}.prof")
            pstats.Stats(str(given.profile / f"{kind}.prof")).sort_stats("tottime").print_stats(40)
        return
    print(*HEAD, sep="\n")
    lines = []
    for rows in given.rows:
        for kind in given.kinds:
            lines.append(as_line(in_fresh_process(kind, rows)))
            print(lines[-1], flush=True)
    if given.write:
        said = " ".join((__doc__ or "").split("\n\n")[2].split())
        title = ["# `Guard.ingest`, Parquet to stored", "", "`python benchmarks/speed.py --write`. " + said, ""]
        told = ["", "Stages in CPU seconds a million records.", ""]
        RESULTS.write_text("\n".join([*title, *HEAD, *lines, *told]), encoding="utf-8")


if __name__ == "__main__":
    main()
