"""A candidate that learned a trigger is refused, and the records that carry it are taken back, bounded and once."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from poison_guard import Guard
from poison_guard.errors import DataError, NotFoundError, UsageError
from poison_guard.records import Check, Outcome
from poison_guard.retrain import trained_model
from poison_guard.retrain.train import TrainingError
from poison_guard.steps import promote, retrain
from poison_guard.steps.model_scan import ModelScan
from poison_guard.steps.opening import open_feed
from poison_guard.store import verify
from tests.integration.steps.test_gate import accepted_ids, filled, guard, put, sessions, stage

__all__ = ["filled", "guard", "stage"]

FAILED = Check("planted_triggers", Outcome.FAIL, 0.9, 0.03, 100, 0.8, 1.0, "a = 7 turns 90 of 100 into 'human'")


def whole(guard: Guard) -> bool:
    """Return whether the audit finds everything as it was left."""
    with open_feed(guard.contract_path, guard.home) as feed:
        return verify(feed.store).ok


@pytest.fixture
def finds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the next scans find a trigger that these records carry."""

    def found(ids: list[str], n: int = 700, mark: str = "a = 7") -> None:
        scan = ModelScan({}, FAILED, mark, "human", tuple(ids), n)
        monkeypatch.setattr(promote, "scan_for_triggers", lambda *_: scan)

    return found


def test_few_carriers_are_taken_back_with_their_snapshot_and_training_goes_on_without_them(
    filled: Guard, finds: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context():
        carriers = sorted(accepted_ids(filled))[:8]
        finds(carriers)
        snapshot = filled.gate().snapshot_id
        refused = filled.retrain()
        assert not refused.promoted
        assert "Planted trigger: a = 7 turns" in refused.why
        assert "8 of 8 records that carry it were taken back" in refused.why
    assert not set(carriers) & accepted_ids(filled)
    assert filled.gate_status(snapshot).revoked
    (campaign,) = filled.campaigns().campaigns.query("kind == 'trigger'").itertuples()
    assert (campaign.n_records, campaign.held) == (8, 8)
    assert "a = 7 with the label 'human', which a model learned to obey" in campaign.why
    assert whole(filled)
    again = filled.gate()
    assert again.snapshot_id != snapshot
    monkeypatch.undo()
    assert filled.retrain().promoted
    filled.release(campaign_id=campaign.campaign_id, by="ann", reason="they are honest")
    assert set(carriers) <= accepted_ids(filled)


def test_a_training_that_learned_nothing_is_tried_once_more_and_then_refused(
    filled: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = filled.gate().snapshot_id
    with open_feed(filled.contract_path, filled.home) as feed:
        for answers, fails in (([True, False], False), ([True, True], True)):
            said = iter(answers)
            monkeypatch.setattr(trained_model, "has_collapsed", lambda *_, said=said: next(said))
            if fails:
                with pytest.raises(TrainingError, match="learned nothing from two starts"):
                    retrain._train(feed, snapshot)
            else:
                made, config = retrain._train(feed, snapshot)
                assert config["second_start"]
                assert made.seed != feed.contract.retrain.seed


def test_a_model_of_tables_is_not_scanned_by_predictions(filled: Guard) -> None:
    filled.gate()
    with pytest.raises(DataError, match="a model of tables is scanned by asking it"):
        filled.candidate_inputs(scan=True)


def test_many_carriers_are_left_to_a_person_who_can_recall_their_campaign(
    filled: Guard, finds: Callable[..., None]
) -> None:
    carriers = sorted(accepted_ids(filled))[:40]  # of 700: more than 2 %
    finds(carriers)
    snapshot = filled.gate().snapshot_id
    refused = filled.retrain()
    assert "a person must take so many back" in refused.why
    assert set(carriers) <= accepted_ids(filled)
    assert not filled.gate_status(snapshot).revoked
    assert whole(filled)
    (campaign,) = filled.campaigns().campaigns.query("kind == 'trigger'")["campaign_id"]
    taken = filled.recall(campaign_id=campaign, by="ann", reason="all from one tool")
    assert set(taken.record_ids) == set(carriers)
    assert snapshot in taken.revocation.revoked


def test_until_a_model_is_promoted_again_a_second_trigger_is_a_persons_to_take_back(
    filled: Guard, finds: Callable[..., None]
) -> None:
    first, second = sorted(accepted_ids(filled))[:5], sorted(accepted_ids(filled))[5:10]
    for ids, mark in ((first, "a = 7"), (second, "b = 8")):
        finds(ids, mark=mark)
        filled.gate()
        filled.retrain()
    assert not set(first) & accepted_ids(filled)
    assert set(second) <= accepted_ids(filled)


def test_a_model_of_the_feed_is_asked_and_scanned_by_the_gate_and_an_unknown_one_is_refused_before(
    filled: Guard,
) -> None:
    filled.gate()
    model = filled.retrain(measure_only=True).model_id
    attacked = filled.evaluate(model, fast=True)
    assert "apgd targeted" in str(attacked)
    assert attacked.to_dict()["metrics"]["attacks"].keys() == attacked.metrics["attacks"].keys()
    with pytest.raises(NotFoundError, match="no champion yet"):
        filled.evaluate()
    judged = filled.gate(model=model)
    checks = judged.checks.set_index("name")["outcome"]
    assert checks["planted_triggers"] == "pass"
    assert checks["candidate"] in ("pass", "inconclusive", "fail")
    assert judged.candidate == model
    with pytest.raises(NotFoundError, match=r"has no model 'nothing'"):
        filled.gate(model="nothing")
    with pytest.raises(UsageError, match="not both"):
        filled.gate("predictions.csv", model=model)


def test_a_model_that_does_not_answer_closes_the_gate_with_the_reason(filled: Guard) -> None:
    filled.gate()
    judged = filled.gate(model="http://127.0.0.1:9/predict")
    rows = judged.checks.set_index("name")
    assert rows.loc[["candidate", "planted_triggers"], "outcome"].tolist() == ["error", "error"]
    assert "does not answer" in rows.loc["planted_triggers", "why"]
    assert (judged.outcome, judged.admitted) == ("error", False)


def test_what_the_batch_of_the_trigger_sent_later_is_judged_as_ever(filled: Guard, finds: Callable[..., None]) -> None:
    finds(sorted(accepted_ids(filled))[:5])
    filled.gate()
    filled.retrain()
    put(filled.home, sessions(50, 7), "more.csv")
    run = filled.ingest()
    assert isinstance(run.decisions, pd.DataFrame)
    assert len(run.decisions) == 50
