from __future__ import annotations

import numpy as np
import pytest

from poison_guard.signals.anomaly.base import TailRank


def test_tail_ranks_rise_with_the_score_and_go_on_past_the_largest():
    rank = TailRank.fit(np.random.default_rng(0).standard_normal(500))
    values = rank.apply(np.linspace(-5, 50, 200))
    assert (np.diff(values) >= 0).all()
    assert values[0] == pytest.approx(0)
    assert values[-1] > values[100] > np.log(500)


def test_tail_ranks_of_equal_scores_are_finite():
    assert np.isfinite(TailRank.fit(np.zeros(10)).apply(np.array([-1.0, 0.0, 1e12]))).all()
