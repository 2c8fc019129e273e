"""Attack *copying*: a thousand queries of a model, asked to copy it or to search its edges, by one account or ten.

People ask about the few things they like, at a pace of their own, in bursts with pauses; who copies asks for answers.
Benign twin: as many queries by new people, one person an account.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from poison_guard.drills.world import Origin, World, seal_world
from poison_guard.drills.worlds.draws import DAYS, account_births, draw_ids, stamp
from poison_guard.errors import UsageError

__all__ = ["STREAMS", "make", "make_twin"]

STREAMS = ("noise", "cells", "moved", "line", "alike")
"""What is asked: made-up inputs; columns of real ones exchanged; real ones moved a little (Papernot 2017); one column
after another from end to end (Tramer 2016); what people ask, about everything alike."""
_COLUMNS = {
    "record_id": "request_id",
    "source_id": "api_key",
    "observed_at": "asked_at",
    "source_since": "key_created_at",
    "answer": "prediction",
}
_THINGS = 8
_WIDTH = 8
_FEATURES = tuple(f"x{k}" for k in range(_WIDTH))
_WEEK = DAYS * 86_400.0
_STEP = 0.1  # of a column's standard deviation, that an input is moved by
_TO_MOVE = 8  # inputs asked of one that is moved, itself included
_A_LINE = 20  # queries along one column
_PAUSE_S, _NEXT_S = 3600.0, 72.0  # mean seconds to the next query, after a pause and within a burst


def make(
    seed: int,
    *,
    stream: str = "noise",
    accounts: int = 1,
    queries: int = 1000,
    fast: bool = False,
    people: int = 150,
    trusted: int = 100,
    benign: bool = False,
) -> World:
    """Return the world drawn from `seed`: a week of what people asked, and `queries` of one of `STREAMS`.

    They come over the week, or with `fast` within an hour, from `accounts` that take turns. With `benign` as many new
    people ask what they like. `trusted`: how many people the trusted set knows. `UsageError` for another stream.
    """
    if stream not in STREAMS:
        raise UsageError(f"stream must be one of {', '.join(STREAMS)}, got {stream!r}")
    params: dict[str, Any] = {key: value for key, value in locals().items() if key != "seed"}
    rng = np.random.default_rng([seed, 47])
    centres = rng.normal(0, 2, (_THINGS, _WIDTH))
    folk, vetted, more = np.split(draw_ids(rng, people + trusted + accounts, "k-"), [people, people + trusted])
    honest, known = (_people(rng, centres, names) for names in (folk, vetted))
    sent = _people(rng, centres, more, each=queries // accounts) if benign else _stream(rng, centres, more, params)
    truth = str(Origin.HONEST if benign else Origin.POISON)
    both = pd.concat([honest.assign(origin=str(Origin.HONEST)), sent.assign(origin=truth)], ignore_index=True)
    return seal_world(
        both.assign(honest_source=~both["api_key"].isin(more) | benign),
        name="copying",
        seed=seed,
        columns=_COLUMNS,
        features=_FEATURES,
        prefix="q",
        trusted=known.drop(columns="truth"),
        params=params | {"kind": "queries", "until": str(stamp(_WEEK + 3600)) + "Z"},
    )


def make_twin(seed: int, **params: Any) -> World:
    """Return the benign twin of `make`: as many queries of new people."""
    return make(seed, **params, benign=True)


def _people(rng: np.random.Generator, centres: np.ndarray, names: np.ndarray, each: int | None = None) -> pd.DataFrame:
    """Draw what `names` ask: some 75 queries each, or `each`, about things that one likes more and less."""
    many = np.full(len(names), each) if each else np.clip(rng.lognormal(4.3, 0.8, len(names)), 30, 600).astype(int)
    parts = []
    for name, n in zip(names, many, strict=True):
        liked = rng.choice(_THINGS, n, p=rng.dirichlet(np.full(_THINGS, 0.5)))
        gaps = np.where(rng.random(n) < 0.7, _NEXT_S, _PAUSE_S) * rng.lognormal(0, 1) * rng.exponential(1, n)
        at = rng.uniform(0, _WEEK / 2) + np.cumsum(gaps) * min(1.0, _WEEK / 2 / gaps.sum())
        parts.append(_frame(np.full(n, name, object), _inputs(rng, centres, liked), centres, at))
    return _with_births(rng, pd.concat(parts, ignore_index=True))


def _stream(rng: np.random.Generator, centres: np.ndarray, names: np.ndarray, params: dict[str, Any]) -> pd.DataFrame:
    """Draw one stream of queries, that `names` ask in turn."""
    n = params["queries"]
    real = _inputs(rng, centres, rng.integers(0, _THINGS, n))
    match params["stream"]:
        case "noise":
            x = rng.uniform(real.min(axis=0), real.max(axis=0), real.shape)
        case "cells":
            x = np.stack([rng.permutation(column) for column in real.T], axis=1)
        case "moved":
            base = np.repeat(real[: -(-n // _TO_MOVE)], _TO_MOVE, axis=0)[:n]
            moved = np.arange(n) % _TO_MOVE > 0
            x = base + moved[:, None] * _STEP * real.std(axis=0) * rng.choice((-1, 1), base.shape)
        case "line":
            x = np.repeat(real[:1], n, axis=0)
            at = np.arange(n)
            column, place = at // _A_LINE % _WIDTH, at % _A_LINE / (_A_LINE - 1)
            x[at, column] = real.min(axis=0)[column] + place * np.ptp(real, axis=0)[column]
        case _:
            x = real
    at = np.sort(rng.uniform(0, 3600 if params["fast"] else _WEEK, n))
    return _with_births(rng, _frame(names[np.arange(n) % len(names)], x, centres, at))


def _inputs(rng: np.random.Generator, centres: np.ndarray, things: np.ndarray) -> np.ndarray:
    return centres[things] + rng.normal(0, 1, (len(things), _WIDTH))


def _frame(names: np.ndarray, x: np.ndarray, centres: np.ndarray, at: np.ndarray) -> pd.DataFrame:
    """Return queries with what the model answers: the nearest of the things."""
    said = np.argmin(((x[:, None] - centres) ** 2).sum(axis=2), axis=1).astype(str)
    values = pd.DataFrame(x.round(4), columns=list(_FEATURES))
    return values.assign(api_key=names, asked_at=stamp(at), prediction=said, truth=said)


def _with_births(rng: np.random.Generator, frame: pd.DataFrame) -> pd.DataFrame:
    first = frame.groupby("api_key")["asked_at"].min()
    born = pd.Series(account_births(rng, first.to_numpy()), first.index)
    return frame.assign(key_created_at=frame["api_key"].map(born))
