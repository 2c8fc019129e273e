"""What the in-process run shows of the second half: the verdict a feed, two cases by hand, and what models learned."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poison_guard.airflow.showing import gate_table, models_table, why_closed
from poison_guard.config import Contract

if TYPE_CHECKING:
    from poison_guard.records import Examples

__all__ = ["gate_tables"]

_BY_HAND = "by-hand"
"""Folder of the demo's home with the homes of the two cases."""
_ATTACKED = 100
"""Examples attacked for the table of models: it shows the difference of three, it promotes none."""


def gate_tables(contracts: Sequence[Contract], home: Path, *, seed: int | None) -> Iterator[Any]:
    """Yield the gate's table and, for the feeds of a demo (drawn from `seed`), one of the models trained after it."""
    rows = {contract.name: found for contract in contracts if (found := _verdict(contract, home)) is not None}
    if seed is not None and rows:
        from poison_guard.drills.gates import gate_by_hand

        rows |= {case.pop("case"): case for case in gate_by_hand(home / _BY_HAND, seed)}
    if rows:
        yield gate_table(rows)
        if told := why_closed(rows):
            yield told
    if seed is not None:
        for contract in contracts:
            yield from _learned(contract, home)


def _verdict(contract: Contract, home: Path) -> dict[str, Any] | None:
    """Return the last verdict on a feed, as `gate_table` takes it."""
    from poison_guard.steps.opening import open_feed
    from poison_guard.store.admissions import admissions
    from poison_guard.store.snapshots import last_snapshot
    from poison_guard.store.verdicts import last_verdict

    with open_feed(str(contract.path), home, only_look=True) as feed:
        snapshot = last_snapshot(feed.store, contract.name)
        held = last_verdict(feed.store, snapshot.snapshot_id) if snapshot is not None else None
        if snapshot is None or held is None:
            return None
        given = [a for a in admissions(feed.store, contract.name) if a["verdict_seq"] == held["seq"]]
    checks = held["verdict"]["checks"]
    stands = any(a["expires"] > dt.datetime.now(dt.UTC) and not a["revoked"] for a in given)
    why = [f"{c['name']}: {c['why']}" for c in checks if c["blocking"] and c["outcome"] != "pass"]
    told = {"outcome": held["outcome"], "admitted": stands, "snapshot_id": snapshot.snapshot_id, "why": why}
    return {**told, "checks": checks, "examples": snapshot.counts["examples"]}


def _learned(contract: Contract, home: Path) -> Iterator[Any]:
    """Yield the table of the models of one feed of the demo, if anything of it was admitted."""
    from poison_guard.drills.demo import demo_world
    from poison_guard.drills.learned import compare
    from poison_guard.drills.worlds import WORLDS
    from poison_guard.retrain.attacks import Budget

    if contract.name not in WORLDS:
        return
    admitted = _admitted(contract, home)
    if admitted is not None:
        world, budget = demo_world(home, contract.name), Budget(attacked=_ATTACKED)
        yield models_table(contract.name, compare(world, admitted, config=contract.retrain, budget=budget))


def _admitted(contract: Contract, home: Path) -> Examples | None:
    """Return what was admitted last, as a model may learn from it."""
    from poison_guard.steps.examples import for_training, load_examples, load_trusted_examples
    from poison_guard.steps.opening import open_feed
    from poison_guard.store.admissions import admissions
    from poison_guard.store.snapshots import load_snapshot

    with open_feed(str(contract.path), home, only_look=True) as feed:
        given = admissions(feed.store, contract.name, limit=1)
        if not given:
            return None
        snapshot = load_snapshot(feed.store, given[0]["snapshot_id"])
        return for_training(load_examples(feed, snapshot), load_trusted_examples(feed))
