"""What commands print and write: JSON or tables on stdout, progress on stderr, and files of records."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from poison_guard.errors import StoreError, UsageError
from poison_guard.text import visible

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ENDINGS",
    "SCHEMA_VERSION",
    "ago",
    "check_ending",
    "counted",
    "defused",
    "jsonable",
    "print_json",
    "print_progress",
    "print_result",
    "print_table",
    "progress",
    "write_frame",
    "write_text",
]


SCHEMA_VERSION = 1
"""Of every JSON document printed; grows when a key changes its meaning or goes."""
_MISSING = ("NAType", "NaTType")
"""What pandas calls missing; named, so that printing does not import it."""


def print_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(jsonable({"schema_version": SCHEMA_VERSION, **document}), indent=2, ensure_ascii=True))


def jsonable(value: Any) -> Any:
    """Return `value` as what JSON can hold: NaN and missing become null, times ISO strings, NumPy scalars numbers."""
    if value is None or type(value).__name__ in _MISSING:
        return None
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        return jsonable(value.item())
    if isinstance(value, Iterable):
        return [jsonable(v) for v in value]
    return str(value)


def print_progress(text: str) -> None:
    """Write a line for the person watching on stderr."""
    click.echo(text, err=True)


def print_result(text: str) -> None:
    """Print one line of result on stdout, hidden characters made visible."""
    click.echo(visible(text, limit=2000))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "") -> None:
    """Print a table on stdout; a column named ``>NAME`` is right-aligned. Without rows `empty` is printed instead."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    listed = [[Text(_cell_text(value)) for value in row] for row in rows]
    if not listed and empty:
        print_result(empty)
        return
    shown = Table(title=Text(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        shown.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
    for row in listed:
        shown.add_row(*row)
    _console().print(shown)


@contextmanager
def progress(text: str) -> Iterator[None]:
    """Show on stderr that something is being done: a spinner on a terminal, one line elsewhere."""
    if not sys.stderr.isatty():
        print_progress(f"{text} …")
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{text} …"):
        yield


def counted(n: int, one: str) -> str:
    """Return ``1 record``, ``2,000 records``."""
    return f"{n:,} {one}{'' if n == 1 else 's'}"


def ago(when: dt.datetime | None, now: dt.datetime) -> str:
    """Return how long ago `when` was, in the largest unit that fits: ``3 min ago``."""
    if when is None:
        return "–"
    seconds = max(0.0, (now - (when if when.tzinfo else when.replace(tzinfo=dt.UTC))).total_seconds())
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return "just now"


def _cell_text(value: object) -> str:
    if value is None or type(value).__name__ in _MISSING or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dt.datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return f"{value:,}" if isinstance(value, int) else visible(value, limit=400)


def _console() -> Any:
    from rich.console import Console

    width = None if sys.stdout.isatty() else 140
    return Console(file=sys.stdout, width=width, highlight=False, soft_wrap=False)


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
                lines = (json.dumps(jsonable(row), ensure_ascii=False) for row in frame.to_dict("records"))
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
        return json.dumps(jsonable(value), ensure_ascii=False)
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
