"""`poison-guard review`: list what waits, show one record, release or reject records, campaigns and sources, undo."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from poison_guard.cli.options import common_options, dry_run, feed_option, person_options
from poison_guard.cli.output import counted, print_json, print_progress, print_result, print_table
from poison_guard.cli.recall import (
    NOTHING_REVOKED,
    contract_and_store,
    decide_selected,
    print_revoked,
    renew_revocation_list,
    revoked_facts,
    selection_options,
    unrevoked_snapshots,
)
from poison_guard.cli.records import print_record
from poison_guard.cli.trust import trusted_command
from poison_guard.decide.reasons import sentence
from poison_guard.errors import NotFoundError, UsageError

__all__ = ["review_command"]


@click.group("review")
def review_command() -> None:
    """Work through the queue of held records."""


review_command.add_command(trusted_command)


@review_command.command("list")
@feed_option(required=True)
@click.option("--limit", type=click.IntRange(1), help="Entries at most. Default: the policy's review_budget.")
@click.option("--campaign", "campaign_id", metavar="CAMPAIGN", help="Only records of this campaign.")
@click.option("--source", "source_id", metavar="SOURCE", help="Only records of this source.")
@click.option("--kind", type=click.Choice(["held", "audit", "recalled"]), help="Only entries of this kind.")
@click.option("--expired", is_flag=True, help="Also entries that nobody read in time.")
@click.option("--groups", type=click.Choice(["campaign", "source"]), help="One line a campaign or source instead.")
@click.option("--sample", type=click.IntRange(1), help="Draw so many staged records to vet for a first trusted set.")
@click.option("--decided", is_flag=True, help="What people decided instead, last first: the events `undo` takes.")
@common_options
def list_command(
    feed: str,
    groups: str | None,
    sample: int | None,
    decided: bool,
    home: Path,
    as_json: bool,
    limit: int | None,
    **where: Any,
) -> None:
    """List what waits for review, riskiest first."""
    from poison_guard.steps import queue
    from poison_guard.store.reading import count_places
    from poison_guard.store.reviews import list_reviews

    with contract_and_store(feed, home) as (contract, store):
        if decided:
            frame = list_reviews(store, contract.name, limit=limit or 50)
            shown = ("Decisions", (">event", "what", "by", "at", ">records", "reason", ">undone by"), _decision)
        elif sample:
            frame = queue.draw_staged(store, contract, sample)
            shown = ("Staged, to vet", ("record", "source", "item", "answer", "group"), _staged)
        elif groups:
            frame = queue.list_groups(store, contract, by=f"{groups}_id")
            shown = (f"Waiting, by {groups}", (groups, ">records", ">sources", ">risk", "oldest"), tuple)
        else:
            frame = queue.list_pending(store, contract, limit=limit, **where)
            shown = ("Waiting", ("record", "kind", ">risk", "source", "campaign", "claimed by", "why"), _entry)
        staged = count_places(store, contract.name)["staged"]
    rows = frame.to_dict("records")
    if as_json:
        for row in rows:
            row["sentences"] = [sentence(r["code"], r["args"]) for r in row.get("reasons", ())]
        print_json({"feed": contract.name, "entries": rows})
        return
    title, columns, cells = shown
    lines = [cells(row.values()) if cells is tuple else cells(row) for row in rows]
    print_table(f"{title}: {contract.name}", columns, lines, empty=f"{contract.name}: nothing to list.")
    if staged and not (sample or decided):
        print_progress(
            f"{counted(staged, 'record')} staged, which nothing could judge yet; --sample N draws some of them to vet"
        )


@review_command.command("show")
@click.argument("record")
@feed_option(required=True)
@common_options
def show_command(record: str, feed: str, home: Path, as_json: bool) -> None:
    """Show RECORD as a reviewer needs it: payload, why, who else, its source, its history."""
    from poison_guard.steps.queue import show

    with contract_and_store(feed, home) as (contract, store):
        facts = show(store, contract, record)
    facts["evidence"] = [{**e, "sentence": sentence(e["code"], e["args"])} for e in facts["evidence"]]
    if as_json:
        print_json(facts)
        return
    print_record(facts)
    if facts["source"]:
        print_table("Its source so far", ("", "value"), facts["source"].items())


@review_command.command("release")
@click.argument("records", nargs=-1)
@feed_option(required=True)
@selection_options
@click.option("--trust", is_flag=True, help="Also enter them into the trusted set: you vetted each of them.")
@click.option("--unchecked", is_flag=True, help="Let them in without saying that they are right.")
@person_options
@dry_run
@common_options
def release_command(trust: bool, unchecked: bool, **given: Any) -> None:
    """Accept held records: RECORDS by id, a whole campaign, or all of a source. They speak for their sources.

    Released as one, a source earns one right answer however many it sent; --unchecked ones say nothing of it.
    """
    if trust and not given["records"]:
        raise UsageError("--trust needs record ids: what is trusted was looked at one by one")
    if trust and unchecked:
        raise UsageError("--trust says that each was vetted, --unchecked that none was; keep one of them")
    decide_selected("release", right=not unchecked, **given)
    if trust and not given["dry_run"]:
        _trust(given)


@review_command.command("reject")
@click.argument("records", nargs=-1)
@feed_option(required=True)
@selection_options
@person_options
@dry_run
@common_options
def reject_command(**given: Any) -> None:
    """Reject held records: RECORDS by id, a whole campaign, or all of a source. They speak against their sources."""
    decide_selected("reject", **given)


@review_command.command("undo")
@click.argument("event", type=click.IntRange(1))
@feed_option(required=True)
@person_options
@dry_run
@common_options
def undo_command(event: int, feed: str, by: str, reason: str, dry_run: bool, home: Path, as_json: bool) -> None:
    """Take decision EVENT back: every record returns to where it was. Undoing an undo redoes it."""
    from poison_guard.steps.review import undo
    from poison_guard.store.reviews import list_reviews

    with contract_and_store(feed, home) as (contract, store):
        if dry_run:
            made = list_reviews(store, contract.name, seq=event)
            if made.empty:
                raise NotFoundError(
                    f"there is no decision {event} in {contract.name}; `review list --decided` lists them"
                )
            verb, n, number, lost = str(made["verb"].iloc[0]), int(made["n"].iloc[0]), None, NOTHING_REVOKED
        else:
            before = unrevoked_snapshots(store, contract.name)
            done = undo(store, contract, event, by=by, reason=reason)
            verb, n, number = done.verb, len(done.record_ids), done.seq
            after = set(unrevoked_snapshots(store, contract.name))
            lost = revoked_facts(store, contract.name, [name for name in before if name not in after])
            if lost["revoked"]:  # they hold what a release had let in
                renew_revocation_list(store, home)
    if as_json:
        print_json({"feed": contract.name, "dry_run": dry_run, "undoes": event, "event": number, "records": n, **lost})
    elif dry_run:
        print_result(f"would undo decision {event} ({verb}) of {counted(n, 'record')}")
    else:
        print_result(f"undid decision {event}: {counted(n, 'record')} back as before (event {number})")
        print_revoked(lost, feed=feed, dry_run=False)


def _trust(given: dict[str, Any]) -> None:
    from poison_guard.steps.queue import trust_released

    with contract_and_store(given["feed"], given["home"]) as (contract, store):
        added = trust_released(store, contract, list(given["records"]), by=given["by"], reason=given["reason"])
    print_progress(f"entered {added.added:,} of them into the trusted set, which now holds {added.n:,}")


def _staged(row: dict[str, Any]) -> tuple[Any, ...]:
    shown = (row[name] for name in ("record_id", "source_id", "item_id", "answer", "group"))
    return tuple(value if isinstance(value, str) else "" for value in shown)


def _entry(row: dict[str, Any]) -> tuple[Any, ...]:
    why = [sentence(r["code"], r["args"]) for r in row["reasons"][:2]]
    more = f" (+{len(row['reasons']) - 2})" if len(row["reasons"]) > 2 else ""
    first = (row["record_id"], row["kind"], row["risk"], row["source_id"], row["campaign_id"], row["claimed_by"])
    return (*first, "; ".join(why) + more)


def _decision(row: dict[str, Any]) -> tuple[Any, ...]:
    undone = row["undone_by"]
    missing = undone is None or math.isnan(undone)
    return (
        row["seq"],
        row["verb"],
        row["actor"],
        row["at"],
        row["n"],
        row["reason"],
        None if missing else int(undone),
    )
