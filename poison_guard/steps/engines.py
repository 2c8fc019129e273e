"""Engines: who scores the partitions of a run: this process, processes beside it, or tasks and actors of Ray.

All of them call the stage `score` with the run's id, as Airflow's mapped tasks do: it reads its partition from the lake
and writes its scores there. What is stored is therefore the same, byte for byte, whoever scored. A worker that is lost
ends the run in a sentence; what was scored stays, and the next run goes on from there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from poison_guard.config import Contract, Settings
from poison_guard.errors import EngineError, GuardError, MissingExtraError, UsageError
from poison_guard.steps.collect import Source
from poison_guard.steps.cost import measured
from poison_guard.steps.handover import Handover, LakeHandover, Pin, SharedHandover
from poison_guard.steps.opening import Feed, open_feed

__all__ = ["handover_of", "refuse_airflow", "score_all", "spreads"]

_RETRIES = 2
"""Times that Ray starts the scoring of a partition again after it lost the worker: a machine may go, a bug stays."""


def refuse_airflow(feed: Feed, source: Source) -> None:
    """Raise `UsageError` where Airflow's tasks take in what is new; what is given by hand they would not find."""
    if feed.settings.engine == "airflow" and source is None:
        raise UsageError(
            f"the engine of {feed.settings.home} is airflow: its DAG guard_{feed.contract.name} takes batches in; "
            "POISON_GUARD_ENGINE=local in the environment lets this command do so"
        )


def spreads(feed: Feed, partitions: int) -> bool:
    """Return whether so many partitions are scored in other processes."""
    several = feed.settings.engine == "ray" or (feed.settings.engine == "local" and feed.settings.workers > 1)
    return several and partitions > 1


def handover_of(feed: Feed, run_id: str, rows: int) -> Handover:
    """Return the hand-over of a run of so many records that this process leads."""
    partitions = -(-rows // feed.contract.data.partition_rows)
    return SharedHandover(feed.store.lake, run_id) if spreads(feed, partitions) else Handover()


def score_all(feed: Feed, handover: Handover, pin: Pin, alone: Callable[[int], None]) -> None:
    """Score what is not scored yet by the pin: by `alone` in this process, or in those of the feed's engine.

    `EngineError` where a process was lost, or the engine cannot be reached.
    """
    parts, run_id = range(handover.get("partitions")["n"]), handover.run_id
    waiting = [part for part in parts if not handover.has(f"scored-{part:05d}@{pin}")]
    if run_id is None or not spreads(feed, len(waiting)):
        for part in waiting:
            with measured(handover, f"score-{part:05d}"):
                alone(part)
        return
    (_score_by_ray if feed.settings.engine == "ray" else _score_in_pool)(feed, run_id, waiting)
    if lost := [part for part in waiting if not handover.has(f"scored-{part:05d}@{pin}")]:
        raise EngineError(
            f"partition {lost[0]} of the run {run_id} was scored, but its scores are not in the lake; give the "
            "processes that score the same POISON_GUARD_LAKE and POISON_GUARD_STORE as this one"
        )


def _score_in_pool(feed: Feed, run_id: str, partitions: Sequence[int]) -> None:
    """Score in processes of this machine, started anew: a fork would share locks of torch and of the store."""
    workers = min(feed.settings.workers, len(partitions))
    try:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            tasks = [pool.submit(_score, feed.contract, feed.settings, run_id, part) for part in partitions]
            try:
                for task in as_completed(tasks):
                    task.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    except BrokenProcessPool:
        raise EngineError(
            f"a process that scored the run {run_id} was lost: it was killed, its memory ran out, or a script that "
            'calls the guard lacks `if __name__ == "__main__":`; nothing of the run was stored; run it again, which '
            "goes on from what is scored, with fewer `workers` or `partition_rows` where memory is short"
        ) from None


def _score_by_ray(feed: Feed, run_id: str, partitions: Sequence[int]) -> None:
    """Score in tasks of Ray, or one actor for each of its GPUs, which keeps its models on it."""
    ray = _ray(feed)
    where: tuple[Any, ...] = (feed.contract, str(feed.settings.home), run_id)
    wants_gpu = feed.settings.device != "cpu" and bool(feed.contract.features)
    gpus = int(ray.cluster_resources().get("GPU", 0)) if wants_gpu else 0
    if gpus:
        made = ray.remote(num_gpus=1, max_restarts=_RETRIES, max_task_retries=_RETRIES)(_Scorer)
        actors = [made.remote(*where) for _ in range(min(gpus, len(partitions)))]
        tasks = [actors[n % len(actors)].score.remote(part) for n, part in enumerate(partitions)]
    else:
        task = ray.remote(num_cpus=1, max_retries=_RETRIES)(_score)
        tasks = [task.remote(*where, part) for part in partitions]
    try:
        while tasks:
            done, tasks = ray.wait(tasks)
            ray.get(done)
    except ray.exceptions.RayTaskError as error:
        cause = getattr(error, "cause", None)
        raise (cause if isinstance(cause, GuardError) else EngineError(_ray_sentence(run_id, cause or error))) from None
    except ray.exceptions.RayError as error:
        raise EngineError(_ray_sentence(run_id, error)) from None
    finally:
        for left in tasks:
            ray.cancel(left, force=not gpus)


def _ray(feed: Feed) -> Any:
    """Return Ray, connected: to the cluster of ``RAY_ADDRESS``, else to one that is started on this machine."""
    try:
        import ray
    except ImportError:
        raise MissingExtraError.of("Ray", "ray") from None
    if not ray.is_initialized():
        mine: dict[str, Any] = {"num_cpus": feed.settings.workers, "include_dashboard": False}
        mine = {} if os.environ.get("RAY_ADDRESS") else mine
        try:
            ray.init(log_to_driver=False, logging_level="ERROR", **mine)
        except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
            raise EngineError(
                f"Ray cannot be reached: {_first_line(error)}; see RAY_ADDRESS, or set POISON_GUARD_ENGINE=local"
            ) from None
    return ray


def _ray_sentence(run_id: str, error: BaseException) -> str:
    return (
        f"a worker of Ray that scored the run {run_id} was lost {_RETRIES + 1} times or failed "
        f"({type(error).__name__}: {_first_line(error)}); nothing of the run was stored; run it again, which goes on "
        "from what is scored"
    )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "no message")[:200]


class _Scorer:
    """An actor of Ray that scores partitions of one run."""

    def __init__(self, contract: Contract, settings: Settings | str, run_id: str) -> None:
        self._where = contract, settings, run_id

    def score(self, partition: int) -> None:
        """Score one partition."""
        _score(*self._where, partition)


class _Opened:
    """What a process that scores keeps from one partition to the next: the feed, open, and the models of its run."""

    run_id: str | None = None
    stack = ExitStack()
    feed: Feed
    handover: Handover


def _score(contract: Contract, settings: Settings | str, run_id: str, partition: int) -> None:
    """Score one partition in this process. By the path of a home, its settings and secrets are those found there."""
    from poison_guard.steps.stages import stage_score

    if run_id != _Opened.run_id:
        _Opened.run_id = None
        _Opened.stack.close()
        place = settings if isinstance(settings, Settings) else Path(settings)
        _Opened.feed = _Opened.stack.enter_context(open_feed(contract, place, create_store=False))
        _Opened.handover = LakeHandover(_Opened.feed.store.lake, run_id)
        _Opened.run_id = run_id
    stage_score(_Opened.feed, run_id, partition, _Opened.handover)
