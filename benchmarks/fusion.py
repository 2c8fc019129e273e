"""Compare rules that fuse the evidence of a record into one decision, on drills, at equal shares of honest records."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from calibration import ATTACKS, Parts, cut, sets
from scipy import special

from poison_guard.config import Policy
from poison_guard.decide import decisions
from poison_guard.drills.registry import DRILLS
from poison_guard.drills.trial import run_trial
from poison_guard.drills.world import World
from poison_guard.drills.worlds import make_world
from poison_guard.records import Level, SignalEvidence
from poison_guard.signals.anomaly import DETECTORS
from poison_guard.signals.anomaly.features import FeatureMap
from poison_guard.signals.conformal import conformal_p
from poison_guard.signals.pvalues import e_value

RESULTS = Path(__file__).parent / "results" / "fusion.md"
FUSED = (Level.RECORD, Level.SOURCE, Level.CAMPAIGN)
VIEWS = ("iforest", "knn", "mahalanobis")
TINY = 1e-300
_SLOW = {"burst": "30d", "camouflage": 100}

WORLDS: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("demo captcha", "captcha", {}),
    ("demo chat", "chat", {}),
    ("demo telemetry", "telemetry", {}),
    ("replay, 5 % jitter", "replay", {"jitter_share": 0.05}),
    ("replay, 20 % jitter", "replay", {"jitter_share": 0.2}),
    ("replay, 5 features", "replay", {"features": 5}),
    ("replay, cells missing", "replay", {"missing": 0.2}),
    ("agreed answers, slow", "agreed", {"share": 0.3, **_SLOW}),
    ("sleepers", "sleepers", {"aged": 1.0, "share": 0.3, **_SLOW}),
    ("random spam", "spam", {}),
    ("repeat after me, 40 % edits", "repeat", {"mutation": 0.4}),
    ("patient rater", "patient", {}),
)


@dataclass(frozen=True)
class Seen:
    """What each level says of each record of a world, ``(n, levels)`` in units of its threshold, and the truth."""

    p: np.ndarray
    rules: np.ndarray
    """Held by a rule of the batch contract: facts, which no fusion touches."""
    attack: np.ndarray
    honest: np.ndarray


def as_levels(evidence: Sequence[SignalEvidence], n: int, policy: Policy) -> tuple[np.ndarray, np.ndarray]:
    """Return p-values ``(n, levels)``, brought to one threshold, and the rows that rules hold.

    A level's p-value to the power that makes its threshold ``false_quarantine_rate``: thresholds become comparable and
    a uniform p-value stays one that is at most as small as it should be.
    """
    alpha = {Level.RECORD: policy.false_quarantine_rate, Level.SOURCE: policy.source_alpha}
    alpha[Level.CAMPAIGN] = policy.campaign_alpha
    columns = []
    for level in FUSED:
        mine = [e.p for e in evidence if e.level is level]
        p = np.minimum.reduce([np.ones(n), *mine])
        columns.append(np.clip(p, TINY, 1.0) ** (np.log(policy.false_quarantine_rate) / np.log(alpha[level])))
    rules = [e.p for e in evidence if e.level is Level.RULE]
    return np.column_stack(columns), np.minimum.reduce(rules) <= policy.false_quarantine_rate


def watch(world: World) -> Seen:
    """Run the guard on a world as a drill does and return what it decided by."""
    caught: list[tuple[Sequence[str], Sequence[SignalEvidence], Policy]] = []
    decide = decisions.decide_records

    def listening(ids: Any, evidence: Any, campaigns: Any, policy: Any) -> Any:
        caught.append((ids, evidence, policy))
        return decide(ids, evidence, campaigns, policy)

    with tempfile.TemporaryDirectory() as home, patch("poison_guard.pipeline.decide.decide_records", listening):
        run_trial(world, home=home)
    ids, evidence, policy = caught[0]
    p, rules = as_levels(evidence, len(ids), policy)
    truth = world.truth.set_index("record_id").loc[list(ids)]
    return Seen(p, rules, truth["attack"].to_numpy(bool), truth["honest"].to_numpy(bool))


def smallest(p: np.ndarray) -> np.ndarray:
    """The smallest counts, each level at its own threshold. What the guard does between levels."""
    return -np.log(p.min(axis=1))


def bonferroni(p: np.ndarray) -> np.ndarray:
    """The smallest, times the number of levels that spoke."""
    return -np.log(np.minimum(1.0, p.shape[1] * p.min(axis=1)))


def simes(p: np.ndarray) -> np.ndarray:
    """Simes (1986): as Bonferroni, but signals that say the same count once."""
    k = p.shape[1]
    return -np.log(np.minimum(1.0, (np.sort(p, axis=1) * (k / np.arange(1, k + 1))).min(axis=1)))


def fisher(p: np.ndarray) -> np.ndarray:
    """Fisher (1932): the sum of the logarithms, as if levels were independent."""
    x = -2 * np.log(p).sum(axis=1)
    return -np.log(np.maximum(special.gammaincc(p.shape[1], x / 2), TINY))


def cauchy(p: np.ndarray) -> np.ndarray:
    """Liu and Xie (2020), "Cauchy combination test": heavy tails make dependence matter little."""
    safe = np.clip(p, TINY, 1 - 1e-3)  # a p-value of 1 would outweigh everything
    term = np.where(safe < 1e-12, 1 / (safe * np.pi), np.tan((0.5 - safe) * np.pi))
    t = term.mean(axis=1)
    tail = np.where(t > 1e12, 1 / (np.pi * np.maximum(t, 1)), 0.5 - np.arctan(np.minimum(t, 1e12)) / np.pi)
    return -np.log(np.clip(tail, TINY, 1.0))


def harmonic(p: np.ndarray) -> np.ndarray:
    """Wilson (2019), "The harmonic mean p-value", times e ln K so that it holds whatever depends on what."""
    k = p.shape[1]
    factor = np.e * np.log(k) if k > 1 else 1.0
    return -np.log(np.minimum(1.0, factor * k / (1 / p).sum(axis=1)))


def e_mean(p: np.ndarray) -> np.ndarray:
    """Vovk and Wang (2021), "E-values": the mean of e-values; 1 over it is a p-value whatever depends on what."""
    return np.log(np.maximum(e_value(p).mean(axis=1), 1.0))


RULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "smallest": smallest,
    "Bonferroni": bonferroni,
    "Simes": simes,
    "Fisher": fisher,
    "Cauchy": cauchy,
    "harmonic mean": harmonic,
    "mean of e-values": e_mean,
}
"""Rule to a score ``(n,)`` of p-values ``(n, levels)``: minus the logarithm of the fused p-value."""


def recall_at(seen: Seen, score: np.ndarray, honest_held: float) -> float:
    """Return the share of attack records held when at most the share `honest_held` of honest ones is.

    Records of one score go together, and the last group that would pass the share in part counts by chance: so rules
    whose scores tie are not favoured over those whose do not.
    """
    score = np.where(seen.rules, np.inf, score)
    honest, attack = np.sort(score[seen.honest]), score[seen.attack]
    allowed = honest_held * len(honest)
    levels = np.unique(honest)[::-1]
    held = len(honest) - np.searchsorted(honest, levels, side="left")
    at = int(np.searchsorted(held, allowed, side="right"))
    if at == len(levels):
        return 1.0
    before = held[at - 1] if at else 0
    part = (allowed - before) / (held[at] - before)
    return float((attack > levels[at]).mean() + part * (attack == levels[at]).mean())


def on_drills(seen: Mapping[str, list[Seen]]) -> Iterator[str]:
    """Yield the tables: at the guard's own share of honest records, and at the rules' nominal thresholds."""
    rate = Policy().false_quarantine_rate
    yield "| world | honest held | " + " | ".join(RULES) + " |"
    yield "|---|---:|" + "---:|" * len(RULES)
    means: dict[str, list[float]] = defaultdict(list)
    nominal: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for name, worlds in seen.items():
        held: list[float] = []
        recalls: dict[str, list[float]] = defaultdict(list)
        for one in worlds:
            base = (smallest(one.p) >= -np.log(rate) - 1e-9) | one.rules
            held.append(float(base[one.honest].mean()))
            for rule, score in RULES.items():
                fused = score(one.p)
                recalls[rule].append(recall_at(one, fused, held[-1]))
                acts = (fused >= -np.log(rate) - 1e-9) | one.rules
                nominal[rule].append((float(acts[one.attack].mean()), float(acts[one.honest].mean())))
        cells = [f"{np.mean(recalls[rule]):.1%} ({min(recalls[rule]):.1%})" for rule in RULES]
        for rule in RULES:
            means[rule] += recalls[rule]
        yield f"| {name} | {np.mean(held):.2%} | {' | '.join(cells)} |"
    yield f"| **mean of all** | | {' | '.join(f'**{np.mean(means[rule]):.1%}**' for rule in RULES)} |"
    reference = np.array(means[next(iter(RULES))])
    paired = [_paired(np.array(means[rule]) - reference) for rule in RULES]
    yield f"| difference from the first, 95 % | | {' | '.join(paired)} |"
    yield ""
    yield "| at its own threshold | attack held | honest held | worst world |"
    yield "|---|---:|---:|---:|"
    for rule, pairs in nominal.items():
        attack, honest = np.mean(pairs, axis=0)
        yield f"| {rule} | {attack:.1%} | {honest:.2%} | {max(h for _, h in pairs):.2%} |"


def _paired(difference: np.ndarray) -> str:
    width = 1.96 * difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else 0.0
    return f"{100 * difference.mean():+.1f} ± {100 * width:.1f}"


def on_copies(n: int = 200_000) -> Iterator[str]:
    """Yield what the rules do where signals of one level say the same thing, or all a little."""
    rng = np.random.default_rng(0)
    rate = Policy().false_quarantine_rate
    yield "| signals of one level | " + " | ".join(RULES) + " |"
    yield "|---|" + "---:|" * len(RULES)
    for name, k, alike, shift in (
        ("honest, 3 independent", 3, 0.0, (0.0, 0.0, 0.0)),
        ("honest, 3 alike (correlation .8)", 3, 0.8, (0.0, 0.0, 0.0)),
        ("honest, the same one 3 times", 3, 1.0, (0.0, 0.0, 0.0)),
        ("attack seen by one of 3 (3 sd)", 3, 0.0, (3.0, 0.0, 0.0)),
        ("attack seen by all 3 a little (1.5 sd)", 3, 0.0, (1.5, 1.5, 1.5)),
    ):
        shared, own = rng.standard_normal((n, 1)), rng.standard_normal((n, k))
        z = np.sqrt(alike) * shared + np.sqrt(1 - alike) * own + np.array(shift)
        p = np.clip(special.ndtr(-z), TINY, 1.0)
        cells = [f"{(score(p) >= -np.log(rate)).mean():.2%}" for score in RULES.values()]
        yield f"| {name} | {' | '.join(cells)} |"


def on_views(parts: Sequence[Parts]) -> Iterator[str]:
    """Yield the table of three detectors as three signals of one level, on public sets: what each rule holds."""
    rate = Policy().false_quarantine_rate
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    alike: list[float] = []
    for part in parts:
        views = [features(part, frame) for frame in (part.reference, part.calibration, part.honest, part.outliers)]
        p: list[tuple[np.ndarray, np.ndarray]] = []
        for kind in VIEWS:
            detector = DETECTORS[kind](device="cpu").fit(views[0])
            known, honest, attack = (detector.score(view) for view in (*views[1:3], views[3][:ATTACKS]))
            p.append((conformal_p(known, attack), conformal_p(known, honest)))
        attacks, honests = (np.column_stack(side) for side in zip(*p, strict=True))
        alike.append(float(np.corrcoef(special.ndtri(honests.clip(max=1 - 1e-6)).T)[np.triu_indices(3, 1)].mean()))
        for rule, score in RULES.items():
            acts = [float((score(side) >= -np.log(rate) - 1e-9).mean()) for side in (attacks, honests)]
            found[rule].append((acts[0], acts[1]))
    yield f"Three detectors ({', '.join(VIEWS)}) as three signals; correlation of honest ones {np.mean(alike):.2f}."
    yield ""
    yield "| rule | attacks held | honest held |"
    yield "|---|---:|---:|"
    for rule, pairs in found.items():
        attack, honest = np.mean(pairs, axis=0)
        yield f"| {rule} | {attack:.1%} | {honest:.2%} |"


def features(part: Parts, frame: Any) -> np.ndarray:
    """Return the rows as a feed's anomaly signal sees them."""
    return FeatureMap().fit(part.reference).transform(frame)


def main() -> None:
    """Run and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("POISON_GUARD_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    seen: dict[str, list[Seen]] = defaultdict(list)
    for name, kind, params in WORLDS:
        for seed in range(options.seeds):
            made = DRILLS[kind].function("synthetic")(seed, **params) if kind in DRILLS else make_world(kind, seed)
            seen[name].append(watch(made))
        print(name, f"{sum(os.times()[:2]):.0f} s", flush=True)
    files = sets(options.data)
    parts = [part for file in files for seed in range(2) if len((part := cut(file, seed)).calibration) >= 99]
    tables = (
        ("Levels: drills, at equal shares of honest records", on_drills(seen)),
        ("Signals of one level: three detectors on public sets", on_views(parts)),
        ("Signals of one level: drawn", on_copies()),
    )
    lines = [f"# Fusion rules, {len(WORLDS)} worlds, {options.seeds} seeds", "", INTRODUCTION, ""]
    for title, table in tables:
        lines += [f"## {title}", "", *table, ""]
    lines += [CONCLUSION, "", f"{sum(os.times()[:2]):.0f} CPU seconds."]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


INTRODUCTION = """\
Written by `python benchmarks/fusion.py`. Each world runs through the guard once; what each level (record, source,
campaign) said of every record is then fused by each rule. Levels have thresholds of their own, so their p-values are
first brought to one. **Honest held**: by the guard's rule, mean over seeds; every rule may hold as many honest records
of that world as the guard's did, and the table shows the attack records it holds then, mean (worst seed)."""

CONCLUSION = """\
**What follows.** Between levels no rule is better: a record is nearly always seen by one level alone, so there is
nothing to add up, and what adds up mild hints (Fisher, Cauchy, harmonic mean, e-values) holds as much or less. The
guard keeps the smallest, each level at its own threshold: it is the only one whose threshold a user can read. Within a
level Simes' rule takes the place of Bonferroni's: never less, the stated rate where signals are independent or alike,
and a signal that repeats another costs nothing. Fisher's rule breaks the rate as soon as signals are alike; Cauchy's
passes it a little."""


if __name__ == "__main__":
    main()
