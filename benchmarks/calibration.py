"""Measure the anomaly signal's calibration on 23 public sets: honest records held, contamination, few rows, drift."""

from __future__ import annotations

import argparse
import functools
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from poison_guard.signals.anomaly.calibrate import Calibration, label_trim, suspects
from poison_guard.signals.anomaly.model import AnomalyModel
from poison_guard.signals.conformal import conformal_p, held_share
from poison_guard.signals.pvalues import benjamini_hochberg

RESULTS = Path(__file__).parent / "results" / "calibration.md"
RATES = (0.01, 0.05)
FDR = 0.1
MOST = 5000  # normal rows of a set: half reference, three tenths calibration, a fifth to judge
ATTACKS = 500  # outliers to judge, at most
LABELS, ROUNDS = 200, 4
SIZES = (25, 50, 99, 199, 499, 1500)
DRIPS = (0.0, 0.01, 0.03, 0.1)


@dataclass(frozen=True, eq=False)
class Parts:
    """Normal rows of one set, cut by a seed as a trusted set is, and its outliers; all frames of features."""

    name: str
    reference: pd.DataFrame
    calibration: pd.DataFrame
    honest: pd.DataFrame
    outliers: pd.DataFrame
    group: dict[str, np.ndarray]
    """Group of each calibration and honest row: above or below the 70 % point of one column."""


def sets(data: Path) -> list[Path]:
    """Return the files of the public sets, smallest first."""
    return sorted((data / "outliers").glob("*.npz"), key=lambda file: (file.stat().st_size, file.name))


def cut(file: Path, seed: int) -> Parts:
    """Read a set and cut it."""
    with np.load(file) as held:
        X, y = held["X"].astype(float), held["y"].ravel().astype(int)
    rng = np.random.default_rng(seed)
    normal, strange = (rng.permutation(np.flatnonzero(y == kind)) for kind in (0, 1))
    normal = normal[:MOST]
    frame = pd.DataFrame(X, columns=[f"feature.{k}" for k in range(X.shape[1])])
    first, second = int(0.5 * len(normal)), int(0.8 * len(normal))
    parts = {"calibration": normal[first:second], "honest": normal[second:]}
    column = int(np.argmax([len(np.unique(X[normal, k])) for k in range(X.shape[1])]))
    edge = np.quantile(X[y == 0, column], 0.7)
    group = {key: np.where(X[rows, column] > edge, "above", "below").astype(object) for key, rows in parts.items()}

    def rows(at: np.ndarray) -> pd.DataFrame:
        return frame.iloc[at].reset_index(drop=True)

    return Parts(
        file.stem.split("_", 1)[1],
        rows(normal[:first]),
        rows(parts["calibration"]),
        rows(parts["honest"]),
        rows(strange),
        group,
    )


def fit(reference: pd.DataFrame, calibration: pd.DataFrame) -> AnomalyModel:
    """Return the default signal, fitted."""
    return AnomalyModel.fit(reference, calibration, device="cpu")


@functools.cache
def clean(part: Parts) -> AnomalyModel:
    """Return the signal fitted on the trusted rows as they are."""
    return fit(part.reference, part.calibration)


def no_group(n: int) -> np.ndarray:
    """Return n times the group that stands for none."""
    return np.full(n, "", dtype=object)


@dataclass
class Held:
    """Honest records held at one rate, added up over sets and seeds, and how many chance allows."""

    held: int = 0
    n: int = 0
    draws: np.ndarray | int = 0
    expected: float = 0.0

    def add(self, known: np.ndarray, scores: np.ndarray, rate: float, rng: np.random.Generator) -> None:
        """Add one set and seed: the share held is beta distributed over calibration sets."""
        n, rows = len(scores), len(known)
        k = int(np.floor(rate * (rows + 1) + 1e-9))
        share = rng.beta(k, rows + 1 - k, 20_000) if k else np.zeros(20_000)
        self.draws = self.draws + rng.binomial(n, share)
        self.expected += n * held_share(rows, rate)[0]
        self.held += int((conformal_p(known, scores) <= rate).sum())
        self.n += n

    def cells(self) -> str:
        """Return what was held, what was expected and the 95 % interval of chance, in percent."""
        low, high = np.quantile(self.draws, (0.025, 0.975)) / self.n
        held = self.held / self.n
        inside = "yes" if low <= held <= high else "below" if held < low else "**above**"
        return f"{held:.3%} | {self.expected / self.n:.3%} | {low:.3%} – {high:.3%} | {inside} | {self.n:,}"


def honest_held(parts: list[Parts]) -> Iterator[str]:
    """Yield the table of honest records held: pooled, and in each of two groups that are calibrated apart."""
    found: dict[tuple[str, float], Held] = defaultdict(Held)
    rng = np.random.default_rng(0)
    for part in parts:
        model = clean(part)
        known, new = model.score(part.calibration), model.score(part.honest)
        for rate in RATES:
            found["all rows together", rate].add(known, new, rate, rng)
            apart = Calibration.fit(known, part.group["calibration"], rate)
            for name in ("below", "above"):
                here = part.group["honest"] == name
                if name in apart.groups and here.any():
                    found[f"group: {name}", rate].add(apart.groups[name], new[here], rate, rng)
    yield "| calibrated by | rate | held | expected | 95 % of chance | inside | honest records |"
    yield "|---|---:|---:|---:|---:|---|---:|"
    for (name, rate), held in sorted(found.items()):
        yield f"| {name} | {rate:.0%} | {held.cells()} |"


@dataclass(frozen=True)
class World:
    """Trusted rows of which some are wrong, and what people have said of them so far."""

    frame: pd.DataFrame
    calibrates: np.ndarray
    wrong: np.ndarray
    verdicts: np.ndarray

    def kept(self, at: np.ndarray) -> pd.DataFrame:
        """Return the rows of a split that are not judged wrong."""
        return self.frame[at & label_trim(self.verdicts)].reset_index(drop=True)

    @functools.cached_property
    def model(self) -> AnomalyModel:
        """The signal fitted on what is kept."""
        return fit(self.kept(~self.calibrates), self.kept(self.calibrates))

    def labelled(self, budget: int) -> World:
        """Return the world after people have looked at `budget` more rows and told the truth."""
        model = self.model
        p = model.calibration.p(model.score(self.frame), no_group(len(self.frame)))
        asked = suspects(p, self.verdicts, budget)
        verdicts = self.verdicts.copy()
        verdicts[asked] = np.where(self.wrong[asked], -1, 1)
        return World(self.frame, self.calibrates, self.wrong, verdicts)


def contaminate(part: Parts, share: float) -> tuple[World, pd.DataFrame] | None:
    """Return the trusted rows with a share of outliers entered, and the outliers left; None without enough of them."""
    sizes = [max(1, round(share * len(side))) for side in (part.reference, part.calibration)]
    if len(part.calibration) < 99 or len(part.outliers) < 2 * sum(sizes):
        return None
    bad = part.outliers.iloc[: sum(sizes)]
    frame = pd.concat([part.reference, part.calibration, bad], ignore_index=True)
    calibrates = np.repeat([False, True, False, True], [len(part.reference), len(part.calibration), *sizes])
    wrong = np.arange(len(frame)) >= len(frame) - len(bad)
    world = World(frame, calibrates, wrong, np.zeros(len(frame), int))
    return world, part.outliers.iloc[sum(sizes) :].head(ATTACKS).reset_index(drop=True)


def figures(model: AnomalyModel, known: np.ndarray, honest: pd.DataFrame, attacks: pd.DataFrame) -> list[float]:
    """Return attacks held and honest held at each rate, and power and false discoveries of BH among 5 % attacks."""
    p, q = (conformal_p(known, model.score(frame)) for frame in (attacks, honest))
    few = p[: max(1, round(0.05 * len(q)))]
    found = benjamini_hochberg(np.concatenate([few, q])) <= FDR
    wrong = found[len(few) :].sum() / max(1, found.sum())
    return [v for rate in RATES for v in ((p <= rate).mean(), (q <= rate).mean())] + [found[: len(few)].mean(), wrong]


def contaminated(parts: list[Parts]) -> Iterator[str]:
    """Yield the table of 1 % contamination: attacks held with and without reviewed labels."""
    rows: dict[str, list[list[float]]] = defaultdict(list)
    for part in parts:
        given = contaminate(part, 0.01)
        if given is None:
            continue
        world, attacks = given
        judge = (part.honest, attacks)
        rows["clean"].append(figures(clean(part), clean(part).calibration.groups[""], *judge))
        dirty = world.model
        known = dirty.calibration.groups[""]
        rows["1 % wrong"].append(figures(dirty, known, *judge))
        rows["1 % wrong, top 1 % dropped unseen"].append(figures(dirty, known[: int(0.99 * len(known))], *judge))
        for name, rounds in ((f"1 % wrong, {LABELS} labels at once", 1), (f"… in {ROUNDS} rounds", ROUNDS)):
            better = world
            for _ in range(rounds):
                better = better.labelled(LABELS // rounds)
            model = better.model
            rows[name].append(figures(model, model.calibration.groups[""], *judge))
    yield (
        "| trusted rows | "
        + " | ".join(f"attacks held, {r:.0%} | honest held" for r in RATES)
        + (f" | BH, FDR {FDR:.0%}: attacks found | false |")
    )
    yield "|---|" + "---:|" * 6
    base = np.mean(rows["clean"], axis=0)
    for name, values in rows.items():
        mean = np.mean(values, axis=0)
        pairs = enumerate(zip(mean, base, strict=True))
        of = [f"{m:.1%} ({m / b:.0%})" if k in (0, 2, 4) else f"{m:.2%}" for k, (m, b) in pairs]
        yield f"| {name} | {' | '.join(of)} |"
    ratios = np.array(rows[f"… in {ROUNDS} rounds"])[:, 0] / np.maximum(np.array(rows["clean"])[:, 0], 1e-12)
    able = np.array(rows["clean"])[:, 0] >= 0.05
    yield ""
    yield (
        f"{len(values)} sets and seeds with outliers enough; of the {able.sum()} whose clean power at 1 % is 5 % or "
        f"more, {(ratios[able] >= 0.8).mean():.0%} keep four fifths of it after {ROUNDS} rounds; worst tenth "
        f"{np.quantile(ratios[able], 0.1):.0%}."
    )


def few_rows(parts: list[Parts]) -> Iterator[str]:
    """Yield the table of small calibration sets: attacks held at 1 %, and the spread of honest records held."""
    rows: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for part in parts:
        if len(part.calibration) < SIZES[-1] or not len(part.outliers):
            continue
        model = clean(part)
        known, new = model.score(part.calibration), model.score(part.honest)
        attacks = model.score(part.outliers.head(ATTACKS))
        for size in SIZES:
            p, q = conformal_p(known[:size], attacks), conformal_p(known[:size], new)
            rows[size].append(((p <= 0.01).mean(), (q <= 0.01).mean()))
    yield "| calibration rows | attacks held at 1 % | honest held | expected | 95 % of calibration sets |"
    yield "|---:|---:|---:|---:|---:|"
    for size, values in rows.items():
        power, held = np.mean(values, axis=0)
        mean, low, high = held_share(size, 0.01)
        yield f"| {size:,} | {power:.1%} | {held:.2%} | {mean:.2%} | {low:.2%} – {high:.2%} |"


def drifting(parts: list[Parts]) -> Iterator[str]:
    """Yield how often trusted rows are said to have parted, seen from today's model and from the anchor's own."""
    today: dict[float, list[bool]] = defaultdict(list)
    before: dict[float, list[bool]] = defaultdict(list)
    for part in parts:
        for share in DRIPS:
            given = contaminate(part, share) if share else None
            if share and given is None:
                continue
            model = clean(part) if given is None else given[0].model
            wrong = part.outliers.head(round(share * len(part.honest)))
            entered = pd.concat([part.honest, wrong], ignore_index=True)
            today[share].append(_parted(model, part.honest))
            before[share].append(_parted(clean(part), entered))
    yield "| rows entered since the anchor | sets, seeds | anchor, by today's model | new rows, by the anchor's model |"
    yield "|---|---:|---:|---:|"
    for share, told in today.items():
        what = f"{share:.0%} of them wrong" if share else "like the anchor"
        yield f"| {what} | {len(told)} | {np.mean(told):.1%} | {np.mean(before[share]):.1%} |"


def _parted(model: AnomalyModel, rows: pd.DataFrame) -> bool:
    told = model.drift(rows)
    assert told is not None
    return told.parted


def main() -> None:
    """Run and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("POISON_GUARD_DATA", "../shared/data")))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    files = sets(options.data)
    every = [[cut(file, seed) for file in files] for seed in range(options.seeds)]
    flat = [part for parts in every for part in parts]
    three = [part for parts in every[:3] for part in parts]
    lines = [f"# Calibration, {len(files)} sets, {options.seeds} seeds", "", INTRODUCTION, ""]
    sections = (
        ("Honest records held, clean trusted set", honest_held, flat),
        ("A trusted set with wrong rows in it", contaminated, three),
        ("Few calibration rows", few_rows, three),
        ("Drift from the anchor", drifting, three),
    )
    for title, table, parts in sections:
        lines += [f"## {title}", "", *table(parts), ""]
        print("\n".join(lines[-12:]), flush=True)
    lines.append(f"{sum(os.times()[:2]):.0f} CPU seconds.")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


INTRODUCTION = """\
Written by `python benchmarks/calibration.py`. The normal rows of each set (at most 5,000) are cut by the seed into
reference (half), calibration (three tenths) and rows to judge; the default anomaly signal is fitted as a feed's is.
**95 % of chance**: the share held is beta-binomial for each set and seed; the interval is that of their sum. Expected
is below the rate where calibration rows are few. A set's first wrong rows are its own outliers, entered as trusted in
reference and calibration alike; the others are the attacks. Labels: the rows with the smallest p-values, told right or
wrong by somebody who knows; wrong ones leave and the signal is fitted again. In brackets: share of the clean figure.
Drift: how often the watch says that trusted rows have parted; it is meant to say so by chance once in a thousand looks.
Today's model was fitted on the wrong rows too, so the anchor looks to it as before: what entered shows only to the
model of before."""


if __name__ == "__main__":
    main()
