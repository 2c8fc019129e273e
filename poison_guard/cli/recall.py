"""The command `recall`, and what it shares with `review`: choose records, decide them, report the snapshots revoked."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from poison_guard.cli.options import common_options, contract_file, dry_run, feed_option, opened_store, person_options
from poison_guard.cli.output import counted, print_json, print_progress, print_result, print_table
from poison_guard.config import Contract, load_contract
from poison_guard.errors import UsageError

if TYPE_CHECKING:
    from poison_guard.steps.review import Selection
    from poison_guard.store import Store

__all__ = [
    "NOTHING_REVOKED",
    "contract_and_store",
    "decide_selected",
    "print_revoked",
    "recall_command",
    "renew_revocation_list",
    "revoked_facts",
    "selection_options",
    "unrevoked_snapshots",
]


NOTHING_REVOKED: Mapping[str, Any] = {"revoked": [], "models": [], "champion": None, "rollback_to": None}
"""What `revoked_facts` says where no snapshot was revoked."""


def unrevoked_snapshots(store: Store, feed: str) -> list[str]:
    """Return the snapshots of a feed that are not revoked."""
    from poison_guard.store.snapshots import standing_snapshots

    return standing_snapshots(store, feed)


def revoked_facts(store: Store, feed: str, snapshots: Sequence[str]) -> dict[str, Any]:
    """Return what hangs on snapshots that are, or would be, revoked.

    Keys: ``revoked`` (the snapshots), ``models`` (``model_id, status, snapshot_id``: those that used them),
    ``champion`` (id, when it is one of these models) and ``rollback_to`` (the newest earlier champion whose snapshot
    stands, or None).
    """
    from poison_guard.steps.recall import effects_of_revoking

    return effects_of_revoking(store, feed, snapshots).to_dict()


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


def renew_revocation_list(store: Store, home: Path) -> None:
    """Sign the home's list of revoked snapshots anew, so that whoever verifies a manifest sees it revoked at once."""
    from poison_guard.config import open_settings
    from poison_guard.steps.outbox import renew_revocations

    renew_revocations(store, open_settings(home), dt.datetime.now(dt.UTC))


_F = TypeVar("_F", bound=Callable[..., Any])
_DONE = {"release": "released", "reject": "rejected", "recall": "recalled"}


def selection_options(command: _F) -> _F:
    """Add ``--campaign``, ``--source`` and ``--run``, which choose records instead of ids."""
    command = click.option("--run", "run_id", metavar="RUN", help="All that this run took in instead.")(command)
    command = click.option("--source", "source_id", metavar="SOURCE", help="All of this source instead.")(command)
    return click.option("--campaign", "campaign_id", metavar="CAMPAIGN", help="All of this campaign instead.")(command)


@contextmanager
def contract_and_store(feed: str, home: Path) -> Iterator[tuple[Contract, Store]]:
    """Open the contract that `feed` names and the store of `home`."""
    contract = load_contract(contract_file(feed, home))
    with opened_store(home) as store:
        yield contract, store


def decide_selected(
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
    from poison_guard.steps.review import decide_selection, select

    asked = {"campaign_id": campaign_id, "source_id": source_id, "run_id": run_id, "record_ids": list(records) or None}
    if sum(bool(value) for value in (*asked.values(), observed)) != 1:
        ways = "--source, --run or --observed" if verb == "recall" else "--source or --run"
        raise UsageError(f"{verb} needs record ids, --campaign, {ways}, exactly one of them")
    with contract_and_store(feed, home) as (contract, store):
        chosen = select(store, contract, verb, **asked, observed=observed)
        n = len(chosen.record_ids)
        places = ", ".join(f"{count:,} {place}" for place, count in chosen.places.items())
        print_progress(f"{counted(n, 'record')} of {counted(chosen.sources, 'source')}: {places}")
        before = unrevoked_snapshots(store, contract.name)
        done = None if dry_run else decide_selection(store, contract, chosen, by=by, reason=reason, right=right)
        lost = revoked_facts(store, contract.name, _newly_revoked(store, contract.name, chosen, before, dry_run))
        facts = {"records": n, "sources": chosen.sources, "places": dict(chosen.places), **lost}
        _print_decision(
            verb, done.seq if done else None, {**facts, "record_ids": chosen.record_ids}, contract, feed, as_json
        )
        if done and lost["revoked"]:
            renew_revocation_list(store, home)


def _newly_revoked(store: Store, feed: str, chosen: Selection, before: list[str], dry_run: bool) -> list[str]:
    """Return the snapshots of `before` that the decision revoked, or would revoke."""
    from poison_guard.store.snapshots import snapshots_holding

    if not before or (dry_run and chosen.verb == "release"):
        return []
    if dry_run:
        return snapshots_holding(store, feed, chosen.record_ids)
    after = set(unrevoked_snapshots(store, feed))
    return [name for name in before if name not in after]


def _print_decision(
    verb: str, event: int | None, facts: dict[str, Any], contract: Contract, feed: str, as_json: bool
) -> None:
    """Print a decision, made as `event` or only told."""
    if as_json:
        print_json({"feed": contract.name, "verb": verb, "dry_run": event is None, "event": event, **facts})
        return
    n = counted(facts["records"], "record")
    print_result(f"would have {_DONE[verb]} {n}" if event is None else f"{_DONE[verb]} {n} (event {event})")
    print_revoked(facts, feed=feed, dry_run=event is None)
    if event is not None:
        print_progress(f"take it back with: poison-guard review undo {event} --feed {feed} --by NAME --reason WHY")


@click.command("recall")
@click.argument("records", nargs=-1)
@feed_option(required=True)
@selection_options
@click.option("--observed", is_flag=True, help="All that was let pass in observe mode, though it would have been held.")
@person_options
@dry_run
@common_options
def recall_command(**given: Any) -> None:
    """Take accepted records back: RECORDS by id, a whole campaign, all of a source or of a run. They wait for review.

    Snapshots that held them are revoked for good, and so are their admissions; the models that trained on these are
    named, with the rollback to run when one of them is the champion.
    """
    decide_selected("recall", **given)
