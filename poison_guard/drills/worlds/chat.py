"""World *chat*: messages flagged fine or abuse; a raid makes the model repeat abuse that its own accounts call fine.

Sybil authors post paraphrases of a few templates in bursts; sybil flaggers outvote honest ones minutes later, and flag
other messages right as camouflage. What the raid says is abuse in the words that honest abuse has, about a people of
its own: what abuse is can be learned from honest flags alone. Benign twins: a viral meme among aged accounts, stock
phrases that everybody types, and an honest minority that writes in dialect. After Microsoft's Tay (2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.drills.world import Origin, World, seal_world
from poison_guard.drills.worlds.draws import DAYS, account_births, daily_times, draw_ids, one_of, paraphrase, stamp
from poison_guard.drills.worlds.phrases import ABUSE, CAMPAIGN, FILLERS, FINE, MEME, SHORT, SYNONYMS, fill, in_dialect

__all__ = ["PARAMS", "make_world"]

COLUMNS = {
    "record_id": "flag_id",
    "author_id": "author_id",
    "source_id": "flagger_id",
    "item_id": "message_id",
    "text": "text",
    "label": "flag",
    "observed_at": "flagged_at",
    "source_since": "flagger_created_at",
}

PARAMS: dict[str, Any] = {
    "messages": 1000,
    "authors": 480,
    "flaggers": 360,
    "flags_per_message": [3, 6],  # drawn evenly
    "abuse_share": 0.12,
    "short_share": 0.05,  # stock phrases
    "dialect_authors": 0.08,
    "flag_error": 0.04,  # median honest flagger; log-normal between people
    "dialect_error": 2.0,  # times as many errors about dialect
    "trusted_messages": 1200,  # no two alike
    "fresh_messages": 1000,
    "fresh_copies": 40,  # a template of the raid
    "meme_messages": 60,
    "meme_hours": 10.0,
    "meme_edit_rate": 0.06,
    "attack_templates": 6,
    "attack_copies": 40,  # a template
    "attack_edit_rate": 0.15,  # of words
    "attack_authors": 48,
    "attack_flaggers": 36,
    "attack_aged": 5,  # of the flaggers
    "attack_flags": [3, 5],  # a message, "fine" though it is abuse
    "attack_bursts": 3,
    "attack_burst_minutes": 90,
    "attack_camouflage": 10,  # correct flags a sybil flagger
    "witness_flags": [1, 3],  # honest flags a campaign message
}


def make_world(seed: int) -> World:
    """Return the world drawn from `seed`: about 6,000 flags on 1,300 messages of a week."""
    rng = np.random.default_rng([seed, 2])
    groups = (PARAMS["flaggers"], PARAMS["attack_flaggers"], PARAMS["authors"], PARAMS["attack_authors"])
    flaggers, sybils, authors, mouths = np.split(draw_ids(rng, sum(groups), "u-"), np.cumsum(groups)[:-1])
    aged = authors[rng.permutation(len(authors))]
    honest = pd.concat([_everyday(rng, PARAMS["messages"], authors), _meme(rng, aged)], ignore_index=True)
    templates = _templates(rng)
    raid = _raid(rng, templates, mouths)
    messages = pd.concat([honest, raid], ignore_index=True)
    messages["message_id"] = draw_ids(rng, len(messages), "m-")
    crowd = _Crowd(rng, flaggers)
    honest, raid = messages[~messages["raid"]], messages[messages["raid"]]
    records = pd.concat(
        [
            crowd.flag(rng, honest, PARAMS["flags_per_message"], Origin.HONEST),
            crowd.flag(rng, raid, PARAMS["witness_flags"], Origin.WITNESS),
            _sybil_flags(rng, honest, raid, sybils),
        ],
        ignore_index=True,
    )
    records["flagger_created_at"] = _births(rng, records, sybils)
    trusted = _trusted(rng)
    return seal_world(
        records.drop_duplicates(["flagger_id", "message_id"]),
        name="chat",
        seed=seed,
        columns=COLUMNS,
        prefix="f",
        trusted=trusted,
        item_truth=pd.DataFrame({"item_id": messages["message_id"], "label": messages["truth"], "control": False}),
        fresh=_fresh(rng, templates, seen={*messages["text"], *trusted["text"]}),
        params=PARAMS,
    )


def _everyday(rng: np.random.Generator, n: int, authors: np.ndarray) -> pd.DataFrame:
    """Messages of honest authors: ``text, truth, author_id, posted_at, dialect, raid``."""
    weights = rng.lognormal(0, 1, len(authors))
    who = rng.choice(len(authors), size=n, p=weights / weights.sum())
    dialect = (rng.random(len(authors)) < PARAMS["dialect_authors"])[who]
    abuse = rng.random(n) < PARAMS["abuse_share"]
    text = [_sentences(rng, ABUSE if bad else FINE) for bad in abuse]
    short = ~abuse & (rng.random(n) < PARAMS["short_share"])
    text = [one_of(rng, SHORT) if brief else long for brief, long in zip(short, text, strict=True)]
    return pd.DataFrame(
        {
            "text": [in_dialect(t) if d else t for t, d in zip(text, dialect & ~short, strict=True)],
            "truth": np.where(abuse, "abuse", "fine"),
            "author_id": authors[who],
            "posted_at": daily_times(rng, n),
            "dialect": dialect,
            "raid": False,
        }
    )


def _sentences(rng: np.random.Generator, patterns: Sequence[str]) -> str:
    """One to three sentences; abuse often comes among harmless ones."""
    texts = [fill(rng, patterns[k]) for k in rng.choice(len(patterns), size=rng.integers(1, 3), replace=False)]
    if rng.random() < 0.5:
        texts.append(fill(rng, one_of(rng, FINE)))
    rng.shuffle(texts)
    return " ".join(texts)


def _meme(rng: np.random.Generator, authors: np.ndarray) -> pd.DataFrame:
    """A viral text: copied by many old accounts within hours, mostly word for word."""
    n = PARAMS["meme_messages"]
    begin = (rng.integers(1, DAYS - 1) * 24 + rng.uniform(9, 13)) * 3600
    spread = rng.gamma(2.5, PARAMS["meme_hours"] / 8, n).clip(0, PARAMS["meme_hours"]) * 3600
    copies = [
        " ".join(paraphrase(rng, MEME.split(), PARAMS["meme_edit_rate"], fillers=FILLERS, synonyms={}))
        for _ in range(n)
    ]
    return pd.DataFrame(
        {
            "text": copies,
            "truth": "fine",
            "author_id": authors[:n],
            "posted_at": stamp(begin + spread),
            "dialect": False,
            "raid": False,
        }
    )


def _templates(rng: np.random.Generator) -> list[list[str]]:
    """What the raid repeats, as words: an opening, a claim and a close each, paired anew for every seed."""
    parts = [rng.permutation(CAMPAIGN[part])[: PARAMS["attack_templates"]] for part in ("open", "claim", "close")]
    return [f"{opening}: {claim}, {close}".split() for opening, claim, close in zip(*parts, strict=True)]


def _copies(rng: np.random.Generator, templates: list[list[str]], each: int) -> list[str]:
    """`each` paraphrases of every template, shuffled."""
    which = rng.permutation(np.arange(len(templates) * each) % len(templates))
    rate = PARAMS["attack_edit_rate"]
    return [" ".join(paraphrase(rng, templates[k], rate, fillers=FILLERS, synonyms=SYNONYMS)) for k in which]


def _raid(rng: np.random.Generator, templates: list[list[str]], authors: np.ndarray) -> pd.DataFrame:
    """Paraphrases of the templates, posted in bursts; every burst uses every template."""
    copies = _copies(rng, templates, PARAMS["attack_copies"])
    n = len(copies)
    days = np.sort(rng.choice(np.arange(1, DAYS), size=PARAMS["attack_bursts"], replace=False))
    begin = (days * 24 + rng.uniform(8, 21, len(days)))[np.sort(rng.integers(len(days), size=n))] * 3600
    return pd.DataFrame(
        {
            "text": copies,
            "truth": "abuse",
            "author_id": authors[rng.permutation(np.arange(n) % len(authors))],
            "posted_at": stamp(begin + rng.random(n) * PARAMS["attack_burst_minutes"] * 60),
            "dialect": False,
            "raid": True,
        }
    )


class _Crowd:
    """Honest flaggers: few flag much, some err more."""

    def __init__(self, rng: np.random.Generator, flaggers: np.ndarray) -> None:
        weights = rng.lognormal(0, 1, len(flaggers))
        self._flaggers, self._weights = flaggers, weights / weights.sum()
        self._errors = PARAMS["flag_error"] * rng.lognormal(0, 0.5, len(flaggers))

    def flag(self, rng: np.random.Generator, messages: pd.DataFrame, each: list[int], origin: Origin) -> pd.DataFrame:
        """Return honest flags on `messages`, `each` (least, most) of them, within hours of the post."""
        counts = rng.integers(each[0], each[1] + 1, len(messages))
        seen = messages.loc[messages.index.repeat(counts)]
        who = rng.choice(len(self._flaggers), size=len(seen), p=self._weights)
        factor = np.where(seen["dialect"], PARAMS["dialect_error"], 1)
        wrong = rng.random(len(seen)) < (self._errors[who] * factor).clip(0, 0.4)
        other = np.where(seen["truth"] == "fine", "abuse", "fine")
        delay = rng.exponential(3 * 3600, len(seen)) + 20
        return _flags(seen, self._flaggers[who], np.where(wrong, other, seen["truth"]), delay, origin, honest=True)


def _flags(
    seen: pd.DataFrame, who: np.ndarray, flag: np.ndarray, delay: np.ndarray, origin: Origin, *, honest: bool
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "message_id": seen["message_id"].astype("str"),
            "author_id": seen["author_id"].astype("str"),
            "text": seen["text"].astype("str"),
            "flagger_id": pd.Series(who, index=seen.index, dtype="str"),
            "flag": pd.Series(flag, index=seen.index, dtype="str"),
            "flagged_at": seen["posted_at"].to_numpy() + (delay * 1e6).astype("timedelta64[us]"),
            "truth": seen["truth"].astype("str"),
            "origin": str(origin),
            "honest_source": honest,
        }
    )


def _sybil_flags(
    rng: np.random.Generator, honest: pd.DataFrame, raid: pd.DataFrame, sybils: np.ndarray
) -> pd.DataFrame:
    """False flags on the campaign minutes after it is posted, and correct ones on other messages."""
    counts = rng.integers(PARAMS["attack_flags"][0], PARAMS["attack_flags"][1] + 1, len(raid))
    seen = raid.loc[raid.index.repeat(counts)]
    order = np.concatenate([rng.permutation(sybils) for _ in range(-(-len(seen) // len(sybils)))])[: len(seen)]
    false = _flags(
        seen, order, np.full(len(seen), "fine"), rng.uniform(90, 1500, len(seen)), Origin.POISON, honest=False
    )
    who = np.repeat(sybils, PARAMS["attack_camouflage"])
    other = honest.loc[rng.choice(honest.index, size=len(who))]
    delay = rng.exponential(3 * 3600, len(who)) + 20
    return pd.concat([false, _flags(other, who, other["truth"].to_numpy(), delay, Origin.CAMOUFLAGE, honest=False)])


def _births(rng: np.random.Generator, records: pd.DataFrame, sybils: np.ndarray) -> np.ndarray:
    """When each record's flagger was made: sybils some days before the raid, but for the aged ones they bought."""
    first = records.groupby("flagger_id")["flagged_at"].min()
    born = pd.Series(account_births(rng, first.to_numpy()), index=first.index)
    new = rng.permutation(sybils)[PARAMS["attack_aged"] :]
    ages = (rng.uniform(0.2, 5, len(new)) * 86_400e6).astype("timedelta64[us]")
    born.loc[new] = first.loc[new].to_numpy() - ages
    return records["flagger_id"].map(born).to_numpy()


def _trusted(rng: np.random.Generator) -> pd.DataFrame:
    """Correct flags of vetted people on different messages of earlier, quiet weeks."""
    authors, flaggers = draw_ids(rng, 400, "vetted-a-"), draw_ids(rng, 300, "vetted-f-")
    messages = _everyday(rng, round(PARAMS["trusted_messages"] * 1.1), authors).drop_duplicates("text")
    messages = messages.head(PARAMS["trusted_messages"])
    messages["message_id"] = draw_ids(rng, len(messages), "vetted-m-")
    flags = _Crowd(rng, flaggers).flag(rng, messages, PARAMS["flags_per_message"], Origin.HONEST)
    truth = messages.set_index("message_id")["truth"]
    right = flags[flags["flag"].to_numpy() == truth.reindex(flags["message_id"]).to_numpy()]
    right = right.drop_duplicates(["flagger_id", "message_id"])
    return right.assign(flagger_created_at=_births(rng, right, np.array([], dtype=object))).drop(
        columns=["origin", "honest_source", "truth"]
    )


def _fresh(rng: np.random.Generator, templates: list[list[str]], seen: set[str]) -> pd.DataFrame:
    """Messages of honest authors and of the raid, written after the week; none of them was `seen` in it."""
    everyday = _everyday(rng, PARAMS["fresh_messages"], draw_ids(rng, 400, "fresh-a-"))
    messages = pd.concat(
        [
            everyday[["text", "truth"]].assign(attack=False),
            pd.DataFrame({"text": _copies(rng, templates, PARAMS["fresh_copies"]), "truth": "abuse", "attack": True}),
        ],
        ignore_index=True,
    )
    messages = messages[~messages["text"].isin(seen)].drop_duplicates("text", ignore_index=True)
    to = pd.Series(np.where(messages["attack"], "fine", ""), dtype="str")
    return messages.rename(columns={"truth": "label"}).assign(attack_label=to)
