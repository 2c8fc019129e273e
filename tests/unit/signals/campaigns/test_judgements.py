from __future__ import annotations

import numpy as np

from poison_guard.signals.campaigns.judgements import Texts, preferences
from poison_guard.signals.campaigns.words import words


def test_of_replies_that_nobody_else_judged_nothing_is_said_by_records_whose_replies_come_again():
    rng = np.random.default_rng(0)
    said = [" ".join(f"w{k}" for k in rng.integers(0, 400, 30)) for _ in range(200)]
    pair = np.repeat(np.arange(100), 5)
    chosen, rejected = ([said[2 * k + side] for k in pair] for side in (0, 1))
    texts = Texts([b""] * 500, words(chosen), words(rejected), np.ones(500))
    left_out = np.flatnonzero(pair < 12)
    judged = preferences(texts, without=left_out)
    assert judged is not None
    assert np.all(judged.expected[left_out] == 0.5)
    assert np.all(judged.expected[pair >= 12] < 0.1)
