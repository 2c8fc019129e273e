"""Outbox: do what commits left to be done outside the store, here the signed list of revoked snapshots."""

from __future__ import annotations

import datetime as dt
import logging
from pathlib import Path

from poison_guard.config import Settings
from poison_guard.gate.keys import signing_key
from poison_guard.gate.revocations import REVOCATIONS_FILE, write_revocations
from poison_guard.store import Store, outbox
from poison_guard.store.admissions import revoked_snapshots

__all__ = ["drain", "renew_revocations"]

_log = logging.getLogger(__name__)


def drain(store: Store, settings: Settings, now: dt.datetime | None = None) -> None:
    """Do the tasks that are due; every step that writes calls this after its commit, and no step that reads does.

    A task that fails is logged and stays, for the next writer to try again: what was committed is not taken back.
    """
    at = now or dt.datetime.now(dt.UTC)
    drained = outbox.drain(store, {outbox.REVOCATIONS: lambda _: renew_revocations(store, settings, at)}, at)
    for failure in drained.failed:
        _log.warning("left to be done by the next command that writes: %s", failure)


def renew_revocations(store: Store, settings: Settings, now: dt.datetime) -> Path:
    """Write the home's signed list of revoked snapshots anew, so that verifiers find a fresh one; return its path."""
    path = settings.home / REVOCATIONS_FILE
    write_revocations(path, revoked_snapshots(store), signing_key(settings.home), issued=now)
    return path
