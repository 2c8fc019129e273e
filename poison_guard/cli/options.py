"""Options that several commands share, and how a feed is named on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from poison_guard.config import Contract, load_contract

__all__ = [
    "by_and_reason",
    "common",
    "contract_file",
    "contract_of",
    "dry_run",
    "feed_name",
    "feed_option",
    "out_option",
]

_F = TypeVar("_F", bound=Callable[..., Any])


def common(command: _F) -> _F:
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


def feed_option(*, required: bool) -> Callable[[_F], _F]:
    """Return the option ``--feed``: a contract file, or the name of one in feeds/."""
    told = "Contract file of the feed, or the name of one in feeds/."
    return click.option(
        "--feed", required=required, metavar="FEED.toml", help=told if required else told + " Default: all."
    )


def by_and_reason(command: _F) -> _F:
    """Add ``--by`` and ``--reason``, which every act of a person needs."""
    command = click.option("--reason", required=True, help="Why; kept in the audit chain.")(command)
    return click.option("--by", required=True, help="Who acts; kept in the audit chain.")(command)


def dry_run(command: _F) -> _F:
    """Add ``--dry-run``."""
    return click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")(command)


def out_option(told: str, *, required: bool = False) -> Callable[[_F], _F]:
    """Return the option ``--out FILE``."""
    return click.option(
        "--out", required=required, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help=told
    )


def contract_file(feed: str) -> Path:
    """Return the contract file that `feed` names: a path as it is, a bare name in ``feeds/``."""
    path = Path(feed)
    short = Path("feeds") / f"{feed}.toml"
    return short if not path.exists() and path.name == feed and not path.suffix and short.is_file() else path


def contract_of(feed: str) -> Contract | None:
    """Return the contract that `feed` names; None where there is no such file."""
    file = contract_file(feed)
    return load_contract(file) if file.is_file() else None


def feed_name(feed: str) -> str:
    """Return the name of a feed given as contract file or as the bare name it has in the store."""
    file = contract_file(feed)
    return feed if not file.exists() and "/" not in feed and not file.suffix else load_contract(file).name
