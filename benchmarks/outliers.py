"""What the detectors are worth: AUROC beside PyOD on 23 public sets, beside published figures, and under copies.

    python benchmarks/outliers.py [quality published copies] [--seeds 3] [--rows 5000] [--again]

Reads ``outliers`` in the folder `POISON_GUARD_DATA`; needs PyOD (`make install EXTRAS=dev,bench`). Every AUROC measured
is kept in ``results/outliers.csv`` and not measured again unless asked; the tables are made from that file.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from outliers_tables import write
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from poison_guard.signals.anomaly import DETECTORS
from poison_guard.signals.anomaly.ensemble import Ensemble

DATA = Path(os.environ.get("POISON_GUARD_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "outliers"
MEASURED = Path(__file__).parent / "results" / "outliers.csv"
KEY = ["part", "mode", "set", "seed", "detector"]
PUBLISHED_ROWS = 50_000  # the paper's own limit


class Case(NamedTuple):
    """Rows to fit on, rows to score, and which of those are outliers (1)."""

    part: str
    mode: str
    name: str
    fitted: np.ndarray
    scored: np.ndarray
    y: np.ndarray


def peers() -> dict[str, Callable[[int], Any]]:
    """Return PyOD's detectors with its defaults, by name."""
    from pyod.models.copod import COPOD
    from pyod.models.ecod import ECOD
    from pyod.models.hbos import HBOS
    from pyod.models.iforest import IForest
    from pyod.models.inne import INNE
    from pyod.models.knn import KNN
    from pyod.models.lof import LOF
    from pyod.models.mcd import MCD
    from pyod.models.pca import PCA

    return {
        "iforest": lambda seed: IForest(random_state=seed),
        "knn": lambda _: KNN(),
        "lof": lambda _: LOF(),
        "mcd": lambda seed: MCD(random_state=seed),
        "ecod": lambda _: ECOD(),
        "copod": lambda _: COPOD(),
        "hbos": lambda _: HBOS(),
        "pca": lambda seed: PCA(random_state=seed),
        "inne": lambda seed: INNE(random_state=seed),
    }


def load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return file["X"].astype(np.float64), file["y"].ravel().astype(int)


def cases(part: str, most: int, seed: int) -> Iterator[Case]:
    """Yield each set in both modes: fitted and scored on itself, or fitted on half of its normal rows."""
    published = pd.read_csv(DATA / "published_auroc.csv")["dataset"].unique()
    for path in sorted(DATA.glob("*.npz"), key=lambda p: p.stat().st_size):
        name = path.stem.split("_", 1)[1].lower()
        if part == "published" and name not in published:
            continue
        X, y = load(path)
        rng = np.random.default_rng(seed)
        some = rng.permutation(len(y))[:most]
        if y[some].sum() >= 5:
            yield Case(part, "unsupervised", name, X[some], X[some], y[some])
        normal, strange = (rng.permutation(np.flatnonzero(y == kind)) for kind in (0, 1))
        half = len(normal) // 2
        scored = np.concatenate([normal[half:][:most], strange[:most]])
        yield Case(part, "reference", name, X[normal[:half][:most]], X[scored], y[scored])


def copies(seed: int, most: int = 4000) -> Iterator[Case]:
    """Yield honest rows with a share of near-copies of one odd row: usual in every column, unusual together."""
    for name in ("28_pendigits", "30_satellite"):
        X, y = load(DATA / f"{name}.npz")
        rng = np.random.default_rng(seed)
        X = StandardScaler().fit_transform(rng.permutation(X[y == 0])[: 2 * most])
        half = len(X) // 2
        odd = 1.6 * rng.permutation(X[rng.integers(len(X))])
        for share in (0.01, 0.05, 0.1):
            count = int(share * half)
            poison = odd + 0.02 * rng.normal(size=(count, X.shape[1]))
            scored, truth = np.concatenate([X[half:], poison]), np.repeat([0, 1], [len(X) - half, count])
            title = f"{name.split('_')[1]} {share:.0%}"
            yield Case("copies", "unsupervised", title, scored, scored, truth)
            yield Case("copies", "reference", title, X[:half], scored, truth)


def ours(case: Case, name: str, seed: int) -> float:
    detector = Ensemble(mode=case.mode, seed=seed) if name == "ensemble" else DETECTORS[name](seed=seed)
    return float(100 * roc_auc_score(case.y, detector.fit(case.fitted).score(case.scored)))


def theirs(case: Case, make: Callable[[int], Any], seed: int) -> float:
    scaler = StandardScaler().fit(case.fitted)
    model = make(seed).fit(scaler.transform(case.fitted))
    own = case.fitted is case.scored
    scores = model.decision_scores_ if own else model.decision_function(scaler.transform(case.scored))
    return float(100 * roc_auc_score(case.y, np.nan_to_num(scores, nan=0.0, posinf=1e300, neginf=-1e300)))


def measure(case: Case, seed: int, done: set[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Return a row for each detector not yet `done` on this case."""
    makers: dict[str, Callable[[], float]] = {
        name: lambda name=name: ours(case, name, seed) for name in ("ensemble", *DETECTORS)
    }
    if case.part != "published":
        makers |= {f"pyod {name}": lambda make=make: theirs(case, make, seed) for name, make in peers().items()}
    rows = []
    for name, run in makers.items():
        key = (case.part, case.mode, case.name, seed, name)
        if key not in done:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rows.append(dict(zip(KEY, key, strict=True)) | {"auroc": round(run(), 3)})
    return rows


def main() -> None:
    """Measure what is missing, keep it, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["quality", "published", "copies"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=5000, help="most rows fitted on and scored of a set")
    parser.add_argument("--again", nargs="*", metavar="DETECTOR", help="measure these anew (none named: all)")
    asked = parser.parse_args()
    kept = pd.read_csv(MEASURED) if MEASURED.exists() else pd.DataFrame(columns=[*KEY, "auroc"])
    if asked.again is not None:
        stale = kept["detector"].isin(asked.again) if asked.again else True
        kept = kept[~(kept["part"].isin(asked.parts) & stale)]
    done = set(kept[KEY].itertuples(index=False, name=None))
    for part in asked.parts:
        for seed in range(asked.seeds):
            most = PUBLISHED_ROWS if part == "published" else asked.rows
            for case in copies(seed) if part == "copies" else cases(part, most, seed):
                rows = measure(case, seed, done)
                if rows:
                    kept = pd.concat([kept, pd.DataFrame(rows)], ignore_index=True).sort_values(KEY)
                    kept.to_csv(MEASURED, index=False)
                    print(part, seed, case.mode, case.name, len(rows), flush=True)
    write(kept, pd.read_csv(DATA / "published_auroc.csv"))


if __name__ == "__main__":
    main()
