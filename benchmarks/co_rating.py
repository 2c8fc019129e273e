"""Real ratings through the guard: who is held, by which reason, and how many of them are known attackers.

Reads ``DATA/ratings`` and ``DATA/crowd``; further sets lie as ``NAME.csv`` (``user_id, item_id, rating`` and perhaps
``rated_at``) and ``NAME-truth.csv`` (``user_id, fraud``) in the folder given by ``--more``. Sets without a truth are
taken as honest. Where there is a truth, figures are of a random half of the labels; the docs say what the labels chose.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from poison_guard import Guard

NAMES = ["user_id", "item_id", "rating", "rated_at"]
CONTRACT = """name = "{0}"
kind = "ratings"
[data]
path = "{0}.csv"
[columns]
source_id = "user_id"
item_id = "item_id"
rating = "rating"
"""


def read_sets(data: Path, more: Path | None) -> dict[str, tuple[pd.DataFrame, pd.Series | None]]:
    """Return ratings, and who is a fraud, by name."""
    otc = pd.read_csv(data / "ratings" / "bitcoin-otc.csv", dtype=str).set_axis(NAMES, axis=1)
    truth = pd.read_csv(data / "ratings" / "bitcoin-otc-truth.csv").set_index("rater")["fraud"]
    notes = pd.read_csv(data / "crowd" / "birdwatch-ratings.csv.gz", dtype=str)
    notes = notes[["participantId", "noteId", "helpful"]].set_axis(NAMES[:3], axis=1)
    sets: dict[str, tuple[pd.DataFrame, pd.Series | None]] = {
        "bitcoin_otc": (otc, truth),
        "bitcoin_otc_no_times": (otc[NAMES[:3]], truth),
        "community_notes": (notes, None),
    }
    for path in sorted(more.glob("*.csv") if more else ()):
        if not path.stem.endswith("-truth"):
            known = path.with_name(f"{path.stem}-truth.csv")
            fraud = pd.read_csv(known, dtype={"user_id": str}).set_index("user_id")["fraud"] if known.exists() else None
            sets[path.stem.lower()] = (pd.read_csv(path, dtype=str), fraud)
    return sets


def row_of(name: str, ratings: pd.DataFrame, truth: pd.Series | None, folder: Path) -> str:
    """Return the line of the table for one set."""
    ratings = ratings.drop_duplicates(["user_id", "item_id"], ignore_index=True)
    ratings.to_csv(folder / f"{name}.csv", index=False)
    timed = 'observed_at = "rated_at"\n' if "rated_at" in ratings else ""
    (folder / f"{name}.toml").write_text(CONTRACT.format(name) + timed)
    begin = time.process_time()
    found = Guard.open(folder / f"{name}.toml", home=folder / "home").scan(folder / f"{name}.csv")
    seconds = time.process_time() - begin
    rows = found.decisions.sort_values("row")
    user = ratings["user_id"].to_numpy()[rows["row"].to_numpy(int) - int(rows["row"].min())]
    held = pd.Index(np.unique(user[(rows["action"] != "accept").to_numpy()]))
    reasons = ", ".join(f"{reason['code']} {reason['records']:,}" for reason in found.top_reasons()) or "–"
    cells = [
        name,
        f"{len(rows):,} / {len(np.unique(user)):,}",
        f"{len(held):,} ({len(held) / len(np.unique(user)):.2%})",
    ]
    if truth is None:
        return " | ".join([*cells, "–", "–", "–", "–", reasons, f"{seconds:.1f}"])
    known = truth[truth.index.isin(user)]
    known = known[np.random.default_rng(1).random(len(known)) < 0.5]
    caught = known.reindex(held).dropna()
    reliability = found.sources.set_index("source_id")["reliability"].reindex(known.index)
    ranks = reliability.rank()
    bad = known.to_numpy() == 1
    auc = 1 - (ranks[bad].sum() - bad.sum() * (bad.sum() + 1) / 2) / (bad.sum() * (~bad).sum())
    figures = [caught.mean(), caught.sum() / bad.sum(), (caught == 0).sum() / (~bad).sum()]
    return " | ".join([*cells, *(f"{x:.1%}" for x in figures), f"{auc:.3f}", reasons, f"{seconds:.1f}"])


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--more", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/co_rating.md"))
    args = parser.parse_args()
    head = ("set", "ratings / raters", "raters held", "precision", "recall", "honest held", "AUC", "reasons", "CPU-s")
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    with tempfile.TemporaryDirectory() as folder:
        for name, (ratings, truth) in read_sets(args.data, args.more).items():
            lines.append(f"| {row_of(name, ratings, truth, Path(folder))} |")
            print(lines[-1], flush=True)
    about = (
        "# Real ratings\n\n`python benchmarks/co_rating.py --data DATA [--more FOLDER]`; defaults, one for all.\n"
        "Precision, recall and honest held: half of the labelled raters; AUC: `reliability` in `sources`.\n\n"
    )
    args.out.write_text(about + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
