"""`poison-guard explain`: all that is known of one record, hidden characters made visible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from poison_guard.cli.options import common, feed_name, feed_option
from poison_guard.cli.output import emit, table, told
from poison_guard.cli.rooms import feed_of_record, opened_store
from poison_guard.decide.reasons import sentence
from poison_guard.web.chance import chance

__all__ = ["explain_command", "show_record"]

_OTHERS = 8


@click.command("explain")
@click.argument("record")
@feed_option(required=False)
@common
def explain_command(record: str, feed: str | None, home: Path, as_json: bool) -> None:
    """Tell all that is known of RECORD: payload, decision, each signal's evidence, its campaign, its history."""
    from poison_guard.store.explain import explain
    from poison_guard.store.reading import find_records

    with opened_store(home) as store:
        name = feed_name(feed) if feed else feed_of_record(store, record)
        facts = explain(store, name, record)
        campaign = facts["campaign"]
        if campaign:
            others = find_records(store, name, campaign_id=campaign["campaign_id"], limit=_OTHERS + 1)
            keep = others["record_id"] != facts["record"]["record_id"]
            campaign["examples"] = others.loc[keep, ["record_id", "source_id", "place", "answer"]].to_dict("records")
    facts["evidence"] = [{**e, "sentence": sentence(e["code"], e["args"])} for e in facts["evidence"]]
    if as_json:
        emit(facts)
    else:
        show_record(facts)


def show_record(facts: dict[str, Any]) -> None:
    """Print the facts of a record as tables."""
    record = facts["record"]
    action = f"{record['action']}, risk {record['risk']:.3f}"
    told(f"{record['record_id']} of {record['feed']}: {record['place']} (decided: {action}) in run {record['run_id']}")
    payload = [(k, v) for k, v in facts["payload"].items() if v is not None]
    table("Payload", ("column", "value"), payload)
    evidence = [(e["signal"], e["level"], chance(e["p"]), e["sentence"]) for e in facts["evidence"]]
    table("Evidence", ("signal", "level", ">p", "what it says"), evidence, empty="Nothing speaks against this record.")
    campaign = facts["campaign"]
    if campaign:
        told_by = sentence(campaign["code"], campaign["args"])
        told(f"Campaign {campaign['campaign_id']}: {told_by}; {campaign['others']:,} other records")
        rows = [(e["record_id"], e["source_id"], e["place"], e["answer"]) for e in campaign["examples"]]
        table("Others of the campaign", ("record", "source", "place", "answer"), rows)
    history = [(h["seq"], h["at"], h["kind"], h["actor"], _move(h), h["reason"]) for h in facts["history"]]
    table("History", (">event", "at", "what", "by", "moved", "reason"), history)


def _move(h: dict[str, Any]) -> str | None:
    return f"{h['from_place']} → {h['to_place']}" if h["from_place"] else None
