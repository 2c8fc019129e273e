import datetime as dt

import numpy as np
import pandas as pd

from poison_guard.signals.sources import cohort_conflict, established

NOW = pd.Timestamp("2026-03-01", tz="UTC")
COLUMNS = ["source_id", "controls_right", "controls_wrong", "outcomes_right", "outcomes_wrong", "blocked"]


def ledger(*rows):
    return pd.DataFrame(rows, columns=COLUMNS)


def ages(*days, **more):
    since = [pd.NaT if d is None else NOW - pd.Timedelta(days=d) for d in days]
    return pd.DataFrame({"source_id": [f"s{k}" for k in range(len(days))], "source_since": since} | more)


def test_age_at_the_time_of_the_record_makes_a_source_established():
    assert list(established(ages(31, 29, None), ledger(), NOW)) == [True, False, False]
    early = ages(31, 60, observed_at=[NOW - pd.Timedelta(days=5)] * 2)
    assert list(established(early, ledger(), NOW)) == [False, True]
    assert list(established(early, ledger(), pd.Series([NOW, NOW]))) == [False, True]


def test_who_starts_new_does_not_come_of_age_by_keeping_on():
    days = [0, 40]
    late = pd.DataFrame(
        {"source_id": ["s", "s"], "source_since": NOW - pd.Timedelta(days=1),
         "observed_at": [NOW + pd.Timedelta(days=d) for d in days]}
    )  # fmt: skip
    assert not established(late, ledger(), NOW + pd.Timedelta(days=40)).any()
    before = late.head(1).assign(received_at=NOW)
    assert not established(late.tail(1), ledger(), NOW + pd.Timedelta(days=40), before).any()
    assert established(late.tail(1), ledger(), NOW + pd.Timedelta(days=40)).all()


def test_verified_answers_do_not_make_a_known_newcomer_established():
    table = ledger(("s0", 30, 0, 0, 0, False))
    assert not established(ages(3), table, NOW).any()
    assert established(ages(None), table, NOW).all()


def test_a_forged_future_time_does_not_make_an_account_older():
    late = ages(10, observed_at=[NOW + pd.Timedelta(days=300)])
    assert not established(late, ledger(), NOW).any()


def test_twenty_verified_answers_make_a_source_established_unless_most_were_wrong_or_it_is_blocked():
    votes = pd.DataFrame({"source_id": ["good", "few", "bad", "shut", "unknown"]}, index=[9, 8, 7, 6, 5])
    table = ledger(
        ("good", 15, 2, 3, 0, False), ("few", 19, 0, 0, 0, False), ("bad", 5, 20, 0, 0, False),
        ("shut", 90, 0, 0, 0, True),
    )  # fmt: skip
    result = established(votes, table, dt.datetime(2026, 3, 1, tzinfo=dt.UTC))
    assert list(result) == [True, False, False, False, False]
    assert list(result.index) == [9, 8, 7, 6, 5]


def test_age_does_not_outweigh_a_bad_record():
    assert not established(ages(400), ledger(("s0", 1, 4, 0, 0, False)), NOW).any()


def vote_table(*rows):
    return pd.DataFrame(rows, columns=["item_id", "source_id", "vote", "old"])


def conflicts(table):
    found = cohort_conflict(table.drop(columns="old"), table["old"].astype(bool))
    return found.set_index("item_id").to_dict("index")


def test_two_newcomers_against_the_established_are_a_conflict_and_one_is_not():
    table = vote_table(
        ("w", "a", "1", True), ("w", "x", "2", False), ("w", "y", "2", False),
        ("v", "a", "1", True), ("v", "x", "2", False),
        ("u", "x", "2", False), ("u", "y", "2", False),
    )  # fmt: skip
    assert conflicts(table) == {"w": {"established_answer": "1", "new_answer": "2"}}


def test_a_tie_among_the_established_counts_for_the_newcomers():
    table = vote_table(
        ("w", "a", "1", True), ("w", "b", "2", True), ("w", "x", "2", False), ("w", "y", "2", False)
    )  # fmt: skip
    assert conflicts(table) == {}


def test_a_newcomer_that_repeats_itself_is_still_one():
    table = vote_table(("w", "a", "1", True), ("w", "x", "2", False), ("w", "x", "2", False))
    assert conflicts(table) == {}


def test_attacked_items_conflict_and_others_rarely_do(crowd):
    recalls, alarms = [], []
    for seed in range(3):
        world = crowd(seed, share=0.6, attackers=1000, window=None)
        old = established(world.frame, ledger(), world.end)
        found = set(cohort_conflict(world.frame, old)["item_id"])
        others = set(world.truth.index) - world.targets
        recalls.append(len(found & world.targets) / len(world.targets))
        alarms.append(len(found & others) / len(others))
    assert np.mean(recalls) >= 0.95
    assert np.mean(alarms) <= 0.03


def test_no_votes_give_no_conflicts():
    empty = pd.DataFrame({"item_id": [], "source_id": [], "vote": []}, dtype="str")
    found = cohort_conflict(empty, pd.Series([], dtype=bool))
    assert list(found.columns) == ["item_id", "established_answer", "new_answer"]
    assert found.empty
