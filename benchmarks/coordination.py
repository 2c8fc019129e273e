"""Measure coordinated wrong answers: a grid of attacks through the pure line, at once or day by day, as a table."""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from poison_guard.config import Contract, parse_contract
from poison_guard.drills.attacks.coordinated import make
from poison_guard.drills.world import World
from poison_guard.frames import FRAMES
from poison_guard.pipeline import decide_batch, find_batch_evidence, prepare, score_partition
from poison_guard.pipeline.prepare import choose_sample
from poison_guard.pipeline.relabel import settle_labels
from poison_guard.pipeline.score import join_partitions
from poison_guard.pipeline.validate import Validation
from poison_guard.records import Decided, Place, State

BASE: dict[str, Any] = {"share": 0.6, "sybils": 200, "burst": "30d", "camouflage": 0, "aged": 0.0}
AXES: dict[str, tuple[Any, ...]] = {
    "share": (0.3, 0.5, 0.75, 0.9),
    "sybils": (40, 1000),
    "burst": ("1h", "1d", "waves"),
    "camouflage": (100, 300),
    "aged": (0.5, 1.0),
    "control_aware": (False,),
    "constant": (True,),
    "share=0": (0,),
    "benign": (True,),
}
CORNERS: dict[str, tuple[Any, ...]] = {
    "share": (0.3, 0.6, 0.9),
    "sybils": (40, 1000),
    "burst": ("1h", "30d"),
    "camouflage": (0, 300),
    "aged": (0.0, 1.0),
}
_COUNTS = ("controls_right", "controls_wrong", "agreed", "disagreed", "outcomes_right", "outcomes_wrong", "n")
_NO_ISSUES = pd.DataFrame({k: pd.Series(dtype=object) for k in ("record_id", "code", "args")})
_NO_ROWS = pd.DataFrame({k: pd.Series(dtype="str") for k in ("record_id", "object", "row", "code", "args", "raw")})


def contract_of(world: World) -> Contract:
    """Return the contract of an answers feed with the columns of `world`."""
    return parse_contract({"name": world.name, "kind": "answers", "columns": dict(world.columns)})


def records_of(world: World, received: pd.Timestamp) -> pd.DataFrame:
    """Return the records as ingest gives them: by role, received at `received`."""
    roles = {column: role for role, column in world.columns.items()}
    frame = world.records.rename(columns=roles)
    return frame.assign(
        content_hash=frame["record_id"], object="mem", row=np.arange(len(frame)), received_at=received
    ).astype({"received_at": "datetime64[us, UTC]"})


@dataclass
class SimulatedFeed:
    """What a store would keep between batches: places, a ledger, labels and the memory, all in memory."""

    world: World
    contract: Contract
    records: pd.DataFrame
    place: dict[str, str] = field(default_factory=dict)
    first_held: dict[str, pd.Timestamp] = field(default_factory=dict)
    labels: dict[str, tuple[str, bool, str]] = field(default_factory=dict)
    wrong_ever: set[str] = field(default_factory=set)
    ledger: pd.DataFrame = field(default_factory=lambda: _empty_ledger())
    blocked: dict[str, float] = field(default_factory=dict)

    def take(self, batch: pd.DataFrame, at: pd.Timestamp) -> Decided:
        """Decide one batch received at `at` and keep what a commit keeps."""
        state = self._state(batch)
        prepared = prepare(self.contract, state, choose_sample(batch))
        scored = join_partitions([score_partition(batch, self.contract, prepared)])
        evidence = find_batch_evidence(scored, self.contract, state, prepared)
        decided = decide_batch(scored, _NO_ROWS, Validation(_NO_ISSUES), evidence, self.contract, state, prepared)
        self.place |= dict(zip(decided.decisions["record_id"], decided.decisions["place"], strict=True))
        self.place |= dict.fromkeys(decided.recalls["record_id"], Place.RECALLED.value)
        self.first_held |= {
            r: at for r, p in self.place.items() if p != Place.ACCEPTED.value and r not in self.first_held
        }
        for row in decided.items.itertuples(index=False):
            self.labels[row.item_id] = (row.label, bool(row.adopted), row.why)
        self._earn(decided)
        self._settle(set(decided.recalls["record_id"]))
        return decided

    def _settle(self, taken_back: set[str]) -> None:
        """Settle the labels of the items that lost a record, as sealing does."""
        if not taken_back:
            return
        items = self.records.loc[self.records["record_id"].isin(taken_back), "item_id"]
        told = self.records[self.records["item_id"].isin(items) & self.records["record_id"].isin(self.place)]
        told = told.rename(columns={"answer": "vote"}).assign(place=told["record_id"].map(self.place), verdict=0)
        accepted = told["place"] == Place.ACCEPTED.value
        controls = self.world.controls if self.world.controls is not None else pd.DataFrame()
        labels = settle_labels(told[accepted], told[~accepted], self.ledger, controls, self.contract)
        for row in labels.itertuples(index=False):
            self.labels[row.item_id] = (row.label, bool(row.adopted), row.why)

    def _state(self, batch: pd.DataFrame) -> State:
        done = self.records[self.records["record_id"].isin(self.place)]
        done = done.rename(columns={"answer": "vote"}).assign(place=done["record_id"].map(self.place))
        about = done[done["item_id"].isin(batch["item_id"]) & (done["place"] == Place.ACCEPTED.value)]
        memory = done[done["received_at"] > batch["received_at"].iloc[0] - pd.Timedelta(days=30)].tail(100_000)
        memory = memory.assign(speaker=memory["source_id"], author_id=None, group=None)
        empty = batch.iloc[:0]
        return State(
            feed=self.world.name,
            version=1,
            ledger=self.ledger,
            reference=empty,
            calibration=empty,
            trusted_hash="",
            controls=self.world.controls if self.world.controls is not None else pd.DataFrame(),
            answers=about[["record_id", "item_id", "source_id", "vote", "observed_at", "source_since"]].assign(
                verdict=0
            ),
            known=pd.DataFrame({k: pd.Series(dtype="str") for k in ("record_id", "content_hash", "place")}),
            schema={},
            memory=memory[[*FRAMES["memory"].columns]].reset_index(drop=True),
        )

    def _earn(self, decided: Decided) -> None:
        sources = decided.sources
        if not len(sources):
            return
        add = sources.reindex(columns=["source_id", *_COUNTS]).fillna(dict.fromkeys(_COUNTS, 0))
        both = pd.concat([self.ledger[["source_id", *_COUNTS]], add], ignore_index=True)
        self.ledger = both.groupby("source_id", as_index=False).sum().assign(first_seen=pd.NaT, blocked=False)


def _empty_ledger() -> pd.DataFrame:
    frame = pd.DataFrame({c: pd.Series(dtype="str" if c == "source_id" else float) for c in ("source_id", *_COUNTS)})
    return frame.assign(first_seen=pd.Series(dtype="datetime64[us, UTC]"), blocked=pd.Series(dtype=bool))


def batches(world: World, by: str) -> Iterator[pd.DataFrame]:
    """Give the records in one batch (``all``) or day by day, received when the last of them was observed."""
    if by == "all":
        yield records_of(world, world.role("observed_at").max())
        return
    day = world.role("observed_at").dt.floor("D")
    for when, rows in records_of(world, world.role("observed_at").max()).groupby(day.to_numpy()):
        received = pd.Timestamp(when).tz_localize("UTC") if pd.Timestamp(when).tzinfo is None else pd.Timestamp(when)
        yield rows.assign(received_at=received + pd.Timedelta(days=1)).astype({"received_at": "datetime64[us, UTC]"})


def measure(params: Mapping[str, Any], seed: int, by: str) -> dict[str, Any]:
    """Return the figures of one world: counts of what was targeted, adopted, held and blocked."""
    started = time.process_time()
    world = make(seed, **params)
    parts = list(batches(world, by))
    feed = SimulatedFeed(world, contract_of(world), pd.concat(parts, ignore_index=True))
    truth = dict(zip(world.item_truth["item_id"], world.item_truth["label"], strict=True))
    blocked: dict[str, list[bool]] = {}
    for part in parts:
        decided = feed.take(part, part["received_at"].iloc[0])
        feed.wrong_ever |= {i for i, (label, yes, _) in feed.labels.items() if yes and label != truth[i]}
        _count_blocks(decided, part, blocked)
    return _figures(world, feed, truth, blocked) | {"seconds": time.process_time() - started}


def _count_blocks(decided: Decided, part: pd.DataFrame, blocked: dict[str, list[bool]]) -> None:
    by_source = decided.evidence[(decided.evidence["level"] == "source") & (decided.evidence["p"] <= 0.001)]
    hit = part["record_id"].isin(by_source["record_id"]).to_numpy()
    for source, mine in zip(part["source_id"], hit, strict=True):
        blocked.setdefault(source, []).append(bool(mine))


def _figures(
    world: World, feed: SimulatedFeed, truth: Mapping[str, str], blocked: Mapping[str, list[bool]]
) -> dict[str, Any]:
    targets = set(world.params["targets"])
    unknown = set(world.item_truth.loc[~world.item_truth["control"], "item_id"])
    away = unknown - targets
    wrong = {i for i, (label, yes, _) in feed.labels.items() if yes and label != truth[i]}
    adopted = {i for i, (_, yes, _) in feed.labels.items() if yes}
    held = world.truth["record_id"].map(feed.place).ne(Place.ACCEPTED.value).to_numpy()
    honest, attack = world.truth["honest"].to_numpy(), world.truth["attack"].to_numpy()
    at_target = world.role("item_id").isin(targets).to_numpy()
    lost = {s for s, rows in blocked.items() if np.mean(rows) > 0.5}
    people = set(world.source_truth.loc[world.source_truth["honest"], "source_id"])
    return {
        "targeted": len(targets),
        "wrong": len(wrong & targets),
        "wrong_ever": len(feed.wrong_ever & targets),
        "deferred": len(targets - adopted),
        "away": len(away),
        "away_wrong": len(wrong & away),
        "away_deferred": len(away - adopted),
        "attack": int(attack.sum()),
        "recalled": int((attack & held).sum()),
        "honest_at": int((honest & at_target).sum()),
        "honest_at_held": int((honest & at_target & held).sum()),
        "honest_away": int((honest & ~at_target).sum()),
        "honest_away_held": int((honest & ~at_target & held).sum()),
        "people": len(people),
        "blocked": len(lost & people),
        "why": pd.Series([feed.labels[i][2] for i in targets if i in feed.labels]).value_counts().to_dict(),
    }


COLUMNS = (
    ("wrong adopted", "wrong", "targeted"),
    ("ever", "wrong_ever", "targeted"),
    ("deferred", "deferred", "targeted"),
    ("attack recall", "recalled", "attack"),
    ("honest held at targets", "honest_at_held", "honest_at"),
    ("away", "honest_away_held", "honest_away"),
    ("deferred away", "away_deferred", "away"),
    ("wrong away", "away_wrong", "away"),
    ("honest blocked", "blocked", "people"),
)


def cell(runs: list[dict[str, Any]], part: str, whole: str, *, low: bool = False) -> str:
    """Return ``mean (worst)`` of a share over runs, for wrong labels with the exact 95 % interval of all runs."""
    shares = [run[part] / run[whole] for run in runs if run[whole]]
    if not shares:
        return "–"
    told = f"{np.mean(shares):.2%} ({min(shares) if low else max(shares):.1%})"
    if part != "wrong":
        return told
    interval = binomtest(sum(run[part] for run in runs), sum(run[whole] for run in runs)).proportion_ci(0.95)
    return f"{told} {interval.low:.2%} – {interval.high:.2%}"


def grid(name: str) -> list[dict[str, Any]]:
    """Return the parameter sets: ``axes`` one at a time from `BASE`, ``corners`` all extremes."""
    if name == "corners":
        return [dict(zip(CORNERS, values, strict=True)) for values in itertools.product(*CORNERS.values())]
    sets = [dict(BASE)]
    for axis, values in AXES.items():
        sets += [BASE | {axis.removesuffix("=0"): value} for value in values]
    return sets


def _job(job: tuple[dict[str, Any], int, str]) -> dict[str, Any]:
    return measure(*job)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grid", default="axes", choices=("axes", "corners"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--by", default="all", choices=("all", "day"))
    parser.add_argument("--only", default="", help="k=v,k=v: one parameter set instead of a grid")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, help="append every run's counts to this file, a JSON line a parameter set")
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    sets = [BASE | _parsed(given.only)] if given.only else grid(given.grid)
    print(f"\n{given.seeds} seeds, {'one batch' if given.by == 'all' else 'day by day'}; others as {BASE}\n")
    print("| attack | " + " | ".join(name for name, _, _ in COLUMNS) + " | CPU-s |")
    print("|---" * (len(COLUMNS) + 2) + "|", flush=True)
    with ProcessPoolExecutor(given.jobs) as pool:
        for params in sets:
            runs = list(pool.map(_job, [(params, seed, given.by) for seed in range(given.seeds)]))
            cells = [cell(runs, p, w, low=p == "recalled") for _, p, w in COLUMNS]
            name = " ".join(f"{k}={v}" for k, v in params.items() if params != BASE and BASE.get(k) != v) or "base"
            seconds = np.mean([run["seconds"] for run in runs])
            print(f"| {name} | " + " | ".join(cells) + f" | {seconds:.1f} |", flush=True)
            if given.verbose:
                print(runs[0]["why"])
            if given.out:
                with given.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"params": params, "by": given.by, "runs": runs}) + "\n")


def _parsed(text: str) -> dict[str, Any]:
    pairs = (part.split("=", 1) for part in text.split(","))
    return {key: _value(value) for key, value in pairs}


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"True": True, "False": False}.get(text, text)


if __name__ == "__main__":
    main()
