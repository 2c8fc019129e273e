"""Propose a feed contract from a file's columns: the TOML text that `poison-guard init DATA` writes."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from poison_guard.config import Kind, parse_contract
from poison_guard.frames import ADDED
from poison_guard.onboard.columns import ColumnProfile
from poison_guard.onboard.doubts import Doubt, Readings, toml_value
from poison_guard.onboard.fit_format import FittedFormat
from poison_guard.onboard.guessed import Guessed, guess_columns
from poison_guard.onboard.guesses import case_of, order_of
from poison_guard.text import visible

__all__ = ["Draft", "draft_contract", "propose_contract"]


_KINDS = {
    Kind.ANSWERS: "what sources say about items",
    Kind.RATINGS: "opinions of items or of other sources",
    Kind.MESSAGES: "texts and who wrote them",
    Kind.TELEMETRY: "measurements of behaviour",
    Kind.PREFERENCES: "prompts, responses and opinions of them",
    Kind.EXAMPLES: "labelled examples",
    Kind.QUERIES: "what was asked a model, and what it answered",
}
_ADVICE = {
    "source_id": "who sent the record; without it nobody earns or loses trust",
    "item_id": "what the answer is about; without it answers cannot be compared",
    "observed_at": "when it happened; bursts and lockstep are seen in time",
}
_WANTED = {
    Kind.ANSWERS: ("source_id", "item_id", "observed_at"),
    Kind.RATINGS: ("source_id", "item_id", "observed_at"),
    Kind.MESSAGES: ("source_id", "observed_at"),
    Kind.TELEMETRY: ("source_id", "observed_at"),
    Kind.PREFERENCES: ("source_id", "observed_at"),
    Kind.EXAMPLES: ("source_id",),
    Kind.QUERIES: ("source_id", "observed_at"),
}
_WIDTH = 110


@dataclass(frozen=True, slots=True)
class Draft:
    """A contract as it is proposed."""

    text: str
    """Its TOML text."""
    doubts: tuple[Doubt, ...] = ()
    """Columns that would have a role and are left out, because nobody but their owner can say how they are read."""
    question: str = ""
    """What nobody but the owner of the data can say, where a role that matters may be one of several columns."""


def propose_contract(frame: pd.DataFrame, **options: Any) -> str:
    """Return the text of `draft_contract`."""
    return draft_contract(frame, **options).text


def draft_contract(
    frame: pd.DataFrame,
    *,
    name: str,
    data_path: str,
    shown: str | None = None,
    fitted: FittedFormat | None = None,
    join_path: str | None = None,
    pattern: str | None = None,
    readings: Readings | None = None,
    data_keys: Mapping[str, tuple[Any, str]] | None = None,
) -> Draft:
    """Return the TOML text of a contract for data that look like `frame` (as read: one row per record, raw columns).

    `fitted` says where a known format has its roles, and `join_path` names its second file; `pattern` is a path that
    names the files of other days too. `readings` say how numbers and times are written, and `data_keys` further keys of
    ``[data]`` with their evidence. The text loads with
    `poison_guard.config.load_contract`, which is checked here. Raises `DataError`, which names the
    data as `shown` (default: `data_path`), if `frame` has no rows, or no column for any role or feature.
    """
    readings = readings or Readings()
    frame = frame[[name for name in frame.columns if not str(name).startswith(ADDED)]]
    all_roles = guess_columns(frame, fitted, shown=shown or data_path)
    doubts = all_roles.doubts_among(readings.doubts)
    guessed = all_roles.without(doubts, shown=shown or data_path)
    head = _head(name, guessed.kind, data_path, frame, pattern, known=fitted is not None)
    parts = [
        head
        + _evident_keys(data_keys or {})
        + (_format_keys(fitted, [g.role for g in all_roles.roles], join_path) if fitted else ""),
        _parse_table(readings, doubts, case_of(frame, guessed.roles), order_of(frame, guessed.roles)),
        _columns(guessed, fitted.features if fitted else ()) + _asked(guessed) + _lists_of_judgements(guessed),
        _foot(guessed.kind, [g.role for g in all_roles.roles], guessed.features),
    ]
    text = "\n".join(part for part in parts if part)
    parse_contract(tomllib.loads(text))
    return Draft(text, doubts, guessed.question)


def _asked(guessed: Guessed) -> str:
    return "".join(f"{line}\n" for line in _wrapped("# ", guessed.question.split(" "), " ") if guessed.question)


def _evident_keys(keys: Mapping[str, tuple[Any, str]]) -> str:
    return "".join(f"{_remark(f'{key} = {toml_value(value)}', why)}\n" for key, (value, why) in keys.items())


def _parse_table(readings: Readings, doubts: Sequence[Doubt], case: tuple[str, str] | None, order: str | None) -> str:
    """Return the table ``[parse]``: what the file proves, with the proof, and both readings of each doubt."""
    lines = [f"{key} = {toml_value(value)}  # {_shown(readings.evidence[key])}" for key, value in readings.keys.items()]
    if case is not None:
        lines.append(f'case = "{case[0]}"  # {_shown(case[1])}')
    if order is not None:
        lines.append(f"ordered = true  # {_shown(order)}; else lists are sets")
    for doubt in doubts:
        lines.append(f"# {_shown(doubt.column)} can be read in {len(doubt.readings)} ways. Keep the lines of one:")
        for reading in doubt.readings:
            keys = [f"{key} = {toml_value(value)}" for key, value in reading.keys.items()] or ["(nothing)"]
            lines += [f"#   {line}" for line in (f"# {_shown(reading.evidence)}", *keys)]
    return "\n".join(["[parse]  # how cells are read", *lines]) + "\n" if lines else ""


def _shown(text: str) -> str:
    return visible(text, limit=_WIDTH)


def _lists_of_judgements(guessed: Guessed) -> str:
    """Return what to write for lists of objects that look like judgements, as comments."""
    lines: list[str] = []
    for each in guessed.lists:
        keys = ", ".join(each.keys[:8])
        lines += ["", *_wrapped(f"# {each.path} holds objects with ", keys.split(", "))]
        lines.append(f"# If each is a judgement, write explode = {_quoted(each.path)} in [data], and here:")
        of_row = [g.column.name for g in guessed.roles if g.role == "record_id"]
        of_row = of_row or [c.name for c in guessed.others if c.unique and c.may_be_id and not c.words]
        given = {"record_id": f"{of_row[0]} + #", "item_id": of_row[0]} if of_row else {}
        lines += [f"# {role} = {_quoted(path)}" for role, path in (given | dict(each.roles)).items()]
    return "\n".join(lines) + "\n" if lines else ""


def _format_keys(fitted: FittedFormat, roles: Collection[str], join_path: str | None) -> str:
    """Return the keys of ``[data]`` that a known format sets, with what it does not say."""
    entry = fitted.entry
    lines = [_remark(f"format = {_quoted(entry.name)}", entry.title)]
    if fitted.explode:
        lines.append(_remark(f"explode = {_quoted(fitted.explode)}", "a record for each of its elements"))
    if entry.revisions:
        lines.append(_remark("revisions = true", "a judgement that is changed comes again under its id"))
    if missing := fitted.not_said(roles):
        lines += _wrapped("# ", missing.split(" "), " ")
    if entry.join is not None and join_path is None:
        lines.append(f"# With {entry.join.gives}: poison-guard init DATA --join FILE")
    elif entry.join is not None and join_path is not None:
        name, key, to = fitted.join
        lines += ["", "[data.join]", f"path = {_quoted(join_path)}", f"key = {_quoted(key)}", f"to = {_quoted(to)}"]
        lines.append(f"name = {_quoted(name)}")
    return "\n".join(lines) + "\n"


def _head(name: str, kind: Kind, data_path: str, frame: pd.DataFrame, pattern: str | None, *, known: bool) -> str:
    more = f"# path = {_quoted(pattern)}  # takes in the files of other days too\n" if pattern else ""
    others = ", ".join(k for k in Kind if k is not kind)
    advice = (
        "Roles are where the format of the files has them: read [columns] once."
        if known
        else "Roles were guessed from names and values: read [columns] once, the doubtful ones are marked."
    )
    return f"""\
# Contract of the feed {name}, proposed from {len(frame):,} rows of {len(frame.columns)} columns.
# {advice}

name = {_quoted(name)}
{_remark(f'kind = "{kind}"', _KINDS[kind])}
# other kinds: {others}
{_remark('mode = "observe"', 'decides and reports, holds nothing back; "enforce" once it has vetted records')}

[data]
path = {_quoted(data_path)}
{more}"""


def _columns(guessed: Guessed, offered: Sequence[str]) -> str:
    """Return ``[columns]``; `offered` features need vetted records first, so that they stand there as a comment."""
    left_out, features, unused = guessed.left_out, guessed.features, guessed.unused
    lines = ["[columns]  # role = column"]
    lines += [_remark(f"{g.role} = {_quoted(g.column.name)}", g.doubt) for g in guessed.roles]
    until = "  # left out until [parse] says how it is read"
    lines += [f"# {role} = {_quoted(column)}{until}" for column, role in left_out.items() if role != "features"]
    roles = {g.role for g in guessed.roles} | set(left_out.values())
    if "author_id" in roles:
        roles.add("source_id")
    missing = [role for role in _WANTED[guessed.kind] if role not in roles]
    lines += [f'# {role} = "…"  # not found: {_ADVICE[role]}' for role in missing]
    if features:
        lines += _feature_list([_quoted(c.name) for c in features])
    if offered:
        lines.append(f"# features = [{', '.join(map(_quoted, offered))}]  # once there are vetted records")
    if waiting := [_quoted(column) for column, role in left_out.items() if role == "features"]:
        lines.append(f"# features = [{', '.join(waiting)}]{until}")
    if unused:
        lines += ["", *_wrapped("# Kept with each record but judged by no signal: ", [c.name for c in unused])]
        if any(c.kind == "number" and not c.constant for c in unused) and not features:
            lines.append('# Those that describe behaviour (times, speeds, counts) belong in features = ["…"].')
    return "\n".join(lines) + "\n"


def _foot(kind: Kind, roles: Sequence[str], features: Sequence[ColumnProfile]) -> str:
    lines = []
    if "item_id" in roles and ("answer" in roles or "label" in roles):
        lines += [
            "# Items whose answer is known make sources measurable; columns item_id, answer:",
            "# [controls]",
            '# path = "controls.csv"',
            "",
        ]
    if "item_id" in roles and not {"text", "prompt", "response", "chosen", "image"} & set(roles):
        lines += [
            "# What the items are, for gate and training; one row an item: item_id, and image, text or features:",
            "# [items]",
            '# path = "items.parquet"',
            "",
        ]
    lines += ["[policy]", _remark("false_quarantine_rate = 0.01", "of honest records, held for their own content")]
    if kind is Kind.QUERIES:
        lines.append("# The query signal needs vetted records of 30 sources, 25 different queries of each:")
        lines.append("# `poison-guard trust FILE --by YOU --reason …`; docs/queries.md has more.")
    elif features:
        lines.append("# The anomaly signal needs vetted records: `poison-guard trust FILE --by YOU --reason …`.")
    return "\n".join(lines) + "\n"


def _remark(line: str, remark: str) -> str:
    return f"{line}  # {remark}" if remark else line


def _feature_list(values: Sequence[str]) -> list[str]:
    one = f"features = [{', '.join(values)}]"
    if len(one) <= _WIDTH:
        return [one]
    rows = [""]
    for value in values:
        if len(rows[-1]) + len(value) + 2 > _WIDTH:
            rows.append("")
        rows[-1] += f"{value}, "
    return ["features = [", *(f"  {row.rstrip()}" for row in rows if row), "]"]


def _wrapped(start: str, names: Sequence[str], comma: str = ", ") -> list[str]:
    lines = [start]
    for i, name in enumerate(names):
        end = comma if i < len(names) - 1 else "" if comma == " " else "."
        if len(lines[-1]) + len(name) + 2 > _WIDTH:
            lines.append("#   ")
        lines[-1] += name + end
    return [line.rstrip() for line in lines]


def _quoted(text: str) -> str:
    """Return a TOML basic string: quotes, backslashes and control characters escaped."""
    return '"' + "".join(_escaped(c) for c in text) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return f"\\u{ord(char):04x}" if ord(char) < 32 or ord(char) == 127 else char
