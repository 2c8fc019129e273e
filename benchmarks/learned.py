"""Measure what models learn from the demo: from everything, from what the guard let through, and from the truth."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t

from poison_guard import Guard
from poison_guard.drills.demo import shipped, trusted_path, write_world
from poison_guard.drills.training_effect import ROWS, compare, kept_examples
from poison_guard.drills.worlds import WORLDS, make_world
from poison_guard.retrain.attacks import Budget

ATTACKED = 150
RESULTS = Path(__file__).parent / "results" / "learned.md"
NAMES = dict(zip(ROWS, ("everything (no guard)", "admitted (guard)", "truth"), strict=True))


def measure(feed: str, seed: int, home: Path) -> pd.DataFrame:
    """Return the rows of `compare` for one world, ingested as a user would, with ``feed`` and ``seed``."""
    world = make_world(feed, seed)
    write_world(world, home)
    guard = Guard.open(shipped("feeds", f"{feed}.toml"), home=home)
    guard.trust(str(trusted_path(home, feed)), by="benchmark", reason="the world's vetted records")
    config = guard.contract.retrain
    admitted = kept_examples(world, guard.ingest(), pixel_max=config.pixel_max)
    return compare(world, admitted, config=config, budget=Budget(attacked=ATTACKED)).assign(feed=feed, seed=seed)


def run(feeds: Iterable[str], seeds: Iterable[int]) -> pd.DataFrame:
    """Return the rows of all feeds and seeds."""
    rows = []
    for seed in seeds:
        for feed in feeds:
            with tempfile.TemporaryDirectory() as home:
                rows.append(measure(feed, seed, Path(home)))
            shown = rows[-1].set_index("row")[["accuracy", "attack_success", "robust_accuracy"]].round(3)
            print(f"seed {seed} {feed}: {shown.T.to_dict()}", flush=True)
    return pd.concat(rows, ignore_index=True)


def report(found: pd.DataFrame) -> str:
    """Return the tables as Markdown."""
    lines = [
        f"# What models learn, {found['seed'].nunique()} seeds",
        "",
        "Written by `python benchmarks/learned.py`. Each world is drawn anew for each seed and ingested in one run.",
        "The feed's model is trained, with the contract's settings, on everything (majority labels, or sessions as",
        "labelled), on what the guard let through (accepted records, adopted labels), and on the truth. It is judged",
        "on examples in neither the feed nor the trusted set: 300 held-out images; 1,000 messages and 240 new",
        "paraphrases of the raid; 2,000 sessions and 240 new replays. Attack success: share of what the attacker wants",
        "misread that is read as he wants. Robust: right under the best of a one-step, an iterated and a query-only",
        f"adversary, of {ATTACKED} examples a seed. Means over the seeds, the worst seed in brackets.",
        "",
        "| feed | trained on | accuracy | worst class | attack success | robust accuracy | examples |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for (feed, row), part in found.groupby(["feed", "row"], sort=False):
        cells = [_spread(part[name], high=name != "attack_success") for name in found.columns[1:5]]
        lines.append(f"| {feed} | {NAMES[str(row)]} | {' | '.join(cells)} | {part['n'].mean():,.0f} |")
    lines += [
        "",
        "Promised: the guarded model within 1 point of the truth's accuracy and attack success ≤ .02 on each feed,",
        "where the model without a guard has ≥ .20. Differences of accuracy in points, paired by seed, with the 95 %",
        "interval of their mean.",
        "",
        "| feed | guarded − truth | without guard − truth | attack success, guarded | without guard |",
        "|---|---:|---:|---:|---:|",
    ]
    for feed, part in found.groupby("feed", sort=False):
        wide = {name: part.pivot_table(index="seed", columns="row", values=name) for name in found.columns[1:5]}
        behind = [
            _interval(100 * (wide["accuracy"][row] - wide["accuracy"]["truth"])) for row in ("admitted", "everything")
        ]
        success = [f"{wide['attack_success'][row].mean():.3f}" for row in ("admitted", "everything")]
        lines.append(f"| {feed} | {' | '.join(behind + success)} |")
    return "\n".join(lines) + "\n"


def _spread(values: pd.Series, *, high: bool) -> str:
    return f"{values.mean():.3f} ({values.min() if high else values.max():.3f})"


def _interval(points: pd.Series) -> str:
    """Mean of differences with Student's interval."""
    n = len(points)
    half = t.ppf(0.975, n - 1) * points.std(ddof=1) / np.sqrt(n) if n > 1 else float("nan")
    return f"{points.mean():+.2f} ({points.mean() - half:+.2f} to {points.mean() + half:+.2f})"


def main() -> None:
    """Run the seeds and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--feeds", default=",".join(WORLDS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    text = report(run(options.feeds.split(","), range(options.seeds)))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
