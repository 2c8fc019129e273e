"""Simulated crowds with an attack inside, and the folder of public data."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

START = pd.Timestamp("2025-03-01", tz="UTC")
DAYS = 30


@dataclass(frozen=True)
class Crowd:
    """Answers with their truth: `frame.kind` is honest, pushed or cover (camouflage and controls of attackers)."""

    frame: pd.DataFrame
    controls: pd.DataFrame
    truth: pd.Series
    targets: frozenset[str]
    end: pd.Timestamp = START + pd.Timedelta(days=DAYS)

    def rows(self, kind: str) -> np.ndarray:
        return (self.frame["kind"] == kind).to_numpy()


@pytest.fixture(scope="session")
def crowd() -> Callable[..., Crowd]:
    """Return a maker of crowds: 300 people at about .8 on 2,000 items of four classes, one in ten a control."""
    return make_crowd


@pytest.fixture(scope="session")
def public_data() -> Path:
    folder = Path(os.environ.get("POISON_GUARD_DATA", Path(__file__).parents[4] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no public data in {folder}; set POISON_GUARD_DATA")
    return folder


def make_crowd(
    seed: int,
    *,
    share: float = 0.0,
    attackers: int = 40,
    window: float | None = 3600.0,
    camouflage: int = 0,
    knows_controls: bool = True,
    span: float = DAYS * 86400.0,
    weak: float = 0.0,
    spammers: int = 0,
    per_item: int = 5,
    aged: float = 0.0,
) -> Crowd:
    """Return a crowd; `share` of the answers on a fifth of the items is pushed, within `window` seconds an item."""
    r = np.random.default_rng(seed)
    items, people = 2000, 300
    truth, control = r.integers(0, 4, items), r.random(items) < 0.1
    accuracy = r.beta(8, 2, people)
    accuracy[: int(weak * people)] = 0.6
    accuracy[people - spammers :] = 0.25
    item = np.repeat(np.arange(items), per_item)
    who = np.argpartition(r.random((items, people)), per_item, axis=1)[:, :per_item].ravel()
    said = np.where(r.random(len(item)) < accuracy[who], truth[item], (truth[item] + r.integers(1, 4, len(item))) % 4)
    parts = [(item, who, said, r.uniform(0, span, len(item)), np.full(len(item), "honest"))]
    targets = np.flatnonzero((r.random(items) < 0.2) & ~control)
    if share:
        each = min(round(per_item * share / (1 - share)), attackers)
        pushed = np.repeat(targets, each)
        by = np.argsort(r.random((len(targets), attackers)), axis=1)[:, :each].ravel() + people
        begin = np.repeat(r.uniform(0, span, len(targets)), each)
        at = begin + r.uniform(0, window, len(pushed)) if window else r.uniform(0, span, len(pushed))
        parts.append((pushed, by, (truth[pushed] + 1) % 4, at, np.full(len(pushed), "pushed")))
        known = np.flatnonzero(control)
        seen = np.concatenate([r.choice(known, 20, replace=False) for _ in range(attackers)])
        cover = r.choice(np.setdiff1d(np.arange(items), targets), attackers * camouflage)
        item = np.r_[seen, cover]
        by = np.r_[np.repeat(np.arange(attackers), 20), np.repeat(np.arange(attackers), camouflage)] + people
        right = r.random(len(item)) < np.r_[np.full(len(seen), 0.97 * knows_controls), np.full(len(cover), 0.95)]
        said = np.where(right, truth[item], (truth[item] + 1) % 4)
        parts.append((item, by, said, r.uniform(0, span, len(item)), np.full(len(item), "cover")))
    item, who, said, at, kind = (np.concatenate(column) for column in zip(*parts, strict=True))
    keep = np.unique(item * 10_000 + who, return_index=True)[1]
    item, who, said, at, kind = item[keep], who[keep], said[keep], at[keep], kind[keep]
    old = np.r_[r.random(people) < 0.8, r.random(attackers) < aged]
    observed = START + pd.to_timedelta(at, unit="s")
    since = START + pd.to_timedelta(np.where(old[who], -100 * 86400.0, at - 86400.0), unit="s")
    frame = pd.DataFrame(
        {
            "record_id": [f"r{k}" for k in range(len(item))],
            "item_id": [f"i{k}" for k in item],
            "source_id": [f"s{k}" for k in who],
            "answer": said.astype(str),
            "vote": said.astype(str),
            "observed_at": observed,
            "source_since": since,
            "kind": kind,
        }
    )
    names = [f"i{k}" for k in range(items)]
    truth_of = pd.Series(truth.astype(str), index=names)
    controls = pd.DataFrame({"item_id": np.array(names)[control], "answer": truth[control].astype(str)})
    return Crowd(frame, controls, truth_of, frozenset(f"i{k}" for k in targets))
