"""Established sources and newcomers: who has a record to lose, and on which items the two disagree."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd

from poison_guard.frames import positions
from poison_guard.signals.votes import as_text

__all__ = ["MIN_AGE", "MIN_VERIFIED", "cohort_conflict", "established"]

MIN_VERIFIED = 20
"""Verified answers (controls and outcomes) that make a source established."""
MIN_AGE = dt.timedelta(days=30)
"""Age at the time of the record that makes a source established."""
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
    right, wrong, blocked = (np.r_[x.reindex(sources).fillna(0).to_numpy(float), 0.0][of] for x in _verified(ledger))
    at = _made(votes, received_at)
    first = at.groupby(of).min()
    if earlier is not None and len(earlier):
        before = _made(earlier, earlier["received_at"]).groupby(positions(earlier["source_id"], sources)).min()
        first = pd.concat([first, before]).groupby(level=0).min()
    began = first.drop(-1, errors="ignore").reindex(of).set_axis(votes.index)
    verified = (right + wrong >= MIN_VERIFIED) & ~_young(votes, at)
    trusty = (_aged(votes, began) | verified) & (right >= wrong) & (blocked == 0)
    return pd.Series(trusty, index=votes.index, name="established")


def _made(votes: pd.DataFrame, received_at: dt.datetime | pd.Series) -> pd.Series:
    """Return when each record was made: received, or observed where that is earlier."""
    at = pd.to_datetime(pd.Series(received_at, index=votes.index), utc=True).astype("datetime64[us, UTC]")
    if "observed_at" not in votes.columns:
        return at
    seen = pd.to_datetime(votes["observed_at"], utc=True).astype("datetime64[us, UTC]")
    return at.where(seen.isna() | (seen > at), seen)


def _aged(votes: pd.DataFrame, at: pd.Series) -> np.ndarray:
    """Return for each row whether its account was at least `MIN_AGE` old then; an unknown age is none."""
    if "source_since" not in votes.columns:
        return np.zeros(len(votes), bool)
    return ((at - pd.to_datetime(votes["source_since"], utc=True)) >= MIN_AGE).to_numpy(bool)


def _young(votes: pd.DataFrame, at: pd.Series) -> np.ndarray:
    """Return for each row whether its account was younger than `MIN_AGE` then; an unknown age is not young."""
    if "source_since" not in votes.columns:
        return np.zeros(len(votes), bool)
    since = pd.to_datetime(votes["source_since"], utc=True)
    return (since.notna() & ((at - since) < MIN_AGE)).to_numpy(bool)


def cohort_conflict(votes: pd.DataFrame, established: pd.Series) -> pd.DataFrame:
    """Return the items where newcomers agree on another answer than the established sources.

    `votes`: ``item_id, source_id, vote``; `established`: bool a row. One vote a source and item. A conflict needs at
    least two newcomers for their top answer, at least one established source, and that answer not among the
    established ones' top answers (ties count for them). Columns: ``item_id, established_answer, new_answer``.

    References: Resnick & Sami (2007), "The Influence Limiter" (unproven sources may not move what proven ones say).
    """
    table = pd.DataFrame(
        {
            "item_id": votes["item_id"].to_numpy(),
            "source_id": votes["source_id"].to_numpy(),
            "answer": as_text(votes["vote"]).to_numpy(),
            "old": np.asarray(established, bool),
        }
    ).dropna()
    table = table.drop_duplicates()
    counts = table.groupby(["item_id", "old", "answer"], sort=True).size().rename("n").reset_index()
    counts["top"] = counts.groupby(["item_id", "old"])["n"].transform("max")
    best = counts[counts["n"] == counts["top"]]
    new = best[~best["old"] & (best["n"] >= _MIN_NEW)].drop_duplicates("item_id")
    old = best[best["old"]]
    both = new.merge(old.drop_duplicates("item_id"), on="item_id", suffixes=("_new", "_old"))
    tied = both.merge(old[["item_id", "answer"]], left_on=["item_id", "answer_new"], right_on=["item_id", "answer"])
    both = both[~both["item_id"].isin(tied["item_id"])]
    out = both[["item_id", "answer_old", "answer_new"]].reset_index(drop=True)
    return out.set_axis(["item_id", "established_answer", "new_answer"], axis=1)


def _verified(ledger: pd.DataFrame) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Return verified right and wrong answers and the blocked mark, by source id."""
    if ledger.empty:
        empty = pd.Series(dtype=float)
        return empty, empty, empty
    by = ledger.set_index("source_id")
    right = by["controls_right"].astype(float) + by["outcomes_right"].astype(float)
    wrong = by["controls_wrong"].astype(float) + by["outcomes_wrong"].astype(float)
    return right, wrong, by["blocked"].astype(float)
