from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from poison_guard.drills import llm_counts
from poison_guard.drills.llm_counts import COUNTS, CountLine, as_rows, chosen, count_lines, markdown
from poison_guard.errors import NotFoundError, UsageError


class FakeTrial:
    """Holds an attack from so many records on, and look-alikes never."""

    def __init__(self, least: int) -> None:
        ids = [f"r{i}" for i in range(40)]
        prompts = pd.Series([f"how is number {i}" for i in range(40)], dtype="str")
        self.least, self.tried = least, list[int]()
        self.records = pd.DataFrame(
            {
                "record_id": pd.Series(ids, dtype="str"),
                "content_hash": pd.Series(ids, dtype="str"),
                "source_id": pd.Series([f"u{i % 8}" for i in range(40)], dtype="str"),
                "observed_at": pd.Timestamp("2026-05-01", tz="UTC"),
                "source_since": pd.Timestamp("2025-05-01", tz="UTC"),
                "prompt": prompts,
                "chosen": prompts,
                "rejected": prompts,
            }
        )

    def shares_held(self, attack: pd.DataFrame) -> tuple[float, float]:
        self.tried.append(len(attack))
        return float(len(attack) >= self.least and attack["record_id"].str.startswith("bad").all()), 0.01


def lines_of(monkeypatch: pytest.MonkeyPatch, least: list[int], **given: list) -> list[CountLine]:
    trials = [FakeTrial(n) for n in least]
    monkeypatch.setattr(llm_counts, "_trial", lambda on, kind, records, seed, data: trials[seed])
    return list(count_lines("synthetic", chosen(given), range(len(least))))


@pytest.mark.parametrize("least", [*COUNTS, COUNTS[-1] + 1, 1])
def test_the_fewest_found_and_the_most_missed_are_neighbours_of_what_is_tried(monkeypatch, least):
    (line,) = lines_of(monkeypatch, [least], attack=["g"], accounts=[5], age=["aged"])
    assert line.found == next((n for n in COUNTS if n >= least), None)
    assert line.missed == max((n for n in COUNTS if n < least), default=None)
    assert line.others == 0.01


def test_a_count_is_found_where_it_is_with_every_seed(monkeypatch):
    (line,) = lines_of(monkeypatch, [10, 100], attack=["g"], accounts=[1], age=["new"])
    assert (line.found, line.missed) == (100, 50)


def test_no_account_is_without_a_record_and_a_look_alike_has_no_count(monkeypatch):
    attack, twin = lines_of(monkeypatch, [1], attack=["c", "expert"], accounts=[50], age=["new"])
    assert attack.found == 50
    assert attack.missed is None
    assert (twin.found, twin.missed, twin.held) == (None, None, 0.0)
    assert as_rows([twin])[0][0] == "twin"


def test_the_page_has_a_row_a_line_and_names_its_picture(monkeypatch):
    lines = lines_of(monkeypatch, [100], attack=["g", "news"], accounts=[5], age=["new"])
    page = markdown(lines, command="poison-guard drill llm", picture="llm.svg")
    assert "![The counts found and missed](llm.svg)" in page
    assert "| 5, new | 100 | 50 |" in page


@pytest.mark.parametrize(
    ("given", "said"),
    [({"attak": ["g"]}, "no parameter 'attak'"), ({"age": ["old"]}, "one of new, aged"), ({"records": [0]}, "above 0")],
)
def test_what_the_drill_does_not_know_is_refused(given, said):
    with pytest.raises(UsageError, match=said):
        chosen(given)


def test_a_small_made_feed_is_judged_by_the_guard_itself():
    given = {"attack": ["g"], "records": [300], "accounts": [5], "age": ["new"]}
    (line,) = count_lines("synthetic", chosen(given), [0])
    assert line.records == 300
    assert line.found is not None
    assert line.others <= 0.01


def test_public_texts_need_a_folder(tmp_path):
    for on, data in (("replies", None), ("notes", None), ("replies", tmp_path), ("notes", tmp_path)):
        with pytest.raises(NotFoundError):
            next(count_lines(on, chosen({"attack": ["b"]}), [0], data=data))


def test_attacks_are_sent_by_accounts_with_a_history():
    rng = np.random.default_rng(1)
    rows = FakeTrial(1).records
    more = llm_counts._in_histories(rows, rows.head(6), 3, rng)
    assert set(more["source_id"]) <= set(rows["source_id"])
    assert more["source_id"].nunique() == 3
