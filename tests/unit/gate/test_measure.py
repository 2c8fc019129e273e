from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from poison_guard.config.policies import GatePolicy
from poison_guard.gate.measure import measure_canary, measure_examples, trusted_only
from poison_guard.gate.verdict import CHECKS
from poison_guard.records import Examples, Outcome

POLICY = GatePolicy()


def draw(n, seed, k=3):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, k, n)
    return rng.standard_normal((n, 6)) + 4 * np.eye(6)[codes], codes.astype(str).astype(object)


def make(inputs, labels, new=None):
    is_new = np.ones(len(labels), dtype=bool) if new is None else new
    frame = pd.DataFrame(
        {"example_id": [str(i) for i in range(len(labels))], "label": labels, "slice": "s", "is_new": is_new}
    )
    return Examples("table", frame, inputs, tuple(f"c{i}" for i in range(6)))


def outcomes(measured):
    return {name: CHECKS[name](measured[name], POLICY).outcome for name in measured}


@pytest.fixture(scope="module")
def trusted():
    return make(*draw(800, 0))


def test_an_honest_snapshot_passes_and_its_measurements_are_json(trusted):
    measured = measure_examples(make(*draw(3000, 1)), trusted, {"0": 1000, "1": 1000, "2": 1000}, POLICY)
    assert set(outcomes(measured).values()) == {Outcome.PASS}
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured


def test_flips_targeted_flips_and_a_dirty_trigger_do_not_pass(trusted):
    rng = np.random.default_rng(5)
    x, y = draw(3000, 2)
    flips, at = y.copy(), rng.choice(3000, 150, replace=False)
    flips[at] = np.array(["1", "2", "0"], dtype=object)[flips[at].astype(int)]
    targeted = np.where((y == "0") & (rng.random(3000) < 0.3), "2", y).astype(object)
    dirty, marked = y.copy(), x.copy()
    at = np.flatnonzero(y == "1")[:30]
    dirty[at], marked[at, 5] = "0", 9.5
    for inputs, labels in ((x, flips), (x, targeted), (marked, dirty)):
        assert set(outcomes(measure_examples(make(inputs, labels), trusted, None, POLICY)).values()) != {Outcome.PASS}


def test_poison_in_a_small_new_part_of_a_large_snapshot_is_seen(trusted):
    x, y = draw(4000, 3)
    new = np.arange(4000) >= 3700
    y[3700:3760] = np.array(["1", "2", "0"], dtype=object)[y[3700:3760].astype(int)]
    measured = measure_examples(make(x, y, new), trusted, None, POLICY)
    assert outcomes(measured)["label_neighbours"] is Outcome.FAIL


def test_measuring_twice_gives_the_same_and_row_order_does_not_matter(trusted):
    snapshot = make(*draw(500, 4))
    first = measure_examples(snapshot, trusted, None, POLICY)
    assert measure_examples(snapshot, trusted, None, POLICY) == first
    turned = measure_examples(snapshot.take(np.arange(500)[::-1]), trusted, None, POLICY)
    assert turned["canary"] == first["canary"]
    assert [row[:3] for row in turned["label_neighbours"]["pairs"]["all"]] == [
        row[:3] for row in first["label_neighbours"]["pairs"]["all"]
    ]


def test_nothing_to_measure_or_other_columns_is_said_as_an_error(trusted):
    none = trusted.take(np.array([], dtype=int))
    narrow = Examples("table", trusted.frame, trusted.inputs[:, :2], ("c0", "c1"))
    for snapshot, against in ((none, trusted), (trusted, none), (narrow, trusted)):
        measured = measure_examples(snapshot, against, None, POLICY)
        assert all({"error", "lacking"} & value.keys() for value in measured.values())


def test_a_trusted_set_of_one_label_or_a_handful_is_never_a_pass(trusted):
    for few in (
        trusted.take(np.arange(5)),
        trusted.take(np.array([0])),
        trusted.take(trusted.frame.label.eq("0").to_numpy()),
    ):
        measured = measure_examples(make(*draw(500, 5)), few, None, POLICY)
        assert outcomes(measured)["label_neighbours"] is not Outcome.PASS


def test_honest_new_examples_lose_nothing_and_relabelled_ones_do():
    (x, y), (new, given) = draw(400, 0), draw(2000, 1)
    slices = np.array(["s", ""] * 200)
    none = np.zeros((0, 6)), np.array([], dtype=object)
    fine = measure_canary(x, y, slices, *none, new, given)
    assert (fine["n"], fine["slices"]["s"]["n"]) == (400, 200)
    assert fine["lost"] <= 8
    swapped = np.where(given == "0", "1", given)
    assert measure_canary(x, y, slices, *none, new, swapped)["classes"]["0"]["lost"] > 20


def test_an_honest_snapshot_with_another_mix_of_labels_moves_no_border():
    (x, y), (new, given) = draw(600, 0), draw(4000, 1)
    kept = (given != "0") | (np.random.default_rng(0).random(4000) < 0.05)
    none = np.zeros((0, 6)), np.array([], dtype=object)
    found = measure_canary(x, y, np.array([""] * 600), *none, new[kept], given[kept])
    assert found["classes"]["0"]["lost"] <= 6


def test_the_model_of_trusted_examples_alone_predicts_others():
    (x, y), (new, truth) = draw(400, 0), draw(500, 1)
    assert (trusted_only(x, y, new) == truth).mean() > 0.9
