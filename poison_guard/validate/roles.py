"""Which column plays which role: guesses by name, kind and number of distinct values, each with its doubt in words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from poison_guard.validate.columns import Column
from poison_guard.validate.role_names import HINTS, ID, ORDER, THING, is_prose, repeats

__all__ = ["Guess", "guess_roles"]


@dataclass(frozen=True, slots=True)
class Guess:
    """One role given to one column; `doubt` says what the data cannot prove, empty where name and values agree."""

    role: str
    column: Column
    doubt: str = ""


def guess_roles(columns: Sequence[Column]) -> list[Guess]:
    """Return the roles that `columns` seem to play, in the order of a contract; each column plays at most one."""
    taken = _by_name(columns)
    _settle_answers(taken)
    _settle_unique_item(taken)
    _settle_rating(taken)
    free = [c for c in columns if c not in taken.values()]
    doubts: dict[str, str] = {}
    _fill_source(taken, free, doubts)
    _fill_item(taken, free, doubts)
    _fill_text(taken, free, doubts)
    return [Guess(r, taken[r], doubts.get(r) or _doubt(r, taken[r])) for r in ORDER if r in taken]


def _by_name(columns: Sequence[Column]) -> dict[str, Column]:
    """The strongest names first; among equals the role named first in `HINTS`, then the first column."""
    claims = [
        (rank, place, position, hint.role, column)
        for place, hint in enumerate(HINTS)
        for position, column in enumerate(columns)
        for rank, pattern in enumerate(hint.names)
        if re.fullmatch(pattern, column.words) and hint.allows(column)
    ]
    taken: dict[str, Column] = {}
    for _, _, _, role, column in sorted(claims, key=lambda claim: claim[:3]):
        if role not in taken and column not in taken.values():
            taken[role] = column
    return taken


def _settle_answers(taken: dict[str, Column]) -> None:
    """Prose that answers a prompt is a response; what a known source says of an item, without a prompt, an answer."""
    has = taken.keys()
    if has >= {"prompt", "answer"} and "response" not in has and is_prose(taken["answer"]):
        taken["response"] = taken.pop("answer")
    if has >= {"response", "item_id", "source_id"} and not has & {"answer", "prompt"}:
        taken["answer"] = taken.pop("response")


def _settle_unique_item(taken: dict[str, Column]) -> None:
    """An id that never repeats names the record, unless answers are about it: a small file may show each item once."""
    item = taken.get("item_id")
    if item is not None and item.unique and "record_id" not in taken and "answer" not in taken:
        taken["record_id"] = taken.pop("item_id")


def _settle_rating(taken: dict[str, Column]) -> None:
    """A thumb given as text is a label; numbers are a rating."""
    if "rating" not in taken and "label" in taken:
        label = taken["label"]
        if label.kind == "number" and re.fullmatch(r"(thumbs?(_up)?|feedback)", label.words):
            taken["rating"] = taken.pop("label")


def _fill_source(taken: dict[str, Column], free: list[Column], doubts: dict[str, str]) -> None:
    if "source_id" in taken or "author_id" in taken:
        return
    for c in free:
        if c.words.endswith("_id") and repeats(c) and not c.constant and not re.fullmatch(rf"({THING}){ID}", c.words):
            taken["source_id"] = c
            doubts["source_id"] = "guess: the id that repeats; is it who sent the record?"
            free.remove(c)
            return


def _fill_item(taken: dict[str, Column], free: list[Column], doubts: dict[str, str]) -> None:
    """With votes of sources and no item, another id that repeats is what the votes are about."""
    if "item_id" in taken or "source_id" not in taken or not {"answer", "label", "rating"} & taken.keys():
        return
    for c in free:
        if re.search(rf"{ID}$", c.words) and repeats(c) and not c.constant:
            taken["item_id"] = c
            doubts["item_id"] = "guess: the id that repeats; is it what the record is about?"
            free.remove(c)
            return


def _fill_text(taken: dict[str, Column], free: list[Column], doubts: dict[str, str]) -> None:
    """The one column of long prose is the text, whatever its name."""
    if {"text", "prompt", "response", "chosen", "answer"} & taken.keys():
        return
    prose = [c for c in free if is_prose(c) and c.chars >= 25 and c.distinct >= 0.5 * (c.rows - c.nulls)]
    if len(prose) == 1:
        taken["text"] = prose[0]
        doubts["text"] = "guess: the only column of long text"
        free.remove(prose[0])


def _doubt(role: str, c: Column) -> str:
    repeats = c.rows - c.nulls - c.distinct
    if role == "record_id" and repeats:
        return f"guess: {repeats:,} of {c.rows:,} ids repeat; records that share an id but not their content are held"
    if role == "source_id" and re.fullmatch(r"session(_id)?", c.words):
        return "guess: nobody steadier is named, so each session counts as a source of its own"
    if role in ("source_id", "author_id") and c.unique:
        return "guess: no value repeats, so no source can earn trust"
    if role in ("source_id", "author_id", "item_id") and c.constant:
        return "one value in the whole file"
    if role == "item_id" and c.unique:
        return "guess: no value repeats, so no two records are about one item"
    if role == "text" and c.kind == "list":
        return "a list of turns; read as its JSON text"
    if role == "observed_at" and c.epoch:
        return f"numbers: {_UNITS[c.epoch]} since 1970"
    if role == "rating" and c.words in ("score", "quality", "reward", "helpful", "helpfulness"):
        return f"guess: is {c.words.replace('_', ' ')} what the source said, not something computed?"
    return ""


_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
