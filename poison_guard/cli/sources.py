"""`poison-guard sources`: who speaks on a feed and how reliable they are; block one, or let it speak again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from poison_guard.cli.deciding import contract_and_store
from poison_guard.cli.options import common, dry_run, feed_option
from poison_guard.cli.output import emit, table, told
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
@common
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
            emit({"feed": contract.name, **facts}) if as_json else told(facts["told"])
            return
        frame = _ranked(store, contract)
    shown = (frame[frame["blocked"]] if blocked else frame).head(limit).to_dict("records")
    if as_json:
        emit({"feed": contract.name, "total": len(frame), "sources": shown})
        return
    columns = ("source", ">reliability", ">at least", ">records", ">controls", ">settled items", ">outcomes", "blocked")
    rows = [_row(s) for s in shown]
    table(f"Sources of {contract.name}: {len(frame):,}", columns, rows, empty=f"{contract.name}: no source to list.")


def _ranked(store: Store, contract: Contract) -> pd.DataFrame:
    """Return the ledger with reliability and lower bound, least reliable first."""
    import pandas as pd

    from poison_guard.signals.sources import score_sources
    from poison_guard.store.reading import load_sources

    ledger = load_sources(store, contract)
    if not len(ledger):
        return ledger.assign(reliability=pd.Series(dtype=float), lower_bound=pd.Series(dtype=float))
    # a vote nobody else casts adds nothing, so what comes back is the history alone
    alone = pd.DataFrame({"item_id": ledger["source_id"], "source_id": ledger["source_id"], "answer": "none"})
    scored = score_sources(alone, ledger=ledger, controls=None, alpha=contract.policy.source_alpha)
    known = scored[["source_id", "reliability", "lower_bound"]]
    return ledger.merge(known, on="source_id").sort_values(["lower_bound", "source_id"], ignore_index=True)


def _set(
    store: Store, contract: Contract, source: str, block: bool, by: str, reason: str, dry_run: bool
) -> dict[str, Any]:
    from poison_guard.review import block_source, unblock_source

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
    return (s["source_id"], s["reliability"], s["lower_bound"], int(s["n"]), *shares, bool(s["blocked"]))
