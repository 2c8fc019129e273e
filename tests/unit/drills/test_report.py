from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.drills.drill import Cell
from poison_guard.drills.report import COLUMNS, DrillSummary, Measured, as_rows, markdown, summarise, with_words
from poison_guard.drills.trial import Trial

CELL = Cell("agreed", "synthetic", "all", {"share": 0.6, "burst": "30d"})
DAY = Cell("agreed", "synthetic", "day", {"share": 0.6})


def measured(cell: Cell, seed: int, recall: float, *, n: int = 100, hours: float | None = None) -> Measured:
    figures = {
        "attack_recall": recall,
        "attack_records": n,
        "honest_held_rate": 0.01,
        "honest_records": 1000,
        "own_held": 0.5,
        "own_records": 10,
        "detect_hours": hours,
        "accepted_per_attacker": (1 - recall) * n,
    }
    trial = Trial("w", seed, cell.by, cell.params, figures)
    return Measured(cell, trial, trial, 1.0)


def test_a_line_has_the_mean_the_worst_seed_and_an_interval_around_the_mean():
    (line,) = summarise([measured(CELL, 0, 0.9), measured(CELL, 1, 1.0)])
    recall = line.shares["recall"]
    assert recall is not None
    assert (recall.mean, recall.worst, recall.n) == (pytest.approx(0.95), 0.9, 200)
    assert recall.low < 0.9
    assert recall.high == 1.0
    assert line.shares["twin_world"].mean == pytest.approx(0.01)
    assert line.shares["wrong"] is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_the_interval_holds_the_mean_and_stays_in_zero_to_one(recalls):
    recall = summarise([measured(CELL, seed, r, n=40) for seed, r in enumerate(recalls)])[0].shares["recall"]
    assert recall is not None
    assert 0 <= recall.low <= recall.mean + 1 / 80
    assert recall.mean - 1 / 80 <= recall.high <= 1
    assert recall.worst == min(recalls)


def test_seeds_that_disagree_widen_the_interval_beyond_what_their_counts_say():
    agree = summarise([measured(CELL, s, 0.5, n=10_000) for s in range(5)])[0].shares["recall"]
    disagree = summarise([measured(CELL, s, float(s % 2), n=10_000) for s in range(5)])[0].shares["recall"]
    assert agree is not None
    assert disagree is not None
    assert disagree.high - disagree.low > 10 * (agree.high - agree.low)


def test_lines_keep_the_order_of_their_cells():
    lines = summarise([measured(DAY, 0, 1, hours=3), measured(CELL, 0, 1), measured(DAY, 1, 1, hours=5)])
    assert [line.cell for line in lines] == [DAY, CELL]
    assert lines[0].hours == 4


def test_seeds_that_never_detect_are_counted_apart():
    seldom, never = (
        as_rows(summarise([measured(DAY, 0, 1, hours=first), measured(DAY, 1, 0)]))[0][COLUMNS.index("hours")]
        for first in (3.0, None)
    )
    assert seldom == "3 (1 never)"
    assert never == "never"


def test_a_benign_drill_shows_as_a_twin_only():
    cell = Cell("meme", "synthetic", "all", {})
    one = measured(cell, 0, 0.0)
    (line,) = summarise([Measured(cell, one.attack, None, 1.0)])
    assert line.shares["recall"] is None
    assert line.shares["twin"].mean == 0.5


def test_parameters_are_told_in_words():
    assert with_words(CELL) == "share 0.6, burst 30d"
    assert with_words(DAY) == "share 0.6, day by day"
    assert with_words(Cell("meme", "synthetic", "all", {})) == "defaults"


def test_the_markdown_table_is_a_table():
    lines: list[DrillSummary] = summarise(
        [measured(CELL, 0, 0.9), measured(CELL, 1, 1.0), measured(DAY, 0, 0.9, hours=2)]
    )
    text = markdown(lines, command="poison-guard drill agreed --seeds 2")
    rows = [row for row in text.splitlines() if row.startswith("|")]
    short, long = rows[:3], rows[3:]
    assert len(long) == 4
    assert {row.count("|") for row in long} == {len(COLUMNS) + 1}
    assert len({row.count("|") for row in short}) == 1
    assert "| agreed | synthetic | 90.0–95.0 |" in text
    assert "95.0 (90.0) [" in long[2]
    assert "poison-guard drill agreed --seeds 2" in text
