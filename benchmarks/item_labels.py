"""Measure the veto on adopted labels: wrong ones that votes adopted, before and after, and right ones that wait.

    python benchmarks/item_labels.py [--seeds N] [--first SEED]

No public crowd comes with what it was asked about. So the votes are real ones, of the crowds rte (800 items, 164
people) and duck (108 items, 39 people), and the pictures are real, but they were paired here: an item shows an MNIST
picture of one digit or another, as its true label is one or the other; which two digits is drawn. People's mistakes
therefore do not follow the pictures, as they would. Attacks: a group of 100 accounts with a history that slowly gives
the wrong answer to a fifth of the items, with a share of their answers (`poison_guard.drills.crowds.raid`). 400 more
pictures of the two digits are trusted, one vetted vote each.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from poison_guard import Guard
from poison_guard.drills.crowds import load_crowd, load_pictures, raid
from poison_guard.drills.world import World
from poison_guard.steps.examples import read_parts
from poison_guard.steps.opening import open_feed
from poison_guard.store.snapshots import load_snapshot

DATA = Path(os.environ.get("POISON_GUARD_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
RESULTS = Path(__file__).parent / "results" / "item_labels.md"
TRUSTED = 400
_SLOW: dict[str, Any] = {"sybils": 100, "aged": 1.0, "burst": "30d"}
CASES: dict[str, dict[str, Any]] = {
    "nothing": {"share": 0.0, "sybils": 1},
    "six in ten of the answers": {"share": 0.6, **_SLOW},
    "nine in ten": {"share": 0.9, **_SLOW},
}
CROWDS = ("rte", "duck")
CONTRACT = """
name = "pictures"
kind = "answers"
[columns]
{columns}
[items]
path = "items.parquet"
image = "pixels"
[controls]
path = "controls.csv"
"""


def judged(world: World, pixels: np.ndarray, vetted: pd.DataFrame, home: Path) -> dict[str, int]:
    """Return how many items votes adopted right and wrong, and how many of either the sealed snapshot lacks."""
    assert world.controls is not None
    assert world.item_truth is not None
    columns = "\n".join(f'{role} = "{name}"' for role, name in world.columns.items())
    (home / "pictures.toml").write_text(CONTRACT.format(columns=columns))
    names = [*world.item_truth["item_id"], *vetted[world.columns["item_id"]]]
    pd.DataFrame({"item_id": names, "pixels": [list(image) for image in pixels]}).to_parquet(home / "items.parquet")
    world.controls.to_csv(home / "controls.csv", index=False)
    guard = Guard.open(home / "pictures.toml", home=home)
    guard.trust(vetted, by="benchmark", reason="true labels")
    items = guard.ingest(world.records).items
    sealed = guard.seal()
    with open_feed(guard.contract_path, guard.home) as feed:
        kept = set(read_parts(feed, load_snapshot(feed.store, sealed.snapshot_id).parts)["example_id"])
    adopted = items[items["adopted"]].set_index("item_id")["label"]
    truth = world.item_truth.set_index("item_id")["label"].reindex(adopted.index)
    wrong, lost = (adopted != truth).to_numpy(), ~adopted.index.isin(kept)
    return {
        "right": int((~wrong).sum()),
        "wrong": int(wrong.sum()),
        "wrong_left": int((wrong & ~lost).sum()),
        "right_lost": int((~wrong & lost).sum()),
    }


def run(name: str, case: str, seed: int) -> dict[str, int]:
    (pictures, labels), rng = load_pictures(DATA), np.random.default_rng([seed, 15])
    crowd = load_crowd(name, DATA)
    digits = rng.choice(np.unique(labels), 2, replace=False)
    answers = np.unique(crowd.truth)
    shown = [np.flatnonzero(crowd.truth == answer) for answer in answers]
    drawn = [rng.permutation(np.flatnonzero(labels == digit)) for digit in digits]
    at = np.empty(len(crowd.truth), int)
    for rows, found in zip(shown, drawn, strict=True):
        at[rows] = found[: len(rows)]
    vetted_at = np.concatenate([found[len(rows) :][: TRUSTED // 2] for rows, found in zip(shown, drawn, strict=True)])
    rows = np.concatenate([at, vetted_at])
    pixels = np.rint(255 * pictures[rows]).astype(int).reshape(len(rows), -1)
    world = raid(seed, crowd=crowd, **CASES[case])
    named = world.columns
    vetted = pd.DataFrame(
        {
            named["record_id"]: [f"v{k}" for k in range(TRUSTED)],
            named["source_id"]: [f"w{k % 5}" for k in range(TRUSTED)],
            named["item_id"]: [f"t{k}" for k in range(TRUSTED)],
            named["answer"]: np.repeat(answers, TRUSTED // 2),
            named["observed_at"]: world.role("observed_at").min(),
            named["source_since"]: world.role("source_since").min(),
        }
    )
    with TemporaryDirectory() as home:
        return judged(world, pixels, vetted, Path(home))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=2_000)
    given = parser.parse_args()
    lines = [
        "# The veto on adopted labels",
        "",
        f"`python {' '.join(sys.argv)}`: {(__doc__ or '').split(chr(10) + chr(10), 2)[2].strip()}",
        "",
        "*Wrong before*: items whose votes adopted a wrong label; *after*: those of them in the sealed snapshot.",
        "*Right lost*: items with the right label that wait for a person. Sums over seeds; of each seed in brackets.",
        "",
        "| crowd | the group gives | seeds | adopted right | wrong before | after | right lost | of them |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, case in itertools.product(CROWDS, CASES):
        found = [run(name, case, seed) for seed in range(given.first, given.first + given.seeds)]
        cells = {key: [one[key] for one in found] for key in found[0]}
        told = " | ".join(f"{sum(each)} ({', '.join(map(str, each))})" for each in cells.values())
        share = sum(cells["right_lost"]) / max(1, sum(cells["right"]))
        lines.append(f"| {name} | {case} | {given.seeds} | {told} | {share:.1%} |")
        print(lines[-1], flush=True)
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
