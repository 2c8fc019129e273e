"""What taking records back takes with it: the snapshots revoked, the models that used them, the rollback to run."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poison_guard.cli.output import say, table, told

if TYPE_CHECKING:
    from poison_guard.config import Contract
    from poison_guard.store import Store

__all__ = ["NOTHING_REVOKED", "renew_list", "revoked_facts", "standing_snapshots", "tell_revoked"]

_ALL = 1_000_000
NOTHING_REVOKED: Mapping[str, Any] = {"revoked": [], "models": [], "champion": None, "rollback_to": None}
"""What `revoked_facts` says where no snapshot was revoked."""


def standing_snapshots(store: Store, feed: str) -> list[str]:
    """Return the snapshots of a feed that are not revoked."""
    from poison_guard.store.snapshots import list_snapshots

    return [s.snapshot_id for s in list_snapshots(store, feed, limit=_ALL) if s.revoked_seq is None]


def revoked_facts(store: Store, feed: str, snapshots: Sequence[str]) -> dict[str, Any]:
    """Return what hangs on snapshots that are, or would be, revoked.

    Keys: ``revoked`` (the snapshots), ``models`` (``model_id, status, snapshot_id``: those that used them),
    ``champion`` (id, when it is one of these models) and ``rollback_to`` (the newest earlier champion whose snapshot
    stands, or None).
    """
    from poison_guard.steps.consequences import consequences

    found = consequences(store, feed, list(snapshots))
    models = [{key: getattr(model, key) for key in ("model_id", "status", "snapshot_id")} for model in found.models]
    named = {"champion": found.champion, "rollback_to": found.rollback_to}
    return {"revoked": list(found.revoked), "models": models, **named}


def tell_revoked(facts: Mapping[str, Any], *, feed: str, dry_run: bool) -> None:
    """Print the revoked snapshots and the models that used them on stdout, the rollback to run on stderr."""
    if not facts["revoked"]:
        return
    told(f"{'would revoke' if dry_run else 'revoked'}: {', '.join(facts['revoked'])}")
    rows = [(m["model_id"], m["status"], m["snapshot_id"]) for m in facts["models"]]
    table("Models that used them", ("model", "status", "snapshot"), rows, empty="no model used them")
    if facts["rollback_to"]:
        say(
            f"the champion {facts['champion']} is one of them; roll back with: "
            f"poison-guard rollback --feed {feed} --to {facts['rollback_to']} --by NAME --reason WHY"
        )
    elif facts["champion"]:
        say(
            f"the champion {facts['champion']} is one of them and no earlier one is clean: take it out of service; "
            f"poison-guard seal --feed {feed}, then gate check and retrain, make the next"
        )


def renew_list(store: Store, contract: Contract, home: Path) -> None:
    """Sign the home's list of revoked snapshots anew, so that whoever verifies a manifest sees it revoked at once."""
    from poison_guard.config import open_settings
    from poison_guard.steps.admission import renew_revocations
    from poison_guard.steps.opening import Feed

    renew_revocations(Feed(contract, open_settings(home), store, suite=None), dt.datetime.now(dt.UTC))
