"""Many small batches, and adversarial shapes of growing size: ``python -m tests.faults.growth``.

Each batch is a process of its own, so its CPU seconds and peak memory are those of one hourly run.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.faults import process, world
from tests.faults.lab import KEY

__all__ = ["SHAPES", "small_batches", "try_shape"]

START = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)


def small_batches(folder: Path, n: int, rows: int, *, seal_every: int = 24) -> list[dict[str, Any]]:
    """Take in `n` hourly batches of `rows` answers; return what each cost and how large the home is after it."""
    shutil.rmtree(folder, ignore_errors=True)
    home, told = folder / "home", []
    world.write_quiz(home)
    (home / "inbox" / "quiz" / "day-1.csv").unlink()
    for k in range(n):
        batch = world.answers(rows, 1000 + k, prefix=f"k{k:04d}-")
        batch.to_csv(home / "inbox" / "quiz" / f"hour-{k:04d}.csv", index=False)
        command = ["run", "--feed", "quiz", "--home", str(home)]
        now = START + dt.timedelta(hours=k)
        outcome = _timed(command, folder, now)
        sealed = (
            _timed(["seal", "--feed", "quiz", "--home", str(home)], folder, now) if (k + 1) % seal_every == 0 else None
        )
        files = [path for path in (home / "lake").rglob("*") if path.is_file()]
        row = {"batch": k + 1, "code": outcome.code, "cpu_s": round(outcome.cpu, 3), "rss_mb": round(outcome.rss_mb)}
        row |= {"store_kb": (home / "store.db").stat().st_size // 1024, "lake_files": len(files)}
        row |= {"lake_kb": sum(path.stat().st_size for path in files) // 1024}
        told.append(row | ({"seal_cpu_s": round(sealed.cpu, 3)} if sealed else {}))
    return told


def _timed(command: list[str], folder: Path, now: dt.datetime) -> process.Outcome:
    env = {"POISON_GUARD_KEY": KEY}
    return process.call(process.command(command), root=folder, logs=folder / "logs", clock=now, env=env, timeout_s=1800)


def _answers(n: int) -> pd.DataFrame:
    return world.answers(n, 1, prefix="s")


def one_source(n: int) -> pd.DataFrame:
    """Everything from one source."""
    return _answers(n).assign(user="u1")


def one_item(n: int) -> pd.DataFrame:
    """Everything about one item."""
    return _answers(n).assign(word="w1")


def all_new_sources(n: int) -> pd.DataFrame:
    """Each record from a source of its own."""
    return _answers(n).assign(user=[f"new{i}" for i in range(n)])


def all_new_items(n: int) -> pd.DataFrame:
    """Each record about an item of its own."""
    return _answers(n).assign(word=[f"item{i}" for i in range(n)])


def lockstep(n: int) -> pd.DataFrame:
    """A hundred sources that answer everything alike."""
    return _answers(n).assign(
        user=[f"u{i % 100}" for i in range(n)], word=[f"w{i // 100}" for i in range(n)], said="a0"
    )


def all_disagree(n: int) -> pd.DataFrame:
    """No two answers are the same."""
    return _answers(n).assign(said=[f"x{i}" for i in range(n)])


def one_moment(n: int) -> pd.DataFrame:
    """All at one second, from accounts made at one second."""
    return _answers(n).assign(at="2026-11-01T00:00:00Z", since="2026-10-31T00:00:00Z")


def repeated_ids(n: int) -> pd.DataFrame:
    """A hundred ids, again and again, with other answers."""
    return _answers(n).assign(id=[f"r{i % 100}" for i in range(n)], said=[f"a{i % 7}" for i in range(n)])


def near_twins(n: int) -> pd.DataFrame:
    """Sources that answer the same twenty items with one answer changed."""
    rng = np.random.default_rng(0)
    frame = _answers(n).assign(user=[f"t{i // 20}" for i in range(n)], word=[f"w{i % 20}" for i in range(n)], said="a1")
    frame.loc[rng.random(n) < 0.05, "said"] = "a2"
    return frame


SHAPES: dict[str, Callable[[int], pd.DataFrame]] = {
    shape.__name__.replace("_", " "): shape
    for shape in (
        *(one_source, one_item, all_new_sources, all_new_items, lockstep),
        *(all_disagree, one_moment, repeated_ids, near_twins),
    )
}


def try_shape(folder: Path, name: str, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Run one shape at each size; return CPU seconds, peak memory and how it grew, as a share of n log n."""
    told: list[dict[str, Any]] = []
    for n in sizes:
        shutil.rmtree(folder, ignore_errors=True)
        home = folder / "home"
        world.write_quiz(home)
        SHAPES[name](n).to_csv(home / "inbox" / "quiz" / "day-1.csv", index=False)
        outcome = _timed(["run", "--feed", "quiz", "--home", str(home)], folder, START)
        row = {
            "shape": name,
            "n": n,
            "code": outcome.code,
            "cpu_s": round(outcome.cpu, 2),
            "rss_mb": round(outcome.rss_mb),
        }
        if told:
            before = told[-1]
            ideal = n * math.log(n) / (before["n"] * math.log(before["n"]))
            row["of_n_log_n"] = round(row["cpu_s"] / before["cpu_s"] / ideal, 2)
        told.append(row)
    return told


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.growth", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("/tmp/poison-guard-faults"))
    parser.add_argument("--batches", type=int, default=300)
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--sizes", default="12500,50000,200000")
    parser.add_argument("--shape", default="", help="shapes whose name holds this")
    args = parser.parse_args(arguments)
    if not process.has_shim():
        process.reexec_with_shim(process.build_shim(args.work), "tests.faults.growth", arguments)
    process.warm_up()
    sizes = [int(size) for size in args.sizes.split(",") if size]
    with (args.work / "growth.jsonl").open("a") as file:
        for row in small_batches(args.work / "batches", args.batches, args.rows) if args.batches else ():
            file.write(json.dumps(row) + "\n")
            file.flush()
        for name in (name for name in SHAPES if args.shape in name and sizes):
            for row in try_shape(args.work / "shape", name, sizes):
                file.write(json.dumps(row) + "\n")
                file.flush()
                print(row, flush=True)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("POISON_GUARD_KEY", KEY)
    sys.exit(main(sys.argv[1:]))
