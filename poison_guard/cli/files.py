"""Write files that people open, whole or not at all: Parquet, JSON lines, CSV whose cells cannot turn into formulas."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poison_guard.cli.output import plain
from poison_guard.errors import StoreError, UsageError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ENDINGS", "check_ending", "defused", "write_frame", "write_text"]

_NESTED = (list, tuple, dict)
ENDINGS = (".parquet", ".csv", ".jsonl")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters that spreadsheets take for a formula (OWASP, CSV Injection), full-width forms included."""


def check_ending(path: Path) -> None:
    """Raise `UsageError` unless `path` ends in a format that can be written."""
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"{path} must end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}, which says its format")


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Write `frame` by the ending of `path`; the file appears whole or not at all."""
    check_ending(path)
    temporary = _beside(path)
    try:
        match path.suffix.lower():
            case ".parquet":
                _storable(frame).to_parquet(temporary, index=False)
            case ".csv":
                _defuse_frame(frame).to_csv(temporary, index=False)
            case _:
                lines = (json.dumps(plain(row), ensure_ascii=False) for row in frame.to_dict("records"))
                temporary.write_text(
                    "".join(f"{line}\n" for line in lines), encoding="utf-8", errors="backslashreplace"
                )
        temporary.replace(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        if temporary.exists():
            temporary.unlink()


def write_text(text: str, path: Path) -> None:
    """Write a text file, whole or not at all."""
    temporary = _beside(path)
    try:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        temporary.replace(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        if temporary.exists():
            temporary.unlink()


def defused(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula: text that could be one gets a leading ``'``."""
    if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA):
        return f"'{value}"
    return value


def _defuse_frame(frame: pd.DataFrame) -> pd.DataFrame:
    told = frame.copy()
    for name in told.columns:
        if told[name].dtype.kind not in "biufcmM":
            told[name] = [defused(v if isinstance(v, str) else _as_text(v)) for v in told[name].astype(object)]
    return told.rename(columns=defused)


def _as_text(value: Any) -> Any:
    if isinstance(value, _NESTED):
        return json.dumps(plain(value), ensure_ascii=False)
    return value


def _storable(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with nested cells as JSON text, which every Parquet reader understands."""
    nested = [c for c in frame.columns if any(isinstance(v, dict) for v in frame[c].head(100))]
    return frame.assign(**{c: [_as_text(v) for v in frame[c]] for c in nested})


def _beside(path: Path) -> Path:
    """Return a name beside `path` to write to first; its folder is made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from None
    return path.with_name(f".{path.name}.{os.getpid()}")
