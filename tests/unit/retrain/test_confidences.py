"""What a model gives out of its confidences, and how well its training examples can be told."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from poison_guard.errors import UsageError
from poison_guard.records import Examples
from poison_guard.retrain import membership as room
from poison_guard.retrain.confidences import SAID, coarse


@pytest.mark.parametrize("said", SAID)
def test_the_label_stays_what_it_is(said):
    p = np.random.default_rng(0).dirichlet(np.ones(4), 500)
    assert (coarse(p, said).argmax(axis=1) == p.argmax(axis=1)).all()


def test_a_tie_after_rounding_does_not_move_the_label():
    assert coarse(np.array([[0.46, 0.48, 0.06]]), "rounded").tolist() == [[0.4, 0.5, 0.1]]


def test_an_unknown_way_is_named():
    with pytest.raises(UsageError, match="full, rounded, none, got 'half'"):
        coarse(np.ones((1, 1)), "half")


@dataclasses.dataclass
class _Model:
    sure: float

    def targets(self, labels):
        return np.array([int(label) for label in labels])


def _examples(n, label="1"):
    import pandas as pd

    return Examples("table", pd.DataFrame({"example_id": map(str, range(n)), "label": label}), np.zeros((n, 1)), ("a",))


def test_a_model_that_is_surer_of_what_it_learned_is_told(monkeypatch):
    seen = iter([np.array([[0.0, 0.99]] * 50), np.array([[0.3, 0.7]] * 200)])
    monkeypatch.setattr(room, "predict_probabilities", lambda model, some: next(seen))
    assert room.membership(_Model(1.0), _examples(50), _examples(200)) == {"n": 50, "auc": 1.0, "found": 1.0}
    same = iter([np.array([[0.0, 0.9]] * 50)] * 2)
    monkeypatch.setattr(room, "predict_probabilities", lambda model, some: next(same))
    assert room.membership(_Model(1.0), _examples(50), _examples(50)) == {"n": 50, "auc": 0.5, "found": 0.0}


def test_nothing_trained_on_tells_nothing():
    assert room.membership(_Model(1.0), _examples(0), _examples(5)) == {}
