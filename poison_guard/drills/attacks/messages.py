"""Message drills: repeat-after-me, abuse in polite words, and crowds that say the same without any harm.

After Microsoft's Tay (2016), which a group taught by having it repeat after them. Each drill runs on everyday phrases
of the world *chat*, or on real messages given as `base`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.drills.world import Origin, World, seal_world
from poison_guard.drills.worlds.draws import DAYS, account_births, daily_times, draw_ids, one_of, stamp
from poison_guard.drills.worlds.phrases import (
    CAMPAIGN,
    EVENT,
    FILLERS,
    GREETING,
    MEME,
    POLITE,
    SLOGAN,
    SYNONYMS,
    document,
    edit_words,
    everyday,
    fill,
    in_dialect,
    templates,
)
from poison_guard.errors import UsageError

__all__ = [
    "make_clean_abuse",
    "make_clean_abuse_twin",
    "make_dialect",
    "make_flash_crowd",
    "make_pasted_document",
    "make_repeat_after_me",
    "make_repeat_after_me_twin",
    "make_viral_meme",
]

COLUMNS = {
    "record_id": "message_id",
    "source_id": "author_id",
    "text": "text",
    "observed_at": "posted_at",
    "source_since": "author_created_at",
}
_LONG = 8  # words of a real message that a campaign is made of, at least
_TRUSTED = 1000


def make_repeat_after_me(seed: int, **params: Any) -> World:
    """Return a week of messages with campaigns that repeat a text each, edited; parameters as of `_campaigns`."""
    return _campaigns(seed, "repeat-after-me", CAMPAIGN, **params)


def make_repeat_after_me_twin(seed: int, **params: Any) -> World:
    """Return its benign twin: texts as many, copied as often and edited as much, by everybody within a day."""
    return _campaigns(seed, "repeat-after-me", CAMPAIGN, benign=True, **params)


def make_clean_abuse(seed: int, **params: Any) -> World:
    """Return campaigns of abuse without a rude word; parameters as of `_campaigns`."""
    return _campaigns(seed, "clean-abuse", POLITE, **params)


def make_clean_abuse_twin(seed: int, **params: Any) -> World:
    """Return the benign twin of `make_clean_abuse`."""
    return _campaigns(seed, "clean-abuse", POLITE, benign=True, **params)


def _campaigns(
    seed: int,
    name: str,
    parts: Mapping[str, Sequence[str]],
    *,
    campaigns: int = 20,
    copies: int = 50,
    mutation: float = 0.15,
    hours: float = 1.0,
    sybils: int = 300,
    aged: float = 0.0,
    messages: int = 4000,
    authors: int = 1500,
    base: pd.Series | None = None,
    benign: bool = False,
) -> World:
    """Return `campaigns` texts of `copies` each among honest messages.

    A share `mutation` of a copy's words is edited; the copies of a text are posted within `hours` by `sybils` new
    accounts, a share `aged` of them bought old. With `base`, real texts, the honest messages are those (all, the
    `messages` of them that are drawn first when fewer are wanted), and what campaigns repeat is drawn from them.
    """
    if not 0 <= mutation <= 1 or campaigns < 1 or copies < 1:
        raise UsageError(f"mutation must be in [0, 1], campaigns and copies at least 1, got {mutation}, {campaigns}")
    arguments = {k: v for k, v in locals().items() if k not in ("seed", "name", "parts", "base")}
    rng = np.random.default_rng([seed, 51])
    crowd, who = _honest(rng, messages, authors, base)
    drafts = templates(rng, parts, campaigns) if base is None else _drawn(rng, base, campaigns)
    words = list(FILLERS) if base is None else sorted({w for text in base.head(2000) for w in text.split()})
    synonyms = SYNONYMS if base is None else {}
    text = [edit_words(rng, template, mutation, words, synonyms) for template in drafts for _ in range(copies)]
    begin = np.repeat(rng.uniform(0.5, DAYS - 1.5, len(drafts)) * 86400, copies)
    if benign:
        spread = rng.gamma(2.5, 8 * 3600 / 8, len(text)).clip(0, 86400)
        pushed = _rows(text, _each_once(rng, who, len(drafts), copies), stamp(begin + spread), Origin.HONEST)
    else:
        by = _each_once(rng, draw_ids(rng, sybils, "z-"), len(drafts), copies)
        pushed = _rows(text, by, stamp(begin + rng.random(len(text)) * hours * 3600), Origin.POISON)
    return _sealed(rng, crowd, pushed, name=name, seed=seed, aged=aged, base=base, params=arguments)


def make_viral_meme(
    seed: int, *, copies: int = 300, mutation: float = 0.06, hours: float = 10.0, **crowd: Any
) -> World:
    """Return honest messages with a joke that `copies` of the usual authors copy within `hours`."""

    def twin(rng: np.random.Generator, who: np.ndarray) -> pd.DataFrame:
        text = [edit_words(rng, MEME, mutation, FILLERS, {}) for _ in range(copies)]
        at = rng.uniform(1, DAYS - 2) * 86400 + rng.gamma(2.5, hours / 8, copies).clip(0, hours) * 3600
        return _rows(text, _each_once(rng, who, 1, copies), stamp(at), Origin.HONEST)

    return _twin(seed, "viral-meme", twin, {"copies": copies, "mutation": mutation, "hours": hours}, **crowd)


def make_flash_crowd(
    seed: int, *, newcomers: int = 400, new: float = 0.7, slogan: float = 0.15, hours: float = 3.0, **crowd: Any
) -> World:
    """Return honest messages and a crowd that an event draws within `hours`, a share `new` of it on new accounts.

    They speak of one thing in words of their own, but for a share `slogan` that copy a line.
    """

    def twin(rng: np.random.Generator, who: np.ndarray) -> pd.DataFrame:
        text = [SLOGAN if rng.random() < slogan else _at_event(rng) for _ in range(newcomers)]
        at = rng.uniform(1, DAYS - 2) * 86400 + rng.random(newcomers) * hours * 3600
        rows = _rows(text, draw_ids(rng, newcomers, "n-"), stamp(at), Origin.HONEST)
        days = np.where(rng.random(newcomers) < new, rng.exponential(0.5, newcomers), rng.gamma(1.6, 340, newcomers))
        return rows.assign(author_created_at=rows["posted_at"] - (days * 86400e6).astype("timedelta64[us]"))

    params = {"newcomers": newcomers, "new": new, "slogan": slogan, "hours": hours}
    return _twin(seed, "flash-crowd", twin, params, **crowd)


def make_dialect(seed: int, *, speakers: int = 150, each: int = 4, greeting: float = 0.25, **crowd: Any) -> World:
    """Return honest messages and those of a minority: its spelling, and a `greeting` that it repeats word for word."""

    def twin(rng: np.random.Generator, who: np.ndarray) -> pd.DataFrame:
        n = speakers * each
        own = [GREETING if rng.random() < greeting else in_dialect(everyday(rng)) for _ in range(n)]
        return _rows(own, np.repeat(draw_ids(rng, speakers, "d-"), each), daily_times(rng, n), Origin.HONEST)

    return _twin(seed, "dialect", twin, {"speakers": speakers, "each": each, "greeting": greeting}, **crowd)


def make_pasted_document(seed: int, *, people: int = 60, new: float = 0.08, hours: float = 48.0, **crowd: Any) -> World:
    """Return honest messages and one document that `people` paste, each with a question, a share `new` of them new."""

    def twin(rng: np.random.Generator, who: np.ndarray) -> pd.DataFrame:
        pasted = document(rng)
        text = [
            f"{everyday(rng)} {pasted}" if rng.random() < 0.5 else f"{pasted} {everyday(rng)}" for _ in range(people)
        ]
        at = rng.uniform(0.5, DAYS - 3) * 86400 + rng.random(people) * hours * 3600
        rows = _rows(text, draw_ids(rng, people, "p-"), stamp(at), Origin.HONEST)
        return rows.assign(author_created_at=account_births(rng, rows["posted_at"].to_numpy(), new=new))

    return _twin(seed, "pasted-document", twin, {"people": people, "new": new, "hours": hours}, **crowd)


def _twin(
    seed: int,
    name: str,
    twin: Callable[[np.random.Generator, np.ndarray], pd.DataFrame],
    params: Mapping[str, Any],
    *,
    messages: int = 4000,
    authors: int = 1500,
    base: pd.Series | None = None,
) -> World:
    rng = np.random.default_rng([seed, 52])
    crowd, who = _honest(rng, messages, authors, base)
    rows = twin(rng, who)
    arguments = {**params, "messages": messages, "authors": authors}
    return _sealed(rng, crowd, rows, name=name, seed=seed, aged=0.0, base=base, params=arguments)


def _honest(
    rng: np.random.Generator, messages: int, authors: int, base: pd.Series | None
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a week of honest messages and the ids of those who write."""
    who = draw_ids(rng, authors, "u-")
    if base is None:
        text = [everyday(rng) for _ in range(messages)]
    else:
        text = base.astype("str").iloc[np.sort(rng.permutation(len(base))[:messages])].tolist()
    weights = rng.lognormal(0, 1, authors)
    by = rng.choice(who, size=len(text), p=weights / weights.sum())
    return _rows(text, by, daily_times(rng, len(text)), Origin.HONEST), who


def _at_event(rng: np.random.Generator) -> str:
    parts = [fill(rng, one_of(rng, EVENT)), everyday(rng)]
    return " ".join(rng.permutation(parts))


def _drawn(rng: np.random.Generator, base: pd.Series, n: int) -> list[str]:
    long = base[base.str.split().str.len() >= _LONG]
    if len(long) < n:
        raise UsageError(f"only {len(long)} of the messages have {_LONG} words; {n} campaigns need as many")
    return long.iloc[rng.permutation(len(long))[:n]].tolist()


def _each_once(rng: np.random.Generator, who: np.ndarray, groups: int, copies: int) -> np.ndarray:
    """Return who posts each copy: within a group nobody twice, as far as there are people."""
    return np.concatenate([np.resize(rng.permutation(who), copies) for _ in range(groups)])


def _rows(text: Sequence[str], who: np.ndarray, at: np.ndarray, origin: Origin) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "author_id": pd.Series(who, dtype="str"),
            "text": pd.Series(list(text), dtype="str"),
            "posted_at": at,
            "origin": str(origin),
            "honest_source": origin is Origin.HONEST,
            "truth": "fine" if origin is Origin.HONEST else "abuse",
        }
    )


def _sealed(
    rng: np.random.Generator,
    crowd: pd.DataFrame,
    more: pd.DataFrame,
    *,
    name: str,
    seed: int,
    aged: float,
    base: pd.Series | None,
    params: Mapping[str, Any],
) -> World:
    """Return the world of honest messages and `more`, each account with one birth; ``params["twin"]`` is the ids."""
    records = pd.concat([crowd, more], ignore_index=True)
    records["watched"] = np.arange(len(records)) >= len(crowd)
    known = records.get("author_created_at")
    first = records.groupby("author_id")["posted_at"].min()
    born = pd.Series(account_births(rng, first.to_numpy()), index=first.index)
    sybils = rng.permutation(np.sort(records.loc[~records["honest_source"], "author_id"].unique()))
    fresh = sybils[round(aged * len(sybils)) :]
    born.loc[fresh] = first.loc[fresh].to_numpy() - (rng.uniform(0.2, 5, len(fresh)) * 86400e6).astype(
        "timedelta64[us]"
    )
    drawn = records["author_id"].map(born)
    records["author_created_at"] = drawn if known is None else known.where(known.notna(), drawn)
    vetted, _ = _honest(rng, _TRUSTED, 400, base)
    vetted = vetted.assign(author_created_at=account_births(rng, vetted["posted_at"].to_numpy()), watched=False)
    world = seal_world(
        records,
        name=name,
        seed=seed,
        columns=COLUMNS,
        prefix="m",
        trusted=vetted.drop(columns=["origin", "honest_source", "truth"]),
    )
    watched = world.records.loc[world.records["watched"], "message_id"].tolist()
    return dataclasses.replace(
        world,
        records=world.records.drop(columns="watched"),
        trusted=world.trusted.drop(columns="watched"),
        params={**params, "watched": watched},
    )
