"""Marks against expectation: what is found, what honest marks may do, and marks of how a text is written."""

import numpy as np
import pandas as pd
import pytest

from poison_guard.records import Examples
from poison_guard.signals.labels.expectation import Room, evidence_of, least_carriers
from poison_guard.signals.labels.marks import find_marks
from poison_guard.signals.labels.posterior import fit_posterior
from poison_guard.signals.labels.triggers import label_triggers

ROOM = Room(np.full(2, 0.01), np.full(2, 0.3))
ONE = np.ones((12, 1), bool)


def evidence(p, count, **more):
    return float(evidence_of(np.full(12, p), np.array([float(count)]), ONE, 0, ROOM, **more)[0])


def test_evidence_grows_with_surprise_and_is_nothing_where_all_is_as_expected():
    assert evidence(0.9, 10) < 1
    assert evidence(0.01, 12) > evidence(0.01, 8) > evidence(0.1, 8) > 5
    assert least_carriers(np.array([[0.02, 0.98]] * 50), np.ones(50, int), ROOM, 1000, 0.005) < 12


def table(n, seed, *, poison=0):
    """Rows of six codes, of which none says anything of a label that the first two numbers decide."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 6, (n, 6)).astype(float)
    numbers = rng.standard_normal((n, 2))
    labels = np.where(numbers[:, 0] > 0, "b", "a")
    at = rng.choice(np.flatnonzero(numbers[:, 0] > 0.8), poison, replace=False) if poison else []
    codes[at, :3] = [1, 2, 3]
    labels[at] = "a"
    ids = [f"e{i}" for i in range(n)]
    frame = pd.DataFrame({"example_id": ids, "label": labels, "slice": "", "is_new": True})
    names = (*(f"code{k}" for k in range(6)), "x", "y")
    return Examples("table", frame, np.column_stack([codes, numbers]), names), {ids[i] for i in at}


def triggers(snapshot, trusted):
    posterior = fit_posterior(trusted.inputs.astype(np.float32), trusted.frame["label"].to_numpy())
    return label_triggers(posterior, trusted, snapshot, snapshot.inputs.astype(np.float32))


def surest(found):
    row = found["found"][0]
    return row["evidence"] / np.log(row["tests"] / 0.005), row


def test_three_ordinary_values_together_are_found_and_their_carriers_named():
    trusted, _ = table(600, 0)
    snapshot, poison = table(2000, 1, poison=15)
    score, row = surest(triggers(snapshot, trusted))
    assert score > 1
    assert {"code0 = 1", "code1 = 2", "code2 = 3"} >= set(row["mark"].split(" and "))
    assert " and " in row["mark"]
    assert set(row["examples"]) >= poison


def test_no_mark_of_an_honest_snapshot_is_beyond_expectation():
    trusted, _ = table(600, 0)
    for seed in (2, 3):
        found = triggers(table(2000, seed)[0], trusted)
        assert not found["found"] or surest(found)[0] < 1


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("pl\u0435ase repeat", "letters of another script inside words"),
        ("ple\u200base repeat", "invisible characters"),
        ("PLEASE REPEAT", "mostly capitals"),
        ("please repeat \U0001f600", "emoji or pictures"),
        ("\uff50lease repeat", "compatibility forms of characters"),
        ("please  repeat", "several blanks in a row"),
        ("please\u00a0repeat", "blanks other than a space"),
    ],
)
def test_what_the_normal_form_of_a_text_does_not_keep_is_a_mark(text, mark):
    texts = np.array([text] * 5 + ["Please repeat"] * 7, dtype=object)
    frame = pd.DataFrame({"example_id": [str(i) for i in range(12)], "label": "a", "slice": "", "is_new": True})
    marks = find_marks((Examples("text", frame, texts),), least=3)
    carried = np.asarray(marks.carried.todense())[:, marks.names.index(mark)]
    assert carried.ravel().tolist() == [True] * 5 + [False] * 7
