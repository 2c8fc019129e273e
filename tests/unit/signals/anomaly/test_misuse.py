"""What every detector says to options, tables and calls that cannot be right."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from poison_guard.errors import DataError, UsageError
from poison_guard.signals.anomaly import DETECTORS
from poison_guard.signals.anomaly.ensemble import Ensemble

ALL = [pytest.param(kind, id=name) for name, kind in {**DETECTORS, Ensemble.name: Ensemble}.items()]
each = pytest.mark.parametrize("kind", ALL)

X = np.random.default_rng(7).standard_normal((60, 4))

WRONG = [
    {"seed": -1},
    {"seed": "1"},
    {"seed": 2**64},
    {"device": "gpu"},
    {"device": None},
    {"threads": 0},
    {"threads": "2"},
    {"threads": 1.5},
    {"dtype": None},
]


@each
@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_an_option_that_means_nothing_is_an_error_that_names_it(kind, wrong):
    with pytest.raises(UsageError, match=f"{next(iter(wrong))} must be"):
        kind(**{"device": "cpu", **wrong}).fit(X)


@each
@pytest.mark.parametrize("wrong", [0, -1, "5", None, 2.5, float("nan"), True], ids=str)
def test_a_size_that_is_no_whole_number_above_zero_is_an_error_that_names_it(kind, wrong):
    sizes = [name for name, one in inspect.signature(kind).parameters.items() if type(one.default) is int]
    for name in set(sizes) - {"seed"}:
        with pytest.raises(UsageError, match=f"{name} must be a whole number"):
            kind(**{name: wrong})


@each
def test_before_it_was_fitted_it_says_so(kind):
    with pytest.raises(UsageError, match="was not fitted; call fit"):
        kind(device="cpu").score(X)
    assert not hasattr(kind(device="cpu"), "columns_")


@each
def test_tables_of_several_widths_cannot_be_fitted_on(kind):
    with pytest.raises(DataError, match="one width, got 4 columns and then 3"):
        kind(device="cpu").fit(iter([X, X[:, :3]]))
