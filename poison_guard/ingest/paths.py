"""Say where in a nested row a role's value is: the paths that ``[columns]`` may name, read and looked up.

===========================  ===========================================================================================
``a.b``                      the key ``b`` of what is at ``a``; a text that is JSON is opened. ``"a.b"``: the name a.b
``a[0]``, ``a[-1]``          the first, the last of a list; ``a[:-1]``: all but the last
``a[]``, ``a.*``, ``a.x_*``  each of a list; each value of an object; each whose name begins with ``x_``
``a.*#``                     the name that the star stands for
``a[key=name].value``        of a list of objects, the first whose ``key`` is ``name``
``a.(b.c)``                  the key of ``a`` that stands at ``b.c``
``#``                        the position, from 1, that `explode` found the record at in its row
``a | b``                    ``b`` where ``a`` is empty
``a + b``                    both, joined: texts by a blank line, ids by a colon (then all of them must be there)
``a + ' ' + b``              both, joined by the text that is written between them
``a & b``, ``a - b``         what both begin with (up to a turn of a dialogue, else a word); the rest of ``a`` after it
``a ? x: b, y: c``           ``b`` where ``a`` is x, ``c`` where it is y; ``*``: any other. ``'x'`` is the text x
===========================  ===========================================================================================

Several values are a list, one is itself; a text role takes the texts of messages, joined by blank lines.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from poison_guard.ingest.nested_values import is_empty, listed, opened, plain, shared_beginning, text_of, word

__all__ = ["Deep", "Each", "Expression", "Key", "PathError", "Row", "Star", "Step", "parse_path"]

_MAX_CHARS = 1_000


class PathError(ValueError):
    """A path that cannot be read; the message says at which place."""


class Row(Protocol):
    """One row: the names of its columns, the cell of each, and the position that `explode` found it at."""

    @property
    def position(self) -> int:
        """The position from 1."""

    @property
    def names(self) -> Mapping[str, Any]:
        """The columns there are."""

    def cell(self, name: str) -> Any:
        """Return the cell of a column."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key of an object."""

    name: str


@dataclass(frozen=True, slots=True)
class Star:
    """Each value of an object whose name matches; with `named`, the names themselves."""

    pattern: str
    named: bool = False


@dataclass(frozen=True, slots=True)
class Each:
    """Each element of a list."""


@dataclass(frozen=True, slots=True)
class Part:
    """One element of a list, or those of a slice."""

    start: int | None
    stop: int | None
    single: bool


@dataclass(frozen=True, slots=True)
class Where:
    """The first object of a list whose `key` has a value."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Deep:
    """An object, and those in its list `key`, and in theirs."""

    key: str


@dataclass(frozen=True, slots=True)
class Found:
    """The key of an object that stands elsewhere in the row."""

    path: Expression


Step = Key | Star | Each | Part | Where | Deep | Found
_MANY = (Star, Each, Deep)


@dataclass(frozen=True, slots=True)
class Expression:
    """A path, or paths with an operator between them.

    `op` is ``path``, ``'`` (a text), ``#``, ``|``, ``+``, ``&``, ``-`` or ``?``; of ``?`` the first part is what is
    compared, the others belong to `cases` in order.
    """

    op: str
    steps: tuple[Step, ...] = ()
    parts: tuple[Expression, ...] = ()
    cases: tuple[str, ...] = ()
    text: str = ""
    _starts: tuple[tuple[str, tuple[Step, ...]], ...] = field(init=False, repr=False, compare=False, default=())
    """Columns that the path may begin with, the longest name first, and the steps in each."""
    _many_values: bool = field(init=False, repr=False, compare=False, default=False)

    def __post_init__(self) -> None:
        """Find out once what is asked of every row."""
        keys = self.leading_keys()
        starts = tuple((".".join(keys[:n]), self.steps[n:]) for n in range(len(keys), 0, -1))
        many = any(isinstance(step, _MANY) or (isinstance(step, Part) and not step.single) for step in self.steps)
        object.__setattr__(self, "_starts", starts)
        object.__setattr__(self, "_many_values", many)

    @property
    def is_name(self) -> bool:
        """Whether it is the name of a column and no more."""
        return self.op == "path" and len(self.steps) == 1 and isinstance(self.steps[0], Key)

    def is_there(self, names: Mapping[str, Any]) -> bool:
        """Return whether one of its paths begins with one of the columns `names`; a text has no need of any."""
        paths = list(self.paths())
        stars = [p.steps[0] for p in paths if isinstance(p.steps[0], Star)]
        if any(fnmatch.fnmatchcase(name, star.pattern) for star in stars for name in names):
            return True
        return not paths or any(path.root(names) is not None for path in paths)

    def paths(self) -> Iterator[Expression]:
        """Yield all its paths."""
        if self.op == "path":
            yield self
            parts: Sequence[Expression] = [step.path for step in self.steps if isinstance(step, Found)]
        else:
            parts = self.parts
        for part in parts:
            yield from part.paths()

    def leading_keys(self) -> list[str]:
        """Return the keys that a path begins with."""
        keys: list[str] = []
        for step in self.steps:
            if not isinstance(step, Key):
                break
            keys.append(step.name)
        return keys

    def root(self, names: Mapping[str, Any]) -> tuple[str, tuple[Step, ...]] | None:
        """Return the column of `names` that a path begins with, the longest that there is, and the steps in it."""
        return next((start for start in self._starts if start[0] in names), None)

    def value(self, row: Row, *, text: bool = False) -> Any:
        """Return what it finds in `row`, None if nothing; with `text` the text of it."""
        match self.op:
            case "path":
                found = self._many(row)
                return text_of(found) if text else found
            case "'":
                return self.text
            case "#":
                return row.position
            case "|":
                return next((v for p in self.parts if not is_empty(v := p.value(row, text=text))), None)
            case "+":
                return self._joined(row, text=text)
            case "?":
                chosen = self._chosen(row)
                return None if chosen is None else chosen.value(row, text=text)
            case _:
                common, rest = shared_beginning(*(part.value(row) for part in self.parts))
                found = common if self.op == "&" else rest
                return text_of(found) if text else found

    def _many(self, row: Row) -> Any:
        """Return the value at a path: one, a list of several, or None."""
        start = self.root(row.names)
        if start is None:
            first = self.steps[0]
            if not isinstance(first, Star):
                return None
            names = [name for name in row.names if fnmatch.fnmatchcase(name, first.pattern)]
            names = [name for name in names if not is_empty(row.cell(name))]
            values, steps = (names if first.named else [row.cell(name) for name in names]), self.steps[1:]
        else:
            values, steps = [row.cell(start[0])], start[1]
        for step in steps:
            if isinstance(step, Found):
                step = Key(str(plain(step.path.value(row))))  # noqa: PLW2901
            if len(values) == 1:
                values = _stepped(values[0], step)
            else:
                values = [found for value in values for found in _stepped(value, step)]
        if len(values) > 1 or (values and values[0] is None):
            values = [value for value in values if value is not None]
        return values if self._many_values and len(values) > 1 else values[0] if values else None

    def _joined(self, row: Row, *, text: bool) -> Any:
        spelled = any(part.op == "'" for part in self.parts)
        found = [part.value(row, text=text) for part in self.parts]
        if text and not spelled:
            return "\n\n".join(str(value) for value in found if not is_empty(value)) or None
        return (
            None if any(map(is_empty, found)) else ("" if spelled else ":").join(str(plain(value)) for value in found)
        )

    def _chosen(self, row: Row) -> Expression | None:
        compared = plain(self.parts[0].value(row))
        key = "" if compared is None else word(compared)
        others = dict(zip(self.cases, self.parts[1:], strict=True))
        return next((part for case, part in others.items() if case != "*" and word(case) == key), others.get("*"))


def _stepped(value: Any, step: Step) -> list[Any]:
    """Return what one step finds in a value."""
    match step:
        case Key(name):
            value = opened(value)
            return [value[name]] if isinstance(value, dict) and name in value else []
        case Star(pattern, named):
            value = opened(value)
            items = value.items() if isinstance(value, dict) else ()
            return [k if named else v for k, v in items if fnmatch.fnmatchcase(str(k), pattern)]
        case Each():
            return listed(value)
        case Part(start, stop, single):
            found = listed(value)
            if single:
                return found[start : (start + 1) or None] if start is not None else []
            return found[start:stop]
        case Where(key, wanted):
            return [v for v in listed(value) if isinstance(v, dict) and str(plain(v.get(key))) == wanted][:1]
        case _:
            return [value]


_TOKEN = re.compile(
    r"""\s*(?:
    (?P<quoted>"[^"]*") | (?P<literal>'[^']*')
    | (?P<op>(?<=\s)[-+&](?=\s)|[|?,:])
    | (?P<bracket>\[[^\[\]]*\]) | (?P<dot>\.) | (?P<hash>\#) | (?P<open>\() | (?P<close>\))
    | (?P<name>[^\s.\[\]()|?&+:,'"\#]+)
    )""",
    re.VERBOSE,
)


@functools.lru_cache(maxsize=4096)
def parse_path(text: str) -> Expression:
    """Return the expression that a text writes; raise `PathError` with the place where it cannot be read."""
    if len(text) > _MAX_CHARS:
        raise PathError(f"it is longer than {_MAX_CHARS:,} characters")
    parser = _Parser(text)
    try:
        found = parser.alternatives()
    except RecursionError:
        raise PathError("it is nested too deeply") from None
    if parser.kind:
        raise PathError(f"{parser.token!r} cannot stand at character {parser.at + 1}")
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self._text, self._end, self.at = text, 0, 0
        self.kind, self.token = "", ""
        self._next()

    def _next(self) -> None:
        self.at = self._end
        if not self._text[self._end :].strip():
            self.kind, self.token = "", ""
            return
        match = _TOKEN.match(self._text, self._end)
        if match is None:
            raise PathError(f"{self._text[self._end :].strip()[:20]!r} cannot be read")
        self.kind = match.lastgroup or ""
        self.token, self._end = match[self.kind], match.end()

    def _take(self, *kinds: str) -> str:
        if self.kind not in kinds:
            raise PathError(f"a {kinds[0]} is missing at character {self.at + 1}")
        token = self.token
        self._next()
        return token

    def _has(self, token: str) -> bool:
        if self.kind in ("op", "dot", "hash", "open", "close") and self.token == token:
            self._next()
            return True
        return False

    def _row_of(self, op: str, part: Callable[[], Expression]) -> Expression:
        parts = [part()]
        while self._has(op):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Expression(op, parts=tuple(parts))

    def alternatives(self) -> Expression:
        return self._row_of("|", self._choice)

    def _choice(self) -> Expression:
        compared = self._sum()
        if not self._has("?"):
            return compared
        cases: list[str] = []
        parts = [compared]
        while not cases or self._has(","):
            cases.append(self._take("name", "quoted", "literal").strip("\"'"))
            if not self._has(":"):
                raise PathError(f"a : is missing after {cases[-1]!r}")
            parts.append(self._sum())
        return Expression("?", parts=tuple(parts), cases=tuple(cases))

    def _sum(self) -> Expression:
        return self._row_of("+", self._pair)

    def _pair(self) -> Expression:
        first = self._term()
        for op in "&-":
            if self._has(op):
                return Expression(op, parts=(first, self._term()))
        return first

    def _term(self) -> Expression:
        if self.kind == "literal":
            return Expression("'", text=self._take("literal")[1:-1])
        if self._has("#"):
            return Expression("#")
        steps: list[Step] = [self._named()]
        while True:
            if self._has("."):
                steps.append(self._named())
            elif self.kind == "bracket":
                self._bracket(steps)
            else:
                return Expression("path", tuple(steps))

    def _named(self) -> Step:
        if self._has("("):
            inner = self.alternatives()
            if not self._has(")"):
                raise PathError("a ) is missing")
            return Found(inner)
        if self.kind == "quoted":
            return Key(self._take("quoted")[1:-1])
        name = self._take("name")
        return Star(name, named=self._has("#")) if "*" in name else Key(name)

    def _bracket(self, steps: list[Step]) -> None:
        inside = self._take("bracket")[1:-1].strip()
        if not inside:
            steps.append(Each())
        elif inside == "**" and isinstance(steps[-1], Key):
            steps[-1] = Deep(steps[-1].name)
        elif match := re.fullmatch(r"(-?\d{1,9})?(:)?(-?\d{1,9})?", inside):
            start, colon, stop = match.groups()
            steps.append(Part(int(start) if start else None, int(stop) if stop else None, single=not colon))
        elif "=" in inside:
            key, _, value = inside.partition("=")
            steps.append(Where(key.strip().strip('"'), value.strip().strip("\"'")))
        else:
            raise PathError(f"[{inside}] is neither a place, a range nor KEY=VALUE")
