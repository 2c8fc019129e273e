"""The whole line on a small world, its trainings left out: what was held, and what the poison did to the models."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from poison_guard.drills import whole_line
from poison_guard.drills.attacks import pictures
from poison_guard.drills.drill import Cell
from poison_guard.drills.report import COLUMNS, Measured, as_rows, summarise
from poison_guard.drills.trial import Trial
from poison_guard.drills.worlds.pictures import own_digits


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(pictures, "_MNIST", (440, 150, 60))
    return pictures.make_flips(5, share=0.1, base=own_digits())


def test_flips_are_held_and_harm_is_told_beyond_what_a_model_without_them_does(
    small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    truth, aimed = small.fresh["label"].to_numpy(object), small.fresh["attack"].to_numpy(bool)

    def taught(examples: Any, *_: Any) -> np.ndarray:
        asked.append(len(examples))
        said = truth.copy()
        said[np.flatnonzero(aimed)[: 30 if len(asked) == 1 else 6]] = "wrong"
        return said

    monkeypatch.setattr(whole_line, "_trained", lambda _: "champion")
    monkeypatch.setattr(whole_line, "_taught", taught)
    monkeypatch.setattr(whole_line, "_champion_says", lambda *_: truth)
    figures = whole_line.run_line(small, by="all", home=tmp_path).figures
    assert asked == [150, 135], "on all that came, and without the poison"
    assert figures["attack_records"] == 15
    assert figures["attack_recall"] > 0.6
    assert figures["honest_held_rate"] < 0.06
    assert figures["excess_before"] == pytest.approx(24 / aimed.sum())
    assert figures["excess_after"] == pytest.approx(-6 / aimed.sum())
    assert figures["accuracy_lost"] == 0.0


def test_a_line_goes_on_without_the_records_of_a_trigger_and_ends_where_nothing_is_left_to_do() -> None:
    def line(admitted: list[bool], made: list[tuple[bool, str]]) -> str:
        gates, models = iter(admitted), iter(made)
        guard = SimpleNamespace(
            seal=lambda: None,
            gate=lambda: SimpleNamespace(admitted=next(gates)),
            retrain=lambda: SimpleNamespace(**dict(zip(("promoted", "why"), next(models), strict=True))),
        )
        return whole_line._trained(guard)  # type: ignore[arg-type]

    assert line([True], [(True, "")]) == "champion"
    assert line([False], []) == "closed"
    assert line([True], [(False, "a class got worse")]) == "refused"
    back = (False, "8 of 8 records that carry it were taken back as campaign x")
    assert line([True, True], [back, (True, "")]) == "champion, after records were taken back"
    assert line([True, False], [back]) == "closed, after records were taken back"


def test_a_table_shows_excess_with_its_sign_and_how_the_lines_ended() -> None:
    held = {"attack_recall": 1.0, "attack_records": 9, "detect_hours": None, "accepted_per_attacker": None}
    cell = Cell("flips", "synthetic", "all", {"share": 0.05})

    def trial(seed: int, before: float, ended: str) -> Trial:
        figures = {**held, "excess_before": before, "excess_after": -0.01, "aimed": 100, "judged": 50}
        return Trial("pictures", seed, "all", {}, {**figures, "accuracy_lost": 0.0, "ended": ended})

    twin = Trial("pictures", 0, "all", {}, {**held, "own_held": 0.1, "own_records": 10, "ended": "champion"})
    ends = ("champion", "closed")
    some = [Measured(cell, trial(at, 0.2 + at / 5, end), twin, 1.0) for at, end in enumerate(ends)]
    (line,) = summarise(some)
    row = dict(zip(COLUMNS, as_rows([line])[0], strict=True))
    assert row["excess unguarded"] == "30.0 (40.0)"
    assert row["excess guarded"] == "-1.0"
    assert row["ended"] == "champion 1; closed 1"
    assert row["twin ended"] == "champion"
    before = line.shares["before"]
    assert before is not None
    assert before.low < 0.3 < before.high
