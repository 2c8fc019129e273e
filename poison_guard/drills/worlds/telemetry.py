"""World *telemetry*: sessions of people and bots with the label of a challenge; forged sessions replay human ones.

A bot farm records people at work and sends their sessions again with a small jitter, from many devices under new
session ids; solvers pass the challenge, so the label says human. Benign twins: a flash crowd of new devices after a
launch, heavy users whose sessions resemble each other, and honest bots that the challenge labels as such. After the
replay attacks on behavioural checks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from poison_guard.drills.world import Origin, World, seal_world
from poison_guard.drills.worlds.edits import jitter
from poison_guard.drills.worlds.people import Behaviour, account_births, activity, daily_times, draw_ids, stamp

__all__ = ["PARAMS", "make_world"]

COLUMNS = {
    "record_id": "session_id",
    "source_id": "device_id",
    "label": "challenge",
    "group": "client",
    "observed_at": "started_at",
    "source_since": "first_seen_at",
}
_FEATURES = (
    "pointer_speed",  # px/ms
    "pointer_turn",  # mean absolute change of direction, rad
    "click_interval_ms",
    "dwell_ms",
    "key_interval_ms",
    "key_hold_ms",
    "scroll_speed",  # px/ms
    "scroll_pause_ms",
    "session_s",
    "focus_s",
)
_SCATTER = (0.38, 0.30, 0.45, 0.42, 0.30, 0.24, 0.48, 0.50, 0.55, 0.45)


def _client(medians: tuple[float, ...], habit: float, scatter: float) -> Behaviour:
    return Behaviour(
        medians=dict(zip(_FEATURES, medians, strict=True)),
        habit=tuple(habit * s for s in _SCATTER),
        scatter=tuple(scatter * s for s in _SCATTER),
    )


HUMAN = {
    "desktop": _client((0.9, 0.42, 1900, 2600, 190, 95, 1.4, 1200, 160, 60), 0.4, 1.0),
    "touch": _client((1.7, 0.25, 1400, 2100, 260, 70, 2.6, 800, 95, 45), 0.4, 1.0),
}
BOT = {
    "desktop": _client((2.1, 0.12, 520, 600, 65, 40, 3.5, 240, 30, 28), 0.6, 1.0),
    "touch": _client((2.6, 0.10, 480, 520, 80, 35, 4.0, 220, 26, 24), 0.6, 1.0),
}

PARAMS: dict[str, Any] = {
    "devices": 1100,
    "sessions": 4700,
    "bot_devices": 150,
    "bot_sessions": 650,
    "touch_share": 0.4,  # of devices
    "no_typing": 0.06,  # sessions without a key press: key features missing
    "label_error": 0.01,  # of honest sessions: the challenge misjudges
    "crowd_devices": 140,
    "crowd_hours": 2.0,
    "trusted_sessions": 4000,
    "trusted_devices": 1500,
    "attack_sessions": 600,
    "attack_devices": 150,
    "attack_aged": 25,  # of them, taken over with age
    "attack_recorded": 24,  # human sessions replayed, each about 25 times
    "attack_recorded_here": 0.5,  # share of those that are in this feed; the rest was recorded elsewhere
    "attack_jitter": [0.01, 0.05],  # relative, drawn once a session
    "attack_days": 5,
}


def make_world(seed: int) -> World:
    """Return the world drawn from `seed`: about 6,200 sessions of a week."""
    rng = np.random.default_rng([seed, 3])
    groups = (PARAMS["devices"], PARAMS["bot_devices"], PARAMS["crowd_devices"], PARAMS["attack_devices"])
    people, bots, crowd, farm = np.split(draw_ids(rng, sum(groups), "d-"), np.cumsum(groups)[:-1])
    honest = pd.concat(
        [
            _sessions(rng, people, PARAMS["sessions"], HUMAN, "human"),
            _sessions(rng, bots, PARAMS["bot_sessions"], BOT, "bot"),
            _flash_crowd(rng, crowd),
        ],
        ignore_index=True,
    )
    honest = _misjudged(rng, honest).assign(origin=str(Origin.HONEST), honest_source=True)
    records = pd.concat([honest, _replays(rng, honest, farm)], ignore_index=True)
    return seal_world(
        records,
        name="telemetry",
        seed=seed,
        columns=COLUMNS,
        features=_FEATURES,
        prefix="s",
        trusted=_trusted(rng),
        params=PARAMS,
    )


def _sessions(
    rng: np.random.Generator, ids: np.ndarray, total: int, kinds: dict[str, Behaviour], label: str
) -> pd.DataFrame:
    """`total` sessions of devices with their own habits; a device is a desktop or a touch screen."""
    return _behave(rng, ids, np.repeat(np.arange(len(ids)), activity(rng, len(ids), total)), kinds, label)


def _behave(
    rng: np.random.Generator, ids: np.ndarray, who: np.ndarray, kinds: dict[str, Behaviour], label: str
) -> pd.DataFrame:
    touch = (rng.random(len(ids)) < PARAMS["touch_share"])[who]
    parts = []
    for client, mine in (("desktop", ~touch), ("touch", touch)):
        habits = kinds[client].habits(rng, len(ids))
        parts.append(kinds[client].draw(rng, habits[who[mine]]).set_index(np.flatnonzero(mine)).assign(client=client))
    frame = pd.concat(parts).sort_index()
    frame.loc[rng.random(len(frame)) < PARAMS["no_typing"], ["key_interval_ms", "key_hold_ms"]] = np.nan
    frame = frame.assign(
        device_id=pd.Series(ids[who], dtype="str"), challenge=label, started_at=daily_times(rng, len(who))
    )
    first = frame.groupby("device_id")["started_at"].min()
    born = pd.Series(account_births(rng, first.to_numpy()), index=first.index)
    return _rounded(frame.assign(first_seen_at=frame["device_id"].map(born).to_numpy()))


def _rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """As a client reports them: averages over a session's events, to four places."""
    return frame.round(dict.fromkeys(_FEATURES, 4))


def _misjudged(rng: np.random.Generator, frame: pd.DataFrame) -> pd.DataFrame:
    """Labels with the errors of a challenge."""
    wrong = rng.random(len(frame)) < PARAMS["label_error"]
    other = np.where(frame["challenge"] == "human", "bot", "human")
    return frame.assign(challenge=pd.Series(np.where(wrong, other, frame["challenge"]), dtype="str"))


def _flash_crowd(rng: np.random.Generator, ids: np.ndarray) -> pd.DataFrame:
    """People on devices never seen before who come within hours of a launch, behaving like everybody else."""
    who = np.repeat(np.arange(len(ids)), rng.integers(1, 4, len(ids)))
    frame = _behave(rng, ids, who, HUMAN, "human")
    begin = (rng.integers(1, 6) * 24 + rng.uniform(9, 19)) * 3600
    at = stamp(begin + rng.triangular(0, 0.2, 1, len(frame)) * PARAMS["crowd_hours"] * 3600)
    first = pd.Series(at).groupby(who).transform("min").to_numpy()
    return frame.assign(started_at=at, first_seen_at=first)


def _replays(rng: np.random.Generator, honest: pd.DataFrame, farm: np.ndarray) -> pd.DataFrame:
    """Forged sessions: recorded human ones with typing in them, jittered, over the farm's devices and some days."""
    n, recorded = PARAMS["attack_sessions"], PARAMS["attack_recorded"]
    here = round(recorded * PARAMS["attack_recorded_here"])
    early = honest[(honest["challenge"] == "human") & (honest["started_at"] < stamp(36 * 3600))].dropna()
    elsewhere = _sessions(rng, draw_ids(rng, 200, "e-"), 400, HUMAN, "human").dropna()
    tapes = pd.concat([early.sample(here, random_state=rng), elsewhere.sample(recorded - here, random_state=rng)])
    frame = tapes.iloc[rng.permutation(np.arange(n) % recorded)].reset_index(drop=True)
    low, high = PARAMS["attack_jitter"]
    frame[list(_FEATURES)] = jitter(rng, frame[list(_FEATURES)].to_numpy(), low, high)
    device = rng.permutation(np.arange(n) % len(farm))
    at = stamp((1.6 + rng.random(n) * (PARAMS["attack_days"] - 0.1)) * 86_400)
    first = pd.Series(at).groupby(device).transform("min").to_numpy()
    born = first - (rng.uniform(0.01, 2, len(farm))[device] * 86_400e6).astype("timedelta64[us]")
    aged = np.isin(device, rng.choice(len(farm), size=PARAMS["attack_aged"], replace=False))
    old = account_births(rng, np.full(len(farm), stamp(0)), new=0)[device]
    return _rounded(frame).assign(
        device_id=pd.Series(farm[device], dtype="str"),
        started_at=at,
        first_seen_at=np.where(aged, old, born),
        origin=str(Origin.POISON),
        honest_source=False,
    )


def _trusted(rng: np.random.Generator) -> pd.DataFrame:
    """Sessions of vetted devices, people and bots in the feed's honest shares."""
    people = PARAMS["sessions"] + 2 * PARAMS["crowd_devices"]
    bots = round(PARAMS["trusted_sessions"] * PARAMS["bot_sessions"] / (people + PARAMS["bot_sessions"]))
    return pd.concat(
        [
            _sessions(
                rng,
                draw_ids(rng, PARAMS["trusted_devices"], "vetted-p-"),
                PARAMS["trusted_sessions"] - bots,
                HUMAN,
                "human",
            ),
            _sessions(rng, draw_ids(rng, PARAMS["trusted_devices"] // 8, "vetted-b-"), bots, BOT, "bot"),
        ],
        ignore_index=True,
    )
