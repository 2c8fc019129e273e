"""Replayed telemetry among honest sessions of many kinds: recall, honest records held and CPU seconds.

    python benchmarks/replays.py [SEEDS [NAME …]]

Without names all kinds are measured and the committed table is written. The data sets of ADBench are read from the
folder in `POISON_GUARD_DATA` and skipped where it is absent.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from poison_guard.signals.anomaly.features import FeatureMap
from poison_guard.signals.campaigns.vectors import near_duplicate_vectors

DATA = Path(os.environ.get("POISON_GUARD_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
RESULTS = Path(__file__).parent / "results" / "replays.md"
JITTERS = (0.01, 0.05, 0.20)
SMALL, LARGE = (5,) * 4 + (8,) * 4, (20,) * 3 + (80,) * 2
TRUSTED = 1500
SETS = "cover,fault,Ionosphere,ALOI,letter,magic.gamma,mammography,musk,optdigits,pendigits,Pima,annthyroid,satellite,"
SETS += "shuttle,SpamBase,thyroid,vowels,WDBC,yeast,breastw,cardio"
HEAD = """# Replayed telemetry: near-duplicate feature vectors

`python benchmarks/replays.py {seeds}`; {seeds} seeds, mean (worst), one thread of a machine shared with others. Honest
sessions of many kinds, a trusted set of at most 1,500 others of the same kind, and replays of sessions of the batch:
*small* groups are four of 5 and four of 8 copies, *large* ones three of 20 and two of 80, every copy from a source of
its own; jitter is a share of the value, and whole numbers stay whole. Recall is the share of copies held. *Honest held*
is the percentage of the honest records held beside an attack (the sources replayed do not count), *clean* the same
without any. All defaults, alpha .001; every row of a data set is taken for a source of its own, though pendigits has 44
writers, and SpamBase newsletters that came twice.

What cannot be told apart: five copies in the densest part of a crowd with few features; jitter that is wide against how
people differ (in most data sets 20 % of the value is, in satellite, pendigits and annthyroid 5 % is); features that
take few values.

| data | small 1 % | large | small 5 % | large | small 20 % | large | held at 1, 5 % | at 20 % | clean | CPU s |
|---|---|---|---|---|---|---|---|---|---|---|
"""


AT_FIVE = RESULTS.with_name("replays_5.md")
HEAD_AT_FIVE = """# Replayed telemetry at 5 % jitter, every kind

`python benchmarks/replays.py --at-5`, one seed; columns as in [replays.md](replays.md).

| data | features | small | large | honest held, % | CPU s |
|---|---:|---:|---:|---:|---:|
"""


@dataclass(frozen=True)
class Honest:
    """Honest sessions: raw features ``(n, d)`` of the batch and of the trusted, NaN where missing."""

    batch: np.ndarray
    trusted: np.ndarray | None
    sources: np.ndarray | None = None


def sessions(n: int, seed: int, *, d: int = 10, shift: float = 0.0, spread: float = 1.0) -> np.ndarray:
    """Correlated log-normal features of mixed scales; the third is a count, the fifth is rounded."""
    rng, loading = np.random.default_rng([seed, 5]), np.random.default_rng(99).standard_normal((3, d))
    common = rng.standard_normal((n, 3)) @ (loading / np.sqrt((loading**2).sum(axis=0)))
    z = shift + spread * (0.77 * common + 0.63 * rng.standard_normal((n, d)))
    values = np.exp(np.linspace(-1, 6, d) + np.linspace(0.3, 1.0, d) * z)
    values[:, 2] = rng.poisson(np.exp(2.5 + 0.6 * z[:, 2]))
    values[:, 4] = np.round(100 * values[:, 4])
    return values


def plain(n: int, **more: float) -> Callable[[int], Honest]:
    return lambda seed: Honest(sessions(n, seed, **more), sessions(TRUSTED, seed + 1000, **more))


def no_trusted(seed: int) -> Honest:
    return Honest(sessions(6000, seed), None)


def missing(share: float, **more: float) -> Callable[[int], Honest]:
    """A `share` of cells missing at random, one cell at most away from being empty."""

    def make(seed: int) -> Honest:
        rng = np.random.default_rng([seed, 6])
        parts = [sessions(6000, seed, **more), sessions(TRUSTED, seed + 1000, **more)]
        return Honest(*(np.where(rng.random(part.shape) < share, np.nan, part) for part in parts))

    return make


def two_populations(seed: int) -> Honest:
    """A sixth of sessions of another kind, half as varied, elsewhere."""
    shift = np.random.default_rng(7).choice([-2.5, 2.5], 10)
    parts = [(5000, 1000, seed), (TRUSTED * 5 // 6, TRUSTED // 6, seed + 1000)]
    return Honest(*(np.vstack([sessions(a, s), sessions(b, s + 1, shift=shift, spread=0.5)]) for a, b, s in parts))


def heavy_tails(seed: int) -> Honest:
    """Student t with two degrees of freedom, eight independent features."""
    rng = np.random.default_rng([seed, 8])
    return Honest(rng.standard_t(2, (6000, 8)), rng.standard_t(2, (TRUSTED, 8)))


def short(seed: int) -> Honest:
    """A third of sessions are short: counts of 0 to 2, most times 0, the rest rounded to tenths."""

    def make(n: int, s: int) -> np.ndarray:
        rng, values = np.random.default_rng([s, 9]), sessions(n, s)
        some = rng.random(n) < 1 / 3
        values[some] = rng.poisson(0.3, (some.sum(), 10)) * np.r_[np.ones(5), np.arange(1, 6) / 10]
        return values

    return Honest(make(6000, seed), make(TRUSTED, seed + 1000))


def rounded(seed: int) -> Honest:
    return Honest(*(np.round(sessions(n, s) ** 0.25, 1) for n, s in ((6000, seed), (TRUSTED, seed + 1000))))


def zeros(seed: int) -> Honest:
    """Each feature of a session is 0 with chance .4: things that did not happen."""
    rng = np.random.default_rng([seed, 10])
    parts = (sessions(6000, seed), sessions(TRUSTED, seed + 1000))
    return Honest(*(np.where(rng.random(part.shape) < 0.4, 0.0, part) for part in parts))


def flash_crowd(seed: int) -> Honest:
    """A tenth of sessions from a region where nobody was before, .6 times as varied."""
    shift = np.random.default_rng(11).choice([-3.0, 3.0], 10)
    batch = np.vstack([sessions(5400, seed), sessions(600, seed + 1, shift=shift, spread=0.6)])
    return Honest(batch, sessions(TRUSTED, seed + 1000))


def devices(seed: int) -> Honest:
    """Records of 600 devices, about ten each, which resemble one another within a device (habit .9 of the variance)."""
    rng = np.random.default_rng([seed, 12])
    of = rng.integers(0, 600, 6000)
    values = sessions(600, seed)[of] ** 0.95 * sessions(6000, seed + 1) ** 0.05
    return Honest(values, sessions(TRUSTED, seed + 1000) ** 0.95 * sessions(TRUSTED, seed + 1001) ** 0.05, of)


def world(seed: int) -> Honest:
    """The honest sessions of the telemetry world, by their devices."""
    from poison_guard.drills.world import Origin
    from poison_guard.drills.worlds.telemetry import make_world

    made = make_world(seed)
    rows = (made.truth["origin"] == str(Origin.HONEST)).to_numpy() & (made.role("label") == "human").to_numpy()
    kept = made.records[rows]
    source = pd.factorize(kept[made.columns["source_id"]])[0]
    return Honest(kept[list(made.features)].to_numpy(float), made.trusted[list(made.features)].to_numpy(float), source)


def public(name: str) -> Callable[[int], Honest]:
    """The inliers of an ADBench set, at most 12,000: a third, at most 1,500, trusted."""

    def make(seed: int) -> Honest:
        (path,) = (DATA / "outliers").glob(f"*_{name}.npz")
        with np.load(path) as found:
            values = found["X"][found["y"] == 0].astype(float)
        values = np.random.default_rng([seed, 13]).permutation(values)[:12_000]
        cut = min(TRUSTED, len(values) // 3)
        return Honest(values[cut:], values[:cut])

    return make


KINDS: dict[str, Callable[[int], Honest]] = {
    "sessions 2k x 10": plain(2000),
    "sessions 6k x 10": plain(6000),
    "sessions 20k x 8": plain(20_000, d=8),
    "sessions 20k x 16": plain(20_000, d=16),
    "sessions 6k x 5": plain(6000, d=5),
    "sessions 20k x 5": plain(20_000, d=5),
    "no trusted set": no_trusted,
    "missing 5 %": missing(0.05),
    "missing 20 %": missing(0.2),
    "two populations": two_populations,
    "heavy tails": heavy_tails,
    "short sessions": short,
    "rounded": rounded,
    "zeros": zeros,
    "flash crowd": flash_crowd,
    "devices": devices,
    "telemetry world": world,
} | {name: public(name) for name in SETS.split(",")}


@dataclass(frozen=True)
class Trial:
    small: float
    large: float
    honest: float
    """Share of honest records held; the originals that were replayed are not counted."""
    clean: float
    """The same without any attack."""
    seconds: float


def straight(batch: np.ndarray, trusted: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """As the anomaly signal hands them on: by its feature map, fitted on the trusted (else the batch)."""
    frames = [pd.DataFrame(v).add_prefix("feature.") for v in (batch, batch if trusted is None else trusted)]
    fitted = FeatureMap().fit(frames[1])
    return fitted.compared(frames[0]), None if trusted is None else fitted.compared(frames[1])


def replayed(honest: np.ndarray, jitter: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return copies and which original each has; cells go missing in replays as they do in honest sessions."""
    rng = np.random.default_rng([seed, 14])
    sizes = [s for s in SMALL + LARGE if s <= max(8, len(honest) // 10)]
    of = np.repeat(rng.choice(len(honest), len(sizes), replace=False), sizes)
    originals = honest[of]
    copies = originals * (1 + jitter * rng.standard_normal(originals.shape))
    whole = np.nanmax(np.abs(honest - np.round(honest)), axis=0) == 0
    copies[:, whole] = np.round(copies[:, whole])
    copies[rng.random(copies.shape) < np.isnan(honest).mean()] = np.nan
    return copies, of


def run(kind: Callable[[int], Honest], jitter: float, seed: int, find: Callable[..., list]) -> Trial:
    honest = kind(seed)
    copies, of = replayed(honest.batch, jitter, seed)
    vectors, trusted = straight(np.vstack([honest.batch, copies]), honest.trusted)
    own = np.arange(len(honest.batch)) if honest.sources is None else honest.sources
    owner = np.r_[own, own.max() + 1 + np.arange(len(copies))]
    begin = time.process_time()
    held = held_by(find, vectors, owner, trusted)
    seconds = time.process_time() - begin
    n = len(honest.batch)
    clean = held_by(find, vectors[:n], owner[:n], trusted).mean() if jitter == JITTERS[0] else np.nan
    size = np.bincount(of)[of]
    innocent = ~np.isin(own, own[of])
    small, large = (held[n:][rows].mean() if rows.any() else np.nan for rows in (size < 20, size >= 20))
    return Trial(float(small), float(large), float(held[:n][innocent].mean()), float(clean), seconds)


def held_by(
    find: Callable[..., list], vectors: np.ndarray, owner: np.ndarray, trusted: np.ndarray | None
) -> np.ndarray:
    order = np.random.default_rng(len(vectors)).permutation(len(vectors))
    frame = pd.DataFrame({"record_id": [f"r{i}" for i in order], "source_id": [f"s{s}" for s in owner[order]]})
    held = np.zeros(len(vectors), bool)
    for campaign in find(frame, vectors[order], trusted=trusted, alpha=0.001):
        held[[int(r[1:]) for r in campaign.record_ids]] = True
    return held


def traces(seed: int) -> dict[str, np.ndarray]:
    """Pieces of 15 to 40 events of two people's pointers, ``speed``, ``pause`` and ``turn``, each a list of arrays."""
    rng, pieces = np.random.default_rng([seed, 15]), []
    for name in ("human_session_1.csv", "human_session_2.csv"):
        events = pd.read_csv(DATA / "telemetry" / name)
        way = events[["client_x", "client_y"]].diff().fillna(0).to_numpy()
        turn = np.abs(np.diff(np.unwrap(np.arctan2(way[:, 1], way[:, 0])), prepend=0))
        made = np.column_stack([events["velocity"], events["time_since_last_event"], turn])
        ends = np.cumsum(rng.integers(15, 41, len(made)))
        pieces += np.split(made, ends[ends < len(made)])
    order = rng.permutation(len(pieces))
    return {c: np.array([pieces[i][:, k] for i in order], object) for k, c in enumerate(("speed", "pause", "turn"))}


def pointer_traces(seed: int, jitter: float) -> tuple[float, float]:
    """Return the shares of replays and of honest pieces held: two sent again 8 times each, an event in ten lost.

    Half of the pieces are the trusted ones.
    """
    some, rng = traces(seed), np.random.default_rng([seed, 16])
    n = len(some["speed"])
    batch, of = np.arange(n // 2), np.repeat([0, 1], 8)
    parts = {}
    for name, cells in some.items():
        noise = [cells[i] * (1 + jitter * rng.standard_normal(len(cells[i]))) for i in of]
        parts[name] = [*cells[batch], *noise]
    for k in range(len(of)):
        kept = rng.random(len(parts["speed"][len(batch) + k])) > 0.1
        for cells in parts.values():
            cells[len(batch) + k] = cells[len(batch) + k][kept]
    frames = [
        pd.DataFrame({f"feature.{c}": [str(np.round(v, 4).tolist()) for v in cells] for c, cells in side.items()})
        for side in ({c: cells[n // 2 :] for c, cells in some.items()}, parts)
    ]
    fitted = FeatureMap().fit(frames[0])
    vectors, trusted = fitted.compared(frames[1]), fitted.compared(frames[0])
    held = held_by(near_duplicate_vectors, vectors, np.arange(len(vectors)), trusted)
    return float(held[len(batch) :].mean()), float(held[2 : len(batch)].mean())


def row(name: str, seeds: int, find: Callable[..., list] = near_duplicate_vectors) -> str:
    trials = {jitter: [run(KINDS[name], jitter, seed, find) for seed in range(seeds)] for jitter in JITTERS}
    cells = []
    for some in trials.values():
        for size in ("small", "large"):
            recalls = np.array([getattr(trial, size) for trial in some])
            cells.append("–" if np.isnan(recalls).all() else f"{np.nanmean(recalls):.2f} ({np.nanmin(recalls):.2f})")
    for part in (trials[JITTERS[0]] + trials[JITTERS[1]], trials[JITTERS[2]]):
        held = np.array([100 * trial.honest for trial in part])
        cells.append(f"{held.mean():.2f} ({held.max():.2f})")
    clean = np.array([100 * trial.clean for trial in trials[JITTERS[0]]])
    cells.append(f"{clean.mean():.2f} ({clean.max():.2f})")
    cells.append(f"{np.mean([trial.seconds for some in trials.values() for trial in some]):.1f}")
    return f"| {name} | " + " | ".join(cells) + " |"


def at_five(names: list[str]) -> None:
    """Write what is found of every kind at 5 % jitter alone, one seed: the part of the table that targets speak of."""
    lines, found = [], []
    for name in names or list(KINDS):
        if name in SETS and not DATA.exists():
            continue
        trial, some = run(KINDS[name], 0.05, 0, near_duplicate_vectors), KINDS[name](0).batch
        lines.append(
            f"| {name} | {some.shape[1]} | {trial.small:.2f} | {trial.large:.2f} | {100 * trial.honest:.2f} | "
            f"{trial.seconds:.1f} |"
        )
        found.append((trial.small, trial.large, 100 * trial.honest))
        print(lines[-1], flush=True)
    drawn = len(KINDS) - len(SETS.split(","))
    parts = {"all kinds": found, f"drawn sessions (the first {drawn})": found[:drawn], "public sets": found[drawn:]}
    means = [
        f"{part}: small {a:.2f}, large {b:.2f}, honest held {c:.2f} %"
        for part, some in parts.items()
        if some
        for a, b, c in [np.nanmean(some, axis=0)]
    ]
    if not names:
        seen = np.mean([pointer_traces(seed, 0.05) for seed in range(4)], axis=0)
        told = "Pointer traces as sequences, two groups of 8 in some 60 records, four seeds: "
        told += f"{seen[0]:.2f} of the replays held, honest {100 * seen[1]:.2f} %."
        AT_FIVE.write_text(HEAD_AT_FIVE + "\n".join(lines) + f"\n\nMeans: {'; '.join(means)}.\n\n{told}\n")


def main(seeds: int, names: list[str]) -> None:
    lines = []
    for name in names or list(KINDS):
        if name in SETS and not DATA.exists():
            print(f"{name}: skipped, there is no {DATA}", file=sys.stderr)
            continue
        lines.append(row(name, seeds))
        print(lines[-1], flush=True)
        if not names:
            RESULTS.write_text(HEAD.format(seeds=seeds) + "\n".join(lines) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("seeds", type=int, nargs="?", default=5)
    parser.add_argument("names", nargs="*", metavar="KIND", choices=[*KINDS, []], help="these kinds only; not written")
    parser.add_argument("--at-5", action="store_true", help="every kind at 5 %% jitter alone, one seed")
    given = parser.parse_args()
    if given.at_5:
        at_five(given.names)
    else:
        main(given.seeds, given.names)
