"""`poison-guard export`: write records of a feed, or the decisions about them, to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from poison_guard.cli.files import check_ending, write_frame
from poison_guard.cli.options import common, feed_name, feed_option, out_option
from poison_guard.cli.output import emit, told, working
from poison_guard.cli.rooms import known_feed, opened_store
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
@out_option("File to write (.parquet, .csv or .jsonl).", required=True)
@common
def export_command(feed: str, places: tuple[str, ...], decisions: bool, out: Path, home: Path, as_json: bool) -> None:
    """Write the records of a feed that are in a place; by default the accepted ones, released ones included."""
    check_ending(out)
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


def _decisions(store: Store, feed: str, places: list[Place]) -> pd.DataFrame:
    from poison_guard.store.reading import find_records

    return find_records(store, feed, places=places)[_DECISION]


def _payloads(store: Store, feed: str, places: list[Place]) -> pd.DataFrame:
    import pandas as pd

    from poison_guard.store.reading import frames_in

    parts = list(frames_in(store, feed, places))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"record_id": pd.Series(dtype="str")})
