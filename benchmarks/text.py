"""Near-duplicate text: recall on edited tweets, honest look-alikes, speed, memory of a long stream, hostile input.

    python benchmarks/text.py [PART …]      parts: tweets paraphrases days twins drills speed stream hostile content

Needs `messages/tweets-davidson.csv` in the folder POISON_GUARD_DATA. Each part prints its table; all are written
to results/text.md when no part is named.
"""

from __future__ import annotations

import functools
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from poison_guard.drills.attacks import messages as drills
from poison_guard.drills.world import World
from poison_guard.drills.worlds.phrases import edit_words
from poison_guard.signals.campaigns import near_duplicate_text, sketch_text
from poison_guard.signals.campaigns.minhash import sketch

ALPHA, SEEDS = 0.001, range(5)
RESULTS = Path(__file__).parent / "results" / "text.md"
DATA = Path(os.environ.get("POISON_GUARD_DATA", Path(__file__).parents[2] / "shared" / "data")) / "messages"
START = pd.Timestamp("2025-03-01", tz="UTC")
DAY = 86400.0


@functools.cache
def tweets() -> pd.DataFrame:
    return pd.read_csv(DATA / "tweets-davidson.csv")


@functools.cache
def words_of(n: int) -> list[str]:
    return sorted({word for text in tweets()["tweet"].head(n) for word in text.split()})


def board(
    texts: list[str], rng: np.random.Generator, prefix: str, age: np.ndarray, seconds: np.ndarray
) -> pd.DataFrame:
    """One message a text, each by its own speaker."""
    at = pd.Series(START + pd.to_timedelta(seconds, unit="s"))
    names = [f"{prefix}{k}" for k in range(len(texts))]
    since = at - pd.to_timedelta(age, unit="D")
    return pd.DataFrame({"record_id": names, "speaker": names, "observed_at": at, "source_since": since, "text": texts})


def hidden(seed: int, rate: float, *, least: int = 8, aged: float = 0.0, hours: float = 1.0) -> pd.DataFrame:
    """20 campaigns x 50 copies at a word-edit rate among all tweets of 30 days, 15 % of honest accounts new."""
    rng = np.random.default_rng(seed)
    texts = tweets()["tweet"].tolist()
    vocabulary = words_of(5000)
    origins = [k for k in rng.permutation(len(texts)) if len(texts[k].split()) >= least][:20]
    copies = [edit_words(rng, texts[k], rate, vocabulary, {}) for k in origins for _ in range(50)]
    old = rng.random(1000) < aged
    age = np.where(old, rng.uniform(31, 1000, 1000), rng.uniform(0, 20, 1000))
    at = np.repeat(rng.uniform(0, 30 * DAY - hours * 3600, 20), 50) + rng.uniform(0, hours * 3600, 1000)
    n = len(texts)
    honest = np.where(rng.random(n) < 0.15, rng.uniform(0, 25, n), rng.uniform(31, 1000, n))
    clean = board(texts, rng, "r", honest, rng.uniform(0, 30 * DAY, n))
    return pd.concat([clean, board(copies, rng, "c", age, at)], ignore_index=True)


def taken(frame: pd.DataFrame, earlier: tuple[pd.DataFrame, np.ndarray] | None = None) -> set[str]:
    found = near_duplicate_text(frame, sketch_text(frame["text"]), alpha=ALPHA, earlier=earlier)
    return {name for campaign in found for name in campaign.record_ids + campaign.earlier_ids}


def told(values: list[float]) -> str:
    """Mean, worst of the seeds' range, and a 95 % interval of the mean (Student's t, 4 degrees of freedom)."""
    half = 2.776 * np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return f"{np.mean(values):.4f} ± {half:.4f}"


def part_tweets() -> Iterator[str]:
    yield "| word edits | campaigns | recall | worst | clean flagged | worst |\n|---|---|---|---|---|---|"
    kinds: dict[str, dict[str, float]] = {
        "of 8 words or more, 1 h": {},
        "of any length, 1 h": {"least": 1},
        "half of the accounts aged": {"aged": 0.5},
        "over 20 days": {"hours": 480.0},
    }
    for name, options in kinds.items():
        for rate in (0.1, 0.3, 0.5):
            recall, clean = [], []
            for seed in SEEDS:
                frame = hidden(seed, rate, **options)
                held = frame["record_id"].isin(taken(frame)).to_numpy()
                recall.append(held[-1000:].mean())
                clean.append(held[:-1000].mean())
            figures = f"{told(recall)} | {min(recall):.3f} | {told(clean)} | {max(clean):.4f}"
            yield f"| {rate:.0%} | {name} | {figures} |"


def paraphrased(rng: np.random.Generator, text: str, rate: float, vocabulary: list[str]) -> str:
    """Return `text` with that share of its words replaced by others, a typo in a tenth, and its halves exchanged."""
    words = [vocabulary[rng.integers(len(vocabulary))] if rng.random() < rate else word for word in text.split()]
    words = [_mistyped(rng, word) if rng.random() < 0.1 else word for word in words]
    cut = int(rng.integers(1, len(words)))
    return " ".join(words[cut:] + words[:cut])


def _mistyped(rng: np.random.Generator, word: str) -> str:
    if len(word) < 4:
        return word
    at = int(rng.integers(1, len(word) - 1))
    a, b, rest = word[at], word[at + 1], word[at + 2 :]
    return word[:at] + (b + a + rest, b + rest, a + a + b + rest)[rng.integers(3)]


def part_paraphrases() -> Iterator[str]:
    """20 campaigns x 50 copies of messages of 8 words or more, by new accounts within an hour."""
    yield "| words replaced | recall | worst | clean flagged | worst |\n|---|---|---|---|---|"
    texts, vocabulary = tweets()["tweet"].tolist(), words_of(5000)
    for rate in (0.2, 0.5):
        recall, clean = [], []
        for seed in SEEDS:
            rng = np.random.default_rng([seed, 77])
            origins = [k for k in rng.permutation(len(texts)) if len(texts[k].split()) >= 8][:20]
            copies = [paraphrased(rng, texts[k], rate, vocabulary) for k in origins for _ in range(50)]
            at = np.repeat(rng.uniform(0, 30 * DAY - 3600, 20), 50) + rng.uniform(0, 3600, 1000)
            n = len(texts)
            age = np.where(rng.random(n) < 0.15, rng.uniform(0, 25, n), rng.uniform(31, 1000, n))
            crowd = board(texts, rng, "r", age, rng.uniform(0, 30 * DAY, n))
            frame = pd.concat([crowd, board(copies, rng, "c", rng.uniform(0, 20, 1000), at)], ignore_index=True)
            held = frame["record_id"].isin(taken(frame)).to_numpy()
            recall.append(held[-1000:].mean())
            clean.append(held[:-1000].mean())
        yield f"| {rate:.0%} | {told(recall)} | {min(recall):.3f} | {told(clean)} | {max(clean):.4f} |"


def part_days() -> Iterator[str]:
    """The campaign over 20 days, a batch a day, earlier days remembered (at most 100,000 newest records)."""
    yield "| word edits | held when it came | held or taken back by the end | clean | worst |\n|---|---|---|---|---|"
    for rate in (0.1, 0.3, 0.5):
        first, last, clean = [], [], []
        for seed in SEEDS:
            frame = hidden(seed, rate, hours=480.0)
            at_once, ever = set[str](), set[str]()
            past: tuple[pd.DataFrame, np.ndarray] | None = None
            for _, batch in frame.groupby(frame["observed_at"].dt.floor("D"), sort=True):
                found = taken(batch, past)
                at_once |= found & set(batch["record_id"])
                ever |= found
                sketches = sketch_text(batch["text"])
                past = (batch, sketches) if past is None else (
                    pd.concat([past[0], batch]).iloc[-100_000:], np.concatenate([past[1], sketches])[-100_000:]
                )  # fmt: skip
            pushed = frame["record_id"].iloc[-1000:]
            first.append(pushed.isin(at_once).mean())
            last.append(pushed.isin(ever).mean())
            clean.append(frame["record_id"].iloc[:-1000].isin(ever).mean())
        yield f"| {rate:.0%} | {told(first)} | {told(last)} | {told(clean)} | {max(clean):.4f} |"


def judge(world: World) -> tuple[float, float, float]:
    """Attack recall (NaN without one), and the share of the watched and of all honest messages held."""
    frame = pd.DataFrame({role: world.role(role) for role in world.columns}).rename(columns={"source_id": "speaker"})
    held = frame["record_id"].isin(taken(frame)).to_numpy()
    attack, watched = world.truth["attack"].to_numpy(bool), frame["record_id"].isin(world.params["watched"]).to_numpy()
    return held[attack].mean() if attack.any() else np.nan, held[watched].mean(), held[~attack].mean()


def table(makers: list[tuple[str, Callable[..., World], dict[str, object]]], *, attack: bool) -> Iterator[str]:
    what = "attack recall" if attack else "of the look-alikes held"
    yield f"| drill | on | {what} | worst | honest held | worst |\n|---|---|---|---|---|---|"
    real = {"base": tweets()["tweet"], "messages": 25_000, "authors": 9000}
    for name, make, params in makers:
        for on, more in (("synthetic", {}), ("tweets", real)):
            figures = np.array([judge(make(seed, **params, **more)) for seed in SEEDS])
            mine = figures[:, 0 if attack else 1]
            worst = mine.min() if attack else mine.max()
            rest = f"{told(list(figures[:, 2]))} | {figures[:, 2].max():.4f}"
            yield f"| {name} | {on} | {told(list(mine))} | {worst:.3f} | {rest} |"


def part_twins() -> Iterator[str]:
    repeat, clean = drills.make_repeat_after_me_twin, drills.make_clean_abuse_twin
    yield from table(
        [
            ("viral meme", drills.make_viral_meme, {}),
            ("20 memes x 50 copies", repeat, {}),
            ("the same, polite wording", clean, {}),
            ("flash crowd, 70 % new accounts", drills.make_flash_crowd, {}),
            ("flash crowd, 95 % new", drills.make_flash_crowd, {"new": 0.95}),
            ("flash crowd, four in ten copy a slogan", drills.make_flash_crowd, {"slogan": 0.4}),
            ("flash crowd, half of it copies a slogan", drills.make_flash_crowd, {"slogan": 0.5}),
            ("dialect", drills.make_dialect, {}),
            ("pasted document", drills.make_pasted_document, {}),
            ("pasted document, 30 % new accounts", drills.make_pasted_document, {"new": 0.3}),
        ],
        attack=False,
    )


def part_drills() -> Iterator[str]:
    repeat, clean = drills.make_repeat_after_me, drills.make_clean_abuse
    grid: list[dict[str, object]] = [{"mutation": m} for m in (0.04, 0.15, 0.4)]
    grid += [{"aged": 0.5}, {"aged": 1.0}, {"hours": 100.0}, {"copies": 10}]
    named = [(f"repeat after me, {', '.join(f'{k} {v}' for k, v in p.items())}", repeat, p) for p in grid]
    yield from table([*named, ("abuse in polite words", clean, {})], attack=True)


def invented(rng: np.random.Generator, n: int, words: np.ndarray) -> list[str]:
    picks = words[(rng.random(n * 14) ** 2 * len(words)).astype(int)].reshape(n, 14)
    return [" ".join(row) for row in picks]


def part_speed() -> Iterator[str]:
    yield "CPU time of one thread, best of three; sketches can be made on as many cores as there are.\n"
    yield "| messages | sketch, µs each | search, µs each | messages/s, one core |\n|---|---|---|---|"
    real = tweets()["tweet"]
    rng = np.random.default_rng(0)
    more = invented(rng, 200_000, np.array(words_of(30_000)))
    for name, texts in (("24,783 tweets", real.tolist()), ("200,000 of 14 of their words", more)):
        n = len(texts)
        frame = board(texts, rng, "r", rng.uniform(0, 1000, n), rng.uniform(0, 30 * DAY, n))
        best = np.inf, np.inf
        for _ in range(3):
            begin = time.process_time()
            sketches = sketch_text(frame["text"])
            between = time.process_time()
            near_duplicate_text(frame, sketches, alpha=ALPHA)
            best = min(best[0], between - begin), min(best[1], time.process_time() - between)
        yield f"| {name} | {best[0] / n * 1e6:.1f} | {best[1] / n * 1e6:.1f} | {n / sum(best):,.0f} |"


def part_stream(total: int = 5_000_000, batch: int = 50_000, window: int = 100_000) -> Iterator[str]:
    yield f"Batches of {batch:,}, the newest {window:,} messages remembered.\n"
    yield "| messages so far | resident MB | messages/s so far, one core, making them left out |\n|---|---|---|"
    words, rng = np.array(words_of(30_000)), np.random.default_rng(0)
    past: tuple[pd.DataFrame, np.ndarray] | None = None
    spent = 0.0
    for start in range(0, total, batch):
        age, seconds = rng.uniform(0, 1000, batch), start / batch * DAY + rng.uniform(0, DAY, batch)
        frame = board(invented(rng, batch, words), rng, f"b{start}-", age, seconds)
        begin = time.process_time()
        sketches = sketch_text(frame["text"])
        frame = frame.drop(columns="text")
        near_duplicate_text(frame, sketches, alpha=ALPHA, earlier=past)
        if past is None:
            past = frame, sketches
        else:
            past = pd.concat([past[0], frame]).iloc[-window:], np.concatenate([past[1], sketches])[-window:]
        spent += time.process_time() - begin
        done = start + batch
        if done in (500_000, 1_000_000, 2_000_000, 3_000_000, 4_000_000, total):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            yield f"| {done:,} | {pages * resource.getpagesize() / 2**20:,.0f} | {done / spent:,.0f} |"


def part_hostile() -> Iterator[str]:
    yield "| 200 messages, each | sketch, ms each |\n|---|---|"
    marks = "a" + "\u0301" * 999_999
    cases = {
        "1,000,000 letters": "x" * 1_000_000,
        "1,000,000 one-letter words": "a " * 500_000,
        "1,000,000 combining marks": marks,
        "1,000,000 of the longest ligature": "\ufdfa" * 1_000_000,
        "4,000 different characters": "".join(map(chr, range(0x4E00, 0x4E00 + 4000))),
        "4,000 different words": " ".join(f"w{k:x}q" for k in range(4000)),
    }
    for name, text in cases.items():
        begin = time.process_time()
        sketch([text] * 200)
        yield f"| {name} | {(time.process_time() - begin) * 5:.2f} |"


def part_content() -> Iterator[str]:
    from sklearn.metrics import roc_auc_score

    from poison_guard.signals.content import ContentModel, toxicity

    frame = tweets()
    rude = (frame["class"] < 2).to_numpy()
    rng = np.random.default_rng(0)
    leet = str.maketrans("aeios", "43!0$")
    plain = frame["tweet"].tolist()
    disguised = [" ".join(w.translate(leet) if rng.random() < 0.5 else w for w in t.split()) for t in plain]
    yield "| tweets (the classifier was made on them) | AUROC |\n|---|---|"
    yield f"| as they are | {roc_auc_score(rude, toxicity(plain)):.3f} |"
    yield f"| half of the words in leetspeak | {roc_auc_score(rude, toxicity(disguised)):.3f} |"
    raid = drills.make_clean_abuse(0)
    polite = toxicity(raid.role("text").tolist())
    yield f"| abuse in polite words against everyday messages | {roc_auc_score(raid.truth['attack'], polite):.3f} |"
    held = []
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(frame))
        told = pd.DataFrame({"text": frame["tweet"].iloc[order]})
        model = ContentModel.fit(told.iloc[:600], roles=["text"], rate=0.01)
        held.append((model.evidence(told.iloc[600:3600]).p <= 0.01).mean())
    yield f"\nHonest messages held by content at a rate of .01, 600 trusted texts, 20 draws: {told_share(held)}."


def told_share(values: list[float]) -> str:
    return f"mean {np.mean(values):.4f}, worst {max(values):.4f}"


PARTS = {name.removeprefix("part_"): part for name, part in list(globals().items()) if name.startswith("part_")}
TITLES = {
    "tweets": "20 campaigns x 50 copies hidden in 24,783 tweets, 5 seeds",
    "paraphrases": "20 campaigns x 50 paraphrases: words replaced, halves exchanged, a typo in a tenth of the words",
    "days": "The same over 20 days, a batch a day",
    "twins": "Honest look-alikes, 5 seeds",
    "drills": "Drills 11 and 12 by the text finder alone, 5 seeds",
    "speed": "Speed",
    "stream": "A stream of 5,000,000 messages",
    "hostile": "Hostile messages",
    "content": "Content",
}


def main(names: list[str]) -> None:
    lines = ["# Near-duplicate text and content", "", "`python benchmarks/text.py`; means with 95 % intervals.", ""]
    for name in names or list(PARTS):
        lines += [f"## {TITLES[name]}", ""]
        for line in PARTS[name]():
            print(line, flush=True)
            lines += line.split("\n")
        lines.append("")
    if not names:
        RESULTS.write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
