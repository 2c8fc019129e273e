"""How far each source can be believed: this batch's ledger deltas, a Beta posterior and an honest-source p-value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.signals.pvalues import beta_binomial_low, beta_low
from poison_guard.signals.sources.consensus import COLD_PRIOR
from poison_guard.signals.sources.honest_sources import detect_changes, fit_honest_prior
from poison_guard.signals.votes import Votes, control_codes, encode, known_answers

__all__ = ["score_history", "score_sources"]


_HISTORY = ("controls_right", "controls_wrong", "agreed", "disagreed", "outcomes_right", "outcomes_wrong")
_AGREEMENT_WORTH = 0.25  # of a verified answer, in the posterior
_AGREEMENT_MOST = 5.0  # verified answers that all unverified agreement together can be worth
_AGREEMENT_COUNTED = 50  # answers of a batch that the agreement test looks at
_JURY = 2  # others who must give the agreed answer, as at least two thirds of all others
_CAP = 10.0  # agreement that no established source backs cannot go below this many alphas: alone it holds nobody
_REASON_FROM = 0.05
_ESTEEM = 0.97  # of the opinions about an honest source that may be good, in the mean: nearly all are
_ASKED, _ODD, _ODD_MOST = 5, 0.01, 0.15  # more than 15 % of the judges with 5 answers and more at p <= 0.01 ...
_ONE_VOICE = 0.6  # ... whose dissenting answers are pairwise equal this often: the consensus itself is in doubt


@dataclass(frozen=True, slots=True)
class _Counts:
    """Per-source counts of one kind, ``(sources,)`` each."""

    right: np.ndarray
    wrong: np.ndarray

    @property
    def n(self) -> np.ndarray:
        return self.right + self.wrong


@dataclass(frozen=True, slots=True)
class _Test:
    """One test of all sources: what it shows as its reason, the honest crowd it assumes, and its p-values."""

    name: str
    shown: _Counts
    crowd: tuple[float, float]
    p: np.ndarray


def score_sources(
    votes: pd.DataFrame,
    *,
    ledger: pd.DataFrame,
    controls: pd.DataFrame | None,
    alpha: float,
    established: pd.Series | None = None,
    verified: pd.DataFrame | None = None,
    half_life: float = 0.0,
    standing: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return one row a source of `votes` (``item_id, source_id, vote`` and perhaps ``observed_at``), sorted by id.

    Columns: ``source_id, n, controls_right, controls_wrong, agreed, disagreed`` (this batch alone: the ledger's
    deltas), ``reliability, lower_bound`` (mean and 5 % quantile of the Beta posterior, ledger included), ``p`` in
    (0, 1]: the chance that an honest source looks like this or worse, ``code, args`` of the reason where ``p <= 0.05``.

    Verified answers (controls and outcomes, all and this batch's) and these together with agreement are tested, each
    against an overdispersed honest crowd, and the smallest p is corrected for their number. Agreement is with what at
    least two others and two thirds of them say of an item; where `established` (bool a row) names anybody, only they
    are the others. Otherwise anyone may be, so agreement cannot bring p below ten times `alpha`; nor below 0.05 where
    more than 15 % of the judges dissent with one voice: a hostile majority must not condemn the honest.

    `verified` are the sources' newest verified answers (``source_id, at, right``, oldest first). With this batch's
    controls after them they show who has changed (`detect_changes`), whatever the record; that p-value stands beside
    the others, each at its own rate of false alarms. With a `half_life`, in verified answers, an earlier one counts
    half in the posterior; 0 forgets nothing. `standing` (``source_id, liked, disliked``) is what others say of
    the sources themselves, by weight: one more test, and part of the posterior.

    References: Josang & Ismail (2002), "The Beta Reputation System"; Resnick & Sami (2007), "The Influence Limiter".
    """
    coded = encode(votes, known=known_answers(controls))
    control_code = control_codes(coded, controls)
    history = _history(ledger, coded.sources)
    checked = _on_controls(coded, control_code)
    jury, backed = _jury(coded, established)
    agreement, against = _agreement(coded, control_code, jury)
    counted, peers = _counted(agreement)
    in_doubt = _in_doubt(coded, jury, against, counted, peers)
    floor = max(0.0 if backed else min(1.0, _CAP * alpha), _REASON_FROM if in_doubt else 0.0)
    opinions = _opinions(standing, coded.sources)
    p, tests = _p_values(checked, agreement, counted, peers, history, ledger, opinions, floor=floor)
    turned = _changes(coded, control_code, votes, verified)
    p = np.minimum(p, turned["p"].to_numpy())
    faded = history if half_life <= 0 else history | _faded(verified, coded.sources, checked.n, half_life)
    a, b = _posterior(checked, agreement, faded)
    a, b = a + opinions.right, b + opinions.wrong
    reasons = [
        _reason_of(tests, history, turned, row) if p[row] <= _REASON_FROM else (None, None) for row in range(len(p))
    ]
    return pd.DataFrame(
        {
            "source_id": coded.sources,
            "n": np.rint(np.bincount(coded.source, coded.share, minlength=len(coded.sources))).astype(np.int64),
            "controls_right": checked.right,
            "controls_wrong": checked.wrong,
            "agreed": agreement.right,
            "disagreed": agreement.wrong,
            "reliability": a / (a + b),
            "lower_bound": beta_low(a, b),
            "p": p,
            "code": pd.Series([code for code, _ in reasons], dtype=object),
            "args": pd.Series([args for _, args in reasons], dtype=object),
        }
    )


def _history(ledger: pd.DataFrame, sources: pd.Index) -> dict[str, np.ndarray]:
    """Return the ledger's counts in the order of `sources`, zero for unknown ones."""
    if ledger.empty:
        return {name: np.zeros(len(sources)) for name in _HISTORY}
    rows = ledger.set_index("source_id").reindex(sources)
    return {name: rows[name].fillna(0).to_numpy(float) for name in _HISTORY}


def _on_controls(votes: Votes, control_code: np.ndarray) -> _Counts:
    """Return controls right and wrong; several answers to one control are one wrong answer."""
    truth = control_code[votes.item]
    is_control = truth >= 0
    sources = len(votes.sources)
    right = np.bincount(votes.source, is_control & (votes.answer == truth) & (votes.share == 1), minlength=sources)
    total = np.bincount(votes.source, is_control * votes.share, minlength=sources)
    return _whole(right, total - right)


def _jury(votes: Votes, established: pd.Series | None) -> tuple[np.ndarray, bool]:
    """Return which votes may judge others ``(n,)``, and whether they are the established sources'."""
    everyone = np.ones(len(votes.item), bool)
    if established is None:
        return everyone, False
    jury = np.zeros(len(votes.item), bool)
    rows = votes.rows[np.asarray(established, bool)]
    jury[rows[rows >= 0]] = True
    return (jury, True) if jury.any() else (everyone, False)


def _agreement(votes: Votes, control_code: np.ndarray, jury: np.ndarray) -> tuple[_Counts, np.ndarray]:
    """Return agreement with the undisputed answers of the others, and which votes ``(n,)`` are against them.

    One's own vote is left out; controls do not count, nor items where two answers have as many votes.
    """
    width = max(len(votes.answers), 1)
    keys, of = np.unique(votes.item * width + votes.answer, return_inverse=True)
    counts = np.bincount(of, jury * votes.share, minlength=len(keys))
    item = keys // width
    order = np.lexsort((keys, -counts, item))
    top = order[np.searchsorted(item, np.arange(len(votes.items)))]
    total = np.bincount(item, counts, minlength=len(votes.items))
    agrees = of == top[votes.item]
    own = jury * votes.share
    others = total[votes.item] - own
    backing = counts[top[votes.item]] - own * agrees
    tied = np.bincount(item, counts >= counts[top][item] - 1e-9, minlength=len(top)) > 1
    firm = (control_code[votes.item] < 0) & ~tied[votes.item]
    firm &= (backing >= _JURY) & (backing >= 2 / 3 * others - 1e-9)
    sources = len(votes.sources)
    right = np.bincount(votes.source, firm * agrees * votes.share, minlength=sources)
    against = firm & ~agrees
    return _whole(right, np.bincount(votes.source, against * votes.share, minlength=sources)), against


def _counted(agreement: _Counts) -> tuple[_Counts, tuple[float, float]]:
    """Return the agreement that is tested, at most `_AGREEMENT_COUNTED` answers a source, and its honest crowd."""
    factor = np.minimum(1.0, _AGREEMENT_COUNTED / np.maximum(agreement.n, 1))
    counted = _whole(agreement.right * factor, agreement.wrong * factor)
    return counted, fit_honest_prior(counted.right, counted.n)


def _in_doubt(
    votes: Votes, jury: np.ndarray, against: np.ndarray, counted: _Counts, peers: tuple[float, float]
) -> bool:
    """Return whether so many of those who judge disagree, and with one voice, that either side may be wrong.

    Random answers scatter, however many they are; a suppressed truth is one answer an item.
    """
    judges = (counted.n >= _ASKED) & (np.bincount(votes.source, jury, minlength=len(votes.sources)) > 0)
    odd = judges & (beta_binomial_low(counted.right, counted.n, *peers) <= _ODD)
    if odd.sum() <= _ODD_MOST * judges.sum():
        return False
    voices = against & odd[votes.source]
    item, answer = votes.item[voices], votes.answer[voices]
    together = np.unique(item * max(len(votes.answers), 1) + answer, return_counts=True)[1]
    pairs = np.unique(item, return_counts=True)[1]
    return bool((together * (together - 1)).sum() > _ONE_VOICE * (pairs * (pairs - 1)).sum())


def _opinions(standing: pd.DataFrame | None, sources: pd.Index) -> _Counts:
    """Return for how many independent raters a source is good, and bad, in the order of `sources`."""
    if standing is None or standing.empty:
        return _whole(np.zeros(len(sources)), np.zeros(len(sources)))
    rows = standing.set_index("source_id").reindex(sources).fillna(0.0)
    return _whole(rows["liked"].to_numpy(float), rows["disliked"].to_numpy(float))


def _whole(right: np.ndarray, wrong: np.ndarray) -> _Counts:
    return _Counts(np.rint(right).astype(np.int64), np.rint(wrong).astype(np.int64))


def _p_values(
    checked: _Counts,
    agreement: _Counts,
    counted: _Counts,
    peers: tuple[float, float],
    history: dict[str, np.ndarray],
    ledger: pd.DataFrame,
    opinions: _Counts,
    *,
    floor: float,
) -> tuple[np.ndarray, list[_Test]]:
    """Return ``(sources,)`` the smallest p-value of the tests that had something to see, corrected for their number."""
    verified = _Counts(
        checked.right + history["controls_right"] + history["outcomes_right"],
        checked.wrong + history["controls_wrong"] + history["outcomes_wrong"],
    )
    crowd = fit_honest_prior(*_everyone(verified, ledger))
    pooled = _Counts(verified.right + counted.right, verified.wrong + counted.wrong)
    together = np.where(counted.n > 0, np.maximum(beta_binomial_low(pooled.right, pooled.n, *peers), floor), 1.0)
    tests = [
        _Test("verified", verified, crowd, beta_binomial_low(verified.right, verified.n, *crowd)),
        _Test("batch", checked, crowd, beta_binomial_low(checked.right, checked.n, *crowd)),
        _Test("agreement", agreement, peers, together),
    ]
    if opinions.n.any():
        esteem = fit_honest_prior(opinions.right, opinions.n, most=_ESTEEM)
        tests.append(_Test("standing", opinions, esteem, beta_binomial_low(opinions.right, opinions.n, *esteem)))
    tried = (verified.n > 0).astype(int) + ((checked.n > 0) & (verified.n > checked.n)) + (counted.n > 0)
    tried += opinions.n > 0
    return np.minimum(np.stack([t.p for t in tests]).min(0) * np.maximum(tried, 1), 1.0), tests


def _everyone(verified: _Counts, ledger: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return right and n of the batch's sources and, for a steadier crowd, of all others in the ledger."""
    if ledger.empty:
        return verified.right, verified.n
    right = (ledger["controls_right"] + ledger["outcomes_right"]).to_numpy(float)
    n = right + (ledger["controls_wrong"] + ledger["outcomes_wrong"]).to_numpy(float)
    return np.r_[verified.right, right], np.r_[verified.n, n]


def _posterior(checked: _Counts, agreement: _Counts, history: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return Beta(a, b): verified answers in full, agreement at a discount and capped."""
    agreed, disagreed = agreement.right + history["agreed"], agreement.wrong + history["disagreed"]
    worth = np.minimum(_AGREEMENT_WORTH, _AGREEMENT_MOST / np.maximum(agreed + disagreed, 1))
    a = COLD_PRIOR[0] + checked.right + history["controls_right"] + history["outcomes_right"] + worth * agreed
    b = COLD_PRIOR[1] + checked.wrong + history["controls_wrong"] + history["outcomes_wrong"] + worth * disagreed
    return a, b


def _changes(
    coded: Votes, control_code: np.ndarray, votes: pd.DataFrame, verified: pd.DataFrame | None
) -> pd.DataFrame:
    """Return `detect_changes` of the sources, in order of code: verified answers first, then this batch's."""
    truth = control_code[coded.item]
    on_control = np.flatnonzero(truth >= 0)
    right = (coded.answer == truth) & (coded.share == 1)
    fresh = pd.DataFrame(
        {"source_id": coded.source[on_control], "item": coded.item[on_control], "right": right[on_control]}
    )
    if "observed_at" in votes.columns and len(on_control):
        used = (coded.rows >= 0) & (truth >= 0)[coded.rows]
        first = votes["observed_at"][used].groupby(coded.rows[used]).min()
        fresh = fresh.assign(at=first.reindex(on_control).to_numpy()).sort_values("at", kind="stable")
    fresh = fresh.drop_duplicates(["source_id", "item"])  # several answers to one control are one wrong answer
    line = fresh[["source_id", "right"]]
    if verified is not None and len(verified):
        code = coded.sources.get_indexer(pd.Index(verified["source_id"]))
        earlier = pd.DataFrame({"source_id": code, "right": verified["right"].to_numpy(bool)})
        line = pd.concat([earlier[earlier["source_id"] >= 0], line], ignore_index=True)
    found = detect_changes(line).set_index("source_id").reindex(range(len(coded.sources)))
    return found.assign(p=found["p"].fillna(1.0))


def _faded(
    verified: pd.DataFrame | None, sources: pd.Index, fresh: np.ndarray, half_life: float
) -> dict[str, np.ndarray]:
    """Return what is left of the verified answers before this batch's `fresh` ones, in the place of the history."""
    if verified is None or verified.empty:
        return {}
    code = sources.get_indexer(pd.Index(verified["source_id"]))
    age = verified.groupby("source_id").cumcount(ascending=False).to_numpy() + np.where(code >= 0, fresh[code], 0)
    right, weight = verified["right"].to_numpy(bool), (code >= 0) * 0.5 ** (age / half_life)
    nothing = np.zeros(len(sources))
    left = [np.bincount(np.maximum(code, 0), weight * x, minlength=len(sources)) for x in (right, ~right)]
    return {"controls_right": nothing, "controls_wrong": nothing, "outcomes_right": left[0], "outcomes_wrong": left[1]}


def _reason_of(
    tests: list[_Test], history: dict[str, np.ndarray], turned: pd.DataFrame, row: int
) -> tuple[str, dict[str, Any]]:
    """Return code and arguments of what speaks loudest against a source: a change, or its record as a whole."""
    now = turned.iloc[row]
    if now["p"] >= min(test.p[row] for test in tests):
        return _reason(tests, history, row)
    return "changed", {"wrong": int(now["wrong"]), "n": int(now["n"]), "before": round(float(now["before"]), 3)}


def _reason(tests: list[_Test], history: dict[str, np.ndarray], row: int) -> tuple[str, dict[str, Any]]:
    """Return code and arguments of the test that speaks loudest against a source."""
    test = min(tests, key=lambda t: t.p[row])
    wrong, n = int(test.shown.wrong[row]), int(test.shown.n[row])
    if test.name == "agreement":
        a, b = test.crowd
        return "disagrees", {"disagreed": wrong, "answered": n, "expected": round(n * b / (a + b), 1)}
    if test.name == "standing":
        return "distrusted", {"against": wrong, "n": n}
    late = int(history["outcomes_wrong"][row])
    if test.name == "verified" and late > wrong - late:
        return "outcomes_wrong", {"wrong": late, "n": late + int(history["outcomes_right"][row])}
    return "controls_wrong", {"wrong": wrong, "answered": n}


def score_history(
    source_ids: Iterable[str],
    *,
    ledger: pd.DataFrame,
    alpha: float,
    verified: pd.DataFrame | None = None,
    half_life: float = 0.0,
    standing: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return `score_sources` of sources by their history alone, sorted by id: controls, reviews and outcomes before."""
    names = pd.Series(list(dict.fromkeys(source_ids)), dtype="str")
    alone = pd.DataFrame({"item_id": names, "source_id": names, "vote": "none"})  # nobody else votes: nothing agrees
    found = score_sources(
        alone, ledger=ledger, controls=None, alpha=alpha, verified=verified, half_life=half_life, standing=standing
    )
    return found.assign(n=0)
