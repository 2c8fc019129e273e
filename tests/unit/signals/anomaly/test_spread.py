from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from poison_guard.signals.anomaly.features import WIDEST, CyclicTime, Embedding, text_encoding

rng = np.random.default_rng(0)
VECTORS = pd.Series([json.dumps(v) for v in rng.standard_normal((200, 6)).round(4).tolist()], dtype="str")
MOMENTS = pd.Series(pd.date_range("2026-01-05T09:00", periods=200, freq="97min", tz="UTC").astype("str"), dtype="str")


def test_lists_of_numbers_are_an_embedding_and_many_dates_are_moments():
    assert text_encoding(VECTORS) is Embedding
    assert text_encoding(MOMENTS) is CyclicTime


@pytest.mark.parametrize(
    "cells",
    [["a", "b"], ["[", "[1,"], ["2026-01-05"] * 200, ["[[1, 2], [3, 4]]"], ['["a"]'], ["[]"], [None], [], ["[NaN]"]],
)
def test_anything_else_stays_a_name(cells):
    assert text_encoding(pd.Series(cells, dtype="str")) is None


def test_an_embedding_has_a_column_for_each_number_and_other_cells_are_missing():
    fitted = Embedding.fit(VECTORS)
    told = fitted.apply(pd.Series([VECTORS[0], "[1, 2]", "[1, 2, 3, 4, 5, 1e999]", None, "no list"], dtype="str"))
    assert told.shape == (5, 6)
    assert np.isfinite(told[0]).all()
    assert np.isnan(told[1:]).all()


def test_a_hostile_list_costs_no_more_than_its_first_numbers():
    long = pd.Series(["[" + "1," * (3 * WIDEST) + "1]"] * 3 + ["[" * 100_000], dtype="str")
    fitted = Embedding.fit(long)
    assert fitted.width == WIDEST
    assert np.isnan(fitted.apply(long)[3]).all()


def test_the_same_hour_of_another_week_is_the_same_place_and_another_hour_is_not():
    fitted = CyclicTime.fit(MOMENTS)
    cells = ["2026-01-07T10:00:00+00:00", "2027-03-10T10:00:00+00:00", "2026-01-07T22:00:00+00:00", "soon"]
    told = fitted.apply(pd.Series(cells, dtype="str"))
    np.testing.assert_allclose(told[0], told[1], atol=1e-9)
    assert np.abs(told[0] - told[2]).max() > 0.5
    assert np.isnan(told[3]).all()
