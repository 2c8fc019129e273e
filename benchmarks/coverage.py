"""Is the coverage statement true? Fresh attacks of the sizes it names, on feeds of different columns.

    python benchmarks/coverage.py [--only NAME] [--choosing] [--write]

Sizes and rules were chosen on the feeds of ``--choosing``; the committed table is of the others. Public data is read
from the folder in `POISON_GUARD_DATA`; a feed without its data is skipped.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.config import open_settings, parse_contract
from poison_guard.decide.coverage import KINDS
from poison_guard.guard import Guard
from poison_guard.ingest.collect import read_controls
from poison_guard.steps.coverage import _own_records
from poison_guard.steps.coverage_trial import Trial, make_trial
from poison_guard.steps.opening import open_feed
from poison_guard.steps.own_attacks import attack_of, attack_sizes

DATA = Path(os.environ.get("POISON_GUARD_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
RESULTS = Path(__file__).parent / "results" / "coverage.md"
FRESH = 10
FIRST_SEED = 1_000_000
NOW = pd.Timestamp("2026-06-01", tz="UTC")
HEAD = """# Is the coverage statement true?

`python benchmarks/coverage.py --write`. Ten feeds of different columns, none of which sizes or rules were chosen on.
`Guard.coverage` measured each; then ten fresh attacks of every kind were put among the same records: of the size that
the statement names for kinds that it calls seen, of the largest size where it calls a kind not seen, or names what the
feed lacks (blank where these columns allow no such attack). *Held*: at least half of an attack's records are held.
*aged*: the statement says that accounts as old as the feed's are seen, too, and ten fresh attacks by such were held.

{verdict}

| feed | records | honest held | {kinds} | s |
|---|---|---|{dashes}|---|
"""


@dataclass(frozen=True)
class Example:
    """A feed: its columns by role, its records, and what people vetted or know of them."""

    columns: Mapping[str, Any]
    records: pd.DataFrame
    trusted: pd.DataFrame | None = None
    controls: pd.DataFrame | None = None


def roles(*names: str, features: int = 0) -> dict[str, Any]:
    """Return a mapping of roles to columns of the same name; features are called f0, f1, …"""
    found: dict[str, Any] = {name: name for name in ("record_id", *names)}
    return found | ({"features": [f"f{k}" for k in range(features)]} if features else {})


def crowd(seed: int, *, people: int = 150, items: int = 250, each: int = 7, classes: int = 4) -> pd.DataFrame:
    """Return answers of people who are right six to ten times in ten, a fifth of them new, over two weeks."""
    rng = np.random.default_rng(seed)
    skill, truth = rng.uniform(0.65, 0.98, people), rng.integers(0, classes, items)
    weight = rng.lognormal(size=people)
    pairs = [(i, s) for i in range(items) for s in rng.choice(people, each, replace=False, p=weight / weight.sum())]
    item, source = np.array(pairs).T
    right = rng.random(len(item)) < skill[source]
    answer = np.where(right, truth[item], (truth[item] + rng.integers(1, classes, len(item))) % classes)
    age = np.where(rng.random(people) < 0.2, rng.uniform(0, 30, people), rng.uniform(30, 1500, people))
    at = NOW - pd.to_timedelta(rng.uniform(0, 14 * 86400, len(item)), unit="s")
    return pd.DataFrame(
        {
            "source_id": [f"u{s}" for s in source],
            "item_id": [f"i{i}" for i in item],
            "answer": [f"c{a}" for a in answer],
            "observed_at": at.floor("s"),
            "source_since": (NOW - pd.Timedelta(days=14) - pd.to_timedelta(age[source], unit="D")).floor("s"),
        }
    )


def sessions(seed: int, n: int, *, d: int = 6, people: int = 300) -> pd.DataFrame:
    """Return log-normal features that hang together, of people with a pace of their own."""
    rng = np.random.default_rng(seed)
    who = rng.integers(0, people, n)
    pace, mix = rng.normal(size=(people, d)), rng.normal(size=(d, d)) / np.sqrt(d)
    x = np.exp(0.5 * pace[who] + (rng.normal(size=(n, d)) @ mix))
    frame = pd.DataFrame(x, columns=[f"f{k}" for k in range(d)])
    at = NOW - pd.to_timedelta(rng.uniform(0, 5 * 86400, n), unit="s")
    return frame.assign(source_id=[f"u{k}" for k in who], observed_at=at.floor("s"))


def spoken(texts: pd.DataFrame, seed: int, n: int, *, people: int = 250) -> pd.DataFrame:
    """Return `n` rows of `texts`, repeated where they must be, by people with ages and times; a fifth of them new."""
    rng = np.random.default_rng(seed)
    rows = texts.take(np.resize(rng.permutation(len(texts)), n)).reset_index(drop=True)
    weight = rng.lognormal(size=people)
    who = rng.choice(people, n, p=weight / weight.sum())
    age = np.where(rng.random(people) < 0.2, rng.uniform(0, 30, people), rng.uniform(30, 1500, people))
    at = NOW - pd.to_timedelta(rng.uniform(0, 14 * 86400, n), unit="s")
    since = (NOW - pd.Timedelta(days=14) - pd.to_timedelta(age[who], unit="D")).floor("s")
    return rows.assign(source_id=[f"u{k}" for k in who], observed_at=at.floor("s"), source_since=since)


def votes_of(name: str, rows: int) -> pd.DataFrame:
    """Return the answers of a public crowd, whole items in the order of the file."""
    frame = pd.read_csv(DATA / "crowd" / name / "answers.csv", dtype=str)
    whole = frame["item"].isin(frame["item"].drop_duplicates().head(rows // 10))
    return frame[whole].rename(columns={"item": "item_id", "source": "source_id"})


def replies(name: str) -> pd.DataFrame:
    """Return a file of `replies` of the public data as a frame."""
    text = (DATA / "replies" / name).read_text(encoding="utf-8")
    rows = json.loads(text) if name.endswith(".json") else [json.loads(line) for line in text.splitlines()]
    return pd.DataFrame(rows)


def split(frame: pd.DataFrame, trusted: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the records and the vetted ones, drawn at random."""
    order = np.random.default_rng(7).permutation(len(frame))
    return frame.take(np.sort(order[trusted:])), frame.take(np.sort(order[:trusted]))


def outliers(name: str, n: int) -> pd.DataFrame:
    """Return inliers of a public set as features without sources."""
    with np.load(next((DATA / "outliers").glob(f"*_{name}.npz")), allow_pickle=False) as file:
        x = file["X"][file["y"] == 0][:, :12].astype(float)
    x = x[np.random.default_rng(3).permutation(len(x))[:n]]
    return pd.DataFrame(x, columns=[f"f{k}" for k in range(x.shape[1])])


def youtube() -> Example:
    frame = pd.read_csv(DATA / "messages" / "youtube-spam.csv", dtype=str)
    frame = frame.rename(columns={"AUTHOR": "source_id", "DATE": "observed_at", "CONTENT": "text"})
    frame = frame[frame["CLASS"] == "0"].dropna(subset=["observed_at"])
    return Example(roles("source_id", "observed_at", "text"), frame[["source_id", "observed_at", "text"]])


def otc() -> Example:
    frame = pd.read_csv(DATA / "ratings" / "bitcoin-otc.csv").head(4000)
    frame = frame.rename(columns={"rater": "source_id", "rated": "item_id", "at": "observed_at"})
    return Example(roles("source_id", "item_id", "rating", "observed_at"), frame)


def with_features(seed: int) -> Example:
    votes = crowd(seed)
    both = pd.concat([votes, sessions(seed, len(votes)).drop(columns=["source_id", "observed_at"])], axis=1)
    records, trusted = split(both, 500)
    return Example(roles("source_id", "item_id", "answer", "observed_at", "source_since", features=6), records, trusted)


def with_controls(seed: int) -> Example:
    votes = crowd(seed, each=2)
    known = votes.groupby("item_id")["answer"].agg(lambda said: said.mode().iloc[0]).head(60)
    return Example(roles("source_id", "item_id", "answer"), votes, None, known.rename("answer").reset_index())


def telemetry(seed: int) -> Example:
    records, trusted = split(sessions(seed, 2500), 800)
    return Example(roles("source_id", "observed_at", features=6), records, trusted)


def alone(name: str, n: int, trusted: int) -> Example:
    records, vetted = split(outliers(name, n), trusted)
    return Example(roles(features=records.shape[1]), records, vetted)


def pairs(seed: int, n: int) -> Example:
    texts = replies("hh-pairs.jsonl")[["chosen", "rejected"]]
    return Example(roles("chosen", "rejected", "source_id", "observed_at", "source_since"), spoken(texts, seed, n))


def thumbs(seed: int, n: int) -> Example:
    texts = replies("alpaca-demo.json").rename(columns={"instruction": "prompt", "output": "response"})
    frame = spoken(texts[["prompt", "response"]], seed, n)
    frame["rating"] = np.random.default_rng(seed).choice([1, 0], n, p=[0.8, 0.2])
    return Example(roles("prompt", "response", "rating", "source_id", "observed_at"), frame)


def unsigned(name: str, columns: Mapping[str, str], trusted: int = 0) -> Example:
    frame = replies(name).rename(columns=columns)[list(columns.values())]
    records, vetted = split(frame, trusted) if trusted else (frame, None)
    return Example(roles(*columns.values()), records, vetted)


CHOOSING: Mapping[str, Callable[[], Example]] = {
    "crowd with times and ages": lambda: Example(
        roles("source_id", "item_id", "answer", "observed_at", "source_since"), crowd(1)
    ),
    "duck, votes alone": lambda: Example(roles("source_id", "item_id", "answer"), votes_of("duck", 1080)),
    "telemetry": lambda: telemetry(1),
    "thyroid, no sources": lambda: alone("thyroid", 1600, 600),
    "documents, no sources": lambda: unsigned("c4-demo.jsonl", {"text": "text"}),
    "thumbs": lambda: thumbs(1, 1500),
}
REPORTING: Mapping[str, Callable[[], Example]] = {
    "rte: votes alone": lambda: Example(roles("source_id", "item_id", "answer"), votes_of("rte", 2000)),
    "crowd: votes, times": lambda: Example(
        roles("source_id", "item_id", "answer", "observed_at"), crowd(11, people=90, items=200, each=9, classes=3)
    ),
    "crowd: votes, times, ages, features, trusted": lambda: with_features(12),
    "crowd: two answers an item, controls": lambda: with_controls(13),
    "bitcoin-otc: ratings, times": otc,
    "youtube: texts, authors, times": youtube,
    "hh: pairs, sources, times, ages": lambda: pairs(14, 1600),
    "hh: pairs alone, trusted": lambda: unsigned(
        "hh-pairs.jsonl", {"chosen": "chosen", "rejected": "rejected"}, trusted=300
    ),
    "alpaca: instructions alone": lambda: unsigned("alpaca-demo.json", {"instruction": "prompt", "output": "response"}),
    "magic.gamma: features alone, trusted": lambda: alone("magic.gamma", 2400, 800),
}


def measure(name: str, make: Callable[[], Example], folder: Path) -> dict[str, Any]:
    """Return what the statement says of a feed and what came of fresh attacks."""
    example, begun = make(), time.perf_counter()
    records = example.records.reset_index(drop=True).assign(record_id=lambda f: [f"r{k}" for k in range(len(f))])
    records.to_parquet(folder / "feed.parquet")
    table: dict[str, Any] = {"name": "feed", "kind": "messages", "columns": dict(example.columns)}
    table["data"] = {"path": str(folder / "feed.parquet")}
    if example.controls is not None:
        example.controls.to_csv(folder / "controls.csv", index=False)
        table["controls"] = {"path": str(folder / "controls.csv")}
    contract = parse_contract(table)
    guard = Guard(contract, open_settings(folder / "home"))
    if example.trusted is not None:
        vetted = example.trusted.reset_index(drop=True).assign(record_id=lambda f: [f"v{k}" for k in range(len(f))])
        guard.trust(vetted, by="benchmark", reason="the feed's own, vetted")
    result = guard.coverage()
    with open_feed(contract, guard.settings, create_store=False) as feed:
        own, controls = _own_records(feed, None, NOW.to_pydatetime())
        trial = make_trial(feed, own, controls if len(controls) else read_controls(contract, guard.home))
    kinds = {kind: tried(trial, kind, result.coverage) for kind in KINDS}
    seconds = time.perf_counter() - begun
    return {"feed": name, "records": len(own), "honest": result.honest_held, "kinds": kinds, "seconds": seconds}


def tried(trial: Trial, kind: str, coverage: Any) -> dict[str, Any] | None:
    """Return what the statement says of a kind and how many of the fresh attacks were held; None without room."""
    sizes = attack_sizes(trial.contract, kind, trial.records)
    if not sizes:
        return None
    one = coverage.measured.kinds.get(kind) if kind not in coverage.remedies else None
    size = (one.records, one.accounts) if one is not None and one.seen else sizes[-1]
    said = "no" if one is None or one.unseen else "yes" if one.seen else "some"
    held = fresh(trial, kind, size)
    aged = fresh(trial, kind, size, aged=True) if one is not None and one.aged else None
    return {"said": said, "size": size, "held": held, "aged": aged}


def fresh(trial: Trial, kind: str, size: tuple[int, int], *, aged: bool = False) -> int:
    """Return how many of ten attacks of seeds that nothing was measured with are held."""
    attacks = (
        attack_of(trial.contract, trial.records, kind, size, seed=FIRST_SEED + k, aged=aged) for k in range(FRESH)
    )
    return sum(trial.is_held(attack) for attack in attacks)


def cell(one: Mapping[str, Any] | None) -> str:
    """Return a cell of the table: what was said, of which size, and how many of ten were held."""
    if one is None:
        return ""
    (n, accounts), held = one["size"], f"{one['held']}/{FRESH}"
    what = {"yes": f"from {n} by {accounts}" if accounts else f"from {n}", "no": "not seen", "some": f"some of {n}"}
    aged = "" if one["aged"] is None else f", aged {one['aged']}/{FRESH}"
    return f"{what[one['said']]}: {held}{aged}"


def verdict(lines: list[dict[str, Any]]) -> str:
    """Return the two figures: claims of seen and of not seen that the fresh attacks bear out."""
    cells = [one for line in lines for one in line["kinds"].values() if one is not None]
    seen, unseen = ([one for one in cells if one["said"] == said] for said in ("yes", "no"))
    right, silent = sum(one["held"] >= 9 for one in seen), sum(one["held"] <= FRESH // 2 for one in unseen)
    aged = [one["aged"] for one in seen if one["aged"] is not None]
    return (
        f"**{right} of {len(seen)}** kinds called seen are held in at least nine of ten fresh attacks of that size "
        f"({sum(n >= 9 for n in aged)} of {len(aged)} of those called seen by aged accounts, too); **{silent} of "
        f"{len(unseen)}** kinds called not seen are held in at most half of them. {len(lines)} feeds."
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="feeds whose name contains this")
    parser.add_argument("--choosing", action="store_true", help="the feeds that sizes were chosen on")
    parser.add_argument("--write", action="store_true", help="write the committed table")
    given = parser.parse_args()
    lines = []
    for name, make in (CHOOSING if given.choosing else REPORTING).items():
        if given.only not in name:
            continue
        try:
            with tempfile.TemporaryDirectory() as folder:
                lines.append(measure(name, make, Path(folder)))
        except (FileNotFoundError, StopIteration) as missing:
            print(f"{name}: skipped, {missing}", flush=True)
            continue
        kinds = {kind: cell(one) for kind, one in lines[-1]["kinds"].items()}
        print(name, f"{lines[-1]['seconds']:.0f} s", f"honest {lines[-1]['honest']:.1%}", kinds, flush=True)
    print(verdict(lines))
    if given.write:
        rows = [
            f"| {x['feed']} | {x['records']:,} | {x['honest']:.1%} | {' | '.join(map(cell, x['kinds'].values()))} | "
            f"{x['seconds']:.0f} |"
            for x in lines
        ]
        head = HEAD.format(verdict=verdict(lines), kinds=" | ".join(KINDS), dashes="|".join("---" for _ in KINDS))
        RESULTS.write_text(head + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
