from __future__ import annotations

import dataclasses
import functools

import pandas as pd
import pytest
from rich.console import Console

from poison_guard.drills.scoreboard import run_baseline, score, score_baseline, table
from poison_guard.drills.world import World
from poison_guard.drills.worlds import WORLDS, make_world
from poison_guard.errors import DataError


@pytest.fixture
def tiny() -> World:
    """Six records: two pushes, one camouflage, three honest of two sources; two items and a control."""
    ids = [f"r{k}" for k in range(6)]
    origin = ["poison", "poison", "camouflage", "honest", "honest", "honest"]
    return World(
        name="tiny",
        seed=0,
        columns={"record_id": "id", "source_id": "who", "item_id": "item", "answer": "answer"},
        features=(),
        records=pd.DataFrame(
            {
                "id": ids,
                "who": ["x", "x", "x", "a", "a", "b"],
                "item": ["i", "i", "c", "i", "j", "j"],
                "answer": ["9", "9", "1", "4", "5", "5"],
            }
        ),
        truth=pd.DataFrame(
            {
                "record_id": ids,
                "origin": origin,
                "attack": [o == "poison" for o in origin],
                "honest": [o == "honest" for o in origin],
            }
        ),
        source_truth=pd.DataFrame({"source_id": ["a", "b", "x"], "honest": [True, True, False]}),
        trusted=pd.DataFrame(),
        item_truth=pd.DataFrame(
            {"item_id": ["i", "j", "c"], "label": ["4", "5", "1"], "control": [False, False, True]}
        ),
        controls=pd.DataFrame({"item_id": ["c"], "answer": ["1"]}),
    )


def decided(actions: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"record_id": [f"r{k}" for k in range(len(actions))], "action": actions})


EVIDENCE = pd.DataFrame(
    {
        "record_id": ["r3", "r3", "r4", "r5"],
        "level": ["record", "campaign", "source", "record"],
        "p": [0.001, 0.5, 0.0001, 0.02],
    }
)


def test_held_poison_is_recall_and_held_camouflage_is_neither(tiny):
    figures = score(tiny, decided(["reject", "accept", "quarantine", "accept", "accept", "accept"]))
    assert figures["attack_recall"] == 0.5
    assert figures["honest_held"] == 0
    assert figures["camouflage_held"] == 1
    assert (figures["accepted"], figures["quarantined"], figures["rejected"]) == (4, 1, 1)


def test_a_held_honest_record_counts_for_the_level_whose_threshold_it_crossed(tiny):
    figures = score(tiny, decided(["accept"] * 3 + ["quarantine"] * 3), evidence=EVIDENCE)
    assert figures["honest_held_by_record"] == 1
    assert figures["honest_held_by_campaign"] == 0
    assert figures["honest_held_by_source"] == 1
    assert figures["honest_held_rate"] == 1


def test_a_wrong_label_of_an_honest_source_is_no_false_alarm_of_the_record_level(tiny):
    truth = tiny.truth.assign(label=["9", "9", "1", "4", "5", "6"])
    labelled = dataclasses.replace(tiny, truth=truth, columns={**tiny.columns, "label": "answer"})
    evidence = EVIDENCE.assign(level="record", p=0.001)
    figures = score(labelled, decided(["accept"] * 3 + ["quarantine"] * 3), evidence=evidence)
    assert (figures["mislabelled_held"], figures["mislabelled_records"]) == (1, 1)
    assert (figures["honest_held_by_record"], figures["rightly_labelled"]) == (2, 2)
    assert figures["honest_held"] == 3


def test_evidence_against_an_accepted_record_holds_nobody(tiny):
    assert score(tiny, decided(["accept"] * 6), evidence=EVIDENCE)["honest_held_by_record"] == 0


def test_a_source_is_blocked_when_most_of_its_records_are_held_for_it(tiny):
    half = EVIDENCE.iloc[[2]]
    both = pd.concat([half, half.assign(record_id="r3")])
    held = decided(["accept"] * 3 + ["quarantine"] * 3)
    assert score(tiny, held, evidence=half)["honest_sources_blocked"] == 0
    assert score(tiny, held, evidence=both)["honest_sources_blocked"] == 1


def test_a_source_the_guard_calls_blocked_is_blocked(tiny):
    sources = pd.DataFrame({"source_id": ["b", "x"], "blocked": [True, True]})
    figures = score(tiny, decided(["accept"] * 6), sources=sources, evidence=EVIDENCE)
    assert figures["honest_sources_blocked_rate"] == 0.5


def test_wrong_labels_count_among_the_adopted_and_controls_count_for_nothing(tiny):
    items = pd.DataFrame({"item_id": ["i", "j", "c"], "label": ["9", "5", "7"], "adopted": [True, False, True]})
    figures = score(tiny, decided(["accept"] * 6), items)
    assert (figures["adopted_items"], figures["deferred_items"], figures["wrong_labels"]) == (1, 1, 1)
    assert figures["wrong_label_rate"] == 1


def test_a_record_without_a_decision_is_an_error_and_not_a_miss(tiny):
    with pytest.raises(DataError, match="1 of 6 records"):
        score(tiny, decided(["accept"] * 5))


def test_the_baseline_follows_the_majority_and_spares_the_controls(tiny):
    naive = run_baseline(tiny)
    assert dict(zip(naive.items["item_id"], naive.items["label"], strict=True)) == {"i": "9", "j": "5"}
    assert list(naive.decisions["action"]) == ["accept", "accept", "accept", "quarantine", "accept", "accept"]


def test_a_tied_vote_goes_to_the_first_answer_in_order(tiny):
    naive = run_baseline(World(**{**_fields(tiny), "records": tiny.records.drop(index=1)}))
    assert naive.items.set_index("item_id")["label"]["i"] == "4"


def _fields(world: World) -> dict:
    return {name: getattr(world, name) for name in World.__dataclass_fields__}


def test_the_baseline_holds_texts_of_other_items_but_not_flags_on_one(tiny):
    records = tiny.records.assign(text=["m", "m", "n", "m", "n", "o"])
    columns = {**tiny.columns, "text": "text"}
    held = run_baseline(World(**{**_fields(tiny), "records": records, "columns": columns})).decisions["action"]
    assert list(held) == ["accept", "accept", "quarantine", "quarantine", "quarantine", "accept"]


@functools.cache
def baseline_figures(name: str) -> dict:
    return score_baseline(make_world(name, 0))


@pytest.mark.parametrize("name", WORLDS)
def test_the_baseline_misses_enough_for_the_demo_to_be_hard(name):
    figures = baseline_figures(name)
    assert figures["attack_recall"] <= 0.6
    assert figures["honest_held_rate"] > 0.02


@pytest.mark.parametrize("name", ["captcha", "chat"])
def test_the_baseline_learns_what_the_attackers_want(name):
    assert baseline_figures(name)["wrong_label_rate"] > 0.03


def test_the_table_shows_guard_and_baseline_side_by_side(tiny):
    items = pd.DataFrame({"item_id": ["i", "j"], "label": ["4", "5"], "adopted": [True, True]})
    held = decided(["quarantine", "quarantine", "accept", "accept", "accept", "accept"])
    guard = score(tiny, held, items, evidence=EVIDENCE)
    console = Console(width=100, record=True, file=None, quiet=False)
    with console.capture() as shown:
        console.print(table(guard, score_baseline(tiny)))
    lines = {line.strip("┃│┡┗ ").split("│")[0].strip(): line for line in shown.get().splitlines()}
    assert "100.0% of 2" in lines["attack recall"]
    assert "0.0% of 2" in lines["attack recall"]
    assert "50.0% of 2" in lines["wrong labels adopted"]
