"""What commands print: JSON or tables on stdout, progress on stderr."""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

from poison_guard.results import cell_text
from poison_guard.text import to_jsonable, visible

__all__ = [
    "SCHEMA_VERSION",
    "ago",
    "announced",
    "counted",
    "log_as_json",
    "logs_are_json",
    "print_event",
    "print_json",
    "print_progress",
    "print_result",
    "print_revoked",
    "print_table",
    "progress",
]


SCHEMA_VERSION = 1
"""Of every JSON document printed; grows when a key changes its meaning or goes."""


def print_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(to_jsonable({"schema_version": SCHEMA_VERSION, **document}), indent=2, ensure_ascii=True))


def print_progress(text: str) -> None:
    """Write a line for the person watching on stderr."""
    if _Said.as_json:
        print_event("progress", message=text)
    else:
        click.echo(text, err=True)


def print_event(event: str, *, level: str = "info", **fields: Any) -> None:
    """Write a line of JSON on stderr where logs are wanted as JSON; nothing elsewhere."""
    if _Said.as_json:
        head = {"time": dt.datetime.now(dt.UTC).isoformat(), "level": level, "command": _Said.command, "event": event}
        click.echo(json.dumps(to_jsonable({**head, **fields}), ensure_ascii=True), err=True)


def log_as_json() -> None:
    """Write progress, warnings and failures as lines of JSON from now on."""
    _Said.as_json = True
    logging.basicConfig(handlers=[_JsonLines()], level=logging.WARNING, force=True)
    logging.getLogger("poison_guard").setLevel(logging.INFO)


def logs_are_json() -> bool:
    """Return whether logs are lines of JSON."""
    return _Said.as_json


class _JsonLines(logging.Handler):
    """Writes what libraries and our own rooms log as lines of JSON, hidden characters made visible."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        text = visible(record.getMessage(), limit=_LOGGED)
        print_event("log", level=record.levelname.lower(), logger=record.name, message=text)


_LOGGED = 1000
"""Characters of a logged message; it may quote what came from a feed."""


def print_result(text: str) -> None:
    """Print one line of result on stdout, hidden characters made visible."""
    click.echo(visible(text, limit=2000))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "") -> None:
    """Print a table on stdout; a column named ``>NAME`` is right-aligned. Without rows `empty` is printed instead.

    Ids and other cells without a blank are never broken, however narrow the terminal: they can be copied whole.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    listed = [[cell_text(value) for value in row] for row in rows]
    if not listed and empty:
        print_result(empty)
        return
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    least = 0
    for at, name in enumerate(columns):
        cells = [row[at] for row in listed]
        width = max((len(cell) for cell in (name.removeprefix(">"), *cells)), default=0)
        whole = width <= _WHOLE and not any(" " in cell for cell in cells)
        least += (width if whole else min(width, _NARROWEST)) + 3
        shown.add_column(
            name.removeprefix(">"), justify="right" if name.startswith(">") else "left", overflow="fold", no_wrap=whole
        )
    for row in listed:
        shown.add_row(*(Text(cell) for cell in row))
    console = _console()
    console.width = max(console.width, least)
    console.print(Text(title, style="bold"), overflow="ignore", no_wrap=True, crop=False)
    console.print(shown, crop=False)


_WHOLE = 256
"""Characters of a cell without a blank that is never broken: ids have no more."""
_NARROWEST = 24
"""Characters that a column of sentences keeps on a narrow terminal."""


def print_revoked(facts: Mapping[str, Any], *, feed: str, dry_run: bool) -> None:
    """Print the revoked snapshots and the models that used them on stdout, the rollback to run on stderr."""
    if not facts["revoked"]:
        return
    print_result(f"{'would revoke' if dry_run else 'revoked'}: {', '.join(facts['revoked'])}")
    rows = [(m["model_id"], m["status"], m["snapshot_id"]) for m in facts["models"]]
    print_table("Models that used them", ("model", "status", "snapshot"), rows, empty="no model used them")
    if facts["rollback_to"]:
        print_progress(
            f"the champion {facts['champion']} is one of them; roll back with: "
            f"poison-guard rollback --feed {feed} --to {facts['rollback_to']} --by NAME --reason WHY"
        )
    elif facts["champion"]:
        print_progress(
            f"the champion {facts['champion']} is one of them and no earlier one is clean: take it out of service; "
            f"poison-guard seal --feed {feed}, then gate check and retrain, make the next"
        )


@contextmanager
def progress(text: str) -> Iterator[None]:
    """Show on stderr that something is being done: a spinner on a terminal, one line elsewhere."""
    _Said.anything = True
    if _Said.as_json or not sys.stderr.isatty():
        print_progress(f"{text} …")
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{text} …"):
        yield


class _Said:
    """Whether the command of this process has said on stderr what it does, and how it says it."""

    anything = False
    as_json = False
    command = ""


SLOW_SECONDS = 2.0
"""A command that has said nothing for so long says that it works."""


@contextmanager
def announced(name: str) -> Iterator[None]:
    """Say on stderr that the command `name` works where it takes more than two seconds and shows no progress itself."""
    _Said.anything, _Said.command = False, name
    done = threading.Event()

    def watch() -> None:
        if not done.wait(SLOW_SECONDS) and not _Said.anything:
            print_progress(f"{name}: working …")

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()


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


def _console() -> Any:
    from rich.console import Console

    width = None if sys.stdout.isatty() else 140
    return Console(file=sys.stdout, width=width, highlight=False, soft_wrap=False)
