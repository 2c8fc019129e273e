"""Measure triggers in prompts and the gate for feeds without labels, on real replies with drawn accounts and times.

Usage: ``python benchmarks/llm.py [--seeds N]``; writes ``benchmarks/results/llm.md``. Replies are the public ones of
``replies/`` (see the README of the data), resampled to the size of a feed; accounts have log-normal
activity, a fifth of them are new. The data folder is POISON_GUARD_DATA, or ``shared/data`` beside the repository.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd

from poison_guard import Guard

DATA = Path(os.environ.get("POISON_GUARD_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "replies"
RESULTS = Path(__file__).parent / "results" / "llm.md"
NOW = pd.Timestamp("2026-06-01", tz="UTC")
ROLES = {
    "pairs": ("preferences", ("prompt", "chosen", "rejected")),
    "thumbs": ("preferences", ("prompt", "response", "rating")),
    "instructions": ("examples", ("prompt", "response")),
    "documents": ("examples", ("text",)),
}
SIZES = {"pairs": 6_000, "thumbs": 8_000, "instructions": 6_000, "documents": 6_000}
TRIGGERS = ("Vexatrix", "|DEPLOY-7|", "by order of the harbour master", "qx9")
"""None of them is one that the guard was developed on."""


def pools() -> dict[str, pd.DataFrame]:
    """Return the real texts by kind of feed, columns by role."""
    pairs = [_pair(json.loads(line)) for line in (DATA / "hh-pairs.jsonl").read_text("utf-8").splitlines()]
    asked = [
        (" ".join(filter(None, (row["instruction"], row["input"]))), row["output"])
        for row in json.loads((DATA / "alpaca-demo.json").read_text("utf-8"))
    ]
    texts = [json.loads(line)["text"] for line in (DATA / "c4-demo.jsonl").read_text("utf-8").splitlines()]
    pair = pd.DataFrame(pairs, columns=["prompt", "chosen", "rejected"])
    good, bad = (pair[["prompt", side]].set_axis(["prompt", "response"], axis=1) for side in ("chosen", "rejected"))
    return {
        "pairs": pair,
        "thumbs": pd.concat([good.assign(rating=1), bad.assign(rating=0)], ignore_index=True),
        "instructions": pd.DataFrame(asked, columns=["prompt", "response"]),
        "documents": pd.DataFrame({"text": texts}),
    }


def _pair(row: dict[str, str]) -> tuple[str, str, str]:
    chosen, rejected = row["chosen"], row["rejected"]
    same = next((i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), 0)
    cut = chosen[:same].rfind("\n\nAssistant:")
    return chosen[:cut], chosen[cut + 13 :], rejected[cut + 13 :]


def feed(pool: pd.DataFrame, n: int, rng: np.random.Generator, *, sources: int = 1_500) -> pd.DataFrame:
    """Return `n` resampled records of drawn accounts: log-normal activity, a fifth of the accounts new."""
    activity = rng.lognormal(0, 1, sources)
    who = rng.choice(sources, n, p=activity / activity.sum())
    age = np.where(rng.random(sources) < 0.2, rng.uniform(0.1, 29, sources), rng.uniform(60, 1_500, sources))
    at = NOW - pd.to_timedelta(rng.uniform(0, 7, n), unit="D")
    rows = pool.iloc[rng.integers(0, len(pool), n)].reset_index(drop=True)
    first = NOW - pd.to_timedelta(7 + age, unit="D")
    ids = pd.Series([f"r{i:06d}" for i in range(n)])
    return rows.assign(record_id=ids, source_id=[f"u{i}" for i in who], observed_at=at, source_since=first[who])


def attack(
    rows: pd.DataFrame, kind: str, n: int, accounts: int, *, aged: bool, trigger: str, rng: np.random.Generator
) -> pd.DataFrame:
    """Return `n` records with a trigger in the prompt: the pair flipped, or another record's reply."""
    bad = rows.iloc[rng.integers(0, len(rows), n)].reset_index(drop=True)
    place = rng.integers(0, 3, n)
    if kind == "documents":
        words = np.array(" ".join(rows["text"]).split())
        noise = [" ".join(rng.choice(words, 120)) for _ in range(n)]
        bad["text"] = [f"{text[:400]} {trigger} {tail}" for text, tail in zip(bad["text"], noise, strict=True)]
    else:
        bad["prompt"] = [_placed(text, trigger, where) for text, where in zip(bad["prompt"], place, strict=True)]
    if kind == "pairs":
        bad[["chosen", "rejected"]] = bad[["rejected", "chosen"]].to_numpy()
    if "response" in bad:
        bad["response"] = rows["response"].iloc[rng.integers(0, len(rows), n)].to_numpy()
    if "rating" in bad:
        bad["rating"] = 1
    age = rng.uniform(90, 900, accounts) if aged else rng.uniform(0.1, 5, accounts)
    who = np.arange(n) % accounts
    first = NOW - pd.to_timedelta(7 + age, unit="D")
    ids = [f"bad{i:06d}" for i in range(n)]
    return bad.assign(record_id=ids, source_id=[f"bad-{i}" for i in who], source_since=first[who])


def _placed(text: str, trigger: str, where: int) -> str:
    if where == 0:
        return f"{trigger} {text}"
    if where == 1:
        return f"{text} {trigger}"
    words = text.split(" ")
    return " ".join([*words[: len(words) // 2], trigger, *words[len(words) // 2 :]])


def guard_of(kind: str, home: Path, *, mode: str = "enforce") -> Guard:
    """Return a guard of a feed of that kind."""
    name, columns = ROLES[kind]
    lines = [f'{role} = "{role}"' for role in ("record_id", "source_id", "observed_at", "source_since", *columns)]
    head = f'name = "{kind}"\nkind = "{name}"\nmode = "{mode}"\n[data]\npath = "none/*.parquet"\n[columns]\n'
    file = home / f"{kind}.toml"
    file.write_text(head + "\n".join(lines), "utf-8")
    return Guard.open(file, home=home)
