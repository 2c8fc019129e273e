"""Groups that choose the same items and rate them alike, and honest raters who look a little like them."""

import numpy as np
import pandas as pd
import pytest

from poison_guard.signals.campaigns.co_rating import co_rating

ALPHA = 0.001


def raters(seed: int, *, people: int = 400, items: int = 600, genres: int = 1, given: int = 15) -> pd.DataFrame:
    """Honest raters: popular items, busy people, and a genre that each likes four times as much as the others."""
    rng = np.random.default_rng(seed)
    popular = 1 / np.arange(1, items + 1) ** 0.7
    genre, likes = rng.integers(genres, size=items), rng.integers(genres, size=people)
    quality = rng.normal(3.5, 0.8, items)
    rows = []
    for u in range(people):
        share = popular * np.where(genre == likes[u], 4.0, 1.0)
        chosen = rng.choice(items, size=min(items, 3 + rng.geometric(1 / given)), replace=False, p=share / share.sum())
        stars = np.clip(np.rint(quality[chosen] + rng.normal(0, 0.8, len(chosen))), 1, 5).astype(int)
        rows += [(f"i{i}", f"u{u}", str(s)) for i, s in zip(chosen, stars, strict=True)]
    return _frame(rows)


def paid(seed: int, *, accounts: int = 20, targets: int = 15, each: int = 10, other: int = 3) -> pd.DataFrame:
    """Accounts that give five stars to most of one list of little-known items, and rate a few others."""
    rng = np.random.default_rng(seed)
    listed = rng.choice(np.arange(300, 600), targets, replace=False)
    rows = []
    for a in range(accounts):
        rows += [(f"i{i}", f"paid{a}", "5") for i in rng.choice(listed, each, replace=False)]
        rows += [(f"i{i}", f"paid{a}", str(rng.integers(3, 6))) for i in rng.choice(300, other, replace=False)]
    return _frame(rows)


def _frame(rows: list[tuple[str, str, str]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["item_id", "source_id", "vote"])
    return frame.assign(record_id=[f"{s}:{i}:{n}" for n, (i, s, _) in enumerate(rows)])


def found(frame: pd.DataFrame) -> set[str]:
    return {source for campaign in co_rating(frame, alpha=ALPHA) for source in campaign.source_ids}


@pytest.mark.parametrize("seed", range(2))
def test_paid_accounts_are_found_without_times_and_nobody_else(seed):
    group = paid(seed)
    names = found(pd.concat([raters(seed), group], ignore_index=True))
    assert len(names & set(group["source_id"])) >= 18
    assert names <= set(group["source_id"])


@pytest.mark.parametrize("genres", [1, 2, 20])
def test_people_of_one_taste_are_no_group(genres):
    assert not found(raters(3, genres=genres))


def test_only_what_the_group_rates_alike_is_held():
    group = paid(1)
    campaign = co_rating(pd.concat([raters(1), group], ignore_index=True), alpha=ALPHA)[0]
    held = set(campaign.record_ids)
    assert held <= set(group["record_id"])
    assert held < set(group["record_id"])
    assert campaign.reason.code == "co_rating"


def test_items_that_were_handed_out_are_no_choice():
    rng = np.random.default_rng(5)  # pages of twelve items, ten annotators each: all of them share all of their items
    rows = [
        (f"i{12 * page + k}", f"u{page}-{a}", str(min(5, 3 + rng.integers(0, 2))))
        for page in range(40)
        for a in range(10)
        for k in range(12)
    ]
    assert not found(_frame(rows))


def test_a_group_that_moves_no_item_is_none():
    crowd = raters(2, people=300, items=60, given=25)
    fans = _frame([(f"i{i}", f"fan{a}", "5") for a in range(12) for i in range(20)])
    assert not found(pd.concat([crowd, fans], ignore_index=True))


def test_the_order_of_rows_and_repeats_change_nothing():
    frame = pd.concat([raters(0), paid(0)], ignore_index=True)
    again = pd.concat([frame, frame.head(50).assign(record_id=lambda t: "again" + t["record_id"])])
    assert found(again.sample(frac=1, random_state=1)) == found(frame)


def test_a_group_spread_over_batches_is_found_and_earlier_records_are_named_apart():
    both = pd.concat([raters(4), paid(4)], ignore_index=True).sample(frac=1, random_state=0)
    half = len(both) // 2
    campaign = co_rating(both[half:], alpha=ALPHA, earlier=both[:half])[0]
    assert set(campaign.record_ids) <= set(both["record_id"][half:])
    assert set(campaign.earlier_ids) <= set(both["record_id"][:half])


def test_nothing_and_one_rating_are_no_group():
    assert not found(_frame([("i", "u", "1")]))
    assert not found(_frame([]))
