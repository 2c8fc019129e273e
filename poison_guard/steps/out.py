"""Out: after each change, write what was decided to the table or files that the contract's ``[out]`` names."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from typing import Any

from poison_guard.config import Contract, load_contract
from poison_guard.errors import ConfigError, GuardError
from poison_guard.store import Store, outbox
from poison_guard.store.decision_log import DecisionFiles, DecisionTable, changed_records, known_records, last_change

__all__ = ["ask_for", "write_decisions"]

_ERASED = "erased-"
"""What the ids of erased records begin with."""


def ask_for(store: Store, contract: Contract, now: dt.datetime) -> None:
    """Leave a task that brings the contract's table or files up to date, unless nothing changed since the last one."""
    if contract.path is not None:  # of none, no later command could read where to write
        task = {"feed": contract.name, "contract": str(contract.path.absolute())}
        task |= {"seq": str(last_change(store, contract.name))}
        outbox.add_once(store, outbox.DECISIONS, task, now)


def write_decisions(store: Store, task: Mapping[str, Any]) -> None:
    """Do such a task: write the records that changed since what is there. The same again changes nothing.

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
