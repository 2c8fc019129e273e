"""p-values as people say them."""

from __future__ import annotations

import pytest

from poison_guard.text import p_value_text


@pytest.mark.parametrize(
    ("p", "told"),
    [
        (None, "–"),
        (1.0, "1"),
        (0.034, "0.034"),
        (0.001, "1 in 1,000"),
        (1 / 12_345, "1 in 12,000"),
        (2e-8, "1 in 50 million"),
        (0.0, "under 1 in a billion"),
    ],
)
def test_a_chance_is_told_in_words(p, told):
    assert p_value_text(p) == told
