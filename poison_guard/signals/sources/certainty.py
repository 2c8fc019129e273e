"""How certain each item's answer is: a posterior that fits this crowd, calibrated on controls and on how answers agree.

Three things make a plain posterior too sure, and each is measured here. The crowd may be weaker than strangers are
believed to be: the prior of a source's accuracy is that of this crowd. Sources may err on the same items: how answers
agree within items is compared with a crowd that errs independently. And sources may err alike, which no agreement
shows: that is what controls are for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from poison_guard.signals.sources.aggregators import (
    OPEN_ANSWERS,
    Candidates,
    Fit,
    Posterior,
    Prior,
    log_odds_gain,
)
from poison_guard.signals.sources.ballots import Ballots
from poison_guard.signals.sources.consensus import COLD_PRIOR, fit_consensus
from poison_guard.signals.sources.consensus_output import best_candidates, temper
from poison_guard.signals.sources.held_out import coin_held_out, confusion_held_out
from poison_guard.signals.votes import Votes

__all__ = ["MIN_CONTROLS", "Certainty", "certain"]

MIN_CONTROLS = 20
"""Controls answered by established sources, from which only these sources' answers to controls count."""
_STRENGTH = (3.0, 20.0)  # range of a + b of the crowd's accuracies
_FEW_SOURCES = 10.0  # sources' worth of belief that accuracies differ as those of strangers do
_GRID = np.array([0.0, 0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.45, 0.7, 1.0])  # correlations tried
_LEAST_MEAN = 0.003  # mean of the prior of the correlation where answers agree as independent ones do
_UNSEEN_PER_SEEN = 4.0  # what controls of real crowds show, over what the agreement alone does
_TAIL = 1e-3  # weight that every correlation keeps, so that controls can teach it
_DRAWN_CROWDS = 8  # that sources who err independently are drawn as: one alone varies as much as the crowd seen
_ENOUGH_ITEMS = 20_000  # items with several answers that show how answers agree; of more, some are drawn
_FEW_ITEMS = 50.0  # items' worth of doubt about how answers agree, at ...
_USUAL_CORRELATION = 0.03  # ... what real crowds show
_LEAST_LOG_LIKELIHOOD = -5.0  # of one control: no single one decides


@dataclass(frozen=True, slots=True)
class Certainty:
    """What the votes say; ``(c,)`` arrays are by candidate, ``(items,)`` by item."""

    candidates: Candidates
    probability: np.ndarray
    """``(c,)`` calibrated chance that the answer is true; of a control's as if it were not known."""
    agreed: np.ndarray
    """``(c,)`` the same as answers alone say it, before controls taught how far sources err alike."""
    best: np.ndarray
    """``(items,)`` candidate believed."""
    gain: np.ndarray
    """``(sources,)`` what a vote adds to the log odds of its answer."""
    checked: np.ndarray
    """``(items,)`` whether the item is a control with a vote that counts."""
    basis: str
    """Whose answers to controls counted: ``established``, ``all`` or, without any, ``none``."""
    correlation: float
    """Intra-item correlation of errors that the probabilities allow for."""
    doubtful: np.ndarray
    """``(items,)`` whether the model itself calls the item disputed (free text)."""


def certain(ballots: Ballots, model: str, earned: tuple[np.ndarray, np.ndarray], seed: int) -> Certainty:
    """Return how certain the answers are; `earned`: verified right and wrong answers ``(sources,)`` before these.

    References: Dawid & Skene (1979); Morris (1983), "Parametric Empirical Bayes Inference" (the crowd's prior); Kish
    (1965), "Survey Sampling" (the design effect of correlated answers).
    """
    votes, basis, checked = _weighed(ballots)
    unknown = np.full(len(votes.items), -1)
    prior = _crowd_prior(votes, unknown, earned)
    candidates, fit = _likeliest_fit(votes, ballots.control, model, prior)
    shown = replace(fit, unvoted=None)
    excess = np.maximum(np.bincount(votes.item, votes.weight, minlength=len(votes.items)) - 1, 0)
    r, raw = 0.0, fit.q
    agreed = raw
    if fit.raw is not None:
        usual = _LEAST_MEAN + _UNSEEN_PER_SEEN * _seen_correlation(votes, candidates, shown, seed)
        r = _correlation(votes, candidates, shown, ballots.control, checked, excess, usual)
        raw = temper(votes, candidates, shown, 1 / (1 + excess * r))[0]
        agreed = temper(votes, candidates, shown, 1 / (1 + excess * usual))[0] if checked.any() else raw
    counts = np.bincount(candidates.of_vote, votes.weight, minlength=len(candidates.item))
    best = best_candidates(candidates, raw, counts)[0] if fit.choice is None else fit.choice
    gain = log_odds_gain(fit.a, fit.b, _ways(votes))
    doubtful = np.zeros(len(best), bool) if fit.disputed is None else fit.disputed
    return Certainty(candidates, raw, agreed, best, gain, checked, basis, r, doubtful)


def _likeliest_fit(votes: Votes, control: np.ndarray, model: str, prior: Prior) -> tuple[Candidates, Fit]:
    """Return the fit with its `raw` probabilities by the other items alone; of two models the likelier one's.

    Confusion matrices that `model` allows are used where they predict the answers to items left out better than one
    accuracy a source does. A model without likelihood (free text) is returned as it is.
    """
    name, candidates, fit = fit_consensus(votes, control, model, prior)
    if fit.raw is None or not len(fit.q):
        return candidates, fit
    full = None if name == "one_coin" else confusion_held_out(votes, candidates, fit, prior)
    coin = fit if full is None else fit_consensus(votes, control, "one_coin", prior)[2]
    plain = coin_held_out(votes, candidates, coin)
    if full is not None and full.log_likelihood > plain.log_likelihood:
        return candidates, replace(fit, raw=full.posterior)
    return candidates, replace(coin, raw=plain.posterior)


def _weighed(ballots: Ballots) -> tuple[Votes, str, np.ndarray]:
    """Return the votes without newcomers' to controls, whose answers count there, and which controls have a vote.

    Controls can be recognised: a newcomer who answers them well proves nothing. Where too few controls have an
    answer of an established source, all answers count.
    """
    votes, known = ballots.votes, ballots.control[ballots.votes.item] >= 0
    if not known.any():
        return votes, "none", np.zeros(len(votes.items), bool)
    old = known & ballots.established & ~ballots.held
    basis = "all"
    if len(np.unique(votes.item[old])) >= MIN_CONTROLS:
        votes, basis = replace(votes, weight=np.where(known & ~ballots.established, 0.0, votes.weight)), "established"
    return votes, basis, (ballots.control >= 0) & (np.bincount(votes.item, votes.weight, len(votes.items)) > 0)


def _ways(votes: Votes) -> int:
    return min(max(len(votes.answers), 2), OPEN_ANSWERS)


def _crowd_prior(votes: Votes, unknown: np.ndarray, earned: tuple[np.ndarray, np.ndarray]) -> Prior:
    """Return Beta(a, b) of each source: the mean and spread of this crowd's accuracies, and what the source earned."""
    n = np.bincount(votes.source, votes.weight, minlength=len(votes.sources))
    mean, strength = COLD_PRIOR[0] / sum(COLD_PRIOR), sum(COLD_PRIOR)
    for _ in range(2):
        a, b = np.full(len(n), mean * strength), np.full(len(n), (1 - mean) * strength)
        fit = fit_consensus(votes, unknown, "one_coin", Prior(a, b))[2]
        mean, strength = _moments(np.clip(fit.a - a, 0, n), n, 1 / _ways(votes))
    return Prior(mean * strength + earned[0], (1 - mean) * strength + earned[1])


def _moments(right: np.ndarray, n: np.ndarray, chance: float) -> tuple[float, float]:
    """Return the mean and the strength (a + b) of the accuracies of which `right` of `n` answers a source are drawn."""
    some = n > 0
    rate, weight = right[some] / n[some], n[some] / (n[some] + sum(COLD_PRIOR) * 2)
    total = weight.sum() + 1e-9
    mean = float((weight @ rate) / total)
    between = float((weight @ (rate - mean) ** 2 - weight @ (mean * (1 - mean) / n[some])) / total)
    strange = mean * (1 - mean) / (sum(COLD_PRIOR) + 1)
    between = (between * some.sum() + _FEW_SOURCES * strange) / (some.sum() + _FEW_SOURCES)
    answers = n.sum()
    mean = (mean * answers + 10 * COLD_PRIOR[0]) / (answers + 10 * sum(COLD_PRIOR))
    return float(np.clip(mean, chance, 0.98)), float(np.clip(mean * (1 - mean) / max(between, 1e-6) - 1, *_STRENGTH))


def _correlation(
    votes: Votes,
    candidates: Candidates,
    fit: Fit,
    control: np.ndarray,
    checked: np.ndarray,
    excess: np.ndarray,
    usual: float,
) -> float:
    """Return the mean of the correlation, by how answers agree (`usual`, of its prior) and by controls' likelihood."""
    log_weight = np.log((np.exp(-_GRID / usual) / usual + _TAIL) * np.gradient(_GRID))
    if checked.any():
        some = checked[candidates.item]
        of = (np.cumsum(checked) - 1)[candidates.item[some]]
        m = int(checked.sum())
        few = Candidates(of, candidates.answer[some], candidates.of_vote[:0], np.searchsorted(of, np.arange(m)))
        small = fit if fit.raw is None else replace(fit, raw=Posterior(fit.raw.log_q[some], fit.raw.rest[checked]))
        right = control[checked][of] == few.answer
        for at, r in enumerate(_GRID):
            q = temper(votes, few, small, 1 / (1 + excess[checked] * r))[0]
            truth = np.bincount(of, q * right, minlength=m)
            never = np.clip(1 - np.bincount(of, q, minlength=m), 0, 1)
            told = np.where(np.bincount(of, right, minlength=m) > 0, truth, never)
            log_weight[at] += np.maximum(np.log(np.maximum(told, 1e-9)), _LEAST_LOG_LIKELIHOOD).sum()
    weight = np.exp(log_weight - log_weight.max())
    return float(weight @ _GRID / weight.sum())


def _seen_correlation(votes: Votes, candidates: Candidates, fit: Fit, seed: int) -> float:
    """Return by how much agreement within items varies more than if sources erred independently, as a correlation.

    Compared with crowds drawn with the same sources on the same items. Errors that all make alike do not show.
    """
    k, items = _ways(votes), len(votes.items)
    several = np.bincount(votes.item, votes.weight > 0, minlength=items) > 1
    if several.sum() < 2:
        return _USUAL_CORRELATION
    rng = np.random.default_rng(seed)
    if several.sum() > _ENOUGH_ITEMS:
        shown = rng.permutation(np.flatnonzero(several))[:_ENOUGH_ITEMS]
        several = np.isin(np.arange(items), shown)
    counted = (votes.weight > 0) & several[votes.item]
    item = (np.cumsum(several) - 1)[votes.item[counted]]
    accuracy = (fit.a / (fit.a + fit.b))[votes.source[counted]]
    size = np.bincount(item)
    drawn = []
    for _ in range(_DRAWN_CROWDS):
        said = np.where(rng.random(len(item)) < accuracy, 0, rng.integers(1, k, len(item)))  # 0 stands for the truth
        drawn.append(_pair_agreement(item * k + said, np.arange(len(size) * k) // k, size).var())
    shown = several[candidates.item]
    of = (np.cumsum(shown) - 1)[candidates.of_vote[counted]]
    seen = _pair_agreement(of, (np.cumsum(several) - 1)[candidates.item[shown]], size)
    excess = float(size.mean() - 1)
    found = max(0.0, (float(seen.var()) / max(float(np.mean(drawn)), 1e-9) - 1) / excess)
    n = float(len(size))
    return (n * found + _FEW_ITEMS * _USUAL_CORRELATION) / (n + _FEW_ITEMS)


def _pair_agreement(key: np.ndarray, item: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return the share of agreeing pairs of each item, all of several votes; `key` names a vote's (item, answer)."""
    n = np.bincount(key, minlength=len(item))
    return np.bincount(item, n * (n - 1), minlength=len(size)) / (size * (size - 1))
