"""Sources that cannot be what they say: unreleased clients, impossible clocks and journeys, odd counters, even pauses.

Each finder has its null on trusted sessions: how far versions step, how often devices jump, how often counters repeat,
how even the pauses of people are. A finding is the records of one source; its p-value is a bound of the chance that an
honest source looks so, times the number of those that were looked at.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from poison_guard.records import Campaign
from poison_guard.signals.campaigns.findings import make_campaign
from poison_guard.signals.pvalues import SMALLEST_P

__all__ = ["NEEDED", "implausible"]

NEEDED: Mapping[str, tuple[str, ...]] = {
    "unreleased_client": ("client_version",),
    "impossible_clock": ("sent_at", "observed_at"),
    "two_places": ("place", "observed_at"),
    "odd_counter": ("sequence",),
    "even_timing": ("observed_at",),
}
"""Kind of finding to the roles that it needs, besides ``source_id``; kept trusted records need them too."""
_FEWEST_TRUSTED = 50  # trusted records, or intervals, that a null is measured on
_AROUND_THE_WORLD = 26.0  # hours by which a change of time zone or date line can move a clock
_FASTEST = 1000.0  # km/h: what an airliner does is no proof
_NEAR = 100.0  # km: places by address are as wrong as that
_INTERVALS = 12  # pauses of a source that show how even they are
_EARTH = 6371.0


def implausible(kind: str, frame: pd.DataFrame, trusted: pd.DataFrame | None, *, alpha: float) -> list[Campaign]:
    """Return one finding of `kind` for each source of `frame` that no honest one looks like, by `trusted` records.

    `frame` has ``record_id, source_id, observed_at`` and ``trait.ROLE``; `trusted` has the roles. Nothing is judged
    without trusted records that have what `kind` needs.
    """
    roles = ("source_id", *NEEDED[kind])
    if trusted is None or any(role not in trusted for role in roles):
        return []
    own = pd.DataFrame({role: frame.get(f"trait.{role}", frame.get(role)) for role in (*roles, *_unit(frame))})
    known = pd.DataFrame({role: trusted[role] for role in (*roles, *_unit(trusted))}).dropna(subset=list(roles))
    rows = own.dropna(subset=list(roles))
    if len(known) < _FEWEST_TRUSTED or not len(rows):
        return []
    chance = _LOOKS[kind](rows, known)  # by source
    tested = rows["source_id"].nunique()
    found = []
    for source, p in chance[chance * tested <= alpha].items():
        at = np.flatnonzero((frame["source_id"] == source).to_numpy(bool, na_value=False))
        args = {"n_records": len(at), "source": source}
        bound = max(float(p) * tested, SMALLEST_P)
        found.append(make_campaign(frame, at, kind=kind, p=bound, strength=1.0, who="source_id", args=args))
    return found


def _unit(frame: pd.DataFrame) -> tuple[str, ...]:
    """Return the role that tells the devices of one source apart, where there is one."""
    return ("device",) if "device" in frame or "trait.device" in frame else ()


def _following(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """Return each record beside the next of its source and device in the order of `by`: the columns, and ``next.*``."""
    keys = [name for name in ("source_id", "device") if name in rows]
    ordered = rows.sort_values([*keys, by], kind="stable")
    later = ordered.shift(-1)
    same = np.logical_and.reduce([(ordered[key] == later[key]).to_numpy(bool, na_value=False) for key in keys])
    return pd.concat([ordered, later.add_prefix("next.")], axis=1)[same]


def _more_often(odd: pd.Series, source: pd.Series, usual: pd.Series) -> pd.Series:
    """Return by source the chance of so many odd ones among its own, at a rate that trusted records bound (95 %)."""
    from scipy.stats import beta, binom

    n, hits = len(usual), int(usual.sum())
    rate = float(beta.ppf(0.95, hits + 1, max(n - hits, 1)))
    mine = odd.groupby(source).agg(["sum", "size"])
    return pd.Series(binom.sf(mine["sum"] - 1, mine["size"], rate), index=mine.index)


def _version(text: str) -> tuple[int, ...] | None:
    found = re.search(r"\d{1,9}(\.\d{1,9}){0,5}", text[:100])
    return tuple(map(int, found[0].split("."))) if found else None


def _step(old: tuple[int, ...], new: tuple[int, ...]) -> int:
    """Return by how much the first part that differs is higher; 0 where `new` is no later version."""
    width = max(len(old), len(new))
    pairs = zip(old + (0,) * (width - len(old)), new + (0,) * (width - len(new)), strict=True)
    return max(0, next((b - a for a, b in pairs if a != b), 0))


def _unreleased(rows: pd.DataFrame, known: pd.DataFrame) -> pd.Series:
    """A version steps no further past the newest trusted one than releases do: exponential in the widest step."""
    old = sorted({v for text in known["client_version"].unique() if (v := _version(str(text)))})
    if not old:
        return pd.Series(dtype=float)
    scale = max([1, *(_step(a, b) for a, b in itertools.pairwise(old))])
    steps = {t: _step(old[-1], v) for t in rows["client_version"].unique() if (v := _version(str(t)))}
    ahead = rows["client_version"].map(steps).fillna(0).astype(float)
    return np.exp(-ahead.groupby(rows["source_id"]).max() / scale)


def _clock(rows: pd.DataFrame, known: pd.DataFrame) -> pd.Series:
    """What happened after it was sent, by more than zones explain, is counted; trusted clocks say how often that is."""

    def ahead(some: pd.DataFrame) -> pd.Series:
        return (some["observed_at"] - some["sent_at"]).dt.total_seconds() > 3600 * _AROUND_THE_WORLD

    return _more_often(ahead(rows), rows["source_id"], ahead(known))


def _kilometres(here: pd.Series, there: pd.Series) -> np.ndarray:
    """Return the great circle between places written ``latitude,longitude``; infinite between other names."""
    a, b = (
        side.astype(str).str.extract(r"^\s*(-?\d+(?:\.\d+)?)\s*[,; ]\s*(-?\d+(?:\.\d+)?)\s*$").astype(float).to_numpy()
        for side in (here, there)
    )
    a, b = np.radians(a), np.radians(b)
    h = np.sin((b[:, 0] - a[:, 0]) / 2) ** 2
    h += np.cos(a[:, 0]) * np.cos(b[:, 0]) * np.sin((b[:, 1] - a[:, 1]) / 2) ** 2
    apart = 2 * _EARTH * np.arcsin(np.sqrt(np.clip(h, 0, 1)))
    return np.where(np.isnan(apart), np.where(here.to_numpy(object) == there.to_numpy(object), 0.0, np.inf), apart)


def _two_places(rows: pd.DataFrame, known: pd.DataFrame) -> pd.Series:
    """Journeys faster than an airliner, or between named places within the hour, more often than the trusted have."""

    def jumps(some: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
        pairs = _following(some, "observed_at")
        hours = (pairs["next.observed_at"] - pairs["observed_at"]).dt.total_seconds().to_numpy() / 3600
        apart = _kilometres(pairs["place"], pairs["next.place"])
        odd = (apart > _NEAR) & np.where(np.isinf(apart), hours < 1, apart > _FASTEST * np.maximum(hours, 1 / 60))
        return pd.Series(odd, pairs.index), pairs["source_id"]

    odd, source = jumps(rows)
    return _more_often(odd, source, jumps(known)[0])


def _counter(rows: pd.DataFrame, known: pd.DataFrame) -> pd.Series:
    """A counter that repeats, or jumps further than nearly all trusted ones do, more often than theirs."""

    def steps(some: pd.DataFrame) -> tuple[np.ndarray, pd.Series]:
        numbers = some.assign(sequence=pd.to_numeric(some["sequence"], errors="coerce")).dropna(subset=["sequence"])
        pairs = _following(numbers, "sequence")
        return (pairs["next.sequence"] - pairs["sequence"]).to_numpy(float), pairs["source_id"]

    (step, source), (usual, _) = steps(rows), steps(known)
    if len(usual) < _FEWEST_TRUSTED or not len(step):
        return pd.Series(dtype=float)
    far = 10 * max(1.0, float(np.quantile(usual, 0.99)))
    repeats = _more_often(pd.Series(step <= 0, source.index), source, pd.Series(usual <= 0))
    jumps = _more_often(pd.Series(step > far, source.index), source, pd.Series(usual > far))
    return np.minimum(1.0, 2 * np.minimum(repeats, jumps))


def _even(rows: pd.DataFrame, known: pd.DataFrame) -> pd.Series:
    """Pauses more even than those of any trusted source, by far (Student's t on the log of their robust spread)."""
    from scipy.stats import t as student

    def spread(some: pd.DataFrame) -> pd.Series:
        pairs = _following(some, "observed_at")
        pause = (pairs["next.observed_at"] - pairs["observed_at"]).dt.total_seconds()
        there = pause > 0  # of records of one instant nothing is known
        logs = np.log(pause[there]).groupby(pairs.loc[there, "source_id"])
        wide = logs.quantile(0.75) - logs.quantile(0.25)
        return np.log(np.maximum(wide[logs.size() >= _INTERVALS], 1e-3))

    mine, usual = spread(rows), spread(known)
    if len(usual) < _FEWEST_TRUSTED:
        return pd.Series(dtype=float)
    z = (mine - usual.mean()) / max(float(usual.std()) * np.sqrt(1 + 1 / len(usual)), 0.1)
    p = pd.Series(student.cdf(z, len(usual) - 1), index=mine.index)
    return p.where(mine < usual.min(), 1.0)


_LOOKS: Mapping[str, Callable[[pd.DataFrame, pd.DataFrame], pd.Series]] = {
    "unreleased_client": _unreleased,
    "impossible_clock": _clock,
    "two_places": _two_places,
    "odd_counter": _counter,
    "even_timing": _even,
}
