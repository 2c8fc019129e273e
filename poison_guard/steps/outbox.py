"""Outbox: do what a commit left to be done outside the store, here renewing the signed list of revoked snapshots."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from poison_guard.config import Settings
from poison_guard.gate.keys import signing_key
from poison_guard.gate.revocations import REVOCATIONS_FILE, write_revocations
from poison_guard.store import Store
from poison_guard.store.admissions import revoked_snapshots

__all__ = ["renew_revocations"]


def renew_revocations(store: Store, settings: Settings, now: dt.datetime) -> Path:
    """Write the home's signed list of revoked snapshots anew, so that verifiers find a fresh one; return its path."""
    path = settings.home / REVOCATIONS_FILE
    write_revocations(path, revoked_snapshots(store), signing_key(settings.home), issued=now)
    return path
