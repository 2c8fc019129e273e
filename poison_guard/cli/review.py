"""`poison-guard review` and `explain`: list what waits, show one record, release or reject records, undo."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from poison_guard.cli.options import common_options, dry_run, feed_option, feed_or_all_option, person_options
from poison_guard.cli.output import counted, print_json, print_progress, print_result, print_table
from poison_guard.cli.recall import print_decision, selection_options
from poison_guard.cli.trust import print_sample, trusted_command
from poison_guard.guard import Guard, Home
from poison_guard.text import number_text, p_value_text

if TYPE_CHECKING:
    from poison_guard.guard import RecordFacts

__all__ = ["explain_command", "review_command"]


@click.group("review")
def review_command() -> None:
    """Work through the queue of held records."""


review_command.add_command(trusted_command)

_VIEWS = {
    "waiting": ("Waiting", "entries"),
    "campaign": ("Waiting, by campaign", "campaigns"),
    "source": ("Waiting, by source", "sources"),
    "would_hold": ("Accepted, would have been held", "records"),
    "decided": ("Decisions", "decisions"),
}


@review_command.command("list")
@feed_option
@click.option("--limit", type=click.IntRange(1), help="Entries at most. Default: the policy's review_budget.")
@click.option("--campaign", "campaign_id", metavar="CAMPAIGN", help="Only records of this campaign.")
@click.option("--source", "source_id", metavar="SOURCE", help="Only records of this source.")
@click.option("--kind", type=click.Choice(["held", "audit", "recalled"]), help="Only entries of this kind.")
@click.option("--expired", is_flag=True, help="Also entries that nobody read in time.")
@click.option("--groups", type=click.Choice(["campaign", "source"]), help="One line a campaign or source instead.")
@click.option("--sample", type=click.IntRange(1), help="Draw so many staged or accepted records to vet.")
@click.option("--would-hold", is_flag=True, help="What the observing feed accepted, though it would have held it.")
@click.option("--decided", is_flag=True, help="What people decided instead, last first: the events `undo` takes.")
@common_options
def list_command(feed: str, sample: int | None, home: Path, as_json: bool, **filters: Any) -> None:
    """List what waits for review, riskiest first."""
    guard = Guard.open(feed, home=home)
    if sample:
        print_sample(guard.bootstrap(sample), feed=feed, out=None, as_json=as_json)
        return
    queue = guard.queue(**filters)
    if as_json:
        print_json(queue.to_dict())
        return
    title, noun = _VIEWS[queue.view]
    print_table(f"{title}: {queue.feed}", *queue.table(), empty=f"{queue.feed}: nothing to list.")
    if len(queue.entries) < queue.total:
        print_progress(f"shown: {len(queue.entries):,} of {queue.total:,} {noun}; --limit N shows more")
    if queue.staged and queue.view != "decided":
        print_progress(
            f"{counted(queue.staged, 'record')} staged, which nothing could judge yet; "
            f"poison-guard trust --sample N --feed {feed} draws some to vet"
        )


@review_command.command("show")
@click.argument("record")
@feed_option
@common_options
def show_command(record: str, feed: str, home: Path, as_json: bool) -> None:
    """Show RECORD as a reviewer needs it: payload, why, who else, its source, its history."""
    print_record(Guard.open(feed, home=home).show(record), as_json=as_json)


_overrule = click.option(
    "--overrule", is_flag=True, help="Decide RECORDS although a colleague decided the opposite of them."
)


@review_command.command("release")
@selection_options
@feed_option
@click.option("--trust", is_flag=True, help="Also enter them into the trusted set: you vetted each of them.")
@click.option("--unchecked", is_flag=True, help="Accept them without saying that they are right.")
@_overrule
@person_options
@dry_run
@common_options
def release_command(feed: str, unchecked: bool, home: Path, as_json: bool, **decision: Any) -> None:
    """Accept held records: RECORDS by id, a whole campaign, or all of a source. They speak for their sources.

    Released as one, a source earns one right answer however many it sent; --unchecked ones say nothing of it.
    """
    result = Guard.open(feed, home=home).release(right=not unchecked, **decision)
    print_decision(result, feed=feed, as_json=as_json)
    if result.trusted:
        print_progress(
            f"entered {result.trusted.added:,} of them into the trusted set, which now holds {result.trusted.n:,}"
        )


@review_command.command("reject")
@selection_options
@feed_option
@_overrule
@person_options
@dry_run
@common_options
def reject_command(feed: str, home: Path, as_json: bool, **decision: Any) -> None:
    """Reject held records: RECORDS by id, a whole campaign, or all of a source. They speak against their sources."""
    print_decision(Guard.open(feed, home=home).reject(**decision), feed=feed, as_json=as_json)


@review_command.command("undo")
@click.argument("event", type=click.IntRange(1))
@feed_option
@person_options
@dry_run
@common_options
def undo_command(event: int, feed: str, by: str, reason: str, dry_run: bool, home: Path, as_json: bool) -> None:
    """Take decision EVENT back: every record returns to where it was. Undoing an undo redoes it."""
    result = Guard.open(feed, home=home).undo(event, by=by, reason=reason, dry_run=dry_run)
    print_decision(result, feed=feed, as_json=as_json)


@click.command("explain")
@click.argument("record")
@feed_or_all_option
@common_options
def explain_command(record: str, feed: str | None, home: Path, as_json: bool) -> None:
    """Tell all that is known of RECORD: payload, decision, each signal's evidence, its campaign, its history."""
    print_record(Home.open(home).explain(record, feed=feed), as_json=as_json)


def print_record(facts: RecordFacts, *, as_json: bool) -> None:
    """Print the facts of a record as tables."""
    if as_json:
        print_json(facts.to_dict())
        return
    print_result(facts.headline())
    payload = [(k, number_text(v) if isinstance(v, float) else v) for k, v in facts.payload.items() if v is not None]
    print_table("Payload", ("column", "value"), payload)
    evidence = [(e["signal"], e["level"], p_value_text(e["p"]), e["sentence"]) for e in facts.evidence]
    nothing = "Nothing speaks against this record."
    print_table("Evidence", ("signal", "level", ">p", "what it says"), evidence, empty=nothing)
    if facts.campaign:
        campaign = facts.campaign
        others = counted(campaign["others"], "other record")
        print_result(f"Campaign {campaign['campaign_id']}: {campaign['sentence']}; {others}")
        rows = [tuple(e[name] for name in _EXAMPLE) for e in campaign["examples"]]
        print_table("Others of the campaign", ("record", "source", "item", "answer", "place"), rows)
    if facts.source:
        print_table("Its source so far", ("", "value"), facts.source_lines())
    history = [(h["seq"], h["at"], h["kind"], h["actor"], _moved(h), h["reason"]) for h in facts.history]
    print_table("History", (">event", "at", "what", "by", "moved", "reason"), history)


_EXAMPLE = ("record_id", "source_id", "item_id", "answer", "place")


def _moved(event: Mapping[str, Any]) -> str | None:
    return f"{event['from_place']} → {event['to_place']}" if event["from_place"] else None
