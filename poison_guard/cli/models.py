"""`poison-guard models`: the models of a feed, which one is the champion, and why the others are not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from poison_guard.cli.deciding import contract_and_store
from poison_guard.cli.options import common, feed_option
from poison_guard.cli.output import emit, table, told
from poison_guard.cli.retrain import brief, measured

if TYPE_CHECKING:
    from poison_guard.store.models import Model

__all__ = ["models_command"]

_COLUMNS = ("model", "status", "made", ">accuracy", ">worst class", ">robust")


@click.command("models")
@feed_option(required=True)
@common
def models_command(feed: str, home: Path, as_json: bool) -> None:
    """List the models of a feed, the newest first: the champion, earlier ones, refused ones, measurements."""
    from poison_guard.store.models import list_models
    from poison_guard.store.snapshots import list_snapshots

    with contract_and_store(feed, home) as (contract, store):
        models = list_models(store, contract.name)
        revoked = {s.snapshot_id for s in list_snapshots(store, contract.name) if s.revoked_seq is not None}
    shown = [_facts(model, model.snapshot_id in revoked) for model in models]
    if as_json:
        emit({"feed": contract.name, "models": shown})
        return
    empty = f"{contract.name} has no model yet; poison-guard retrain --feed {feed} makes one"
    table(f"Models of {contract.name}", _COLUMNS, [_row(facts) for facts in shown], empty=empty)
    for facts in shown:
        if facts["why"]:
            told(f"{facts['model_id']}, {facts['status']}: {facts['why']}")


def _facts(model: Model, revoked: bool) -> dict[str, Any]:
    keys = ("model_id", "snapshot_id", "admission_seq", "status", "why", "path", "sha256", "config", "made_at")
    whole = {key: getattr(model, key) for key in keys}
    return {**whole, "metrics": brief(model.metrics), "snapshot_revoked": revoked}


def _row(facts: dict[str, Any]) -> tuple[Any, ...]:
    found = {name.partition(":")[0]: value for name, value, _ in measured(facts["metrics"])}
    status = f"{facts['status']}, snapshot revoked" if facts["snapshot_revoked"] else facts["status"]
    made = f"{facts['made_at']:%Y-%m-%d %H:%M}"
    figures = (found.get("accuracy"), found.get("worst class"), found.get("robust"))
    return (facts["model_id"], status, made, *figures)
