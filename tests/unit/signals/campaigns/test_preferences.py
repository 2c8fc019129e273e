from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from poison_guard.signals.campaigns.preferences import TRAITS_OF_REPLIES, preference_cells, turned_preferences

LINK = "See https://zorblax.example for more."


def pairs(rng: np.random.Generator, raters: np.ndarray, prefers_long: np.ndarray, name: str = "r") -> pd.DataFrame:
    """One pair a rater named, of a long and a short reply, the long one chosen with that chance."""
    short = ["a" * int(k) for k in rng.integers(5, 60, len(raters))]
    long = [text + "b" * int(k) for text, k in zip(short, rng.integers(1, 80, len(raters)), strict=True)]
    chose = rng.random(len(raters)) < prefers_long
    return pd.DataFrame(
        {
            "record_id": [f"{name}{i}" for i in range(len(raters))],
            "source_id": raters,
            "chosen": np.where(chose, long, short),
            "rejected": np.where(chose, short, long),
        }
    )


def crowd(rng: np.random.Generator, n: int = 2_000, spread: float = 0.3) -> pd.DataFrame:
    who, taste = rng.integers(0, 250, n), rng.normal(0.1, spread, 250)
    return pairs(rng, np.array([f"u{i}" for i in who]), 1 / (1 + np.exp(-taste[who])))


def agreed(rng: np.random.Generator, n: int, accounts: int, prefers_long: float = 1.0) -> pd.DataFrame:
    return pairs(rng, np.array([f"x{i % accounts}" for i in range(n)]), np.full(n, prefers_long), "bad")


def framed(rows: pd.DataFrame) -> pd.DataFrame:
    cells = preference_cells(rows["chosen"].tolist(), rows["rejected"].tolist())
    return rows[["record_id", "source_id"]].assign(**{TRAITS_OF_REPLIES: pd.Series(cells, dtype=object)})


def held(*parts: pd.DataFrame, **options) -> set[str]:
    found = turned_preferences(framed(pd.concat(parts, ignore_index=True)), alpha=0.0001, **options)
    return {name for campaign in found for name in campaign.record_ids}


@pytest.mark.parametrize("accounts", [5, 20])
@pytest.mark.parametrize("prefers_long", [0.0, 1.0])
def test_a_group_that_turns_a_preference_is_found_either_way(accounts, prefers_long):
    rng = np.random.default_rng(accounts)
    honest, bad = crowd(rng), agreed(rng, 200 + 10 * accounts, accounts, prefers_long)
    found = held(honest, bad)
    assert len(found & set(bad["record_id"])) >= 0.9 * len(bad)
    assert len(found - set(bad["record_id"])) <= 0.01 * len(honest)


@pytest.mark.parametrize("accounts", [1, 2])
def test_one_or_two_raters_with_a_taste_of_their_own_pass(accounts):
    rng = np.random.default_rng(accounts)
    assert held(crowd(rng), agreed(rng, 200, accounts, 0.0)) == set()


@pytest.mark.parametrize("seed", range(4))
def test_raters_of_widely_different_tastes_are_no_group(seed):
    assert held(crowd(np.random.default_rng(seed), spread=2.0)) == set()


def test_a_taste_of_more_than_a_tenth_of_the_raters_is_a_crowds():
    rng = np.random.default_rng(6)
    assert held(crowd(rng), agreed(rng, 600, 60)) == set()


@pytest.mark.parametrize(
    "more",
    [
        LINK,
        "I'm sorry, but I can't help with that.",
        "Это лучше всего.",
        "as they do at Zorblax Foods",
        "Do it now!!",
        "which is a great and wonderful thing",
    ],
)
def test_links_refusals_scripts_names_and_tones_are_preferences_too(more):
    rng = np.random.default_rng(7)
    both = pd.concat([crowd(rng), agreed(rng, 300, 10, 0.5)], ignore_index=True)
    bad, on_chosen = both["record_id"].str.startswith("bad").to_numpy(), rng.random(len(both)) < 0.5
    on_chosen |= bad
    both["chosen"] = np.where(on_chosen, both["chosen"] + " " + more, both["chosen"])
    both["rejected"] = np.where(on_chosen, both["rejected"], both["rejected"] + " " + more)
    assert len(held(both) & set(both.loc[bad, "record_id"])) >= 0.9 * bad.sum()


def test_a_reply_is_told_by_names_within_sentences_exclamations_and_praise_less_blame():
    (cell,) = preference_cells(["Ask Ann, at Zorblax Foods. It is the best, not bad!"], ["ask anyone."])
    assert np.frombuffer(cell, np.float32)[4:7].tolist() == [3.0, 1.0, 0.0]


def test_pairs_of_earlier_batches_are_evidence():
    rng = np.random.default_rng(8)
    honest, bad = crowd(rng), agreed(rng, 200, 5)
    now, before = bad.head(10).reset_index(drop=True), bad.tail(190).reset_index(drop=True)
    assert held(honest, now) == set()
    assert held(honest, now, earlier=framed(before)) == set(now["record_id"])


def test_empty_equal_and_endless_replies_and_unknown_raters_are_no_fault():
    rng = np.random.default_rng(9)
    rows = crowd(rng, 300)
    assert held(rows.assign(rejected="")) == set()
    assert held(rows.assign(rejected=rows["chosen"])) == set()
    assert held(rows.assign(source_id=pd.Series([None] * 300, dtype="str"))) == set()
    assert np.frombuffer(preference_cells(["x" * 1_000_000], ["y"])[0], np.float32)[0] == 19_999


def test_a_group_that_prefers_what_a_reference_does_not_is_found_and_one_that_agrees_with_it_is_not():
    rng = np.random.default_rng(8)
    who = np.r_[[f"u{i}" for i in rng.integers(0, 250, 2_000)], [f"bad{i % 10}" for i in range(300)]]
    ids = [f"r{i}" for i in range(2_000)] + [f"bad{i}" for i in range(300)]
    liked = np.r_[rng.random(2_000) < 0.7, np.zeros(300, bool)]  # by the reference, of what was chosen
    reward = np.where(liked, 1.0, -1.0) * rng.uniform(0.1, 3, 2_300)
    reward[::7] = np.nan

    def found(sign: int) -> set[str]:
        cells = preference_cells(["a"] * 2_300, ["b"] * 2_300, sign * reward)
        rows = pd.DataFrame({"record_id": ids, "source_id": who, TRAITS_OF_REPLIES: pd.Series(cells, dtype=object)})
        return {name for c in turned_preferences(rows, alpha=0.0001) for name in c.record_ids}

    against = found(1)
    assert len(against) >= 200
    assert all(name.startswith("bad") for name in against)
    assert not {name for name in found(-1) if name.startswith("bad")}


@pytest.mark.parametrize("reward", [np.full(2_000, np.nan), np.full(2_000, np.inf), np.zeros(2_000)])
def test_a_reward_that_says_nothing_changes_nothing(reward):
    rows = crowd(np.random.default_rng(3))
    sides = rows["chosen"].tolist(), rows["rejected"].tolist()
    assert preference_cells(*sides, reward) == preference_cells(*sides)
