"""Attack *forged*: sessions sent under honest devices' names in a signed feed, without their keys or with stolen ones.

Every honest device signs its sessions by a key of its own. A forger has none: a third of what it sends is unsigned, a
third signed by another secret, a third copied from honest sessions. A thief has some devices' keys and signs sessions
of its bots from elsewhere. Benign twin: new devices send as many sessions of people. `make_oddity` draws worlds in
which everybody is honest and some look odd: a new client version, devices shared by two people, households,
travellers, an outage that sends a day's sessions late.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from poison_guard.drills.attacks.telemetry import draw_sessions
from poison_guard.drills.world import Origin, World, seal_world
from poison_guard.drills.worlds.draws import DAYS, draw_ids, stamp
from poison_guard.drills.worlds.telemetry import BOT, COLUMNS, HUMAN
from poison_guard.errors import UsageError
from poison_guard.ingest.signed_json import json_rows

__all__ = ["ODDITIES", "make", "make_oddity", "make_twin"]

_COLUMNS = {role: column for role, column in COLUMNS.items() if role != "group"} | {
    "sent_at": "sent_at",
    "nonce": "nonce",
    "place": "place",
    "client_version": "version",
    "sequence": "counter",
    "signature": "signature",
}
_PEOPLE, _BOTS = HUMAN["desktop"], BOT["desktop"]
_FEATURES = tuple(_PEOPLE.medians)
_DAY = 86_400.0
_VERSIONS = ("5.1", "5.2", "5.3")
_NEXT = "5.4"
_KEYS = b"keys of a drill, which protect nothing"
ODDITIES = ("version", "shared", "household", "zone", "outage")
"""What honest people do that looks odd."""


def make(
    seed: int,
    *,
    stolen: int = 0,
    forged: int = 240,
    people: int = 300,
    sessions: int = 1800,
    trusted: int = 1200,
    benign: bool = False,
) -> World:
    """Return the world drawn from `seed`: a week of signed sessions, `forged` of them sent under honest names.

    `stolen`: how many devices' keys the sender has; 0 for a forger without any. With `benign` they are people's, on
    devices of their own.
    """
    rng = np.random.default_rng([seed, 45])
    folk, more = np.split(draw_ids(rng, people + max(stolen, 40), "d-"), [people])
    honest = _signed(rng, draw_sessions(rng, folk, sessions, _PEOPLE, "human")).assign(origin=str(Origin.HONEST))
    if benign:
        sent = _signed(rng, draw_sessions(rng, more, forged, _PEOPLE, "human")).assign(origin=str(Origin.HONEST))
    else:
        sent = _stolen(rng, honest, stolen, forged) if stolen else _forged(rng, honest, forged)
        sent = sent.assign(origin=str(Origin.POISON))
    return _world(rng, pd.concat([honest, sent], ignore_index=True), "forged", seed, trusted, {"stolen": stolen})


def make_twin(seed: int, **params: Any) -> World:
    """Return the benign twin of `make`: as many sessions of people on new devices with keys of their own."""
    return make(seed, **params, benign=True)


def make_oddity(
    seed: int,
    *,
    what: str = "version",
    share: float = 0.2,
    people: int = 300,
    sessions: int = 1800,
    trusted: int = 1200,
) -> World:
    """Return an honest world in which `what` (one of `ODDITIES`) befell a `share` of the devices; `UsageError` else."""
    if what not in ODDITIES:
        raise UsageError(f"what must be one of {', '.join(ODDITIES)}, got {what!r}")
    rng = np.random.default_rng([seed, 46])
    folk = draw_ids(rng, people, "d-")
    some = folk[: round(share * people)]
    family = {name: some[at - at % 4] for at, name in enumerate(some)}  # four devices each
    frame = _behave(rng, draw_sessions(rng, folk, sessions, _PEOPLE, "human"), what, family)
    frame = _sign(_report(rng, _reported(rng, frame), what, family)).assign(origin=str(Origin.HONEST))
    return _world(rng, frame, f"honest-{what}", seed, trusted, {"what": what, "share": share})


def _behave(rng: np.random.Generator, frame: pd.DataFrame, what: str, family: dict[str, str]) -> pd.DataFrame:
    """Sessions where some devices have a second person, or those of a household one habit."""
    mine = frame["device_id"].isin(family)
    if what == "shared":
        more = draw_sessions(rng, np.array(list(family), object), int(mine.sum()), _PEOPLE, "human")
        return pd.concat([frame, more], ignore_index=True)
    if what == "household":
        some = frame.loc[mine, list(_FEATURES)]
        own, together = (
            some.groupby(by.to_numpy()).transform("median")
            for by in (frame.loc[mine, "device_id"], frame.loc[mine, "device_id"].map(family))
        )
        frame.loc[mine, list(_FEATURES)] = (some / own * together).round(4)
    return frame


def _report(rng: np.random.Generator, frame: pd.DataFrame, what: str, family: dict[str, str]) -> pd.DataFrame:
    """What devices report of themselves where `what` befell those of `family`."""
    mine, at = frame["device_id"].isin(family), frame["started_at"]
    whose, names = frame.loc[mine, "device_id"], list(family)
    match what:
        case "version":
            frame.loc[mine & (at > stamp(3 * _DAY)), "version"] = _NEXT
        case "household":
            frame.loc[mine, "place"] = frame[mine].groupby(whose.map(family).to_numpy())["place"].transform("first")
        case "zone":  # elsewhere after a day without sessions; the clock follows
            away = mine & (at > stamp(4.5 * _DAY))
            hours = pd.Series(rng.integers(-9, 10, len(names)), names)
            frame.loc[away, "place"] = whose.map(dict(zip(names, _places(rng, len(names)), strict=True)))
            frame.loc[away, "started_at"] += pd.to_timedelta(whose[away[mine]].map(hours), unit="h")
            frame = frame[~mine | away | (at <= stamp(3.5 * _DAY))]
        case "outage":
            out = (at > stamp(3 * _DAY)) & (at < stamp(4 * _DAY))
            frame.loc[out, "sent_at"] = stamp(4.4 * _DAY + 600 * rng.random(int(out.sum())))
    return frame.reset_index(drop=True)


def _world(
    rng: np.random.Generator, records: pd.DataFrame, name: str, seed: int, trusted: int, params: dict[str, Any]
) -> World:
    vetted = draw_sessions(rng, draw_ids(rng, max(60, trusted // 4), "vetted-"), trusted, _PEOPLE, "human")
    bad = records.groupby("device_id")["origin"].transform(lambda o: (o == str(Origin.HONEST)).any())
    signed = [c for c in records.columns if c not in ("origin", "truth", "signature")]
    names = sorted(set(records["device_id"]))
    keys = {name: {"alg": "HS256", "secret": _secret(name).hex(), "source": name} for name in names}
    return seal_world(
        records.assign(honest_source=bad),
        name=name,
        seed=seed,
        columns=_COLUMNS,
        features=_FEATURES,
        prefix="s",
        trusted=_signed(rng, vetted).drop(columns="truth"),
        params=params
        | {"signature": {"signed": signed, "keys": keys}, "until": str(stamp((DAYS + 0.5) * 86_400)) + "Z"},
    )


def _reported(rng: np.random.Generator, frame: pd.DataFrame) -> pd.DataFrame:
    """Sessions with what clients report of themselves: when they sent, once-used values, places, versions, counters."""
    frame = frame.sort_values(["device_id", "started_at"], kind="stable", ignore_index=True)
    who, ids = pd.factorize(frame["device_id"])
    steps = pd.Series(1 + rng.poisson(2, len(frame)))
    return frame.assign(
        sent_at=(frame["started_at"] + pd.to_timedelta(rng.exponential(30, len(frame)), unit="s")).dt.floor("ms"),
        nonce=[rng.bytes(16).hex() for _ in range(len(frame))],
        place=_places(rng, len(ids))[who],
        version=rng.choice(_VERSIONS, len(ids))[who],
        counter=rng.integers(1, 10_000, len(ids))[who] + steps.groupby(who).cumsum().to_numpy(),
    )


def _places(rng: np.random.Generator, n: int) -> np.ndarray:
    at = zip(rng.uniform(-50, 60, n), rng.uniform(-180, 180, n), strict=True)
    return np.array([f"{latitude:.2f},{longitude:.2f}" for latitude, longitude in at], object)


def _secret(name: str) -> bytes:
    return hashlib.sha256(_KEYS + name.encode()).digest()


def _signed(rng: np.random.Generator, frame: pd.DataFrame) -> pd.DataFrame:
    return _sign(_reported(rng, frame))


def _sign(frame: pd.DataFrame, *, wrong: bool = False) -> pd.DataFrame:
    """Sign all that a session says by its device's key, or by `wrong` ones."""
    said = frame.drop(columns=[c for c in ("truth", "signature", "origin") if c in frame])
    said = said.assign(**{c: said[c].dt.tz_localize("UTC") for c in said.select_dtypes("datetime64")})
    table = pa.Table.from_pandas(said, preserve_index=False)
    columns = [(c, table[c].combine_chunks()) for c in table.column_names]
    columns = [(c, v.cast(pa.large_string()) if pa.types.is_string(v.type) else v) for c, v in columns]
    macs = [
        f"{name}:{hmac.new(_secret(name)[wrong:], text.encode(), hashlib.sha256).hexdigest()}"
        for name, text in zip(frame["device_id"], json_rows(columns).to_pylist(), strict=True)
    ]
    return frame.assign(signature=pd.Series(macs, dtype="str", index=frame.index))


def _forged(rng: np.random.Generator, honest: pd.DataFrame, n: int) -> pd.DataFrame:
    """Unsigned sessions, wrongly signed ones, and copies of honest ones, all under honest names."""
    third = n // 3
    names = rng.choice(honest["device_id"].unique(), n)
    made = _reported(rng, draw_sessions(rng, names, 2 * third, _BOTS, "human"))
    unsigned = made.iloc[:third].assign(signature=pd.Series(pd.NA, dtype="str", index=made.index[:third]))
    copied = honest.drop(columns="origin").sample(n - 2 * third, random_state=rng)
    return pd.concat([unsigned, _sign(made.iloc[third:], wrong=True), copied], ignore_index=True)


def _stolen(rng: np.random.Generator, honest: pd.DataFrame, stolen: int, n: int) -> pd.DataFrame:
    """Sessions of bots under the names of `stolen` devices, rightly signed, from one place and by own counters."""
    busy = honest["device_id"].value_counts()
    names = rng.choice(busy.index[busy >= 3].to_numpy(object), stolen, replace=False)
    made = _reported(rng, draw_sessions(rng, names, n, _BOTS, "human"))
    return _sign(made.assign(place=_places(rng, 1)[0]))
