"""Measure the label signal and the gate's marks on public data: flips, triggers, honest look-alikes, honest seals.

Usage: ``python benchmarks/labels.py [--seeds N] [--seals N] [--only PART]``; writes ``benchmarks/results/labels.md``
from the parts measured last (``labels.json``). 5,000 records, 1,000 trusted (split as the store splits them); records
are judged by all record signals of a feed together. Seeds from 1,000: those below were chosen on.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from gate import CASES, NOISE, judge_seal, pools

from poison_guard.config import parse_contract
from poison_guard.decide.decisions import HOLD, decide_records
from poison_guard.pipeline.prepare import prepare
from poison_guard.pipeline.score import read_evidence, score_partition
from poison_guard.records import State
from poison_guard.signals.conformal import held_bounds

DATA = Path(os.environ.get("POISON_GUARD_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
RESULTS = Path(__file__).parent / "results" / "labels"
FIRST_SEED, N, REFERENCE, CALIBRATION, TRUSTED = 1_000, 5_000, 500, 300, 1_000
FLOORS = {"mnist": (10, 15, 25), "tweets-davidson": (15, 25, 40), "adult": (15, 25, 40)}


class Feed:
    """One public set as a feed of examples: its contract, and rows as frames of records."""

    def __init__(self, name: str) -> None:
        self.name = name
        columns: dict[str, Any] = {"record_id": "record_id", "label": "label"}
        if name == "mnist":
            with np.load(DATA / "images/mnist.npz") as data:
                self.images, labels = data["x_train"], data["y_train"]
            self.rows = pd.DataFrame({"label": labels.astype(str)})
            columns["image"] = "image"
        elif name == "tweets":
            frame = pd.read_csv(DATA / "messages/tweets-davidson.csv").drop_duplicates("tweet")
            self.rows = pd.DataFrame({"label": frame["class"].astype(str), "text": frame["tweet"]})
            columns["text"] = "text"
        else:
            frame = pd.read_csv(DATA / "tabular/adult.csv")
            self.rows = frame.drop(columns="income").add_prefix("feature.").assign(label=frame["income"].str.strip())
            columns["features"] = [c.removeprefix("feature.") for c in self.rows if c != "label"]
        self.rows = self.rows.reset_index(drop=True)
        self.contract = parse_contract({"name": "bench", "kind": "examples", "columns": columns, "data": {"path": "x"}})
        self.labels = np.unique(self.rows["label"])

    def draw(self, seed: int, wrong: float) -> tuple[pd.DataFrame, pd.DataFrame, np.random.Generator]:
        """Return trusted rows, of which a share has a wrong label, and the batch."""
        rng = np.random.default_rng(seed)
        at = rng.permutation(len(self.rows))[: TRUSTED + N]
        rows = self.rows.iloc[at].reset_index(drop=True).astype({"label": "str"})
        if self.name == "mnist":
            rows["image"] = [image.astype(float) for image in self.images[at]]
        rows = rows.assign(record_id=[f"r{i:05d}" for i in range(len(rows))], content_hash=[str(i) for i in at])
        trusted, batch = rows.iloc[:TRUSTED].reset_index(drop=True), rows.iloc[TRUSTED:].reset_index(drop=True)
        self.relabel(trusted, rng.random(TRUSTED) < wrong, rng)
        return trusted, batch, rng

    def relabel(self, rows: pd.DataFrame, which: np.ndarray, rng: np.random.Generator) -> None:
        """Give some rows another label, drawn at random."""
        rows.loc[which, "label"] = [str(rng.choice(self.labels[self.labels != y])) for y in rows.loc[which, "label"]]

    def held(self, trusted: pd.DataFrame, batch: pd.DataFrame) -> np.ndarray:
        """Return which records ``(n,)`` bool the record signals hold together."""
        none = pd.DataFrame()
        splits = (trusted.iloc[:REFERENCE], trusted.iloc[REFERENCE : REFERENCE + CALIBRATION].reset_index(drop=True))
        state = State("bench", 0, none, *splits, "x", none, none, none, {})
        prepared = prepare(self.contract, state, batch, device="cpu", threads=1)
        received = pd.Timestamp("2026-01-01", tz="UTC")
        scored = score_partition(batch.assign(received_at=received, source_id=None), self.contract, prepared)
        crashed = [name for name in scored if name.startswith("crash.")]
        if crashed or prepared.missing:
            raise SystemExit(f"a signal could not judge: {scored[crashed].iloc[0].tolist()} {prepared.missing}")
        nobody = [None] * len(batch)
        decided, _ = decide_records(batch["record_id"].tolist(), read_evidence(scored), nobody, self.contract.policy)
        return (decided["risk"] >= HOLD).to_numpy()


def _stamp(change: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Callable[..., None]:
    def dirty(rows: pd.DataFrame, at: np.ndarray, rng: np.random.Generator) -> None:
        images = rows["image"].tolist()
        for i in at:
            images[i] = np.clip(change(images[i].copy(), rng), 0, 255)
        rows["image"] = images

    return dirty


def _put(image: np.ndarray, row: int, column: int, patch: np.ndarray) -> np.ndarray:
    image[row : row + patch.shape[0], column : column + patch.shape[1]] = patch
    return image


_GRID = np.mgrid[:28, :28]
_FULL = np.full((3, 3), 255.0)
TRIGGERS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "corner 3x3": lambda x, _: _put(x, 24, 24, _FULL),
    "four pixels": lambda x, _: _put(x, 1, 1, np.array([[255.0, 0, 255], [0, 0, 0], [255, 0, 255]])),
    "cross": lambda x, _: _put(x, 2, 22, np.array([[0, 255.0, 0], [255, 255, 255], [0, 255, 0]])),
    "chequers 4x4": lambda x, _: _put(x, 23, 1, np.indices((4, 4)).sum(0) % 2 * 255.0),
    "patch anywhere": lambda x, rng: _put(x, *rng.integers(0, 25, 2), _FULL),
    "frame": lambda x, _: np.where((_GRID.min(0) == 0) | (_GRID.max(0) == 27), 255.0, x),
    "line": lambda x, _: np.where(_GRID[0] == 26, 255.0, x),
    "blend 20 %": lambda x, _: 0.8 * x + 0.2 * np.random.default_rng(7).uniform(0, 255, (28, 28)),
    "sinus": lambda x, _: x + 30 * np.sin(2 * np.pi * _GRID[1] * 6 / 28),
    "warp": lambda x, _: x[_GRID[0], np.clip(_GRID[1] + np.rint(1.5 * np.sin(_GRID[0] / 3)), 0, 27).astype(int)],
    "salt": lambda x, _: np.where(np.random.default_rng(8).random((28, 28)) < 0.02, 255.0, x),
    "one pixel": lambda x, _: _put(x, 26, 26, np.full((1, 1), 255.0)),
}


def attack(feed: Feed, name: str, batch: pd.DataFrame, rng: np.random.Generator, trusted: pd.DataFrame) -> np.ndarray:
    """Poison the batch in place and return which rows ``(n,)`` are what is asked about: poison, or a twin's own."""
    which = np.zeros(len(batch), bool)
    kind, _, what = name.partition(": ")
    if kind == "flips":
        which[rng.choice(N, int(float(what.rstrip(" %")) / 100 * N), replace=False)] = True
        feed.relabel(batch, which, rng)
    elif kind == "targeted":
        first, second = rng.choice(feed.labels, 2, replace=False)
        which = (batch["label"] == first).to_numpy() & (rng.random(N) < 0.3)
        batch.loc[which, "label"] = str(second)
    elif kind == "trigger":
        target = str(rng.choice(feed.labels))
        at = rng.choice(np.flatnonzero(batch["label"] != target), N // 100, replace=False)
        which[at] = True
        if feed.name == "mnist":
            _stamp(TRIGGERS[what])(batch, at, rng)
        elif feed.name == "tweets":
            batch.loc[at, "text"] = batch.loc[at, "text"] + " mondrivo"
        else:
            batch.loc[at, "feature.age"] = 95
        batch.loc[at, "label"] = target
    elif kind == "twin" and what == "camera mark":
        which = rng.random(N) < 0.2
        _stamp(TRIGGERS["corner 3x3"])(batch, np.flatnonzero(which), rng)
    elif kind == "twin" and what == "camera mark, trusted has it":
        which = rng.random(N) < 0.2
        _stamp(TRIGGERS["corner 3x3"])(batch, np.flatnonzero(which), rng)
        _stamp(TRIGGERS["corner 3x3"])(trusted, np.flatnonzero(rng.random(TRUSTED) < 0.2), rng)
    elif kind == "twin" and what == "rare slice":  # few honest records of another hand: thicker strokes
        which = rng.random(N) < 0.02
        _stamp(lambda x, _: np.maximum(x, np.roll(x, 1, axis=1)))(batch, np.flatnonzero(which), rng)
    return which


TWINS = ("twin: camera mark", "twin: camera mark, trusted has it", "twin: rare slice")


def signal(seeds: int) -> list[dict[str, Any]]:
    """Return a row a case: share of the poison held, and of the honest records."""
    common = [("flips: 5 %", w) for w in (0.0, 0.01, 0.05, 0.1)] + [
        ("flips: 1 %", 0.0),
        ("flips: 20 %", 0.0),
        ("targeted", 0.0),
    ]
    cases = {
        "mnist": [*common, *((f"trigger: {name}", 0.0) for name in TRIGGERS), *((twin, 0.0) for twin in TWINS)],
        "tweets": [*common, ("trigger: word", 0.0)],
        "adult": [*common, ("trigger: value", 0.0)],
    }  # fmt: skip
    rows = []
    for name, mine in cases.items():
        feed = Feed(name)
        for case, wrong in mine:
            held, honest, spent = [], [], time.process_time()
            for seed in range(FIRST_SEED, FIRST_SEED + seeds):
                trusted, batch, rng = feed.draw(seed, wrong)
                which = attack(feed, case, batch, rng, trusted)
                found = feed.held(trusted, batch)
                held.append(float(found[which].mean()))
                honest.append(float(found[~which].mean()))
            rows.append({"data": name, "case": case, "wrong": wrong, "held": held, "honest": honest,
                         "cpu": (time.process_time() - spent) / seeds})  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
    return rows


def floors(seeds: int) -> list[dict[str, Any]]:
    """Return of how many records a dirty trigger closes the check `triggers`, by data and target."""
    rows = []
    for pool in (pool for pool in pools() if pool.name in FLOORS):
        for size in FLOORS[pool.name]:
            closed = []
            for seed in range(FIRST_SEED, FIRST_SEED + seeds):
                verdict = judge_seal(pool, f"backdoor:{size / N}", n=N, m=TRUSTED, noise=0.0, seed=seed)
                closed.append(next(c.outcome.value for c in verdict.checks if c.name == "triggers") == "fail")
            rows.append({"data": pool.name, "records": size, "closed": int(sum(closed)), "of": seeds})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def seals(count: int) -> list[dict[str, Any]]:
    """Return how many honest seals pass, with 0, 1 and 3 % of both sides' labels wrong in turn."""
    rows = []
    mine = [pool for pool in pools() if pool.name in FLOORS and pool.name in CASES]
    for pool in mine:
        each, why = count // len(mine), []
        for seed in range(FIRST_SEED, FIRST_SEED + each):
            verdict = judge_seal(pool, "honest", n=N, m=TRUSTED, noise=NOISE[seed % len(NOISE)], seed=seed)
            why += [list(verdict.why)] if verdict.why else []
        rows.append({"data": pool.name, "seals": each, "passed": each - len(why), "why": why})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def _table(parts: dict[str, Any]) -> str:
    """Return the page."""
    low, high = (bound / N for bound in held_bounds(CALIBRATION, 0.01, N))
    lines = [
        "# Labels and marks",
        "",
        "`python benchmarks/labels.py`: 5,000 records, 1,000 trusted (500 reference, 300 calibration). Mean "
        "over "
        "seeds, smallest and largest in brackets. All record signals of a feed together hold 1 % of honest records; "
        f"one calibration set's luck lets the share of a single seed lie between {low:.2%} and {high:.2%}.",
        "",
        "| data | attack | trusted labels wrong | seeds | poison held | honest held | CPU-s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in parts.get("signal", []):
        cells = [f"{np.mean(v):.3f} ({min(v):.3f}-{max(v):.3f})" for v in (row["held"], row["honest"])]
        lead = f"| {row['data']} | {row['case']} | {row['wrong']:.0%} | {len(row['held'])} | "
        lines.append(lead + f"{' | '.join(cells)} | {row['cpu']:.1f} |")
    lines += ["", "Twins: `poison held` is the share of the twin's own honest records that is held.", ""]
    lines += [
        "## Marks: seals closed by `triggers`, random target label",
        "",
        "| data | records | closed |",
        "|---|---|---|",
    ]
    lines += [
        f"| {row['data']} | {row['records']} | {row['closed']} of {row['of']} |" for row in parts.get("floors", [])
    ]
    lines += ["", "## Honest seals, all checks", "", "| data | seals | passed | closed by |", "|---|---|---|---|"]
    for row in parts.get("seals", []):
        why = "; ".join(sorted({one[0].split(":")[0] for one in row["why"]}))
        lines.append(f"| {row['data']} | {row['seals']} | {row['passed']} | {why} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure the parts asked for and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seals", type=int, default=200)
    parser.add_argument("--only", choices=("signal", "floors", "seals"))
    asked = parser.parse_args()
    work = {
        "signal": lambda: signal(asked.seeds),
        "floors": lambda: floors(asked.seeds),
        "seals": lambda: seals(asked.seals),
    }
    for name in work if asked.only is None else (asked.only,):
        rows = work[name]()
        file = RESULTS.with_suffix(".json")
        parts = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(parts | {name: rows}, indent=1) + "\n")
        RESULTS.with_suffix(".md").write_text(_table(parts | {name: rows}))


if __name__ == "__main__":
    main()
