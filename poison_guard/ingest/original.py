"""Keep what a record does not say of the row it was made of, and make that row again: its columns, order and types.

A record holds its cells under roles, as typed and cleaned values. Beside them it keeps its row's *shape* (names, order
and types of the cells, and the record's column that holds each: few shapes a file, so it costs nearly nothing), and
only those cells that the record's own do not give back (``was.NAME``: an id that was trimmed, a time that was text).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.config import Contract
from poison_guard.ingest.arrow_types import EXACT, array_of, read_schema
from poison_guard.ingest.cells import as_text
from poison_guard.ingest.raw_table import HIDDEN, RawTable
from poison_guard.ingest.shapes import Cell, Shape

__all__ = [
    "GIVEN",
    "SHAPE",
    "WAS",
    "Original",
    "changed_cells",
    "column_of",
    "exact_cells",
    "mark_changed",
    "masked",
    "original_rows",
    "own_table",
    "private_columns",
    "with_shapes",
]

SHAPE = "shape"
"""Column of the records frame with the shape of the row that a record was made of, as JSON."""
GIVEN = "given."
"""Prefix of the columns with what was written where a record's canonical id, answer or time is another."""
WAS = "was."
"""Prefix of the columns with cells as they came, where the record's own cell does not give them back."""
_IDS = ("record_id", "source_id", "author_id", "item_id")
_NULL, _CUT, _BYTES, _ESCAPED = "\0", "\0cut", "\0b", "\0\0"
"""What a cell of a ``was.`` column says besides text: null, more than `max_cell_chars`, bytes, text that begins so."""


# -- what a record's cell does not say ---------------------------------------------------------------------------------


def changed_cells(
    cells: pa.Array, kept: pd.Series, given: pd.Series | None, *, limit: int, empty_is_missing: bool
) -> pd.Series | None:
    """Return the text of `cells` (a simple type) where `given`, else `kept`, does not say it; None: nowhere.

    `kept` is the record's column, and `given` the one with what was written where that is another.

    With `empty_is_missing`, empty text that is missing in the record is no change: the shape says that it was text. A
    cell of more than `limit` characters is only marked.
    """
    differ = _differ(cells, kept)
    if given is not None:
        differ = np.where(given.notna().to_numpy(), _text_differs(cells, given), differ)
    if empty_is_missing and pa.types.is_large_string(cells.type):
        differ &= ~(np.asarray(pc.fill_null(pc.equal(cells, ""), False)) & kept.isna().to_numpy())
    if not differ.any():
        return None
    some = cells.filter(pa.array(differ))
    out = np.full(len(differ), None, dtype=object)
    out[differ] = _texts(some, limit)
    return pd.Series(out, dtype="str")


def _differ(cells: pa.Array, kept: pd.Series) -> np.ndarray:
    kind = cells.type
    if kept.dtype.kind == "M":
        if not pa.types.is_timestamp(kind):
            return np.asarray(cells.is_valid())
        micros = kept.dt.tz_localize(None).to_numpy("datetime64[us]").view(np.int64)
        mine = cells.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        return np.asarray(cells.is_valid()) & ((micros != mine) | kept.isna().to_numpy())
    if kept.dtype.kind == "f":
        return _number_differs(cells, kept.to_numpy(np.float64))
    if kept.dtype == object:  # bytes, kept as they came or not at all
        return np.asarray(cells.is_valid()) & kept.isna().to_numpy()
    if pa.types.is_null(kind):
        return kept.notna().to_numpy()
    return _text_differs(cells, kept)


def _text_differs(cells: pa.Array, kept: pd.Series) -> np.ndarray:
    text = pa.chunked_array([pa.array(kept, from_pandas=True)]).combine_chunks().cast(pa.large_string())
    came = as_text(cells)
    same = came.is_valid() if came.equals(text) else pc.fill_null(pc.equal(came, text), False)
    both_missing = pc.and_(cells.is_null(), text.is_null())
    return ~np.asarray(pc.or_(same, both_missing))


def _number_differs(cells: pa.Array, kept: np.ndarray) -> np.ndarray:
    kind, missing = cells.type, np.isnan(kept)
    valid = np.asarray(cells.is_valid())
    if pa.types.is_large_string(kind):
        shown = pc.cast(pa.array(kept, mask=missing), pa.large_string())
        same = np.asarray(pc.fill_null(pc.equal(cells, shown), False))
        return valid & ~same
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return valid
    numbers = cells.fill_null(False if pa.types.is_boolean(kind) else 0).to_numpy(zero_copy_only=False)
    came = numbers.astype(np.float64)
    differ = missing | (came != kept) | (np.signbit(came) != np.signbit(kept))
    return valid & differ


def _texts(cells: pa.Array, limit: int) -> list[str]:
    """Return the texts of a ``was.`` column for some cells."""
    if pa.types.is_large_binary(cells.type):
        blobs = cells.to_pylist()
        return [
            _NULL if b is None else _CUT if len(b) > limit else _BYTES + base64.b64encode(b).decode() for b in blobs
        ]
    if pa.types.is_floating(cells.type):
        return [_NULL if value is None else repr(value) for value in cells.to_pylist()]
    found = []
    for text in as_text(cells).to_pylist():
        if text is None:
            found.append(_NULL)
        elif len(text) > limit:
            found.append(_CUT)
        else:
            found.append(_ESCAPED + text if text.startswith("\0") else text)
    return found


def mark_changed(was: pd.Series | None, before: pd.Series, changed: np.ndarray) -> pd.Series:
    """Return the ``was.`` column with the texts of `before` where the record's column was `changed` later."""
    out = np.full(len(before), None, dtype=object) if was is None else was.to_numpy(dtype=object, copy=True)
    fresh = changed & np.array([value is None or value != value for value in out])
    texts = [_NULL if pd.isna(v) else v.isoformat() if isinstance(v, pd.Timestamp) else str(v) for v in before[fresh]]
    out[fresh] = texts
    return pd.Series(out, dtype="str")


def with_shapes(raws: Sequence[RawTable], columns: Mapping[str, str], private: Sequence[str] = ()) -> pd.Series:
    """Return the shape of each row of several objects as a category; `columns` maps a cell's name to the record's.

    `private` are the record's columns that are masked where it is shown.
    """
    known: dict[str, int] = {}
    numbers: list[np.ndarray] = [np.empty(0, np.int32)]
    for raw in raws:
        full = [known.setdefault(_placed(text, columns, private), len(known)) for text in raw.shapes]
        hidden = _hidden(raw, f"{HIDDEN}shape")
        code = np.zeros(len(raw.row_numbers), np.int64) if hidden is None else hidden.to_numpy(zero_copy_only=False)
        numbers.append(np.array([*full, -1], np.int32)[code if full else code * 0 - 1])
    return pd.Series(pd.Categorical.from_codes(np.concatenate(numbers), categories=pd.Index(list(known), dtype=object)))


def exact_cells(raws: Sequence[RawTable]) -> dict[str, pd.Series]:
    """Return, by column, the cells of several objects that their simple type does not hold exactly."""
    start = f"{HIDDEN}was:"
    names = {
        name for raw in raws if raw.hidden is not None for name in raw.hidden.column_names if name.startswith(start)
    }
    found: dict[str, pd.Series] = {}
    for name in sorted(names):
        parts = [_hidden(raw, name) for raw in raws]
        columns = [
            pa.nulls(len(raw.row_numbers), pa.large_string()) if part is None else part
            for raw, part in zip(raws, parts, strict=True)
        ]
        whole = pa.chunked_array(columns, pa.large_string())
        if whole.null_count < len(whole):
            found[name.removeprefix(start)] = pd.Series(whole.to_pandas(), dtype="str")
    return found


def _hidden(raw: RawTable, name: str) -> pa.Array | None:
    """Return a hidden column, a cell for each row of the table: they meet by the number of the row."""
    if raw.hidden is None or name not in raw.hidden.column_names:
        return None
    column, rows = raw.hidden[name].combine_chunks(), raw.hidden[f"{HIDDEN}row"].to_numpy()
    if len(rows) == len(raw.row_numbers) and (rows == raw.row_numbers).all():
        return column
    order = np.argsort(rows, kind="stable")
    return column.take(pa.array(order[np.searchsorted(rows[order], raw.row_numbers)]))


def private_columns(contract: Contract) -> list[str]:
    """Return the columns of a record that a contract calls private; ids are not: people decide by them."""
    found: list[str] = []
    for name in contract.privacy.private:
        roles = [r for r, p in contract.columns.items() if p == name or p.startswith((f"{name}.", f"{name}["))]
        found += [f"{start}{role}" for role in roles if role not in _IDS for start in ("", GIVEN)]
        found += [f"feature.{name}", f"extra.{name}", f"{WAS}{name}"]
    return found


def masked(shapes: pd.Series) -> frozenset[str]:
    """Return the columns that records of these shapes do not show."""
    return frozenset(name for text in set(shapes.dropna()) for name in Shape.read(text).private)


def _placed(text: str, columns: Mapping[str, str], private: Sequence[str]) -> str:
    shape = Shape.read(text)
    cells = tuple(Cell(cell.name, cell.kind, columns.get(cell.name, "")) for cell in shape.cells)
    return Shape(shape.format, cells, shape.detail, tuple(private)).text()


# -- the row again -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Original:
    """Rows of one shape as they came: positions in the frame they were asked from, and their cells by name."""

    shape: Shape
    at: np.ndarray
    """``(n,)`` positions."""
    cells: Mapping[str, list[Any]]
    """Name to plain Python values, in the row's order; a cell that was not kept (`[privacy] drop`) is left out."""
    cut: int = 0
    """Cells that were longer than the contract allows, and are kept in part."""

    def table(self) -> pa.Table:
        """Return the rows of a Parquet file as a table of its schema, without what was left out."""
        schema = read_schema(self.shape.detail)
        fields = [schema.field(name) for name in self.cells]
        arrays = [array_of(self.cells[field.name], field.type) for field in fields]
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields, schema.metadata))

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows as mappings of plain values."""
        if self.shape.format == "parquet":
            yield from self.table().to_pylist()
            return
        names = list(self.cells)
        for values in zip(*self.cells.values(), strict=True) if names else [()] * len(self.at):
            yield dict(zip(names, values, strict=True))


def original_rows(records: pd.DataFrame, *, leave_out: frozenset[str] = frozenset()) -> list[Original]:
    """Return the rows that `records` (columns of the records frame) were made of, a group for each shape.

    Rows without a shape (of a store that did not keep it) are missing. `leave_out` are names that are not wanted.
    """
    if SHAPE not in records:
        return []
    found = []
    shapes = pd.Categorical(records[SHAPE])
    for code, text in enumerate(shapes.categories):
        at = np.flatnonzero(shapes.codes == code)
        if len(at):
            found.append(_group(Shape.read(text), records, at, leave_out))
    return found


def _group(shape: Shape, records: pd.DataFrame, at: np.ndarray, leave_out: frozenset[str]) -> Original:
    cells: dict[str, list[Any]] = {}
    cut = 0
    for cell in shape.cells:
        if cell.name in leave_out or not cell.column:
            continue
        kept, given, was = (_cells(records, name, at) for name in (cell.column, GIVEN + cell.column, WAS + cell.name))
        cut += was.count(_CUT)
        texts = [
            w if isinstance(w, str) else _ESCAPED + g if isinstance(g, str) and g.startswith("\0") else g
            for w, g in zip(was, given, strict=True)
        ]
        cells[cell.name] = [_value(k, text, cell.kind) for k, text in zip(kept, texts, strict=True)]
    return Original(shape, at, cells, cut)


def _cells(records: pd.DataFrame, name: str, at: np.ndarray) -> list[Any]:
    return records[name].iloc[at].tolist() if name in records else [None] * len(at)


def _value(kept: Any, was: Any, kind: str) -> Any:
    if kind == "n":
        return None
    if isinstance(was, str) and was != _CUT:
        if was.startswith("\0"):
            if was.startswith(EXACT):
                return was  # for `arrow_types.array_of`
            if was == _NULL:
                return _missing(kind)
            if was.startswith(_BYTES):
                return base64.b64decode(was[len(_BYTES) :])
            was = was[len(_ESCAPED) :]
        return _of_text(was, kind)
    if kept is None or kept is pd.NaT or kept is pd.NA or (isinstance(kept, float) and kept != kept):
        return _missing(kind)
    return _of_text(kept, kind) if isinstance(kept, str) else _of_value(kept, kind)


def _missing(kind: str) -> Any:
    return {"s": "", "t": "", "f": float("nan")}.get(kind)


def _of_text(text: str, kind: str) -> Any:
    match kind.lower():
        case "i":
            return int(text) if text.lstrip("-").isdigit() else int(float(text))
        case "f":
            return float(text)
        case "b":
            return text.lower() in ("true", "1", "1.0")
        case "j":
            return _parsed(text)
        case "d":
            return pd.Timestamp(text)
        case "y":
            return text.encode()
    return text


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # a cell of text among nested ones
        return text


def _of_value(value: Any, kind: str) -> Any:
    match kind.lower():
        case "i":
            return int(value)
        case "f":
            return float(value)
        case "b":
            return bool(value)
        case "s" | "t":
            return pc.cast(pa.scalar(value), pa.string()).as_py() if isinstance(value, (int, float)) else str(value)
    return value


def own_table(records: pd.DataFrame, *, leave_out: frozenset[str] = frozenset()) -> pa.Table:
    """Return the rows that `records` were made of, in their order, each column under its own name and type.

    Lists and objects are lists and structs; where the cells of a column are of types that Arrow cannot hold together,
    they are JSON text. A column that a row does not have is missing in it.
    """
    groups = original_rows(records, leave_out=leave_out)
    if len(groups) == 1 and groups[0].shape.format == "parquet" and len(groups[0].at) == len(records):
        return groups[0].table()
    columns: dict[str, list[Any]] = {}
    for group in groups:
        for at, row in zip(group.at.tolist(), group.rows(), strict=True):
            for name, value in row.items():
                columns.setdefault(name, [None] * len(records))[at] = value
    arrays = {name: column_of(values) for name, values in columns.items()}
    return pa.table(arrays) if arrays else pa.table({})


def column_of(values: list[Any]) -> pa.Array:
    """Return plain values as a column: of one Arrow type if Parquet has one that holds them all, else JSON text."""
    try:
        array = pa.array(values, from_pandas=False)
        if not _has_no_child(array.type):
            return array
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        pass
    return pa.array([None if value is None else _json(value) for value in values], pa.large_string())


def _has_no_child(kind: pa.DataType) -> bool:
    """Return whether a type holds an object without keys (``{}``), which Parquet cannot write."""
    if pa.types.is_struct(kind) and not kind.num_fields:
        return True
    return pa.types.is_nested(kind) and any(_has_no_child(kind.field(i).type) for i in range(kind.num_fields))


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
