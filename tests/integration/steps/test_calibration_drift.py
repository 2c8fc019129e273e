"""The trusted set is compared with its first entry: honest additions pass, wrong ones show."""

from __future__ import annotations

import pandas as pd
import pytest

from poison_guard import Guard
from poison_guard.steps.drift import calibration_drift
from poison_guard.steps.opening import open_feed
from tests.integration.steps.conftest import answers


def watched(contract, home):
    with open_feed(contract, home) as feed:
        return calibration_drift(feed)


@pytest.fixture
def guard(contract, tmp_path):
    guard = Guard.open(contract, home=tmp_path / "home")
    guard.trust(answers(900, 1, prefix="t"), by="ann", reason="audit")
    return guard


def test_one_entry_is_compared_with_its_holdout_only(guard, contract, tmp_path):
    found = watched(contract, tmp_path / "home")
    assert set(found) == {"holdout"}
    assert not found["holdout"].parted
    assert found["holdout"].figures["low"] < 0.6
    assert found["holdout"].figures["high"] > 0.4


def test_an_honest_second_entry_looks_like_the_first(guard, contract, tmp_path):
    guard.trust(answers(600, 2, prefix="t"), by="ann", reason="audit")
    found = watched(contract, tmp_path / "home")
    assert set(found) == {"holdout", "anchor", "entered"}
    assert not any(drift.parted for drift in found.values())


def test_wrong_records_among_a_second_entry_show_to_the_model_of_the_first(guard, contract, tmp_path):
    strange = answers(60, 3, prefix="x").assign(dwell=0.05, speed=9.0)
    mixed = pd.concat([answers(600, 2, prefix="t"), strange], ignore_index=True)
    guard.trust(mixed, by="mal", reason="trust me")
    entered = watched(contract, tmp_path / "home")["entered"]
    assert entered.parted
    assert entered.figures["tails"][0]["held"] > entered.figures["tails"][0]["high"]


def test_a_feed_without_trusted_records_has_nothing_to_compare(contract, tmp_path):
    assert watched(contract, tmp_path / "home") == {}
