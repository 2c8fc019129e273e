"""Rows of one trainer become rows of another: what is asked, what is answered, and what was preferred stay the same."""

from typing import Any

import pytest

from poison_guard.config.contract import parse_contract
from poison_guard.errors import DataError, UsageError
from poison_guard.onboard import FORMATS
from poison_guard.onboard.convert import Converter

_ASK, _GOOD, _BAD = "Why is the sky blue?", "Rayleigh scattering.", "It is a reflection."
_USER = {"role": "user", "content": _ASK}
_TRL = {
    "prompt": [_USER],
    "chosen": [{"role": "assistant", "content": _GOOD}],
    "rejected": [{"role": "assistant", "content": _BAD}],
}
_OPENAI = {"input": {"messages": [_USER]}, "preferred_output": _TRL["chosen"], "non_preferred_output": _TRL["rejected"]}


def _converter(name: str, trainer: str, row: dict[str, Any], **more: Any) -> Converter:
    """Return the converter of a feed whose contract maps what the known format `name` says."""
    entry = FORMATS[name]
    columns = {role: path for role, path in entry.roles.items() if not _absent(path, row)}
    table = {"name": "x", "kind": "examples", "columns": columns, "data": {"path": "x", "format": name}, **more}
    return Converter(parse_contract(table), trainer)


def _absent(path: str, row: dict[str, Any]) -> bool:
    return "[" not in path and " " not in path and path.split(".", maxsplit=1)[0] not in row


def _one(name: str, trainer: str, row: dict[str, Any]) -> dict[str, Any]:
    (made,) = _converter(name, trainer, row).rows([row])
    return made


@pytest.mark.parametrize(
    ("name", "trainer", "row", "made"),
    [
        ("openai-dpo", "trl", _OPENAI, _TRL),
        ("trl-preference", "openai", _TRL, _OPENAI),
        ("trl-preference", "openai", {"prompt": _ASK, "chosen": _GOOD, "rejected": _BAD}, _OPENAI),
        (
            "alpaca", "openai", {"instruction": _ASK, "input": "", "output": _GOOD},
            {"messages": [_USER, {"role": "assistant", "content": _GOOD}]},
        ),
        ("alpaca", "trl", {"instruction": "Translate", "input": "Hallo", "output": "Hello"},
         {"prompt": "Translate\n\nHallo", "completion": "Hello"}),
        (
            "sharegpt", "openai",
            {"conversations": [{"from": "human", "value": _ASK}, {"from": "gpt", "value": _GOOD}]},
            {"messages": [_USER, {"role": "assistant", "content": _GOOD}]},
        ),
        ("trl-unpaired", "openai", {"prompt": _ASK, "completion": _GOOD, "label": True},
         {"messages": [_USER, {"role": "assistant", "content": _GOOD}]}),
        (
            "openai-sft", "trl",
            {"messages": [_USER, {"role": "assistant", "content": _GOOD}], "tools": [{"type": "function"}]},
            {"prompt": [_USER], "completion": [{"role": "assistant", "content": _GOOD}],
             "tools": [{"type": "function"}]},
        ),
    ],
)  # fmt: skip
def test_a_row_of_one_format_is_written_in_another(name, trainer, row, made):
    assert _one(name, trainer, row) == made


def test_rows_that_are_in_the_format_already_are_written_as_they_came():
    row = {**_TRL, "score": 0.5, "prompt": [{"content": "keys stay in their order", "role": "user"}]}
    made = _one("trl-preference", "trl", row)
    assert made == row
    assert list(made["prompt"][0]) == ["content", "role"]


def test_a_system_text_before_the_messages_is_a_message_of_the_system():
    row = {"system": "Be short.", "messages": [_USER, {"role": "assistant", "content": _GOOD}]}
    asked = [{"role": "system", "content": "Be short."}, _USER]
    assert _one("openai-sft", "trl", row)["prompt"] == asked
    assert _one("openai-sft", "openai", row)["messages"][:2] == asked


def test_bad_replies_are_left_out_and_counted_where_only_good_ones_are_taken():
    rows = [{"prompt": _ASK, "completion": text, "label": label} for text, label in ((_GOOD, 1), (_BAD, 0))]
    converter = _converter("trl-unpaired", "openai", rows[0])
    assert len(list(converter.rows(rows))) == 1
    assert converter.counted.rated_bad == 1


def test_a_label_that_is_neither_good_nor_bad_is_named():
    contract = parse_contract(
        {"name": "x", "kind": "examples", "columns": {"prompt": "q", "response": "a", "label": "l"}}
    )
    with pytest.raises(DataError, match="trl takes labels that are good or bad, and 'meh' is neither"):
        list(Converter(contract, "trl").rows([{"q": "x", "a": "y", "l": "meh"}]))


def test_a_feed_without_replies_says_what_is_needed():
    contract = parse_contract({"name": "x", "kind": "examples", "columns": {"text": "t"}})
    assert list(Converter(contract, "trl").rows([{"t": "hello", "n": 1}])) == [{"text": "hello"}]
    with pytest.raises(
        UsageError, match=r"examples for openai are made of chosen and rejected, or prompt and response"
    ):
        Converter(contract, "openai")
