"""The demo's worlds, one file each: `make_world(name, seed)` draws one."""

from __future__ import annotations

import importlib
from typing import cast

from poison_guard.drills.world import World
from poison_guard.errors import NotFoundError

__all__ = ["WORLDS", "make_world"]

WORLDS = ("captcha", "chat", "telemetry")
"""Names of the worlds, and of the feeds they are written to."""


def make_world(name: str, seed: int) -> World:
    """Return the world `name` drawn from `seed`; the same seed gives the same world on every machine."""
    if name not in WORLDS:
        raise NotFoundError(f"there is no world `{name}`; known: {', '.join(WORLDS)}")
    module = importlib.import_module(f"{__name__}.{name}")
    return cast("World", module.make_world(seed))
