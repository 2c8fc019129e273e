from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import betabinom

from poison_guard.errors import DataError, UsageError
from poison_guard.records import Level, Reason
from poison_guard.signals.anomaly.model import AnomalyModel

NAMES = ["dwell", "speed", "curve", "pauses"]
MIX = np.linalg.cholesky(0.3 * np.eye(4) + 0.7)


def people(n, seed):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, 4)) @ MIX.T
    values = np.column_stack(
        [np.exp(6 + z[:, 0]), 10 + 2 * z[:, 1], np.exp(z[:, 2]), rng.poisson(np.exp(1 + z[:, 3] / 2))]
    )
    frame = pd.DataFrame(values, columns=[f"feature.{name}" for name in NAMES])
    return frame.assign(**{"feature.agent": pd.Series(rng.choice(["a", "b"], n)).astype("str")})


def fit(seed=0, reference=600, calibration=400, **options):
    return AnomalyModel.fit(people(reference, seed), people(calibration, seed + 1), device="cpu", **options)


@pytest.fixture(scope="module")
def model():
    return fit()


def test_honest_records_are_held_at_the_stated_rate():
    worlds, rows, calibration = 10, 1000, 399
    p = np.array([fit(100 * w, calibration=calibration).evidence(people(rows, 100 * w + 2)).p for w in range(worlds)])
    for q in (0.01, 0.05):
        # given one calibration set the share held is Beta(k, n + 1 - k) distributed, k = q (n + 1)
        k = int(q * (calibration + 1))
        draws = betabinom.rvs(rows, k, calibration + 1 - k, size=(20_000, worlds), random_state=1).sum(axis=1)
        low, high = np.quantile(draws, [0.0005, 0.9995])
        assert low <= (p <= q).sum() <= high


def test_honest_records_of_each_group_are_held_at_the_rate_even_when_groups_differ():
    def two(n, seed):
        frame = people(n, seed)
        frame["group"] = np.where(np.arange(n) % 3 == 0, "v2", "v1")
        frame.loc[frame["group"] == "v2", "feature.speed"] *= 3
        return frame

    model = AnomalyModel.fit(two(900, 1), two(1500, 2), device="cpu")
    evidence = model.evidence(two(6000, 3))
    group = two(6000, 3)["group"].to_numpy()
    for name, n in (("v1", 4000), ("v2", 2000)):
        rows = len(model.calibration.groups[name])
        k = int(0.05 * (rows + 1))
        low, high = betabinom.interval(0.999, n, k, rows + 1 - k)
        assert low <= (evidence.p[group == name] <= 0.05).sum() <= high


def test_evidence_keeps_its_promises(model):
    frame = people(400, 9)
    evidence = model.evidence(frame)
    assert (evidence.signal, evidence.level) == ("anomaly", Level.RECORD)
    assert evidence.p.shape == (400,)
    assert ((evidence.p > 0) & (evidence.p <= 1)).all()
    assert set(evidence.reasons) == set(np.flatnonzero(evidence.p <= 0.05).tolist())


def test_a_record_gets_the_same_p_alone_shuffled_and_among_bots(model):
    frame = people(200, 9)
    p = model.evidence(frame).p
    order = np.random.default_rng(0).permutation(200)
    np.testing.assert_array_equal(model.evidence(frame.iloc[order].reset_index(drop=True)).p, p[order])
    bots = pd.concat([frame, pd.concat([frame.iloc[:1]] * 300)], ignore_index=True)
    np.testing.assert_array_equal(model.evidence(bots).p[:200], p)
    np.testing.assert_array_equal([model.evidence(frame.iloc[[row]]).p[0] for row in range(20)], p[:20])


def test_a_value_beyond_the_trusted_range_is_named_with_the_range(model):
    frame = people(3, 9)
    frame.loc[1, "feature.speed"] = 90.0
    reason = model.evidence(frame).reasons[1]
    assert (reason.code, reason.args["feature"], reason.args["value"]) == ("beyond_trusted", "speed", 90.0)
    assert 0 < reason.args["low"] < 10 < reason.args["high"] < 20


def test_a_combination_nobody_has_is_named_by_its_features(model):
    frame = people(2, 9)
    frame.loc[0, ["feature.dwell", "feature.speed", "feature.curve", "feature.pauses"]] = [np.exp(7.7), 6.2, 1.0, 3.0]
    evidence = model.evidence(frame)
    assert evidence.p[0] <= 0.02
    assert evidence.reasons[0].code == "unusual_combination"
    assert {"dwell", "speed"} <= set(evidence.reasons[0].args["features"])
    assert len(evidence.reasons[0].args["features"]) <= 3


def test_unseen_and_missing_values_are_named(model):
    frame = people(2, 9)
    frame.loc[0, "feature.agent"] = "x" * 10_000
    frame.loc[1, "feature.dwell"] = np.nan
    reasons = model.evidence(frame).reasons
    assert reasons[0].code == "unseen_value"
    assert len(reasons[0].args["value"]) <= 80
    assert reasons[1] == Reason("never_missing", {"feature": "dwell"})


def test_a_single_feature_has_reasons_too():
    def one(n, seed):
        return people(n, seed)[["feature.speed"]]

    model = AnomalyModel.fit(one(300, 1), one(300, 2), device="cpu")
    evidence = model.evidence(one(500, 3))
    assert {reason.code for reason in evidence.reasons.values()} <= {"beyond_trusted", "far_from_trusted"}
    assert "far_from_trusted" in {reason.code for reason in evidence.reasons.values()}


def test_reasons_and_facts_are_json_even_for_infinite_values(model):
    frame = people(60, 9)
    frame.loc[0, "feature.speed"] = np.inf
    evidence = model.evidence(frame)
    assert json.loads(json.dumps([dict(r.args) for r in evidence.reasons.values()], allow_nan=False))
    facts = json.loads(json.dumps(model.calibration_facts(), allow_nan=False))
    assert facts["groups"][""]["n"] == 400
    assert facts["groups"][""]["attainable_p"] == pytest.approx(1 / 401)
    assert len(facts["groups"][""]["quantiles"]) == 101


def test_hostile_records_never_give_a_p_that_is_not_a_number(model):
    frame = people(5, 9)
    frame["feature.dwell"] = [np.inf, -np.inf, np.nan, 1e308, 5e-324]
    frame["feature.agent"] = [None, "", "\x00", "a", "<script>"]
    assert np.isfinite(model.evidence(frame).p).all()


def test_small_groups_are_pooled_and_said_so():
    calibration = people(400, 2).assign(group=["v1"] * 380 + ["v2"] * 20)
    model = AnomalyModel.fit(people(400, 1), calibration, device="cpu")
    assert model.notes() == (Reason("few_calibration_rows", {"n": 20, "needed": 99, "group": "v2"}),)
    p = model.evidence(people(50, 3), groups=pd.Series(["v2"] * 50)).p
    np.testing.assert_array_equal(p, model.evidence(people(50, 3), groups=pd.Series(["unheard of"] * 50)).p)


def test_three_trusted_rows_hold_nothing_and_say_what_is_needed():
    model = fit(reference=3, calibration=2)
    assert model.evidence(people(500, 5)).p.min() > 0.3
    assert model.notes() == (Reason("few_calibration_rows", {"n": 2, "needed": 99, "group": ""}),)


def test_no_calibration_rows_give_p_one():
    assert (fit(calibration=0).evidence(people(5, 5)).p == 1).all()


def test_unsupervised_ranks_in_the_batch_and_says_so():
    batch = people(2000, 4)
    batch.loc[:4, "feature.speed"] = 60.0
    model = AnomalyModel.fit_unsupervised(batch, device="cpu")
    evidence = model.evidence(batch)
    assert (evidence.p[:5] <= 0.01).all()
    assert (evidence.p <= 0.01).mean() == pytest.approx(0.01, abs=0.012)
    assert {r.code for r in evidence.reasons.values()} == {"strange_in_batch"}
    assert model.reference_vectors() is None
    assert not model.calibration_facts()["supervised"]


def test_unsupervised_does_not_depend_on_the_order_of_the_batch():
    batch = people(300, 4)
    order = np.random.default_rng(0).permutation(300)
    shuffled = batch.iloc[order].reset_index(drop=True)
    there = AnomalyModel.fit_unsupervised(batch, device="cpu").evidence(batch).p
    back = AnomalyModel.fit_unsupervised(shuffled, device="cpu").evidence(shuffled).p
    np.testing.assert_allclose(back, there[order], atol=0.01)


def test_suspects_are_the_strangest_trusted_rows_with_their_reasons(model):
    frame = people(300, 9)
    frame.loc[7, "feature.speed"] = 90.0
    frame.loc[8, "feature.speed"] = 95.0
    verdicts = np.zeros(300, int)
    verdicts[8] = 1
    (first, second) = model.suspects(frame, verdicts, 2)
    assert first[0] == 7
    assert first[2].code == "beyond_trusted"
    assert second[0] != 8
    assert first[1] <= second[1]


def test_drift_compares_with_the_calibration_rows(model):
    assert not model.drift(people(800, 11)).parted
    moved = people(800, 11)
    moved["feature.speed"] += 4
    assert model.drift(moved).parted
    assert model.drift(people(0, 1)) is None


def test_what_cannot_be_right_is_a_clear_error():
    with pytest.raises(UsageError, match="rate"):
        fit(rate=0)
    with pytest.raises(DataError, match="0 records"):
        fit(reference=0)
    with pytest.raises(DataError, match="2 records"):
        AnomalyModel.fit_unsupervised(people(1, 0))
    with pytest.raises(DataError, match="groups has 2"):
        fit().evidence(people(3, 0), groups=pd.Series(["a", "b"]))
