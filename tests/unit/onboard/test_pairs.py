"""Two replies side by side and a judgement become chosen and rejected; what does not prove it is left alone."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from poison_guard.onboard.guessed import guess_columns


def roles_of(**columns: Any) -> dict[str, str]:
    frame = pd.DataFrame({"prompt": [f"how do I do {i} of it" for i in range(60)], **columns})
    return {g.role: g.column.name for g in guess_columns(frame, None, shown="it").roles}


def replies(word: str) -> list[str]:
    return [f"{word} is what I would say to {i}" for i in range(60)]


@pytest.mark.parametrize(
    ("first", "second", "judged", "values", "cases"),
    [
        ("response_a", "response_b", "winner", ["model_a", "model_b", "tie"], "model_a: {0}, model_b: {1}"),
        ("answer1", "answer2", "preference", ["answer1", "answer2"], "answer1: {0}, answer2: {1}"),
        ("left", "right", "which", ["left", "right", "both bad"], "left: {0}, right: {1}"),
        ("response_0", "response_1", "better_response_id", [0, 1], "0: {0}, 1: {1}"),
        (
            "Response A", "Response B", "Verdict", ["A is much better", "B is better", "A is slightly better", "a tie"],
            "'A is much better': {0}, 'A is slightly better': {0}, 'B is better': {1}",
        ),
    ],
)  # fmt: skip
def test_the_values_of_a_judgement_that_name_the_columns_prove_a_pair(first, second, judged, values, cases):
    judgements = [values[i % len(values)] for i in range(60)]
    roles = roles_of(**{second: replies("two"), first: replies("one"), judged: judgements})
    written = [f'"{name}"' if " " in name else name for name in (first, second)]
    assert roles["chosen"] == f"{judged} ? {cases.format(*written)}"
    assert roles["rejected"] == f"{judged} ? {cases.format(*written[::-1])}"
    assert (roles["prompt"], roles["label"]) == ("prompt", judged)
    assert "answer" not in roles


@pytest.mark.parametrize(
    ("judged", "values"),
    [
        ("safe", [0, 1]),  # a number names a reply only where its column is about preference
        ("winner", ["yes", "no"]),
        ("winner", ["model_a", "model_a", "model_a", "model_b", *["neither"] * 8]),  # of most rows it says nothing
        ("winner", ["a tie", "both"]),
    ],
)
def test_what_names_neither_reply_proves_nothing(judged, values):
    judgements = [values[i % len(values)] for i in range(60)]
    roles = roles_of(response_0=replies("one"), response_1=replies("two"), **{judged: judgements})
    assert not {"chosen", "rejected"} & roles.keys()


def test_the_reply_is_the_last_turn_of_a_dialogue_and_what_comes_before_it_the_prompt():
    def dialogue(word: str) -> list[list[dict[str, str]]]:
        return [
            [{"role": "user", "content": f"ask {i}"}, {"role": "assistant", "content": w}]
            for i, w in enumerate(replies(word))
        ]

    frame = pd.DataFrame({"chat_a": dialogue("one"), "chat_b": dialogue("two"), "best": ["a", "b"] * 30})
    roles = {g.role: g.column.name for g in guess_columns(frame, None, shown="it").roles}
    assert roles["prompt"] == "chat_a[:-1]"
    assert roles["chosen"] == "best ? a: chat_a[-1], b: chat_b[-1]"
    assert roles["rejected"] == "best ? a: chat_b[-1], b: chat_a[-1]"


def test_a_second_judgement_is_named_and_is_nobodys_id():
    both = {"better_response_id": [0, 1] * 30, "safer_response_id": [0, 1, 1] * 20}
    frame = pd.DataFrame({"prompt": replies("why"), "response_0": replies("one"), "response_1": replies("two"), **both})
    guessed = {g.role: g for g in guess_columns(frame, None, shown="it").roles}
    assert guessed["label"].doubt == "guess: safer_response_id says which reply, too"
    assert not {"source_id", "item_id"} & guessed.keys()
