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
