"""A trial on small worlds, through a real store in a folder of its own."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from poison_guard.config import load_contract
from poison_guard.drills.attacks import answers, telemetry
from poison_guard.drills.trial import FEED, run_trial, write_contract
from poison_guard.errors import DataError

SMALL = {"items": 120, "honest": 30, "answers_per_item": 4}


def test_the_contract_names_what_the_world_has(tmp_path):
    world = answers.make_onoff(0, after=20, strikes=5, items=60, honest=10)
    contract = load_contract(write_contract(world, tmp_path / "home"))
    assert contract.name == FEED
    assert contract.kind == "answers"
    assert dict(contract.columns) == dict(world.columns)
    assert contract.controls
    assert contract.outcomes
    sessions = telemetry.make(0, people=20, sessions=50, replays=10, trusted=20)
    other = load_contract(write_contract(sessions, tmp_path / "other"))
    assert (other.kind, other.features) == ("telemetry", sessions.features)
    assert other.outcomes is None


@pytest.fixture(scope="module")
def world():
    return answers.make_spam(0, share=0.2, **SMALL)


def test_all_at_once_every_record_is_decided_and_labels_are_read_from_a_sealed_snapshot(world, tmp_path):
    trial = run_trial(world, home=tmp_path)
    figures = trial.figures
    assert figures["accepted"] + figures["quarantined"] == len(world.records)
    assert figures["target_items"] == (~world.item_truth["control"]).sum()
    assert figures["target_right"] > 0.3
    shares = [figures[f"target_{name}"] for name in ("right", "wrong", "deferred")]
    assert sum(shares) == pytest.approx(1)
    assert figures["detect_hours"] is None
    assert "targets" not in trial.params
    assert trial.params["share"] == 0.2


def test_by_day_the_same_records_are_taken_in(world, tmp_path):
    few = world.records["answered_at"] < world.records["answered_at"].min() + pd.Timedelta(days=3)
    short = dataclasses.replace(world, records=world.records[few], truth=world.truth[few.to_numpy()])
    trial = run_trial(short, by="day", home=tmp_path)
    assert trial.figures["records_in"] == int(few.sum())
    assert trial.figures["accepted"] + trial.figures["quarantined"] == int(few.sum())


def test_an_empty_world_is_refused(world, tmp_path):
    empty = dataclasses.replace(world, records=world.records.head(0), truth=world.truth.head(0))
    with pytest.raises(DataError, match="no record"):
        run_trial(empty, home=tmp_path)


def test_the_own_records_of_a_twin_are_those_marked_or_those_of_the_accounts_that_attack(world, tmp_path):
    twin = answers.make_spam_twin(0, share=0.2, **SMALL)
    attackers = set(world.source_truth.loc[~world.source_truth["honest"], "source_id"])
    theirs = int(twin.role("source_id").isin(attackers).sum())
    assert theirs > 0
    assert run_trial(twin, home=tmp_path / "a", lookalikes=attackers).figures["own_records"] == theirs
    marked = dataclasses.replace(twin, truth=twin.truth.assign(lookalike=twin.truth.index < 7))
    assert run_trial(marked, home=tmp_path / "b").figures["own_records"] == 7
