"""One decision over records chosen by id, campaign or source: told first, then made, or only told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from poison_guard.cli.options import contract_file
from poison_guard.cli.output import counted, emit, say, told
from poison_guard.cli.revoked import renew_list, revoked_facts, standing_snapshots, tell_revoked
from poison_guard.cli.rooms import opened_store
from poison_guard.config import load_contract
from poison_guard.errors import UsageError

if TYPE_CHECKING:
    from poison_guard.config import Contract
    from poison_guard.review import Selection
    from poison_guard.store import Store

__all__ = ["chosen_by", "contract_and_store", "decide_or_tell"]

_F = TypeVar("_F", bound=Callable[..., Any])
_DONE = {"release": "released", "reject": "rejected", "recall": "recalled"}


def chosen_by(command: _F) -> _F:
    """Add ``--campaign``, ``--source`` and ``--run``, which choose records instead of ids."""
    command = click.option("--run", "run_id", metavar="RUN", help="All that this run took in instead.")(command)
    command = click.option("--source", "source_id", metavar="SOURCE", help="All of this source instead.")(command)
    return click.option("--campaign", "campaign_id", metavar="CAMPAIGN", help="All of this campaign instead.")(command)


@contextmanager
def contract_and_store(feed: str, home: Path) -> Iterator[tuple[Contract, Store]]:
    """Open the contract that `feed` names and the store of `home`."""
    contract = load_contract(contract_file(feed))
    with opened_store(home) as store:
        yield contract, store


def decide_or_tell(
    verb: str,
    *,
    feed: str,
    records: tuple[str, ...],
    campaign_id: str | None,
    source_id: str | None,
    run_id: str | None,
    by: str,
    reason: str,
    dry_run: bool,
    home: Path,
    as_json: bool,
    right: bool = True,
    observed: bool = False,
) -> None:
    """Freeze the records, say how many they are, decide exactly those, and print the event's number for undo.

    Taking accepted records back revokes the snapshots that held them: these and the models that used them are named.
    """
    from poison_guard.review.selection import select
    from poison_guard.review.verdicts import carry_out

    asked = {"campaign_id": campaign_id, "source_id": source_id, "run_id": run_id, "record_ids": list(records) or None}
    if sum(bool(value) for value in (*asked.values(), observed)) != 1:
        ways = "--source, --run or --observed" if verb == "recall" else "--source or --run"
        raise UsageError(f"{verb} needs record ids, --campaign, {ways}, exactly one of them")
    with contract_and_store(feed, home) as (contract, store):
        chosen = select(store, contract, verb, **asked, observed=observed)
        n = len(chosen.record_ids)
        places = ", ".join(f"{count:,} {place}" for place, count in chosen.places.items())
        say(f"{counted(n, 'record')} of {counted(chosen.sources, 'source')}: {places}")
        before = standing_snapshots(store, contract.name)
        done = None if dry_run else carry_out(store, contract, chosen, by=by, reason=reason, right=right)
        lost = revoked_facts(store, contract.name, _lost(store, contract.name, chosen, before, dry_run))
        facts = {"records": n, "sources": chosen.sources, "places": dict(chosen.places), **lost}
        _tell(verb, done.seq if done else None, {**facts, "record_ids": chosen.record_ids}, contract, feed, as_json)
        if done and lost["revoked"]:
            renew_list(store, contract, home)


def _lost(store: Store, feed: str, chosen: Selection, before: list[str], dry_run: bool) -> list[str]:
    """Return the snapshots of `before` that the decision revoked, or would revoke."""
    from poison_guard.store.snapshots import snapshots_holding

    if not before or (dry_run and chosen.verb == "release"):
        return []
    if dry_run:
        return snapshots_holding(store, feed, chosen.record_ids)
    after = set(standing_snapshots(store, feed))
    return [name for name in before if name not in after]


def _tell(verb: str, event: int | None, facts: dict[str, Any], contract: Contract, feed: str, as_json: bool) -> None:
    """Print a decision, made as `event` or only told."""
    if as_json:
        emit({"feed": contract.name, "verb": verb, "dry_run": event is None, "event": event, **facts})
        return
    n = counted(facts["records"], "record")
    told(f"would have {_DONE[verb]} {n}" if event is None else f"{_DONE[verb]} {n} (event {event})")
    tell_revoked(facts, feed=feed, dry_run=event is None)
    if event is not None:
        say(f"take it back with: poison-guard review undo {event} --feed {feed} --by NAME --reason WHY")
