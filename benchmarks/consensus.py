"""What the consensus is worth: accuracy and calibration beside crowd-kit, free text, speed, memory, 100M answers.

    python benchmarks/consensus.py [crowds thinned calibration made text scale stream stream:20000000]

Sections named are measured again and put into the committed results. All but `made`, `scale` and `stream` read the
folder in `POISON_GUARD_DATA`; all but `calibration`, `scale` and `stream` need crowd-kit (`make install
EXTRAS=dev,bench`).
"""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from consensus_worlds import MADE, World, big, made, real

from poison_guard.signals.sources import consensus
from poison_guard.signals.sources.batches import Statistics, update
from poison_guard.signals.sources.text_medoid import edit_distances, split_words

RESULTS = Path(__file__).parent / "results" / "consensus.md"
REAL = ("duck", "product", "rte")
OURS, PEERS = ("auto", "majority", "one_coin", "dawid_skene"), ("MV", "one-coin", "DS", "MACE")
SEEDS = 3


def peers(frame: pd.DataFrame) -> list[pd.Series]:
    from crowdkit.aggregation import MACE, DawidSkene, MajorityVote, OneCoinDawidSkene

    given = frame.set_axis(["task", "worker", "label"], axis=1)
    models = (MajorityVote(), OneCoinDawidSkene(n_iter=100), DawidSkene(n_iter=100), MACE(random_state=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [model.fit_predict(given) for model in models]


def accuracies(world: World) -> np.ndarray:
    frame, truth = world
    truth = truth[truth.index.isin(frame["item_id"])]
    found = [consensus(frame, model=m).items.set_index("item_id")["answer"] for m in OURS] + peers(frame)
    return np.array([100 * (f.reindex(truth.index) == truth).mean() for f in found])


def table(worlds: dict[str, Callable[[int], World]], seeds: int) -> list[str]:
    """Return rows of mean accuracies, the best peer's margin and the standard error of an accuracy."""
    head = ["", *OURS, *(f"crowd-kit {p}" for p in PEERS), "auto − best peer", "one standard error"]
    lines, rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"], []
    for name, make in worlds.items():
        runs = np.array([accuracies(make(seed)) for seed in range(seeds)])
        mean, size = runs.mean(0), make(0)[1].size
        best = mean[len(OURS) :].max()
        error = 100 * np.sqrt(best / 100 * (1 - best / 100) / size)
        lines.append(f"| {name} | {' | '.join(f'{x:.2f}' for x in mean)} | {mean[0] - best:+.2f} | {error:.2f} |")
        print(lines[-1], flush=True)
        rows.append(mean)
    mean = np.mean(rows, axis=0)
    gap = f"{mean[0] - mean[len(OURS) :].max():+.2f}"
    return [*lines, f"| **mean** | {' | '.join(f'**{x:.2f}**' for x in mean)} | {gap} | |"]


def crowds() -> list[str]:
    return table({name: lambda _, n=name: real(n) for name in REAL}, 1)


def thinned() -> list[str]:
    thin = {
        f"{n}, {a} answers an item": lambda seed, n=n, a=a: real(n, a, seed)
        for n, a in (("duck", 20), ("duck", 10), ("duck", 5), ("product", 2), ("rte", 7), ("rte", 5), ("rte", 3))
    }
    return [f"Mean of {SEEDS} draws.", "", *table(thin, SEEDS)]


def made_crowds() -> list[str]:
    lines = table({name: lambda seed, p=p: made(seed, **p) for name, p in MADE.items()}, SEEDS)  # pyrefly: ignore
    return [f"Mean of {SEEDS} seeds; 600 items, 60 people, 5 answers an item and 4 classes unless named.", "", *lines]


def calibration() -> list[str]:
    """Return the expected calibration error (10 bins) and the curve: what was said, what was true."""
    lines = [
        "| set | items | mean probability | accuracy | ECE | log loss | said → true (items), by tenth |",
        "|---" * 7 + "|",
    ]
    for name, answers in (*((n, None) for n in REAL), ("duck", 5), ("product", 2), ("rte", 5), ("rte", 3)):
        frame, truth = real(name, answers)
        items = consensus(frame).items.set_index("item_id")
        items = items[items.index.isin(truth.index)]
        right = (items["answer"] == truth.reindex(items.index)).to_numpy()
        p = items["probability"].to_numpy()
        tenth = np.minimum((10 * p).astype(int), 9)
        bins = [(p[tenth == b].mean(), right[tenth == b].mean(), int((tenth == b).sum())) for b in np.unique(tenth)]
        ece = sum(n * abs(said - true) for said, true, n in bins) / len(p)
        loss = -np.log(np.where(right, p, 1 - p).clip(1e-6)).mean()
        curve = ", ".join(f"{said:.2f} → {true:.2f} ({n})" for said, true, n in bins)
        title = name if answers is None else f"{name}, {answers} answers an item"
        lines.append(f"| {title} | {len(p)} | {p.mean():.3f} | {right.mean():.3f} | {ece:.3f} | {loss:.3f} | {curve} |")
    return lines


def word_errors(chosen: pd.Series, truth: pd.Series) -> float:
    codes: dict[str, int] = {}
    texts = [
        np.array([codes.setdefault(w, len(codes)) for w in split_words(str(text))], np.int32)
        for text in [*chosen.reindex(truth.index), *truth]
    ]
    n = len(truth)
    longest = np.array([max(len(texts[i]), len(texts[i + n]), 1) for i in range(n)])
    edits = edit_distances(texts, np.arange(n), np.arange(n) + n) * longest
    return 100 * edits.sum() / sum(len(text) for text in texts[n:])


def text() -> list[str]:
    from crowdkit.aggregation import ROVER

    frame, truth = real("speech-dev-clean")
    lines = ["| chosen by | word error rate, % | CPU s |", "|---|---|---|"]
    for model in ("auto", "majority", "one_coin"):
        start = time.process_time()
        result = consensus(frame, model=model)
        used = f"{model} ({result.model})" if model == "auto" else model
        rate = word_errors(result.items.set_index("item_id")["answer"], truth)
        lines.append(f"| {used} | {rate:.2f} | {time.process_time() - start:.2f} |")
    plain = frame.assign(answer=[" ".join(split_words(a)) for a in frame["answer"]])
    same = consensus(plain, model="majority").items.set_index("item_id")["answer"]
    lines.append(f"| majority, case and punctuation folded | {word_errors(same, truth):.2f} | |")
    start = time.process_time()
    rover = ROVER(tokenizer=str.split, detokenizer=" ".join).fit_predict(
        plain.set_axis(["task", "worker", "text"], axis=1)
    )
    lines.append(f"| crowd-kit ROVER, folded | {word_errors(rover, truth):.2f} | {time.process_time() - start:.1f} |")
    return lines


def scale() -> list[str]:
    """Return CPU seconds (best of five), accuracy and memory over the input, each in a process of its own."""
    lines = ["| model | CPU s | accuracy, % | memory over the input, MB |", "|---|---|---|---|"]
    kept = f"{tempfile.mkdtemp()}/answers.parquet"
    frame, truth = big(1_000_000, 0)
    frame.assign(truth=truth.reindex(frame["item_id"]).to_numpy()).to_parquet(kept)
    for model in ("auto", "one_coin", "majority", "dawid_skene"):
        done = subprocess.run(
            [sys.executable, __file__, "one", model, kept], capture_output=True, text=True, check=True
        )
        lines.append(f"| {model} {done.stdout.strip()}")
    return lines


def one(model: str, path: str) -> None:
    table = pd.read_parquet(path)
    truth = table.drop_duplicates("item_id").set_index("item_id")["truth"]
    frame = table.drop(columns="truth")
    consensus(frame.head(1000), model=model)
    before, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for _ in range(5):
        start = time.process_time()
        result = consensus(frame, model=model)
        seconds.append(time.process_time() - start)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    right = 100 * (result.items.set_index("item_id")["answer"] == truth.reindex(result.items["item_id"])).mean()
    used = f"({result.model}) " if model == "auto" else ""
    print(f"{used}| {min(seconds):.2f} | {right:.2f} | {memory:.0f} |")


def stream(rows: int = 100_000_000, batch: int = 1_000_000) -> list[str]:
    """Return what `rows` answers cost batch by batch, a fifth of each batch late by one."""
    stats, late, right, seen, spent, peak = Statistics(), None, 0, 0, 0.0, []
    known = pd.Series(dtype="str")
    for number in range(rows // batch):
        frame, truth = big(batch, number, number * (batch // 5), named=False)
        now, later = frame.iloc[: batch * 4 // 5], frame.iloc[batch * 4 // 5 :]
        start = time.process_time()
        stats = update(stats, now if late is None else pd.concat([late, now], ignore_index=True))
        spent += time.process_time() - start
        known = pd.concat([known, truth]).iloc[-12 * (batch // 5) :]
        right += int((stats.settled["answer"].to_numpy() == known.reindex(stats.settled["item_id"]).to_numpy()).sum())
        seen, late = seen + len(stats.settled), later
        peak.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    tenth = peak[len(peak) // 10]
    return [
        f"{rows:,} answers to {rows // 5:,} items by 20,000 sources in batches of {batch:,}, a fifth of each late by",
        f"one: {spent:.0f} CPU-s ({rows / spent / 1e6:.2f}M answers/s), {100 * right / seen:.2f} % of the",
        f"{seen:,} settled items right; {len(stats.open):,} answers still open. Peak memory of the process",
        f"{tenth:.0f} MB after a tenth, {peak[-1]:.0f} MB at the end.",
    ]


SECTIONS: dict[str, tuple[str, Callable[..., list[str]]]] = {
    "crowds": ("Real crowds: accuracy, %", crowds),
    "thinned": ("Real crowds thinned out: accuracy, %", thinned),
    "calibration": ("Calibration on real crowds (auto)", calibration),
    "made": ("Made crowds: accuracy, %", made_crowds),
    "text": ("Free text: 2,703 recordings, 748 people (speech-dev-clean)", text),
    "scale": ("1M answers, 200k items, 20k sources, 4 classes, ids as text", scale),
    "stream": ("Batch by batch", stream),
}


def main(names: list[str]) -> None:
    for name in names or list(SECTIONS):
        section, _, size = name.partition(":")
        title, measure = SECTIONS[section]
        lines = "\n".join(measure(int(size)) if size else measure())
        print(lines, flush=True)
        before = RESULTS.read_text() if RESULTS.exists() else ""
        parts = dict(re.findall(r"^## (.*?)\n\n(.*?)\n*(?=^## |\Z)", before, flags=re.MULTILINE | re.DOTALL))
        parts[title] = lines
        body = "\n\n".join(f"## {t}\n\n{parts[t]}" for t, _ in SECTIONS.values() if t in parts)
        about = "`python benchmarks/consensus.py`; one thread, a machine shared with others."
        RESULTS.write_text(f"# Consensus\n\n{about}\n\n{body}\n")


if __name__ == "__main__":
    one(*sys.argv[2:4]) if sys.argv[1:2] == ["one"] else main(sys.argv[1:])
