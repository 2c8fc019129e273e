"""What a command is given and opens: shared options, the feed that --feed names, the store of a home."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from poison_guard.config import Contract, Settings, find_contract, load_contract, open_settings
from poison_guard.errors import ConfigError, NotFoundError

if TYPE_CHECKING:
    from poison_guard.store import Store

__all__ = [
    "common_options",
    "contract_file",
    "contract_of",
    "dry_run",
    "feed_name",
    "feed_option",
    "opened_store",
    "out_option",
    "person_options",
    "sqlite_file",
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


def feed_option(*, required: bool) -> Callable[[_F], _F]:
    """Return the option ``--feed``: a contract file, or the name of one."""
    help_text = "Contract file of the feed, or the name of one in the home or in feeds/."
    return click.option(
        "--feed", required=required, metavar="FEED.toml", help=help_text if required else help_text + " Default: all."
    )


def person_options(command: _F) -> _F:
    """Add ``--by`` and ``--reason``, which every act of a person needs."""
    command = click.option("--reason", required=True, help="Why; kept in the audit chain.")(command)
    return click.option("--by", required=True, help="Who acts; kept in the audit chain.")(command)


def dry_run(command: _F) -> _F:
    """Add ``--dry-run``."""
    return click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")(command)


def out_option(help_text: str, *, required: bool = False) -> Callable[[_F], _F]:
    """Return the option ``--out FILE``."""
    return click.option(
        "--out", required=required, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help=help_text
    )


def contract_file(feed: str, home: Path) -> Path:
    """Return the contract file that ``--feed`` names: see `find_contract`."""
    return find_contract(feed, home)


def contract_of(feed: str, home: Path) -> Contract | None:
    """Return the contract that `feed` names; None where there is no such file."""
    try:
        file = find_contract(feed, home)
    except ConfigError:
        return None
    return load_contract(file) if file.is_file() else None


def feed_name(feed: str, home: Path) -> str:
    """Return the name of a feed given as contract file or as the bare name it has in the store."""
    contract = contract_of(feed, home)
    if contract is None and Path(feed).name == feed and not Path(feed).suffix:
        return feed
    return contract.name if contract else load_contract(feed).name


@contextmanager
def opened_store(home: Path) -> Iterator[Store]:
    """Open the store of `home`; `NotFoundError` where there is none yet, so that a typo makes no empty store."""
    settings = open_settings(home)
    file = sqlite_file(settings)
    if file is not None and not file.exists():
        raise NotFoundError(
            f"there is no store in {home} yet; `poison-guard run --feed FEED.toml` makes one, or name --home"
        )
    from poison_guard.store import open_store

    with open_store(settings) as store:
        yield store


def sqlite_file(settings: Settings) -> Path | None:
    """Return the file of a SQLite store; None for a database server."""
    from poison_guard.store import engine

    file = engine.sqlite_file(settings.store_url)
    return None if file is None else file.absolute()
