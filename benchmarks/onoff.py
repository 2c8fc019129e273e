"""Measure how many records a source that turns bad gets accepted, against false alarms among the honest.

Usage: ``python benchmarks/onoff.py [--sources N] [--seeds N]``; writes ``benchmarks/results/onoff.md``. Sources answer
one record after the other; each is verified (all at once, some, or late) before the next is decided. A striker is right
at its honest rate for a while and then always wrong, or mostly. Honest sources answer 500 records. Peers in the same
run: a Beta reputation without and with forgetting, holding where its 5 % lower bound falls below a bar.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from poison_guard.config import Policy
from poison_guard.signals.pvalues import beta_low
from poison_guard.signals.sources.honest_sources import detect_changes

RESULTS = Path(__file__).parent / "results" / "onoff.md"
HONEST = (0.7, 0.8, 0.9, 0.95, 0.99)
BEFORE = (50, 200, 1000)
LENGTH = 500
AFTER = 60
"""Records after the strike that are looked at; one that is never held counts as all of them."""
LAST = 500
Statistic = Callable[[np.ndarray, range], np.ndarray]
"""Right answers ``(sources, time)`` and times to decide -> what is compared with a bar, large is suspicious."""


def guard(right: np.ndarray, times: range) -> np.ndarray:
    """Return -log p of `detect_changes` before each decision: what the guard knows then, the newest `LAST` answers."""
    sources = np.repeat(np.arange(len(right)), LAST)
    out = np.zeros((len(right), len(times)))
    for column, now in enumerate(times):
        seen = right[:, max(0, now - LAST) : now]
        if seen.shape[1]:
            frame = pd.DataFrame({"source_id": sources[: seen.size] if seen.shape[1] == LAST else
                                  np.repeat(np.arange(len(right)), seen.shape[1]), "right": seen.ravel()})  # fmt: skip
            out[:, column] = -np.log(detect_changes(frame).set_index("source_id")["p"].to_numpy())
    return out


def reputation(half_life: float) -> Statistic:
    """Return the peer: one less the 5 % lower bound of a Beta posterior that forgets by `half_life` answers."""
    keep = 0.5 ** (1 / half_life) if half_life else 1.0

    def statistic(right: np.ndarray, times: range) -> np.ndarray:
        good, bad = np.full(len(right), 4.0), np.ones(len(right))
        columns = {}
        for now in range(times.stop):
            if now in times:
                columns[now] = 1 - beta_low(good, bad)
            if now < right.shape[1]:
                good, bad = good * keep + right[:, now], bad * keep + ~right[:, now]
        return np.stack([columns[now] for now in times], axis=1)

    return statistic


PEERS: dict[str, Statistic] = {
    "Beta, no forgetting": reputation(0),
    "Beta, half-life 100": reputation(100),
    "Beta, half-life 25": reputation(25),
}


def accepted(held: np.ndarray) -> np.ndarray:
    """Return ``(sources,)`` records accepted after the strike before the first one is held."""
    return np.where(held.any(1), held.argmax(1), held.shape[1])


def alarms(held: np.ndarray) -> tuple[float, float]:
    """Return false alarms (times a source comes to be held) and records held, per 1,000 honest records."""
    begun = held & ~np.c_[np.zeros(len(held), bool), held[:, :-1]]
    return 1000 * begun.sum() / held.size, 1000 * held.mean()


def strikers(rng: np.random.Generator, n: int, honest: float, before: int, after: float) -> np.ndarray:
    return np.c_[rng.random((n, before)) < honest, rng.random((n, AFTER)) < after]


def interval(values: list[float]) -> str:
    """Return mean, worst and the normal 95 % interval of the mean over seeds."""
    mean, half = float(np.mean(values)), 1.96 * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return f"{mean:.2f} [{mean - half:.2f}, {mean + half:.2f}] | {max(values):.2f}"


def strike_rows(seeds: int, n: int) -> Iterator[str]:
    """Yield the table of the guard's default bar."""
    bar = math.log(1 / Policy().source_alpha)
    for honest in (0.8, 0.95):
        for after in (0.0, 0.2, 0.5):
            for before in BEFORE:
                means = []
                for seed in range(seeds):
                    right = strikers(np.random.default_rng([seed, before]), n, honest, before, after)
                    held = guard(right, range(before, before + AFTER)) >= bar
                    means.append(float(accepted(held).mean()))
                yield f"| {honest} | {before:,} | {after} | {interval(means)} |"


def honest_rows(seeds: int, n: int) -> Iterator[str]:
    bar = math.log(1 / Policy().source_alpha)
    for honest in HONEST:
        pairs = []
        for seed in range(seeds):
            right = np.random.default_rng([seed, 7]).random((n, LENGTH)) < honest
            pairs.append(alarms(guard(right, range(LENGTH)) >= bar))
        times, records = zip(*pairs, strict=True)
        yield f"| {honest} | {interval(list(times))} | {interval(list(records))} |"


def curve_rows(n: int) -> Iterator[str]:
    """Yield the curve: records accepted after the strike against false alarms, for bars of the guard and its peers."""
    rng = np.random.default_rng(1)
    calm = rng.random((n, LENGTH)) < 0.95
    bad = {before: strikers(rng, n, 0.95, before, 0.0) for before in BEFORE}
    for name, statistic in {"guard (CUSUM)": guard, **PEERS}.items():
        still = statistic(calm, range(LENGTH))
        struck = {before: statistic(right, range(before, before + AFTER)) for before, right in bad.items()}
        for bar in _bars(name, still):
            cells = " | ".join(f"{accepted(struck[before] >= bar).mean():.1f}" for before in BEFORE)
            times, records = alarms(still[:, BEFORE[0] :] >= bar)
            yield f"| {name} | {bar:.3g} | {times:.3f} | {records:.3f} | {cells} |"


def _bars(name: str, still: np.ndarray) -> list[float]:
    """Return the bars of a row: for the guard -log p, for peers those that hold a like number of honest records."""
    if name.startswith("guard"):
        return [math.log(1 / alpha) for alpha in (0.02, 0.005, 0.001, 0.0002, 0.00002)]
    return [float(np.quantile(still[:, 50:], 1 - share)) for share in (0.01, 0.001, 0.0003, 0.0001)]


def partly_rows(n: int) -> Iterator[str]:
    """Yield what is accepted when not every answer is verified, or only later."""
    bar = math.log(1 / Policy().source_alpha)
    for share in (1.0, 0.5, 0.2):
        for late in (0, 5, 20):
            cells = []
            for before in BEFORE:
                rng = np.random.default_rng([before, int(10 * share), late])
                cells.append(f"{np.mean([_partly(rng, before, share, late, bar) for _ in range(n)]):.1f}")
            yield f"| {share} | {late} | {' | '.join(cells)} |"


def _partly(rng: np.random.Generator, before: int, share: float, late: int, bar: float) -> int:
    """Return the records one striker gets accepted, of at most 300."""
    right = np.r_[rng.random(before) < 0.95, np.zeros(300, bool)]
    known = rng.random(len(right)) < share
    for now in range(before, len(right)):
        seen = right[: max(0, now - late)][known[: max(0, now - late)]][-LAST:]
        if len(seen) and -math.log(detect_changes(pd.DataFrame({"source_id": 0, "right": seen}))["p"].iloc[0]) >= bar:
            return now - before
    return 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    began = time.process_time()
    n, seeds = asked.sources, asked.seeds
    alpha = Policy().source_alpha
    text = [
        "# On and off: what a good record buys",
        "",
        f"`python benchmarks/onoff.py --sources {n} --seeds {seeds}`. {n:,} sources a seed; a source is held from p <= "
        f"{alpha:g} (`source_alpha`), which is the only threshold. Mean over seeds, 95 % interval of the mean, and the "
        "worst seed.",
        "",
        "## Records accepted after the strike (every answer verified before the next record)",
        "",
        "| right before | answers before | right after | accepted, mean | worst |",
        "|---|---|---|---|---|",
        *strike_rows(seeds, n),
        "",
        f"## False alarms of honest sources, per 1,000 records ({LENGTH} records a source, from the first on)",
        "",
        "| right | alarms, mean | worst | records held, mean | worst |",
        "|---|---|---|---|---|",
        *honest_rows(seeds, n),
        "",
        "## The curve, honest accuracy .95, strikes always wrong",
        "",
        "Bars of the guard: -log p. Peers hold where one less the 5 % lower bound is above the bar. False alarms are "
        f"those from the {BEFORE[0]}th record on: before that a bound without history holds everybody.",
        "",
        "| detector | bar | alarms per 1,000 | held per 1,000 | " + " | ".join(f"after {b:,}" for b in BEFORE) + " |",
        "|---|---|---|---|" + "---|" * len(BEFORE),
        *curve_rows(n),
        "",
        "## Verified in part, or late (accepted of at most 300, honest accuracy .95)",
        "",
        "| share verified | verified after so many more | " + " | ".join(f"after {b:,}" for b in BEFORE) + " |",
        "|---|---|" + "---|" * len(BEFORE),
        *partly_rows(20),
        "",
        f"{time.process_time() - began:.0f} CPU-s.",
    ]
    RESULTS.write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
