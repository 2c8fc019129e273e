"""Make text from a feed safe on a page: the one function that escapes it, and the environment of templates."""

from __future__ import annotations

import datetime as dt
from functools import cache
from typing import Any

from jinja2 import BaseLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from poison_guard.text import character_name, p_value_text, visible_pieces

__all__ = ["environment_of", "moment", "pages_environment", "shown"]


def shown(text: object, limit: int = 300, *, lines: bool = False) -> Markup:
    """Return hostile text as HTML: escaped, isolated from text around it, hidden characters marked, long text cut."""
    parts = [
        Markup('<span class="hid" title="{}">{}</span>').format(character_name(part), part) if hidden else escape(part)
        for hidden, part in visible_pieces(text, limit=limit, lines=lines)
    ]
    return Markup("<bdi>{}</bdi>").format(Markup("").join(parts))


def moment(value: object) -> str:
    """Return a time as ``12 Mar 2026 14:00:00 UTC``; a dash where there is none."""
    if not value:
        return "–"
    when = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(str(value))
    when = when.replace(tzinfo=dt.UTC) if when.tzinfo is None else when.astimezone(dt.UTC)
    return f"{when:%d %b %Y %H:%M:%S} UTC"


def age(seconds: float | None) -> str:
    """Return a time span in its largest unit.

    >>> age(5), age(7200), age(200_000)
    ('under a minute', '2 hours', '2 days')
    """
    if seconds is None:
        return "–"
    for size, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            n = int(seconds // size)
            return f"{n} {name}{'' if n == 1 else 's'}"
    return "under a minute"


def environment_of(loader: BaseLoader) -> Environment:
    """Return an environment that escapes everything and knows no undefined name."""
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"shown": shown, "chance": p_value_text, "moment": moment, "n": _count, "age": age}
    environment.filters["figure"] = _figure
    return environment


@cache
def pages_environment() -> Environment:
    """Return the environment of the pages, which lie in ``web/templates``."""
    return environment_of(PackageLoader("poison_guard.web", "templates"))


def _count(value: Any) -> str:
    return "–" if value is None else f"{value:,}"


def _figure(value: Any, digits: int = 3) -> str:
    """Return a number as people read it: whole ones and thousands in full, others to some digits."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.{digits}g}"
