"""Scales and drawings of the charts."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from poison_guard.web.report.plots import Drawing, linear, logarithmic, short

_FINITE = st.floats(-1e9, 1e9)


@given(_FINITE, st.floats(0.001, 1e9))
def test_a_linear_scale_keeps_its_ticks_inside_and_few(low, span):
    scale = linear(low, low + span, 0, 100)
    assert len(scale.ticks) <= 12
    assert all(-1 <= scale.place(value) <= 101 for value, _ in scale.ticks)


@given(st.floats(1e-9, 1e3), st.floats(1.0, 1e12))
def test_a_logarithmic_scale_is_monotone_and_has_few_ticks(low, ratio):
    scale = logarithmic(low, low * ratio, 0, 100)
    places = [scale.place(value) for value, _ in scale.ticks]
    assert places == sorted(places)
    assert len(places) <= 7
    assert math.isclose(scale.place(low), 0, abs_tol=1e-6)


def test_numbers_on_axes_are_short():
    assert [short(v) for v in (0.05, 250, 12_000, 3_400_000)] == ["0.05", "250", "12k", "3.4M"]


def test_a_chart_escapes_every_text():
    drawing = Drawing(10, 10)
    drawing.text(0, 0, "<b>\u202e&")
    drawing.dot(1, 1, 2, "dot-plain", tip="<i>")
    html = str(drawing.markup("<name>", '"told"'))
    assert "<b>" not in html
    assert "<i>" not in html
    assert "<name>" not in html
    assert "\u202e" not in html
