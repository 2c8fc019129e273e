"""Detectors among scikit-learn's tools: parameters, clones, pipelines, columns by name, signs, tags, its own checks."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_outlier_detector
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator

from poison_guard.errors import UsageError
from poison_guard.signals.anomaly import DETECTORS
from poison_guard.signals.anomaly.ensemble import Ensemble
from poison_guard.signals.anomaly.estimator import InputError, NotFittedError
from poison_guard.signals.anomaly.saved import load, save

KINDS = {**DETECTORS, "ensemble": Ensemble}
X = np.random.default_rng(0).normal(size=(120, 3)) * (1, 10, 100)
TABLE = pd.DataFrame(X, columns=["a", "b", "c"])

EXPLAINED = {
    "check_estimators_unfitted": "NotFittedError is the guard's own: scikit-learn is not imported to raise its one",
    "check_do_not_raise_errors_in_init_or_set_params": "a parameter that cannot be right is refused where it is typed",
    "check_set_params": "likewise",
    "check_n_features_in_after_fitting": "another number of columns is refused, in words of the guard's own",
    "check_estimators_empty_data_messages": "a table without columns is refused, in words of the guard's own",
    "check_complex_data": "complex numbers are refused, in words of the guard's own",
    "check_dtype_object": "cells that are no numbers are refused, in words of the guard's own",
}


@pytest.mark.filterwarnings("ignore")  # that they inherit from nothing of scikit-learn's
@pytest.mark.parametrize("kind", KINDS)
def test_scikit_learns_own_checks_pass_but_for_those_explained(kind: str) -> None:
    checks = check_estimator(KINDS[kind](device="cpu"), on_fail=None, on_skip=None)
    failed = {check["check_name"] for check in checks if check["status"] == "failed"}
    assert len(checks) >= 40
    assert failed == set(EXPLAINED)


@pytest.mark.parametrize("kind", KINDS)
def test_a_clone_has_the_parameters_and_nothing_learned(kind: str) -> None:
    detector = KINDS[kind](seed=3, device="cpu", dtype="float64").fit(X, y=None)
    again = clone(detector)
    assert again.get_params() == detector.get_params()
    assert not hasattr(again, "n_features_in_")
    assert eval(repr(again), {type(again).__name__: type(again)}).get_params() == again.get_params()
    with pytest.raises(NotFittedError):
        again.predict(X)
    assert again.set_params(seed=4).seed == 4
    with pytest.raises(UsageError, match=r"has no parameter 'sead'; it has .*seed"):
        again.set_params(sead=1)
    with pytest.raises(UsageError, match="threads must be a whole number"):
        again.set_params(threads=0)


@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_a_table_are_taken_by_name(kind: str) -> None:
    detector = KINDS[kind](device="cpu").fit(TABLE)
    assert list(detector.feature_names_in_) == ["a", "b", "c"]
    scores = detector.score(TABLE)
    np.testing.assert_array_equal(detector.score(TABLE[["c", "a", "b"]]), scores)
    np.testing.assert_array_equal(detector.score(iter([TABLE[["b", "c", "a"]]])), scores)
    np.testing.assert_array_equal(detector.score(X), scores)
    for other, said in (
        (TABLE.rename(columns={"b": "z"}), "it lacks b and it has z"),
        (TABLE.assign(d=1.0), "it has d"),
        (TABLE[["a", "b"]], "it lacks c"),
        (TABLE[["a", "b", "c", "c"]], "it has a column twice"),
    ):
        with pytest.raises(InputError, match=f"other columns than the one fitted on: {said}"):
            detector.score(other)
    assert not hasattr(detector.fit(X), "feature_names_in_"), "fitted anew on a table without names"


def test_signs_are_those_of_scikit_learn_and_score_keeps_its_own(tmp_path) -> None:
    detector = Ensemble(device="cpu").fit(TABLE)
    strange = pd.DataFrame([[0, 0, 0], [9, -90, 900]], columns=["a", "b", "c"]).astype(float)
    assert detector.score(strange)[1] > detector.score(strange)[0]
    np.testing.assert_array_equal(detector.score_samples(strange), -detector.score(strange))
    assert detector.predict(strange).tolist() == [1, -1]
    assert (detector.decision_function(strange) < 0).tolist() == [False, True]
    assert (detector.fit_predict(TABLE) == -1).mean() == pytest.approx(0.01, abs=0.01)
    save(detector, tmp_path / "d.safetensors")
    for again in (load(tmp_path / "d.safetensors", KINDS), pickle.loads(pickle.dumps(detector))):
        assert again.predict(strange[["c", "b", "a"]]).tolist() == [1, -1]
    of_blocks = Ensemble(device="cpu").fit(iter([TABLE[:60], TABLE[60:]]))
    assert list(of_blocks.feature_names_in_) == ["a", "b", "c"]
    with pytest.raises(NotFittedError):
        of_blocks.predict(TABLE)


def test_a_pipeline_fits_scores_and_predicts() -> None:
    pipeline = make_pipeline(StandardScaler(), KINDS["knn"](device="cpu")).fit(TABLE)
    assert pipeline.predict(TABLE).shape == pipeline.score(TABLE).shape == (120,)
    assert is_outlier_detector(pipeline[-1])
    assert get_tags(pipeline[-1]).input_tags.allow_nan


def test_a_device_that_no_machine_has_is_refused_at_once() -> None:
    for device in ("gpu", "cuda:", "cuda:x", None, 0):
        with pytest.raises(UsageError, match="device must be auto, cpu, cuda or cuda:N"):
            KINDS["knn"](device=device)
