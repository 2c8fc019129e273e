"""Outbox: do what commits left to be done outside the store: manifests, the list of revoked snapshots, erased files.

Also the decisions of a feed, in the table or files that ``[out]`` of its contract names.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poison_guard.config import Contract, Settings, load_contract
from poison_guard.errors import ConfigError, GuardError, StoreError
from poison_guard.files import write_atomic
from poison_guard.gate.keys import signing_key
from poison_guard.gate.revocations import REVOCATIONS_FILE, write_revocations
from poison_guard.store import Store, outbox
from poison_guard.store.admissions import list_admissions, revoked_snapshots
from poison_guard.store.decision_log import DecisionFiles, DecisionTable, changed_records, known_records, last_change
from poison_guard.store.erasure import remove_unlisted
from poison_guard.store.outbox import Drained

__all__ = ["ask_for", "drain", "manifest_path", "publish_admission", "renew_revocations", "write_decisions"]


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
        outbox.DECISIONS: lambda task: write_decisions(store, task),
        outbox.WEBHOOK: lambda task: _tell(store, settings, task, at),
        outbox.LINEAGE: lambda task: _trace(settings, task),
    }
    elsewhere = {outbox.DECISIONS, outbox.LINEAGE, outbox.WEBHOOK}
    drained = outbox.drain(store, handlers, at, at_once=handlers.keys() - elsewhere)
    for failure in drained.failed:
        _log.warning("left to be done by the next command that writes: %s", failure)
    return drained


def _tell(store: Store, settings: Settings, task: Mapping[str, Any], now: dt.datetime) -> None:
    from poison_guard.steps.notify import tell

    tell(settings, store.key, task, now)


def _trace(settings: Settings, task: Mapping[str, Any]) -> None:
    from poison_guard.steps.lineage import emit

    emit(settings, task)


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


_ERASED = "erased-"
"""What the ids of erased records begin with."""


def ask_for(store: Store, contract: Contract, now: dt.datetime) -> None:
    """Leave a task that brings the contract's table or files up to date, unless nothing changed since the last one."""
    if contract.path is not None:  # of none, no later command could read where to write
        task = {"feed": contract.name, "contract": str(contract.path.absolute())}
        task |= {"seq": str(last_change(store, contract.name))}
        outbox.add_once(store, outbox.DECISIONS, task, now)


def write_decisions(store: Store, task: Mapping[str, Any]) -> None:
    """Do a task of `ask_for`: write the records that changed since what is there. The same again changes nothing.

    One place that fails does not keep the other from being written; then the error is raised.
    """
    contract = load_contract(task["contract"])
    failed: list[GuardError] = []
    for opened in (_files, _table):
        try:
            if (target := opened(contract)) is not None:
                _bring_up_to_date(store, contract.name, target)
        except GuardError as error:
            failed.append(error)
    if failed:
        raise failed[0]


def _bring_up_to_date(store: Store, feed: str, target: DecisionTable | DecisionFiles) -> None:
    rows = changed_records(store, feed, target.last(feed))
    if len(rows):
        target.write(rows)
    if rows["record_id"].astype("str").str.startswith(_ERASED).any():
        target.forget(feed, known_records(store, feed))


def _table(contract: Contract) -> DecisionTable | None:
    out = contract.out
    if out.table is None:
        return None
    url = os.environ.get(out.url_env)
    if not url:
        raise ConfigError(f"table in [out] of {contract.name} needs a database URL in ${out.url_env}")
    return DecisionTable(url, out.table)


def _files(contract: Contract) -> DecisionFiles | None:
    path = contract.out.path
    if path is None:
        return None
    if "://" not in path and contract.path is not None:
        path = str(contract.path.absolute().parent / path)
    return DecisionFiles(path)
