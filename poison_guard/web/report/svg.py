"""Draw small charts as inline SVG: no script, no style attributes, colours by class so that dark mode works too."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from poison_guard.web.visible import visible

__all__ = ["Drawing", "Scale", "linear", "logarithmic", "short"]

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
        whole = visible(text, limit=limit * 4)
        cut = whole if len(whole) <= limit else whole[: limit - 1] + "…"
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

    def markup(self, name: str, told: str) -> Markup:
        """Return the chart named `name`, with `told` as what a screen reader reads instead."""
        head = (
            f'<svg class="chart" role="img" viewBox="0 0 {self.width} {self.height}">'
            f"<title>{_shown(name)}</title><desc>{_shown(told)}</desc>"
        )
        return Markup(head + "".join(self.parts) + "</svg>")  # noqa: S704  every text above was escaped


def _shown(text: str) -> Markup:
    return escape(visible(text, limit=2000))


def _round_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
