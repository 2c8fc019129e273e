from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

from poison_guard.signals.anomaly import DETECTORS
from poison_guard.signals.anomaly.ensemble import Ensemble, TailRank

ROOT = Path(__file__).parents[4]
OUTLIERS = Path(os.environ.get("POISON_GUARD_DATA", ROOT.parent / "shared" / "data")) / "outliers"
SETS = ["4_breastw", "6_cardio", "38_thyroid", "40_vowels"]

public = pytest.mark.skipif(not OUTLIERS.is_dir(), reason="set POISON_GUARD_DATA to the folder with outliers/*.npz")


def auroc(scores, outlier):
    ranks = rankdata(scores)
    inside = int(outlier.sum())
    return (ranks[outlier].sum() - inside * (inside + 1) / 2) / (inside * (len(scores) - inside))


def clean_reference(name, seed=0):
    data = np.load(OUTLIERS / f"{name}.npz")
    X, y = data["X"].astype(np.float64), data["y"].ravel() == 1
    rng = np.random.default_rng(seed)
    normal = rng.permutation(np.flatnonzero(~y))
    half = len(normal) // 2
    rest = np.r_[normal[half:][:2000], np.flatnonzero(y)[:1000]]
    return X[normal[:half]], X[rest], y[rest]


def test_tail_ranks_rise_with_the_score_and_go_on_past_the_largest():
    rank = TailRank.fit(np.random.default_rng(0).standard_normal(500))
    values = rank.apply(np.linspace(-5, 50, 200))
    assert (np.diff(values) >= 0).all()
    assert values[0] == pytest.approx(0)
    assert values[-1] > values[100] > np.log(500)


def test_tail_ranks_of_equal_scores_are_finite():
    assert np.isfinite(TailRank.fit(np.zeros(10)).apply(np.array([-1.0, 0.0, 1e12]))).all()


@public
def test_on_public_sets_the_ensemble_is_near_the_best_detector_of_each_mean():
    options = {"seed": 0, "device": "cpu", "threads": 1}
    kinds = {**DETECTORS, "ensemble": Ensemble}
    areas = {name: [] for name in kinds}
    for data in SETS:
        reference, batch, outlier = clean_reference(data)
        for name, kind in kinds.items():
            areas[name].append(auroc(kind(**options).fit(reference).score(batch), outlier))
    means = {name: np.mean(values) for name, values in areas.items()}
    assert means["ensemble"] > max(means[name] for name in DETECTORS) - 0.01
    assert means["ensemble"] > 0.94


@public
@pytest.mark.parametrize("name", ["28_pendigits", "30_satellite"])
@pytest.mark.parametrize("share", [0.05])
def test_coordinated_near_duplicates_do_not_blind_scores_against_a_reference(name, share):
    data = np.load(OUTLIERS / f"{name}.npz")
    normal = data["X"][data["y"].ravel() == 0].astype(np.float64)
    areas = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        X = rng.permutation(normal)[:4000]
        odd = X.mean(axis=0) + 1.6 * rng.permutation(X[0] - X.mean(axis=0))  # plausible margins, a joint nobody has
        copies = odd + 0.02 * X.std(axis=0) * rng.standard_normal((max(4, int(share * 1000)), X.shape[1]))
        scores = Ensemble(seed=0, device="cpu").fit(X[:3000]).score(np.concatenate([X[3000:], copies]))
        areas.append(auroc(scores, np.arange(len(scores)) >= len(X) - 3000))
    assert np.mean(areas) >= 0.99
