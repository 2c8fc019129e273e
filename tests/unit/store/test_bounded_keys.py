"""Names that a database can keep."""

from __future__ import annotations

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.store.bulk import MAX_KEY, bounded_key, bounded_keys

NAMES = st.text(alphabet=st.characters(codec="utf-8"), max_size=300)


@given(NAMES)
def test_every_name_fits(name):
    fitted = bounded_key(name)
    assert len(fitted) <= MAX_KEY
    assert "\0" not in fitted
    assert bounded_key(fitted) == fitted


@given(st.lists(NAMES, unique=True, max_size=5))
def test_different_names_stay_different(names):
    assert len({bounded_key(n) for n in names}) == len(names)


def test_missing_names_stay_missing():
    fitted = bounded_keys(pd.Series(["a", None, "b\0"], dtype="str"))
    assert fitted.isna().tolist() == [False, True, False]
    assert fitted.iloc[0] == "a"


def test_an_empty_column_is_untouched():
    assert bounded_keys(pd.Series([], dtype="str")).empty
