"""Run drills over their parameters and seeds, and show what was measured: mean, worst and interval, the twin beside.

Each cell runs in a home of its own; several processes share the work.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from poison_guard.drills.drill import Cell, kind_of
from poison_guard.drills.registry import DRILLS
from poison_guard.drills.trial import Trial, run_trial
from poison_guard.drills.whole_line import run_line
from poison_guard.drills.world import World
from poison_guard.errors import UsageError
from poison_guard.numerics.intervals import proportion_bounds

__all__ = [
    "COLUMNS",
    "DrillSummary",
    "Measured",
    "Share",
    "as_rows",
    "glance",
    "markdown",
    "measure",
    "summarise",
    "sweep",
    "with_words",
]


@dataclass(frozen=True, slots=True)
class Measured:
    """One cell with one seed: the attack's trial and its benign twin's, which is None where the drill has none."""

    cell: Cell
    attack: Trial
    twin: Trial | None
    seconds: float
    """CPU seconds that both took."""


def measure(cell: Cell, seed: int, data: Path | None = None) -> Measured:
    """Run a cell and its twin with one seed; `data` is the folder of public sets, where the cell needs one.

    The accounts that attack are the twin's look-alikes, where it has them too.
    """
    drill = DRILLS[cell.drill]
    began = time.process_time()
    base = _base(cell.on, data)
    world = _drawn(drill.function(cell.on), cell, seed, base)
    attack, twin = _trial(world, cell), None
    if drill.twin:
        attackers = world.source_truth.loc[~world.source_truth["honest"], "source_id"]
        twin = _trial(_drawn(drill.function(cell.on, twin=True), cell, seed, base), cell, attackers.tolist())
    return Measured(cell, attack, twin, time.process_time() - began)


def _drawn(make: Callable[..., World], cell: Cell, seed: int, base: Mapping[str, object]) -> World:
    """Return the world of a cell; `UsageError` where its parameters make none."""
    try:
        return make(seed, **base, **cell.params)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        if "unexpected keyword" in str(error):
            name = str(error).rpartition(" ")[2]
            raise UsageError(
                f"the drill {cell.drill} has no parameter {name}; see `poison-guard drill --list`"
            ) from error
        params = ", ".join(f"{key} {value!r}" for key, value in cell.params.items()) or "its defaults"
        raise UsageError(f"the drill {cell.drill} cannot be drawn with {params}: {error}") from error


def _trial(world: World, cell: Cell, lookalikes: Sequence[str] = ()) -> Trial:
    with TemporaryDirectory(prefix="poison-guard-drill-") as home:
        if DRILLS[cell.drill].line:
            return run_line(world, by=cell.by, home=home)
        return run_trial(world, by=cell.by, home=home, lookalikes=lookalikes)


def _base(on: str, data: Path | None) -> dict[str, object]:
    from poison_guard.drills.crowds import find_data, load_crowd, load_messages, load_pictures

    if on == "synthetic":
        return {}
    folder = find_data(data)
    match kind_of(on):
        case "messages":
            return {"base": load_messages(folder)}
        case "pictures":
            return {"base": load_pictures(folder)}
    return {"crowd": load_crowd(on, folder)}


def sweep(
    cells: Sequence[Cell],
    seeds: Sequence[int],
    *,
    data: Path | None = None,
    jobs: int = 1,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Measured]:
    """Return every cell with every seed, in that order whatever `jobs` is; `tell` gets a line for each that is done.

    The first error ends the sweep. Workers start afresh and use one thread each.
    """
    wanted = [(cell, seed) for cell in cells for seed in seeds]
    done: dict[int, Measured] = {}
    for at, trial in _results(wanted, data, jobs):
        done[at] = trial
        cell, seed = wanted[at]
        tell(f"{len(done)}/{len(wanted)} {cell.drill} on {cell.on}, seed {seed}: {trial.seconds:.0f} s")
    return [done[at] for at in range(len(wanted))]


def _results(wanted: list[tuple[Cell, int]], data: Path | None, jobs: int) -> Iterator[tuple[int, Measured]]:
    if jobs == 1 or len(wanted) == 1:
        yield from ((at, measure(cell, seed, data)) for at, (cell, seed) in enumerate(wanted))
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn) as pool:
        tasks = {pool.submit(measure, cell, seed, data): at for at, (cell, seed) in enumerate(wanted)}
        try:
            for task in as_completed(tasks):
                yield tasks[task], task.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_LEGEND = """\
Every cell is drawn anew for each seed, ingested into an empty home, sealed, and read back. In percent: mean (worst
seed, where it is another) [95 % interval of the mean: the wider of exact binomial over all records and Student's t over
seeds].

**attack held**: attack records in quarantine at the end; **at first**: when they were first decided, before late
evidence took more back. **targets wrong, right, deferred**: of all targeted items, what a sealed snapshot holds.
**honest held**: of honest records about other than targeted items, and about those. **twin held**: of the own
records of the benign look-alike with the same parameters; **in its world**: of all honest records there. **hours**:
from the first attack record to the batch from which on half of what had come was held. **accepted each**: attack
records that passed, an attacking account. **excess unguarded, guarded**: of what the attack aims at, the share that a
model reads as the attacker wants, less the share of a model of the same recipe and seed without the poison; for a model
trained on all that came, and for the champion (0 where none is). **accuracy lost**: of the champion, against the model
without the poison. **ended**: champion, closed by the gate, or refused at promotion; **twin ended**: the twin's line.
"""


@dataclass(frozen=True, slots=True)
class Share:
    """A share over seeds, in [0, 1]: its mean, its worst, and a 95 % interval of the mean."""

    mean: float
    worst: float
    low: float
    high: float
    n: int
    """What it is a share of, all seeds together."""


@dataclass(frozen=True, slots=True)
class DrillSummary:
    """One cell over its seeds; a figure is None where there is nothing to measure."""

    cell: Cell
    seeds: int
    shares: Mapping[str, Share | None]
    hours: float | None
    """Mean time to detection over the seeds that have one; None for cells run in one batch."""
    undetected: int
    """Seeds, run day by day, where less than half of the attack was held at the end."""
    accepted_each: float | None
    """Attack records accepted, a source that sends any: mean over seeds."""
    seconds: float
    """CPU seconds a seed."""
    ended: tuple[str, ...] = ()
    """How the whole line ended, a seed each; so does `twin_ended`."""
    twin_ended: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Figure:
    title: str
    share: str
    whole: str
    good_is_high: bool = False
    difference: bool = False
    """Of two shares: it may be negative, and only the spread over seeds bounds it."""
    of_twin: bool = False


_FIGURES: Mapping[str, _Figure] = {
    "recall": _Figure("attack held", "attack_recall", "attack_records", good_is_high=True),
    "recall_at_first": _Figure("at first", "recall_at_first", "attack_records", good_is_high=True),
    "wrong": _Figure("targets wrong", "target_wrong", "target_items"),
    "right": _Figure("right", "target_right", "target_items", good_is_high=True),
    "deferred": _Figure("deferred", "target_deferred", "target_items"),
    "elsewhere": _Figure("honest held elsewhere", "honest_held_elsewhere", "honest_elsewhere"),
    "on_targets": _Figure("on targets", "honest_held_on_targets", "honest_on_targets"),
    "blocked": _Figure("honest blocked", "honest_sources_blocked_rate", "honest_sources"),
    "twin": _Figure("twin held", "own_held", "own_records", of_twin=True),
    "twin_world": _Figure("in its world", "honest_held_rate", "honest_records", of_twin=True),
    "twin_blocked": _Figure("twin blocked", "honest_sources_blocked_rate", "honest_sources", of_twin=True),
    "twin_wrong": _Figure("twin wrong", "target_wrong", "target_items", of_twin=True),
    "before": _Figure("excess unguarded", "excess_before", "aimed", difference=True),
    "after": _Figure("excess guarded", "excess_after", "aimed", difference=True),
    "lost": _Figure("accuracy lost", "accuracy_lost", "judged", difference=True),
}
_GLANCE = ("recall", "wrong", "right", "deferred", "elsewhere", "on_targets", "twin", "twin_world", "before", "after")
COLUMNS = (
    "drill",
    "on",
    "with",
    *(f.title for f in _FIGURES.values()),
    "hours",
    "accepted each",
    "ended",
    "twin ended",
    "seeds",
)
"""Titles of the cells that `as_rows` returns."""


def summarise(measured: Sequence[Measured]) -> list[DrillSummary]:
    """Return one line per cell, in the order in which cells were first measured."""
    by_cell: list[tuple[Cell, list[Measured]]] = []
    for one in measured:
        mine = next((group for cell, group in by_cell if cell == one.cell), None)
        if mine is None:
            by_cell.append((one.cell, [one]))
        else:
            mine.append(one)
    return [_summary_of(cell, group) for cell, group in by_cell]


def _summary_of(cell: Cell, group: list[Measured]) -> DrillSummary:
    benign = DRILLS[cell.drill].twin is None
    attacks = [] if benign else [one.attack for one in group]
    twins = [one.attack for one in group] if benign else [one.twin for one in group if one.twin]
    shares = {name: _share(twins if f.of_twin else attacks, f) for name, f in _FIGURES.items()}
    by_day = attacks if cell.by == "day" else []
    hours = [h for trial in by_day if (h := trial.figures["detect_hours"]) is not None]
    each = [e for trial in attacks if (e := trial.figures["accepted_per_attacker"]) is not None]
    return DrillSummary(
        cell,
        len(group),
        shares,
        float(np.mean(hours)) if hours else None,
        len(by_day) - len(hours),
        float(np.mean(each)) if each else None,
        float(np.mean([one.seconds for one in group])),
        *(tuple(t.figures["ended"] for t in trials if "ended" in t.figures) for trials in (attacks, twins)),
    )


def _share(trials: Sequence[Trial], figure: _Figure) -> Share | None:
    """Summarise one figure over seeds.

    The interval is the wider, on each side, of two: exact binomial (Clopper and Pearson 1934) of all seeds' counts,
    which takes records for independent, and Student's t of the seeds' shares, which needs no such thing but sees no
    spread in few seeds that agree.
    """
    pairs = [
        (t.figures[figure.share], t.figures[figure.whole]) for t in trials if t.figures.get(figure.share) is not None
    ]
    if not pairs:
        return None
    values = np.array([share for share, _ in pairs])
    n = sum(int(whole) for _, whole in pairs)
    hits = sum(round(share * whole) for share, whole in pairs)
    low, high = proportion_bounds(hits, n, low_tail=0.025, high_tail=0.025) if not figure.difference else _bare(values)
    if len(values) > 1:
        from scipy import stats

        half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
        low, high = min(low, values.mean() - half), max(high, values.mean() + half)
    worst = values.min() if figure.good_is_high else values.max()
    floor = -1.0 if figure.difference else 0.0
    return Share(float(values.mean()), float(worst), max(floor, float(low)), min(1.0, float(high)), n)


def _bare(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.mean())


def with_words(cell: Cell) -> str:
    """Return the parameters of a cell as people write them, and how its records came."""
    words = [f"{name} {value if isinstance(value, str) else json.dumps(value)}" for name, value in cell.params.items()]
    return ", ".join(words + (["day by day"] if cell.by == "day" else [])) or "defaults"


def as_rows(
    lines: Sequence[DrillSummary], cell_of: Callable[[Share | None], str] | None = None
) -> list[tuple[str, ...]]:
    """Return the cells of the table as text, in the order of `COLUMNS`."""
    shown = cell_of or _brief
    return [
        (
            line.cell.drill,
            line.cell.on,
            with_words(line.cell),
            *(shown(line.shares[name]) for name in _FIGURES),
            _hours(line),
            "–" if line.accepted_each is None else f"{line.accepted_each:.1f}",
            _endings(line.ended),
            _endings(line.twin_ended),
            str(line.seeds),
        )
        for line in lines
    ]


def _hours(line: DrillSummary) -> str:
    if line.cell.by == "all":
        return "–"
    hours = "never" if line.hours is None else f"{line.hours:.0f}"
    return f"{hours} ({line.undetected} never)" if line.hours is not None and line.undetected else hours


def _endings(ended: Sequence[str]) -> str:
    """Return how lines ended: ``champion``; with counts where not all ended alike."""
    counts = {how: list(ended).count(how) for how in dict.fromkeys(ended)}
    return "; ".join(how if len(counts) == 1 else f"{how} {n}" for how, n in counts.items()) or "–"


def _brief(share: Share | None) -> str:
    """Mean and, in brackets where it is another, the worst seed, in percent."""
    if share is None:
        return "–"
    mean, worst = f"{100 * share.mean:.1f}", f"{100 * share.worst:.1f}"
    return mean if mean == worst else f"{mean} ({worst})"


def _long(share: Share | None) -> str:
    return "–" if share is None else f"{_brief(share)} [{100 * share.low:.1f}–{100 * share.high:.1f}]"


def glance(lines: Sequence[DrillSummary]) -> list[str]:
    """Return a Markdown table, a row per drill and set: its least and greatest mean over its cells, and what remains.

    In percent.
    """
    titles = [_FIGURES[name].title for name in _GLANCE]
    rows = [f"| drill | on | {' | '.join(titles)} | what remains |", "|---|---|" + "---:|" * len(titles) + "---|"]
    for drill, on in dict.fromkeys((line.cell.drill, line.cell.on) for line in lines):
        mine = [line for line in lines if (line.cell.drill, line.cell.on) == (drill, on)]
        figures = [_range([line.shares[name] for line in mine]) for name in _GLANCE]
        rows.append(f"| {drill} | {on} | {' | '.join(figures)} | {DRILLS[drill].remains} |")
    return rows


def _range(shares: Sequence[Share | None]) -> str:
    means = [share.mean for share in shares if share is not None]
    if not means:
        return "–"
    least, greatest = f"{100 * min(means):.1f}", f"{100 * max(means):.1f}"
    return least if least == greatest else f"{least}–{greatest}"


def markdown(lines: Sequence[DrillSummary], *, command: str) -> str:
    """Return the report of a sweep: what it measured, and a table of attacks and twins."""
    seeds = max((line.seeds for line in lines), default=0)
    head = [
        f"# Drills, {seeds} seed{'' if seeds == 1 else 's'}\n\nWritten by `{command}`.",
        _LEGEND,
        "## At a glance\n\nMeans over seeds, the least and the greatest of a drill's cells.\n",
        *glance(lines),
        "\n## Every cell\n",
        f"| {' | '.join(COLUMNS)} |",
        "|---|---|---|" + "---:|" * (len(COLUMNS) - 3),
    ]
    rows = [f"| {' | '.join(row)} |" for row in as_rows(lines, _long)]
    seconds = sum(line.seconds * line.seeds for line in lines)
    return "\n".join([*head, *rows, "", f"CPU time: {seconds / 60:.1f} min."]) + "\n"
