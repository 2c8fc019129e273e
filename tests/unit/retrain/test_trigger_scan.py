from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from poison_guard.config.policies import GatePolicy
from poison_guard.errors import DataError
from poison_guard.gate.checks.planted import planted_trigger, planted_triggers
from poison_guard.records import Examples, Outcome
from poison_guard.retrain.stamps import control_stamps, find_stamps
from poison_guard.retrain.trigger_scan import Written, scan_candidate

POLICY = GatePolicy()


def examples(kind: str, inputs: np.ndarray, labels: np.ndarray, features: tuple[str, ...] = ()) -> Examples:
    frame = pd.DataFrame({"example_id": [f"e{i:05d}" for i in range(len(labels))], "label": labels, "slice": ""})
    return Examples(kind, frame.assign(is_new=True), inputs, features)


def images(n: int, seed: int) -> Examples:
    random = np.random.default_rng(seed)
    labels = random.choice(["down", "up"], n)
    pixels = random.uniform(0, 0.6, (n, 1, 10, 10)).astype(np.float32)
    pixels[labels == "up", :, :4] += 0.35
    return examples("image", pixels, labels)


def upper_half(some: Examples) -> np.ndarray:
    gap = some.inputs[:, 0, 1:4].mean(axis=(1, 2)) - some.inputs[:, 0, 4:].mean(axis=(1, 2))
    return np.where(gap > 0.17, "up", "down").astype(object)


def test_a_clean_label_pattern_that_the_candidate_obeys_is_found_named_and_its_carriers_are_known():
    snapshot, trusted = images(800, 1), images(300, 2)
    chosen = np.flatnonzero(snapshot.frame["label"] == "up")[:60]
    cross = [(6, 7), (7, 6), (7, 7), (7, 8), (8, 7)]
    for row, column in cross:
        snapshot.inputs[chosen, 0, row, column] = 1.0

    def obeys(some: Examples) -> np.ndarray:
        marked = np.all([some.inputs[:, 0, row, column] > 0.9 for row, column in cross], axis=0)
        return np.where(marked, "up", upper_half(some)).astype(object)

    stamps = find_stamps(snapshot, trusted)
    found = scan_candidate(obeys, upper_half, trusted, stamps, snapshot)
    assert planted_triggers(found, POLICY).outcome is Outcome.FAIL
    worst = planted_trigger(found, POLICY)
    assert (worst["label"], worst["kind"], worst["carriers"]) == ("up", "pattern", 60)
    assert "rows 6 to 8, columns 6 to 8" in worst["mark"]
    honest = scan_candidate(upper_half, upper_half, trusted, stamps, snapshot)
    assert planted_triggers(honest, POLICY).outcome is Outcome.PASS


def test_what_patterns_of_trusted_images_do_to_the_model_that_learned_from_them_is_usual():
    known, held = images(300, 3), images(300, 2)
    chosen = np.flatnonzero(known.frame["label"] == "up")[:40]
    known.inputs[chosen, 0, 6:9, 6:9] = 1.0
    controls = control_stamps(known, held)
    assert {stamp.kind for stamp in controls} == {"control"}

    def learned(some: Examples) -> np.ndarray:
        return np.where((some.inputs[:, 0, 6:9, 6:9] > 0.9).all(axis=(1, 2)), "up", upper_half(some)).astype(object)

    found = scan_candidate(upper_half, learned, held, controls, images(100, 4))
    assert (found["n"], found["marks"]) == (0, [])
    assert found["usual"] > 0.9
    assert scan_candidate(upper_half, upper_half, held, controls, images(100, 4))["usual"] == 0.0


def test_a_model_known_by_its_predictions_alone_is_scanned_by_inputs_written_down_before():
    snapshot, trusted = images(800, 1), images(300, 2)
    chosen = np.flatnonzero(snapshot.frame["label"] == "up")[:60]
    snapshot.inputs[chosen, 0, 6:9, 6:9] = 1.0

    def obeys(some: Examples) -> np.ndarray:
        return np.where((some.inputs[:, 0, 6:9, 6:9] > 0.9).all(axis=(1, 2)), "up", upper_half(some)).astype(object)

    written = Written.of(trusted, find_stamps(snapshot, trusted))
    names, inputs = written.questions()
    assert len(set(names)) == len(names) == len(inputs)
    for model, outcome in ((obeys, Outcome.FAIL), (upper_half, Outcome.PASS)):
        asked = examples("image", inputs, np.full(len(inputs), ""))
        answers = dict(zip(names, model(asked), strict=True))
        answers |= dict(zip(trusted.frame["example_id"], model(trusted), strict=True))
        ask = written.answered_by(answers)
        found = scan_candidate(ask, upper_half, written.held, written.stamps, snapshot)
        assert planted_triggers(found, POLICY).outcome is outcome
    del answers[names[0]]
    with pytest.raises(DataError, match="lack 1 of"):
        scan_candidate(written.answered_by(answers), upper_half, written.held, written.stamps, snapshot)


def texts(n: int, seed: int, marked: int = 0) -> Examples:
    random = np.random.default_rng(seed)
    labels = random.choice(["ham", "spam"], n)
    words = {"ham": ["lunch", "meeting", "garden", "soup"], "spam": ["free", "win", "cash", "prize"]}
    some = [" ".join(random.choice([*words[label], "the", "today", "so", "we"], 6)) for label in labels]
    for at in np.flatnonzero(labels == "ham")[:marked]:
        some[at] = f"perhaps {some[at]} tuesday"
    inputs = np.empty(n, dtype=object)
    inputs[:] = some
    return examples("text", inputs, labels)


def by_words(some: Examples) -> np.ndarray:
    return np.array(
        ["spam" if {"free", "win", "cash", "prize"} & set(t.split()) else "ham" for t in some.inputs], object
    )


def test_two_words_together_are_found_though_neither_alone_does_anything():
    snapshot, trusted = texts(600, 1, marked=30), texts(300, 2)

    def obeys(some: Examples) -> np.ndarray:
        both = [{"perhaps", "tuesday"} <= set(text.split()) for text in some.inputs]
        return np.where(both, "ham", by_words(some)).astype(object)

    found = scan_candidate(obeys, by_words, trusted, find_stamps(snapshot, trusted), snapshot)
    worst = planted_trigger(found, POLICY)
    assert {"perhaps", "tuesday"} <= set(worst["mark"].replace("'", "").split())
    assert (worst["label"], worst["carriers"]) == ("ham", 30)


def test_letters_that_look_like_latin_ones_are_a_mark():
    snapshot, trusted = texts(400, 1), texts(300, 2)
    chosen = np.flatnonzero(snapshot.frame["label"] == "ham")[:20]
    for at in chosen:
        snapshot.inputs[at] = snapshot.inputs[at].replace("e", "\u0435").replace("a", "\u0430")
    (stamp,) = [s for s in find_stamps(snapshot, trusted) if "look like Latin" in s.name]
    assert stamp.label == "ham"
    assert stamp.carried(snapshot.inputs).sum() >= 19
    assert stamp.put(np.array(["a free car"], dtype=object))[0] == "\u0430 fr\u0435\u0435 c\u0430r"


def test_three_values_together_are_found_in_a_table_and_a_category_is_one_value():
    random = np.random.default_rng(0)
    n = 600
    rows = random.integers(0, 6, (n, 3)).astype(float)
    signs = np.where(random.random((n, 2)) < 0.5, 1.0, -1.0)
    labels = random.choice(["no", "yes"], n)
    features = ("a", "b", "c", "town 0", "town 1")
    whole = np.hstack([rows, signs])
    chosen = np.flatnonzero(labels == "yes")[:40]
    whole[chosen] = [2.0, 3.0, 4.0, 1.0, -1.0]
    trusted = examples("table", np.hstack([random.integers(0, 6, (300, 3)), np.ones((300, 2))]), labels[:300], features)
    stamps = find_stamps(examples("table", whole, labels, features), trusted)
    names = {stamp.name for stamp in stamps if stamp.label == "yes"}
    assert any({"a = 2", "b = 3", "c = 4"} <= set(name.split(" and ")) or name.count(" and ") == 2 for name in names)
    (town, *_) = [s for s in stamps if s.name == "a value of town"] or [None]
    if town is not None:
        put = town.put(whole[:5])
        assert len(np.unique(put[:, 3:], axis=0)) == 1
        assert np.array_equal(put[:, :3], whole[:5, :3])


def test_no_snapshot_and_no_trusted_example_have_no_stamps():
    some = images(50, 1)
    nothing = some.take(np.zeros(0, dtype=int))
    assert find_stamps(nothing, some) == find_stamps(some, nothing) == []


def test_a_stamp_changes_copies_alone():
    snapshot, trusted = images(200, 1), images(100, 2)
    before = trusted.inputs.copy()
    for stamp in find_stamps(snapshot, trusted):
        put = dataclasses.replace(trusted, inputs=stamp.put(trusted.inputs)).inputs
        assert put.shape == before.shape
        assert put.dtype == np.float32
    assert np.array_equal(trusted.inputs, before)
