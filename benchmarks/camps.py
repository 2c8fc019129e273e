"""Measure what is seen of slow groups with a history: a curve over share, age, overlap, time and camouflage, as a page.

``python benchmarks/camps.py [--first SEED] [--seeds N]`` prints Markdown. Each row is the drill *coordinated* through
the pure pipeline, in one batch; recall is of the pushed records.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from adoption import judged

from poison_guard.drills.attacks import coordinated

BASE: dict[str, Any] = {"share": 0.6, "sybils": 200, "burst": "30d", "aged": 0.5}
AXES: dict[str, tuple[Any, ...]] = {
    "share": (0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9),
    "aged": (0.0, 0.25, 0.5, 0.75, 1.0),
    "sybils": (20, 40, 100, 200, 400, 1000),
    "burst": ("1h", "1d", "waves", "30d"),
    "camouflage": (0, 30, 100, 300),
    "accuracy": (0.7, 0.8, 0.9, 0.95),
    "classes": (2, 4, 8),
}
"""What is varied, one at a time: overlap is by `sybils`, the more accounts the fewer targets two have in common."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--also", default="", help="k=v,k=v of the group that is varied, such as aged=1.0")
    given = parser.parse_args()
    also = {k: float(v) for k, v in (pair.split("=") for pair in given.also.split(",") if pair)}
    print("| varied | recall (worst) | honest held | targets adopted | wrong of the targets |\n|" + "---|" * 5)
    for axis, values in AXES.items():
        for value in values:
            params = BASE | also | {axis: value}
            print(f"| {axis}={value} | {row(params, range(given.first, given.first + given.seeds))} |", flush=True)


def row(params: dict[str, Any], seeds: range) -> str:
    """Return the cells of one group: means over the `seeds`, and the worst recall."""
    found = []
    for seed in seeds:
        world = coordinated.make(seed, **params)
        items = judged(world)
        at = items[items["item_id"].isin(world.params["targets"])]
        facts = (items.attrs["recall"], items.attrs["honest held"], at["adopted"].mean())
        found.append((*facts, (at["adopted"] & ~at["ok"]).mean()))
    recall, honest, adopted, wrong = np.mean(found, axis=0)
    worst = min(f[0] for f in found)
    return f"{recall:.0%} ({worst:.0%}) | {honest:.2%} | {adopted:.0%} | {wrong:.2%}"


if __name__ == "__main__":
    main()
