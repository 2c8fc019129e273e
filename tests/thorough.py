"""How much of a dear law is tried: a part of it by `make test`, all by `make faults` (``POISON_GUARD_THOROUGH=1``)."""

from __future__ import annotations

import os

__all__ = ["also", "examples", "some"]

_ALL = os.environ.get("POISON_GUARD_THOROUGH") == "1"


def examples(few: int) -> int:
    """Return how many histories hypothesis makes up: `few`, or ten times as many."""
    return 10 * few if _ALL else few


def also(*values: object) -> tuple[object, ...]:
    """Return further values to try, none by `make test`."""
    return values if _ALL else ()


def some(n: int, step: int) -> range:
    """Return the places out of `n` at which something is killed: every `step`-th, or each."""
    return range(0, n, 1 if _ALL else step)
