"""`poison-guard retrain`: train, test and promote a model on the admitted snapshot, or say why not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from poison_guard.cli.options import common, contract_file, feed_option
from poison_guard.cli.output import emit, say, table, told, working
from poison_guard.errors import UsageError

if TYPE_CHECKING:
    pass

__all__ = ["brief", "measured", "retrain_command"]

REFUSED = 1
_SINGLE = ("predictions", "labels", "slices", "attacked")
"""What metrics hold one entry an example of."""


@click.command("retrain")
@feed_option(required=True)
@click.option("--measure-only", is_flag=True, help="Train to measure, without admission; never to be promoted.")
@click.option(
    "--from-scratch",
    is_flag=True,
    help="Train on the admitted snapshot again and start from nothing: the way out where a model's file is damaged.",
)
@common
def retrain_command(feed: str, measure_only: bool, from_scratch: bool, home: Path, as_json: bool) -> int:
    """Train on the newest admitted snapshot, test the model against the champion, promote it or refuse it.

    Killed and run again, it goes on where it was. Exit code 0: it is the champion, also where nothing new was admitted.
    1: refused, or the gate is closed.
    """
    from poison_guard.guard import Guard

    if measure_only and from_scratch:
        raise UsageError("--measure-only measures what is there and --from-scratch replaces it; choose one")
    guard = Guard.open(contract_file(feed), home=home)
    name = guard.contract.name
    with working(f"training on what {name} admits" if not measure_only else f"measuring a model of {name}"):
        result = guard.retrain(measure_only=measure_only, from_scratch=from_scratch)
    code = 0 if result.promoted or measure_only else REFUSED
    if as_json:
        facts = {"model_id": result.model_id, "promoted": result.promoted, "measure_only": measure_only}
        emit({"feed": name, **facts, "why": result.why, "metrics": brief(result.metrics)})
        return code
    told(f"{result.model_id}, on trusted examples that no training saw:")
    table("Measured", ("measured", ">value", ">n"), measured(result.metrics))
    state = "measured only" if measure_only else ("champion" if result.promoted else "refused")
    told(f"{state}: {result.why}")
    if not measure_only:
        say(f"next: poison-guard models --feed {feed}")
    return code


def brief(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics without what they say of single examples."""
    whole = {key: value for key, value in metrics.items() if key not in _SINGLE}
    attacks = whole.get("attacks", {})
    return {
        **whole,
        "attacks": {name: {k: v for k, v in cell.items() if k != "wrong"} for name, cell in attacks.items()},
    }


def measured(metrics: Mapping[str, Any]) -> list[tuple[str, float | None, int | None]]:
    """Return what people compare, as ``(name, value, n)``.

    That is accuracy, the worst class and slice, robust accuracy (whichever attack works), each attack, calibration.
    """
    rows: list[tuple[str, float | None, int | None]] = []
    if "accuracy" in metrics:
        rows.append(("accuracy", metrics["accuracy"], metrics.get("n")))
    for what in ("class", "slice"):
        known = [(*_share(cell), name) for name, cell in metrics.get(f"per_{what}", {}).items() if cell["n"]]
        if known:
            share, n, name = min(known)
            rows.append((f"worst {what}: {name}", share, n))
    if "robust" in metrics:
        rows.append(("robust", *_share(metrics["robust"])))
    rows += [(f"under {name}", *_share(cell)) for name, cell in metrics.get("attacks", {}).items()]
    rows += [(name, value, None) for name, value in metrics.get("calibration", {}).items()]
    return rows


def _share(cell: Mapping[str, Any]) -> tuple[float, int]:
    n = int(cell["n"])
    return (cell["right"] / n if n else math.nan), n
