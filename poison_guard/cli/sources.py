"""`poison-guard sources` and `ask`: who sends to a feed and how reliable each is; whom and what to ask next."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import click

from poison_guard.cli.options import common_options, dry_run, feed_option, out_option
from poison_guard.cli.output import print_json, print_progress, print_result, print_table
from poison_guard.cli.signed_in import acting
from poison_guard.errors import UsageError
from poison_guard.guard import Guard

__all__ = ["ask_command", "sources_command"]


@click.command("sources")
@feed_option
@click.option(
    "--limit", default=30, show_default=True, type=click.IntRange(1), help="Sources shown, least reliable first."
)
@click.option("--blocked", is_flag=True, help="Only blocked sources.")
@click.option("--changed", is_flag=True, help="Only sources whose last verified answers are worse than before.")
@click.option("--source", "source_ids", multiple=True, metavar="SOURCE", help="Only this one; may be given again.")
@click.option("--below", type=click.FloatRange(0, 1), metavar="SHARE", help="Only those less reliable than SHARE.")
@click.option("--min-records", type=click.IntRange(1), metavar="N", help="Only those that sent N records or more.")
@click.option("--block", metavar="SOURCE", help="Hold whatever SOURCE sends from now on.")
@click.option("--unblock", metavar="SOURCE", help="Hold SOURCE no longer.")
@click.option(
    "--allow", metavar="SOURCE", help="Release what is held of SOURCE for its own content alone; needs --days."
)
@click.option(
    "--days", type=click.IntRange(1, 366), help="With --block or --allow: a rule that lapses after so many days."
)
@click.option("--rules", "list_rules", is_flag=True, help="List the rules about sources that hold.")
@click.option("--end-rule", type=click.IntRange(1), metavar="RULE", help="End this rule; --rules lists them.")
@click.option("--by", default="", help="Who blocks or unblocks; kept in the audit chain.")
@click.option("--reason", default="", help="Why; kept in the audit chain.")
@dry_run
@common_options
def sources_command(
    feed: str,
    block: str | None,
    unblock: str | None,
    allow: str | None,
    days: int | None,
    list_rules: bool,
    end_rule: int | None,
    by: str,
    reason: str,
    dry_run: bool,
    home: Path,
    as_json: bool,
    **filters: Any,
) -> None:
    """List a feed's sources, least reliable first; or block or unblock one, or set a rule about it that lapses."""
    if sum(each is not None for each in (block, unblock, allow, end_rule)) + list_rules > 1:
        raise UsageError("give one of --block, --unblock, --allow, --rules and --end-rule")
    guard = Guard.open(feed, home=home)
    if list_rules:
        rules = guard.rules()
        print_json(rules.to_dict()) if as_json else print_table("Rules", *rules.table(), empty="No rule holds.")
        return
    if allow or end_rule or (block and days):
        who = {"by": acting(home, by, feed=guard.contract.name), "reason": reason}
        expires = None if days is None else dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
        verb, source = ("allow", allow) if allow else ("block", block)
        ruled = (
            guard.end_rule(end_rule, **who)
            if end_rule
            else guard.add_rule(str(source), verb, expires=expires, dry_run=dry_run, **who)
        )
        print_json(ruled.to_dict()) if as_json else print_result(str(ruled))
        return
    if block or unblock:
        person = {"by": acting(home, by, feed=guard.contract.name), "reason": reason, "dry_run": dry_run}
        result = guard.block(block, **person) if block else guard.unblock(str(unblock), **person)
        print_json(result.to_dict()) if as_json else print_result(str(result))
        return
    sources = guard.sources(**filters)
    if as_json:
        print_json(sources.to_dict())
        return
    print_table(f"Sources of {sources.feed}", *sources.table(), empty=f"{sources.feed}: no source to list.")
    print_progress(f"shown: {len(sources.sources):,} of {sources.total:,} sources")


@click.command("ask")
@feed_option
@click.option(
    "--budget", default=500, show_default=True, type=click.IntRange(1), help="Answers and looks that may be spent."
)
@out_option("Tasks for a labelling tool (.jsonl, .json or .csv), one per row.")
@common_options
def ask_command(feed: str, budget: int, out: Path | None, home: Path, as_json: bool) -> None:
    """Name the answers and looks that would settle the most waiting labels, most useful first.

    `answers` go to reliable sources, a `look` to a person, `controls` to a source that has answered none.
    """
    result = Guard.open(feed, home=home).ask(budget, out)
    if as_json:
        print_json(result.to_dict())
        return
    print_table(f"Ask next for {result.feed}", *result.table(), empty=f"{result.feed}: no label waits.")
    print_progress(result.message)


@click.command("scores")
@feed_option
@out_option("Scores (.jsonl, .json or .csv), one item a row.")
@common_options
def scores_command(feed: str, out: Path | None, home: Path, as_json: bool) -> None:
    """Score the items by their accepted ratings, the surest first.

    `score` is what raters of all sides agree on: a brigade, copies of one opinion and raters without a record on other
    items hardly move it. `at least` is its lower bound (95 %).
    """
    result = Guard.open(feed, home=home).scores(out)
    if as_json:
        print_json(result.to_dict())
        return
    print_table(f"Scores of {result.feed}", *result.table(), empty=f"{result.feed}: no item was rated.")
    print_progress(result.message)
