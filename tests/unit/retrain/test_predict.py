from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from torch import nn

from poison_guard.config.policies import RetrainConfig
from poison_guard.errors import DataError
from poison_guard.retrain.inputs import INPUTS
from poison_guard.retrain.train import train_classifier
from poison_guard.retrain.trained_model import predict_probabilities


@pytest.mark.parametrize("kind", sorted(INPUTS))
def test_probabilities_add_up_and_do_not_depend_on_the_size_of_batches(small, kind):
    examples = small(kind)
    model = train_classifier(examples, RetrainConfig(epochs=2), device="cpu")
    whole = predict_probabilities(model, examples)
    np.testing.assert_allclose(whole.sum(axis=1), 1.0)
    assert whole.dtype == np.float64
    np.testing.assert_allclose(predict_probabilities(model, examples, batch=7), whole, atol=1e-6)
    assert predict_probabilities(model, examples.take(np.arange(0))).shape == (0, 2)


def test_labels_the_model_does_not_know_have_no_output(small):
    model = train_classifier(small("table"), RetrainConfig(epochs=1), device="cpu")
    assert model.targets(["fine", "bad", "other"]).tolist() == [1, 0, -1]


def test_examples_of_another_kind_and_outputs_that_are_no_numbers_are_refused(small):
    examples = small("table")
    model = train_classifier(examples, RetrainConfig(epochs=1), device="cpu")
    with pytest.raises(DataError, match="kind table"):
        predict_probabilities(model, small("text"))
    broken = nn.Linear(6, 2)
    nn.init.constant_(broken.weight, float("nan"))
    with pytest.raises(DataError, match="no numbers"):
        predict_probabilities(dataclasses.replace(model, module=broken), examples)
