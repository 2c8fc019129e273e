"""When records came: bars over hours or days, with the first and the last of them said below."""

from __future__ import annotations

import datetime as dt
from typing import Any

from markupsafe import Markup

from poison_guard.web.report.plots import Drawing, linear

__all__ = ["time_plot"]


def time_plot(rows: list[dict[str, Any]], name: str) -> Markup:
    """Return bars of ``records`` over the moments in the column `name`: hours, or days."""
    drawing = Drawing(760, 104)
    moments = [(_moment_of(row[name]), int(row["records"])) for row in rows if row[name] is not None]
    if not moments:
        return drawing.markup("In time", "no times are known")
    hourly = name != "value"
    step = 3_600.0 if hourly else 86_400.0
    first, last = min(m for m, _ in moments), max(m for m, _ in moments) + step
    x, peak = linear(first, last, 4, 756), max(n for _, n in moments)
    for moment, n in moments:
        left, right = x.place(moment), x.place(moment + step)
        tip = f"{_when(moment, hourly)}: {n:,}"
        drawing.rect(
            left, 100 - 92 * n / peak, min(max(right - left - 0.5, 1.5), 60), 92 * n / peak, "fill-quarantine", tip=tip
        )
    drawing.line(4, 100, 756, 100, "base")
    total = sum(n for _, n in moments)
    picture = drawing.markup("In time", f"{total:,} records, at most {peak:,} in one {'hour' if hourly else 'day'}")
    ends = dict.fromkeys(_when(at, hourly) for at in (first, last - step))
    return picture + Markup('<p class="ends">{}</p>').format(
        Markup("").join(map(Markup("<span>{}</span>").format, ends))
    )


def _moment_of(value: Any) -> float:
    if not isinstance(value, dt.datetime):
        value = dt.datetime.fromisoformat(str(value))
    return (value if value.tzinfo else value.replace(tzinfo=dt.UTC)).timestamp()


def _when(moment: float, hourly: bool) -> str:
    return f"{dt.datetime.fromtimestamp(moment, dt.UTC):{'%d %b %Y %H:%M' if hourly else '%d %b %Y'}}"
