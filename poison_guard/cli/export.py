"""`poison-guard export`: write records of a feed, the decisions about them, or a candidate's questions, to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from poison_guard.cli.files import check_ending, write_frame
from poison_guard.cli.options import common, contract_file, feed_name, feed_option, out_option
from poison_guard.cli.output import emit, say, told, working
from poison_guard.cli.rooms import known_feed, opened_store
from poison_guard.errors import NotFoundError, UsageError
from poison_guard.records import Place

if TYPE_CHECKING:
    import pandas as pd

    from poison_guard.store import Store

__all__ = ["export_command"]

_DECISION = ["record_id", "place", "action", "risk", "campaign_id", "source_id", "item_id", "run_id", "received_at"]


@click.command("export")
@feed_option(required=True)
@click.option(
    "--place",
    "places",
    multiple=True,
    default=("accepted",),
    show_default=True,
    type=click.Choice([p.value for p in Place]),
    help="Where the records are; may be given several times.",
)
@click.option("--decisions", is_flag=True, help="Write record_id and decision instead of the payloads.")
@click.option(
    "--trusted",
    type=click.Choice(["holdout"]),
    help="Write the trusted examples that a candidate model must predict instead, without their labels.",
)
@out_option("File to write (.parquet, .csv or .jsonl).", required=True)
@common
def export_command(
    feed: str, places: tuple[str, ...], decisions: bool, trusted: str | None, out: Path, home: Path, as_json: bool
) -> None:
    """Write the records of a feed that are in a place; by default the accepted ones, released ones included."""
    check_ending(out)
    if trusted:
        if decisions or places != ("accepted",):
            raise UsageError("--trusted writes questions for a model; give it without --place and --decisions")
        _write_questions(feed, out, home, as_json)
        return
    wanted = [Place(p) for p in places]
    with opened_store(home) as store:
        name = known_feed(store, feed_name(feed))
        with working(f"reading {', '.join(places)} records of {name}"):
            frame = _decisions(store, name, wanted) if decisions else _payloads(store, name, wanted)
    write_frame(frame, out)
    if as_json:
        emit({"feed": name, "places": list(places), "records": len(frame), "file": str(out)})
    else:
        told(f"wrote {len(frame):,} {'decisions' if decisions else 'records'} to {out}")


def _write_questions(feed: str, out: Path, home: Path, as_json: bool) -> None:
    """Write what a candidate is asked: ``example_id`` and payload of the trusted examples kept for judging."""
    from poison_guard.guard import Guard

    guard = Guard.open(contract_file(feed), home=home)
    name = guard.contract.name
    with working(f"reading the trusted examples of {name}"):
        frame = guard.candidate_inputs()
    if frame.empty:
        raise NotFoundError(
            f"{name} has no trusted examples to ask a model about; enter some with poison-guard trust --feed {feed}"
        )
    write_frame(frame, out)
    if as_json:
        emit({"feed": name, "trusted": "holdout", "examples": len(frame), "file": str(out)})
        return
    told(f"wrote {len(frame):,} examples to {out}")
    say(
        "predict them (a file of example_id, label), then: "
        f"poison-guard gate check --feed {feed} --candidate PREDICTIONS"
    )


def _decisions(store: Store, feed: str, places: list[Place]) -> pd.DataFrame:
    from poison_guard.store.reading import find_records

    return find_records(store, feed, places=places)[_DECISION]


def _payloads(store: Store, feed: str, places: list[Place]) -> pd.DataFrame:
    import pandas as pd

    from poison_guard.store.reading import frames_in

    parts = list(frames_in(store, feed, places))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"record_id": pd.Series(dtype="str")})
