"""A drill: an attack with its parameters, its benign twin, what the guard does not see of it; the cells it runs in."""

from __future__ import annotations

import importlib
import inspect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from poison_guard.drills.trial import By
from poison_guard.drills.world import World
from poison_guard.errors import NotFoundError, UsageError

__all__ = ["Cell", "Drill", "Params", "cells", "kind_of"]


Params = Mapping[str, Any]
"""Keyword arguments of a drill's `make`; what is not named keeps its default."""

_GIVEN_BY_US = ("seed", "crowd", "base", "benign")
_ATTACKS = "poison_guard.drills.attacks."
_RAIDS = ("poison_guard.drills.crowds:raid", "poison_guard.drills.crowds:raid_twin")


@dataclass(frozen=True, slots=True)
class Drill:
    """One attack; `make` and `twin` name functions ``(seed, **params) -> World`` as ``module:function``."""

    number: int
    """Its number in the project's list of attacks; several drills may share one."""
    name: str
    make: str
    grid: tuple[Params, ...]
    """Parameters it is run with, in one batch."""
    twin: str | None
    """Its honest look-alike, which takes the same parameters; None where the drill is one."""
    what: str
    atlas: str
    """MITRE ATLAS technique."""
    remains: str
    """Residual risk: what of it the guard does not see, or what it costs."""
    days: tuple[Params, ...] = ()
    """Parameters it is run with day by day."""
    on: Literal["", "crowd", "messages", "pictures"] = ""
    """Public data it can be run on."""
    real: tuple[Params, ...] = ()
    """Parameters it is run with on public data."""
    line: bool = False
    """Whether it runs through the whole line: guard, gate, training, scan of the model, harm."""

    def function(self, on: str, *, twin: bool = False) -> Callable[..., World]:
        """Return what draws its world, or its twin's, on ``synthetic`` or the name of a public set."""
        named = _RAIDS[twin] if self.on == "crowd" and on != "synthetic" else self.twin if twin else self.make
        if named is None:
            raise NotFoundError(f"the drill {self.name} is a benign twin itself and has none")
        module, _, function = named.partition(":")
        full = module if module.startswith("poison_guard.") else _ATTACKS + module
        return cast("Callable[..., World]", getattr(importlib.import_module(full), function))


@dataclass(frozen=True, slots=True)
class Cell:
    """One line of the table: a drill with its parameters, on synthetic or public data, at once or day by day."""

    drill: str
    on: str
    by: By
    params: Params


def cells(drill: Drill, on: str, choices: Mapping[str, Sequence[Any]] | None = None) -> list[Cell]:
    """Return the cells of a drill on ``synthetic`` or a public set, none where it does not fit that set.

    The values of `choices` take the place of those of the grid, each with each: one cell a combination. `UsageError`
    for a parameter that its `make` does not have, or a value of another kind than its default.
    """
    if on != "synthetic" and drill.on != kind_of(on):
        return []
    if choices:
        _check(drill, on, choices)
    combined: list[Cell] = []
    grids: tuple[tuple[By, tuple[Params, ...]], ...] = (("all", drill.grid), ("day", drill.days))
    for by, grid in grids if on == "synthetic" else (("all", drill.real),):
        for params in grid:
            for values in itertools.product(*(choices or {}).values()):
                cell = Cell(drill.name, on, cast("By", by), {**params, **dict(zip(choices or {}, values, strict=True))})
                if cell not in combined:
                    combined.append(cell)
    return combined


def kind_of(on: str) -> str:
    """Return what a public set is, ``crowd``, ``messages`` or ``pictures``."""
    return {"tweets": "messages", "mnist": "pictures"}.get(on, "crowd")


def _check(drill: Drill, on: str, choices: Mapping[str, Sequence[Any]]) -> None:
    parameters = inspect.signature(drill.function(on)).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return  # it hands them on; whoever takes them refuses what is not one
    known = [name for name in parameters if name not in _GIVEN_BY_US]
    unknown = next((name for name in choices if name not in known), None)
    if unknown is not None:
        raise UsageError(f"the drill {drill.name} has no parameter {unknown!r}; it has {', '.join(known)}")
    for name, values in choices.items():
        for value in values:
            wanted = _wanted(name, parameters[name].default, value)
            if wanted:
                raise UsageError(f"{name} of the drill {drill.name} must be {wanted}, got {value!r}")


def _wanted(name: str, default: Any, value: Any) -> str:
    """Return what a value of this parameter must be, where `value` is not; a share is a number at most 1 by default."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match default:
        case bool():
            return "" if isinstance(value, bool) else "true or false"
        case int():
            return "" if number and isinstance(value, int) and value >= 0 else "a whole number, 0 or more"
        case float() if default <= 1 and not name.endswith("_hours"):
            return "" if number and 0 <= value <= 1 else "a share, from 0 to 1"
        case float():
            return "" if number and 0 <= value < math.inf else "a number, 0 or more"
    return "" if isinstance(value, str) else "a word"
