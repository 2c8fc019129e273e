"""Ratings and one-rater items: what bridging ranks and how it stands a brigade; how few poisoned records are found.

    python benchmarks/ratings.py [--seeds 5] [--documents 10000] [--out FILE]

Bridging is measured on the Birdwatch snapshot of `POISON_GUARD_DATA` (left out where that is absent), the drills 21 and
22 on their own worlds, by the finders alone with the default thresholds.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from poison_guard.drills.attacks import preferences
from poison_guard.drills.world import Origin, World
from poison_guard.signals.campaigns.claims import rare_claims
from poison_guard.signals.campaigns.raters import patient_raters
from poison_guard.signals.campaigns.words import word_columns
from poison_guard.signals.sources.bridging import bridge

RESULTS = Path(__file__).parent / "results" / "ratings.md"
DATA = Path(os.environ.get("POISON_GUARD_DATA", Path(__file__).parents[2] / "shared" / "data")) / "crowd"
ALPHA = 0.001 / 5
"""Default `campaign_alpha`, shared by about five finders."""
SOURCE_ALPHA = 0.001 / 10
"""A tenth of the default: who has most to say of one thing has many times the records of others."""
TARGETS = 20


def birdwatch() -> pd.DataFrame:
    table = pd.read_csv(DATA / "birdwatch-ratings.csv.gz", dtype={"noteId": str})
    table = table[(table["helpful"] + table["notHelpful"]) == 1]
    rating = table["helpful"].astype(float)
    return pd.DataFrame({"item_id": table["noteId"], "source_id": table["participantId"], "rating": rating})


def held_out(ratings: pd.DataFrame, side: pd.Series, seed: int) -> dict[str, float]:
    """Return what both viewpoints say, in ratings left out, of the best fifth of notes by score and by mean."""
    out = np.random.default_rng(seed).random(len(ratings)) < 0.3
    items = bridge(ratings[~out]).items.set_index("item_id")
    items = items[items["raters"] >= 5]
    left = ratings[out & ratings["item_id"].isin(items.index)]
    factor = left["source_id"].map(side)
    found: dict[str, float] = {}
    for by in ("score", "rated"):
        chosen = left["item_id"].isin(items.index[items[by].rank(pct=True, method="first") > 0.8])
        says = [float(left.loc[chosen & where, "rating"].mean()) for where in (factor > 0.2, factor < -0.2)]
        found |= {f"{by} less": min(says), f"{by} both": float(np.mean(says))}
    return found


def brigade(ratings: pd.DataFrame, kind: str, size: int, targets: np.ndarray, seed: int) -> pd.DataFrame:
    """Return `ratings` and those of `size` accounts that vote `targets` up and hide as `kind` says."""
    rng = np.random.default_rng([seed, size])
    cover, aimed = {"fresh": (0, 1.0), "one side": (20, 1.0), "the crowd": (20, 1.0), "diluted": (100, 0.5)}[kind]
    like = ratings
    if kind == "one side":
        factor = bridge(ratings).sources.set_index("source_id")["factor"]
        like = ratings[ratings["source_id"].map(factor) > 0.2]
    mean = like[~like["item_id"].isin(targets)].groupby("item_id")["rating"].mean()
    rows: list[tuple[str, str, float]] = []
    for k in range(size):
        mine = targets[rng.random(len(targets)) < aimed]
        rows += [(str(item), f"x{k}", 1.0) for item in mine]
        chosen = rng.choice(len(mean), cover, replace=False)
        rows += [(mean.index[c], f"x{k}", float(rng.random() < mean.iloc[c])) for c in chosen]
    return pd.concat([ratings, pd.DataFrame(rows, columns=ratings.columns)], ignore_index=True)


def brigades(ratings: pd.DataFrame, seeds: range) -> Iterator[str]:
    before = bridge(ratings).items.set_index("item_id")
    rated = before[before["raters"] >= 5]
    low = rated.index[(rated["score"] < rated["score"].quantile(0.25)) & (rated["rated"] < 0.4)].to_numpy()
    for kind in ("fresh", "one side", "the crowd", "diluted"):
        for size in (50, 500):
            runs = []
            for seed in seeds:
                aim = np.random.default_rng(seed).choice(low, TARGETS, replace=False)
                after = bridge(brigade(ratings, kind, size, aim, seed)).items.set_index("item_id")
                seen = after[after["raters"] >= 5]
                rest = rated.index.difference(aim)
                run = {
                    "mean": after.loc[aim, "rated"].mean() - before.loc[aim, "rated"].mean(),
                    "score": after.loc[aim, "score"].mean() - before.loc[aim, "score"].mean(),
                    "top mean": (after.loc[aim, "rated"] > rated["rated"].quantile(0.75)).mean(),
                    "top score": (after.loc[aim, "score"] > seen["score"].quantile(0.75)).mean(),
                    "low": (after.loc[aim, "low"] >= 0.5).mean(),
                    "rest": spearmanr(before.loc[rest, "score"], after.loc[rest, "score"])[0],
                }
                runs.append(run)
            t = pd.DataFrame(runs)
            m, worst = t.mean(), t["top score"].max()
            yield (
                f"| {kind} | {size} | {m['mean']:+.2f} | {m['score']:+.2f} | {m['top mean']:.0%} | "
                f"{m['top score']:.0%} | {worst:.0%} | {m['low']:.0%} | {m['rest']:.3f} |"
            )


def campaign_frame(world: World) -> pd.DataFrame:
    """Return the columns that the finders read of a world's records."""
    frame = world.records.rename(columns={column: role for role, column in world.columns.items()})
    return pd.concat([frame.drop(columns="rating", errors="ignore"), word_columns(frame)], axis=1)


def measure(world: World) -> dict[str, Any]:
    frame = campaign_frame(world)
    cpu = time.process_time()
    found = rare_claims(frame, alpha=ALPHA, source_alpha=SOURCE_ALPHA) + patient_raters(frame, alpha=SOURCE_ALPHA)
    cpu = time.process_time() - cpu
    held = frame["record_id"].isin({r for c in found for r in c.record_ids}).to_numpy()
    poison = (world.truth["origin"] == Origin.POISON).to_numpy()
    honest = (world.truth["origin"] == Origin.HONEST).to_numpy()
    twin = world.truth["label"].isin(["pasted", "named"]).to_numpy()
    return {
        "recall": held[poison].mean() if poison.any() else np.nan,
        "honest": held[honest].mean(),
        "twin": held[twin].mean() if twin.any() else np.nan,
        "cpu": cpu,
    }


def line(name: str, make: str, seeds: range, **params: Any) -> str:
    runs = pd.DataFrame([measure(getattr(preferences, make)(seed, **params)) for seed in seeds])
    print(name, runs.mean().round(4).to_dict(), flush=True)
    cells = [name]
    recall, honest, twin = runs["recall"], runs["honest"], runs["twin"]
    cells += ["–", "–"] if recall.isna().all() else [f"{recall.mean():.3f}", f"{recall.min():.2f}"]
    cells += [f"{honest.mean():.2%}", f"{honest.max():.2%}"]
    cells += ["–", "–"] if twin.isna().all() else [f"{twin.mean():.2%}", f"{twin.max():.2%}"]
    cells.append(f"{runs['cpu'].mean():.1f}")
    return f"| {' | '.join(cells)} |"


GRID: tuple[tuple[str, str, dict[str, Any]], ...] = (
    *((f"21 pairs, {n} records", "make_patient_rater", {"records": n}) for n in (20, 30, 50, 100)),
    ("21 pairs, 5 raters × 50", "make_patient_rater", {"records": 50, "raters": 5}),
    ("21 pairs, 100 records and 300 of camouflage", "make_patient_rater", {"camouflage": 300}),
    ("21 twin pairs, documents", "make_patient_rater_twin", {}),
    *((f"21 thumbs, {n} records", "make_patient_rater", {"form": "thumbs", "records": n}) for n in (30, 50, 100)),
    ("21 twin thumbs, documents", "make_patient_rater_twin", {"form": "thumbs"}),
    *(
        (f"22 {n} documents, {k} new sources", "make_triggers", {"documents": n, "sources": k})
        for n, k in ((10, 1), (50, 1), (50, 5), (50, 50), (250, 5), (250, 250), (1000, 5))
    ),
    *(
        (f"22 250 documents, {k} aged sources", "make_triggers", {"documents": 250, "sources": k, "aged": 1.0})
        for k in (5, 50)
    ),
    ("22 twin, 250 documents name it", "make_triggers_twin", {"documents": 250}),
)
"""Line of the table, what draws the world, and its parameters."""


def drills(seeds: range, total: int) -> Iterator[str]:
    for name, make, params in GRID:
        size = {"total": total} if name.startswith("22") else {}
        yield line(name, make, seeds, **params, **size)


def bridging_part(seeds: range) -> list[str]:
    ratings = birdwatch()
    side = bridge(ratings).sources.set_index("source_id")["factor"]
    runs = pd.DataFrame([held_out(ratings, side, seed) for seed in range(2 * len(seeds))])
    lines = [
        "## Bridging on Birdwatch",
        "",
        f"{len(ratings):,} ratings of {ratings['item_id'].nunique():,} notes.",
        "How helpful the best fifth of notes (five raters or more) is found in ratings that were left out (30 %, drawn",
        f"{len(runs)} times), by the side of the viewpoint that likes them less, and in the mean of both sides:",
        "",
        "| ranked by | the side that likes them less | both |",
        "|---|---:|---:|",
    ]
    for by, told in (("rated", "plain mean"), ("score", "bridging score")):
        less, both = runs[f"{by} less"], runs[f"{by} both"]
        lines.append(f"| {told} | {less.mean():.1%} ± {less.std():.1%} | {both.mean():.1%} ± {both.std():.1%} |")
    return [
        *lines,
        "",
        f"A brigade votes {TARGETS} notes of the worst quarter up. *fresh*: it rates nothing else; *one side*, *the",
        "crowd*: each account also rates 20 notes as that side, or the crowd, does; *diluted*: each rates half of the",
        "targets and 100 notes as the crowd does.",
        "",
        "| brigade | accounts | mean rises | score rises | in top quarter by mean | by score | worst seed | "
        "low ≥ 0.5 | rank correlation of the others |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        *brigades(ratings, seeds),
        "",
    ]


def drills_part(seeds: range, total: int) -> list[str]:
    return [
        "## One rater an item",
        "",
        f"Drill 21: 5,000 honest records by 500 people, a patient rater beside. Drill 22: {total:,} documents, eight a",
        "person. The finders alone, default thresholds. *twin*: users who paste their own documents; a new name.",
        "",
        "| drill | recall | worst | honest held | worst | twin held | worst | CPU s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *drills(seeds, total),
    ]


def report(seeds: range, total: int) -> str:
    lines = ["# Ratings and one-rater items", "", f"`python benchmarks/ratings.py`, {len(seeds)} seeds.", ""]
    if DATA.is_dir():
        lines += bridging_part(seeds)
    return "\n".join([*lines, *drills_part(seeds, total), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    text = report(range(options.seeds), options.documents)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
