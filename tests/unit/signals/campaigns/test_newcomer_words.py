from __future__ import annotations

import numpy as np

from poison_guard.signals.campaigns.minhash import sketch
from poison_guard.signals.campaigns.newcomer_words import groups_of_newcomers


def messages(rng: np.random.Generator, n: int) -> list[str]:
    return [" ".join(f"{k:x}{k % 89:02x}word" for k in rng.integers(0, 4000, 12)) for _ in range(n)]


def test_paraphrases_of_new_accounts_with_half_of_the_words_each_are_a_group_and_of_old_ones_are_none():
    rng = np.random.default_rng(0)
    honest, text = (
        messages(rng, 1500),
        np.array(["the", "quiet", "harbour", "bell", "rings", "twice", "before", "seven", "grey", "barges", "leave"]),
    )
    copies = [" ".join([*text[rng.random(11) < 0.5], *messages(rng, 1)[0].split()[:6]]) for _ in range(60)]
    sketches, new = sketch(honest + copies), np.r_[rng.random(1500) < 0.15, np.ones(60, bool)]
    groups, looked = groups_of_newcomers(sketches, new, alpha=0.001)
    rows = np.concatenate(groups)
    assert len(np.unique(rows)) == len(rows)
    assert (rows >= 1500).mean() > 0.9
    assert (rows >= 1500).sum() > 20
    assert looked > 1000
    new[1500:] = rng.random(60) < 0.15
    assert groups_of_newcomers(sketches, new, alpha=0.001)[0] == []


def test_nobody_new_and_empty_messages_make_no_group():
    assert groups_of_newcomers(sketch(["", "a b c"]), np.zeros(2, bool), alpha=0.001) == ([], 0)
    assert groups_of_newcomers(sketch([""] * 9), np.ones(9, bool), alpha=0.001)[0] == []
