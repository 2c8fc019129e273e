"""How well reviewers agree: with colleagues who saw the same records blind, and with answers that are known."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["cohens_kappa"]


def cohens_kappa(pairs: Iterable[tuple[str, str]]) -> float | None:
    """Return Cohen's kappa of pairs of answers: 1 all agree, 0 as by chance; None without pairs, or one answer alone.

    >>> cohens_kappa([("release", "release"), ("reject", "reject"), ("reject", "release"), ("release", "release")])
    0.5

    References:
        Cohen, "A coefficient of agreement for nominal scales" (1960).
    """
    listed = list(pairs)
    n = len(listed)
    if not n:
        return None
    answers = {answer for pair in listed for answer in pair}
    observed = sum(one == other for one, other in listed) / n
    firsts, seconds = [one for one, _ in listed], [other for _, other in listed]
    by_chance = sum(firsts.count(a) * seconds.count(a) for a in answers) / n**2
    return None if by_chance == 1 else (observed - by_chance) / (1 - by_chance)
