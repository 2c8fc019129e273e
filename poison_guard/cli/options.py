"""Options that several commands share."""

from __future__ import annotations

import csv
import functools
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from poison_guard.errors import UsageError
from poison_guard.files import armed

__all__ = [
    "common_options",
    "dry_run",
    "feed_option",
    "feed_or_all_option",
    "ids_in_file",
    "out_option",
    "person_options",
]


_F = TypeVar("_F", bound=Callable[..., Any])


def common_options(command: _F) -> _F:
    """Add ``--home``, ``--json`` and ``--debug``."""
    for option in (
        click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON with a schema_version instead of tables."),
        click.option(
            "--home",
            envvar="POISON_GUARD_HOME",
            default="guard-home",
            show_default=True,
            show_envvar=True,
            type=click.Path(path_type=Path, file_okay=False),
            help="Folder of store, lake and key.",
        ),
    ):
        command = option(command)
    return command


_FEED_HELP = "Contract file of the feed, or the name of one in the home or in feeds/."
feed_option = click.option("--feed", required=True, metavar="FEED.toml", help=_FEED_HELP)
"""``--feed``: a contract file, or the name of one."""
feed_or_all_option = click.option("--feed", metavar="FEED.toml", help=f"{_FEED_HELP} Default: all.")
"""``--feed``, which may be left out."""
dry_run = click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
"""``--dry-run``."""


def person_options(command: _F) -> _F:
    """Add ``--by`` and ``--reason``, which every act of a person needs; who is signed in need not say a name."""

    @functools.wraps(command)
    def call(*, by: str | None, home: Path, **options: Any) -> Any:
        from poison_guard.cli.signed_in import acting
        from poison_guard.guard import Guard

        feed = Guard.open(options["feed"], home=home).contract.name if by is None and "feed" in options else None
        return command(by=acting(home, by, feed=feed), home=home, **options)

    reasoned = click.option("--reason", required=True, help="Why; kept in the audit chain.")(call)
    by = click.option("--by", help="Who acts; kept in the audit chain. Default: who is signed in.")
    return by(reasoned)  # type: ignore[return-value]  # click gives back what it decorates


def out_option(help_text: str, *, dash: bool = False) -> Callable[[_F], _F]:
    """Return the option ``--out FILE``; with `dash` the name ``-`` is stdout."""
    kind = click.Path(path_type=Path, dir_okay=False, allow_dash=dash)
    return click.option("--out", type=kind, metavar="FILE|-" if dash else "FILE", help=help_text)


_MOST_CHARS = 500_000_000
_ID = "record_id"


def ids_in_file(file: str) -> tuple[str, ...]:
    """Return the ids in a file, or on stdin for ``-``, in order: one per line, or ``record_id`` of CSV or JSON Lines.

    `UsageError` names the file that cannot be read or holds none.
    """
    shown = "stdin" if file == "-" else file
    try:
        with click.open_file(file, encoding="utf-8-sig") as opened:
            text = opened.read(_MOST_CHARS)
        found = [name.strip() for name in _ids_in(text)]
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"no ids can be read from {shown}: {error}") from None
    ids = tuple(dict.fromkeys(filter(None, found)))
    if not ids:
        raise UsageError(f"{shown} holds no ids; give one per line, or a column {_ID}")
    return ids


def _ids_in(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and lines[0].lstrip().startswith("{"):
        return [str(json.loads(line).get(_ID) or "") for line in lines]
    if lines and _ID in next(csv.reader(lines[:1])):
        return [armed(row[_ID] or "") for row in csv.DictReader(io.StringIO(text))]
    return lines
