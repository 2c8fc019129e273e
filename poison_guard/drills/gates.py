"""The gate by hand: a clean feed is admitted; one whose campaign a reviewer let through is refused, with the reason."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from poison_guard.drills.demo import shipped, trusted_path, write_world
from poison_guard.drills.world import World
from poison_guard.drills.worlds import make_world
from poison_guard.guard import Guard

__all__ = ["FEED", "gate_by_hand", "without_attack"]

FEED = "telemetry"
"""World that the two cases are drawn from."""


def gate_by_hand(home: str | Path, seed: int) -> list[dict[str, Any]]:
    """Return ``case, outcome, admitted, why, checks, examples`` of both cases, each in a home of its own below `home`.

    In the second one every campaign that the guard held is released, as a hurried reviewer would: the gate is the last
    thing between it and the model.
    """
    world = make_world(FEED, seed)
    clean = _ingested(without_attack(world), Path(home) / "clean")
    fooled = _ingested(world, Path(home) / "released")
    _release_campaigns(fooled)
    cases = (("a week without an attack", clean), ("the attacked week, its campaigns released by a reviewer", fooled))
    return [{"case": case, **_gated(guard)} for case, guard in cases]


def without_attack(world: World) -> World:
    """Return the world with its honest records only."""
    honest = world.truth["honest"].to_numpy(bool)
    return dataclasses.replace(
        world,
        records=world.records[honest].reset_index(drop=True),
        truth=world.truth[honest].reset_index(drop=True),
    )


def _ingested(world: World, home: Path) -> Guard:
    write_world(world, home)
    guard = Guard.open(shipped("feeds", f"{world.name}.toml"), home=home)
    guard.trust(str(trusted_path(home, world.name)), by="demo", reason="the demo's vetted records")
    guard.ingest()
    return guard


def _release_campaigns(guard: Guard) -> None:
    from poison_guard.review import release
    from poison_guard.steps.opening import open_feed
    from poison_guard.store import list_campaigns

    with open_feed(guard.contract_path, guard.home) as feed:
        campaigns = list_campaigns(feed.store, guard.contract.name)
        for campaign_id in campaigns.loc[campaigns["held"] > 0, "campaign_id"]:
            release(
                feed.store, feed.contract, by="hurried-reviewer", reason="they all look human", campaign_id=campaign_id
            )


def _gated(guard: Guard) -> dict[str, Any]:
    sealed = guard.seal()
    result = guard.gate()
    checks = result.checks.to_dict("records")
    told = {"outcome": result.outcome, "admitted": result.admitted, "why": result.why}
    return {**told, "checks": checks, "examples": sealed.counts["examples"]}
