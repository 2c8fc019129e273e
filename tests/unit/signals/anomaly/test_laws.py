"""The laws every detector keeps; a detector that joins the registry is tested here without another line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from poison_guard.errors import DataError, UsageError
from poison_guard.signals.anomaly import DETECTORS, Detector
from poison_guard.signals.anomaly.base import Explains
from poison_guard.signals.anomaly.ensemble import Ensemble
from poison_guard.signals.anomaly.saved import load, save
from tests.thorough import examples

KINDS = {**DETECTORS, Ensemble.name: Ensemble}
ALL = [pytest.param(kind, id=name) for name, kind in KINDS.items()]
each = pytest.mark.parametrize("kind", ALL)

rng = np.random.default_rng(7)
X = rng.multivariate_normal(np.zeros(4), 0.5 * np.eye(4) + 0.5, size=600)
Y = np.concatenate([rng.multivariate_normal(np.zeros(4), 0.5 * np.eye(4) + 0.5, size=150), rng.normal(6, 1, (10, 4))])


def fitted(kind, data=X, **options):
    return kind(seed=0, device="cpu", **options).fit(data)


@each
def test_it_keeps_the_protocol(kind):
    assert isinstance(fitted(kind), Detector)
    scores = fitted(kind).score(Y)
    assert scores.shape == (len(Y),)
    assert scores.dtype == np.float64


@each
def test_strange_rows_score_higher(kind):
    scores = fitted(kind).score(Y)
    assert scores[150:].min() > np.quantile(scores[:150], 0.95)


@each
def test_scores_follow_their_rows_in_any_order(kind):
    order = np.random.default_rng(1).permutation(len(Y))
    detector = fitted(kind)
    np.testing.assert_array_equal(detector.score(Y[order]), detector.score(Y)[order])


@each
def test_the_order_of_the_fitted_rows_does_not_matter(kind):
    shuffled = X[np.random.default_rng(2).permutation(len(X))]
    np.testing.assert_allclose(fitted(kind, shuffled).score(Y), fitted(kind).score(Y), rtol=1e-6)


@each
def test_a_score_does_not_depend_on_batchmates(kind):
    detector = fitted(kind)
    together = detector.score(Y)
    np.testing.assert_array_equal(np.concatenate([detector.score(row[None]) for row in Y]), together)
    crowd = np.concatenate([Y, np.full((500, 4), 1e9)])
    np.testing.assert_array_equal(detector.score(crowd)[: len(Y)], together)


@each
def test_the_same_seed_gives_the_same_scores_and_scoring_changes_nothing(kind):
    first, second = fitted(kind), fitted(kind)
    np.testing.assert_array_equal(first.score(Y), second.score(Y))
    np.testing.assert_array_equal(first.score(Y), second.score(Y))


@each
def test_threads_do_not_change_scores(kind):
    np.testing.assert_allclose(fitted(kind, threads=1).score(Y), fitted(kind, threads=2).score(Y), rtol=1e-6)


@each
def test_units_do_not_matter(kind):
    factors, shifts = np.array([1e-6, 1.0, 3e4, 1e9]), np.array([0.0, 5.0, -1e5, 1e9])
    scaled = fitted(kind, X * factors + shifts).score(Y * factors + shifts)
    assert np.corrcoef(scaled, fitted(kind).score(Y))[0, 1] > 0.97


@each
def test_float32_and_float64_agree(kind):
    narrow = fitted(kind, X.astype(np.float32)).score(Y.astype(np.float32))
    assert np.corrcoef(narrow, fitted(kind).score(Y))[0, 1] > 0.99


@each
def test_constant_and_duplicate_columns_do_no_harm(kind):
    def wide(Z):
        return np.column_stack([Z, np.full(len(Z), 3.0), Z[:, 0]])

    scores = fitted(kind, wide(X)).score(wide(Y))
    assert np.isfinite(scores).all()
    assert scores[150:].min() > np.median(scores[:150])


@each
def test_a_saved_detector_scores_as_it_did(kind, tmp_path):
    detector = fitted(kind)
    save(detector, tmp_path / "d.safetensors")
    again = load(tmp_path / "d.safetensors", KINDS, device="cpu")
    np.testing.assert_array_equal(again.score(Y), detector.score(Y))


@each
def test_tables_one_after_the_other_can_be_fitted_and_scored(kind):
    streamed = kind(seed=0, device="cpu").fit(iter(np.array_split(X, 5)))
    np.testing.assert_allclose(streamed.score(Y), fitted(kind).score(Y), rtol=1e-6)
    np.testing.assert_array_equal(streamed.score(iter(np.array_split(Y, 3))), streamed.score(Y))


@each
def test_float64_computation_agrees_with_float32(kind):
    assert np.corrcoef(fitted(kind, dtype="float64").score(Y), fitted(kind).score(Y))[0, 1] > 0.999
    with pytest.raises(UsageError, match="float16"):
        fitted(kind, dtype="float16")


@each
def test_parts_of_the_explanation_are_one_a_column_and_name_the_strange_one(kind):
    if not issubclass(kind, Explains):
        pytest.skip("it takes no score apart")
    odd = Y[:20].copy()
    odd[:, 2] += 9.0
    parts = fitted(kind).explain(odd)
    assert parts.shape == odd.shape
    assert parts.min() >= 0
    assert (parts.argmax(axis=1) == 2).mean() > 0.9
    assert fitted(kind).explain(odd[:0]).shape == (0, 4)


@each
def test_near_duplicates_in_the_reference_do_no_harm(kind):
    copies = np.concatenate([X, np.repeat(X[:3], 100, axis=0) + 1e-9])
    scores = fitted(kind, copies).score(Y)
    assert np.isfinite(scores).all()
    assert scores[150:].min() > np.median(scores[:150])


@each
def test_equal_rows_alone_can_be_fitted(kind):
    scores = fitted(kind, np.ones((50, 4))).score(np.concatenate([np.ones((2, 4)), np.full((2, 4), 5.0)]))
    assert np.isfinite(scores).all()
    assert scores[2:].min() >= scores[:2].max()  # a tree has nothing to cut in equal rows


@each
def test_one_row_is_enough_to_fit_and_to_score(kind):
    scores = fitted(kind, X[:1]).score(Y)
    assert np.isfinite(scores).all()
    assert fitted(kind).score(Y[:1]).shape == (1,)


@each
def test_no_rows_score_nothing_and_cannot_be_fitted_on(kind):
    assert fitted(kind).score(np.empty((0, 4))).shape == (0,)
    with pytest.raises(DataError, match="0 rows"):
        fitted(kind, np.empty((0, 4)))


@each
def test_many_rows_on_two_threads_score_bit_for_bit_as_on_one_and_leave_torch_as_it_was(kind):
    detector = fitted(kind, X[:40], threads=2)
    many = np.resize(Y, (65_536, 4))
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    two = detector.score(many)
    with pytest.raises(DataError):
        detector.score(iter([Y, Y[:, :2]]))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    detector.threads = 1
    np.testing.assert_array_equal(two, detector.score(many))


@each
def test_a_table_of_another_width_is_an_error_that_says_both(kind):
    with pytest.raises(DataError, match=r"4 columns .* 3"):
        fitted(kind).score(Y[:, :3])


@each
@pytest.mark.parametrize("bad", [[["a", "b"]], [1.0, 2.0], np.empty((3, 0))], ids=["strings", "flat", "no columns"])
def test_what_is_no_table_of_numbers_is_an_error(kind, bad):
    with pytest.raises(DataError):
        fitted(kind, bad)


@each
def test_nan_and_infinity_give_finite_scores_and_infinity_is_strange(kind):
    detector = fitted(kind)
    hostile = np.repeat(Y[:1], 5, axis=0)
    hostile[0, 0], hostile[1, 1], hostile[2, 2], hostile[3] = np.nan, np.inf, -np.inf, 1e300
    scores = detector.score(hostile)
    assert np.isfinite(scores).all()
    assert scores[1:4].min() > np.quantile(detector.score(Y[:150]), 0.9)


@each
def test_fitting_on_nan_infinity_and_empty_columns_gives_finite_scores(kind):
    holed = X.copy()
    holed[::7, 0], holed[::50, 1], holed[:, 2] = np.nan, np.inf, np.nan
    scores = fitted(kind, holed).score(Y)
    assert np.isfinite(scores).all()
    assert scores[150:].mean() > scores[:150].mean()


@each
def test_more_columns_than_rows_can_be_fitted(kind):
    wide = np.random.default_rng(3).standard_normal((40, 3000))
    scores = fitted(kind, wide).score(np.concatenate([wide[:5] + 0.01, wide[:5] + 20.0]))
    assert np.isfinite(scores).all()
    assert scores[5:].min() >= scores[:5].max()


@each
def test_copies_of_one_point_do_not_break_the_fit(kind):
    crowded = np.concatenate([X[:50], np.repeat(X[:1], 400, axis=0)])
    assert np.isfinite(fitted(kind, crowded).score(Y)).all()


@each
@settings(max_examples=examples(6), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    data=hnp.arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 4)), elements=st.floats(width=64)),
)
def test_scores_are_finite_whatever_the_numbers(kind, data):
    assert np.isfinite(fitted(kind, data).score(data)).all()
