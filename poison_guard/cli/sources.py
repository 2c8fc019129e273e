"""`poison-guard sources`: who speaks on a feed and how reliable they are; block one, or let it speak again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from poison_guard.cli.options import common_options, dry_run, feed_option
from poison_guard.cli.output import print_json, print_result, print_table
from poison_guard.cli.recall import contract_and_store
from poison_guard.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from poison_guard.config import Contract
    from poison_guard.store import Store

__all__ = ["sources_command"]


@click.command("sources")
@feed_option(required=True)
@click.option(
    "--limit", default=30, show_default=True, type=click.IntRange(1), help="Sources shown, least reliable first."
)
@click.option("--blocked", is_flag=True, help="Only blocked sources.")
@click.option("--block", metavar="SOURCE", help="Hold whatever SOURCE sends from now on.")
@click.option("--unblock", metavar="SOURCE", help="Let SOURCE speak again.")
@click.option("--by", help="Who blocks or unblocks; kept in the audit chain.")
@click.option("--reason", help="Why; kept in the audit chain.")
@dry_run
@common_options
def sources_command(
    feed: str,
    limit: int,
    blocked: bool,
    block: str | None,
    unblock: str | None,
    by: str | None,
    reason: str | None,
    dry_run: bool,
    home: Path,
    as_json: bool,
) -> None:
    """List a feed's sources, least reliable first; or block or unblock one."""
    if block and unblock:
        raise UsageError("give --block or --unblock, not both")
    source = block or unblock
    with contract_and_store(feed, home) as (contract, store):
        if source:
            facts = _set(store, contract, source, bool(block), by or "", reason or "", dry_run)
            print_json({"feed": contract.name, **facts}) if as_json else print_result(facts["told"])
            return
        frame = _ranked(store, contract)
    shown = (frame[frame["blocked"]] if blocked else frame).head(limit).to_dict("records")
    if as_json:
        print_json({"feed": contract.name, "total": len(frame), "sources": shown})
        return
    columns = ("source", ">reliability", ">at least", ">records", ">controls", ">settled items", ">outcomes")
    columns = (*columns, "has changed", "blocked")
    rows = [_row(s) for s in shown]
    print_table(
        f"Sources of {contract.name}: {len(frame):,}", columns, rows, empty=f"{contract.name}: no source to list."
    )


def _ranked(store: Store, contract: Contract) -> pd.DataFrame:
    """Return the ledger with reliability, lower bound and what changed, least reliable and alarming first.

    `changed` is true where the newest verified answers (``changed_wrong`` of the last ``changed_n``) raise an alarm.
    """
    import pandas as pd

    from poison_guard.signals.sources.honest_sources import detect_changes
    from poison_guard.signals.sources.reliability import score_history
    from poison_guard.store.reading import load_sources, load_verified_answers

    ledger = load_sources(store, contract)
    if not len(ledger):
        return ledger.assign(reliability=pd.Series(dtype=float), lower_bound=pd.Series(dtype=float))
    policy, verified = contract.policy, load_verified_answers(store, contract)
    past = {"ledger": ledger, "verified": verified, "half_life": policy.half_life}
    scored = score_history(ledger["source_id"], alpha=policy.source_alpha, **past)
    known = scored[["source_id", "reliability", "lower_bound"]]
    turned = detect_changes(verified).rename(columns={"wrong": "changed_wrong", "n": "changed_n"})
    turned = turned.assign(changed=turned["p"] <= policy.source_alpha)
    table = ledger.merge(known, on="source_id")
    table = table.merge(turned[["source_id", "changed", "changed_wrong", "changed_n"]], on="source_id", how="left")
    table = table.fillna({"changed": False, "changed_wrong": 0, "changed_n": 0})
    table = table.astype({"changed": bool, "changed_wrong": int, "changed_n": int})
    order = ["changed", "lower_bound", "source_id"]
    return table.sort_values(order, ascending=[False, True, True], ignore_index=True)


def _set(
    store: Store, contract: Contract, source: str, block: bool, by: str, reason: str, dry_run: bool
) -> dict[str, Any]:
    from poison_guard.steps.review import block_source, unblock_source

    verb = "block" if block else "unblock"
    event = None
    if not dry_run:
        event = (block_source if block else unblock_source)(store, contract, source, by=by, reason=reason)
    what = f"would {verb} source {source}" if dry_run else f"{verb}ed source {source} (event {event})"
    return {"source_id": source, "verb": verb, "dry_run": dry_run, "event": event, "told": what}


def _row(s: dict[str, Any]) -> tuple[Any, ...]:
    pairs = (("controls_right", "controls_wrong"), ("agreed", "disagreed"), ("outcomes_right", "outcomes_wrong"))
    shares = [
        f"{s[right]:,.0f} of {s[right] + s[wrong]:,.0f} right" if s[right] + s[wrong] else None
        for right, wrong in pairs
    ]
    turned = f"{s['changed_wrong']} of the last {s['changed_n']} wrong" if s["changed"] else None
    return (s["source_id"], s["reliability"], s["lower_bound"], int(s["n"]), *shares, turned, bool(s["blocked"]))
