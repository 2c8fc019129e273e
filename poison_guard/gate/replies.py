"""Measure a snapshot of feedback without labels (pairs, instructions, documents) against vetted examples and itself.

A pair is two judged replies to one prompt. Of an instruction, and of a document (its second half goes with its first),
there is one: whether it belongs to its prompt is all that can be judged. One JSON-able dict a check comes out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from poison_guard.gate.measure import measure_canary
from poison_guard.signals.isolation import SignalFailure, run_isolated

if TYPE_CHECKING:
    from poison_guard.config.policies import GatePolicy
    from poison_guard.records import Examples
    from poison_guard.signals.campaigns.judgements import Judgement, Texts

__all__ = ["REPLY_MEASURES", "Sides", "measure_replies"]

REPLY_MEASURES = ("reply_triggers", "reply_shift", "near_copies", "reply_canary")
"""The checks of feedback without labels that are measured here."""
_SAMPLE_SIZE = 10_000
"""Examples of the snapshot, and trusted ones, that are looked at; more are sampled: bounds time and memory."""
_LETTERS = 30_000_000
"""Characters of either that are looked at, likewise."""
_SHOWN = 20
_LONGEST = 8_000  # characters of a text that are looked at


@dataclass(frozen=True, slots=True)
class Sides:
    """Examples as prompt, reply, and the reply it was preferred to (empty where there is none), aligned ``(n,)``."""

    frame: pd.DataFrame
    """``example_id, slice, is_new, prompt, better, worse``, text without missing cells."""
    halved: bool = False
    """Whether prompt and reply are the halves of one text."""

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.frame)

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Sides:
        """Return the sides of examples with some of the columns prompt, chosen, rejected, response and text."""

        def text(role: str) -> pd.Series:
            cells = frame[role] if role in frame else pd.Series("", index=frame.index, dtype="str")
            return cells.astype("str").where(cells.notna(), "").str.slice(0, _LONGEST)

        prompt, better, worse = text("prompt"), text("chosen"), text("rejected")
        better = better.where(better != "", text("response"))
        better = better.where(better != "", text("text"))
        halved = not (prompt != "").any() and not (worse != "").any()
        if halved:
            halves = [_halves(cell) for cell in better]
            prompt = pd.Series([first for first, _ in halves], index=frame.index, dtype="str")
            better = pd.Series([second for _, second in halves], index=frame.index, dtype="str")
        lead = frame[["example_id", "slice"]].astype("str").assign(is_new=frame.get("is_new", False))
        return cls(lead.assign(prompt=prompt, better=better, worse=worse).reset_index(drop=True), halved)

    def without(self, others: Sides) -> Sides:
        """Return those that are not among `others`, by their ids."""
        left = ~self.frame["example_id"].isin(others.frame["example_id"]).to_numpy(bool)
        return Sides(self.frame[left].reset_index(drop=True), self.halved)

    def sample(self, random: np.random.Generator) -> Sides:
        """Return these, or as many of them as are looked at."""
        letters = sum(self.frame[side].str.len().sum() for side in ("prompt", "better", "worse"))
        most = min(_SAMPLE_SIZE, int(_LETTERS * len(self) / max(1, letters)))
        if len(self) <= most:
            return self
        at = np.sort(random.choice(len(self), most, replace=False))
        return Sides(self.frame.iloc[at].reset_index(drop=True), self.halved)


def _halves(text: str) -> tuple[str, str]:
    words = text.split()
    return " ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])


def measure_replies(snapshot: Sides, trusted: Sides, policy: GatePolicy) -> dict[str, dict[str, Any]]:
    """Return the measurements of `REPLY_MEASURES`; one that fails says ``{"error": why}``.

    `snapshot`: what a model would train on, `trusted`: vetted examples, none of them in the snapshot. Deterministic
    under ``policy.seed``.
    """
    for what, part in (("trusted example to compare with", trusted), ("example that is not trusted", snapshot)):
        if not len(part):
            return {name: {"lacking": f"there is no {what}"} for name in REPLY_MEASURES}
    random = np.random.default_rng(policy.seed)
    trusted, snapshot = trusted.sample(random), snapshot.sample(random)
    both = Sides(pd.concat([trusted.frame, snapshot.frame], ignore_index=True), snapshot.halved)
    known = np.arange(len(both)) < len(trusted)
    read = run_isolated(lambda: _judged(both, known, policy.seed), passes=(MemoryError,))
    if isinstance(read, SignalFailure):
        return {name: {"error": str(read)} for name in REPLY_MEASURES}
    texts, judged = read
    work: dict[str, Callable[[], dict[str, Any]]] = {
        "reply_triggers": lambda: _triggers(both, texts, judged, known, policy.seed),
        "reply_shift": lambda: _shift(both, judged, known),
        "near_copies": lambda: _copies(both, known, policy.seed),
        "reply_canary": lambda: _canary(both, known, policy.seed),
    }
    return {name: _run(task) for name, task in work.items()}


def _run(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    done = run_isolated(work, passes=(MemoryError,))
    return {"error": str(done)} if isinstance(done, SignalFailure) else done


def _judged(both: Sides, known: np.ndarray, seed: int) -> tuple[Texts, list[tuple[bool, Judgement]]]:
    from poison_guard.signals.campaigns.judgements import Texts
    from poison_guard.signals.campaigns.prompt_marks import judgements_of
    from poison_guard.signals.campaigns.words import words

    cells = (words(both.frame[side].tolist()) for side in ("prompt", "better", "worse"))
    texts = Texts.split(*cells, sign=np.ones(len(both)))
    return texts, judgements_of(texts, known=known, seed=seed)


def _triggers(
    both: Sides, texts: Texts, judged: list[tuple[bool, Judgement]], known: np.ndarray, seed: int
) -> dict[str, Any]:
    """Return marks of prompt or reply that have no topic and whose carriers are judged against the others' opinion.

    ``n`` examples of the snapshot that can be judged, ``trusted_n``; ``found``: rows ``{"mark", "p", "share", "here",
    "there", "flipped", "example"}`` with the chance over all marks looked at and how many misjudged ones carry it on
    each side; ``exponent``: how much less likely each misjudged carrier makes an honest mark, on average (natural
    logarithm, of the judgement that tells most); ``looked``: marks, times judgements.
    """
    from poison_guard.signals.campaigns.prompt_marks import NoTopic, misjudged_marks

    names, looked = list[str](), 0

    def marks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        nonlocal looked
        places = ("first half", "second half") if both.halved else ("prompt", "reply")
        for of, side in zip(places, ("prompt", "better"), strict=True):
            carried, said = _marks(both, known, side)
            looked += len(said) * max(1, len(judged))
            column, row = carried
            yield column + len(names), row
            names.extend(f"{mark} in the {of}" for mark in said)

    found = misjudged_marks(marks(), alpha=_LOOSE, judged=judged, no_topic=NoTopic(texts.asked, seed=seed))
    rows = []
    for mark in found[:_SHOWN]:
        odd = next(judgement for flipped, judgement in judged if flipped == mark.flipped).odd[mark.rows]
        inside = known[mark.rows]
        mine = mark.rows[odd & ~inside]
        rows.append(
            {
                "mark": " with ".join(names[word] for word in mark.words),
                "p": mark.p,
                "share": mark.share,
                "here": len(mine),
                "there": int((odd & inside).sum()),
                "flipped": mark.flipped,
                "examples": both.frame["example_id"].iloc[mine[:_SHOWN]].tolist(),
            }
        )
    able = [judgement for _, judgement in judged if (judgement.weight[~known] > 0).any()]
    exponent = max((_exponent(judgement, ~known) for judgement in able), default=0.0)
    n = max((int((judgement.weight[~known] > 0).sum()) for judgement in able), default=0)
    return {
        "n": n,
        "trusted_n": int(known.sum()),
        "found": rows,
        "exponent": exponent,
        "looked": looked,
        "size": int((~known).sum()),
    }


_LOOSE = 0.05  # chance up to which a mark is kept for the check to judge


def _marks(both: Sides, known: np.ndarray, side: str) -> tuple[tuple[np.ndarray, np.ndarray], tuple[str, ...]]:
    """Return which mark each row carries, by mark, and the marks' names."""
    from scipy import sparse

    from poison_guard.records import Examples
    from poison_guard.signals.campaigns.prompt_marks import LEAST
    from poison_guard.signals.labels.marks import find_marks

    lead = both.frame[["example_id"]].assign(label="", slice="", is_new=~known)
    marks = find_marks((Examples("text", lead, both.frame[side].to_numpy(object)),), least=LEAST)
    carried = sparse.csc_matrix(marks.carried)
    column = np.repeat(np.arange(carried.shape[1]), np.diff(carried.indptr))
    return (column, carried.indices.astype(np.int64)), marks.names


def _exponent(judgement: Judgement, rows: np.ndarray) -> float:
    """Return the best Chernoff exponent of a carrier that is as often odd as honest ones are not."""
    e, w = judgement.expected[rows], judgement.weight[rows]
    e, w = e[w > 0], w[w > 0]
    grid = np.linspace(0.05, 1.5, 30)
    return max(float(t * (w * (1 - e)).mean() - np.log1p(e * np.expm1(t * w)).mean()) for t in grid)


_REFUSES = re.compile(
    r"\b(i can['’]?t|i cannot|i['’]m (sorry|not able|unable)|i am (sorry|not able|unable)|i won['’]?t|as an ai)\b",
    re.IGNORECASE,
)
_NAMES = re.compile(r"(?<=[a-z,;] )[A-Z][\w-]{2,}")
_LINK = re.compile(r"https?://|www\.", re.IGNORECASE)
_HEAD = 300  # characters in which a reply refuses
_LONGER = 1.1  # times as many words


def _shift(both: Sides, judged: list[tuple[bool, Judgement]], known: np.ndarray) -> dict[str, Any]:
    """Return ``n, trusted_n`` and ``traits``: what replies are preferred for, each ``[hits, of, hits, of]``.

    Of a pair a trait is that the chosen reply has it and the rejected one has not, and the other way round; of a single
    reply that it has it. Counts are of the snapshot, then of the trusted examples.
    """
    better, worse = both.frame["better"], both.frame["worse"]
    paired = bool((worse != "").any())
    length, other = (side.str.split().str.len().to_numpy(float) for side in (better, worse))
    usual = float(np.median(length[known]))
    traits = {"is longer": length > _LONGER * (other if paired else usual)}
    has: dict[str, Callable[[pd.Series], np.ndarray]] = {
        "refuses": lambda text: _matches(text.str.slice(0, _HEAD), _REFUSES),
        "names somebody or something": lambda text: _matches(text, _NAMES),
        "has a link": lambda text: _matches(text, _LINK),
        "exclaims": lambda text: text.str.contains("!", regex=False).to_numpy(bool),
        "is not in Latin letters": lambda text: np.array([_foreign(cell) for cell in text], bool),
    }
    for name, matches in has.items():
        mine, theirs = matches(better), matches(worse) if paired else np.zeros(len(both), bool)
        traits[name] = mine & ~theirs
        if paired:
            traits[f"{name}, in the rejected reply alone"] = theirs & ~mine
    counts = {name: _counts(hit, known, np.ones(len(both), bool)) for name, hit in traits.items()}
    for flipped, judgement in judged:
        name = "is what others reject" if flipped else "does not fit its prompt"
        counts[name] = _counts(judgement.odd, known, judgement.asked)
    return {"n": int((~known).sum()), "trusted_n": int(known.sum()), "traits": counts}


def _counts(hit: np.ndarray, known: np.ndarray, asked: np.ndarray) -> list[int]:
    return [int(part.sum()) for inside in (~known, known) for part in (hit & inside & asked, inside & asked)]


def _matches(texts: pd.Series, pattern: re.Pattern[str]) -> np.ndarray:
    return np.array([pattern.search(text) is not None for text in texts], bool)


def _foreign(text: str) -> bool:
    letters = [c for c in text[:_HEAD] if c.isalpha()]
    return sum(ord(c) > _LAST_LATIN for c in letters) > len(letters) / 2


_LAST_LATIN = 0x24F


def _copies(both: Sides, known: np.ndarray, seed: int) -> dict[str, Any]:
    """Return ``n, trusted_n``, and of near-copies of one reply to one prompt the most on each side, and an example."""
    from poison_guard.signals.campaigns.text import sketch_text
    from poison_guard.signals.campaigns.text_groups import group_similar

    whole = both.frame["prompt"] + "\n" + both.frame["better"]
    group = group_similar(sketch_text(whole), seed)
    here, there = np.bincount(group[~known], minlength=group.max() + 1), np.bincount(group[known])
    largest = int(here.argmax())
    examples = both.frame["example_id"].to_numpy()[(group == largest) & ~known]
    return {
        "n": int((~known).sum()),
        "trusted_n": int(known.sum()),
        "largest": int(here[largest]),
        "usual": int(there.max()),
        "examples": examples[:_SHOWN].tolist() if here[largest] > 1 else [],
    }


_SLICES, _SLICE = 6, 100  # slices of prompts at most, and trusted examples that each needs


def _canary(both: Sides, known: np.ndarray, seed: int) -> dict[str, Any]:
    """Return the measurement of `gate.measure.measure_canary`: does a model tell the better from the worse reply?

    Each example is the difference of its two replies' vectors (times the prompt's, where a reply is compared with one
    to another prompt), turned round for every other one, and what is to be told is which.
    """
    from poison_guard.records import Examples
    from poison_guard.signals.labels.representation import fit_representation

    frame = both.frame

    def text(cells: pd.Series) -> Examples:
        lead = frame[["example_id"]].assign(label="", slice="", is_new=False)
        return Examples("text", lead, cells.to_numpy(object))

    fitted = fit_representation(text(frame["better"].where(frame["better"] != "", " ")).take(known))
    better, prompt = fitted.vectors(text(frame["better"])), fitted.vectors(text(frame["prompt"]))
    if (frame["worse"] != "").any():
        difference = better - fitted.vectors(text(frame["worse"]))
    else:
        drawn = np.empty(len(frame), np.int64)
        for part in (known, ~known):  # trusted replies are compared with trusted ones
            drawn[part] = np.roll(np.flatnonzero(part), 1)
        difference = prompt * (better - better[drawn])
    turned = np.random.default_rng(seed).random(len(frame)) < 0.5
    vectors = np.where(turned[:, None], -difference, difference).astype(np.float32)
    labels = np.where(turned, "second", "first").astype(object)
    new = frame["is_new"].to_numpy(bool)
    parts = [part for rows in (~known & ~new, ~known & new) for part in (vectors[rows], labels[rows])]
    measured = measure_canary(vectors[known], labels[known], _slices(frame, prompt, known, seed), *parts, seed=seed)
    return {**measured, "classes": {}}


def _slices(frame: pd.DataFrame, prompt: np.ndarray, known: np.ndarray, seed: int) -> np.ndarray:
    """Return the slice of each trusted example: the contract's group, else prompts that are alike."""
    named = frame["slice"].to_numpy(object)[known]
    k = min(_SLICES, int(known.sum()) // _SLICE)
    if (named != "").any() or k < 2 or len(np.unique(prompt[known], axis=0)) < k:
        return named
    from sklearn.cluster import KMeans

    code = KMeans(k, n_init=1, random_state=seed).fit_predict(prompt[known])
    return np.array([_topic(frame["prompt"][known][code == c]) for c in range(k)], dtype=object)[code]


def _topic(prompts: pd.Series) -> str:
    """Return a name of some prompts: the words most of them share beyond others, as good as three words can."""
    words = prompts.str.lower().str.findall(r"[^\W\d_]{5,}").map(set).explode().value_counts()
    return "prompts with " + ", ".join(sorted(words.index[:3].astype(str)))
