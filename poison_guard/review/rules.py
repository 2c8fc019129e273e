"""The rules of a review: who decides and why, from where each verb takes records, and to where it moves them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

from poison_guard.errors import UsageError
from poison_guard.records import Person, Place, via_of

__all__ = ["VERBS", "Selection", "Selector", "Verb", "Which", "allowed_places", "check_person", "select_rows"]


@dataclass(frozen=True, slots=True)
class Verb:
    """What a decision does with records: where it moves them, what it says of their sources, where it takes them."""

    destination: Place
    verdict: int | None
    """1: they were right, -1: they were wrong, None: nothing is said about their sources."""
    places: tuple[Place, ...]
    """From where those of a campaign or a source are taken."""
    places_of_run: tuple[Place, ...]
    """From where those of a run are taken: a release takes staged ones too, of a batch that was held whole."""
    places_of_ids: tuple[Place, ...]
    """From where those named by id are taken; an accepted one is released only where it waits in the queue."""


_HELD = (Place.QUARANTINED, Place.RECALLED)
_WITH_STAGED = (*_HELD, Place.STAGED)
_ACCEPTED = (Place.ACCEPTED,)

VERBS: Mapping[str, Verb] = {
    "release": Verb(Place.ACCEPTED, 1, _HELD, _WITH_STAGED, (*_WITH_STAGED, Place.REJECTED, Place.ACCEPTED)),
    "reject": Verb(Place.REJECTED, -1, _WITH_STAGED, _WITH_STAGED, (*_WITH_STAGED, Place.ACCEPTED)),
    "recall": Verb(Place.RECALLED, None, _ACCEPTED, _ACCEPTED, _ACCEPTED),
}
"""The state machine of a review; `undo` returns records to where they were and needs no row."""


class Which(TypedDict, total=False):
    """The keywords by which a verb is told its records: exactly one of them is given, see `Selector`."""

    record_ids: str | Sequence[str] | None
    campaign_id: str | None
    source_id: str | None
    run_id: str | None
    observed: bool


@dataclass(frozen=True, slots=True)
class Selector:
    """Which records a verb is about: by one key, and its value."""

    key: str
    """``record_ids``; or ``campaign_id``, ``source_id`` (who sent or wrote them), ``run_id`` (what decided them); or,
    for a recall, ``observed``: what the feed accepted in observe mode and would have held."""
    value: Any
    """The ids as a tuple; or the campaign, source or run; or True."""

    @classmethod
    def of(cls, verb: str, **which: Unpack[Which]) -> Selector:
        """Return the selector of a verb; `UsageError` for no key, several, or a wrong one."""
        if unknown := set(which) - set(Which.__annotations__):
            raise TypeError(f"{verb} takes no {min(unknown)}; records are chosen by {', '.join(Which.__annotations__)}")
        given = {key: value for key, value in which.items() if value is not None and value is not False}
        if "observed" in given and verb != "recall":
            raise UsageError(f"`observed` chooses for a recall; {verb} takes record ids, a campaign, a source or a run")
        if len(given) != 1:
            last = "a source, a run or `observed`" if verb == "recall" else "a source or a run"
            raise UsageError(f"{verb} needs record ids, a campaign, {last}: exactly one of them, got {len(given)}")
        ((key, value),) = given.items()
        if key == "record_ids":
            value = (value,) if isinstance(value, str) else tuple(value)  # type: ignore[arg-type]
            if not value:
                raise UsageError(f"{verb} needs at least one record id, got none")
        return cls(key, value)

    @property
    def ids(self) -> tuple[str, ...]:
        """The records that were named one by one; none for a group."""
        return self.value if self.key == "record_ids" else ()

    @property
    def filters(self) -> dict[str, Any]:
        """The group as `find_records` takes it; nothing for records named one by one."""
        return {} if self.ids else {self.key: self.value}

    def noted(self) -> dict[str, Any]:
        """Return what the event of the decision keeps of it: of ids their number."""
        return {self.key: len(set(self.ids)) if self.ids else self.value}


@dataclass(frozen=True, slots=True)
class Selection:
    """A frozen set of records for one verb."""

    verb: str
    record_ids: tuple[str, ...]
    selector: Mapping[str, Any]
    """How it was chosen: ``record_ids`` (their number), ``campaign_id``, ``source_id``, ``run_id`` or ``observed``."""
    places: Mapping[str, int]
    """How many of the records are where."""
    sources: int
    """How many sources sent them."""


def check_person(by: str, reason: str) -> tuple[Person, str]:
    """Return name and reason without surrounding space; `UsageError` when one is missing or too long."""
    name, why = by.strip(), reason.strip()
    if not name:
        raise UsageError("a decision needs the name of who makes it; give `by`")
    if not why:
        raise UsageError("a decision needs a reason that others can read later; give `reason`")
    if len(name) > _MAX_NAME or len(why) > _MAX_REASON or "\0" in name + why:
        raise UsageError(f"a name has at most {_MAX_NAME} and a reason at most {_MAX_REASON} characters, without NUL")
    return Person(name, via_of(by)), why


_MAX_NAME = 200
_MAX_REASON = 2000


def allowed_places(verb: str, selector: str) -> tuple[Place, ...]:
    """Return the places from which a verb takes records that were chosen by the key `selector`."""
    rule = VERBS[verb]
    return {"record_ids": rule.places_of_ids, "run_id": rule.places_of_run}.get(selector, rule.places)


def select_rows(verb: str, rows: Sequence[tuple[str, str, str | None]], selector: Mapping[str, Any]) -> Selection:
    """Return the selection of `rows` (``record_id, place, source_id``)."""
    names, places, sources = zip(*rows, strict=True) if rows else ((), (), ())
    return Selection(verb, tuple(sorted(names)), selector, dict(Counter(places)), len(set(sources) - {None}))
