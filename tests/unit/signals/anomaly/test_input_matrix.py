"""What counts as a table of numbers, and what is an error instead of a guess."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from poison_guard.errors import DataError
from poison_guard.signals.anomaly.base import as_matrix, winsorised_scale

PLAIN = [[1.0, 2.0], [3.0, 4.0]]
MOMENTS = pd.date_range("2026-01-01", periods=2)


@pytest.mark.parametrize(
    "given",
    [
        PLAIN,
        np.array(PLAIN, dtype=np.float16),
        np.array(PLAIN, dtype=">f8"),
        np.array(PLAIN).astype(int),
        np.array(PLAIN, dtype=object),
        [[Decimal(1), Decimal(2)], [3, 4]],
        pd.DataFrame(PLAIN),
        pd.DataFrame(PLAIN).convert_dtypes(),
        pd.DataFrame(PLAIN).convert_dtypes(dtype_backend="pyarrow"),
        torch.tensor(PLAIN, requires_grad=True),
        torch.tensor(PLAIN, dtype=torch.bfloat16),
    ],
)
def test_numbers_of_any_kind_are_read_as_they_are(given):
    assert as_matrix(given).tolist() == PLAIN


def test_float32_is_kept_and_booleans_are_numbers():
    assert as_matrix(np.ones((2, 2), dtype=np.float32)).dtype == np.float32
    assert as_matrix([[True, False]]).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(
    "given",
    [
        np.ma.masked_array(PLAIN, [[False, True], [False, False]]),
        pd.DataFrame({"a": pd.array([1, 3], dtype="Int64"), "b": pd.array([None, 4], dtype="Int64")}),
        pd.DataFrame({"a": [1.0, 3.0], "b": pd.array([None, 4], dtype="Int64")}),
        np.array([[1, None], [3, 4]], dtype=object),
    ],
)
def test_cells_that_are_not_there_are_nan(given):
    np.testing.assert_array_equal(as_matrix(given), [[1.0, np.nan], [3.0, 4.0]])


@pytest.mark.parametrize(
    "given",
    [
        [["1", "2"]],
        np.array([["1", 2.0]], dtype=object),
        pd.DataFrame({"a": ["1"], "b": [2.0]}),
        pd.DataFrame({"a": pd.Categorical([1, 2])}),
        pd.DataFrame({"a": MOMENTS}),
        pd.DataFrame({"a": MOMENTS.tz_localize("UTC"), "b": [1.0, 2.0]}),
        MOMENTS.to_numpy().reshape(-1, 1),
        np.array([[1]], dtype="timedelta64[s]"),
        np.array([[1j]]),
        [[10**400]],
        [[1.0], [2.0, 3.0]],
        sparse.csr_array(PLAIN),
        {"a": [1.0]},
        "rows.csv",
    ],
)
def test_nothing_is_guessed(given):
    with pytest.raises(DataError, match="dense table"):
        as_matrix(given)


@pytest.mark.parametrize("given", [None, 5, [1.0], np.zeros((2, 2, 2)), np.zeros((2, 0))])
def test_another_shape_is_told(given):
    with pytest.raises(DataError, match="got shape"):
        as_matrix(given)


def test_a_winsorised_scale_is_the_deviation_of_a_normal_and_bounded_by_its_outer_percent():
    rng = np.random.default_rng(0)
    X = rng.normal(3.0, 2.0, (20_000, 2))
    X[:100, 1] = 1e9
    centre, scale = winsorised_scale(X)
    np.testing.assert_allclose(centre, 3.0, atol=0.1)
    np.testing.assert_allclose(scale, 2.0, rtol=0.1)


def test_a_winsorised_scale_is_positive_for_rare_values_and_constants():
    X = np.zeros((1000, 2))
    X[:5, 0] = 4.0
    _, scale = winsorised_scale(X)
    assert scale[0] == pytest.approx(X[:, 0].std())
    assert scale[1] == 1.0
