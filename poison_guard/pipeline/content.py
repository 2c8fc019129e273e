"""What of a record or an item a model would learn: its content columns by kind, and their cells as arrays."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.config import Contract
from poison_guard.errors import ConfigError, DataError
from poison_guard.pipeline.pictures import holds_picture, picture_pixels
from poison_guard.records import Examples

__all__ = [
    "LEAD",
    "Content",
    "content_columns",
    "content_of",
    "has_no_label",
    "image_of",
    "inputs_of",
    "record_content",
    "to_examples",
    "with_pixels",
]

LEAD = ["example_id", "label", "slice"]
"""Columns of an example that are no content."""
_KIND_OF_MODEL = {"image-cnn": "image", "text-linear": "text", "tabular-mlp": "table"}


@dataclass(frozen=True, slots=True)
class Content:
    """Which columns of an example its model sees."""

    kind: str
    """``image``, ``text`` or ``table``; empty where the feed carries nothing that can be trained on."""
    columns: tuple[str, ...]
    """Column names in the parts of a snapshot."""
    of_items: bool
    """Whether they come from the items' file rather than from the records."""
    pixel_max: float = 255.0
    image_side: int = 32
    """Pixels in either direction to which a larger picture file is scaled."""


def content_of(contract: Contract) -> Content:
    """Return what the contract's examples are made of; `ConfigError` where the model asks for what is not there."""
    columns = _in_items(contract) if contract.items else _in_records(contract)
    wanted = _KIND_OF_MODEL.get(contract.retrain.model or "")
    kinds = [kind for kind in ("image", "text", "table") if kind in columns]
    if wanted and wanted not in columns:
        raise ConfigError(
            f"model = {contract.retrain.model!r} in [retrain] of {contract.path or contract.name} is trained on "
            f"{wanted}s, but {'[items]' if contract.items else '[columns]'} names none"
            + ("; what an item is, [items] says" if contract.vote and not contract.items else "")
        )
    kind = wanted or (kinds[0] if kinds else "")
    return Content(
        kind, columns.get(kind, ()), contract.items is not None, contract.retrain.pixel_max, contract.retrain.image_side
    )


def has_no_label(contract: Contract) -> bool:
    """Whether records are texts that nobody labelled: pairs, instructions, documents, which others train on."""
    return bool(contract.texts) and not any(contract.has(role) for role in ("label", "answer", "rating"))


def _in_items(contract: Contract) -> dict[str, tuple[str, ...]]:
    named = contract.item_columns
    if "features" in named:
        return {"table": tuple(named["features"])}
    if named:
        return {key: (column,) for key, column in named.items()}
    guess = _KIND_OF_MODEL.get(contract.retrain.model or "", "image")
    return {guess: ()}  # the one column beside item_id, known when the file is read


def _in_records(contract: Contract) -> dict[str, tuple[str, ...]]:
    """Return what records carry of an example; the features of an answer say how it was given, not what its item is."""
    columns: dict[str, tuple[str, ...]] = {}
    if contract.has("image"):
        columns["image"] = ("image",)
    if contract.texts:
        columns["text"] = contract.texts
    if contract.features and not contract.vote:
        columns["table"] = contract.features
    return columns


def record_content(records: pd.DataFrame, content: Content) -> pd.DataFrame:
    """Return the content columns of payload `records` (columns of `Batch.records`) under the names of the parts."""
    names = {f"feature.{name}": name for name in content.columns} if content.kind == "table" else {}
    wanted = [f"feature.{name}" if content.kind == "table" else name for name in content.columns]
    shown = records.reindex(columns=wanted).rename(columns=names).reset_index(drop=True)
    return with_pixels(shown, content)


def with_pixels(shown: pd.DataFrame, content: Content) -> pd.DataFrame:
    """Return images as pixel values, of the JSON text that ingest makes of a list, or of the file of a picture.

    What is none stays, to be refused by name.
    """
    if content.kind != "image":
        return shown
    return shown.assign(
        **{name: pd.Series([_pixels(cell, content) for cell in shown[name]], shown.index, object) for name in shown}
    )


def _pixels(cell: Any, content: Content) -> Any:
    try:
        value = json.loads(cell) if isinstance(cell, str) and not holds_picture(cell) else cell
        value = value.get("bytes", value) if isinstance(value, dict) else value  # {bytes, path} of Hugging Face
        return picture_pixels(value, content.image_side) * (content.pixel_max / 255) if holds_picture(value) else value
    except (ValueError, DataError):
        return cell


def inputs_of(frame: pd.DataFrame, content: Content) -> np.ndarray:
    """Return texts or images of `frame` as `Examples.inputs`; `DataError` names the example that does not fit."""
    columns = content_columns(frame)
    if content.kind == "text":
        parts = frame[columns].fillna("").astype("str")
        return parts.agg("\n".join, axis=1).to_numpy(object) if len(frame) else np.empty(0, object)
    return _images(frame["example_id"].to_numpy(object), frame[columns[0]].to_numpy(object), content.pixel_max)


def content_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns of a frame of examples that are content."""
    return [name for name in frame.columns if name not in LEAD]


def _images(ids: np.ndarray, cells: np.ndarray, pixel_max: float) -> np.ndarray:
    """Return ``(n, channels, height, width)`` float32 in [0, 1] of cells that hold pixel values, all of one shape."""
    images = [image_of(name, cell) for name, cell in zip(ids, cells, strict=True)]
    if not images:
        return np.empty((0, 1, 1, 1), np.float32)
    shape = images[0].shape
    for name, image in zip(ids, images, strict=True):
        if image.shape != shape:
            raise DataError(f"the image of {name!r} has the shape {image.shape}, the first one {shape}; use one size")
        if not (np.isfinite(image).all() and image.min() >= 0 and image.max() <= pixel_max):
            raise DataError(
                f"the image of {name!r} has pixels outside 0 to {pixel_max:g}; set pixel_max in [retrain], or mend it"
            )
    return (np.stack(images) / pixel_max).astype(np.float32)


def image_of(name: Any, cell: Any) -> np.ndarray:
    """Return a cell of pixel values as ``(channels, height, width)`` float64; `DataError` for anything else."""
    try:
        pixels = np.array(_dense(cell), dtype=np.float64)
    except (TypeError, ValueError):
        pixels = np.empty(0)
    for channels in (1, 3):
        side = math.isqrt(pixels.size // channels)
        if pixels.ndim == 1 and side > 1 and side * side * channels == pixels.size:
            return np.moveaxis(pixels.reshape(side, side, channels), -1, 0)
    if pixels.size and pixels.ndim == 2:
        return pixels[None]
    if pixels.size and pixels.ndim == 3 and pixels.shape[-1] in (1, 3):
        return np.moveaxis(pixels, -1, 0)
    raise DataError(
        f"the image of {name!r} must be a picture (PNG, JPEG, WebP, BMP, GIF) or a list of pixel values (square, or "
        "rows of pixels, with 1 or 3 channels last)"
    )


def _dense(cell: Any) -> Any:
    """Return lists in lists as Parquet gives them back, arrays of arrays, as one array."""
    nested = isinstance(cell, np.ndarray) and cell.dtype == object
    return np.stack([_dense(part) for part in cell]) if nested and len(cell) else cell


def to_examples(frame: pd.DataFrame, content: Content, is_new: np.ndarray, like: pd.DataFrame) -> Examples:
    """Return the examples of `frame`; what kind each column of a table is of, the rows `like` them say."""
    lead = frame[LEAD].astype("str").assign(is_new=is_new).reset_index(drop=True)
    if content.kind != "table":
        return Examples(content.kind, lead, inputs_of(frame, content))
    from poison_guard.retrain.table_columns import TableColumns

    inputs, names = TableColumns.of(like, content_columns(frame)).numbers(frame)
    return Examples(content.kind, lead, inputs, names)
