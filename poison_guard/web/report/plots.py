"""The plots of the report, drawn as SVG without script."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup, escape

from poison_guard.text import visible

__all__ = [
    "Drawing",
    "Scale",
    "calibration_plot",
    "campaign_timeline",
    "flow",
    "linear",
    "logarithmic",
    "meter",
    "risk_rows",
    "run_bars",
    "short",
    "source_plot",
]


Number = float | int


@dataclass(frozen=True, slots=True)
class Scale:
    """A map from data to pixels, with the ticks to label it by."""

    place: Callable[[float], float]
    ticks: tuple[tuple[float, str], ...]


def linear(low: float, high: float, start: float, end: float, *, n: int = 5) -> Scale:
    """Return a linear scale of ``[low, high]`` onto ``[start, end]`` pixels with about `n` round ticks."""
    span = (high - low) or 1.0
    step = _round_step(span / max(n, 1))
    first = math.ceil(low / step - 1e-9)
    ticks = [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]
    return Scale(lambda v: start + (v - low) / span * (end - start), tuple((t, short(t)) for t in ticks))


def logarithmic(low: float, high: float, start: float, end: float) -> Scale:
    """Return a logarithmic scale of ``[low, high]`` (both > 0) with a tick at each power of ten inside."""
    a, b = math.log10(low), math.log10(max(high, low * 1.01))
    powers = range(math.ceil(a - 1e-9), math.floor(b + 1e-9) + 1)
    every = max(1, math.ceil(len(powers) / 6))
    ticks = tuple((10.0**k, short(10.0**k)) for k in powers if k % every == 0 or len(powers) <= 6)
    return Scale(lambda v: start + (math.log10(max(v, low)) - a) / (b - a) * (end - start), ticks)


def short(value: float) -> str:
    """Return a number as an axis label: ``0.05``, ``250``, ``12k``, ``3.4M``, ``1e-05``."""
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.3g}M"
    if size >= 1e4:
        return f"{value / 1e3:.3g}k"
    return f"{value:.3g}"


@dataclass
class Drawing:
    """A chart in the making: shapes are added in drawing order and every text is escaped."""

    width: int
    height: int
    parts: list[str] = field(default_factory=list)

    def rect(self, x: float, y: float, w: float, h: float, kind: str, *, r: float = 0, tip: str = "") -> None:
        """Add a rectangle of class `kind`; negative sizes are drawn as nothing."""
        if w <= 0 or h <= 0:
            return
        title = f"<title>{_shown(tip)}</title>" if tip else ""
        self.parts.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{w:.2f}" height="{h:.2f}" rx="{r:g}">{title}</rect>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """Add a straight line of class `kind`."""
        self.parts.append(f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def dot(self, x: float, y: float, r: float, kind: str, *, tip: str = "") -> None:
        """Add a circle of class `kind`, named `tip` when pointed at."""
        title = f"<title>{_shown(tip)}</title>" if tip else ""
        self.parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{r:g}">{title}</circle>')

    def path(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """Add an open path through `points`."""
        steps = " ".join(f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(points))
        self.parts.append(f'<path class="{kind}" d="{steps}"/>')

    def text(self, x: float, y: float, text: object, kind: str = "tick", *, at: str = "start", limit: int = 60) -> None:
        """Add a text anchored ``start``, ``middle`` or ``end``; hidden characters are shown, long ones cut."""
        label = visible(text, limit=limit * 4)
        cut = label if len(label) <= limit else label[: limit - 1] + "…"
        self.parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{at}">{escape(cut)}</text>')

    def x_axis(self, scale: Scale, top: float, bottom: float, label: str) -> None:
        """Add vertical grid lines from `top` to `bottom`, tick labels below, and the axis label at the right end."""
        for value, name in scale.ticks:
            x = scale.place(value)
            self.line(x, top, x, bottom, "grid")
            self.text(x, bottom + 16, name, at="middle")
        self.text(self.width - 2, bottom + 34, label, "axis", at="end")

    def y_axis(self, scale: Scale, left: float, right: float, label: str, *, top: float = 12) -> None:
        """Add horizontal grid lines from `left` to `right`, tick labels left of them, and the axis label on top."""
        for value, name in scale.ticks:
            y = scale.place(value)
            self.line(left, y, right, y, "grid")
            self.text(left - 7, y + 4, name, at="end")
        self.text(2, top, label, "axis")

    def markup(self, name: str, description: str) -> Markup:
        """Return the chart named `name`, with `description` as what a screen reader reads instead."""
        head = (
            f'<svg class="chart" role="img" viewBox="0 0 {self.width} {self.height}">'
            f"<title>{_shown(name)}</title><desc>{_shown(description)}</desc>"
        )
        return Markup(head + "".join(self.parts) + "</svg>")  # noqa: S704  every text above was escaped


def _shown(text: str) -> Markup:
    return escape(visible(text, limit=2000))


def _round_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)


_WIDE, _HALF, _CURVES = 1040, 520, 4


def flow(shares: Sequence[tuple[str, str, int]]) -> Markup:
    """Return one bar split into ``(class, label, count)``; a part of one record is still wide enough to be seen."""
    drawing = Drawing(_WIDE, 26)
    shown = [(kind, label, n) for kind, label, n in shares if n > 0]
    total = sum(n for _, _, n in shown) or 1
    room = _WIDE - 5 * len(shown)
    x = 0.0
    for kind, label, n in shown:
        width = 3 + n / total * room
        drawing.rect(x, 0, width, 26, f"fill-{kind}", r=3, tip=f"{label}: {n:,}")
        x += width + 2
    description = ", ".join(f"{label} {n:,}" for _, label, n in shown)
    return drawing.markup("Where the records went", description or "no records")


def meter(value: float, most: float, kind: str = "mark") -> Markup:
    """Return a small bar of ``value / most`` for a table cell; the number stands beside it."""
    drawing = Drawing(120, 8)
    drawing.rect(0, 0, 120, 8, "track", r=4)
    drawing.rect(0, 0, max(3.0, 120 * value / most) if value > 0 and most > 0 else 0, 8, f"fill-{kind}", r=4)
    return drawing.markup("share", f"{value:g} of {most:g}")


def risk_rows(rows: Sequence[tuple[str, str, Sequence[int]]], marks: Mapping[str, float]) -> Markup:
    """Return one histogram a row of ``(name, class, counts)``, each scaled to its own peak, over risk 0 to 1."""
    tall = min(126, 252 // max(len(rows), 1))
    drawing = Drawing(_HALF, 46 + tall * max(len(rows), 1))
    bottom = drawing.height - 40
    x = linear(0, 1, 120, _HALF - 12)
    drawing.x_axis(x, 6, bottom, "risk of a record")
    for i, (name, kind, counts) in enumerate(rows):
        _histogram(drawing, name, kind, [float(n) for n in counts], x, 6 + tall * (i + 1), tall - 14)
    for name, value in marks.items():
        drawing.line(x.place(value), 2, x.place(value), bottom, "threshold")
        drawing.text(x.place(value) - 4, bottom - 4, name, "tick", at="end")
    description = "; ".join(f"{name}: {sum(counts):,} records" for name, _, counts in rows)
    return drawing.markup("Risk of the records by place", description or "no records")


def _histogram(
    drawing: Drawing, name: str, kind: str, bins: Sequence[float], x: Scale, base: float, tall: float
) -> None:
    peak = max(bins)
    width = (x.place(1) - x.place(0)) / len(bins)
    for k, n in enumerate(bins):
        height = max(1.5, n / peak * tall) if n else 0
        left, right = k / len(bins), (k + 1) / len(bins)
        tip = f"{int(n):,} records with risk {left:.2f} to {right:.2f}"
        drawing.rect(x.place(left) + 0.5, base - height, width - 1, height, f"fill-{kind}", r=1, tip=tip)
    drawing.line(x.place(0), base, x.place(1), base, "base")
    drawing.text(112, base - 20, name, "row", at="end")
    drawing.text(112, base - 4, f"{int(sum(bins)):,}", "tick", at="end")


def source_plot(sources: Sequence[Mapping[str, Any]]) -> Markup:
    """Return reliability against evidence: a dot at each source's mean, a line down to its 5 % lower bound."""
    drawing = Drawing(_HALF, 290)
    if not sources:
        return drawing.markup("Sources", "no source was scored")
    most = max(float(s["n"]) for s in sources)
    x = logarithmic(1, max(most * 1.15, 10), 40, _HALF - 12)
    y = linear(0, 1, 248, 24, n=4)
    drawing.y_axis(y, 40, _HALF - 12, "reliability")
    drawing.x_axis(x, 24, 248, "answers in this run")
    for s in sorted(sources, key=lambda s: (s["kind"] != "plain", str(s["source_id"]))):
        at = x.place(max(float(s["n"]), 1))
        mean, low = float(s["reliability"]), float(s["lower_bound"])
        drawing.line(at, y.place(mean), at, y.place(low), f"stem-{s['kind']}")
        tip = f"{s['shown']}: reliability {mean:.2f}, at least {low:.2f}, n = {int(s['n']):,}"
        drawing.dot(at, y.place(mean), 3.4 if s["kind"] == "plain" else 4.6, f"dot-{s['kind']}", tip=tip)
    marked = sum(s["kind"] != "plain" for s in sources)
    return drawing.markup("Reliability of the sources", f"{len(sources):,} sources shown, {marked:,} of them marked")


def campaign_timeline(campaigns: Sequence[Mapping[str, Any]]) -> Markup:
    """Return one row a campaign from its first to its last record, with a tick at each member's time where known."""
    timed = [c for c in campaigns if c["first"] and c["last"]][:12]
    drawing = Drawing(_WIDE, 46 + 40 * max(len(timed), 1))
    if not timed:
        return drawing.markup("Campaigns in time", "no campaign carries times")
    start, end = min(c["first"] for c in timed), max(c["last"] for c in timed)
    pad = max((end - start) * 0.03, dt.timedelta(seconds=30))
    x = _times(start - pad, end + pad, 210, _WIDE - 190)
    bottom = drawing.height - 40
    drawing.x_axis(x, 4, bottom, "time (UTC)")
    for i, c in enumerate(timed):
        top = 8 + 40 * i
        left, right = x.place(c["first"].timestamp()), x.place(c["last"].timestamp())
        drawing.rect(left - 3, top, max(right - left, 0) + 6, 22, "span", r=5, tip=str(c["sentence"]))
        for t in c["times"]:
            drawing.line(x.place(t.timestamp()), top + 4, x.place(t.timestamp()), top + 18, "member")
        drawing.text(196, top + 9, c["kind"], "row", at="end")
        drawing.text(196, top + 24, c["campaign_id"], "tick", at="end", limit=20)
        drawing.text(_WIDE - 178, top + 9, f"{c['n_records']:,} records", "row")
        drawing.text(_WIDE - 178, top + 24, f"{c['n_sources']:,} sources", "tick")
    description = "; ".join(f"{c['campaign_id']}: {c['n_records']} records, {c['first']} to {c['last']}" for c in timed)
    return drawing.markup("Campaigns in time", description)


_STEPS = (10, 30, 60, 300, 600, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000, 31536000)


def _times(start: dt.datetime, end: dt.datetime, left: float, right: float) -> Scale:
    low, high = start.timestamp(), end.timestamp()
    step = next((s for s in _STEPS if (high - low) / s <= 7), _STEPS[-1])
    form = "%H:%M:%S" if step < 60 else "%H:%M" if high - low < 86400 else "%d %b %H:%M" if step < 86400 else "%d %b %Y"
    firsts = range(int(-(-low // step)) * step, int(high) + 1, step)
    ticks = tuple((float(t), dt.datetime.fromtimestamp(t, dt.UTC).strftime(form)) for t in firsts)
    return Scale(lambda v: left + (v - low) / (high - low) * (right - left), ticks)


def calibration_plot(groups: Sequence[Mapping[str, Any]], rate: float) -> Markup:
    """Return one falling curve a group: the share of vetted records at least as strange as a score, on a log axis.

    Where a curve crosses the line at `rate`, records begin to be held; it ends at the smallest p-value it can show.
    """
    drawing = Drawing(_HALF, 290)
    curves = [g for g in groups if g["curve"]][:_CURVES]
    points = [pair for g in curves for pair in g["curve"]]
    low = min((share for _, share in points), default=rate)
    x = linear(0, max((score for score, _ in points), default=1.0), 52, _HALF - 12)
    y = logarithmic(min(low, rate) / 1.5, 1, 248, 24)
    drawing.y_axis(y, 52, _HALF - 12, "share of vetted records at least as strange")
    drawing.x_axis(x, 24, 248, "strangeness score")
    drawing.line(52, y.place(rate), _HALF - 12, y.place(rate), "threshold")
    drawing.text(58, y.place(rate) + 16, f"held below {short(100 * rate)} %")
    for k, g in enumerate(curves):
        drawing.path([(x.place(score), y.place(share)) for score, share in g["curve"]], f"curve curve-{k}")
    description = "; ".join(f"{g['group']}: {g['n']} vetted records, smallest p {g['attainable']:.2g}" for g in curves)
    return drawing.markup("How strange vetted records are", description or "nothing was calibrated")


def run_bars(runs: Sequence[Mapping[str, Any]]) -> Markup:
    """Return the share of records held in each of the last runs, this one marked."""
    drawing = Drawing(_WIDE, 170)
    top = max((r["share"] for r in runs), default=0.0) or 0.01
    y = linear(0, 100 * top, 132, 24, n=3)
    drawing.y_axis(y, 44, _WIDE - 4, "% held")
    width = min(64.0, (_WIDE - 52) / max(len(runs), 1))
    for k, r in enumerate(runs):
        left, share = 50 + k * width, 100 * r["share"]
        kind = "fill-quarantined" if r["current"] else "fill-mark"
        tip = f"{r['run_id']}: {r['held']:,} of {r['received']:,} held"
        drawing.rect(left, min(y.place(share), 130), width - 5, max(132 - y.place(share), 2), kind, r=2, tip=tip)
    drawing.text(50, 152, "older")
    drawing.text(50 + len(runs) * width, 152, "newer", at="end")
    description = "; ".join(f"{r['run_id']}: {100 * r['share']:.1f} %" for r in runs)
    return drawing.markup("Share of records held in the last runs", description)
