from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.ingest.nested_values import text_of
from poison_guard.ingest.paths import PathError, parse_path


class Row:
    position = 3

    def __init__(self, cells: dict[str, Any]) -> None:
        self.names = cells

    def cell(self, name: str) -> Any:
        return self.names.get(name)


ROW = Row(
    {
        "annotations": [{"by": 1, "result": [{"value": {"choices": ["a", "b"]}}]}, {"by": 2}],
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
        "score.label": "pass",
        "first-name": "Ann",
        "chosen": "\n\nHuman: x\n\nAssistant: Sure, yes",
        "rejected": "\n\nHuman: x\n\nAssistant: Sure, no",
        "a": "one two three",
        "b": "one two four",
        "won": True,
        "text": '[{"content": [{"type": "text", "text": "deep"}]}]',
        "labels": {"name": ["spam", "quality"], "value": [0.0, 0.5]},
        "attributes": [{"key": "user.id", "value": {"stringValue": "u1"}}],
        "id": 7,
        "key": "z",
        "tree": {"z": {"content": "found"}},
        "responses": {"good": [{"user_id": "u1"}]},
        "annotator_1": "yes",
        "annotator_2": "",
        "empty": "",
    }
)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("id", 7),
        ("annotations[].by", [1, 2]),
        ("annotations[].result[].value.choices[]", ["a", "b"]),
        ("annotations[0].result[].value.*[0]", "a"),
        ("messages[-1].content", "Hello"),
        ("messages[:-1].content", "Hi"),
        ("messages[9].content", None),
        ("score.label", "pass"),
        ('"score.label"', "pass"),
        ("first-name", "Ann"),
        ("labels[name=quality].value", 0.5),
        ("attributes[key=user.id].value.*", "u1"),
        ("tree.(key).content", "found"),
        ("responses.*[].user_id", "u1"),
        ("responses.*#", "good"),
        ("annotator_*", "yes"),
        ("annotator_*#", "annotator_1"),
        ("id + #", "7:3"),
        ("id + absent", None),
        ("id + '/' + key", "7/z"),
        ("id + ' ' + absent", None),
        ("empty | absent | id", 7),
        ("won ? 1: a, 0: b", "one two three"),
        ("won ? no: a, *: 'other'", "other"),
        ("won ? no: a", None),
        ("id.name", None),
        ("text[].content[].text", "deep"),
    ],
)
def test_a_path_finds(path: str, found: Any) -> None:
    assert parse_path(path).value(ROW) == found


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("messages[]", "Hi\n\nHello"),
        ("text[]", "deep"),
        ("a + absent + b", "one two three\n\none two four"),
        ("chosen & rejected", "\n\nHuman: x\n\nAssistant: "),
        ("chosen - rejected", "Sure, yes"),
        ("a & b", "one two "),
        ("b - a", "four"),
        ("messages & annotations", None),
        ("messages - annotations", "Hi\n\nHello"),
    ],
)
def test_a_text_role_takes_what_messages_say_and_splits_what_two_texts_share(path: str, text: str | None) -> None:
    assert parse_path(path).value(ROW, text=True) == text


def test_calls_of_tools_are_part_of_what_a_message_says() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "wipe"}}]}

    assert "wipe" in str(text_of([call]))


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("a[", "cannot be read"),
        ("a.(b", r"a \) is missing"),
        ("a ? x", "a : is missing after 'x'"),
        ("a..b", "a name is missing at character 3"),
        ("a[foo]", "neither a place, a range nor KEY=VALUE"),
        ("is it", "'it' cannot stand at character 3"),
        ("a" * 1001, "longer than 1,000 characters"),
        ("a.(" * 300 + "b" + ")" * 300, "nested too deeply|longer"),
    ],
)
def test_a_path_that_cannot_be_read_says_where(path: str, why: str) -> None:
    with pytest.raises(PathError, match=why):
        parse_path(path)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
_PATHS = ["a", "a.b", "a[].b", "a[-1]", "a.*", "a[:1].b", "a[b=1].c", "a | b", "a + b", "a & b", "a - b", "a ? 1: b"]


@given(
    cells=st.dictionaries(st.sampled_from("abc"), _JSON, max_size=3), path=st.sampled_from(_PATHS), text=st.booleans()
)
def test_whatever_a_row_holds_a_path_finds_something_or_nothing(cells: dict[str, Any], path: str, text: bool) -> None:
    found = parse_path(path).value(Row(cells), text=text)

    assert not text or found is None or isinstance(found, str)


@given(shared=st.text(), a=st.text(), b=st.text())
def test_what_two_texts_share_and_the_rest_are_the_whole(shared: str, a: str, b: str) -> None:
    row = Row({"a": shared + a, "b": shared + b})
    common, rest = (parse_path(path).value(row) for path in ("a & b", "a - b"))

    assert common + rest == shared + a
    assert (shared + b).startswith(common)
