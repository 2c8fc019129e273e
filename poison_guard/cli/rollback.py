"""`poison-guard rollback`: make an earlier champion the champion again, in a person's name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from poison_guard.cli.deciding import contract_and_store
from poison_guard.cli.options import by_and_reason, common, contract_file, dry_run, feed_option
from poison_guard.cli.output import emit, say, told
from poison_guard.errors import ClosedError, NotFoundError, UsageError

if TYPE_CHECKING:
    from poison_guard.config import Contract
    from poison_guard.store import Store

__all__ = ["rollback_command"]


@click.command("rollback")
@feed_option(required=True)
@click.option("--to", "model_id", required=True, metavar="MODEL", help="Earlier champion; `models` lists them.")
@click.option("--force", is_flag=True, help="Even where the snapshot it was trained on was revoked.")
@by_and_reason
@dry_run
@common
def rollback_command(
    feed: str, model_id: str, force: bool, by: str, reason: str, dry_run: bool, home: Path, as_json: bool
) -> None:
    """Make MODEL the champion of a feed again. Only one that was champion before, and whose snapshot still holds."""
    from poison_guard.guard import Guard

    guard = Guard.open(contract_file(feed), home=home)
    with contract_and_store(feed, home) as (contract, store):
        before = _champion(store, contract, model_id, force=force)
    if not dry_run:
        guard.rollback(to=model_id, by=by, reason=reason, force=force)
    name = guard.contract.name
    if as_json:
        emit({"feed": name, "dry_run": dry_run, "champion": model_id, "before": before})
        return
    told(f"{'would make' if dry_run else 'made'} {model_id} the champion of {name} instead of {before or 'none'}")
    if not dry_run:
        say(f"next: poison-guard models --feed {feed}")


def _champion(store: Store, contract: Contract, model_id: str, *, force: bool) -> str | None:
    """Return the id of the champion of now; raises what a rollback to `model_id` would be refused with."""
    from poison_guard.store.lineage import root_of
    from poison_guard.store.models import champion, list_models

    name = contract.name
    known = {model.model_id: model for model in list_models(store, name)}
    if model_id not in known:
        raise NotFoundError(f"{name} has no model {model_id!r}; poison-guard models --feed {name} lists them")
    model = known[model_id]
    if model.status != "retired":
        raise UsageError(
            f"{model_id} is {model.status}; only an earlier champion, called retired, can be rolled back to"
        )
    root = root_of(store, model_id)
    if root is not None and not force:
        raise ClosedError(
            f"{model_id} learned from {root[1]}, which was revoked ({root[2]}); choose another, or --force it"
        )
    now = champion(store, name)
    return now.model_id if now else None
