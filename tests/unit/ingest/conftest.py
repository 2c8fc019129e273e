"""Contracts and files that the tests of this room read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from poison_guard.config import Contract, parse_contract
from poison_guard.ingest.collect import collect_frames
from poison_guard.ingest.raw_table import Limits, RawTable
from poison_guard.ingest.reader import read_in_child
from poison_guard.records import Batch

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


def contract_of(columns: dict[str, Any] | None = None, kind: str = "answers", **data: Any) -> Contract:
    roles = {"record_id": "id", "source_id": "user", "item_id": "item", "answer": "answer"}
    return parse_contract({"name": "words", "kind": kind, "columns": columns or roles, "data": data})


def read_bytes(path: Path, content: bytes | str, keep: tuple[str, ...] = (), **limits: int) -> RawTable:
    """Write a file and read it in the child, by the format of its name."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_in_child(path, path.suffix[1:], Limits(**limits), keep)


@pytest.fixture
def collect(tmp_path: Path) -> Callable[..., Batch]:
    """Collects files given by name and content from a folder of their own."""

    def run(contract: Contract, files: dict[str, bytes | str | pd.DataFrame], **kwargs: Any) -> Batch:
        paths = []
        for name, content in files.items():
            path = tmp_path / name
            if isinstance(content, pd.DataFrame):
                content.to_parquet(path)
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)
            paths.append(str(path))
        source = kwargs.pop("source", paths)
        return collect_frames(contract, source, home=tmp_path, received_at=NOW, **kwargs)

    return run


def accounted(batch: Batch) -> bool:
    """Whether every row of every object is a record, a repeat, or listed as unreadable."""
    return sum(o.rows for o in batch.objects) == len(batch.records) + batch.duplicates + len(batch.unreadable)
