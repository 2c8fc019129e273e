"""Write a feed's own rows to a file: JSON Lines, JSON, CSV or Parquet as they came, or a folder for Hugging Face.

What is written for training never alters a cell. CSV for people is safe to open in a spreadsheet.
"""

from __future__ import annotations

import codecs
import contextlib
import copy
import csv
import io
import json
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from poison_guard.errors import UsageError
from poison_guard.files import defused, write_atomic
from poison_guard.ingest.cells import byte_text
from poison_guard.ingest.original import Original

__all__ = ["ENDINGS", "Rows", "file_body", "hub_card", "plain", "together"]

ENDINGS = {".jsonl": "jsonl", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
"""Ending of a file to its format."""


_MARK = codecs.BOM_UTF8


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to write, in their order."""

    rows: Sequence[Mapping[str, Any]]
    table: pa.Table | None = None
    """The same rows with the schema of the Parquet files that they came from; None where they came otherwise."""
    delimiter: str = ","
    ascii: bool = False
    marked: bool = False
    """Whether a CSV begins with the mark of UTF-8: the contract names another encoding."""
    header: bool = True
    """Whether a CSV has a header, which a contract with ``header = false`` would read as a record."""

    @classmethod
    def of(cls, groups: Sequence[Original], order: Mapping[int, int]) -> Rows:
        """Return the rows of `groups`; `order` gives the place of each position."""
        found: dict[int, Mapping[str, Any]] = {}
        for group in groups:
            for at, row in zip(group.at.tolist(), group.rows(), strict=True):
                found[order[at]] = row
        shapes = [group.shape for group in groups]
        table = None
        if shapes and {(s.format, s.detail) for s in shapes} == {("parquet", shapes[0].detail)}:
            tables = [group.table() for group in groups]
            if len({tuple(each.column_names) for each in tables}) == 1:
                places = [order[at] for group in groups for at in group.at.tolist()]
                index = pd.Series(range(len(places)), index=places).sort_index().to_numpy()
                table = pa.concat_tables(tables).take(pa.array(index, pa.int64()))
        delimiters = {shape.detail for shape in shapes if shape.format == "csv"}
        return cls(
            [found[place] for place in sorted(found)], table,
            delimiters.pop() if len(delimiters) == 1 else ",", any(shape.detail == "ascii" for shape in shapes),
        )  # fmt: skip

    def names(self) -> list[str]:
        """Return the names of all columns, by first sight."""
        return list(dict.fromkeys(name for row in self.rows for name in row))


def file_body(rows: Rows, form: str, *, safe: bool = False, note: Mapping[str, str] | None = None) -> tuple[bytes, int]:
    """Return the bytes of a file, and how many cells are not as they came: those of a CSV that is `safe` for people.

    `note` is kept in the metadata of a Parquet file.
    """
    match form:
        case "jsonl":
            text = "".join(f"{_line(row, rows.ascii)}\n" for row in rows.rows)
            return text.encode("utf-8", "backslashreplace"), 0
        case "json":
            text = ",\n".join(_line(row, rows.ascii) for row in rows.rows)
            return f"[\n{text}\n]\n".encode("utf-8", "backslashreplace"), 0
        case "csv":
            return _csv(rows, safe=safe)
        case "parquet":
            return _parquet(rows, note or {}), 0
    raise UsageError(f"there is no format {form!r}; there are {', '.join(dict.fromkeys(ENDINGS.values()))}")


def hub_card(folder: Path, name: str, body: bytes, facts: Mapping[str, Any]) -> None:
    """Write a folder that `datasets.load_dataset` reads: one Parquet file and the card that names it."""
    card = (
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n"
        f"    path: data/train-00000-of-00001.parquet\n---\n\n# {name}\n\n"
        "Written by `poison-guard export --as hf`. What it is made of:\n\n```json\n"
        f"{json.dumps(facts, indent=2)}\n```\n"
    )
    write_atomic(folder / "data" / "train-00000-of-00001.parquet", body)
    write_atomic(folder / "README.md", card)


def plain(value: Any) -> Any:
    """Return a value as JSON holds it: times as ISO text, bytes as `byte_text`."""
    if isinstance(value, (bytes, bytearray)):
        return byte_text(bytes(value))
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _line(row: Mapping[str, Any], ascii_only: bool) -> str:
    return json.dumps(row, ensure_ascii=ascii_only, default=plain)


def _csv(rows: Rows, *, safe: bool) -> tuple[bytes, int]:
    names, changed = rows.names(), 0
    out = io.StringIO()
    writer = csv.writer(out, delimiter=rows.delimiter, lineterminator="\n")

    def shown(values: Iterable[Any]) -> list[str]:
        nonlocal changed
        cells = [_cell(value) for value in values]
        if safe:
            kept, cells = cells, [defused(cell) for cell in cells]
            changed += sum(a != b for a, b in zip(kept, cells, strict=True))
        return cells

    if rows.header:
        writer.writerow(shown(names))
    writer.writerows(shown(row.get(name) for name in names) for row in rows.rows)
    return (_MARK if rows.marked else b"") + out.getvalue().encode("utf-8", "backslashreplace"), changed


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=plain)  # as ingest reads it
    return str(value) if isinstance(value, (int, float)) else str(plain(value))


def _parquet(rows: Rows, note: Mapping[str, str]) -> bytes:
    table = rows.table if rows.table is not None else _table(rows)
    if note:
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **note})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _table(rows: Rows) -> pa.Table:
    from poison_guard.ingest.original import column_of

    names = rows.names()
    return pa.table({name: column_of([row.get(name) for row in rows.rows]) for name in names})


_LIST = re.compile(r"[^\[\]*?|+&'\"#]+\[\]")
"""A path to one list: names with dots between, and its brackets."""


def together(rows: Rows, keys: Sequence[Hashable], explode: str | None) -> Rows:
    """Return one row for each of the `keys` (where each of `rows` came from), its lists joined in order.

    Rows stay as they are where `explode` names something else than lists at the end of plain paths.
    """
    paths = [part.strip() for part in (explode or "").split(",")]
    if not all(map(_LIST.fullmatch, paths)):
        return rows
    places = [path.removesuffix("[]").split(".") for path in paths]
    found: dict[Hashable, dict[str, Any]] = {}
    for key, row in zip(keys, rows.rows, strict=True):
        if key not in found:
            found[key] = copy.deepcopy(dict(row))
            continue
        for place in places:
            mine, other = _list_at(found[key], place), _list_at(row, place)
            if mine is not None and other is not None:
                mine += other
    whole = list(found.values())
    table = None
    if rows.table is not None:
        with contextlib.suppress(pa.ArrowException, TypeError, ValueError):
            table = pa.Table.from_pylist(whole, schema=rows.table.schema)
    return replace(rows, rows=whole, table=table)


def _list_at(row: Mapping[str, Any], place: Sequence[str]) -> list[Any] | None:
    """Return the list at a path of keys; a name with dots may be a column."""
    if ".".join(place) in row:
        value = row[".".join(place)]
    else:
        value = row
        for key in place:
            value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, list) else None
