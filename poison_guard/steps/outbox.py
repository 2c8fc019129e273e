"""Outbox: do what commits left to be done outside the store: manifests, the list of revoked snapshots, erased files."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poison_guard.config import Settings
from poison_guard.errors import StoreError
from poison_guard.files import write_atomic
from poison_guard.gate.keys import signing_key
from poison_guard.gate.revocations import REVOCATIONS_FILE, write_revocations
from poison_guard.store import Store, outbox
from poison_guard.store.admissions import list_admissions, revoked_snapshots
from poison_guard.store.erasure import remove_unlisted
from poison_guard.store.outbox import Drained

__all__ = ["drain", "manifest_path", "publish_admission", "renew_revocations"]

_log = logging.getLogger(__name__)


def drain(store: Store, settings: Settings, now: dt.datetime | None = None) -> Drained:
    """Do the tasks that commits left, and return what was done.

    Every step that writes calls this after its commit, and `open_feed` before it: a command that was killed after its
    commit is followed up by the next one that writes, whatever becomes of that. No step that reads does. A task that
    fails is logged and stays: what was committed is not taken back. Files of the home are written whole and the same
    again, so none of these tasks waits for its turn; a place of the user's that fails is left alone for a while.
    """
    at = now or dt.datetime.now(dt.UTC)
    handlers: dict[str, outbox.Handler] = {
        outbox.REVOCATIONS: lambda _: renew_revocations(store, settings, at),
        outbox.ADMISSION: lambda task: publish_admission(store, settings, task["feed"], task["snapshot_id"], at),
        outbox.REMOVAL: lambda task: remove_unlisted(store, task["paths"]),
        outbox.DECISIONS: lambda task: _write_decisions(store, task),
        outbox.WEBHOOK: lambda task: _tell(store, settings, task, at),
    }
    drained = outbox.drain(store, handlers, at, at_once=handlers.keys() - {outbox.DECISIONS, outbox.WEBHOOK})
    for failure in drained.failed:
        _log.warning("left to be done by the next command that writes: %s", failure)
    return drained


def _write_decisions(store: Store, task: Mapping[str, Any]) -> None:
    from poison_guard.steps.out import write_decisions

    write_decisions(store, task)


def _tell(store: Store, settings: Settings, task: Mapping[str, Any], now: dt.datetime) -> None:
    from poison_guard.steps.notify import tell

    tell(settings, store.key, task, now)


def renew_revocations(store: Store, settings: Settings, now: dt.datetime) -> Path:
    """Write the home's signed list of revoked snapshots anew, so that verifiers find a fresh one; return its path."""
    path = settings.home / REVOCATIONS_FILE
    write_revocations(path, revoked_snapshots(store), signing_key(settings.home), issued=now)
    return path


def publish_admission(store: Store, settings: Settings, feed: str, snapshot_id: str, now: dt.datetime) -> Path:
    """Write the manifest of a snapshot's last admission, and a fresh list beside it; return the manifest's path."""
    path = manifest_path(settings, snapshot_id)
    (admission,) = list_admissions(store, feed, snapshot_id=snapshot_id, limit=1)
    try:
        write_atomic(path, admission["envelope"])
    except OSError as error:
        raise StoreError(f"the manifest {path} cannot be written: {error.strerror}; run the command again") from None
    renew_revocations(store, settings, now)
    return path


def manifest_path(settings: Settings, snapshot_id: str) -> Path:
    """Return where the manifest of a snapshot lies in the home."""
    return settings.home / "manifests" / f"{snapshot_id}.json"
