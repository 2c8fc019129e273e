from __future__ import annotations

import numpy as np
import pytest
import torch

from poison_guard.errors import UsageError
from poison_guard.signals.anomaly.autoencoder import Autoencoder

rng = np.random.default_rng(0)
hidden = rng.standard_normal((800, 2))
X = hidden @ rng.standard_normal((2, 6)) + 0.1 * rng.standard_normal((800, 6))


def test_what_breaks_the_relation_between_columns_is_strange():
    shuffled = np.column_stack([rng.permutation(column) for column in X[:100].T])
    detector = Autoencoder(device="cpu").fit(X)
    assert np.median(detector.score(shuffled)) > np.quantile(detector.score(X), 0.9)


def test_the_score_is_the_mean_of_its_parts():
    detector = Autoencoder(device="cpu").fit(X)
    np.testing.assert_allclose(detector.score(X[:20]), detector.explain(X[:20]).mean(axis=1), rtol=1e-5)


def test_rows_far_out_are_stranger_the_farther_they_are():
    detector = Autoencoder(device="cpu").fit(X)
    far = detector.score(X[:1] + np.array([[5.0], [20.0], [100.0], [1e4]]))
    assert (np.diff(far) > 0).all()


def test_training_leaves_the_random_state_of_torch_and_its_threads_alone():
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    Autoencoder(device="cpu", threads=2).fit(X)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("bad", [{"hidden": 0}, {"inner": 0}, {"epochs": 0}, {"noise": -1.0}, {"noise": float("nan")}])
def test_sizes_that_make_no_network_are_usage_errors(bad):
    with pytest.raises(UsageError, match="at least"):
        Autoencoder(**bad)
