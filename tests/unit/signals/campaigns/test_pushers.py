"""Dense crowds: where everybody answers everything, honest people give many of the pushed answers, too."""

import numpy as np
import pandas as pd
import pytest

from poison_guard.signals.campaigns import lockstep
from poison_guard.signals.campaigns.cohort_traits import cohort_traits
from poison_guard.signals.campaigns.findings import by_consistent_pushers

END = pd.Timestamp("2025-04-01", tz="UTC")


def dense(seed, *, people=40, items=100, attackers=100, window=3600):
    """Yes or no: people who are right seven times in ten answer all; attackers push the wrong side on a fifth."""
    r = np.random.default_rng(seed)
    said = r.random((people, items)) < 0.7
    honest = pd.DataFrame(
        {
            "item": np.tile(np.arange(items), people),
            "source": np.repeat(np.arange(people), items),
            "vote": said.ravel().astype(int),
            "at": r.uniform(0, 30 * 86400, people * items),
        }
    )
    aim = np.arange(0, items, 5)
    opens = r.uniform(0, 29 * 86400, len(aim))
    hits = [(i, people + s, 0, opens[k] + r.uniform(0, window)) for k, i in enumerate(aim) for s in range(attackers)]
    hits = [hit for hit in hits if r.random() < 0.5]
    both = pd.concat([honest, pd.DataFrame(hits, columns=honest.columns)], ignore_index=True)
    pushed = np.arange(len(both)) >= len(honest)
    new = both["source"].to_numpy() % 5 == 0
    frame = pd.DataFrame(
        {
            "record_id": [f"r{k}" for k in range(len(both))],
            "item_id": [f"i{k}" for k in both["item"]],
            "source_id": [f"s{k}" for k in both["source"]],
            "vote": both["vote"].astype("str"),
            "observed_at": END - pd.to_timedelta(30 * 86400 - both["at"], unit="s"),
            "source_since": END - pd.to_timedelta(np.where(new | pushed, 31, 400), unit="D"),
        }
    )
    return frame, pushed, pd.Series(new | pushed)


def held(frame, found):
    return frame["record_id"].isin({r for campaign in found for r in campaign.record_ids}).to_numpy()


@pytest.mark.parametrize("seed", range(3))
def test_a_burst_in_a_dense_crowd_takes_hardly_any_honest_person_along(seed):
    frame, pushed, _ = dense(seed)
    told = held(frame, lockstep(frame, alpha=0.0002))
    assert told[pushed].mean() >= 0.95
    assert told[~pushed].mean() <= 0.01


@pytest.mark.parametrize("seed", range(3))
def test_new_accounts_that_push_slowly_take_hardly_any_honest_newcomer_along(seed):
    frame, pushed, new = dense(seed, window=28 * 86400)
    told = held(frame, cohort_traits(frame, alpha=0.0002, newcomer=new))
    assert told[pushed].mean() >= 0.9
    assert told[~pushed].mean() <= 0.02


def test_who_pushes_a_third_of_what_they_say_of_the_pushed_items_is_no_pusher():
    item = np.array([0, 1, 2, 0, 1, 2, 3])
    source = np.array([0, 0, 0, 1, 1, 1, 1])
    pushed = np.array([True, True, False, True, False, False, False])
    item, source, pushed = np.r_[item, 2], np.r_[source, 2], np.r_[pushed, True]
    assert by_consistent_pushers(item, source, pushed).tolist() == [True] * 3 + [False] * 4 + [True]
    assert not by_consistent_pushers(item, source, np.zeros(8, bool)).any()
