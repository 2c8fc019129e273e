"""Open a feed: its contract, the settings and store of its home, its GX suite."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from poison_guard.config import Contract, Settings, load_contract, open_settings
from poison_guard.config.contract import KNOWN_FEEDS, known_feeds
from poison_guard.contracts.suite import Suite, fit_to_contract, load_suite
from poison_guard.errors import ConfigError, NotFoundError, StaleStateError, UsageError
from poison_guard.files import write_atomic
from poison_guard.ingest.nested import path_fault
from poison_guard.steps.outbox import ask_for, drain
from poison_guard.store import Store, open_store
from poison_guard.store.engine import claim_lake, keep_open, refuse_lost, sqlite_file

__all__ = [
    "Feed",
    "again_if_stale",
    "find_suite",
    "has_store",
    "keep_open",
    "open_feed",
    "refuse_no_store",
    "torch_threads",
]


_T = TypeVar("_T")
_ATTEMPTS = 5
"""Tries of a step before it gives up: each fails only where another process committed meanwhile."""


@dataclass(frozen=True, slots=True)
class Feed:
    """One feed, opened: everything a step needs besides its batch."""

    contract: Contract
    settings: Settings
    store: Store
    suite: Suite | None
    """Expectations of the feed; what validates checks them against Great Expectations, nothing else loads it."""


@contextmanager
def open_feed(
    contract: Contract | str | Path,
    settings: Settings | str | Path,
    *,
    create_store: bool = True,
    writes: bool = False,
) -> Iterator[Feed]:
    """Open the store and find the suite of a feed, by contract and settings or their paths; closed on leaving.

    Without `create_store` a home that has no store yet stays as it is: an empty one in a temporary folder stands in.
    What `writes` first does what the commits of others left to be done: a command that was killed after its commit. On
    leaving, the table or files of the contract's ``[out]`` are brought up to date.
    """
    contract = contract if isinstance(contract, Contract) else load_contract(contract)
    _check_reading(contract)
    settings = settings if isinstance(settings, Settings) else open_settings(settings)
    suite_file = find_suite(contract, settings.home)
    suite = fit_to_contract(load_suite(suite_file), contract) if suite_file else None
    with ExitStack() as stack:
        where = settings
        if not create_store and not has_store(settings):
            refuse_lost(settings)
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="poison-guard-")))
            where = open_settings(folder, environ={})
        store = stack.enter_context(open_store(where))
        if writes:
            claim_lake(store)
            store.renew_mark()
            _remember(contract, settings.home)
            drain(store, settings)
        yield Feed(contract, settings, store, suite)
        if writes and contract.out:
            ask_for(store, contract, dt.datetime.now(dt.UTC))
            drain(store, settings)


def _check_reading(contract: Contract) -> None:
    """Raise `ConfigError` where a contract names a format that is not known, or a list or key that cannot be read."""
    data, file = contract.data, contract.path or contract.name
    if data.format is not None:
        from poison_guard.onboard import named_format

        try:
            named_format(data.format)
        except UsageError as error:
            raise ConfigError(f"format in [data] of {file}: {error}") from None
    if (data.explode or data.join) and (fault := path_fault(data)) is not None:
        raise ConfigError(f"{fault[0]} in [data] of {file}: {fault[1]}")


def _remember(contract: Contract, home: Path) -> None:
    """Note in the home where the contract is, so that its feed is known by name from every folder."""
    known = known_feeds(home)
    file = None if contract.path is None else contract.path.absolute()
    if file is not None and file.is_file() and known.get(contract.name) != file:
        table = {**known, contract.name: file}
        write_atomic(home / KNOWN_FEEDS, json.dumps({name: str(path) for name, path in table.items()}, indent=1))


def has_store(settings: Settings) -> bool:
    """Whether there is a store to look at: a database server, or an SQLite file that exists."""
    file = sqlite_file(settings.store_url)
    return file is None or file.is_file()


def refuse_no_store(settings: Settings) -> None:
    """Raise `NotFoundError` where a home has no store yet: a typo in its name then makes no empty one."""
    if not has_store(settings):
        refuse_lost(settings)
        home = settings.home
        typed = home.relative_to(Path.cwd()) if home.is_relative_to(Path.cwd()) else home
        raise NotFoundError(
            f"there is no store in {typed} yet; `poison-guard run --feed FEED.toml` makes one, or name --home"
        )


@contextmanager
def torch_threads(feed: Feed) -> Iterator[str]:
    """Compute with the home's number of torch threads, and yield its device; feeds without features import no torch."""
    if not feed.contract.features:
        yield feed.settings.device
        return
    from poison_guard.numerics.tensors import limited_threads, pick_device

    with limited_threads(feed.settings.threads):
        yield str(pick_device(feed.settings.device))


def find_suite(contract: Contract, home: Path) -> Path | None:
    """Return the feed's GX suite: ``expectations/NAME.json`` beside the contract's folder, in it, or in the home."""
    name = Path("expectations") / f"{contract.name}.json"
    places = [home]
    if contract.path is not None:
        folder = contract.path.absolute().parent
        places = [folder.parent, folder, home]
    return next((place / name for place in places if (place / name).is_file()), None)


def again_if_stale(attempt: Callable[[], _T]) -> _T:
    """Return what `attempt` returns, tried again where another process changed the state meanwhile.

    `StaleStateError` where that happens five times in a row.
    """
    for _ in range(_ATTEMPTS - 1):
        with suppress(StaleStateError):
            return attempt()
    return attempt()
