"""Find documents written to be retrieved: several texts that copy one question and give one answer, for many questions.

A text that repeats the question a user will ask is retrieved for it, and a few such texts outnumber the true one.
People quote questions, too: of one story, or as headings of a form. So a question counts where different texts that
carry it have in common what hardly any other document says, nor others of their authors, and one proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from poison_guard.records import Campaign
from poison_guard.signals.campaigns.findings import make_campaign
from poison_guard.signals.campaigns.raters import pseudo_items
from poison_guard.signals.campaigns.words import WORDS, pairs_with, read_words, words
from poison_guard.signals.pvalues import beta_low, binomial_high

__all__ = ["QUESTIONS", "collisions", "question_sets"]

QUESTIONS = "words.questions"
"""Column of the hashed words of a document's questions, one after the other, a zero before each."""
_ENDS = re.compile(r"(?<=[?？؟])")
_SENTENCE = re.compile(r"[.!:;\n。！]")
_CHARACTERS = 8_000  # of a document that are read
_MOST_ASKED = 8  # questions of a document, the first ones
_SHORT, _AROUND = 5, 80  # words below which what stands before is part of the question, and characters of that
_LEAST_WORDS = 8  # words and pairs of words of a question, about five words; shorter ones are everybody's
_TEXTS = 3  # different texts that carry a question, from which on they collide
_COMPARED = 32  # different texts of a question that are compared
_COPY = 0.5  # share of the shorter text's words from which on it is a copy, or quotes the longer one
_OWN = 5  # further documents of the authors, from which on what they say tells what is their topic
_ANSWER = 0.75  # share of the different texts that say the answer
_BY_ALL, _BY_ONE = 10, 3  # questions that collide from which on all of them are held, or those of a source
_SURE = 0.95  # quantile of the trusted set's rate of collisions


def question_sets(texts: Sequence[str]) -> list[bytes]:
    """Return the cell of `QUESTIONS` of each text: its first eight questions of about five words or more."""
    asked = [_asked(text[:_CHARACTERS]) for text in texts]
    said = iter(words([question for questions in asked for question in questions]))
    cells = ([next(said) for _ in questions] for questions in asked)
    return [b"".join(b"\0\0\0\0" + cell for cell in own if len(cell) >= 4 * _LEAST_WORDS) for own in cells]


def _asked(text: str) -> list[str]:
    found = []
    for part in _ENDS.split(text)[:-1][:_MOST_ASKED]:
        last = _SENTENCE.split(part)[-1][-300:]
        found.append(last if len(last.split()) >= _SHORT else part[-_AROUND:])
    return found


def collisions(
    frame: pd.DataFrame,
    *,
    alpha: float,
    trusted: Sequence[str] | None = None,
    earlier: pd.DataFrame | None = None,
    seed: int = 0,
) -> list[Campaign]:
    """Return the campaign of documents that collide, in a frame with `words.word_columns` and `QUESTIONS`.

    A question collides when at least three different texts ask it in nearly the same words, and three in four of these
    say a word that so many carry with a chance of at most `alpha` (binomial, at the rate of the other documents, and of
    the authors' others, over all words and questions). Held are the documents with such an answer once ten
    questions collide, or the documents of sources that take part in three. `trusted` are texts of vetted documents:
    where they collide, too, their rate (95 % bound) must be exceeded. `earlier` (same columns) counts like the rest.

    Reference: Zou et al. (2024), "PoisonedRAG: Knowledge Corruption Attacks to Retrieval-Augmented Generation".
    """
    both = frame if earlier is None or earlier.empty else pd.concat([frame, earlier], ignore_index=True)
    found = _colliding(both, alpha, seed)
    source = pd.factorize(both["source_id"], sort=True)[0]
    if len(found) < _BY_ALL:
        found = _of_sources(found, source)
    if not found:
        return []
    rows = np.unique(np.concatenate([rows for rows, _ in found]))
    chance = max(p for _, p in found)
    if trusted:
        vetted = pd.DataFrame({"source_id": "", WORDS[1]: words(trusted), QUESTIONS: question_sets(trusted)})
        usual = len({row for rows, _ in _colliding(vetted, alpha, seed) for row in rows})
        if usual:
            rate = float(beta_low(usual + 1, len(vetted) - usual, _SURE)) if usual < len(vetted) else 1.0
            chance = float(binomial_high(len(rows), len(both), rate))
    if chance > alpha or not (rows < len(frame)).any():
        return []
    args = {"n_records": len(rows), "n_items": len(found), "n_sources": len(np.unique(source[rows]))}
    strength = len(found) / len(rows)
    return [
        make_campaign(
            both, rows, kind="collision", p=chance, strength=strength, who="source_id", args=args, n_own=len(frame)
        )
    ]


def _of_sources(found: list[tuple[np.ndarray, float]], source: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Return what is left of each question with the rows of sources that take part in three questions or more."""
    takes_part = [np.unique(source[rows]) for rows, _ in found]
    who, times = np.unique(np.concatenate(takes_part or [source[:0]]), return_counts=True)
    suspects = who[(times >= _BY_ONE) & (who >= 0)]
    left = [(rows[np.isin(source[rows], suspects)], p) for rows, p in found]
    return [(rows, p) for rows, p in left if len(rows)]


def _colliding(both: pd.DataFrame, alpha: float, seed: int) -> list[tuple[np.ndarray, float]]:
    """Return for each question that collides the rows that answer it alike, and the chance over all looked at."""
    said = [cell if isinstance(cell, bytes) else b"" for cell in both[WORDS[1]]]
    groups = _groups(both[QUESTIONS], said, seed)
    if not groups:
        return []
    source = pd.factorize(both["source_id"], sort=True)[0]
    shared = [_shared(said, texts, asked) for _, texts, asked in groups]
    looked = sum(len(word) for word, _, _ in shared)
    wanted = np.unique(np.concatenate([word[times >= _least(n)] for word, times, n in shared]))
    word, row = read_words(both[WORDS[1]])
    at = np.minimum(np.searchsorted(wanted, word), max(0, len(wanted) - 1))
    hit = wanted[at] == word if len(wanted) else np.zeros(len(word), bool)
    at, row = at[hit], row[hit]
    order = np.argsort(at, kind="stable")
    at, row = at[order], row[order]
    found = []
    for (rows, _, _), (own, times, n) in zip(groups, shared, strict=True):
        best, answered = 1.0, rows[:0]
        theirs = np.setdiff1d(np.flatnonzero(np.isin(source, source[rows]) & (source >= 0)), rows)
        for name, k in zip(own, times, strict=True):
            if k < _least(n):
                continue
            place = np.searchsorted(wanted, name)
            carriers = row[np.searchsorted(at, place) : np.searchsorted(at, place, "right")]
            outside = np.setdiff1d(carriers, rows)
            rate = (len(outside) + 1) / (len(both) - len(rows) + 2)
            if len(theirs) >= _OWN:
                rate = max(rate, (len(np.intersect1d(outside, theirs)) + 0.5) / (len(theirs) + 1))
            p = float(binomial_high(k, n, min(rate, 1.0))) * looked
            if p <= alpha:
                best, answered = min(best, p), np.union1d(answered, np.intersect1d(carriers, rows))
        if len(answered):
            found.append((answered, best))
    return found


def _least(texts: int) -> int:
    return max(_TEXTS, int(np.ceil(_ANSWER * texts)))


_Group = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Rows of a question that different texts ask, those that are compared, and all words it is asked in."""


def _groups(questions: pd.Series, said: list[bytes], seed: int) -> list[_Group]:
    """Return the groups of questions in the same words, and where there is none, in nearly the same."""
    cell, row = _split(questions)
    if not cell:
        return []
    key = pd.factorize(pd.Series(cell, dtype=object))[0]
    first = np.unique(key, return_index=True)[1]
    cluster = pseudo_items([pd.Series([cell[at] for at in first], dtype=object)], seed=seed)[0][key]
    out = list[_Group]()
    for group in _parts(np.arange(len(key)), cluster):
        exact = [_group(said, cell, row, part) for part in _parts(group, key[group])]
        out += [found for found in exact if found] or [found for found in [_group(said, cell, row, group)] if found]
    return out


def _parts(rows: np.ndarray, name: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(name, kind="stable")
    return np.split(rows[order], np.flatnonzero(np.diff(name[order])) + 1)


def _group(said: list[bytes], cell: list[bytes], row: np.ndarray, members: np.ndarray) -> _Group | None:
    rows = np.unique(row[members])
    texts = _different(said, rows) if len(rows) >= _TEXTS else rows[:0]
    if len(texts) < _TEXTS:
        return None
    return rows, texts, np.unique(np.concatenate([np.frombuffer(cell[at], np.uint32) for at in members]))


def _split(questions: pd.Series) -> tuple[list[bytes], np.ndarray]:
    """Return the words of each question of the column, and the row that it is of."""
    word, row = read_words(questions)
    opens = np.flatnonzero(word == 0)
    return [part[1:].tobytes() for part in np.split(word, opens)[1:]], row[opens]


def _different(said: list[bytes], rows: np.ndarray) -> np.ndarray:
    """Return rows whose texts neither copy nor quote each other, at most 32 of them, the longest first."""
    distinct = sorted({said[row]: row for row in rows[::-1]}.values(), key=lambda row: (-len(said[row]), said[row]))
    kept = list[int]()
    for row in distinct:
        own = np.frombuffer(said[row], np.uint32)
        if not any(_alike(own, np.frombuffer(said[other], np.uint32)) for other in kept):
            kept.append(row)
        if len(kept) == _COMPARED:
            break
    return np.array(kept)


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    return len(np.intersect1d(one, other, assume_unique=True)) >= _COPY * min(len(one), len(other))


def _shared(said: list[bytes], texts: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the words of the texts beyond the question, how many texts say each, and how many texts there are."""
    word, times = np.unique(np.concatenate([np.frombuffer(said[row], np.uint32) for row in texts]), return_counts=True)
    maybe = times >= _least(len(texts))
    ours = np.isin(word, asked)
    ours[maybe] |= np.isin(word[maybe], pairs_with(asked, word[maybe | ours]))
    return word[~ours], times[~ours], len(texts)
