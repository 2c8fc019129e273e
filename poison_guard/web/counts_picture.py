"""The picture of the drill on language models' feedback: the counts of each attack that are found, and missed."""

from __future__ import annotations

from collections.abc import Sequence

from poison_guard.drills.llm_counts import COUNTS, CountLine
from poison_guard.web.report.plots import Drawing, logarithmic

__all__ = ["counts_picture"]

_WIDE, _LEFT, _ROW, _TOP = 900, 430, 18, 30  # pixels: of the picture, of its names, of a line, above the first
_STYLE = (
    "<style>text{font:12px sans-serif;fill:#333}.grid{stroke:#ddd}.between{stroke:#888;stroke-width:2}"
    ".found{fill:#1a7f5a}.missed{fill:#c2571a}</style>"
)


def counts_picture(lines: Sequence[CountLine]) -> str:
    """Return an SVG file: a row an attack, number of accounts and age, on a logarithmic axis of records.

    A green dot is the fewest records found, an orange one the most missed; look-alikes have no row.
    """
    attacks = [line for line in lines if line.accounts]
    drawing = Drawing(_WIDE, _TOP + _ROW * len(attacks) + 46)
    bottom = _TOP + _ROW * len(attacks)
    x = logarithmic(COUNTS[0] / 1.5, COUNTS[-1] * 1.5, _LEFT, _WIDE - 20)
    for count in COUNTS:
        at = x.place(count)
        drawing.line(at, _TOP - 6, at, bottom, "grid")
        drawing.text(at, bottom + 16, str(count), at="middle")
    drawing.text(_WIDE - 20, bottom + 34, "records of the attack: green found from, orange missed up to", at="end")
    said = []
    for row, line in enumerate(attacks):
        y = _TOP + _ROW * row + _ROW / 2
        name = f"{line.attack} {line.what}, {line.accounts} {line.age}, {line.on} {line.records:,}"
        drawing.text(_LEFT - 12, y + 4, name, at="end", limit=72)
        if line.found is not None and line.missed is not None:
            drawing.line(x.place(line.missed), y, x.place(line.found), y, "between")
        for kind, count in (("missed", line.missed), ("found", line.found)):
            if count is not None:
                drawing.dot(x.place(count), y, 5, kind, tip=f"{name}: {kind} at {count}")
        said.append(f"{name}: found from {line.found or 'no count'}, missed up to {line.missed or 'none'}")
    picture = str(drawing.markup("Counts of attacks on language models' feedback that are found", "; ".join(said)))
    head, bracket, rest = picture.partition(">")
    return head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + bracket + _STYLE + rest
