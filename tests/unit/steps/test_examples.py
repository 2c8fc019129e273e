"""What a model is trained on: images, texts and tables out of items' files and records, and what cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from poison_guard.config import Contract, open_settings, parse_contract
from poison_guard.errors import ConfigError, DataError
from poison_guard.retrain.table_columns import TableColumns
from poison_guard.steps.examples import Content, content_of, inputs_of, load_item_content, record_content

ANSWERS: dict[str, Any] = {
    "name": "captcha",
    "kind": "answers",
    "columns": {"source_id": "u", "item_id": "i", "answer": "a"},
}


def contract(**tables: Any) -> Contract:
    """Return the contract of answers with more tables."""
    return parse_contract({**ANSWERS, **tables}, path=None)


def frame(cells: list[Any]) -> pd.DataFrame:
    """Return examples with one content column."""
    ids = [f"e{n}" for n in range(len(cells))]
    return pd.DataFrame({"example_id": ids, "label": "x", "slice": "", "image": pd.Series(cells, dtype=object)})


def images(cells: list[Any], pixel_max: float = 16.0) -> np.ndarray:
    """Return the images of some cells."""
    return inputs_of(frame(cells), Content("image", ("image",), True, pixel_max))


def test_flat_nested_and_coloured_pixels_become_channels_first_in_zero_to_one() -> None:
    flat = images([[0, 4, 8, 16]])
    assert flat.shape == (1, 1, 2, 2)
    assert flat.dtype == np.float32
    assert flat[0, 0].tolist() == [[0.0, 0.25], [0.5, 1.0]]
    assert images([np.array([[1, 2, 3], [4, 5, 6]])]).shape == (1, 1, 2, 3)
    assert images([[[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]]]).shape == (1, 3, 2, 2)
    assert images([list(range(12))]).shape == (1, 3, 2, 2)


@pytest.mark.parametrize("cell", [None, "seven", [], [1], [1, 2, 3], [[1, 2], [3]], {"a": 1}, 5])
def test_a_cell_that_is_no_image_names_its_example(cell: Any) -> None:
    with pytest.raises(DataError, match="image of 'e0' must be a picture"):
        images([cell])


@pytest.mark.parametrize("pixel", [-1, 17, float("nan"), float("inf")])
def test_a_pixel_outside_its_range_is_refused_by_name(pixel: float) -> None:
    with pytest.raises(DataError, match=r"image of 'e1' has pixels outside 0 to 16; set pixel_max"):
        images([[0, 1, 2, 3], [0, 1, 2, pixel]])


def test_images_of_two_sizes_are_refused() -> None:
    with pytest.raises(DataError, match=r"image of 'e1' has the shape"):
        images([[0, 1, 2, 3], list(range(9))])


def test_no_examples_give_no_images() -> None:
    assert images([]).shape[0] == 0


def test_the_model_decides_what_it_is_trained_on_and_what_is_not_there_is_said() -> None:
    assert content_of(contract()).kind == ""
    assert content_of(contract(items={"path": "i.parquet", "text": "words"})) == Content("text", ("words",), True)
    table = contract(items={"path": "i.parquet", "features": ["a", "b"]}, retrain={"model": "tabular-mlp"})
    assert content_of(table).columns == ("a", "b")
    with pytest.raises(ConfigError, match=r"'image-cnn'.* is trained on images, but \[columns\] names none"):
        content_of(contract(retrain={"model": "image-cnn"}))
    answered = {**ANSWERS, "columns": {**ANSWERS["columns"], "features": ["dwell"]}}
    assert content_of(parse_contract(answered, path=None)).kind == "", "how an answer was given is not its item"
    with pytest.raises(ConfigError, match=r"trained on texts, but \[items\] names none"):
        content_of(contract(items={"path": "i.parquet", "image": "pixels"}, retrain={"model": "text-linear"}))


def test_texts_are_joined_in_a_fixed_order_and_missing_ones_are_empty() -> None:
    records = pd.DataFrame({"record_id": ["a", "b"], "prompt": ["p", "q"], "response": ["r", None]})
    content = Content("text", ("prompt", "response"), False)
    shown = record_content(records, content)
    lead = pd.DataFrame({"example_id": records["record_id"], "label": "x", "slice": ""})
    assert inputs_of(pd.concat([lead, shown], axis=1), content).tolist() == ["p\nr", "q\n"]


def test_features_lose_their_prefix_and_keep_their_holes() -> None:
    records = pd.DataFrame({"feature.speed": [1.0, np.nan], "feature.turn": [3, 4]})
    content = Content("table", ("speed", "turn"), False)
    shown = record_content(records, content)
    assert list(shown.columns) == ["speed", "turn"]
    inputs, names = TableColumns.of(shown, content.columns).numbers(shown)
    assert names == ("speed", "turn")
    assert np.isnan(inputs[1, 0])
    assert inputs.dtype == np.float64


def test_the_only_other_column_of_the_items_file_is_the_item(tmp_path: Path) -> None:
    file = tmp_path / "items.parquet"
    pd.DataFrame({"item_id": ["7", "8"], "pixels": [[0, 1, 2, 3], [3, 2, 1, 0]]}).to_parquet(file)
    mine = contract(items={"path": str(file)})
    shown = load_item_content(mine, open_settings(tmp_path), content_of(mine))
    assert list(shown.columns) == ["item_id", "pixels"]
    assert shown["item_id"].tolist() == ["7", "8"]


def test_an_items_file_that_leaves_room_for_doubt_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "items.parquet"
    mine = contract(items={"path": str(file)})
    pd.DataFrame({"item_id": ["7"], "pixels": [[0, 1]], "title": ["t"]}).to_parquet(file)
    with pytest.raises(DataError, match=r"has the columns pixels, title; say in \[items\] which one is the item"):
        load_item_content(mine, open_settings(tmp_path), content_of(mine))
    pd.DataFrame({"item_id": ["7", "7"], "pixels": [[0, 1], [1, 0]]}).to_parquet(file)
    with pytest.raises(DataError, match="describes the item '7' twice"):
        load_item_content(mine, open_settings(tmp_path), content_of(mine))
    named = contract(items={"path": str(file), "image": "picture"})
    pd.DataFrame({"item_id": ["7"], "pixels": [[0, 1]]}).to_parquet(file)
    with pytest.raises(DataError, match=r"has no column picture, which \[items\] names; it has item_id, pixels"):
        load_item_content(named, open_settings(tmp_path), content_of(named))
