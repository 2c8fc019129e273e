"""Without an extra the guard holds what it cannot check, and one sentence names what to install."""

import json
import sys

import pytest

from poison_guard.contracts import gx
from poison_guard.errors import DataError
from tests.integration.steps.conftest import answers, put
from tests.integration.steps.test_run import stored

INSTALL = r"pip install 'poison-guard\[gx\]'"


@pytest.fixture
def suite(contract):
    rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}, "severity": "critical"}
    (contract.parent / "expectations").mkdir()
    (contract.parent / "expectations" / "quiz.json").write_text(json.dumps({"name": "quiz", "expectations": [rule]}))


@pytest.fixture
def without_gx(monkeypatch):
    def remove():
        monkeypatch.setitem(sys.modules, "great_expectations", None)
        gx._great_expectations.cache_clear()

    yield remove
    gx._great_expectations.cache_clear()


def test_a_suite_that_cannot_be_checked_holds_the_batch_until_it_can(trusted_guard, suite, without_gx, monkeypatch):
    put(trusted_guard.home, answers(160, 28), "a.csv")
    with monkeypatch.context():
        without_gx()
        result = trusted_guard.ingest()
        assert "accepted" not in set(stored(trusted_guard)["place"])
        assert result.counts["staged"] > 140
        assert any("pip install 'poison-guard[gx]'" in note for note in result.notes)
        assert trusted_guard.ingest().counts["received"] == 160, "judged again once: what it would be judged by changed"
        assert trusted_guard.ingest().counts["received"] == 0
    monkeypatch.undo()
    gx._great_expectations.cache_clear()
    assert trusted_guard.ingest().counts["received"] > 140
    assert (stored(trusted_guard)["place"] == "accepted").sum() > 140


def test_a_trusted_set_that_cannot_be_checked_is_refused_with_the_name_of_the_extra(guard, suite, without_gx):
    without_gx()
    with pytest.raises(DataError, match=INSTALL):
        guard.trust(answers(900, 99, prefix="t"), by="reviewer-1", reason="labelled in the audit")
