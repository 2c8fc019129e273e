from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

from poison_guard.errors import UsageError
from poison_guard.signals.anomaly import DETECTORS
from poison_guard.signals.anomaly.ensemble import MODES, Ensemble

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


def test_a_mode_that_does_not_exist_is_named_beside_those_that_do():
    with pytest.raises(UsageError, match=r"reference, unsupervised, got 'clean'"):
        Ensemble(mode="clean")


def test_copies_hide_less_from_the_unsupervised_mode_than_from_the_other():
    rng = np.random.default_rng(0)
    batch = np.concatenate([rng.standard_normal((900, 6)), 3 + 0.01 * rng.standard_normal((100, 6))])
    outlier = np.arange(len(batch)) >= 900
    areas = {mode: auroc(Ensemble(mode=mode, device="cpu").fit(batch).score(batch), outlier) for mode in MODES}
    assert areas["unsupervised"] > areas["reference"] + 0.1


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
