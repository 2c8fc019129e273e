"""Guess which column has which role, by name, kind and number of distinct values; a doubt is put into words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from poison_guard.onboard.columns import ColumnProfile, snake_case
from poison_guard.onboard.role_names import ID_SUFFIX, ITEM_WORDS, ROLE_HINTS, ROLE_ORDER, is_grade, is_prose

__all__ = ["RoleGuess", "guess_roles"]


@dataclass(frozen=True, slots=True)
class RoleGuess:
    """One role given to one column; `doubt` says what the data cannot prove, empty where name and values agree."""

    role: str
    column: ColumnProfile
    doubt: str = ""


def guess_roles(columns: Sequence[ColumnProfile]) -> list[RoleGuess]:
    """Return the roles of `columns`, in the order of a contract; a column has at most one."""
    roles = _Roles(columns, _turns(columns) or _by_name(columns))
    for guess in (_by_company, _guess_source, _guess_item, _guess_two_ids, _guess_text, _guess_time):
        guess(roles)
    given = [(role, roles.given[role]) for role in ROLE_ORDER if role in roles.given]
    return [RoleGuess(role, c, roles.doubts.get(role) or _doubt(role, c)) for role, c in given]


@dataclass(slots=True)
class _Roles:
    """The roles that were given so far, and the doubts about them."""

    columns: Sequence[ColumnProfile]
    given: dict[str, ColumnProfile]
    doubts: dict[str, str] = field(default_factory=dict)

    def has(self, *roles: str) -> bool:
        """Return whether any of the roles is given."""
        return not self.given.keys().isdisjoint(roles)

    def free(self) -> list[ColumnProfile]:
        """Return the columns without a role."""
        return [c for c in self.columns if c not in self.given.values()]

    def give(self, role: str, column: ColumnProfile, doubt: str) -> None:
        """Give a role to a column; `doubt` says what the data cannot prove."""
        self.given[role], self.doubts[role] = column, doubt

    def rename(self, role: str, now: str) -> None:
        """Give another role to the column of one."""
        self.given[now] = self.given.pop(role)


_TURNS = (("q", "a"), ("user", "assistant"), ("human", "assistant"), ("human", "gpt"))
"""Names of two columns that hold what was asked and what was answered; alone each may be anything."""


def _turns(columns: Sequence[ColumnProfile]) -> dict[str, ColumnProfile]:
    """Return the roles of columns of which two are the turns of a dialogue by their names; empty where none are."""
    prose = {c.snake_name: c for c in columns if c.words and is_prose(c)}
    pair = next((pair for pair in _TURNS if prose.keys() >= set(pair)), None)
    if pair is None:
        return {}
    prompt, response = (prose[name] for name in pair)
    others = _by_name([c for c in columns if c not in (prompt, response)])
    return {role: c for role, c in others.items() if role != "answer"} | {"prompt": prompt, "response": response}


def _by_name(columns: Sequence[ColumnProfile]) -> dict[str, ColumnProfile]:
    """Give roles by name: the strongest names first, then by the order of `ROLE_HINTS`, then of the columns.

    A path into a column (``meta.user``) counts by its whole name, and after all others by its last key.
    """
    names = [
        (position, inner, name, column)
        for position, column in enumerate(columns)
        for inner, name in enumerate(dict.fromkeys((column.snake_name, snake_case(column.name.rpartition(".")[2]))))
    ]
    claims = [
        (inner, rank, place, position, hint.role, column)
        for place, hint in enumerate(ROLE_HINTS)
        for position, inner, name, column in names
        for rank, pattern in enumerate(hint.names)
        if re.fullmatch(pattern, name) and hint.allows(column)
    ]
    columns_by_role: dict[str, ColumnProfile] = {}
    for *_, role, column in sorted(claims, key=lambda claim: claim[:4]):
        if role not in columns_by_role and column not in columns_by_role.values():
            columns_by_role[role] = column
    return columns_by_role


def _by_company(roles: _Roles) -> None:
    """Change what a name alone says where the other roles say otherwise."""
    given = roles.given
    if given.keys() >= {"prompt", "answer"} and not roles.has("response") and is_prose(given["answer"]):
        roles.rename("answer", "response")  # prose that answers a prompt
    if given.keys() >= {"response", "item_id", "source_id"} and not roles.has("answer", "prompt"):
        roles.rename("response", "answer")  # what a source says about an item
    if roles.has("item_id") and given["item_id"].unique and not roles.has("record_id", "answer"):
        roles.rename("item_id", "record_id")  # it never repeats, and nothing is said about it
    label = given.get("label")
    if label is None:
        return
    if not roles.has("rating") and label.kind == "number" and re.fullmatch(_THUMBS, label.snake_name):
        roles.rename("label", "rating")  # thumbs that are text stay a label
    elif roles.has("answer") and label.snake_name.startswith("is_"):
        del given["label"]  # gold, flagged, edited: about the row, not what somebody said of the item


_THUMBS = r"thumbs?(_up)?|feedback"


def _repeats(c: ColumnProfile) -> bool:
    """Return whether the values can be names that several rows share."""
    return c.may_be_id and not c.unique and not c.constant


def _guess_source(roles: _Roles) -> None:
    """If nobody is named, the first other id that repeats is the source."""
    things = rf"(.*_)?({ITEM_WORDS}|{_REFERENCES}){ID_SUFFIX}"
    ids = [c for c in roles.free() if c.snake_name.endswith("_id") and not re.fullmatch(things, c.snake_name)]
    found = next((c for c in ids if _repeats(c)), None)
    if found is not None and not roles.has("source_id", "author_id"):
        roles.give("source_id", found, "guess: the id that repeats; is it who sent the record?")


_REFERENCES = "parent|root|reply(_to)?|in_reply_to|trace|span|run|batch|job|file"
"""What an id names that is no person: another record, or what made many of them."""


def _guess_item(roles: _Roles) -> None:
    """If sources vote and no item is named, the first other id that repeats is the item."""
    if roles.has("item_id") or not roles.has("source_id") or not roles.has("answer", "label", "rating"):
        return
    ids = (c for c in roles.free() if re.search(rf"{ID_SUFFIX}$", c.snake_name) and _repeats(c))
    if (found := next(ids, None)) is not None:
        roles.give("item_id", found, "guess: the id that repeats; is it what the record is about?")


def _guess_two_ids(roles: _Roles) -> None:
    """Two columns of names that repeat and one short scale of numbers are ratings, whatever their names."""
    if roles.has("answer", "label", "text", "prompt", "response"):
        return
    repeated = [c for c in roles.free() if _repeats(c) and "?" not in c.name]  # the column of a question holds replies
    ids = [c for c in repeated if not (c.kind == "number" and c.distinct <= _SHORT_SCALE)]
    if not roles.has("rating"):
        graded = [c for c in roles.free() if is_grade(c) and c not in ids]
        named = [role for role in ("source_id", "item_id") if roles.has(role)]
        others = roles.given.keys() - {"record_id", "observed_at"}
        if len(graded) != 1 or len(ids) + len(named) != 2 or len(others) > 1:
            return
        roles.give("rating", graded[0], "guess: the only short scale of numbers")
    for role, asks in (("source_id", "who sent the record"), ("item_id", "what the record is about")):
        if ids and not roles.has(role, *(["author_id"] if role == "source_id" else [])):
            roles.give(role, ids.pop(0), f"guess: an id that repeats beside a rating; is it {asks}?")


_SHORT_SCALE = 101
"""Different numbers up to which a column may be a scale."""


def _guess_text(roles: _Roles) -> None:
    """If there is only one column of long prose, it is the text, whatever its name."""
    if roles.has("text", "prompt", "response", "chosen", "answer"):
        return
    long = [c for c in roles.free() if is_prose(c) and c.chars >= _LONG and c.words]
    prose = [c for c in long if c.distinct >= 0.5 * (c.rows - c.nulls)]
    prose = [c for c in prose if c.kind == "text"] or prose
    if len(prose) == 1:
        roles.give("text", prose[0], "guess: the only column of long text")


_LONG = 25
"""Mean number of characters from which text is long: names and labels are shorter."""


def _guess_time(roles: _Roles) -> None:
    """If only one column holds times, it is when the record was made, whatever its name."""
    free = roles.free()
    times = [c for c in free if c.kind == "time" and not re.search(_NO_MOMENT, c.snake_name)]
    times = times or [c for c in free if c.epoch and 0 < c.high - c.low < _YEARS * 10 ** _EPOCH_DIGITS[c.epoch]]
    if not roles.has("observed_at") and len(times) == 1:
        roles.give("observed_at", times[0], "guess: the only column of times; is it when the record was made?")


_YEARS = 3e8
"""Seconds that numbers which are times may span; ids of ten digits are spread wider."""
_EPOCH_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_NO_MOMENT = "birth|born|dob|expir|until|due|deadline"


def _doubt(role: str, c: ColumnProfile) -> str:
    repeats = c.rows - c.nulls - c.distinct
    if role == "record_id" and repeats:
        return f"guess: {repeats:,} of {c.rows:,} ids repeat; records that share an id but not their content are held"
    if role == "source_id" and re.fullmatch(r"session(_id)?", c.snake_name):
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
    if role == "rating" and c.snake_name in ("score", "quality", "reward", "helpful", "helpfulness"):
        return f"guess: is {c.snake_name.replace('_', ' ')} what the source said, not something computed?"
    return ""


_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
