"""Run drills over their parameters and seeds, each in a home of its own, on several processes."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from poison_guard.drills.registry import DRILLS, Cell, kind_of
from poison_guard.drills.trial import Trial, run_trial
from poison_guard.drills.world import World
from poison_guard.errors import UsageError

__all__ = ["Measured", "measure", "sweep"]


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
        return run_trial(world, by=cell.by, home=home, lookalikes=lookalikes)


def _base(on: str, data: Path | None) -> dict[str, object]:
    from poison_guard.drills.crowds import find_data, load_crowd, load_messages

    if on == "synthetic":
        return {}
    folder = find_data(data)
    return {"base": load_messages(folder)} if kind_of(on) == "messages" else {"crowd": load_crowd(on, folder)}


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
