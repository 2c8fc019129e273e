"""Near-copies count once: only suspicious ones go, each beside one that stays, and honest data keeps its rows."""

from __future__ import annotations

import numpy as np
import pytest

from poison_guard.signals.labels.posterior import Posterior, fit_posterior
from poison_guard.signals.labels.triggers import harmless_repeats, keep_first_copy


@pytest.fixture(scope="module")
def posterior() -> Posterior:
    """Two labels, eight standard deviations apart in one of eight directions."""
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b"], 200)
    vectors = rng.normal(size=(400, 8))
    vectors[200:, 0] += 8
    return fit_posterior(vectors.astype(np.float32), labels)


def around(centre: float, n: int, spread: float, seed: int = 1) -> np.ndarray:
    """Return n vectors near one place."""
    rng = np.random.default_rng(seed)
    place = np.zeros(8)
    place[0] = centre
    return (place + spread * rng.normal(size=(n, 8))).astype(np.float32)


def test_of_denied_near_copies_the_first_stays(posterior: Posterior) -> None:
    stays = keep_first_copy(posterior, around(8, 50, 0.01), np.array(["a"] * 50))
    assert stays.tolist() == [True] + [False] * 49


def test_denied_examples_that_are_no_copies_all_stay(posterior: Posterior) -> None:
    assert keep_first_copy(posterior, around(8, 50, 1.0), np.array(["a"] * 50)).mean() > 0.9


def test_copies_that_nobody_denies_stay(posterior: Posterior) -> None:
    assert keep_first_copy(posterior, around(8, 50, 0.01), np.array(["b"] * 50)).all()


def test_copies_under_two_labels_leave_one_of_each(posterior: Posterior) -> None:
    labels = np.array(["a", "unheard of"] * 25)
    assert keep_first_copy(posterior, around(8, 50, 0.01), labels).sum() == 2


def test_a_chain_of_neighbours_does_not_melt_into_one(posterior: Posterior) -> None:
    chain = np.zeros((100, 8), dtype=np.float32)
    chain[:, 0], chain[:, 1] = 8, np.linspace(0, 60, 100)
    assert keep_first_copy(posterior, chain, np.array(["a"] * 100)).sum() > 10


def test_a_harmless_text_that_goes_round_counts_once_though_some_copies_alone_would_be_doubted(
    posterior: Posterior,
) -> None:
    meme = np.concatenate([around(8, 30, 0.02), around(8, 20, 0.02, seed=2)])
    one = np.array(["b"] * 50)
    assert harmless_repeats(posterior, meme, one, np.ones(50, bool)).sum() == 49
    assert not harmless_repeats(posterior, meme, np.array(["a"] * 50), np.ones(50, bool)).any()
    assert not harmless_repeats(posterior, meme, one, np.zeros(50, bool)).any()
