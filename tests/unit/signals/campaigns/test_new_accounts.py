import numpy as np
import pandas as pd

from poison_guard.signals.campaigns.new_accounts import new_sources

AT = pd.Timestamp("2025-06-01", tz="UTC")


def frame(ages):
    since = pd.Series(
        [pd.NaT if age is None else AT - pd.Timedelta(days=age) for age in ages], dtype="datetime64[us, UTC]"
    )
    return pd.DataFrame({"observed_at": AT, "source_since": since})


def test_an_account_younger_than_thirty_days_at_one_of_its_records_is_new():
    new, aged = new_sources(frame([3, 400, 29, 31, 31]), np.array([0, 1, 2, 2, -1]))
    assert new.tolist() == [True, False, True]
    assert aged


def test_among_known_ages_an_unknown_one_is_new_and_where_none_is_known_nobody_is():
    assert new_sources(frame([None, 400]), np.array([0, 1]))[0].tolist() == [True, False]
    assert new_sources(frame([None, None]), np.array([0, 1]))[1] is False
    assert not new_sources(frame([None, None]), np.array([0, 1]))[0].any()


def test_without_sources_there_is_nobody():
    assert new_sources(frame([3]), np.array([-1]))[0].tolist() == []
