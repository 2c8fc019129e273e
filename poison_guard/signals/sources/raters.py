"""How far raters can be believed: which side of the scale they take, and what others say of them as sources.

A rating of 4 does not contradict one of 5; one of 1 does. So ratings are compared by their side of the scale. Where the
sources rate each other (trust between traders, peers who grade peers), whoever is distrusted by raters that deserve
trust is no honest source, whatever it says itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from poison_guard.signals.sources.bridging import independent_weight

__all__ = ["Scale", "rated_by_others", "scale_of", "standing"]

_SCALES = (
    (0, 1), (-1, 1), (0.5, 5), (0, 5), (1, 7), (1, 10), (0, 10), (-5, 5), (-10, 10), (0, 100), (-100, 100)
)  # fmt: skip
_WILD = 0.001  # share of the ratings, at each end, that may lie outside the scale: one wild number moves nothing
_NUMBERS = 0.9  # share of the votes that must be numbers
_ROUNDS, _TOLERANCE = 100, 1e-6
_PRIOR = 2.0  # ratings' worth of the average, in how good an item is and how fair a rater
_OVERLAP = 0.5  # share of the raters that must be rated too
_SELF = 0.1  # ratings of oneself, by what chance gives, up to which the rated are the raters, ...
_EXPECTED = 5.0  # ... where chance would give so many; else pairs that rate each other, ...
_MUTUAL = 10.0  # ... so many times as often as by chance


@dataclass(frozen=True, slots=True)
class Scale:
    """The ends of a scale of ratings."""

    low: float
    high: float

    def place(self, rating: np.ndarray) -> np.ndarray:
        """Return where ratings lie, in [-1, 1]; 0 is the middle."""
        half = (self.high - self.low) / 2
        return np.clip((rating - self.low - half) / half, -1, 1)

    def sides(self, votes: pd.Series) -> pd.Series:
        """Return ``up`` or ``down`` per vote, None for the middle and for what is no number."""
        place = _placed(votes, self)
        said = pd.Series(np.select([place > 0, place < 0], ["up", "down"], ""), index=votes.index, dtype=object)
        return said.mask(said == "", None)


def scale_of(votes: pd.Series) -> Scale | None:
    """Return the first common scale that holds the ratings (all but one in 500), or their range; None for no numbers.

    >>> scale_of(pd.Series(["5", "4", "2"])), scale_of(pd.Series(["yes", "no"]))
    (Scale(low=0.5, high=5), None)
    """
    given = votes.dropna()
    numbers = pd.to_numeric(given, errors="coerce").to_numpy(float)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers) or len(numbers) < _NUMBERS * len(given):
        return None
    low, high = np.quantile(numbers, (_WILD, 1 - _WILD), method="inverted_cdf")
    ends = next(((a, b) for a, b in _SCALES if a <= low and high <= b), (float(low), float(high)))
    return Scale(*ends) if ends[0] < ends[1] else None


def rated_by_others(votes: pd.DataFrame) -> bool:
    """Return whether the items of `votes` (``item_id, source_id``) are its sources, and not items that share their ids.

    Half of the sources are rated, and hardly anybody rates itself where chance would make many do; or many more pairs
    rate each other than by chance.
    """
    pairs = votes[["item_id", "source_id"]].drop_duplicates().astype("str")
    names = pd.Index(pairs["item_id"].unique()).union(pairs["source_id"].unique())
    item, source = names.get_indexer(pairs["item_id"]), names.get_indexer(pairs["source_id"])
    got, given = (np.bincount(code, minlength=len(names)).astype(float) for code in (item, source))
    if not len(pairs) or ((got > 0) & (given > 0)).sum() < _OVERLAP * (given > 0).sum():
        return False
    by_chance, own = float((got * given).sum() / len(pairs)), int((item == source).sum())
    if by_chance >= _EXPECTED:
        return own <= _SELF * by_chance
    key = source * len(names) + item
    back = np.isin(item * len(names) + source, key[item != source])
    return back.sum() - own >= _MUTUAL * max(1.0, by_chance**2)


def standing(votes: pd.DataFrame, scale: Scale, *, seed: int) -> pd.DataFrame:
    """Return ``source_id, liked, disliked``: what raters say of sources in `votes` (``item_id, source_id, vote``).

    A source's goodness is the mean of its ratings, each weighed by how fair and how good its rater is and for how many
    independent raters that counts (`independent_weight`); a rater is fair as far as its ratings are near the goodness
    that others give. `liked` and `disliked` are the weights of the ratings above and below the middle. What a source
    says of itself does not count.

    References: Kumar et al. (2016), "Edge Weight Prediction in Weighted Signed Networks" (fairness and goodness);
    Kumar et al. (2018), "REV2: Fraudulent User Prediction in Rating Platforms".
    """
    said = votes[["item_id", "source_id"]].astype("str").assign(place=_placed(votes["vote"], scale)).dropna()
    said = said[said["item_id"] != said["source_id"]].groupby(["item_id", "source_id"], as_index=False).mean()
    names = pd.Index(said["item_id"].unique()).union(said["source_id"].unique())
    if said.empty:
        return pd.DataFrame({"source_id": names, "liked": np.zeros(0), "disliked": np.zeros(0)})
    item, source = names.get_indexer(said["item_id"]), names.get_indexer(said["source_id"])
    place = said["place"].to_numpy(float)
    weight = _trusted(item, source, place, len(names), seed)[source]
    liked, disliked = (np.bincount(item, weight * side, minlength=len(names)) for side in (place > 0, place < 0))
    return pd.DataFrame({"source_id": names, "liked": liked, "disliked": disliked})


def _placed(votes: pd.Series, scale: Scale) -> np.ndarray:
    return scale.place(pd.to_numeric(votes, errors="coerce").to_numpy(float))


def _trusted(item: np.ndarray, source: np.ndarray, place: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Return ``(size,)`` what a word of each source weighs, in [0, 1): the fixed point of fairness and goodness."""
    raters, rater = np.unique(source, return_inverse=True)
    base = np.zeros(size)
    base[raters] = independent_weight(np.unique(item, return_inverse=True)[1], rater, (place + 1) / 2, seed)
    given = np.bincount(source, minlength=size)
    fair, good, average = np.ones(size), np.zeros(size), 0.0
    for _ in range(_ROUNDS):
        w = _weight(base, fair, good, average)[source]
        average = float((w * place).sum() / max(w.sum(), 1e-12))
        top = np.bincount(item, w * place, minlength=size) + _PRIOR * average
        total = np.bincount(item, w, minlength=size) + _PRIOR
        by_others = (top[item] - w * place) / (total[item] - w)
        near = 1 - np.abs(place - by_others) / 2
        fair = (np.bincount(source, near, minlength=size) + _PRIOR * near.mean()) / (given + _PRIOR)
        before, good = good, top / total
        if np.abs(good - before).max() <= _TOLERANCE:
            break
    return _weight(base, fair, good, average)


def _weight(base: np.ndarray, fair: np.ndarray, good: np.ndarray, average: float) -> np.ndarray:
    """Return ``(size,)`` weights: a rater as good as the average counts whole, a worse one less."""
    return base * fair * np.minimum(1.0, (1 + good) / (1 + average + 1e-12))
