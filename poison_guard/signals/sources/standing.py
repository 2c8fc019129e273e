"""Established sources and newcomers: who has a record to lose, and on which items the two disagree."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd

from poison_guard.frames import positions
from poison_guard.signals.votes import encode

__all__ = ["MIN_AGE", "MIN_VERIFIED", "cohort_conflict", "established"]

MIN_VERIFIED = 20
"""Verified answers (controls and outcomes) that make a source established."""
MIN_AGE = dt.timedelta(days=30)
"""Age at the time of the record that makes a source established."""
_NEVER = np.datetime64(np.iinfo(np.int64).max, "us")
_MIN_NEW = 2  # newcomers that must agree before they can contradict anybody


def established(
    votes: pd.DataFrame,
    ledger: pd.DataFrame,
    received_at: dt.datetime | pd.Series,
    earlier: pd.DataFrame | None = None,
) -> pd.Series:
    """Return for each row of `votes` whether its source was established when it was first seen.

    Established: ``source_since`` at least `MIN_AGE` before the first of its records in view (of `votes` and `earlier`;
    received, or observed where that is earlier: who starts new does not come of age by keeping on). Or at least
    `MIN_VERIFIED` verified answers in the ledger, where the account is not known to be younger than `MIN_AGE`: controls
    can be recognised and answered in an hour. Never: sources that reviewers blocked, and those whose verified answers
    were wrong more often than right. Index as in `votes`.
    """
    of, sources = pd.factorize(votes["source_id"])  # -1: no source, which is the last of each array below
    right, wrong, blocked = (np.r_[count, 0.0][of] for count in _verified(ledger, sources))
    at = _made(votes, received_at)
    first = np.full(len(sources) + 1, _NEVER)
    np.fmin.at(first, of, at)
    if earlier is not None and len(earlier):
        np.fmin.at(first, positions(earlier["source_id"], sources), _made(earlier, earlier["received_at"]))
    first[-1] = np.datetime64("NaT")
    since = _utc(votes["source_since"]) if "source_since" in votes.columns else np.full(len(votes), first[-1])
    age = np.timedelta64(MIN_AGE)
    aged, young = first[of] - since >= age, at - since < age  # an unknown age is neither
    verified = (right + wrong >= MIN_VERIFIED) & ~young
    return pd.Series((aged | verified) & (right >= wrong) & (blocked == 0), index=votes.index, name="established")


def _made(votes: pd.DataFrame, received_at: dt.datetime | pd.Series) -> np.ndarray:
    """Return ``(n,)`` when each record was made: received, or observed where that is earlier."""
    given = received_at if isinstance(received_at, pd.Series) else pd.Series([received_at])
    at = np.broadcast_to(_utc(given), len(votes))
    return np.fmin(at, _utc(votes["observed_at"])) if "observed_at" in votes.columns else at


def _utc(times: pd.Series) -> np.ndarray:
    """Return times as microseconds of UTC; a missing one is NaT."""
    return (times if times.dtype.kind == "M" else pd.to_datetime(times, utc=True)).to_numpy("datetime64[us]")


def cohort_conflict(votes: pd.DataFrame, established: pd.Series) -> pd.DataFrame:
    """Return the items where newcomers agree on another answer than the established sources.

    `votes`: ``item_id, source_id, vote``; `established`: bool a row. One vote a source and item. A conflict needs at
    least two newcomers for their top answer, at least one established source, and that answer not among the
    established ones' top answers (ties count for them). Columns: ``item_id, established_answer, new_answer``.

    References: Resnick & Sami (2007), "The Influence Limiter" (unproven sources may not move what proven ones say).
    """
    coded = encode(votes)
    row, old = coded.rows, np.asarray(established, bool)
    said = np.unique(2 * row[row >= 0] + old[row >= 0])  # of one vote, rows of either kind
    vote, old = said // 2, said % 2
    size = max(len(coded.answers), 1)
    answers, n = np.unique((2 * coded.item[vote] + old) * size + coded.answer[vote], return_counts=True)
    _, start, group = np.unique(answers // size, return_index=True, return_inverse=True)
    top = n == np.maximum.reduceat(n, start)[group] if len(n) else np.zeros(0, bool)
    item, answer, old = answers // size // 2, answers % size, answers // size % 2 == 1
    new_item, first = np.unique(item[top & ~old & (n >= _MIN_NEW)], return_index=True)
    new_answer = answer[top & ~old & (n >= _MIN_NEW)][first]
    old_item, first = np.unique(item[top & old], return_index=True)
    old_answer = answer[top & old][first]
    both = np.isin(new_item, old_item) & ~np.isin(new_item * size + new_answer, (item * size + answer)[top & old])
    item, new_answer = new_item[both], new_answer[both]
    old_answer = old_answer[np.searchsorted(old_item, item)]
    return pd.DataFrame(
        {
            "item_id": coded.items[item],
            "established_answer": coded.answers[old_answer],
            "new_answer": coded.answers[new_answer],
        }
    )


def _verified(ledger: pd.DataFrame, sources: pd.Index) -> list[np.ndarray]:
    """Return verified right and wrong answers and the blocked mark of each of `sources`, 0 of those unknown."""
    if ledger.empty:
        return [np.zeros(len(sources))] * 3
    at = positions(pd.Series(sources), pd.Index(ledger["source_id"]))
    right = ledger["controls_right"] + ledger["outcomes_right"]
    wrong = ledger["controls_wrong"] + ledger["outcomes_wrong"]
    return [np.where(at < 0, 0.0, column.to_numpy(float)[at]) for column in (right, wrong, ledger["blocked"])]
