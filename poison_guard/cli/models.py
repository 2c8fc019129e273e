"""The commands `retrain`, `models` and `rollback`: train on an admitted snapshot, list models, change the champion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from poison_guard.cli.options import common_options, contract_file, dry_run, feed_option, person_options
from poison_guard.cli.output import print_json, print_progress, print_result, print_table, progress
from poison_guard.cli.recall import contract_and_store
from poison_guard.errors import ClosedError, NotFoundError, UsageError

if TYPE_CHECKING:
    from poison_guard.config import Contract
    from poison_guard.store import Store
    from poison_guard.store.models import Model

__all__ = ["metric_rows", "metric_summary", "models_command", "retrain_command", "rollback_command"]


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
@common_options
def retrain_command(feed: str, measure_only: bool, from_scratch: bool, home: Path, as_json: bool) -> int:
    """Train on the newest admitted snapshot, test the model against the champion, promote it or refuse it.

    Killed and run again, it goes on where it was. Exit code 0: it is the champion, also where nothing new was admitted.
    1: refused, or the gate is closed.
    """
    from poison_guard.guard import Guard

    if measure_only and from_scratch:
        raise UsageError("--measure-only measures what is there and --from-scratch replaces it; choose one")
    guard = Guard.open(contract_file(feed, home), home=home)
    name = guard.contract.name
    with progress(f"training on what {name} admits" if not measure_only else f"measuring a model of {name}"):
        result = guard.retrain(measure_only=measure_only, from_scratch=from_scratch)
    code = 0 if result.promoted or measure_only else REFUSED
    if as_json:
        facts = {"model_id": result.model_id, "promoted": result.promoted, "measure_only": measure_only}
        print_json({"feed": name, **facts, "why": result.why, "metrics": metric_summary(result.metrics)})
        return code
    print_result(f"{result.model_id}, on trusted examples that no training saw:")
    print_table("Measured", ("measured", ">value", ">n"), metric_rows(result.metrics))
    state = "measured only" if measure_only else ("champion" if result.promoted else "refused")
    print_result(f"{state}: {result.why}")
    if not measure_only:
        print_progress(f"next: poison-guard models --feed {feed}")
    return code


def metric_summary(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics without what they say of single examples."""
    whole = {key: value for key, value in metrics.items() if key not in _SINGLE}
    attacks = whole.get("attacks", {})
    return {
        **whole,
        "attacks": {name: {k: v for k, v in cell.items() if k != "wrong"} for name, cell in attacks.items()},
    }


def metric_rows(metrics: Mapping[str, Any]) -> list[tuple[str, float | None, int | None]]:
    """Return what people compare, as ``(name, value, n)``.

    That is accuracy, the worst class and slice, robust accuracy (whichever attack works), each attack, calibration.
    """
    rows: list[tuple[str, float | None, int | None]] = []
    if "accuracy" in metrics:
        rows.append(("accuracy", metrics["accuracy"], metrics.get("n")))
    for what in ("class", "slice"):
        known = [
            (*_accuracy_and_count(cell), name) for name, cell in metrics.get(f"per_{what}", {}).items() if cell["n"]
        ]
        if known:
            share, n, name = min(known)
            rows.append((f"worst {what}: {name}", share, n))
    if "robust" in metrics:
        rows.append(("robust", *_accuracy_and_count(metrics["robust"])))
    rows += [(f"under {name}", *_accuracy_and_count(cell)) for name, cell in metrics.get("attacks", {}).items()]
    rows += [(name, value, None) for name, value in metrics.get("calibration", {}).items()]
    return rows


def _accuracy_and_count(cell: Mapping[str, Any]) -> tuple[float, int]:
    n = int(cell["n"])
    return (cell["right"] / n if n else math.nan), n


_COLUMNS = ("model", "status", "made", ">accuracy", ">worst class", ">robust")


@click.command("models")
@feed_option(required=True)
@common_options
def models_command(feed: str, home: Path, as_json: bool) -> None:
    """List the models of a feed, the newest first: the champion, earlier ones, refused ones, measurements."""
    from poison_guard.store.models import list_models
    from poison_guard.store.snapshots import list_snapshots

    with contract_and_store(feed, home) as (contract, store):
        models = list_models(store, contract.name)
        revoked = {s.snapshot_id for s in list_snapshots(store, contract.name) if s.revoked_seq is not None}
    shown = [_facts(model, model.snapshot_id in revoked) for model in models]
    if as_json:
        print_json({"feed": contract.name, "models": shown})
        return
    empty = f"{contract.name} has no model yet; poison-guard retrain --feed {feed} makes one"
    print_table(f"Models of {contract.name}", _COLUMNS, [_row(facts) for facts in shown], empty=empty)
    for facts in shown:
        if facts["why"]:
            print_result(f"{facts['model_id']}, {facts['status']}: {facts['why']}")


def _facts(model: Model, revoked: bool) -> dict[str, Any]:
    keys = ("model_id", "snapshot_id", "admission_seq", "status", "why", "path", "sha256", "config", "made_at")
    whole = {key: getattr(model, key) for key in keys}
    return {**whole, "metrics": metric_summary(model.metrics), "snapshot_revoked": revoked}


def _row(facts: dict[str, Any]) -> tuple[Any, ...]:
    found = {name.partition(":")[0]: value for name, value, _ in metric_rows(facts["metrics"])}
    status = f"{facts['status']}, snapshot revoked" if facts["snapshot_revoked"] else facts["status"]
    made = f"{facts['made_at']:%Y-%m-%d %H:%M}"
    figures = (found.get("accuracy"), found.get("worst class"), found.get("robust"))
    return (facts["model_id"], status, made, *figures)


@click.command("rollback")
@feed_option(required=True)
@click.option("--to", "model_id", required=True, metavar="MODEL", help="Earlier champion; `models` lists them.")
@click.option("--force", is_flag=True, help="Even where the snapshot it was trained on was revoked.")
@person_options
@dry_run
@common_options
def rollback_command(
    feed: str, model_id: str, force: bool, by: str, reason: str, dry_run: bool, home: Path, as_json: bool
) -> None:
    """Make MODEL the champion of a feed again. Only one that was champion before, and whose snapshot still holds."""
    from poison_guard.guard import Guard

    guard = Guard.open(contract_file(feed, home), home=home)
    with contract_and_store(feed, home) as (contract, store):
        before = _champion(store, contract, model_id, force=force)
    if not dry_run:
        guard.rollback(to=model_id, by=by, reason=reason, force=force)
    name = guard.contract.name
    if as_json:
        print_json({"feed": name, "dry_run": dry_run, "champion": model_id, "before": before})
        return
    print_result(
        f"{'would make' if dry_run else 'made'} {model_id} the champion of {name} instead of {before or 'none'}"
    )
    if not dry_run:
        print_progress(f"next: poison-guard models --feed {feed}")


def _champion(store: Store, contract: Contract, model_id: str, *, force: bool) -> str | None:
    """Return the id of the champion of now; raises what a rollback to `model_id` would be refused with."""
    from poison_guard.store.models import champion, find_revoked_ancestor, list_models

    name = contract.name
    known = {model.model_id: model for model in list_models(store, name)}
    if model_id not in known:
        raise NotFoundError(f"{name} has no model {model_id!r}; poison-guard models --feed {name} lists them")
    model = known[model_id]
    if model.status != "retired":
        raise UsageError(
            f"{model_id} is {model.status}; only an earlier champion, called retired, can be rolled back to"
        )
    root = find_revoked_ancestor(store, model_id)
    if root is not None and not force:
        raise ClosedError(
            f"{model_id} learned from {root[1]}, which was revoked ({root[2]}); choose another, or --force it"
        )
    now = champion(store, name)
    return now.model_id if now else None
