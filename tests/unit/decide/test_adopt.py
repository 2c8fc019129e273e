import pandas as pd
import pytest

from poison_guard.config import Policy
from poison_guard.decide.adopt import adopt

NO_VOTES = pd.DataFrame({"item_id": [], "vote": [], "established": []})
NO_CONFLICT = pd.DataFrame({"item_id": [], "established_answer": [], "new_answer": []})
NO_CONTROLS = pd.DataFrame({"item_id": [], "answer": []})


def votes(*rows, established=True):
    return pd.DataFrame([(i, v, established) for i, v in rows], columns=["item_id", "vote", "established"])


def posterior(answer="a", probability=0.99, disputed=False):
    return pd.DataFrame({"item_id": ["i"], "answer": [answer], "probability": [probability], "disputed": [disputed]})


def why(**given):
    kwargs = {
        "posterior": posterior(),
        "accepted": votes(("i", "a"), ("i", "a"), ("i", "a")),
        "held": NO_VOTES,
        "conflicts": NO_CONFLICT,
        "controls": NO_CONTROLS,
        "policy": Policy(),
    } | given
    row = adopt(**kwargs).iloc[0]
    return row["why"], bool(row["adopted"]), row["label"]


def test_three_undisputed_accepted_answers_are_adopted():
    assert why() == ("adopted", True, "a")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"accepted": votes(("i", "a"), ("i", "a"))}, "too_few"),
        ({"posterior": posterior(probability=0.9)}, "uncertain"),
        ({"posterior": posterior(disputed=True)}, "disputed"),
        ({"conflicts": pd.DataFrame({"item_id": ["i"], "established_answer": ["a"], "new_answer": ["b"]})}, "conflict"),
        (
            {
                "accepted": votes(("i", "a"), ("i", "a"), ("i", "a"), established=False),
                "held": votes(("i", "b"), ("i", "b")),
            },
            "contested",
        ),
    ],
)
def test_an_item_is_deferred_with_the_reason(given, reason):
    said, adopted, _ = why(**given)
    assert said == reason
    assert not adopted


def test_established_support_carries_an_item_against_a_held_campaign():
    assert why(held=votes(("i", "b"), ("i", "b"), ("i", "b"), ("i", "b")))[1]


def test_a_control_keeps_its_known_answer_whatever_the_votes_say():
    controls = pd.DataFrame({"item_id": ["i"], "answer": ["z"]})
    assert why(controls=controls) == ("control", True, "z")


def test_an_item_with_held_votes_only_is_listed_and_deferred():
    empty = posterior().iloc[:0]
    table = adopt(empty, NO_VOTES, votes(("i", "b")), NO_CONFLICT, NO_CONTROLS, Policy())
    assert table["why"].tolist() == ["too_few"]


def crowded(n, *, extra=0):
    """Votes on `n` items: four established for one answer, one for another; on a fifth `extra` more for the other."""
    rows = [(f"k{i}", "abcd"[(i + wrong) % 4], True) for i in range(n) for wrong in (0, 0, 0, 0, 1)]
    pushed = [(f"k{i}", "abcd"[(i + 1) % 4], True) for i in range(0, n, 5) for _ in range(extra)]
    table = pd.DataFrame(rows + pushed, columns=["item_id", "vote", "established"])
    labels = table.groupby("item_id")["vote"].agg(lambda v: v.mode().iloc[0])
    certain = pd.DataFrame(
        {"item_id": labels.index, "answer": labels.to_numpy(), "probability": 0.99, "disputed": False}
    )
    return table, certain


def test_labels_that_look_pushed_wait_and_the_others_are_adopted():
    table, certain = crowded(500, extra=12)
    out = adopt(certain, table, NO_VOTES, NO_CONFLICT, NO_CONTROLS, Policy()).set_index("item_id")
    aimed = out.index.isin([f"k{i}" for i in range(0, 500, 5)])
    assert set(out.loc[aimed, "why"]) == {"pushed"}
    assert out.loc[~aimed, "adopted"].all()


def test_a_held_campaign_of_newcomers_is_one_voice_and_one_of_established_sources_is_not():
    accepted, certain = crowded(500)
    held = [(f"k{i}", "abcd"[(i + 1) % 4], False, "c-1") for i in range(0, 500, 5) for _ in range(8)]
    group = pd.DataFrame(held, columns=["item_id", "vote", "established", "campaign_id"])
    fresh = adopt(certain, accepted, group, NO_CONFLICT, NO_CONTROLS, Policy())
    assert fresh["adopted"].all()
    aged = adopt(certain, accepted, group.assign(established=True), NO_CONFLICT, NO_CONTROLS, Policy())
    assert aged["adopted"].mean() == pytest.approx(0.8)


def test_newcomers_alone_adopt_nothing_where_most_items_have_established_voters():
    mixed = pd.concat([votes(*[("j", "a")] * 3), votes(*[("i", "a")] * 3, established=False)])
    certain = pd.DataFrame({"item_id": ["i", "j"], "answer": "a", "probability": 0.99, "disputed": False})
    out = adopt(certain, mixed, NO_VOTES, NO_CONFLICT, NO_CONTROLS, Policy()).set_index("item_id")
    assert out["why"].to_dict() == {"i": "unproven", "j": "adopted"}
    new = mixed.assign(established=False)
    assert adopt(certain, new, NO_VOTES, NO_CONFLICT, NO_CONTROLS, Policy())["adopted"].all()


def test_newcomers_do_not_settle_what_established_sources_are_split_about():
    new = votes(*[("i", "a")] * 12, established=False)
    assert why(accepted=pd.concat([votes(*[("i", "a")] * 5, *[("i", "b")] * 5), new])) == ("split", False, "a")
    assert why(accepted=pd.concat([votes(*[("i", "a")] * 5, *[("i", "b")] * 2), new]))[0] == "adopted"
    assert why(accepted=pd.concat([votes(*[("i", "a")] * 2, *[("i", "b")]), new]))[0] == "adopted"
    scattered = votes(*[("i", "a")] * 5, *[("i", b) for b in "bcdef"])
    assert why(accepted=pd.concat([scattered, new]))[0] == "adopted"


def test_established_sources_held_with_a_campaign_still_count_as_a_side():
    held = votes(*[("i", "b")] * 3).assign(campaign_id="c-1")
    accepted = pd.concat([votes(*[("i", "a")] * 4), votes(*[("i", "a")] * 6, established=False)])
    assert why(accepted=accepted, held=held)[0] == "split"
    assert why(accepted=accepted, held=held.drop(columns="campaign_id"))[0] == "adopted"  # held by what they are worth
