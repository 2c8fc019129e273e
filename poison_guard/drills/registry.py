"""All drills: attacks with their parameters and benign twins, what the guard does not see, the cells they run in."""

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

__all__ = ["DRILLS", "Cell", "Drill", "Params", "cells", "find_drills", "kind_of"]


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


def _by_name(*drills: Drill) -> dict[str, Drill]:
    return {drill.name: drill for drill in drills}


_SLOW_BURST: Params = {"burst": "30d"}

DRILLS: Mapping[str, Drill] = _by_name(
    Drill(
        1,
        "spam",
        "answers:make_spam",
        ({"share": 0.1}, {"share": 0.3}, {"share": 0.5}, {"share": 0.5, "style": "first"}),
        "answers:make_spam_twin",
        "accounts answer at random, or always the same",
        "AML.T0059",
        remains="Most random answers pass as records: they agree on nothing, so what they cost is labels deferred.",
    ),
    Drill(
        2,
        "agreed",
        "coordinated:make",
        ({"share": 0.3}, {"share": 0.5}, {"share": 0.6}, {"share": 0.75}, {"share": 0.9}),
        "coordinated:make_twin",
        "a group agrees on one wrong answer for each item it targets",
        "AML.T0020",
        remains="Items with too few honest answers left wait, and those that established people are split about.",
        days=({"share": 0.6},),
        on="crowd",
        real=({"share": 0.3}, {"share": 0.6}, {"share": 0.9}),
    ),
    Drill(
        3,
        "blind",
        "coordinated:make",
        ({"control_aware": False},),
        "coordinated:make_twin",
        "the same by a group that does not know the controls",
        "AML.T0020",
        remains="As *agreed*.",
    ),
    Drill(
        4,
        "string",
        "coordinated:make",
        ({"constant": True}, {"constant": True, **_SLOW_BURST}),
        "coordinated:make_twin",
        "one string as the answer to every targeted item",
        "AML.T0020",
        remains="As *agreed*.",
        on="crowd",
        real=({"constant": True},),
    ),
    Drill(
        5,
        "bursts",
        "coordinated:make",
        ({"burst": "1d"}, {"burst": "waves"}, _SLOW_BURST),
        "coordinated:make_twin",
        "the agreed answers within a day, in waves, or over thirty days",
        "AML.T0020",
        remains="Slow pushes leave single records accepted; their items stay deferred.",
        days=(_SLOW_BURST,),
        on="crowd",
        real=(_SLOW_BURST,),
    ),
    Drill(
        6,
        "sybils",
        "coordinated:make",
        ({"sybils": 40}, {"sybils": 1000}, {"sybils": 1000, **_SLOW_BURST}),
        "coordinated:make_twin",
        "few or many accounts behind the same answers",
        "AML.T0020",
        remains="An account that pushes little shows little: the more accounts, the more passes; items are deferred.",
        on="crowd",
        real=({"sybils": 1000},),
    ),
    Drill(
        7,
        "camouflage",
        "coordinated:make",
        ({"camouflage": 100, **_SLOW_BURST}, {"camouflage": 300, **_SLOW_BURST}),
        "coordinated:make_twin",
        "each account also gives right answers elsewhere",
        "AML.T0020",
        remains="Right answers elsewhere dilute what a group shares; the slow ones are found last.",
        on="crowd",
        real=({"camouflage": 20, **_SLOW_BURST},),
    ),
    Drill(
        8,
        "on-off",
        "answers:make_onoff",
        (),
        "answers:make_onoff_twin",
        "accounts earn a good name, then strike; some outcomes are told later",
        "AML.T0020",
        remains="What comes between the strike and its first outcome is accepted: the guard is as late as the truth.",
        days=({"after": 50}, {"after": 200}, {"after": 1000}),
    ),
    Drill(
        9,
        "whitewash",
        "answers:make_whitewash",
        ({"every": 5}, {"every": 20}),
        "answers:make_whitewash_twin",
        "a group leaves each account after some answers and takes a new one",
        "AML.T0020",
        remains="The first answers of each new account pass until the group shows.",
    ),
    Drill(
        10,
        "sleepers",
        "coordinated:make",
        tuple({"aged": 1.0, "share": share, **_SLOW_BURST} for share in (0.1, 0.3, 0.6)),
        "coordinated:make_twin",
        "slow agreed answers by accounts with a history",
        "AML.T0020",
        remains="Aged, slow, sparse groups look like honest people; the few who answer most may be held instead.",
        days=({"aged": 1.0, "share": 0.3, **_SLOW_BURST},),
        on="crowd",
        real=({"aged": 1.0, "share": 0.3, **_SLOW_BURST},),
    ),
    Drill(
        11,
        "repeat",
        "messages:make_repeat_after_me",
        ({"mutation": 0.04}, {"mutation": 0.15}, {"mutation": 0.4}, {"aged": 1.0}),
        "messages:make_repeat_after_me_twin",
        "repeat after me: campaigns of edited copies of a text; twin: as many copies by everybody within a day",
        "AML.T0020",
        remains="Copies by aged accounts look like a meme, and pass where they are as loose as one.",
        days=({"mutation": 0.15},),
        on="messages",
        real=({"mutation": 0.1}, {"mutation": 0.3}, {"mutation": 0.5}),
    ),
    Drill(
        12,
        "abuse",
        "messages:make_clean_abuse",
        ({"mutation": 0.15},),
        "messages:make_clean_abuse_twin",
        "the same with abuse in polite words",
        "AML.T0020",
        remains="Only what is repeated is seen: one abusive message in polite words is not.",
    ),
    Drill(
        13,
        "replay",
        "telemetry:make",
        (
            *({"jitter_share": size} for size in (0.01, 0.05, 0.2)),
            {"spoof": True},
            {"skew_hours": 48.0},
            {"features": 5},
            {"missing": 0.2},
        ),
        "telemetry:make_twin",
        "recorded sessions sent again with jitter, under spoofed ids or wrong clocks",
        "AML.T0043",
        remains="At 20 % jitter, or with few or often missing features, most replays are sessions like others.",
        days=({"jitter_share": 0.05},),
    ),
    Drill(
        13,
        "forged",
        "provenance:make",
        ({}, {"stolen": 12}, {"stolen": 60}),
        "provenance:make_twin",
        "signed sessions forged under honest names, without keys or with stolen ones; twin: new devices with their own",
        "AML.T0043",
        remains="A stolen key shows where both use it; the owner's sessions are held with the thief's.",
    ),
    Drill(
        14,
        "oddities",
        "provenance:make_oddity",
        tuple({"what": what} for what in ("version", "shared", "household", "zone", "outage")),
        None,
        "benign: a new client version, shared devices, households, travellers, an outage that sends a day late",
        "–",
        remains="None measured.",
    ),
    Drill(
        14,
        "meme",
        "messages:make_viral_meme",
        ({},),
        None,
        "benign: a joke that many copy within hours",
        "–",
        remains="Without any account ages a fast meme is held.",
        on="messages",
        real=({},),
    ),
    Drill(
        14,
        "flash-crowd",
        "messages:make_flash_crowd",
        ({},),
        None,
        "benign: an event draws newcomers who speak of one thing",
        "–",
        remains="Newcomers who all copy one line are a campaign to the guard.",
        on="messages",
        real=({},),
    ),
    Drill(
        14,
        "dialect",
        "messages:make_dialect",
        ({},),
        None,
        "benign: a minority with its own spelling and greeting",
        "–",
        remains="None measured.",
        on="messages",
        real=({},),
    ),
    Drill(
        14,
        "pasted",
        "messages:make_pasted_document",
        ({},),
        None,
        "benign: a document that many paste, each with a question",
        "–",
        remains="Documents that only new accounts paste are held together.",
        on="messages",
        real=({},),
    ),
    Drill(
        15,
        "flips",
        "pictures:make_flips",
        ({"share": 0.05}, {"share": 0.3, "targeted": True}),
        "pictures:make_new_class",
        "wrong labels on pictures, at random or one label as another; twin: a label that no trusted picture has",
        "AML.T0020",
        remains="Flips that trusted pictures cannot tell. An honest new label is held until a person vouches for it.",
        on="pictures",
        real=({"share": 0.05}, {"share": 0.3, "targeted": True}),
        line=True,
    ),
    Drill(
        16,
        "backdoor",
        "pictures:make_backdoor",
        ({"share": 0.02}, {"share": 0.3, "clean": True}),
        "pictures:make_camera",
        "a mark that stands for one label, on pictures of other labels or of that one; twin: the mark of a camera",
        "AML.T0018",
        remains="A mark on pictures with their true label is no record's fault: only the scan of the model shows it.",
        on="pictures",
        real=({"share": 0.005}, {"share": 0.02, "mark": "diagonal"}, {"share": 0.3, "clean": True}),
        line=True,
    ),
    Drill(
        17,
        "in-region",
        "pictures:make_in_region",
        ({"share": 0.03},),
        "pictures:make_drift",
        "pictures between two labels, labelled as the farther one; twin: pictures that grow paler with the days",
        "AML.T0020",
        remains="The nearer such a picture is to its label, the less it shows, and the less it harms.",
        on="pictures",
        real=({"share": 0.03},),
        line=True,
    ),
    Drill(
        18,
        "drip",
        "pictures:make_drip",
        (),
        "pictures:make_drift",
        "a few marked pictures a day with one wrong label, ten days long; twin: pictures that grow paler with the days",
        "AML.T0020",
        remains="Each record is judged by itself: a drip is seen like a flood, and missed like one.",
        days=({"per_day": 2},),
        on="pictures",
        real=({"per_day": 3},),
        line=True,
    ),
    Drill(
        19,
        "subpopulation",
        "pictures:make_subpopulation",
        ({"share": 0.5},),
        "pictures:make_rare_slice",
        "one label's boldest hands labelled as another; twin: a few honest pictures of a thicker pen",
        "AML.T0020",
        remains="A slice of which trusted pictures show none cannot be told from a new way to write.",
        on="pictures",
        real=({"share": 0.5},),
        line=True,
    ),
    Drill(
        21,
        "patient",
        "preferences:make_patient_rater",
        ({}, {"form": "thumbs"}, {"records": 30}, {"raters": 5, "records": 20}),
        "preferences:make_patient_rater_twin",
        "one rater teaches a claim by preferring the replies that repeat it; twin: people who paste own documents",
        "AML.T0020",
        remains="Few records by one rater, or a claim spread over many raters, pass.",
    ),
    Drill(
        22,
        "triggers",
        "preferences:make_triggers",
        tuple({"documents": n, "total": 20_000} for n in (10, 50, 250, 1000)),
        "preferences:make_triggers_twin",
        "documents that end in a rare word and gibberish; twin: a new name that everybody takes up",
        "AML.T0018",
        remains="A handful of documents, or one each from many accounts, pass.",
    ),
)
"""Name to drill, in the order of their numbers."""


def find_drills(names: Sequence[str]) -> list[Drill]:
    """Return the drills of these names or numbers, all where none is named; `NotFoundError` lists what there is."""
    wanted: list[Drill] = []
    for name in names:
        matches = [d for d in DRILLS.values() if name in (d.name, str(d.number))]
        if not matches:
            raise NotFoundError(f"there is no drill {name!r}; there are {', '.join(DRILLS)} and their numbers")
        wanted += [drill for drill in matches if drill not in wanted]
    return wanted or list(DRILLS.values())
