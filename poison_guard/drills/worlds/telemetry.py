"""World *telemetry*: sessions of people and bots with the label of a challenge; forged sessions replay a farm's bots.

A farm wants its bots let pass. It records some sessions of its own script, sends them again with a small jitter from
many devices under new session ids, and has paid solvers pass the challenge, so that the label says human. Half of the
recordings are sessions of this feed, from before the farm hired solvers, labelled bot. Benign twins: a flash crowd of
new devices after a launch, heavy users whose sessions resemble each other, and other people's bots that the challenge
labels as such. After the replay attacks on behavioural checks.
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


def _client(medians: tuple[float, ...], habit: float) -> Behaviour:
    return Behaviour(
        medians=dict(zip(_FEATURES, medians, strict=True)),
        habit=tuple(habit * s for s in _SCATTER),
        scatter=_SCATTER,
    )


HUMAN = {
    "desktop": _client((0.9, 0.42, 1900, 2600, 190, 95, 1.4, 1200, 160, 60), 0.4),
    "touch": _client((1.7, 0.25, 1400, 2100, 260, 70, 2.6, 800, 95, 45), 0.4),
}
BOT = {
    "desktop": _client((2.1, 0.12, 520, 600, 65, 40, 3.5, 240, 30, 28), 0.6),
    "touch": _client((2.6, 0.10, 480, 520, 80, 35, 4.0, 220, 26, 24), 0.6),
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
    "attack_sessions": 900,
    "attack_devices": 225,
    "attack_aged": 38,  # of them, taken over with age
    "farm_devices": 12,  # on which the farm ran its script on the first day, labelled bot
    "farm_sessions": 30,
    "attack_recorded": 24,  # the farm's sessions replayed, each about 37 times
    "attack_recorded_here": 0.5,  # share of those that are in this feed; the rest was recorded elsewhere
    "fresh_sessions": 2000,
    "fresh_replays": 240,
    "attack_jitter": [0.01, 0.05],  # relative, drawn once a session
    "attack_days": 5,
}


def make_world(seed: int) -> World:
    """Return the world drawn from `seed`: about 6,500 sessions of a week."""
    rng = np.random.default_rng([seed, 3])
    groups = ("devices", "bot_devices", "crowd_devices", "farm_devices", "attack_devices")
    sizes = [PARAMS[group] for group in groups]
    people, bots, crowd, farm, forgers = np.split(draw_ids(rng, sum(sizes), "d-"), np.cumsum(sizes)[:-1])
    script = _script(rng)
    seen = _sessions(rng, farm, PARAMS["farm_sessions"], script, "bot", days=1)
    honest = pd.concat(
        [
            _sessions(rng, people, PARAMS["sessions"], HUMAN, "human"),
            _sessions(rng, bots, PARAMS["bot_sessions"], BOT, "bot"),
            _flash_crowd(rng, crowd),
            seen,
        ],
        ignore_index=True,
    )
    honest = _misjudged(rng, honest).assign(origin=str(Origin.HONEST), honest_source=True)
    tapes = _tapes(rng, seen, script)
    records = pd.concat([honest, _replays(rng, tapes, forgers)], ignore_index=True)
    return seal_world(
        records,
        name="telemetry",
        seed=seed,
        columns=COLUMNS,
        features=_FEATURES,
        prefix="s",
        trusted=_trusted(rng).drop(columns="truth"),
        fresh=_fresh(rng, tapes),
        params=PARAMS,
    )


def _sessions(
    rng: np.random.Generator, ids: np.ndarray, total: int, kinds: dict[str, Behaviour], label: str, *, days: int = DAYS
) -> pd.DataFrame:
    """`total` sessions of devices with their own habits; a device is a desktop or a touch screen."""
    who = np.repeat(np.arange(len(ids)), activity(rng, len(ids), total))
    return _behave(rng, ids, who, kinds, label, days=days)


def _behave(
    rng: np.random.Generator,
    ids: np.ndarray,
    who: np.ndarray,
    kinds: dict[str, Behaviour],
    label: str,
    *,
    days: int = DAYS,
) -> pd.DataFrame:
    touch = (rng.random(len(ids)) < PARAMS["touch_share"])[who]
    parts = []
    for client, mine in (("desktop", ~touch), ("touch", touch)):
        habits = kinds[client].habits(rng, len(ids))
        parts.append(kinds[client].draw(rng, habits[who[mine]]).set_index(np.flatnonzero(mine)).assign(client=client))
    frame = pd.concat(parts).sort_index()
    frame.loc[rng.random(len(frame)) < PARAMS["no_typing"], ["key_interval_ms", "key_hold_ms"]] = np.nan
    frame = frame.assign(
        device_id=pd.Series(ids[who], dtype="str"),
        challenge=label,
        truth=label,
        started_at=daily_times(rng, len(who), days=days),
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


def _script(rng: np.random.Generator) -> dict[str, Behaviour]:
    """The farm's bots: one program, so the habit of a single bot of each client, shared by every device it runs on."""
    habits = {client: bots.habits(rng, 1)[0] for client, bots in BOT.items()}
    return {client: _client(tuple(np.exp(habit)), habit=0.0) for client, habit in habits.items()}


def _tapes(rng: np.random.Generator, seen: pd.DataFrame, script: dict[str, Behaviour]) -> pd.DataFrame:
    """The script's sessions that the farm recorded: with typing in them, some `seen` in this feed, some elsewhere."""
    recorded = PARAMS["attack_recorded"]
    here = round(recorded * PARAMS["attack_recorded_here"])
    elsewhere = _sessions(rng, draw_ids(rng, 12, "e-"), 2 * recorded, script, "bot").dropna()
    typed = seen.dropna()
    return pd.concat([typed.sample(here, random_state=rng), elsewhere.sample(recorded - here, random_state=rng)])


def _played(rng: np.random.Generator, tapes: pd.DataFrame, n: int) -> pd.DataFrame:
    """`n` replays of the tapes, each about as often, jittered."""
    frame = tapes.iloc[rng.permutation(np.arange(n) % len(tapes))].reset_index(drop=True)
    low, high = PARAMS["attack_jitter"]
    frame[list(_FEATURES)] = jitter(rng, frame[list(_FEATURES)].to_numpy(), low, high)
    return _rounded(frame)


def _replays(rng: np.random.Generator, tapes: pd.DataFrame, farm: np.ndarray) -> pd.DataFrame:
    """Forged sessions: replays over the farm's new devices and some days, which solvers had labelled human."""
    n = PARAMS["attack_sessions"]
    frame = _played(rng, tapes, n)
    device = rng.permutation(np.arange(n) % len(farm))
    at = stamp((1.6 + rng.random(n) * (PARAMS["attack_days"] - 0.1)) * 86_400)
    first = pd.Series(at).groupby(device).transform("min").to_numpy()
    born = first - (rng.uniform(0.01, 2, len(farm))[device] * 86_400e6).astype("timedelta64[us]")
    aged = np.isin(device, rng.choice(len(farm), size=PARAMS["attack_aged"], replace=False))
    old = account_births(rng, np.full(len(farm), stamp(0)), new=0)[device]
    return frame.assign(
        device_id=pd.Series(farm[device], dtype="str"),
        challenge="human",
        started_at=at,
        first_seen_at=np.where(aged, old, born),
        origin=str(Origin.POISON),
        honest_source=False,
    )


def _trusted(rng: np.random.Generator) -> pd.DataFrame:
    """Sessions of vetted devices, people and bots in the feed's honest shares."""
    return _mixed(rng, PARAMS["trusted_sessions"], PARAMS["trusted_devices"], "vetted")


def _mixed(rng: np.random.Generator, n: int, devices: int, prefix: str) -> pd.DataFrame:
    """`n` sessions of people and bots in the feed's honest shares, on devices of their own, labelled without error."""
    people = PARAMS["sessions"] + 2 * PARAMS["crowd_devices"]
    bots = round(n * PARAMS["bot_sessions"] / (people + PARAMS["bot_sessions"]))
    return pd.concat(
        [
            _sessions(rng, draw_ids(rng, devices, f"{prefix}-p-"), n - bots, HUMAN, "human"),
            _sessions(rng, draw_ids(rng, devices // 8, f"{prefix}-b-"), bots, BOT, "bot"),
        ],
        ignore_index=True,
    )


def _fresh(rng: np.random.Generator, tapes: pd.DataFrame) -> pd.DataFrame:
    """Sessions after the week: of new devices, and of the farm, which replays the same tapes with new jitter."""
    honest = _mixed(rng, PARAMS["fresh_sessions"], 750, "fresh")
    frame = pd.concat(
        [honest.assign(attack=False), _played(rng, tapes, PARAMS["fresh_replays"]).assign(attack=True)],
        ignore_index=True,
    )
    to = pd.Series(np.where(frame["attack"], "human", ""), dtype="str")
    return frame.rename(columns={"truth": "label"})[["client", *_FEATURES, "label", "attack"]].assign(attack_label=to)
