"""What verbs return: frozen values that a program reads as fields, a shell as JSON, a person as text or a table."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Iterable, Sequence
from typing import Any

from poison_guard.text import to_jsonable, visible

__all__ = ["Result", "TableResult", "cell_text", "html_table", "text_table"]

_ROWS = 20
_CELL = 60
_MISSING = ("NAType", "NaTType")
"""What pandas calls missing; named, so that showing a cell does not import it."""


class Result:
    """Base of the frozen dataclasses that verbs return."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON holds them, frames as lists of rows: what ``--json`` prints."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # every subclass is a dataclass
        return {field.name: _plain(getattr(self, field.name)) for field in fields}

    def __str__(self) -> str:
        """Return the fields as text, a line each, frames by their size."""
        rows = [(name, _in_a_line(value)) for name, value in self.to_dict().items()]
        return text_table((type(self).__name__, ""), rows)

    def _repr_html_(self) -> str:
        """Return the fields as an HTML table; all text is escaped."""
        rows = [(name, _in_a_line(value)) for name, value in self.to_dict().items()]
        return html_table((type(self).__name__, ""), rows)


class TableResult(Result):
    """Base of results that a person reads as one table."""

    __slots__ = ()

    def table(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Return the columns a person reads (``>NAME``: numbers, to the right) and their rows."""
        raise NotImplementedError

    def __str__(self) -> str:
        """Return the table as text."""
        return text_table(*self.table())

    def _repr_html_(self) -> str:
        return html_table(*self.table())


def text_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as lines of aligned text, columns named ``>NAME`` to the right, at most twenty rows."""
    listed = [[cell_text(cell, limit=_CELL) for cell in row] for row in rows]
    shown = [[name.removeprefix(">") for name in columns], *listed[:_ROWS]]
    widths = [max(len(row[k]) for row in shown) for k in range(len(columns))]
    sides = [">" if name.startswith(">") else "<" for name in columns]
    lines = [
        "  ".join(f"{c:{side}{w}}" for c, side, w in zip(row, sides, widths, strict=True)).rstrip() for row in shown
    ]
    more = [f"… {len(listed) - _ROWS:,} more"] if len(listed) > _ROWS else []
    return "\n".join([*lines, *more])


def html_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as HTML, every cell escaped."""
    from html import escape

    def line(cells: Sequence[object], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell_text(cell))}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    head = line([name.removeprefix(">") for name in columns], "th")
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def cell_text(value: object, *, limit: int = 400) -> str:
    """Return a cell as a person reads it: a number short, what is missing as a dash, hidden characters visible.

    >>> [cell_text(value) for value in (None, True, 12_000, 0.38245, "a")]
    ['–', 'yes', '12,000', '0.382', 'a']
    """
    if value is None or type(value).__name__ in _MISSING or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dt.datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return f"{value:,}" if isinstance(value, int) else visible(value, limit=limit)


def _plain(value: Any) -> Any:
    if isinstance(value, Result):
        return value.to_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "to_dict") and hasattr(value, "columns"):  # a frame, without importing pandas
        return to_jsonable(value.to_dict("records"))
    match value:
        case list() | tuple():
            return [_plain(inner) for inner in value]
    return to_jsonable(value)


def _in_a_line(value: object) -> str:
    match value:
        case list() if value and isinstance(value[0], dict):
            return f"{len(value):,} rows"
        case list():
            return ", ".join(str(item) for item in value) or "none"
        case dict():
            return ", ".join(f"{key} {inner}" for key, inner in value.items()) or "none"
        case None:
            return "–"
    return str(value)
