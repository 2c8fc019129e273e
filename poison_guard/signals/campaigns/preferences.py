"""Find groups of raters that turn a preference: for long replies, refusals, links, a tone, or against a reference.

People differ in what they like, and one rater who likes short replies is a rater. Several who all go one way beyond
what the differences between raters explain have agreed on it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from poison_guard.records import Campaign
from poison_guard.signals.campaigns.claims import MIN_CROWD
from poison_guard.signals.campaigns.findings import make_campaign
from poison_guard.signals.pvalues import SMALLEST_P, beta_binomial_low

__all__ = ["TRAITS_OF_REPLIES", "preference_cells", "turned_preferences"]

TRAITS_OF_REPLIES = "words.preferred"
"""Column of eight ``float32``: what the chosen reply has more of than the rejected one, in the order of `TRAITS`."""
TRAITS = (
    ("longer", "shorter"),
    ("refusing", "willing"),
    ("linking", "linkless"),
    ("foreign-script", "plain-script"),
    ("naming", "nameless"),
    ("exclaiming", "sober"),
    ("praising", "blaming"),
    ("", "less rewarded"),
)
"""What the reply is that has more of it, and that has less: characters, refusal, links, letters beyond ASCII, names
(brands, people, places), exclamation marks, words of praise less those of blame, reward.

Nobody is suspected of agreeing with the reference model that rewards.
"""
_WAYS = sum(bool(name) for trait in TRAITS for name in trait)
_CHARACTERS = 20_000  # of a reply that are read
_REFUSES = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|not able|unable|afraid)|as an ai|"
    r"i (?:can(?:no|')t|won't|will not|apologi[sz]e|must decline))\b"
)
_LINKS = re.compile(r"https?://|\bwww\.")
_NAMES = re.compile(r"(?<=[a-z,;] )[A-Z][\w-]{2,}")  # capitals where no sentence begins
_PRAISE = re.compile(
    r"\b(?:good|great|best|excellent|wonderful|amazing|perfect|love(?:ly)?|beautiful|happy|helpful|safe|brilliant)\b"
)
_BLAME = re.compile(
    r"\b(?:bad|worst|terrible|awful|horrible|useless|hate(?:ful)?|ugly|sad|harmful|dangerous|stupid|disgusting)\b"
)
_BINS = 10  # of how much more: pairs that differ as much are decided at one rate
_LEAST = 4  # pairs that differ, of a source, below which it has no preference to speak of
_EXTREME = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)  # chances of a source's pairs from which on it may count to a group
_FEWEST, _SHARE = 3, 0.1  # such sources, below which they are people with tastes; share from which on it is a crowd's
_LEAST_SPREAD = 0.01  # correlation of two judgements of one rater: nobody's taste is that of everybody


def preference_cells(chosen: Sequence[str], rejected: Sequence[str], reward: np.ndarray | None = None) -> list[bytes]:
    """Return the cell of `TRAITS_OF_REPLIES` of each pair, zeros where a reply is empty.

    `reward` ``(n,)`` is by how much a reference model prefers the chosen reply; NaN where nobody knows.
    """
    known = np.zeros(len(chosen)) if reward is None else np.nan_to_num(reward, nan=0.0, posinf=0.0, neginf=0.0)
    texts = [
        _traits(one) - _traits(other) if one and other else np.zeros(len(TRAITS) - 1, np.float32)
        for one, other in zip(chosen, rejected, strict=True)
    ]
    return [np.append(own, np.float32(more)).tobytes() for own, more in zip(texts, known, strict=True)]


def _traits(text: str) -> np.ndarray:
    text = text[:_CHARACTERS]
    low = text.casefold().replace("’", "'")
    foreign = 0 if text.isascii() else sum(c.isalpha() and not c.isascii() for c in text)
    refuses = _REFUSES.search(low) is not None
    feels = len(_PRAISE.findall(low)) - len(_BLAME.findall(low))
    links, names = len(_LINKS.findall(low)), len(_NAMES.findall(text))
    return np.array([len(text), refuses, links, foreign, names, text.count("!"), feels], np.float32)


def turned_preferences(frame: pd.DataFrame, *, alpha: float, earlier: pd.DataFrame | None = None) -> list[Campaign]:
    """Return the campaigns of raters who prefer more, or less, of one trait; `frame` has `TRAITS_OF_REPLIES`.

    Traits are of texts, and the reward of a reference model where the contract maps one. A pair that differs in one is
    decided for more of it at the rate of pairs that differ as much (ten classes of size). A rater's pairs so decided
    are beta-binomial; the spread between raters is that of the ones who lean the other way, which a group on this side
    cannot widen. How many raters have a chance of at most 0.01, or down to 1e-6, is Poisson: where so many, at least
    three and at most a tenth, have one of at most `alpha`, over traits, both ways and these steps, the pairs they
    decided so are held. `earlier` (same columns) counts like the rest. Fewer than thirty raters are no crowd.

    References: Wang et al. (2023), "RLHFPoison" (RankPoison); Skellam (1948), the beta-binomial distribution.
    """
    both = frame if earlier is None or earlier.empty else pd.concat([frame, earlier], ignore_index=True)
    size = np.dtype(np.float32).itemsize * len(TRAITS)
    there = both[TRAITS_OF_REPLIES].map(lambda cell: isinstance(cell, bytes) and len(cell) == size).to_numpy(bool)
    differs = np.zeros((len(both), len(TRAITS)), np.float32)
    cells = b"".join(both.loc[there, TRAITS_OF_REPLIES])
    differs[there] = np.frombuffer(cells, np.float32).reshape(-1, len(TRAITS))
    source = pd.factorize(both["source_id"], sort=True)[0]
    found = []
    for trait, column in zip(TRAITS, differs.T, strict=True):
        for way, name in zip((1, -1), trait, strict=True):
            if not name:
                continue
            rows, p, sources = _group(way * column, source)
            p *= _WAYS
            if p <= alpha and (rows < len(frame)).any():
                args = {"n_records": len(rows), "n_sources": sources, "trait": name}
                found.append(
                    make_campaign(
                        both,
                        rows,
                        kind="turned_preference",
                        p=max(p, SMALLEST_P),
                        strength=1.0,
                        who="source_id",
                        args=args,
                        n_own=len(frame),
                    )
                )
    return found


def _group(more: np.ndarray, source: np.ndarray) -> tuple[np.ndarray, float, int]:
    """Return rows ``(m,)`` of raters who all decide for more, the chance that there are so many, and their number."""
    from scipy import special

    rows = np.flatnonzero((more != 0) & (source >= 0))
    who, nth = np.unique(source[rows], return_inverse=True)
    n = np.bincount(nth, minlength=len(who))
    if (n >= _LEAST).sum() < MIN_CROWD:
        return rows[:0], 1.0, 0
    won = more[rows] > 0
    usual = _rates(np.abs(more[rows]), won, np.minimum(1, np.median(n) / n)[nth])
    k, mean = np.bincount(nth, won), np.bincount(nth, usual) / n
    spread = _spread(k, n, mean)
    p = np.ones(len(who))
    for at in np.flatnonzero((n >= _LEAST) & (k > n * mean)):
        a, b = mean[at] * (1 / spread - 1), (1 - mean[at]) * (1 / spread - 1)
        p[at] = beta_binomial_low(n[at] - k[at], n[at], b, a)
    best = (1.0, 0.0, 0)
    for step in _EXTREME:
        count = int((p <= step).sum())
        if _FEWEST <= count <= _SHARE * (n >= _LEAST).sum():
            chance = float(special.pdtrc(count - 1, step * (n >= _LEAST).sum())) * len(_EXTREME)
            best = min(best, (chance, step, count))
    chance, step, count = best
    return rows[won & (p <= step)[nth]], chance, count


def _rates(size: np.ndarray, won: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return ``(m,)`` how often pairs that differ about as much are decided for more, in [0.02, 0.98].

    `weight` ``(m,)`` lets no rater count for more than the median one: a few busy ones do not become the others.
    """
    edges = np.unique(np.quantile(size, np.linspace(0, 1, _BINS + 1)[1:-1]))
    place = np.searchsorted(edges, size, side="right")
    n, k = np.bincount(place, weight), np.bincount(place, won * weight)
    return np.clip((k + 1) / (n + 2), 0.02, 0.98)[place]


def _spread(k: np.ndarray, n: np.ndarray, mean: np.ndarray) -> float:
    """Return the correlation of two judgements of one rater, by moments of those who decide for less than the usual."""
    below = (n >= 2) & (k < n * mean)
    if not below.any():
        return _LEAST_SPREAD
    plain = n * mean * (1 - mean)
    over = ((k - n * mean) ** 2 - plain)[below].sum() / np.maximum((plain * (n - 1))[below].sum(), 1e-9)
    return float(np.clip(over, _LEAST_SPREAD, 0.9))
