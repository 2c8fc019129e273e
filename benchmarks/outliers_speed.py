"""What the detectors cost: CPU and memory beside PyOD, scikit-learn and faiss; threads; a GPU if there is one.

    python benchmarks/outliers_speed.py cpu|memory|threads|gpu [--rows 10000 100000 1000000] [--limit 300] [DETECTOR …]

Each cell runs in a process of its own with one thread, and is stopped after `--limit` seconds. PyOD's ``fit``
scores the fitted rows too, so it is compared with our ``fit`` and ``score`` of all rows. Needs the extra ``bench``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

RESULTS = Path(__file__).parent / "results"
COST = RESULTS / "outliers_speed.csv"
KEY = ["detector", "rows", "wide"]
EXTRA = ("sklearn iforest", "faiss")
BATCH = 1000
TWINS = {"mahalanobis": "mcd", "bagged_knn": "knn", "extended_iforest": "iforest", "ensemble": "iforest"}


def made(rows: int, width: int) -> np.ndarray:
    """Return `rows` and a batch more of a made mixture: three correlated groups and 1 % spread wide, float32."""
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 3, (3, width)).astype(np.float32)
    X = np.empty((rows + BATCH, width), dtype=np.float32)
    for start in range(0, len(X), 10_000):  # small steps: what drawing takes must not hide what detectors take
        block = X[start : start + 10_000]
        block[:] = rng.standard_normal(block.shape, dtype=np.float32)
        block += 0.7 * rng.standard_normal((len(block), 1), dtype=np.float32)
        block += centres[rng.integers(0, 3, len(block))]
        block[rng.random(len(block)) < 0.01] *= 3
    return X


def peer(name: str) -> Any:
    """Return PyOD's, scikit-learn's or faiss's detector."""
    library, _, kind = name.partition(" ")
    if library == "pyod":
        from outliers import peers

        return peers()[kind](0)
    if library == "sklearn":
        from sklearn.ensemble import IsolationForest

        return IsolationForest(random_state=0)
    raise ValueError(name)


def ours(name: str, device: str, threads: int) -> Any:
    from poison_guard.signals.anomaly import DETECTORS
    from poison_guard.signals.anomaly.ensemble import Ensemble

    return {**DETECTORS, "ensemble": Ensemble}[name](seed=0, device=device, threads=threads)


def one(name: str, rows: int, width: int, device: str, threads: int) -> dict[str, float]:
    """Return seconds of CPU and of the clock to fit, score all rows and score a batch, and peak MiB above the input."""
    warnings.simplefilter("ignore")
    made_all = made(rows, width)
    X, batch = made_all[:rows], made_all[rows:]
    if name == "faiss":
        return _faiss(X, batch)
    known = " " not in name
    model = ours(name, device, threads) if known else peer(name)
    score: Callable[[Any], Any] = model.score if known else lambda Z: model.decision_function(Z)
    warm = ours(name, device, threads) if known else peer(name)  # what a process pays once, whatever the size
    warm.fit(X[:300])
    (warm.score if known else warm.decision_function)(batch[:10])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = timed("fit", lambda: model.fit(X))
    if not name.startswith("pyod"):  # its fit has scored the rows
        found |= timed("all", lambda: score(X))
    runs = [timed("batch", lambda: score(batch))]
    runs += [timed("batch", lambda: score(batch)) for _ in range(4 if runs[0]["batch"] < 1 else 0)]
    found |= min(runs, key=lambda took: took["batch"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found | {"peak": max(0.0, (peak - before) / 1024)}


def timed(key: str, run: Callable[[], Any]) -> dict[str, float]:
    """Return seconds of CPU and of the clock that `run` takes."""
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return {key: time.process_time() - cpu, f"{key}_wall": time.perf_counter() - wall}


def _faiss(X: np.ndarray, batch: np.ndarray) -> dict[str, float]:
    import faiss

    faiss.omp_set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    index = faiss.IndexFlatL2(X.shape[1])
    index.add(X)
    fit, start = time.process_time() - start, time.process_time()
    index.search(X, 6)
    every, start = time.process_time() - start, time.process_time()
    index.search(batch, 5)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"fit": fit, "all": every, "batch": time.process_time() - start, "peak": peak}


def cell(
    name: str, rows: int, width: int, limit: int, device: str = "cpu", threads: int = 1
) -> dict[str, float] | None:
    """Return `one` as run in its own process, or None when it took more than `limit` seconds."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, __file__, "one", name, str(rows), str(width), device, str(threads)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        raise RuntimeError(f"{name} at {rows:,} x {width} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def others(name: str) -> str:
    """Return PyOD's detector that `name` stands beside, or nothing."""
    from outliers import peers

    twin = TWINS.get(name, name)
    return f"pyod {twin}" if twin in peers() else ""


def cpu(names: list[str], sizes: list[int], limit: int) -> None:
    """Measure what `names` and their peers cost with one thread, keep it, and write the table of all that is kept."""
    kept = pd.read_csv(COST).set_index(KEY)[["fit", "all", "batch"]] if COST.exists() else pd.DataFrame()
    asked = dict.fromkeys(who for name in names for who in (name, others(name)) if who)
    for rows in sizes:
        for width in (16, 64):
            for who in (*asked, *EXTRA):
                found = cell(who, rows, width, limit) or {}
                print(who, rows, width, found, flush=True)
                row = pd.DataFrame([{key: found.get(key) for key in ("fit", "all", "batch")}])
                row.index = pd.MultiIndex.from_tuples([(who, rows, width)], names=KEY)
                kept = row.combine_first(kept[~kept.index.isin(row.index)] if len(kept) else kept)
                kept.sort_index().to_csv(COST)
    table(kept)


def table(kept: pd.DataFrame) -> None:
    """Write the kept costs, ours beside PyOD's."""
    lines = [
        "# Detectors: cost",
        "",
        f"`python benchmarks/outliers_speed.py cpu`. CPU seconds of one thread; batch: {BATCH:,} rows, best of 5.",
        "PyOD's fit scores the fitted rows too and stands beside our fit and score of all rows. Empty: stopped after",
        "some minutes. scikit-learn: IsolationForest; faiss: exact search of 6 neighbours.",
        "",
        "| detector | rows | wide | PyOD fit | fit | fit + score all | ratio | PyOD batch | our batch | ratio |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    sizes = kept.index.droplevel("detector").unique().sort_values()
    for rows, width in sizes:
        here = kept.xs((rows, width), level=("rows", "wide"))
        for name in (n for n in here.index if not n.startswith("pyod ")):
            mine, theirs = here.loc[name], here.reindex([others(name)]).iloc[0]
            cost = [mine["fit"], mine["fit"] + mine["all"]]
            cells = [theirs["fit"], *cost, theirs["fit"] / cost[1], theirs["batch"], mine["batch"]]
            cells.append(theirs["batch"] / mine["batch"])
            shown = ["" if np.isnan(c) else f"{c:.1f}×" if at in (3, 6) else f"{c:.3g}" for at, c in enumerate(cells)]
            lines.append(f"| {f'*{name}*' if name in EXTRA else name} | {rows:,} | {width} | {' | '.join(shown)} |")
    (RESULTS / "outliers_speed.md").write_text("\n".join(lines) + "\n")


def wall(names: list[str], sizes: list[int], limit: int, device: str) -> None:
    """Write seconds of the clock with one and two threads; on a GPU beside one thread of PyOD and the bare transfer."""
    gpu = device != "cpu"
    title, columns = ("GPU", ("PyOD", "CPU", "GPU")) if gpu else ("threads", ("1 thread", "2 threads"))
    lines = [f"# Detectors: {title}", "", "Seconds of the clock for fit and score of all rows.", ""]
    lines += [f"| detector | rows | columns | {' | '.join(columns)} | ratio |", "|---|" + "---:|" * (len(columns) + 3)]
    for rows in sizes:
        for name in names:
            width, runs = (64, []) if gpu else (16, [cell(name, rows, 16, limit, threads=t) for t in (1, 2)])
            if gpu:
                runs = [cell(who, rows, width, limit) if who else None for who in (others(name), name)]
                runs.append(cell(name, rows, width, limit, device))
            took = [None if run is None else run["fit_wall"] + run.get("all_wall", 0.0) for run in runs]
            first, last = took[0] or limit, took[-1] or limit
            cells = [name, f"{rows:,}", width, *(f"> {limit}" if t is None else f"{t:.3f}" for t in took)]
            lines.append("| " + " | ".join(map(str, [*cells, f"{first / last:.2f}×"])) + " |")
            print(lines[-1], flush=True)
        if gpu:
            lines.append(f"| *transfer* | {rows:,} | 64 | | | {transfer(rows, 64, device):.4f} | |")
    (RESULTS / f"outliers_{title.lower()}.md").write_text("\n".join(lines) + "\n")


def memory(names: list[str], sizes: list[int], limit: int) -> None:
    """Write the peak memory above the input of fit, score of all rows and score of a batch."""
    head = "| detector | rows | wide | PyOD MiB | our MiB |"
    lines = ["# Detectors: peak memory above the input", "", head, "|---|---:|---:|---:|---:|"]
    for rows in sizes:
        for name in names:
            theirs = cell(others(name), rows, 16, limit) if others(name) else None
            found = (theirs, cell(name, rows, 16, limit))
            peaks = ["–" if run is None else f"{run['peak']:.0f}" for run in found]
            lines.append(f"| {name} | {rows:,} | 16 | {' | '.join(peaks)} |")
            print(lines[-1], flush=True)
    (RESULTS / "outliers_memory.md").write_text("\n".join(lines) + "\n")


def transfer(rows: int, width: int, device: str) -> float:
    """Return the seconds that the bare copy of the rows to `device` takes."""
    import torch

    X = torch.from_numpy(made(rows, width))
    torch.zeros(1, device=device)
    torch.cuda.synchronize()
    start = time.perf_counter()
    X.to(device)
    torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    """Measure the parts asked for."""
    if sys.argv[1:2] == ["one"]:
        name, rows, width, device, threads = sys.argv[2:7]
        print(json.dumps(one(name, int(rows), int(width), device, int(threads))))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("cpu", "memory", "threads", "gpu"))
    parser.add_argument("names", nargs="*", metavar="DETECTOR")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--limit", type=int, default=300, help="seconds a cell may take")
    asked = parser.parse_args()
    from poison_guard.signals.anomaly import DETECTORS

    names = asked.names or ["ensemble", *DETECTORS]
    match asked.part:
        case "cpu":
            cpu(names, asked.rows, asked.limit)
        case "memory":
            memory(names, asked.rows, asked.limit)
        case "threads":
            wall(names, asked.rows, asked.limit, "cpu")
        case _:
            wall(names, asked.rows, asked.limit, "cuda")


if __name__ == "__main__":
    main()
