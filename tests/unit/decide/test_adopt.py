import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poison_guard.config import Policy
from poison_guard.decide.adopt import adopt
from poison_guard.decide.reasons import sentence

NO_CONFLICT = pd.DataFrame({"item_id": []})
NO_CONTROLS = pd.DataFrame({"item_id": [], "answer": []})
BOUND = Policy(label_promise="bound")
COLUMNS = ["item_id", "source_id", "vote", "established"]


def crowd(seed=0, *, items=400, each=5, right=0.85, classes=4, sources=40, controls=0.1, established=0.8):
    """Return votes of people who err independently, the truth by item, and the controls."""
    r = np.random.default_rng(seed)
    truth = r.integers(0, classes, items)
    item = np.repeat(np.arange(items), each)
    who = np.argsort(r.random((items, sources)), axis=1)[:, :each].ravel()
    said = np.where(
        r.random(len(item)) < right, truth[item], (truth[item] + r.integers(1, classes, len(item))) % classes
    )
    votes = pd.DataFrame({"item_id": [f"k{i:04d}" for i in item], "source_id": [f"u{w}" for w in who]})
    votes = votes.assign(vote=said.astype(str), established=who < established * sources)
    facts = pd.Series(truth.astype(str), index=[f"k{i:04d}" for i in range(items)])
    known = facts[: int(controls * items)]
    return votes, facts, pd.DataFrame({"item_id": known.index, "answer": known.to_numpy()})


def group(items, facts, n, *, established=False, campaign="c-1", name="x"):
    """Return the votes of `n` accounts that push one wrong answer on each of `items`."""
    rows = [(i, f"{name}{k}", str((int(facts[i]) + 1) % 4), established) for i in items for k in range(n)]
    return pd.DataFrame(rows, columns=COLUMNS).assign(campaign_id=campaign)


def told(votes, controls, held=None, *, policy=None, conflicts=NO_CONFLICT, **more):
    held = votes.head(0).assign(campaign_id=None) if held is None else held
    return adopt(votes, held, conflicts, controls, policy or Policy(), **more)


def unknown(result, facts, controls):
    items = result.items[~result.items["item_id"].isin(controls["item_id"])]
    return items.assign(ok=items["label"] == items["item_id"].map(facts))


def test_the_most_certain_labels_are_adopted_as_far_as_the_promised_error_goes():
    votes, facts, controls = crowd()
    strict, usual = (told(votes, controls, policy=Policy(max_adopted_error=m)) for m in (0.001, 0.01))
    few, many = (unknown(result, facts, controls) for result in (strict, usual))
    assert few["adopted"].sum() < many["adopted"].sum()
    assert (~many.loc[many["adopted"], "ok"]).mean() <= 0.01
    assert many.loc[many["adopted"], "probability"].min() > many.loc[~many["adopted"], "probability"].max()
    assert usual.facts["expected_error"] <= 0.01


def test_two_reliable_sources_settle_an_item_and_five_doubtful_ones_do_not():
    votes, _, controls = crowd(right=0.97, items=300)
    weak, _, _ = crowd(1, right=0.45, items=300)
    weak = weak.assign(item_id="w" + weak["item_id"], source_id="w" + weak["source_id"])
    two = pd.DataFrame([("two", "u1", "0", True), ("two", "u2", "0", True)], columns=COLUMNS)
    five = pd.DataFrame([("five", f"wu{k}", "0" if k < 3 else "1", True) for k in range(5)], columns=COLUMNS)
    out = told(pd.concat([votes, weak, two, five], ignore_index=True), controls).items.set_index("item_id")
    assert out.loc["two", "adopted"]
    assert not out.loc["five", "adopted"]


def test_weak_answers_weigh_less_instead_of_blocking_an_item():
    votes, _, controls = crowd(right=0.95, items=300)
    weak, _, _ = crowd(1, right=0.4, items=300)
    weak = weak.assign(source_id="w" + weak["source_id"])
    mixed = [("i", "u1", "2", True), ("i", "u2", "2", True), ("i", "u3", "2", True), ("i", "wu1", "1", True)]
    both = pd.concat([votes, weak, pd.DataFrame([*mixed, ("i", "wu2", "1", True)], columns=COLUMNS)], ignore_index=True)
    out = told(both, controls).items.set_index("item_id")
    assert out.loc["i", ["label", "adopted"]].tolist() == ["2", True]


def test_optional_floors_defer_what_the_promise_would_adopt():
    votes, facts, controls = crowd()
    usual = told(votes, controls).items
    assert unknown(told(votes, controls, policy=Policy(min_answers=5)), facts, controls)["adopted"].mean() < 0.7
    sure = told(votes, controls, policy=Policy(adopt_probability=0.999)).items
    assert sure.loc[sure["adopted"], "probability"].min() >= 0.999
    assert sure["adopted"].sum() < usual["adopted"].sum()


def test_a_bound_adopts_nothing_before_controls_certify_it_and_says_how_many_would():
    votes, facts, controls = crowd(items=1500, controls=0.1)
    strict = Policy(label_promise="bound")
    waits = told(votes, controls, policy=strict)
    assert not unknown(waits, facts, controls)["adopted"].any()
    assert [n.code for n in waits.notes][-1] == "bound_waits"
    assert "299" in sentence(waits.notes[-1].code, waits.notes[-1].args)
    known = pd.DataFrame({"item_id": facts.index[:900], "answer": facts.to_numpy()[:900]})
    out = told(votes, known, policy=strict)
    assert unknown(out, facts, known)["adopted"].mean() >= 0.5
    assert out.facts["bound"] <= 0.01


def test_a_control_keeps_its_known_answer_whatever_the_votes_say():
    votes, _, _ = crowd(items=50)
    out = told(votes, pd.DataFrame({"item_id": ["k0000"], "answer": ["z"]})).items.set_index("item_id")
    assert out.loc["k0000", ["label", "why", "adopted"]].tolist() == ["z", "control", True]


def test_caught_groups_leave_their_targets_to_the_honest_answers():
    votes, facts, controls = crowd(items=600)
    targets = facts.index[100:200]
    out = told(votes, controls, group(targets, facts, 7))
    items = unknown(out, facts, controls).set_index("item_id").loc[targets]
    assert items["adopted"].mean() >= 0.6
    assert (items["adopted"] & ~items["ok"]).mean() <= 0.01
    assert (out.hidden["one_more"] >= out.hidden["two_more"]).all()
    assert out.facts["targets"] == 100
    assert out.facts["targets_with_two_more"] <= out.facts["targets_with_one_more"] <= out.facts["targets_adopted"]


def test_a_caught_group_of_established_sources_has_one_vote_together():
    votes, facts, controls = crowd(items=600)
    targets = facts.index[100:200]
    out = told(votes, controls, group(targets, facts, 7, established=True))
    items = unknown(out, facts, controls).set_index("item_id").loc[targets]
    assert items["adopted"].mean() >= 0.6
    assert (items["adopted"] & ~items["ok"]).mean() <= 0.01
    honest = votes[votes["item_id"].isin(targets) & votes["established"]]
    aimed = pd.concat([votes.drop(honest.index), group(targets, facts, 7, established=True)], ignore_index=True)
    wrong = told(aimed.drop(columns="campaign_id"), controls, honest.assign(campaign_id="c-1"))
    lost = unknown(wrong, facts, controls).set_index("item_id").loc[targets]
    assert (lost["adopted"] & ~lost["ok"]).mean() <= 0.02  # a finding that takes the honest side for the group


def test_what_an_unseen_group_pushes_waits_and_the_other_labels_do_not():
    votes, facts, controls = crowd(items=600)
    targets = facts.index[100:200]
    pushed = group(targets, facts, 7, established=True).drop(columns="campaign_id")
    items = unknown(told(pd.concat([votes, pushed], ignore_index=True), controls), facts, controls).set_index("item_id")
    aimed = items.index.isin(targets)
    assert not items.loc[aimed, "adopted"].any()
    assert items.loc[~aimed, "adopted"].mean() >= 0.85


def test_newcomers_do_not_outvote_established_sources():
    votes, facts, controls = crowd(items=600, established=1.0)
    targets = facts.index[100:110]
    new = group(targets, facts, 9).drop(columns="campaign_id")
    both = pd.concat([votes, new], ignore_index=True)
    items = unknown(told(both, controls, conflicts=pd.DataFrame({"item_id": targets})), facts, controls)
    at = items.set_index("item_id").loc[targets]
    assert not (at["adopted"] & ~at["ok"]).any()
    lone = pd.DataFrame([("new", f"n{k}", "1", False) for k in range(5)], columns=COLUMNS)
    out = told(pd.concat([votes, lone], ignore_index=True), controls).items.set_index("item_id")
    assert out.loc["new", ["why", "adopted"]].tolist() == ["unproven", False]


def test_no_rule_defers_more_than_three_in_a_hundred_items_of_an_honest_feed():
    votes, facts, controls = crowd(3, items=1000)
    why = unknown(told(votes, controls), facts, controls)["why"].value_counts(normalize=True)
    assert why.reindex(["conflict", "contested", "unproven", "split", "pushed"]).fillna(0).max() <= 0.03


def test_controls_that_newcomers_recognise_prove_nothing_for_them():
    votes, facts, controls = crowd(items=600)
    known = controls["item_id"].to_numpy()
    knows = pd.DataFrame([(i, f"x{k}", facts[i], False) for i in known for k in range(7)], columns=COLUMNS)
    out = told(pd.concat([votes, knows], ignore_index=True), controls)
    assert out.facts["basis"] == "established"
    alone = told(votes, controls)
    assert out.facts["checked_wrong"] == alone.facts["checked_wrong"]


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_controls_that_are_wrong_are_named_and_fewer_labels_are_adopted(share):
    votes, facts, _ = crowd(items=800, right=0.95)
    known = facts[:400].copy()
    known.iloc[: int(share * 400)] = [str((int(a) + 1) % 4) for a in known.iloc[: int(share * 400)]]
    out = told(votes, pd.DataFrame({"item_id": known.index, "answer": known.to_numpy()}))
    said = next(n for n in out.notes if n.code == "controls_contradicted")
    assert "k00" in sentence(said.code, said.args)
    right = told(votes, pd.DataFrame({"item_id": facts.index[:400], "answer": facts.to_numpy()[:400]}))
    assert out.items["adopted"].sum() < right.items["adopted"].sum()


def test_without_controls_the_promise_is_called_unchecked():
    votes, _, _ = crowd()
    out = told(votes, NO_CONTROLS)
    assert out.notes[0].code == "adoption_unchecked"
    assert out.facts["bound"] == 1.0


def test_controls_of_one_label_and_ten_controls_are_taken_as_they_are():
    votes, facts, _ = crowd()
    ones = facts[facts == "1"]
    for known in (ones, facts[:10]):
        out = told(votes, pd.DataFrame({"item_id": known.index, "answer": known.to_numpy()}))
        assert out.facts["controls"] == len(known)
        assert 0 < out.facts["bound"] <= 1


def test_audits_check_the_promise_as_controls_do():
    votes, facts, _ = crowd()
    judged = votes[votes["item_id"].isin(facts.index[:60])].drop_duplicates("item_id")
    audits = judged.assign(verdict=np.where(judged["vote"] == judged["item_id"].map(facts), 1, -1))
    out = told(votes, NO_CONTROLS, audits=audits[["item_id", "vote", "verdict"]])
    assert out.facts["audits"] >= 40
    assert out.facts["bound"] < 0.2


def test_one_answer_an_item_ties_and_one_source_of_half_of_all_answers_are_no_fault():
    votes, facts, controls = crowd()
    single = votes.drop_duplicates("item_id")
    assert told(single, controls).items["adopted"].sum() == len(controls)
    tie = pd.DataFrame([("t", "u1", "0", True), ("t", "u2", "1", True)], columns=COLUMNS)
    out = told(pd.concat([votes, tie], ignore_index=True), controls).items.set_index("item_id")
    assert not out.loc["t", "adopted"]
    busy = pd.DataFrame({"item_id": facts.index, "source_id": "busy", "vote": facts.to_numpy(), "established": True})
    both = pd.concat([single, busy], ignore_index=True)
    said = next(n for n in told(both, controls).notes if n.code == "one_source")
    assert sentence(said.code, said.args).startswith("source busy gave 50% of the answers")


def test_an_item_with_ten_thousand_answers_is_no_surer_than_its_answers():
    votes, _, controls = crowd()
    r = np.random.default_rng(0)
    for share, adopted in ((0.3, False), (0.9, True)):
        said = np.where(r.random(10_000) < share, 0, r.integers(1, 4, 10_000)).astype(str)
        names = [f"b{k}" for k in range(10_000)]
        big = pd.DataFrame({"item_id": "big", "source_id": names, "vote": said, "established": True})
        out = told(pd.concat([votes, big], ignore_index=True), controls).items.set_index("item_id")
        assert out.loc["big", "adopted"] == adopted
        assert out["adopted"].sum() > 300


def test_a_few_who_contradict_each_other_on_many_items_settle_none_of_them():
    votes, _, controls = crowd()
    sides = [(f"t{i}", f"u{k}", str(k % 2), True) for i in range(50) for k in range(4)]
    both = pd.concat([votes, pd.DataFrame(sides, columns=COLUMNS)], ignore_index=True)
    out = told(both, controls).items.set_index("item_id").loc[[f"t{i}" for i in range(50)]]
    assert not out["adopted"].any()
    assert set(out["why"]) == {"disputed"}


def test_ten_controls_certify_little_and_the_note_says_how_little():
    votes, facts, _ = crowd()
    ten = facts[:10]
    out = told(votes, pd.DataFrame({"item_id": ten.index, "answer": ten.to_numpy()}))
    said = next(n for n in out.notes if n.code == "adoption_promise")
    assert out.facts["bound"] > 0.2
    assert "at most" in sentence(said.code, said.args)
    strict = told(votes, pd.DataFrame({"item_id": ten.index, "answer": ten.to_numpy()}), policy=BOUND)
    assert strict.items["adopted"].sum() == 10


def test_an_item_with_held_votes_only_is_listed_and_deferred():
    held = pd.DataFrame([("i", "x", "b", False, "c-1")], columns=[*COLUMNS, "campaign_id"])
    out = told(held.head(0)[COLUMNS], NO_CONTROLS, held)
    assert out.items["why"].tolist() == ["too_few"]


def test_nothing_in_gives_nothing_out():
    votes, _, _ = crowd()
    out = told(votes.head(0), NO_CONTROLS)
    assert out.items.empty
    assert out.notes == ()
    json.dumps(dict(out.facts))


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), st.integers(0, 3), st.booleans()), max_size=60),
    st.integers(0, 60),
    st.randoms(),
)
def test_the_order_of_votes_changes_nothing_and_probabilities_are_chances(rows, cut, random):
    votes = pd.DataFrame(rows, columns=COLUMNS).astype({"item_id": "str", "source_id": "str", "vote": "str"})
    votes["established"] = votes["established"].astype(bool)
    accepted, held = votes[:cut], votes[cut:].assign(campaign_id="c")
    controls = pd.DataFrame({"item_id": ["0"], "answer": ["1"]})
    mix = random.randrange(2**31)
    first = told(accepted, controls, held)
    again = told(accepted.sample(frac=1, random_state=mix), controls, held.sample(frac=1, random_state=mix))
    pd.testing.assert_frame_equal(first.items, again.items)
    assert first.items["probability"].between(0, 1).all()
    assert dataclasses.is_dataclass(first)
    json.dumps(dict(first.facts))


@pytest.mark.parametrize(("each", "share"), [(3, "and of two answers about one item"), (1, "0 have more than one")])
def test_where_no_label_is_adopted_a_note_says_how_far_answers_agree(each, share):
    votes, _, _ = crowd(items=60, each=each, right=0.5, classes=2, controls=0)
    out = told(votes, NO_CONTROLS)
    said = next(n for n in out.notes if n.code == "none_adopted")
    assert not out.items["adopted"].any()
    assert "of 60 items" in sentence(said.code, said.args)
    assert share in sentence(said.code, said.args)
