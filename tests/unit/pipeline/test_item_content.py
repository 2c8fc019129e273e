"""What an item shows is what most established sources showed; one odd record, or many of newcomers, change nothing."""

from __future__ import annotations

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from poison_guard.pipeline.item_content import item_content
from tests.thorough import examples


def shown(*rows: tuple[str, str, str | None, bool]) -> dict[str, str]:
    """Return item to content of rows ``(item, source, text, established)``."""
    frame = pd.DataFrame(rows, columns=["item_id", "source_id", "text", "old"]).assign(seq=range(len(rows)))
    chosen = item_content(frame, ("text",), established=frame["old"])
    return dict(zip(chosen["item_id"], chosen["text"], strict=True))


def test_blanks_and_invisible_characters_make_no_other_content_and_the_usual_spelling_is_shown() -> None:
    rows = [("i", "a", "a cat ", False), ("i", "b", "a cat", False), ("i", "c", "a\u200b  cat", False)]
    assert shown(*rows, ("i", "d", "a cat", False)) == {"i": "a cat"}


def test_one_odd_record_changes_nothing() -> None:
    assert shown(*[("i", f"u{k}", "a cat", False) for k in range(3)], ("i", "z", "a cat.", True)) == {"i": "a cat."}
    assert shown(*[("i", f"u{k}", "a cat", True) for k in range(3)], ("i", "z", "a cat.", True)) == {"i": "a cat"}


def test_newcomers_cannot_outvote_established_sources() -> None:
    rows = [("i", "old", "a cat", True), *[("i", f"new{k}", "a cat.", False) for k in range(9)]]
    assert shown(*rows) == {"i": "a cat"}


def test_a_source_that_shows_an_item_often_counts_once_and_the_first_content_wins_a_tie() -> None:
    rows = [("i", "a", "first", False), *[("i", "b", "second", False)] * 5]
    assert shown(*rows) == {"i": "first"}


def test_a_record_without_content_says_nothing_of_its_item() -> None:
    assert shown(("i", "a", None, True), ("i", "b", "a cat", False), ("j", "a", None, True)) == {"i": "a cat"}


def test_images_are_compared_by_their_numbers() -> None:
    rows = pd.DataFrame({"item_id": ["i"] * 3, "image": [[1, 2], [1, 2], [9, 9]]})
    assert item_content(rows, ("image",))["image"].tolist() == [[1, 2]]


def test_items_without_content_columns_are_one_row_each() -> None:
    rows = pd.DataFrame({"item_id": ["i", "j", "i", None], "source_id": ["a", "b", "c", "d"]})
    assert item_content(rows, ())["item_id"].tolist() == ["i", "j"]


@settings(max_examples=examples(20))
@given(st.lists(st.tuples(st.sampled_from("ij"), st.sampled_from("abc"), st.sampled_from(["x", "x ", "y"]))))
def test_the_order_of_rows_does_not_matter(rows: list[tuple[str, str, str]]) -> None:
    frame = pd.DataFrame(rows, columns=["item_id", "source_id", "text"]).assign(seq=0)
    one = item_content(frame, ("text",)) if len(frame) else frame
    other = item_content(frame.iloc[::-1], ("text",)) if len(frame) else frame
    assert one[["item_id", "text"]].to_dict("list") == other[["item_id", "text"]].to_dict("list")
