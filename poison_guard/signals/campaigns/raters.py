"""Find single raters who come back to one thing again and again, far more often than the crowd's raters do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.records import Campaign
from poison_guard.signals.campaigns.claims import MIN_CROWD, CountTail, endorsements
from poison_guard.signals.campaigns.findings import event_times, make_campaign
from poison_guard.signals.campaigns.minhash import EMPTY, band_pairs, similarity
from poison_guard.signals.campaigns.words import WORDS, read_words

__all__ = ["patient_raters", "pseudo_items", "rater_profiles"]


_WIDTH = 32  # hash functions: the standard error of an estimated similarity of 0.5 is 0.09
_SIMILAR = 0.5  # estimated Jaccard similarity of words and word pairs: about one word in six differs
_BAND_ROWS = 4
_BLOCK = 1 << 15  # texts sketched at a time: bounds memory
_KEYS = np.random.Generator(np.random.PCG64(20250807)).integers(1, 2**32, size=(2, _WIDTH), dtype=np.uint32)


def pseudo_items(columns: Sequence[pd.Series], *, seed: int = 0) -> list[np.ndarray]:
    """Return for each column of hashed words (`words.WORDS`) the clusters ``(n,)`` of its texts, -1 for empty ones.

    Texts of all columns are clustered together, through similar pairs; a text like no other is a cluster of its own.
    `seed` chooses the bands in which texts meet.

    References: Broder (1997), "On the Resemblance and Containment of Documents".
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    sketches = np.concatenate([_sketches(column) for column in columns])
    left: list[np.ndarray] = []
    right: list[np.ndarray] = []
    for one, other in band_pairs(sketches, rows=_BAND_ROWS, seed=seed) if len(sketches) else ():
        near = similarity(sketches, one, other) >= _SIMILAR
        left.append(one[near])
        right.append(other[near])
    ends = [np.concatenate(side) if side else np.zeros(0, np.int64) for side in (left, right)]
    graph = coo_matrix((np.ones(len(ends[0]), np.int8), ends), shape=(len(sketches), len(sketches)))
    cluster = connected_components(graph, directed=False)[1] if len(sketches) else np.zeros(0, np.int64)
    codes = np.where((sketches == EMPTY).all(1), -1, cluster).astype(np.int64)
    return np.split(codes, np.cumsum([len(column) for column in columns])[:-1])


def _sketches(column: pd.Series) -> np.ndarray:
    """Return ``(n, 32)`` MinHash sketches of the rows' sets of words."""
    out = np.full((len(column), _WIDTH), EMPTY, np.uint32)
    for start in range(0, len(column), _BLOCK):
        word, row = read_words(column.iloc[start : start + _BLOCK])
        if not len(word):
            continue
        first = np.flatnonzero(np.r_[True, row[1:] != row[:-1]])
        for k in range(_WIDTH):
            hashed = (word ^ _KEYS[0, k]) * (_KEYS[1, k] | np.uint32(1))
            out[start + row[first], k] = np.minimum.reduceat(hashed, first)
    return out


_LEAST = 4  # endorsements of one pseudo-item below which nobody is patient


def patient_raters(
    frame: pd.DataFrame, *, alpha: float, earlier: pd.DataFrame | None = None, seed: int = 0
) -> list[Campaign]:
    """Return one campaign a source whose endorsements of one pseudo-item no honest source would give, at `alpha`.

    `frame` is a campaign frame with the columns of `words.word_columns`; pseudo-items are of replies. A record endorses
    its reply's (`claims.endorsements`) and turns down that of the reply it was preferred to. Each source's count for
    its favourite, endorsements less rejections, is compared with that of the crowd's sources (`CountTail`), so that
    users who go back to their own document or ask again pass as often as users do. `alpha` is the chance per source,
    not per feed. `earlier` (same columns) is evidence like the rest. Fewer than thirty sources are no crowd: nothing is
    found.
    """
    both = frame if earlier is None or earlier.empty else pd.concat([frame, earlier], ignore_index=True)
    if not len(both) or WORDS[1] not in both.columns:
        return []
    source = pd.factorize(both["source_id"], sort=True)[0]
    sign = endorsements(both, source)
    item, other = pseudo_items([both[name] for name in WORDS[1:]], seed=seed)
    favourite, net = _favourites(source, item, other, sign)
    if (net > 0).sum() < MIN_CROWD:
        return []
    p = CountTail(net[net > 0]).chance(net)
    found = []
    for who in np.flatnonzero((p <= alpha) & (net >= _LEAST)):
        mine = np.flatnonzero(source == who)
        rows = mine[(item[mine] == favourite[who]) & (sign[mine] > 0)]
        if (rows < len(frame)).any():
            found.append(_campaign(both, rows, mine, item, float(p[who]), len(frame)))
    return found


def rater_profiles(frame: pd.DataFrame, item: np.ndarray) -> pd.DataFrame:
    """Return ``source_id, records, items, entropy, top_share, busiest_hour``, one row a source, by id.

    `item` ``(n,)`` are codes of pseudo-items, -1 where unknown. `entropy` is of the source's records over pseudo-items,
    in bits; `top_share` the share of its favourite; `busiest_hour` its most records within an hour (0 without times).
    """
    at = event_times(frame)
    table = pd.DataFrame({"source_id": frame["source_id"].to_numpy(), "item": item, "at": at.to_numpy()})
    table = table[table["source_id"].notna() & (table["item"] >= 0)]
    rows = [(who, *_profile(part)) for who, part in table.groupby("source_id", sort=True)]
    return pd.DataFrame(rows, columns=["source_id", "records", "items", "entropy", "top_share", "busiest_hour"])


def _profile(part: pd.DataFrame) -> tuple[int, int, float, float, int]:
    share = part["item"].value_counts(normalize=True).to_numpy(float)
    at = np.sort(part["at"].dropna().to_numpy("datetime64[us]"))
    busiest = np.searchsorted(at, at + np.timedelta64(1, "h"), "right") - np.arange(len(at))
    entropy = float(-(share * np.log2(share)).sum()) + 0.0
    return len(part), len(share), entropy, float(share.max()), int(busiest.max(initial=0))


def _favourites(
    source: np.ndarray, item: np.ndarray, other: np.ndarray, sign: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return each source's pseudo-item of most endorsements less rejections, and how many these are (0: none)."""
    sides = {"source": np.r_[source, source], "item": np.r_[item, other], "net": np.r_[sign, -sign].astype(np.int64)}
    table = pd.DataFrame(sides)
    table = table[(table["item"] >= 0) & (table["net"] != 0)].groupby(["source", "item"], as_index=False)["net"].sum()
    best = table.sort_values(["source", "net", "item"], ascending=[True, False, True]).drop_duplicates("source")
    size = int(source.max()) + 1
    favourite, net = np.full(size, -1), np.zeros(size, np.int64)
    favourite[best["source"]], net[best["source"]] = best["item"], np.maximum(best["net"], 0)
    return favourite, net


def _campaign(
    frame: pd.DataFrame, rows: np.ndarray, mine: np.ndarray, item: np.ndarray, p: float, n_own: int
) -> Campaign:
    profile = rater_profiles(frame.iloc[mine], item[mine]).iloc[0]
    args: dict[str, Any] = {
        "n_records": len(rows),
        "of": int(profile["records"]),
        "n_items": int(profile["items"]),
        "entropy": round(float(profile["entropy"]), 2),
        "busiest_hour": int(profile["busiest_hour"]),
    }
    return make_campaign(
        frame,
        rows,
        kind="patient_rater",
        p=p,
        strength=float(profile["top_share"]),
        who="source_id",
        args=args,
        n_own=n_own,
    )
