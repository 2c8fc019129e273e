"""`poison-guard review` and `explain`: list what waits, show one record, release or reject records, undo."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from poison_guard.cli.filters import filter_options
from poison_guard.cli.options import common_options, dry_run, feed_option, feed_or_all_option, person_options
from poison_guard.cli.output import counted, print_json, print_progress, print_result, print_table
from poison_guard.cli.recall import print_decision, selection_options
from poison_guard.cli.review_many import bulk_command, export_command, import_command, jobs_command
from poison_guard.cli.review_walk import walk
from poison_guard.cli.signed_in import acting
from poison_guard.cli.trust import print_sample, trusted_command
from poison_guard.errors import NotFoundError, UsageError
from poison_guard.guard import Guard, Home
from poison_guard.text import number_text, p_value_text

if TYPE_CHECKING:
    from poison_guard.guard import (
        CampaignView,
        ItemView,
        Listed,
        Queue,
        QueueFilter,
        RecordFacts,
        SourceView,
    )

__all__ = ["explain_command", "review_command"]

_GROUPS = ("campaign", "source", "item", "reason", "day", "label")
_PAGE = 50
_LISTED = {
    "would_hold": ("Accepted, would have been held", "records"),
    "decided": ("Decisions", "decisions"),
}


@click.group("review")
def review_command() -> None:
    """Work through the queue of held records."""


for _command in (trusted_command, bulk_command, jobs_command, export_command, import_command):
    review_command.add_command(_command)


@review_command.command("list")
@feed_option
@filter_options
@click.option("--groups", "group_by", type=click.Choice(_GROUPS), help="One line per group instead, the largest first.")
@click.option("--sort", default="risk", show_default=True, type=click.Choice(["risk", "oldest", "newest"]))
@click.option("--page", default=1, show_default=True, type=click.IntRange(1), help="Which page.")
@click.option("--limit", "size", type=click.IntRange(1, 2000), help="Lines of a page. Default: 50.")
@click.option("--sample", type=click.IntRange(1), help="Draw so many staged or accepted records to vet.")
@click.option("--would-hold", is_flag=True, help="What the observing feed accepted, though it would have held it.")
@click.option("--decided", is_flag=True, help="What people decided instead, last first: the events `undo` takes.")
@common_options
def list_command(
    feed: str, sample: int | None, would_hold: bool, decided: bool, home: Path, as_json: bool, **asked: Any
) -> None:
    """List what waits for review, riskiest first, a page at a time."""
    guard = Guard.open(feed, home=home)
    if sample:
        print_sample(guard.bootstrap(sample), feed=feed, out=None, as_json=as_json)
    elif would_hold or decided:
        if asked["filters"] is not None or asked["group_by"] is not None:
            raise UsageError("--decided and --would-hold list the queue another way; leave out the filters")
        list_view = guard.decided if decided else guard.would_hold
        listed = list_view(limit=asked["size"] or _PAGE)
        _print_listed(listed, as_json=as_json)
    else:
        shown = {} if asked["filters"] is None else asked["filters"].params()
        _print_queue(
            guard.queue(**asked),
            feed=feed,
            url=guard.settings.page(guard.contract.name, "queue", **shown),
            as_json=as_json,
        )


def _print_listed(listed: Listed, *, as_json: bool) -> None:
    if as_json:
        print_json(listed.to_dict())
        return
    title, noun = _LISTED[listed.view]
    shared, n = listed.shared_reason()
    print_table(f"{title}: {listed.feed}", *listed.table(), empty=f"{listed.feed}: nothing to list.")
    if shared:
        print_result(f"{n:,} of these {len(listed.entries):,}: {shared}")
    if len(listed.entries) < listed.total:
        print_progress(f"shown: {len(listed.entries):,} of {listed.total:,} {noun}; --limit N shows more")


def _print_queue(queue: Queue, *, feed: str, url: str | None, as_json: bool) -> None:
    if as_json:
        print_json(queue.to_dict())
        return
    what = "Waiting" if queue.group_by is None else f"Waiting, by {queue.group_by}"
    print_table(f"{what}: {queue.feed}", *queue.table(), empty=f"{queue.feed}: nothing to list.")
    noun = "entries" if queue.group_by is None else "groups"
    total = f"{queue.total:,}{' or more' if queue.capped else ''}"
    first = (queue.page - 1) * queue.size + 1
    last = first + len(queue.entries) - 1
    if first > 1 and queue.entries.empty:
        print_progress(f"there is no page {queue.page:,}: {total} {noun} fill {-(-queue.total // queue.size):,}")
    elif len(queue.entries) < queue.total:
        more = f"; --page {queue.page + 1} shows more" if last < queue.total or queue.capped else ""
        print_progress(f"shown: {first:,} to {last:,} of {total} {noun}{more}")
    if url:
        print_progress(f"look: {url}")
    if queue.decided_today:
        print_progress(f"decided today: {queue.decided_today:,}; {queue.open:,} wait")
    if queue.staged:
        print_progress(
            f"{counted(queue.staged, 'record')} staged, which nothing could judge yet; "
            f"poison-guard trust --sample N --feed {feed} draws some to vet"
        )


@review_command.command("show")
@click.argument("record", required=False)
@feed_option
@click.option("--campaign", "campaign_id", metavar="CAMPAIGN", help="A campaign instead.")
@click.option("--source", "source_id", metavar="SOURCE", help="A source instead.")
@click.option("--item", "item_id", metavar="ITEM", help="An item instead.")
@common_options
def show_command(record: str | None, feed: str, home: Path, as_json: bool, **others: str | None) -> None:
    """Show RECORD as a reviewer needs it: payload, why, who else, its source, its history; or a campaign, source, item.

    RECORD may also be the id of a campaign, a source or an item: what it is is found out, records first.
    """
    named = {name: value for name, value in others.items() if value is not None}
    if (record is not None) + len(named) != 1:
        raise UsageError("name one of RECORD, --campaign, --source and --item")
    guard = Guard.open(feed, home=home)
    ((kind, value),) = (named or {"any": str(record)}).items()
    shown = _find(guard, value) if kind == "any" else _SHOWN[kind](guard, value)
    from poison_guard.guard import RecordFacts

    if isinstance(shown, RecordFacts):
        print_record(shown, as_json=as_json)
    else:
        print_json(shown.to_dict()) if as_json else _print_view(shown)


_SHOWN: Mapping[str, Callable[[Guard, str], Any]] = {
    "record": lambda guard, value: guard.show(value),
    "campaign_id": lambda guard, value: guard.campaign(value),
    "item_id": lambda guard, value: guard.item(value),
    "source_id": lambda guard, value: guard.source(value),
}


def _find(guard: Guard, value: str) -> Any:
    """Return the record, campaign, item or source of an id."""
    for show in _SHOWN.values():
        with suppress(NotFoundError):
            return show(guard, value)
    raise NotFoundError(f"{guard.contract.name} has no record, campaign, item or source {value!r}")


def _print_view(shown: CampaignView | SourceView | ItemView) -> None:
    """Print a campaign, a source or an item: its facts, then its tables."""
    facts = shown.to_dict()
    plain = {name: value for name, value in facts.items() if not isinstance(value, (list, dict))}
    print_table(type(shown).__name__.removesuffix("View"), ("", "value"), list(plain.items()))
    for name, value in facts.items():
        if isinstance(value, dict) and value:
            print_table(name.capitalize(), ("", "value"), list(value.items()))
        if isinstance(value, list) and value and isinstance(value[0], dict):
            columns = list(value[0])
            print_table(name.capitalize(), columns, [tuple(row[c] for c in columns) for row in value])


@review_command.command("next")
@feed_option
@filter_options
@click.option("--by", help="Who reviews. Default: who is signed in.")
@click.option("--reason", default="looked at it in the terminal", show_default=True, help="Why; kept in the chain.")
@common_options
def next_command(
    feed: str, filters: QueueFilter | None, by: str | None, reason: str, home: Path, as_json: bool
) -> None:
    """Walk through the queue, riskiest first: r releases, x rejects, j leaves, u takes the last one back, q ends.

    Each record is held for you for ten minutes while it is shown; what a colleague decides meanwhile stays.
    """
    guard = Guard.open(feed, home=home)
    if as_json:
        raise UsageError("a walk through the queue is for a terminal; `review list --json` lists it")
    person = acting(home, by, feed=guard.contract.name)
    walk(guard, person, reason, filters, show=functools.partial(print_record, as_json=False))


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


@review_command.command("agreement")
@feed_option
@common_options
def agreement_command(feed: str, home: Path, as_json: bool) -> None:
    """Show how well each reviewer agrees with colleagues who decided the same records, and with known answers."""
    found = Guard.open(feed, home=home).agreement()
    nobody = "nobody answered a second review or a known record yet"
    print_json(found.to_dict()) if as_json else print_table("Agreement", *found.table(), empty=nobody)


@review_command.command("views")
@feed_option
@filter_options
@click.option("--save", metavar="NAME", help="Save the filters under NAME.")
@click.option("--delete", metavar="NAME", help="Forget NAME.")
@click.option("--by", help="Who saves. Default: who is signed in.")
@common_options
def views_command(
    feed: str,
    filters: QueueFilter | None,
    save: str | None,
    delete: str | None,
    by: str | None,
    home: Path,
    as_json: bool,
) -> None:
    """List the saved filters, or save or forget one."""
    guard = Guard.open(feed, home=home)
    if save is not None:
        if filters is None:
            raise UsageError("give the filters to save, such as --code CODE")
        found = guard.save_view(save, filters, by=acting(home, by, feed=guard.contract.name))
    else:
        found = guard.views() if delete is None else guard.delete_view(delete)
    print_json(found.to_dict()) if as_json else print_table("Views", *found.table(), empty="No view is saved.")
