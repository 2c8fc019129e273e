"""Find near-copies of one text where nobody is known to have sent them: by their number alone, one copy kept.

Without sources there is neither age nor burst to judge copies by, so this says less than `near_duplicate_text`: that a
text comes more often than vetted records repeat any, not that it is wrong. People decide the group as one.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from poison_guard.records import Campaign, Place
from poison_guard.signals.campaigns.findings import event_times, make_campaign
from poison_guard.signals.campaigns.minhash import EMPTY, row_keys
from poison_guard.signals.campaigns.text import sketch_text
from poison_guard.signals.campaigns.text_groups import group_similar, grow_groups, mean_similarity, shared_text
from poison_guard.signals.pvalues import beta_low, binomial_high

__all__ = ["MOST_COPIES", "copies", "sketch_records"]


MOST_COPIES = 20
"""Near-copies of a text from which on they are held, where no vetted record shows that texts repeat."""
_LEAST = 5  # copies of a text below which nothing is held, however seldom vetted records repeat themselves
_COPY = 0.6  # similarity with what a group shares, from which on a text is a copy: about one word in eight differs
_SURE = 0.95  # quantile of the trusted set's rate of copies: few vetted records tell little of it
_FORM = 0.5  # share of all texts from which on different texts that are alike are the form of the feed, no copies


def sketch_records(records: pd.DataFrame, texts: tuple[str, ...], *, sourced: bool) -> np.ndarray:
    """Return ``(n, 128)`` sketches of all texts of each record; without sources, of what answers the prompt.

    One prompt is asked again and again by honest people, and only a source tells who asks.
    """
    answers = tuple(role for role in texts if role != "prompt")
    used = texts if sourced or not answers else answers
    # the smaller cells are those of all texts' words together, however long the first text is
    return np.minimum.reduce([sketch_text(records[role]) for role in used])


def copies(
    frame: pd.DataFrame,
    sketches: np.ndarray,
    *,
    alpha: float,
    trusted: np.ndarray | None = None,
    earlier: tuple[pd.DataFrame, np.ndarray] | None = None,
    seed: int = 0,
) -> list[Campaign]:
    """Return the groups of near-copies in a campaign frame with `sketches` ``(n, 128)``, without the copy to keep.

    `trusted` are sketches of vetted records. Where two of these are copies, a group is held when so many copies have a
    chance of at most `alpha` at the rate of their commonest text (binomial, its 95 % bound, times the groups looked
    at); else from `MOST_COPIES` copies on, or by that chance where it shows fewer. Different texts that are alike and
    are more than half of all are the form that the feed's texts have. Kept is the copy that was accepted before, else
    the first by time and id. `earlier` (frame and sketches of former batches) counts like the rest, and is named apart.

    References: Broder (1997); Lee et al. (2022), "Deduplicating Training Data Makes Language Models Better".
    """
    n_own = len(frame)
    both, sketches = _with_earlier(frame, sketches, earlier)
    rows = np.flatnonzero((sketches != EMPTY).any(1))
    group = group_similar(sketches[rows], seed)
    size = np.bincount(group) if len(group) else np.zeros(0, np.int64)
    wanted = np.flatnonzero(size >= _LEAST)
    group = grow_groups(sketches[rows], group, wanted[np.argsort(-size[wanted], kind="stable")])
    group = _only_copies(sketches[rows], group, np.flatnonzero(np.bincount(group) >= _LEAST) if len(group) else wanted)
    size = np.bincount(group) if len(group) else size
    wanted = np.flatnonzero(size >= _LEAST)
    p = _chances(size[wanted], len(rows), len(wanted), trusted, alpha, seed)
    found = []
    for name, chance in zip(wanted[p <= alpha], p[p <= alpha], strict=True):
        members = rows[group == name]
        if not _is_form(sketches[members], len(rows)):
            held = members[members != _kept(both, members, n_own)]
            if (held < n_own).any():
                found.append(_campaign(both, sketches, held, float(chance), n_own))
    return found


def _with_earlier(
    frame: pd.DataFrame, sketches: np.ndarray, earlier: tuple[pd.DataFrame, np.ndarray] | None
) -> tuple[pd.DataFrame, np.ndarray]:
    if earlier is None or not len(earlier[0]):
        return frame, sketches
    fresh = ~earlier[0]["record_id"].isin(frame["record_id"]).to_numpy()
    known = earlier[0].loc[fresh, [c for c in earlier[0].columns if c in frame.columns or c == "place"]]
    return pd.concat([frame, known], ignore_index=True), np.concatenate([sketches, earlier[1][fresh]])


def _only_copies(sketches: np.ndarray, group: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return `group` ``(n,)`` with those of the groups `wanted` alone that are near-copies of what the group shares."""
    out = group.copy()
    for name in wanted:
        members = np.flatnonzero(group == name)
        like = (sketches[members] == shared_text(sketches[members])).mean(axis=1)
        far = members[like < _COPY]
        out[far] = len(group) + group.max() + 1 + far
    return pd.factorize(out)[0]


def _chances(size: np.ndarray, n: int, tests: int, trusted: np.ndarray | None, alpha: float, seed: int) -> np.ndarray:
    """Return ``(groups,)`` the chance of so many copies, `alpha` where their number alone holds them."""
    many = np.where(size >= MOST_COPIES, alpha, 1.0)
    if trusted is None or not len(trusted):
        return many
    usual = int(np.bincount(group_similar(trusted, seed)).max())
    rate = float(beta_low(usual + 1, max(len(trusted) - usual, 1), _SURE))
    by_rate = np.minimum(1.0, binomial_high(size, n, rate) * tests)
    return by_rate if usual > 1 else np.minimum(many, by_rate)


def _is_form(sketches: np.ndarray, n: int) -> bool:
    """Whether alike texts are the form that most of `n` texts have: more than half of them, and most are different."""
    return len(sketches) > _FORM * n and len(np.unique(row_keys(sketches))) > len(sketches) / 2


def _kept(both: pd.DataFrame, members: np.ndarray, n_own: int) -> int:
    """Return the row of the copy to keep."""
    rows = both.iloc[members]
    accepted = (rows["place"] == Place.ACCEPTED.value).to_numpy() if "place" in rows else np.zeros(len(rows), bool)
    order = pd.DataFrame(
        {
            "late": ~(accepted & (members >= n_own)),
            "received": rows["received_at"].to_numpy(),
            "at": event_times(rows).to_numpy(),
            "id": rows["record_id"].astype("str").to_numpy(),
        }
    )
    return int(members[order.sort_values(["late", "received", "at", "id"]).index[0]])


def _campaign(both: pd.DataFrame, sketches: np.ndarray, held: np.ndarray, p: float, n_own: int) -> Campaign:
    return make_campaign(
        both,
        held,
        kind="copies",
        p=p,
        strength=mean_similarity(sketches[held]) if len(held) > 1 else 1.0,
        who="speaker",
        args={"n_records": len(held)},
        n_own=n_own,
    )
