"""Attack *replay*: a farm records some sessions of its bots and sends them again, jittered, labelled human.

The replays may come under ids of honest people's devices (spoofed), or with clocks that are wrong. Benign twin: the
same devices at the same times, each with the sessions of one person, whose habits make them resemble each other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from poison_guard.drills.world import Origin, World, seal_world
from poison_guard.drills.worlds.draws import (
    DAYS,
    Behaviour,
    account_births,
    activity,
    daily_times,
    draw_ids,
    jitter,
    stamp,
)
from poison_guard.drills.worlds.telemetry import BOT, COLUMNS, HUMAN
from poison_guard.errors import UsageError

__all__ = ["draw_sessions", "make", "make_twin"]

_COLUMNS = {role: column for role, column in COLUMNS.items() if role != "group"}
_PEOPLE, _BOTS = HUMAN["desktop"], BOT["desktop"]
_FEATURES = tuple(_PEOPLE.medians)
_NOT_TYPED = ["key_interval_ms", "key_hold_ms"]


def make(
    seed: int,
    *,
    jitter_share: float = 0.05,
    replays: int = 600,
    tapes: int = 20,
    devices: int = 150,
    aged: float = 0.15,
    spoof: bool = False,
    skew_hours: float = 0.0,
    features: int = 10,
    missing: float = 0.06,
    people: int = 800,
    sessions: int = 3000,
    trusted: int = 2000,
    benign: bool = False,
) -> World:
    """Return the world drawn from `seed`: a week of sessions, `replays` of them jittered copies of `tapes` recordings.

    Each value is multiplied by 1 ± `jitter_share`, a standard deviation. Half of the farm's `devices` come on one day.
    With `spoof` they send under ids of honest devices; `skew_hours` is how far their clocks are off, either way.
    `features`: how many of the ten there are; `missing`: share of sessions without typing. With `benign` the devices
    have sessions of people of their own instead. `UsageError` for fewer than 2 or more than 10 features.
    """
    if not 2 <= features <= len(_FEATURES):
        raise UsageError(f"features must be from 2 to {len(_FEATURES)}, got {features}")
    params: dict[str, Any] = {key: value for key, value in locals().items() if key != "seed"}
    rng = np.random.default_rng([seed, 44])
    ids = draw_ids(rng, people + people // 6 + devices, "d-")
    folk, bots, farm = np.split(ids, [people, people + people // 6])
    honest = pd.concat(
        [draw_sessions(rng, folk, sessions, _PEOPLE, "human"), draw_sessions(rng, bots, sessions // 8, _BOTS, "bot")],
        ignore_index=True,
    )
    vetted = [draw_ids(rng, n, "vetted-") for n in (max(20, trusted // 3), max(5, trusted // 24))]
    good = pd.concat(
        [
            draw_sessions(rng, vetted[0], trusted, _PEOPLE, "human"),
            draw_sessions(rng, vetted[1], trusted // 8, _BOTS, "bot"),
        ],
        ignore_index=True,
    )
    sent = _sent(rng, rng.choice(folk, devices, replace=False) if spoof else farm, params)
    if spoof:
        known = honest.groupby("device_id")["first_seen_at"].min()
        sent["first_seen_at"] = sent["device_id"].map(known).fillna(sent["first_seen_at"])
    both = pd.concat([honest.assign(origin=str(Origin.HONEST), honest_source=True), sent], ignore_index=True)
    chosen = _FEATURES[:features]
    for frame in (both, good):
        frame.loc[rng.random(len(frame)) < missing, [c for c in _NOT_TYPED if c in chosen]] = np.nan
    dropped = list(_FEATURES[features:])
    return seal_world(
        both.drop(columns=dropped),
        name="replay",
        seed=seed,
        columns=_COLUMNS,
        features=chosen,
        prefix="s",
        trusted=good.drop(columns=[*dropped, "truth"]),
        params=params | {"until": str(stamp((DAYS + 0.1) * 86_400)) + "Z"},
    )


def make_twin(seed: int, **params: Any) -> World:
    """Return the benign twin of `make`: the same devices with people of their own behind them."""
    return make(seed, **params, benign=True)


def draw_sessions(rng: np.random.Generator, ids: np.ndarray, n: int, kind: Behaviour, label: str) -> pd.DataFrame:
    """`n` sessions of a week on devices with habits of their own."""
    who = np.repeat(np.arange(len(ids)), activity(rng, len(ids), n))
    return _frame(rng, ids, who, kind.draw(rng, kind.habits(rng, len(ids))[who]), label, daily_times(rng, n))


def _frame(
    rng: np.random.Generator, ids: np.ndarray, who: np.ndarray, values: pd.DataFrame, truth: str, at: np.ndarray
) -> pd.DataFrame:
    first = pd.Series(at).groupby(who).min()
    born = pd.Series(account_births(rng, first.to_numpy()), index=first.index)
    return values.round(4).assign(
        device_id=pd.Series(ids[who], dtype="str"),
        challenge=truth,
        truth=truth,
        started_at=at,
        first_seen_at=pd.Series(who).map(born).to_numpy(),
    )


def _sent(rng: np.random.Generator, ids: np.ndarray, params: dict[str, Any]) -> pd.DataFrame:
    """What the farm's devices send: replays passed by paid solvers, or honest sessions."""
    n, farm = params["replays"], len(ids)
    who = rng.permutation(np.arange(n) % farm)
    launch = rng.uniform(1, DAYS - 1.5)
    at = stamp(np.where(who < farm // 2, launch + rng.random(n), rng.uniform(0.5, DAYS, n)) * 86_400)
    kind = _PEOPLE if params["benign"] else _BOTS
    if params["benign"]:
        values = kind.draw(rng, kind.habits(rng, farm)[who])
    else:
        tape = kind.draw(rng, np.repeat(kind.habits(rng, 1), params["tapes"], axis=0))
        values = tape.iloc[rng.permutation(np.arange(n) % params["tapes"])].reset_index(drop=True)
        size = params["jitter_share"]
        values = pd.DataFrame(jitter(rng, values.to_numpy(), size, size), columns=values.columns).clip(lower=0)
    frame = _frame(rng, ids, who, values, "human" if params["benign"] else "bot", at)
    old = rng.permutation(farm) < round(params["aged"] * farm)
    young = at - (rng.uniform(0.01, 2, farm)[who] * 86_400e6).astype("timedelta64[us]")
    off = rng.uniform(-params["skew_hours"], params["skew_hours"], farm)[who]
    return frame.assign(
        challenge="human",
        first_seen_at=np.where(old[who], frame["first_seen_at"].to_numpy(), young),
        started_at=at + (off * 3600e6).astype("timedelta64[us]"),
        origin=str(Origin.HONEST if params["benign"] else Origin.POISON),
        honest_source=params["benign"],
    )
