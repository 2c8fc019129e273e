"""The label signal through the whole line: examples with content of their own, good and bad."""

import json

import numpy as np
import pandas as pd
import pytest

from poison_guard.config import parse_contract
from poison_guard.decide.reasons import sentence
from tests.unit.pipeline.conftest import NOW, decide, make_batch, make_state

KINDS = {"image": {"image": "image"}, "text": {"text": "text"}, "table": {"features": ["size", "colour"]}}


def feed(kind, **policy):
    columns = {"record_id": "id", "label": "label", **KINDS[kind]}
    return parse_contract({"name": "made", "kind": "examples", "columns": columns, "policy": policy})


def rows(kind, n, seed, prefix="r"):
    """Examples of two labels, one in a hundred of which nobody could tell."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    names = [f"{prefix}{seed}-{k:04d}" for k in range(n)]
    frame = pd.DataFrame({"record_id": names, "content_hash": [f"{name:0>32}" for name in names]})
    frame["object"], frame["row"] = "mem", np.arange(1, n + 1)
    frame["received_at"] = pd.Series([pd.Timestamp(NOW)] * n).astype("datetime64[us, UTC]")
    frame["label"] = pd.Series(np.where(y == 1, "loud", "calm"), dtype="str")
    if kind == "image":
        pixels = rng.integers(0, 60, (n, 8, 8))
        pixels[:, 1:7, 2] += 150 * (1 - y[:, None])
        pixels[:, 4, 1:7] += 150 * y[:, None]
        frame["image"] = pd.Series([json.dumps(image.tolist()) for image in pixels], dtype="str")
    elif kind == "text":
        words = np.where(y[:, None] == 1, ["storm", "shout", "siren"], ["sleep", "whisper", "quiet"])
        more = rng.choice(["tea", "bus", "soup", "park", "rain", "desk"], (n, 3))
        picked = words[np.arange(n)[:, None], rng.integers(0, 3, (n, 2))]
        frame["text"] = pd.Series([" ".join([*a, *b]) for a, b in zip(picked, more, strict=True)], dtype="str")
    else:
        frame["feature.size"] = rng.standard_normal(n) + 4 * y
        frame["feature.colour"] = pd.Series(np.where(rng.random(n) < 0.8, y, 1 - y), dtype="str").map(
            {"1": "red", "0": "blue"}
        )
    return frame


def trusted(kind):
    return make_state(reference=rows(kind, 250, 1), calibration=rows(kind, 320, 2))


def judged(frame, contract, state):
    decided = decide(make_batch(frame), contract, state)
    actions = decided.decisions.set_index("record_id")["action"].reindex(frame["record_id"])
    return actions.to_numpy(), decided


@pytest.mark.parametrize("kind", KINDS)
def test_records_with_a_wrong_label_are_held_and_told_why(kind):
    frame = rows(kind, 200, 3)
    frame.loc[:9, "label"] = frame.loc[:9, "label"].map({"calm": "loud", "loud": "calm"})
    actions, decided = judged(frame, feed(kind), trusted(kind))
    assert (actions[:10] == "quarantine").sum() >= 7
    assert (actions[10:] == "quarantine").mean() <= 0.05
    told = decided.evidence[decided.evidence["signal"] == "label"]
    assert set(told["code"]) <= {"label_denied", "label_unlikely"}
    row = told[told["record_id"] == frame["record_id"][0]].iloc[0]
    assert "not" in sentence(row["code"], json.loads(row["args"])) or row["code"] == "label_unlikely"
    assert decided.phase.value == "enforcing"


def test_an_image_of_another_size_and_what_is_no_image_are_held_with_the_reason():
    frame = rows("image", 60, 4)
    frame.loc[0, "image"] = json.dumps([[1, 2], [3, 4]])
    frame.loc[1, "image"] = "no picture"
    frame.loc[2, "image"] = json.dumps([[999] * 8] * 8)
    frame.loc[3, "image"] = None
    actions, decided = judged(frame, feed("image"), trusted("image"))
    assert set(actions[:4]) == {"quarantine"}
    assert (actions[4:] == "accept").mean() > 0.9
    told = decided.evidence.set_index("record_id").loc[frame["record_id"][0]]
    assert sentence(told["code"], json.loads(told["args"])).endswith(
        "its shape is 1x2x2, that of the trusted ones 1x8x8"
    )


def test_without_trusted_labels_records_are_staged_and_not_accepted():
    frame = rows("text", 50, 5)
    for state in (
        make_state(),
        make_state(reference=rows("text", 250, 1).drop(columns="label"), calibration=rows("text", 9, 2)),
    ):
        actions, decided = judged(frame, feed("text"), state)
        assert set(actions) == {"quarantine"}
        assert set(decided.decisions["place"]) == {"staged"}
        assert {note.code for note in decided.notes} & {"no_trusted_set", "signal_silent", "few_calibration_rows"}


def test_where_trusted_records_have_no_labels_the_other_signals_judge_and_a_note_tells():
    state = trusted("table")
    state.reference["label"] = state.calibration["label"] = None
    frame = rows("table", 100, 5)
    frame.loc[0, "feature.size"] = 1e9
    actions, decided = judged(frame, feed("table"), state)
    assert actions[0] == "quarantine"
    assert (actions == "accept").mean() > 0.9
    assert "did not run: the trusted records have no labels" in sentence(*told_of("signal_silent", decided))
    assert "label" not in decided.measurements["coverage"]["compared"]
    named, _ = judged(frame, feed("table", required=["anomaly", "label"]), state)
    assert set(named) == {"quarantine"}


def test_a_few_trusted_labels_do_not_keep_the_features_from_being_judged():
    state = trusted("table")
    state.calibration.loc[90:, "label"] = None
    actions, decided = judged(rows("table", 100, 6), feed("table"), state)
    assert (actions == "accept").mean() > 0.9
    assert told_of("few_calibration_rows", decided)[1]["n"] == 90


def test_labels_and_features_together_need_no_more_rows_than_features_alone():
    state = make_state(reference=rows("table", 198, 1), calibration=rows("table", 119, 2))
    frame = rows("table", 100, 8)
    frame.loc[0, "feature.size"] = 1e9
    frame.loc[1, ["feature.size", "feature.colour", "label"]] = [9.0, "red", "calm"]
    actions, decided = judged(frame, feed("table"), state)
    assert decided.phase.value == "enforcing"
    assert actions[:2].tolist() == ["quarantine"] * 2


def told_of(code, decided):
    return next((note.code, note.args) for note in decided.notes if note.code == code)


def test_a_trusted_set_of_one_label_cannot_judge():
    state = make_state(
        reference=rows("table", 250, 1).assign(label="calm"), calibration=rows("table", 320, 2).assign(label="calm")
    )
    _, decided = judged(rows("table", 50, 6), feed("table", required=["label"]), state)
    assert "no two labels" in str([note.args for note in decided.notes])


def test_a_trusted_label_with_one_row_and_records_without_a_label_do_no_harm():
    state = trusted("text")
    state.reference.loc[0, "label"] = "rare"
    frame = rows("text", 100, 7)
    frame.loc[:4, "label"] = None
    actions, _ = judged(frame, feed("text"), state)
    assert set(actions[:5]) == {"accept"}
    assert (actions == "accept").mean() > 0.9


def test_votes_are_never_judged_by_their_label():
    columns = {"record_id": "id", "label": "label", "item_id": "item", "source_id": "who", "text": "text"}
    assert "label" not in parse_contract({"name": "votes", "kind": "messages", "columns": columns}).signals
