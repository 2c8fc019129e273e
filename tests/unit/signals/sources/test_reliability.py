import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poison_guard.decide.decisions import HOLD, risk_of_p
from poison_guard.signals.sources import established, score_sources

ALPHA = 0.001
COUNTS = ("controls_right", "controls_wrong", "agreed", "disagreed", "outcomes_right", "outcomes_wrong", "n")
EMPTY = pd.DataFrame(columns=["source_id", *COUNTS, "first_seen", "blocked"])


def ledger_row(source, **counts):
    return {"source_id": source} | dict.fromkeys(COUNTS, 0) | {"first_seen": None, "blocked": False} | counts


def score(world, *, ledger=EMPTY, cohorts=True):
    old = established(world.frame, ledger, world.end) if cohorts else None
    table = score_sources(world.frame, ledger=ledger, controls=world.controls, alpha=ALPHA, established=old)
    return table.assign(number=table["source_id"].str[1:].astype(int))


def held(world, **kwargs):
    """Return the share held of honest sources and of attackers."""
    table = score(world, **kwargs)
    attacker = table["number"] >= 300
    return (table["p"] <= ALPHA)[~attacker].mean(), (table["p"] <= ALPHA)[attacker].mean()


@pytest.mark.parametrize("weak", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("cohorts", [True, False])
def test_honest_sources_are_not_held_not_even_weak_ones(crowd, weak, cohorts):
    shares = [held(crowd(seed, weak=weak), cohorts=cohorts)[0] for seed in range(2)]
    assert np.mean(shares) <= 0.005


def test_honest_p_values_are_not_too_small(crowd):
    p = np.concatenate([score(crowd(seed))["p"] for seed in range(3)])
    assert (p <= 0.01).mean() <= 0.02
    assert ((p > 0) & (p <= 1)).all()


@pytest.mark.parametrize("attackers", [40, 1000])
def test_attackers_that_fail_the_controls_are_found_however_many_they_are(crowd, attackers):
    honest, attack = held(crowd(1, share=0.6, attackers=attackers, window=None, knows_controls=False))
    assert attack >= 0.99
    assert honest <= 0.005


def test_random_answers_over_many_items_are_found(crowd):
    table = score(crowd(2, spammers=30, per_item=20))
    spammer = table["number"] >= 270
    assert (table["p"] <= ALPHA)[spammer].mean() >= 0.8
    assert (table["p"] <= ALPHA)[~spammer].mean() <= 0.005


@pytest.mark.parametrize(("share", "attackers"), [(0.6, 40), (0.9, 200)])
def test_newcomers_that_know_the_controls_are_found_by_the_established(crowd, share, attackers):
    honest, attack = held(crowd(3, share=share, attackers=attackers, window=None))
    assert attack >= 0.9
    assert honest <= 0.005


@pytest.mark.parametrize("aged", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("cohorts", [True, False])
@pytest.mark.parametrize(("share", "attackers"), [(0.6, 40), (0.9, 1000)])
def test_a_hostile_majority_does_not_condemn_the_honest(crowd, share, attackers, cohorts, aged):
    honest, _ = held(crowd(4, share=share, attackers=attackers, window=None, aged=aged), cohorts=cohorts)
    assert honest <= 0.02


def test_the_deltas_are_this_batch_alone_and_the_posterior_has_the_ledger():
    votes = pd.DataFrame({"item_id": ["c1", "c2", "w"], "source_id": "a", "vote": ["1", "9", "5"]})
    controls = pd.DataFrame({"item_id": ["c1", "c2"], "answer": ["1", "2"]})
    fresh = score_sources(votes, ledger=EMPTY, controls=controls, alpha=ALPHA).iloc[0]
    ledger = pd.DataFrame([ledger_row("a", controls_right=90, controls_wrong=10), ledger_row("z", controls_right=5)])
    known = score_sources(votes, ledger=ledger, controls=controls, alpha=ALPHA).iloc[0]
    for row in (fresh, known):
        assert (row["n"], row["controls_right"], row["controls_wrong"], row["agreed"]) == (3, 1, 1, 0)
    assert fresh["reliability"] == pytest.approx(5 / 7)
    assert known["reliability"] == pytest.approx(95 / 107)
    assert known["lower_bound"] > fresh["lower_bound"]


def test_unverified_agreement_earns_only_capped_trust():
    votes = pd.DataFrame(
        [(f"w{k}", source, "1") for k in range(400) for source in ("a", "b", "c")],
        columns=["item_id", "source_id", "vote"],
    )
    row = score_sources(votes, ledger=EMPTY, controls=None, alpha=ALPHA).iloc[0]
    assert row["agreed"] == 400
    assert row["reliability"] == pytest.approx(9 / 10)


def test_every_reason_names_what_was_seen():
    controls = pd.DataFrame({"item_id": [f"c{k}" for k in range(10)], "answer": "1"})
    votes = pd.DataFrame({"item_id": controls["item_id"], "source_id": "a", "vote": ["1"] + ["2"] * 9})
    row = score_sources(votes, ledger=EMPTY, controls=controls, alpha=ALPHA).iloc[0]
    assert row["p"] <= ALPHA
    assert (row["code"], row["args"]) == ("controls_wrong", {"wrong": 9, "answered": 10})
    ledger = pd.DataFrame([ledger_row("b", outcomes_wrong=18, outcomes_right=2)])
    late = score_sources(votes.assign(source_id="b", item_id="w"), ledger=ledger, controls=controls, alpha=ALPHA).iloc[
        0
    ]
    assert (late["code"], late["args"]) == ("outcomes_wrong", {"wrong": 18, "n": 20})


def test_an_old_good_record_does_not_hide_a_batch_of_wrong_controls():
    controls = pd.DataFrame({"item_id": [f"c{k}" for k in range(20)], "answer": "1"})
    votes = controls.assign(source_id="a", vote="2")
    ledger = pd.DataFrame([ledger_row("a", controls_right=1000, controls_wrong=50)])
    assert score_sources(votes, ledger=ledger, controls=controls, alpha=ALPHA).loc[0, "p"] <= ALPHA


def test_ticking_every_answer_of_a_control_is_a_wrong_answer():
    controls = pd.DataFrame({"item_id": ["c"], "answer": ["1"]})
    votes = pd.DataFrame({"item_id": "c", "source_id": "a", "vote": ["1", "2", "3"]})
    row = score_sources(votes, ledger=EMPTY, controls=controls, alpha=ALPHA).iloc[0]
    assert (row["n"], row["controls_right"], row["controls_wrong"]) == (1, 0, 1)


def test_reasons_are_there_exactly_where_p_is_small(crowd):
    table = score(crowd(5, share=0.6, knows_controls=False))
    assert (table["code"].notna() == (table["p"] <= 0.05)).all()
    assert (table["args"].notna() == table["code"].notna()).all()


def test_row_order_changes_nothing(crowd):
    world = crowd(6, share=0.6)
    once = score(world)
    mixed = world.frame.sample(frac=1, random_state=3)
    old = established(mixed, EMPTY, world.end)
    again = score_sources(mixed, ledger=EMPTY, controls=world.controls, alpha=ALPHA, established=old)
    pd.testing.assert_frame_equal(once.drop(columns="number"), again, check_exact=True)


def test_no_votes_give_no_rows():
    votes = pd.DataFrame({"item_id": [], "source_id": [], "vote": []}, dtype="str")
    assert score_sources(votes, ledger=EMPTY, controls=None, alpha=ALPHA).empty


@settings(max_examples=25, deadline=None)
@given(
    st.integers(8, 30),  # honest sources
    st.integers(0, 6),  # sources that contradict them on all items, each in its own way or all alike
    st.integers(10, 60),  # items
    st.booleans(),
    st.floats(1e-5, 0.01),
)
def test_agreement_that_no_established_source_backs_holds_nobody(honest, strangers, items, alike, alpha):
    sources = [f"h{i}" for i in range(honest)] + [f"s{i}" for i in range(strangers)]
    votes = pd.DataFrame(
        [(f"w{k}", source) for k in range(items) for source in sources], columns=["item_id", "source_id"]
    )
    own = "x" if alike else votes["source_id"]
    votes["vote"] = np.where(votes["source_id"].str.startswith("s"), own, "1")
    table = score_sources(votes, ledger=EMPTY, controls=None, alpha=alpha)
    assert (table["p"] >= min(1.0, 10 * alpha)).all()
    assert (risk_of_p(table["p"].to_numpy(), alpha) < HOLD).all()


def test_the_same_disagreement_holds_where_established_sources_back_it():
    sources = [f"h{i}" for i in range(20)] + ["s"]
    votes = pd.DataFrame([(f"w{k}", source) for k in range(60) for source in sources], columns=["item_id", "source_id"])
    votes["vote"] = np.where(votes["source_id"] == "s", "x", "1")
    backed = score_sources(votes, ledger=EMPTY, controls=None, alpha=ALPHA, established=votes["source_id"] != "s")
    alone = score_sources(votes, ledger=EMPTY, controls=None, alpha=ALPHA)
    assert backed.set_index("source_id").loc["s", "p"] <= ALPHA
    assert alone.set_index("source_id").loc["s", "p"] == pytest.approx(10 * ALPHA)


def test_where_votes_are_tied_nobody_disagrees_whatever_the_answers_are_called():
    rows = [(f"i{i}", f"s{k}", str(k % 2)) for i in range(50) for k in range(4)]
    votes = pd.DataFrame(rows, columns=["item_id", "source_id", "vote"])
    table = score_sources(votes, ledger=EMPTY, controls=None, alpha=ALPHA, established=pd.Series(True, votes.index))
    assert (table["disagreed"] == 0).all()
    assert (table["p"] == 1).all()
