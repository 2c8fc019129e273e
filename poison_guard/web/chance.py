"""p-values as people say them."""

from __future__ import annotations

__all__ = ["chance"]


def chance(p: float | None) -> str:
    """Return a p-value in words that need no logarithm.

    >>> chance(0.034), chance(0.0000831), chance(2e-8), chance(1e-12)
    ('0.034', '1 in 12,000', '1 in 50 million', 'under 1 in a billion')
    """
    if p is None:
        return "–"
    if p >= 0.01:
        return f"{p:.2g}"
    if p < 1e-9:
        return "under 1 in a billion"
    ratio = 1 / p
    if ratio >= 1e6:
        return f"1 in {ratio / 1e6:.2g} million" if ratio < 1e8 else f"1 in {round(ratio / 1e6):,} million"
    digits = 10 ** max(len(str(int(ratio))) - 2, 0)
    return f"1 in {round(ratio / digits) * digits:,}"
