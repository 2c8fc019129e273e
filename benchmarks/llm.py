"""Measure triggers in prompts and the gate for feeds without labels, on real replies with drawn accounts and times.

Usage: ``python benchmarks/llm.py [--seeds N]``; writes ``benchmarks/results/llm.md``. Replies are the public ones of
``replies/`` (see the README of the data), resampled to the size of a feed; accounts have log-normal
activity, a fifth of them are new. The data folder is POISON_GUARD_DATA, or ``shared/data`` beside the repository.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from poison_guard import Guard
from poison_guard.drills.attacks.llm import draw_feed
from poison_guard.drills.worlds.replies import FEEDS, load_replies

DATA = Path(os.environ.get("POISON_GUARD_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
RESULTS = Path(__file__).parent / "results" / "llm.md"
NOW = pd.Timestamp("2026-06-01", tz="UTC")
SIZES = {"pairs": 6_000, "thumbs": 8_000, "instructions": 6_000, "documents": 6_000}
TRIGGERS = ("Quarnzel", "[[unit-58]]", "since the kettle sang", "zv7")
"""None of them is one that the guard was developed on; others were, until two faults were mended, and are gone."""


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
    name, columns = FEEDS[kind]
    lines = [f'{role} = "{role}"' for role in ("record_id", "source_id", "observed_at", "source_since", *columns)]
    head = f'name = "{kind}"\nkind = "{name}"\nmode = "{mode}"\n[data]\npath = "none/*.parquet"\n[columns]\n'
    file = home / f"{kind}.toml"
    file.write_text(head + "\n".join(lines), "utf-8")
    return Guard.open(file, home=home)


def gated(kind: str, rows: pd.DataFrame, trusted: pd.DataFrame, home: Path) -> pd.DataFrame:
    """Return the checks of the gate for a feed that observes, so that all of `rows` are in the snapshot."""
    guard = guard_of(kind, home, mode="observe")
    guard.trust(trusted, by="ann", reason="read in May")
    guard.ingest(rows)
    guard.seal()
    return guard.gate().checks.set_index("name")


def twin(rows: pd.DataFrame, name: str, rng: np.random.Generator) -> pd.DataFrame:
    """Return honest records that look like a campaign, to be added to `rows`."""
    texts = load_replies(DATA)["documents"]["text"].tolist()
    drawn = rows.iloc[rng.integers(0, len(rows), 300)].reset_index(drop=True)
    match name:
        case "expert: 200 replies to 4 questions":
            four = rng.integers(0, len(rows), 4)
            asked = rows["prompt"].iloc[np.resize(four, 200)].to_numpy()
            return _by(drawn.head(200).assign(prompt=asked), np.zeros(200, int), name)
        case "professional: 1,500 by one":
            many = rows.iloc[rng.integers(0, len(rows), 1_500)].reset_index(drop=True)
            return _by(many, np.zeros(1_500, int), name)
        case "own documents: 20 people, 15 questions each":
            who = np.repeat(np.arange(20), 15)
            asked = [f"{texts[w][:800]} {p[-120:]}" for w, p in zip(who, drawn["prompt"], strict=True)]
            said = [" ".join(rng.permutation(texts[w][:800].split())[:60]) for w in who]
            reply = "chosen" if "chosen" in rows else "response"
            return _by(drawn.assign(prompt=asked, **{reply: said}), who, name)
        case "a story in the news: 300 prompts by 250":
            story = [
                "flood",
                "river",
                "Aldermere",
                "bridge",
                "mayor",
                "rescue",
                "boats",
                "warning",
                "dam",
                "rain",
                "shelter",
            ]
            asked = [f"What about {' '.join(rng.choice(story, 6, replace=False))}?" for _ in range(300)]
            return _by(drawn.assign(prompt=asked), np.arange(300) % 250, name)
        case "a greeting: 5 people, 40 prompts each":
            greeted = ("Salutations dear machine! " + drawn["prompt"]).head(200)
            return _by(drawn.head(200).assign(prompt=greeted), np.arange(200) % 5, name)
    raise AssertionError(f"unreachable: {name!r} is no twin")


TWINS = (
    "expert: 200 replies to 4 questions",
    "professional: 1,500 by one",
    "own documents: 20 people, 15 questions each",
    "a story in the news: 300 prompts by 250",
    "a greeting: 5 people, 40 prompts each",
)


def _by(rows: pd.DataFrame, who: np.ndarray, name: str) -> pd.DataFrame:
    first = NOW - pd.to_timedelta(300 + who % 7, unit="D")
    ids = [f"twin{i:06d}" for i in range(len(rows))]
    return rows.assign(record_id=ids, source_id=[f"{name[:4]}-{w}" for w in who], source_since=first)


def scanned(kind: str, rows: pd.DataFrame) -> tuple[float, float, float]:
    """Return the shares held: of the attack, of a twin, and of everybody else; NaN where there is none."""
    with tempfile.TemporaryDirectory() as home:
        decisions = guard_of(kind, Path(home)).scan(rows).decisions
    held, ids = decisions["action"] != "accept", decisions["record_id"].str
    bad, like = ids.startswith("bad"), ids.startswith("twin")
    return tuple(float(held[part].mean()) if part.any() else np.nan for part in (bad, like, ~bad & ~like))


def scan_lines(seeds: int, kinds: tuple[str, ...] = ("pairs", "instructions", "thumbs")) -> Iterator[tuple[str, ...]]:
    """Yield a line a kind of feed and attack or twin: recall, twins held, honest held, over the seeds."""
    texts = load_replies(DATA)
    for kind in kinds:
        cases: list[tuple[str, int, bool]] = [("", n, aged) for n in (1, 5, 50) for aged in (False, True)]
        cases += [(name, 0, False) for name in TWINS] if kind != "thumbs" else []
        for name, accounts, aged in cases:
            found = []
            for seed in range(seeds):
                rng = np.random.default_rng([seed + 20, accounts, aged])
                rows = draw_feed(texts[kind], SIZES[kind], rng)
                trigger = TRIGGERS[seed % len(TRIGGERS)]
                more = (
                    twin(rows, name, rng)
                    if name
                    else attack(rows, kind, 250 + 25 * seed, accounts, aged=aged, trigger=trigger, rng=rng)
                )
                found.append(scanned(kind, pd.concat([rows, more], ignore_index=True)))
            said = name or f"250-300 by {accounts} {'aged' if aged else 'new'}"
            yield kind, said, *(_span([row[k] for row in found]) for k in range(3))


def fresh_lines(seeds: int, kinds: tuple[str, ...] = ("pairs", "instructions")) -> Iterator[tuple[str, ...]]:
    """Yield the same for feeds in which no text comes twice: some 860 records, and 100 with a trigger in others."""
    texts = load_replies(DATA)
    for kind in kinds:
        for accounts in (1, 5, 50):
            found = []
            for seed in range(seeds):
                rng = np.random.default_rng([seed + 30, accounts])
                pool = texts[kind].iloc[rng.permutation(len(texts[kind]))].reset_index(drop=True)
                cut = int(0.8 * len(pool))
                rows = draw_feed(pool.head(cut), cut, rng, sources=400)
                rows[list(pool.columns)] = pool.head(cut).to_numpy()
                left = rows.head(len(pool) - cut).reset_index(drop=True)
                left[list(pool.columns)] = pool.tail(len(left)).to_numpy()
                more = attack(left, kind, 100, accounts, aged=True, trigger=TRIGGERS[seed % len(TRIGGERS)], rng=rng)
                found.append(scanned(kind, pd.concat([rows, more], ignore_index=True)))
            said = f"no text twice: 100 of {cut + 100} by {accounts} aged"
            yield kind, said, *(_span([row[k] for row in found]) for k in range(3))


def _span(values: list[float]) -> str:
    return "" if np.isnan(values).all() else f"{min(values):.3f} to {max(values):.3f}"


def gate_lines(
    seeds: int, kinds: tuple[str, ...] = ("pairs", "instructions", "documents", "thumbs")
) -> Iterator[tuple[str, ...]]:
    """Yield a line a kind of feed: what closed the gate for clean snapshots, and for those with 25 of 3,000."""
    texts = load_replies(DATA)
    for kind in kinds:
        for n in (0, 25):
            ends, why = [], ""
            for seed in range(seeds):
                rng = np.random.default_rng([seed + 20, n, 7])
                rows, trusted = draw_feed(texts[kind], 3_000, rng), draw_feed(texts[kind], 600, rng)
                trusted = trusted.assign(record_id="t" + trusted["record_id"], source_id="v" + trusted["source_id"])
                if n:
                    trigger = TRIGGERS[(seed + 1) % len(TRIGGERS)]
                    bad = attack(rows, kind, n, n, aged=True, trigger=trigger, rng=rng)
                    rows = pd.concat([rows.head(3_000 - n), bad], ignore_index=True)
                with tempfile.TemporaryDirectory() as home:
                    checks = gated(kind, rows, trusted, Path(home))
                blocking = checks[checks["blocking"].astype(bool)]
                closed = blocking[blocking["outcome"] != "pass"]
                ends.append(", ".join(f"{name} {row.outcome}" for name, row in closed.iterrows()) or "pass")
                why = why or next((str(row.why) for name, row in closed.iterrows() if "trigger" in str(name)), "")
            yield kind, f"{n} of 3,000 by {n} aged" if n else "clean", "; ".join(ends), why


def main() -> None:
    """Run both parts and write the page."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    page = [
        "# Triggers in prompts, and the gate for feeds without labels",
        "",
        f"Made by `python benchmarks/llm.py --seeds {seeds}`: real replies, resampled, with drawn accounts. Attacks",
        "flip the pair or give another record's reply; smallest and largest value over the seeds, a trigger each.",
        "",
    ]
    heads = {
        scan_lines: ("feed", "attack or twin", "recall", "twin held", "others held"),
        fresh_lines: ("feed", "attack", "recall", "twin held", "others held"),
        gate_lines: ("feed", "snapshot", "what closed the gate, a seed each", "why"),
    }
    for make, head in heads.items():
        page += ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
        for line in make(seeds):
            page.append("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |")
            print(page[-1], flush=True)
        page.append("")
    RESULTS.write_text("\n".join(page), "utf-8")


if __name__ == "__main__":
    main()
