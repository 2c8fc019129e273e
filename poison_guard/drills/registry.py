"""All drills: attacks with their parameters, their benign twins, and what the guard does not see of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from poison_guard.drills.drill import Drill, Params
from poison_guard.errors import NotFoundError

__all__ = ["DRILLS", "find_drills"]


def _all(*drills: Drill) -> dict[str, Drill]:
    return {drill.name: drill for drill in drills}


_SLOW: Params = {"burst": "30d"}

DRILLS: Mapping[str, Drill] = _all(
    Drill(
        1,
        "spam",
        "spam:make",
        ({"share": 0.1}, {"share": 0.3}, {"share": 0.5}, {"share": 0.5, "style": "first"}),
        "spam:make_twin",
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
        ({"constant": True}, {"constant": True, **_SLOW}),
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
        ({"burst": "1d"}, {"burst": "waves"}, _SLOW),
        "coordinated:make_twin",
        "the agreed answers within a day, in waves, or over thirty days",
        "AML.T0020",
        remains="Slow pushes leave single records accepted; their items stay deferred.",
        days=(_SLOW,),
        on="crowd",
        real=(_SLOW,),
    ),
    Drill(
        6,
        "sybils",
        "coordinated:make",
        ({"sybils": 40}, {"sybils": 1000}, {"sybils": 1000, **_SLOW}),
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
        ({"camouflage": 100, **_SLOW}, {"camouflage": 300, **_SLOW}),
        "coordinated:make_twin",
        "each account also gives right answers elsewhere",
        "AML.T0020",
        remains="Right answers elsewhere dilute what a group shares; the slow ones are found last.",
        on="crowd",
        real=({"camouflage": 20, **_SLOW},),
    ),
    Drill(
        8,
        "on-off",
        "onoff:make_onoff",
        (),
        "onoff:make_onoff_twin",
        "accounts earn a good name, then strike; some outcomes are told later",
        "AML.T0020",
        remains="What comes between the strike and its first outcome is accepted: the guard is as late as the truth.",
        days=({"after": 50}, {"after": 200}, {"after": 1000}),
    ),
    Drill(
        9,
        "whitewash",
        "onoff:make_whitewash",
        ({"every": 5}, {"every": 20}),
        "onoff:make_whitewash_twin",
        "a group leaves each account after some answers and takes a new one",
        "AML.T0020",
        remains="The first answers of each new account pass until the group shows.",
    ),
    Drill(
        10,
        "sleepers",
        "coordinated:make",
        tuple({"aged": 1.0, "share": share, **_SLOW} for share in (0.1, 0.3, 0.6)),
        "coordinated:make_twin",
        "slow agreed answers by accounts with a history",
        "AML.T0020",
        remains="Aged, slow, sparse groups look like honest people; the few who answer most may be held instead.",
        days=({"aged": 1.0, "share": 0.3, **_SLOW},),
        on="crowd",
        real=({"aged": 1.0, "share": 0.3, **_SLOW},),
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
        found = [d for d in DRILLS.values() if name in (d.name, str(d.number))]
        if not found:
            raise NotFoundError(f"there is no drill {name!r}; there are {', '.join(DRILLS)} and their numbers")
        wanted += [drill for drill in found if drill not in wanted]
    return wanted or list(DRILLS.values())
