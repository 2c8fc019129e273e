"""Guess what the columns of a file are: kind, roles, features, lists of judgements, and what nobody can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from poison_guard.config import Kind
from poison_guard.errors import DataError
from poison_guard.ingest.nested import path_roots
from poison_guard.onboard.columns import ColumnProfile, describe_columns
from poison_guard.onboard.doubts import Doubt
from poison_guard.onboard.fit_format import FittedFormat
from poison_guard.onboard.guesses import guess_features, guess_kind, model_answer
from poison_guard.onboard.pairs import find_pair
from poison_guard.onboard.role_names import ROLE_ORDER
from poison_guard.onboard.roles import RoleGuess, guess_roles
from poison_guard.onboard.votes import (
    JudgementList,
    complete_roles,
    judgement_lists,
    leaf_values,
    looks_like_id,
    object_leaves,
    people_question,
    source_question,
)

__all__ = ["Guessed", "guess_columns"]

_MAX_NAME = 200
"""Longest name of a column that may have a role, in characters."""
_TEXT_ROLES = {"text", "prompt", "response", "chosen", "rejected"}
_BESIDE_ROLES = {"record_id", "source_id", "author_id", "observed_at", "source_since"}
"""Roles that a file of a known format may have in columns of its own."""


@dataclass(frozen=True, slots=True)
class Guessed:
    """What the columns of a file look like."""

    kind: Kind
    """Kind of feed."""
    roles: Sequence[RoleGuess]
    """A column, or path into one, for each role that was found."""
    features: Sequence[ColumnProfile]
    """Columns that describe behaviour or content as numbers and categories."""
    free: Sequence[ColumnProfile]
    """Columns without a role; the features among them too."""
    others: Sequence[ColumnProfile]
    """Columns and values inside objects that have no role."""
    lists: Sequence[JudgementList] = ()
    """Lists of objects that look like judgements."""
    question: str = ""
    """What nobody but the owner of the data can say; empty where nothing is open."""
    left_out: dict[str, str] = field(default_factory=dict)
    """The role that each column would have if it were known how it is read."""

    @property
    def unused(self) -> list[ColumnProfile]:
        """Columns that are kept and judged by no signal."""
        return [c for c in self.free if c not in self.features and c.name not in self.left_out]

    def doubts_among(self, doubts: Sequence[Doubt]) -> tuple[Doubt, ...]:
        """Return those of the doubts that are about a column with a use."""
        in_use = {root for g in self.roles for root in path_roots(g.column.name)} | {c.name for c in self.features}
        return tuple(doubt for doubt in doubts if doubt.column in in_use)

    def without(self, doubts: Sequence[Doubt], *, shown: str) -> Guessed:
        """Return what is left where columns in doubt have no use; `DataError` where that is nothing."""
        roles = {g.column.name: g.role for g in self.roles}
        left_out = {doubt.column: roles.get(doubt.column, "features") for doubt in doubts}
        kept = [g for g in self.roles if g.column.name not in left_out]
        features = [c for c in self.features if c.name not in left_out]
        if doubts and not kept and not features:
            raise DataError(f"no column of {shown} can be given a role: {doubts[0]}; write the contract by hand")
        return replace(self, roles=kept, features=features, left_out=left_out)


def guess_columns(frame: pd.DataFrame, fitted: FittedFormat | None, *, shown: str) -> Guessed:
    """Return what the columns of `frame` (as read: one row per record, raw columns) look like.

    `fitted` says where a known format has its roles. Raises `DataError`, which names the data as `shown`, if `frame`
    has no rows, or no column for any role or feature.
    """
    if frame.empty:
        raise DataError(f"{shown} has no records to propose a contract from; give a file with some rows")
    columns = [c for c in describe_columns(frame) if 0 < len(c.name) <= _MAX_NAME and c.name.isprintable()]
    guessed = _of_any(frame, columns) if fitted is None else _of_known(frame, columns, fitted)
    if not guessed.roles and not guessed.features:
        texts = " and ".join([c.name for c in columns if c.kind == "text" and c.words and not c.is_closed_list][:4])
        found = f"{texts} hold text, and nothing says whether it is text, prompt or response; " if texts else ""
        raise DataError(
            f"no column of {shown} looks like a record, a source, a text, an answer or a number; {found}"
            f"write [columns] of the contract by hand{_separator_hint(frame)}"
        )
    return guessed


def _of_any(frame: pd.DataFrame, columns: Sequence[ColumnProfile]) -> Guessed:
    """Return what columns of no known format look like, by their names and values."""
    nested = _nested(columns)
    leaves = object_leaves(frame, nested)
    values = frame.join(leaf_values(frame, nested)) if leaves else frame
    outer = {leaf.name.split(".")[0] for leaf in leaves}
    candidates = [*(c for c in columns if c.name not in outer), *leaves]
    pair = find_pair(values, candidates)
    if pair is not None:
        candidates = [c for c in candidates if c.name not in pair.names]
    left = columns if pair is None else [c for c in columns if c.name not in pair.names]
    roles = complete_roles(values, candidates, _with_leaves(left, [leaf for leaf in leaves if leaf in candidates]))
    roles = roles if pair is None else pair.added_to(roles)
    lists = judgement_lists(frame, nested)
    questions = people_question(values, candidates, roles), source_question(values, candidates, roles)
    question = _lists_question(lists, roles) or next(filter(None, questions), "")
    if (said := model_answer(candidates, {g.role for g in roles})) is not None:
        roles = [*(g for g in roles if g.column.name != said.name), RoleGuess("answer", said)]
    free, inner = _without_role(columns, leaves, roles)
    names = [g.role for g in roles]
    numbers = sum(c.kind == "number" and not c.constant for c in (*free, *inner))
    kind = Kind.QUERIES if said is not None else guess_kind(names, numbers)
    features = guess_features([*free, *inner], kind, prose="text" in names)
    features = [c for c in features if c.kind != "text" or c.name not in frame or not looks_like_id(frame[c.name])]
    return Guessed(kind, roles, features, free, [*free, *inner], lists, question)


def _of_known(frame: pd.DataFrame, columns: Sequence[ColumnProfile], fitted: FittedFormat) -> Guessed:
    """Return what columns of a known format are: its own roles, and those of columns beside them."""
    used = {root for path in (*fitted.roles.values(), *fitted.features) for root in path_roots(path)}
    leaves = object_leaves(frame, [c for c in _nested(columns) if c.name not in used])
    roles = _of_format(fitted, columns, leaves)
    free, inner = _without_role(columns, leaves, roles)
    return Guessed(fitted.kind, roles, (), free, [*free, *inner])


def _nested(columns: Sequence[ColumnProfile]) -> list[ColumnProfile]:
    return [c for c in columns if c.kind in ("list", "text")]  # JSON text as it was read, where it was nested


def _without_role(
    columns: Sequence[ColumnProfile], leaves: Sequence[ColumnProfile], roles: Sequence[RoleGuess]
) -> tuple[list[ColumnProfile], list[ColumnProfile]]:
    """Return the columns, and the values inside objects, that have no role."""
    taken = {root for g in roles for root in path_roots(g.column.name)}
    given = [g.column for g in roles]
    return [c for c in columns if c.name not in taken], [c for c in leaves if c not in given]


def _with_leaves(columns: Sequence[ColumnProfile], leaves: Sequence[ColumnProfile]) -> list[RoleGuess]:
    """Return the roles of columns, and of values inside objects; an object has a role where no value in it has."""
    plain = {g.role: g for g in guess_roles(columns)}
    objects = {leaf.name.split(".")[0] for leaf in leaves}
    found = {g.role: g for g in guess_roles([*(c for c in columns if c.name not in objects), *leaves])}
    used = {g.column.name.split(".")[0] for g in found.values()}
    kept = {role: g for role, g in plain.items() if role not in found and g.column.name not in used}
    return [(found | kept)[role] for role in ROLE_ORDER if role in found | kept]


def _lists_question(lists: Sequence[JudgementList], guesses: Sequence[RoleGuess]) -> str:
    """Return the question whether a list holds the judgements of a file that has no source beside it; else empty."""
    if not lists or {"source_id", "author_id"} & {g.role for g in guesses}:
        return ""
    return f"{lists[0].path} looks like a list of judgements: if it is one, take explode and roles from the comments"


def _of_format(
    fitted: FittedFormat, columns: Sequence[ColumnProfile], leaves: Sequence[ColumnProfile]
) -> list[RoleGuess]:
    """Return the roles of a known format, and those that other columns, or values in them, have beside them."""
    roles = dict(fitted.roles)
    used = {root for path in (*roles.values(), *fitted.features) for root in path_roots(path)}
    beside = _TEXT_ROLES if fitted.explode else _BESIDE_ROLES | _TEXT_ROLES
    wanted = beside - roles.keys() - (_TEXT_ROLES if _TEXT_ROLES & roles.keys() else set())
    if not fitted.explode and not {"label", "rating", "answer", "chosen"} & roles.keys():
        wanted |= {"label", "rating"}
    objects = {leaf.name.split(".")[0] for leaf in leaves}
    free = [c for c in columns if c.name not in used | objects]
    others = {g.role: g for g in guess_roles([*free, *leaves]) if g.role in wanted}
    given = {role: RoleGuess(role, _at_path(path)) for role, path in roles.items()}
    return [(given | others)[role] for role in ROLE_ORDER if role in given | others]


def _at_path(path: str) -> ColumnProfile:
    return ColumnProfile(name=path, snake_name="", kind="text", rows=0, nulls=0, distinct=0)


def _separator_hint(frame: pd.DataFrame) -> str:
    """Return a question where the names of columns hold a separator: the file was cut at another one."""
    sign = next((sign for sign in ";\t|" if any(sign in str(name) for name in frame)), None)
    return f" (is it separated by {sign!r}? it was read as separated by ',')" if sign else ""
