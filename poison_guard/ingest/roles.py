"""Map a user's columns to the columns of the records frame by the roles of the contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from poison_guard.config import Contract
from poison_guard.config.contract import ROLES
from poison_guard.ingest.coerce import Column, coerce
from poison_guard.ingest.issues import IssueLog
from poison_guard.ingest.limits import Limits

__all__ = ["Mapped", "frame_columns", "map_columns"]

_FIXED = ("record_id", "content_hash", "object", "row", "received_at")


@dataclass(frozen=True, slots=True)
class Mapped:
    """Columns of the records frame, before identities are given.

    `columns` maps frame column to its values. `canonical` holds, for the same columns, each cell's canonical bytes
    (empty where missing): what identity is made of. `issues` are ``(position, code, args)``.
    """

    columns: Mapping[str, pd.Series]
    canonical: Mapping[str, pa.Array]
    issues: tuple[tuple[int, str, Mapping[str, Any]], ...]


def frame_columns(contract: Contract) -> tuple[str, ...]:
    """Return the columns of ``Batch.records`` in order, without the ``extra.NAME`` of columns that play no role."""
    roles = [role for role in ROLES if role in contract.columns and role != "record_id"]
    return (*_FIXED, *roles, *(f"feature.{name}" for name in contract.features))


def map_columns(table: pa.Table, contract: Contract, limits: Limits, schema: Mapping[str, str]) -> Mapped:
    """Bring a raw table (types of `cells.simple_type`, kinds of `payload_schema`) to the roles of `contract`.

    Columns of the contract that the table lacks are all missing.
    """
    log = IssueLog(table.num_rows)
    columns: dict[str, pd.Series] = {}
    canonical: dict[str, pa.Array] = {}
    for name, given, role in _plan(table, contract):
        cells = table[given].combine_chunks() if given in schema else pa.nulls(table.num_rows)
        column = Column(name, given, role, cells, schema.get(given, "empty"), limits.max_cell_chars)
        columns[name], canonical[name] = coerce(column, log)
    return Mapped(columns, canonical, tuple(log.listed))


def _plan(table: pa.Table, contract: Contract) -> Iterator[tuple[str, str, str]]:
    """Yield frame column, user's column and role of all columns, in the order of the records frame."""
    for role in ROLES:
        if role in contract.columns:
            yield role, contract.columns[role], role
    for column in contract.features:
        yield f"feature.{column}", column, "feature"
    mapped = {*contract.columns.values(), *contract.features}
    for column in sorted(set(table.column_names) - mapped):
        yield f"extra.{column}", column, "extra"
