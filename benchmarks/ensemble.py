"""Which views the default detector combines, chosen by leaving families of data sets out.

    python benchmarks/ensemble.py [--seeds 1] [--rows 5000] [--cache FOLDER]

Each view scores each of the 23 public sets once, as tail ranks of two held-out folds (what the ensemble combines); the
ranks are kept in the cache, and every rule is judged on them. A rule has no weight: a view alone, or the mean rank, the
sum of logs or the largest rank of two or three. It is chosen on all families of sets but one and judged on that one.
PyOD's AUROC on the same rows comes from ``results/outliers.csv`` (`benchmarks/outliers.py`).
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from outliers import MEASURED, Case, cases

from poison_guard.signals.anomaly import DETECTORS
from poison_guard.signals.anomaly.base import MAX_REFERENCE, Columns, TailRank, bounded
from poison_guard.signals.anomaly.knn import NearestNeighbours
from poison_guard.signals.anomaly.mahalanobis import Mahalanobis, trimmed_covariance
from poison_guard.signals.anomaly.neighbours import draw_bags

RESULTS = Path(__file__).parent / "results" / "ensemble.md"
FAMILIES = {
    "health": "breastw cardio pima wdbc thyroid annthyroid mammography",
    "images": "aloi letter mnist optdigits pendigits satellite",
    "physics": "shuttle fault magic.gamma ionosphere cover musk",
    "text, speech, net": "http spambase vowels yeast",
}
PEER = {"unsupervised": "pyod mcd", "reference": "pyod knn"}
OURS = {
    "unsupervised": ("max rank", ("iforest", "bagged_knn", "mahalanobis")),
    "reference": ("alone", ("knn 4096",)),
}
"""The rule that `Ensemble` has."""


class BaggedMahalanobis:
    """Mean log distance from the trimmed means of 8 bags of 256 rows (four a column where that is more)."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def fit(self, X: np.ndarray) -> Self:
        self.columns = Columns.fit(X)
        rows = self.columns.apply(X, np.float64)
        size = min(len(rows), max(256, 4 * rows.shape[1]))
        parts = [trimmed_covariance(rows[at], keep=0.6) for at in draw_bags(len(rows), 8, size, self.seed).T]
        self.parts = [(mean, np.linalg.inv(np.linalg.cholesky(covariance)).T) for mean, covariance in parts]
        return self

    def score(self, X: np.ndarray) -> np.ndarray:
        cells = self.columns.apply(X, np.float64)
        return np.mean([np.log1p((((cells - m) @ w) ** 2).sum(axis=1)) for m, w in self.parts], axis=0)


VIEWS: dict[str, Callable[[int], Any]] = {
    **{n: lambda seed, n=n: DETECTORS[n](seed=seed) for n in ("iforest", "bagged_knn", "inne", "hbos", "lof")},
    "mahalanobis": lambda seed: Mahalanobis(seed=seed),
    "mahalanobis .95": lambda seed: Mahalanobis(keep=0.95, seed=seed),
    "bagged mahalanobis": BaggedMahalanobis,
    "knn": lambda seed: NearestNeighbours(statistic="mean", reference=2048, seed=seed),
    "knn 4096": lambda seed: NearestNeighbours(statistic="mean", reference=4096, seed=seed),
    "knn 8192": lambda seed: NearestNeighbours(statistic="mean", seed=seed),
}
OF_MODE = {
    "unsupervised": ("iforest", "bagged_knn", "inne", "hbos", "mahalanobis", "bagged mahalanobis"),
    "reference": (
        *(
            "knn",
            "knn 4096",
            "knn 8192",
            "lof",
            "bagged_knn",
            "inne",
            "iforest",
            "mahalanobis .95",
            "bagged mahalanobis",
        ),
    ),
}
Rule = tuple[str, tuple[str, ...]]
COMBINE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "alone": lambda tails: tails[0],
    "mean rank": lambda tails: -np.exp(-tails).mean(axis=0),
    "sum of logs": lambda tails: tails.mean(axis=0),  # Fisher
    "max rank": lambda tails: tails.max(axis=0),
}
Cache = dict[tuple[str, str, int], dict[str, np.ndarray]]


def tails(case: Case, name: str, seed: int) -> np.ndarray:
    """Return the tail ranks of the scored rows, as `Ensemble` makes them."""
    rows = bounded(case.fitted, MAX_REFERENCE, seed)
    one, two = rows[::2], rows[1::2]
    held_out = [VIEWS[name](seed).fit(a).score(b) for a, b in ((one, two), (two, one))]
    rank = TailRank.fit(np.concatenate(held_out))
    return rank.apply(VIEWS[name](seed).fit(rows).score(case.scored)).astype(np.float32)


def kept(folder: Path, seeds: int, rows: int) -> Cache:
    """Return the tail ranks and truth of each (mode, set, seed), made where the cache lacks them."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for seed in range(seeds):
        for case in cases("quality", rows, seed):
            file = folder / f"{case.mode}-{case.name}-{seed}-{rows}.npz"
            have = dict(np.load(file)) if file.exists() else {"y": case.y}
            missing = [name for name in OF_MODE[case.mode] if name not in have]
            have |= {name: tails(case, name, seed) for name in missing}
            if missing:
                np.savez_compressed(file, **have)
                print(seed, case.mode, case.name, flush=True)
            found[case.mode, case.name, seed] = have
    return found


def auroc(y: np.ndarray, scores: np.ndarray) -> float:
    order = np.argsort(scores, kind="stable")
    new = np.r_[True, np.diff(scores[order]) != 0]
    group = np.cumsum(new) - 1
    size = np.bincount(group)
    rank = (np.cumsum(size) - (size - 1) / 2)[group]
    hits = int(y.sum())
    return float(100 * (rank[y[order] == 1].sum() - hits * (hits + 1) / 2) / (hits * (len(y) - hits)))


def rules(mode: str) -> list[Rule]:
    """Return every rule without a weight: each view alone, and each way to combine two or three of them."""
    views = OF_MODE[mode]
    found: list[Rule] = [("alone", (view,)) for view in views]
    for size in (2, 3):
        found += [(way, some) for some in itertools.combinations(views, size) for way in COMBINE if way != "alone"]
    return found


def judged(cache: Cache, mode: str, every: list[Rule]) -> pd.DataFrame:
    """Return the AUROC of each rule (columns, by position) on each set (rows), mean over seeds."""
    rows: dict[str, list[list[float]]] = {}
    for (own, name, _), have in cache.items():
        if own == mode:
            scores = [COMBINE[way](np.stack([have[v] for v in views]).astype(float)) for way, views in every]
            rows.setdefault(name, []).append([auroc(have["y"], some) for some in scores])
    return pd.DataFrame({name: np.mean(some, axis=0) for name, some in rows.items()}).T


def interval(differences: pd.Series) -> str:
    """Return the mean over sets with its 95 % bootstrap interval."""
    rng, values = np.random.default_rng(0), differences.to_numpy()
    means = values[rng.integers(0, len(values), (10_000, len(values)))].mean(axis=1)
    return f"{values.mean():+.2f} [{np.quantile(means, 0.025):+.2f}, {np.quantile(means, 0.975):+.2f}]"


def title(rule: Rule) -> str:
    return f"{rule[0]}: {', '.join(rule[1])}"


def left_out(table: pd.DataFrame, every: list[Rule]) -> tuple[pd.Series, dict[str, str]]:
    """Return the AUROC of each set by the rule that is best on the other families, and the rule of each family."""
    family = pd.Series({name: group for group, names in FAMILIES.items() for name in names.split()}).reindex(
        table.index
    )
    out, chosen = pd.Series(0.0, table.index), {}
    for group in FAMILIES:
        best = table[family != group].mean().idxmax()
        out[family == group], chosen[group] = table.loc[family == group, best], title(every[best])
    return out, chosen


def section(cache: Cache, mode: str, seeds: int) -> str:
    every = rules(mode)
    table, peer = judged(cache, mode, every), pd.read_csv(MEASURED)
    mine = peer[(peer["part"] == "quality") & (peer["mode"] == mode) & (peer["seed"] < seeds)]
    theirs = mine[mine["detector"] == PEER[mode]].groupby("set")["auroc"].mean().reindex(table.index)
    out, chosen = left_out(table, every)
    ours = every.index(OURS[mode])
    lines = [
        f"## {mode.capitalize()}",
        "",
        f"| rule | mean AUROC of {len(table)} | minus {PEER[mode]} [95 %] |",
        "|---|---:|---|",
    ]
    lines += [f"| {PEER[mode]} | {theirs.mean():.2f} | |"]
    lines += [f"| **families left out** | **{out.mean():.2f}** | **{interval(out - theirs)}** |"]
    lines += [
        f"| the default now: {title(every[ours])} | {table[ours].mean():.2f} | {interval(table[ours] - theirs)} |"
    ]
    best = [i for i in table.mean().sort_values(ascending=False).index[:8] if i != ours]
    alone = [i for i, rule in enumerate(every) if rule[0] == "alone" and i not in (*best, ours)]
    lines += [f"| {title(every[i])} | {table[i].mean():.2f} | {interval(table[i] - theirs)} |" for i in (*best, *alone)]
    lines += ["", "Chosen where a family is left out: " + "; ".join(f"{g} → {r}" for g, r in chosen.items()) + ".", ""]
    return "\n".join(lines)


def main() -> None:
    """Fill the cache, judge every rule and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--cache", type=Path, default=Path("build/ensemble"))
    asked = parser.parse_args()
    cache = kept(asked.cache, asked.seeds, asked.rows)
    head = (
        "# The default detector: chosen by leaving families of sets out\n\n"
        f"`python benchmarks/ensemble.py --seeds {asked.seeds}`, at most {asked.rows:,} rows of a set. Rules have no\n"
        "weight. *Families left out*: for each of four families of the 23 sets the rule that is best on the others\n"
        "is judged on it; nothing was chosen on the sets it is judged on. Intervals are bootstraps over sets. The\n"
        "best rules of all, below, chose themselves on these sets.\n\n"
    )
    RESULTS.write_text(head + "\n".join(section(cache, mode, asked.seeds) for mode in PEER))


if __name__ == "__main__":
    main()
