"""Measure the demo: ten seeds of the three worlds through `Guard.ingest`, the naive baseline beside, as a table."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from poison_guard import Guard
from poison_guard.drills.demo import shipped, trusted_path, write_world
from poison_guard.drills.scoreboard import score, score_baseline
from poison_guard.drills.worlds import WORLDS, make_world

RESULTS = Path(__file__).parent / "results" / "demo.md"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: a share, the counts behind it, and what the project promises."""

    name: str
    share: str
    part: str
    whole: str
    promise: str = ""
    good_is_high: bool = False

    def line(self, feed: str, runs: list[dict[str, Any]], naive: list[dict[str, Any]]) -> str | None:
        """Return the Markdown row, or None where the feed has no such figure."""
        shares = [run[self.share] for run in runs if run.get(self.share) is not None]
        if not shares:
            return None
        worst = min(shares) if self.good_is_high else max(shares)
        part, whole = (sum(run[key] for run in runs) for key in (self.part, self.whole))
        interval = binomtest(part, whole).proportion_ci(0.95, method="exact") if whole else (0.0, 1.0)
        others = [run[self.share] for run in naive if run.get(self.share) is not None]
        beside = f"{np.mean(others):.2%}" if others else "–"
        cells = (
            feed,
            self.name,
            f"{np.mean(shares):.2%}",
            f"{worst:.2%}",
            f"{interval[0]:.2%} – {interval[1]:.2%} of {whole:,}",
            self.promise,
            beside,
        )
        return f"| {' | '.join(cells)} |"


FIGURES = (
    Figure("attack recall", "attack_recall", "attack_held", "attack_records", "≥ 95 % mean", good_is_high=True),
    Figure("wrong labels adopted", "wrong_label_rate", "wrong_labels", "adopted_items", "≤ 1 %"),
    Figure(
        "honest held by record-level signals",
        "honest_held_by_record_rate",
        "honest_held_by_record",
        "rightly_labelled",
        "1 %, within its interval",
    ),
    Figure(
        "honestly mislabelled records held",
        "mislabelled_held_rate",
        "mislabelled_held",
        "mislabelled_records",
        good_is_high=True,
    ),
    Figure(
        "honest held by campaign signals", "honest_held_by_campaign_rate", "honest_held_by_campaign", "honest_records"
    ),
    Figure("honest held by their source", "honest_held_by_source_rate", "honest_held_by_source", "honest_records"),
    Figure("honest held, all reasons", "honest_held_rate", "honest_held", "honest_records"),
    Figure(
        "honest sources blocked", "honest_sources_blocked_rate", "honest_sources_blocked", "honest_sources", "≤ 2 %"
    ),
)


def measure(feed: str, seed: int, home: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the guard's figures and the baseline's of one world, ingested as a user would."""
    world = make_world(feed, seed)
    write_world(world, home)
    guard = Guard.open(shipped("feeds", f"{feed}.toml"), home=home)
    guard.trust(str(trusted_path(home, feed)), by="benchmark", reason="the world's vetted records")
    begun = _cpu()
    result = guard.ingest()
    seconds = _cpu() - begun
    policy = guard.contract.policy
    figures = score(world, result.decisions, result.items, result.sources, result.evidence, policy=policy)
    return figures | {"seconds": seconds}, score_baseline(world)


def _cpu() -> float:
    """Seconds of CPU that this process and its finished children have used; other load on the machine adds nothing."""
    return sum(os.times()[:4])


def run(seeds: Iterable[int]) -> dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    """Return each feed's figures, guard and baseline, a dict a seed."""
    out: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {feed: ([], []) for feed in WORLDS}
    for seed in seeds:
        with tempfile.TemporaryDirectory() as home:
            for feed, (runs, naive) in out.items():
                guard, baseline = measure(feed, seed, Path(home))
                runs.append(guard)
                naive.append(baseline)
                print(f"seed {seed} {feed}: recall {guard['attack_recall']:.3f}, {guard['seconds']:.1f} s", flush=True)
    return out


def report(results: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]]) -> str:
    """Return the table as Markdown."""
    seeds = len(next(iter(results.values()))[0])
    lines = [
        f"# Demo, {seeds} seeds",
        "",
        "Written by `python benchmarks/demo.py`. Every world is drawn anew for each seed, written to a home, its",
        "trusted set entered, and all its files ingested in one run. Worst: over the seeds. Interval: exact binomial,",
        "95 %, of the counts of all seeds. Baseline: majority vote, isolation forest in the batch, exact",
        "duplicates. An honest record held for several reasons counts in each line. At record level the calibration",
        "split of a world (1,500 captcha and 1,200 telemetry rows) adds its own spread: ± 0.6 points (95 %) a seed.",
        "Honestly mislabelled: 1 % of honest sessions, misjudged by the challenge; the record level leaves them out.",
        "",
        "| feed | figure | mean | worst | interval | promise | baseline, mean |",
        "|---|---|---:|---:|---:|---|---:|",
    ]
    for feed, (runs, naive) in results.items():
        lines += [line for figure in FIGURES if (line := figure.line(feed, runs, naive))]
    lines += [
        "",
        "| feed | records | items adopted | items deferred | CPU seconds, ingest |",
        "|---|---:|---:|---:|---:|",
    ]
    for feed, (runs, _) in results.items():
        means = [np.mean([run[key] or 0 for run in runs]) for key in ("records_in", "adopted_items", "deferred_items")]
        seconds = np.mean([run["seconds"] for run in runs])
        lines.append(f"| {feed} | {means[0]:,.0f} | {means[1]:,.0f} | {means[2]:,.0f} | {seconds:.1f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the seeds and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    text = report(run(range(options.seeds)))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
