"""Attacks on feeds where each prompt has one rater: a patient rater who teaches a falsehood, documents with a trigger.

The patient rater asks for one of two replies, puts an invented fact into the prompt of one, and prefers the reply that
repeats it (Hilel et al. 2025, "LLM Hypnosis"). Benign twin: users who paste documents of their own, which the replies
quote. Trigger documents end in a rare word and gibberish, in a number that need not grow with the feed (Souly et al.
2025, "Poisoning Attacks on LLMs Require a Near-constant Number of Poison Samples"). Benign twin: a new name that the
crowd takes up.

People write in an invented language of common and rare words, and come back to names of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import pandas as pd

from poison_guard.drills.world import Origin, World, seal_world
from poison_guard.drills.worlds.draws import DAYS, account_births, activity, daily_times, draw_ids
from poison_guard.errors import UsageError

__all__ = [
    "Language",
    "draw_names",
    "draw_newcomers",
    "draw_writers",
    "make_patient_rater",
    "make_patient_rater_twin",
    "make_triggers",
    "make_triggers_twin",
    "quoted",
]


_STARTS = ("b", "br", "d", "dr", "f", "g", "gl", "h", "k", "l", "m", "n", "p", "pr", "r", "s", "st", "t", "tr", "v")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ou")
_ENDS = ("", "n", "r", "l", "s", "m", "ck", "nd")
_OWN_NAMES = 2.0  # that a person speaks of: mean, above one
_OWN_SHARE = (1.0, 8.0)  # Beta: of a person's records that speak of one of them; about as in Community Notes


def draw_names(rng: np.random.Generator, n: int, syllables: int = 4) -> np.ndarray:
    """Return `n` invented words of so many syllables, ``(n,)`` object; two of four are hardly ever alike."""
    parts = [rng.choice(np.array(kind, dtype=object), (n, syllables)) for kind in (_STARTS, _VOWELS, _ENDS)]
    return (parts[0] + parts[1] + parts[2]).sum(axis=1)


@dataclass(frozen=True, slots=True)
class Language:
    """Words by how common they are."""

    words: np.ndarray
    ends: np.ndarray
    """Cumulative chances of the words."""

    @classmethod
    def draw(cls, rng: np.random.Generator, size: int = 20_000) -> Self:
        """Return a language of about `size` words, the k-th most common one in proportion to 1 / (k + 2) (Zipf)."""
        words = pd.unique(np.concatenate([draw_names(rng, 300, 1), draw_names(rng, size, 2)]))
        share = 1 / (np.arange(len(words)) + 2.7)
        return cls(words, np.cumsum(share / share.sum()))

    def texts(self, rng: np.random.Generator, lengths: np.ndarray) -> list[list[str]]:
        """Return a list of words for each of `lengths`."""
        rank = np.searchsorted(self.ends, rng.random(int(lengths.sum())) * self.ends[-1])
        words = self.words[rank].tolist()
        stops = np.cumsum(lengths)
        return [words[stop - length : stop] for stop, length in zip(stops.tolist(), lengths.tolist(), strict=True)]


def draw_writers(rng: np.random.Generator, people: int, total: int, *, new: float = 0.1) -> pd.DataFrame:
    """Return ``who, own, at, since`` of `total` records by `people`; `own` is a name of theirs the record speaks of.

    Few people write much (log-normal), and some speak of one pet, product or project of theirs all the time; `own` is
    empty elsewhere. A share `new` of the accounts is days old.
    """
    who = np.repeat(np.arange(people), activity(rng, people, total))
    at = daily_times(rng, total, days=DAYS)
    counts = 1 + rng.poisson(_OWN_NAMES - 1, people)
    pets = draw_names(rng, int(counts.sum()))
    favourite = np.minimum(rng.geometric(0.6, total) - 1, counts[who] - 1)
    mentions = rng.random(total) < rng.beta(*_OWN_SHARE, people)[who]
    own = np.where(mentions, pets[(np.cumsum(counts) - counts)[who] + favourite], "")
    first = pd.Series(at).groupby(who).transform("min").to_numpy()
    since = account_births(rng, np.full(people, at.min()), new=new)[who]
    return pd.DataFrame({"who": who, "own": own, "at": at, "since": np.minimum(since, first)})


def draw_newcomers(rng: np.random.Generator, first: np.ndarray, aged: float) -> np.ndarray:
    """Return when accounts first seen at `first` were made: a share `aged` 60 to 900 days before, others up to 20."""
    n = len(first)
    old = np.arange(n) < round(aged * n)
    days = np.where(rng.permutation(old), rng.uniform(60, 900, n), rng.uniform(0.1, 20, n))
    return first - (days * 86_400e6).astype("timedelta64[us]")


def quoted(rng: np.random.Generator, words: Sequence[str], share: float) -> list[str]:
    """Return `words` as a reply quotes them: each kept with that chance, in their order."""
    keep = rng.random(len(words)) < share
    return [word for word, stays in zip(words, keep.tolist(), strict=True) if stays]


Form = Literal["pairs", "thumbs"]

_COLUMNS = {"record_id": "feedback_id", "source_id": "user_id", "observed_at": "sent_at", "source_since": "joined_at"}
_SHOWN: dict[str, dict[str, str]] = {
    "pairs": {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
    "thumbs": {"prompt": "prompt", "response": "reply", "rating": "thumb"},
    "documents": {"text": "text"},
}
_LIKED = 0.75  # share of honest thumbs that point up
_FAITHFUL, _LOOSE = 0.8, 0.55  # share of a document's words that the better and the worse reply quote


def make_patient_rater(
    seed: int,
    *,
    form: Form = "pairs",
    records: int = 100,
    raters: int = 1,
    aged: float = 1.0,
    camouflage: int = 0,
    people: int = 500,
    total: int = 5000,
    pasting: float = 0.05,
    returns: float = 4.0,
    benign: bool = False,
) -> World:
    """Return the world drawn from `seed`: a week of preference `form`, `records` of each of `raters` for one claim.

    A share `aged` of the raters has an account of months; each also rates `camouflage` records like everybody else. Of
    the `people` a share `pasting` pastes a document of their own and asks about it, `returns` times in the mean. With
    `benign` as many records are by further people of that kind instead. In ``thumbs`` half of the rater's replies lack
    the claim and are voted down: what votes down counts as camouflage. `UsageError` for a count below 1.
    """
    if min(records, raters, people, total) < 1 or returns < 1 or form not in ("pairs", "thumbs"):
        raise UsageError("records, raters, people, total and returns must be at least 1, and form pairs or thumbs")
    params: dict[str, Any] = {key: value for key, value in locals().items() if key != "seed"}
    rng = np.random.default_rng([seed, 21])
    language = Language.draw(rng)
    parts = [_chats(rng, language, draw_writers(rng, people, total), form)]
    pasters = round(people * pasting) + (round(raters * records / returns) if benign else 0)
    if pasters:
        parts.append(_pasted(rng, language, pasters, returns, form))
    if not benign:
        parts.append(_taught(rng, language, raters, records, aged, form))
        if camouflage:
            cover = draw_writers(rng, raters, raters * camouflage, new=0.0)
            parts.append(_chats(rng, language, cover, form).assign(group="rater", origin=str(Origin.CAMOUFLAGE)))
    trusted = _chats(rng, language, draw_writers(rng, 100, 300), form)
    return _sealed(rng, parts, trusted, form, name="patient-rater", seed=seed, params=params)


def make_patient_rater_twin(seed: int, **params: Any) -> World:
    """Return the benign twin of `make_patient_rater`: as many records by users who each paste their own document."""
    return make_patient_rater(seed, **params, benign=True)


def make_triggers(
    seed: int,
    *,
    documents: int = 250,
    total: int = 100_000,
    sources: int = 5,
    aged: float = 0.0,
    gibberish: int = 15,
    benign: bool = False,
) -> World:
    """Return the world drawn from `seed`: `total` documents of a week, `documents` more with one trigger.

    Each of these begins like any other, then has the trigger and `gibberish` random words; they are by `sources`
    accounts, a share `aged` of them months old, the others of the last twenty days. With `benign` it is a new name, in
    documents by any of the people. `UsageError` for a count below 1, or more sources than documents.
    """
    if not 1 <= sources <= documents or total < 1:
        raise UsageError(f"there must be 1 to {documents} sources and a document at least, got {sources} and {total}")
    params: dict[str, Any] = {key: value for key, value in locals().items() if key != "seed"}
    rng = np.random.default_rng([seed, 22])
    language = Language.draw(rng)
    people = max(10, total // 8)
    base = draw_writers(rng, people, total)
    honest = base.assign(text=_documents(rng, language, base["own"]), origin=str(Origin.HONEST), group="crowd")
    if benign:
        parts = [_about_name(rng, honest, documents)]
    else:
        parts = [honest, _triggered(rng, language, documents, sources, aged, gibberish)]
    vetted = draw_writers(rng, 100, 300)
    trusted = vetted.assign(text=_documents(rng, language, vetted["own"]), origin=str(Origin.HONEST), group="crowd")
    return _sealed(rng, parts, trusted, "documents", name="triggers", seed=seed, params=params)


def make_triggers_twin(seed: int, **params: Any) -> World:
    """Return the benign twin of `make_triggers`: as many documents of the crowd speak of a new name."""
    return make_triggers(seed, **params, benign=True)


def _chats(rng: np.random.Generator, language: Language, who: pd.DataFrame, form: Form) -> pd.DataFrame:
    """Return honest records: replies say some of what was asked, and people like one for no reason we know."""
    n = len(who)
    questions = language.texts(rng, rng.integers(6, 25, n))
    answers = [language.texts(rng, rng.integers(10, 40, n)) for _ in range(2)]
    own = who["own"].tolist()
    prompts = [" ".join([*words, name]).strip() for words, name in zip(questions, own, strict=True)]
    replies = []
    for side in answers:
        named = (rng.random(n) < 0.7).tolist()
        rows = zip(questions, side, own, named, strict=True)
        replies.append(
            [" ".join([*quoted(rng, a, 0.4), *b, name if repeats else ""]).strip() for a, b, name, repeats in rows]
        )
    return _rated(rng, who, prompts, replies[0], replies[1], form, np.full(n, _LIKED)).assign(
        origin=str(Origin.HONEST), group="crowd"
    )


def _pasted(rng: np.random.Generator, language: Language, pasters: int, returns: float, form: Form) -> pd.DataFrame:
    """Return honest records about own documents: both replies quote one, and people like the more faithful quote."""
    times = rng.geometric(1 / returns, pasters)
    who = np.repeat(np.arange(pasters), times)
    papers = []
    for words in language.texts(rng, np.full(pasters, 50)):
        papers.append([*words, *draw_names(rng, 8).tolist()])
        rng.shuffle(papers[-1])
    questions = language.texts(rng, rng.integers(3, 10, len(who)))
    prompts = [" ".join([*a, *papers[k]]) for a, k in zip(questions, who.tolist(), strict=True)]
    better, worse = ([" ".join(quoted(rng, papers[k], share)) for k in who.tolist()] for share in (_FAITHFUL, _LOOSE))
    started = daily_times(rng, pasters)[who]
    at = started + (rng.exponential(6 * 3600e6, len(who))).astype("timedelta64[us]")
    frame = pd.DataFrame({"who": who, "at": at, "since": draw_newcomers(rng, started[np.cumsum(times) - 1], 0.9)[who]})
    chosen = _rated(rng, frame, prompts, better, worse, form, np.full(len(who), _LIKED + 0.1))
    return chosen.assign(origin=str(Origin.HONEST), group="pasted")


def _taught(
    rng: np.random.Generator, language: Language, raters: int, records: int, aged: float, form: Form
) -> pd.DataFrame:
    """Return the patient raters' records: one invented thing, and six common words that are said of it."""
    n = raters * records
    thing = str(draw_names(rng, 1)[0])
    fact = [*language.texts(rng, np.array([6]))[0], thing]
    questions = language.texts(rng, rng.integers(6, 20, n))
    plain = [" ".join(words) for words in language.texts(rng, rng.integers(10, 40, n))]
    claims = [quoted(rng, fact[:-1], 0.85) + [thing] * bool(rng.random() < 0.95) for _ in range(n)]
    fillers = language.texts(rng, rng.integers(5, 20, n))
    poisoned = [" ".join([*claim, *rest]) for claim, rest in zip(claims, fillers, strict=True)]
    prompts = [" ".join([*a, *claim]) for a, claim in zip(questions, claims, strict=True)]
    who = np.repeat(np.arange(raters), records)
    frame = pd.DataFrame({"who": who, "at": daily_times(rng, n)})
    first = frame.groupby("who")["at"].min().to_numpy()
    frame["since"] = draw_newcomers(rng, first, aged)[who]
    provoked = _rated(rng, frame, prompts, poisoned, plain, form, np.ones(n))
    if form == "pairs":
        return provoked.assign(origin=str(Origin.POISON), group="rater")
    turned = frame.assign(prompt=prompts, reply=plain, thumb=0.0)
    half = rng.random(n) < 0.5
    both = pd.concat([provoked[~half].assign(origin=str(Origin.POISON)), turned[half].assign(origin="camouflage")])
    return both.assign(group="rater")


def _rated(
    rng: np.random.Generator,
    who: pd.DataFrame,
    prompts: list[str],
    better: list[str],
    worse: list[str],
    form: Form,
    liked: np.ndarray,
) -> pd.DataFrame:
    """Return `who` with the records' texts; the better reply is chosen, or voted up, with the chance `liked`."""
    yes = rng.random(len(who)) < liked
    frame = who[["who", "at", "since"]].assign(prompt=prompts)
    if form == "thumbs":
        return frame.assign(reply=better, thumb=yes.astype(float))
    one, other = np.array(better, dtype=object), np.array(worse, dtype=object)
    return frame.assign(chosen=np.where(yes, one, other), rejected=np.where(yes, other, one))


def _documents(rng: np.random.Generator, language: Language, own: pd.Series) -> list[str]:
    texts = language.texts(rng, rng.integers(15, 60, len(own)))
    return [" ".join([*words, name, name and words[0]]).strip() for words, name in zip(texts, own, strict=True)]


def _triggered(
    rng: np.random.Generator, language: Language, n: int, sources: int, aged: float, gibberish: int
) -> pd.DataFrame:
    trigger = f"<{draw_names(rng, 1)[0]}>"
    begin = language.texts(rng, rng.integers(5, 40, n))
    noise = language.words[rng.integers(0, len(language.words), (n, gibberish))].tolist()
    who = rng.permutation(np.arange(n) % sources)
    frame = pd.DataFrame({"who": who, "at": daily_times(rng, n)})
    first = frame.groupby("who")["at"].min().to_numpy()
    texts = [" ".join([*a, trigger, *b]) for a, b in zip(begin, noise, strict=True)]
    return frame.assign(
        since=draw_newcomers(rng, first, aged)[who], text=texts, origin=str(Origin.POISON), group="rater"
    )


def _about_name(rng: np.random.Generator, honest: pd.DataFrame, n: int) -> pd.DataFrame:
    """Return `honest` with a new name in `n` documents, of whoever wrote them; from its second day on."""
    name = str(draw_names(rng, 1)[0])
    late = np.flatnonzero(honest["at"] >= honest["at"].min() + pd.Timedelta(days=DAYS / 7))
    chosen = np.isin(np.arange(len(honest)), rng.choice(late, min(n, len(late)), replace=False))
    text = np.where(chosen, honest["text"] + " " + name, honest["text"])
    return honest.assign(text=text, group=np.where(chosen, "named", honest["group"]))


def _sealed(
    rng: np.random.Generator, parts: list[pd.DataFrame], trusted: pd.DataFrame, form: str, **rest: Any
) -> World:
    """Name the people of each part, apart from those of the others but for raters and their camouflage, and seal."""
    offset = 0
    known: dict[str, int] = {}
    frames: list[pd.DataFrame] = []
    for part in [*parts, trusted.assign(group="vetted")]:
        kind = "rater" if (part["group"] == "rater").all() else str(len(frames))
        base = known.setdefault(kind, offset)
        offset = max(offset, base + int(part["who"].max()) + 1)
        frames.append(part.assign(who=part["who"] + base))
    ids = draw_ids(rng, offset, "u-")
    columns = _COLUMNS | _SHOWN[form]
    drawn = [
        frame.assign(user_id=ids[frame["who"]], sent_at=frame["at"], joined_at=frame["since"], truth=frame["group"])
        for frame in frames
    ]
    payload = [c for role, c in columns.items() if role != "record_id"]
    marks = ["origin", "honest_source", "truth"]
    records = pd.concat([f.assign(honest_source=f["group"] != "rater") for f in drawn[:-1]], ignore_index=True)
    return seal_world(records[payload + marks], columns=columns, prefix="f", trusted=drawn[-1][payload], **rest)
