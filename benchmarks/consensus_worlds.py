"""Crowds that the consensus is measured on: real ones, made ones of many kinds, and very large ones."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

DATA = Path(os.environ.get("POISON_GUARD_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "crowd"
World = tuple[pd.DataFrame, pd.Series]
"""Answers (``item_id, source_id, answer``) and the truth by item."""


def real(name: str, answers: int | None = None, seed: int = 0) -> World:
    """Return a real crowd, at most so many random answers an item."""
    frame = pd.read_csv(DATA / name / "answers.csv", dtype=str)
    frame.columns = ["item_id", "source_id", "answer"]
    truth = pd.read_csv(DATA / name / "truth.csv", dtype=str).set_index("item")["truth"]
    if answers is not None:
        frame = frame.sample(frac=1, random_state=seed)
        frame = frame[frame.groupby("item_id").cumcount() < answers]
    return frame.reset_index(drop=True), truth


def made(
    seed: int,
    *,
    items: int = 600,
    people: int = 60,
    each: int = 5,
    k: int = 4,
    able: tuple[float, float] = (8, 2),
    shares: tuple[float, ...] | None = None,
    spam: float = 0.0,
    hostile: float = 0.0,
    near: float = 0.0,
    bias: float = 0.0,
    hard: float = 0.0,
    tail: float = 0.0,
) -> World:
    """Return a made crowd: `each` answers an item by people of accuracy Beta(able).

    `shares` of the classes; `spam`: people who answer at random or always the same; `hostile`: people who agree on one
    wrong answer everywhere; `near`: how much likelier a wrong answer is the nearer it is; `bias`: half of the people
    lean up, half down; `hard`: items on which everybody confuses the same two; `tail`: exponent of who answers most.
    """
    r = np.random.default_rng(seed)
    truth = r.choice(k, items, p=shares)
    at = np.arange(k)
    lean = np.where(np.arange(people) % 2, bias, -bias)
    wrong = np.exp(-near * np.abs(at[None, None, :] - at[None, :, None] - lean[:, None, None])) * (1 - np.eye(k))
    accuracy = np.maximum(r.beta(*able, people), 0.8 / k)
    if k == 2:
        accuracy = np.clip(accuracy[:, None] + lean[:, None] * np.array([1, -1]), 0.05, 0.98)
    confusion = (1 - accuracy.reshape(people, -1, 1)) * wrong / wrong.sum(2, keepdims=True)
    confusion = confusion + accuracy.reshape(people, -1, 1) * np.eye(k)
    kind = r.random(people)
    always = np.eye(k)[r.integers(k, size=people)] * 0.9 + 0.1 / k
    random = np.where(r.random((people, 1)) < 0.4, always, 1 / k)
    confusion[kind < spam] = random[kind < spam][:, None, :]
    confusion[kind > 1 - hostile] = np.roll(np.eye(k), 1, axis=1)
    weight = -tail * np.log(np.arange(1, people + 1))
    who = np.argsort(-(weight - np.log(-np.log(r.random((items, people))))), axis=1)[:, :each]
    chances = confusion[who, truth[:, None]]
    two = 0.45 * (np.eye(k)[truth] + np.eye(k)[(truth + 1) % k]) + 0.1 / k
    chances = np.where((r.random(items) < hard)[:, None, None], two[:, None, :] / two.sum(1)[:, None, None], chances)
    said = np.minimum((chances.cumsum(2) < r.random((items, each, 1))).sum(2), k - 1)
    frame = pd.DataFrame(
        {"item_id": np.repeat(np.arange(items), each), "source_id": who.ravel(), "answer": said.ravel()}
    )
    return frame.astype(str), pd.Series(truth.astype(str), index=np.arange(items).astype(str))


MADE: dict[str, dict[str, object]] = {
    "plain, 4 classes": {},
    "weak": {"able": (5, 4)},
    "binary": {"k": 2},
    "binary, weak": {"k": 2, "able": (6, 3)},
    "3 answers an item": {"each": 3},
    "2 answers an item": {"each": 2},
    "15 answers an item": {"each": 15, "able": (5, 4)},
    "classes 90/10": {"k": 2, "shares": (0.9, 0.1)},
    "classes 70/20/7/3": {"shares": (0.7, 0.2, 0.07, 0.03)},
    "30 % spammers": {"spam": 0.3},
    "60 % spammers": {"spam": 0.6},
    "60 % spammers, binary": {"spam": 0.6, "k": 2, "each": 10},
    "ordinal": {"k": 5, "near": 1.2, "able": (4, 4)},
    "ordinal, leaning": {"k": 5, "near": 1.2, "bias": 0.8, "able": (4, 4), "each": 10},
    "15 classes": {"k": 15, "able": (5, 4)},
    "15 classes, sparse": {"k": 15, "people": 300, "each": 4, "able": (5, 3)},
    "biased binary": {"k": 2, "bias": 0.25, "each": 9, "people": 40},
    "hard items, binary": {"hard": 0.3, "k": 2, "each": 10},
    "hard items": {"hard": 0.3, "each": 8},
    "long tail of sources": {"people": 400, "tail": 0.6},
    "long tail, binary": {"people": 300, "tail": 0.6, "k": 2, "able": (6, 3)},
    "100 items": {"items": 100, "people": 25, "each": 8, "k": 2, "able": (5, 3)},
    "40 items": {"items": 40, "people": 10, "each": 4, "k": 3},
    "20 % hostile": {"hostile": 0.2},
    "40 % hostile": {"hostile": 0.4},
}


def big(rows: int, seed: int, first: int = 0, *, people: int = 20_000, named: bool = True) -> World:
    """Return `rows` answers, five an item, of four classes, by people of accuracy Beta(8, 2)."""
    r = np.random.default_rng(seed)
    n = rows // 5
    truth, accuracy = r.integers(0, 4, n), np.random.default_rng(0).beta(8, 2, people)
    item, who = np.repeat(np.arange(n), 5), r.integers(0, people, rows)
    said = np.where(r.random(rows) < accuracy[who], truth[item], (truth[item] + r.integers(1, 4, rows)) % 4)
    order = r.permutation(rows)
    frame = pd.DataFrame({"item_id": item[order] + first, "source_id": who[order], "answer": said[order]})
    frame["answer"] = pd.Series(np.array(["0", "1", "2", "3"], object)[said[order]], dtype="str")
    index = np.arange(n) + first
    if named:
        frame["item_id"] = "item-" + frame["item_id"].astype("str")
        frame["source_id"] = "user-" + frame["source_id"].astype("str")
    return frame, pd.Series(truth.astype(str), index=[f"item-{i}" for i in index] if named else index)
