"""Laws 3 and 4 over the whole line, and what a feed does while it cannot judge."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poison_guard.config import Mode, Policy, parse_contract
from poison_guard.records import Phase
from poison_guard.signals.campaigns import sketch_text
from poison_guard.signals.conformal import labels_needed
from tests.unit.pipeline.conftest import NO_UNREADABLE, make_batch, make_state, sessions
from tests.unit.pipeline.conftest import decide as decide_batch


def decide(records, contract, state, **given):
    return decide_batch(make_batch(records, **given), contract, state)


def comparable(decided):
    return decided.decisions.sort_values("record_id", ignore_index=True)


@pytest.fixture(scope="module")
def records():
    rng = np.random.default_rng(1)
    return pd.concat([sessions(150, rng), sessions(10, rng, prefix="odd", shift=6.0)], ignore_index=True)


@given(seed=st.integers(0, 100), rows=st.sampled_from([9, 50, 1000]))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_decisions_do_not_depend_on_row_order_or_partitions(seed, rows, contract, trusted_state, records):
    whole = comparable(decide(records, contract, trusted_state))
    small = dataclasses.replace(contract, data=dataclasses.replace(contract.data, partition_rows=rows))
    shuffled = records.sample(frac=1, random_state=seed).reset_index(drop=True)
    pd.testing.assert_frame_equal(comparable(decide(shuffled, small, trusted_state)), whole)


def test_the_same_batch_is_decided_the_same_again(contract, trusted_state, records):
    one, two = (comparable(decide(records, contract, trusted_state)) for _ in range(2))
    pd.testing.assert_frame_equal(one, two)


def test_strange_records_are_held_with_a_reason_and_usual_ones_pass(contract, trusted_state, records):
    decided = decide(records, contract, trusted_state)
    odd = decided.decisions["record_id"].str.startswith("odd")
    assert (decided.decisions.loc[odd, "action"] == "quarantine").all()
    assert (decided.decisions.loc[~odd, "action"] == "accept").mean() > 0.95
    assert all("beyond_trusted" in r or "unusual_combination" in r for r in decided.decisions.loc[odd, "reasons"])
    assert decided.phase is Phase.ENFORCING


def test_without_a_trusted_set_everything_that_would_pass_is_staged(contract, records):
    decided = decide(records, contract, make_state())
    assert decided.phase is Phase.COLD
    assert set(decided.decisions["place"]) <= {"staged", "quarantined"}
    assert "accept" not in set(decided.decisions["action"])
    assert any("no_trusted_set" in codes for codes in decided.decisions["reasons"])
    assert decided.notes[0].args["needed"] == labels_needed(0.01)


def test_with_three_trusted_rows_everything_is_staged_and_the_number_missing_is_said(contract, records):
    rng = np.random.default_rng(2)
    decided = decide(records, contract, make_state(sessions(2, rng, prefix="t"), sessions(1, rng, prefix="c")))
    assert decided.phase is Phase.CALIBRATING
    assert "accepted" not in set(decided.decisions["place"])
    assert decided.notes[0].code == "few_calibration_rows"
    assert decided.notes[0].args["n"] == 1


def test_observe_mode_lets_everything_pass_and_still_says_what_it_would_hold(contract, trusted_state, records):
    watching = dataclasses.replace(contract, mode=Mode.OBSERVE)
    decided = decide(records, watching, trusted_state)
    assert (decided.decisions["place"] == "accepted").all()
    assert (decided.decisions["action"] == "quarantine").any()


@pytest.mark.parametrize("signal", ["anomaly", "source", "campaign"])
def test_a_signal_that_crashes_stages_what_would_have_passed(signal, contract, trusted_state, records, monkeypatch):
    def die(*args, **kwargs):
        raise RuntimeError("out of luck")

    target = {
        "anomaly": "poison_guard.signals.anomaly.model.AnomalyModel.evidence",
        "source": "poison_guard.signals.sources.batch_votes.score_sources",
        "campaign": "poison_guard.signals.campaigns.lockstep",
    }[signal]
    monkeypatch.setattr(target, die)
    decided = decide(records, contract, trusted_state)
    assert "accepted" not in set(decided.decisions["place"])
    assert any("signal_missing" in codes for codes in decided.decisions["reasons"])


def test_a_signal_that_is_not_required_may_fail_without_holding_the_batch(
    contract, trusted_state, records, monkeypatch
):
    monkeypatch.setattr("poison_guard.signals.campaigns.lockstep", lambda *a, **k: 1 / 0)
    lenient = dataclasses.replace(contract, policy=Policy(required=("source", "anomaly")))
    decided = decide(records, lenient, trusted_state)
    assert (decided.decisions["place"] == "accepted").any()
    assert any(note.code == "signal_missing" for note in decided.notes)


def test_an_unreadable_row_is_a_decision_too(contract, trusted_state, records):
    row = {
        "record_id": "u1",
        "object": "f.csv",
        "row": 3,
        "code": "unreadable_row",
        "args": {"line": 3, "why": "ragged"},
    }
    unreadable = pd.concat([NO_UNREADABLE, pd.DataFrame([row | {"raw": "a,b"}])], ignore_index=True).astype(
        {"row": int}
    )
    decided = decide(records, contract, trusted_state, unreadable=unreadable)
    assert len(decided.decisions) == len(records) + 1
    told = decided.decisions.set_index("record_id").loc["u1"]
    assert (told["action"], told["place"], told["reasons"]) == ("quarantine", "quarantined", ["unreadable_row"])


def test_an_empty_batch_flows_through(contract, trusted_state, records):
    assert len(decide(records.iloc[:0], contract, trusted_state).decisions) == 0


def test_a_blocked_source_is_rejected(contract, trusted_state, records):
    ledger = pd.DataFrame([dict.fromkeys(trusted_state.ledger.columns, 0.0)]).assign(
        source_id="s1", blocked=True, first_seen=pd.Timestamp("2026-01-01", tz="UTC")
    )
    decided = decide(records, contract, dataclasses.replace(trusted_state, ledger=ledger))
    mine = records.loc[records["source_id"] == "s1", "record_id"]
    told = decided.decisions.set_index("record_id").loc[mine]
    assert (told["action"] == "reject").all()
    assert all("blocked_source" in codes for codes in told["reasons"])


def test_a_partition_whose_texts_could_not_be_sketched_stages_the_others_too(trusted_state, records, monkeypatch):
    table = {"name": "talk", "kind": "messages", "columns": {"record_id": "id", "source_id": "user", "text": "said"}}
    contract = parse_contract(table | {"data": {"partition_rows": 80}})
    texts = records[["record_id", "content_hash", "received_at", "source_id"]].assign(
        text=lambda f: "hello " + f["record_id"]
    )
    calls = []

    def dies_once(series):
        calls.append(len(series))
        if len(calls) == 1:
            raise RuntimeError("out of luck")
        return sketch_text(series)

    assert (decide(texts, contract, trusted_state).decisions["place"] == "accepted").all()
    monkeypatch.setattr("poison_guard.signals.campaigns.copies.sketch_text", dies_once)
    decided = decide(texts, contract, trusted_state)
    assert calls == [80, 80]
    assert (decided.decisions["place"] == "staged").all()
    assert any("out of luck" in str(note.args.get("why")) for note in decided.notes)


@pytest.mark.parametrize("required", [("source", "campaign"), ("campaign",)])
def test_without_vectors_the_campaign_signal_has_not_looked(contract, trusted_state, records, monkeypatch, required):
    monkeypatch.setattr("poison_guard.signals.anomaly.model.AnomalyModel.fit", lambda *a, **k: 1 / 0)
    lenient = dataclasses.replace(contract, policy=Policy(required=required))
    assert "accepted" not in set(decide(records, lenient, trusted_state).decisions["place"])
