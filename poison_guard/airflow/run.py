"""Run every DAG once in this process, guards before trainings: `python -m poison_guard.airflow.run`.

Airflow keeps its own SQLite under the home; its logs go to a file there, so that the terminal shows one line a DAG.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import poison_guard
from poison_guard.airflow.feeds import read_feeds
from poison_guard.airflow.tables import demo_tables, gate_tables, next_steps
from poison_guard.errors import ClosedError, ConfigError, GuardError, MissingExtraError, StoreError, UsageError
from poison_guard.files import private_folder
from poison_guard.text import visible

__all__ = ["DagOutcome", "dags_folder", "main", "point_airflow", "quiet", "run_dags"]

_KINDS = ("guard_", "retrain_")
"""DAGs to run, in this order: what is admitted is trained on in the same go."""
_CLOSES = {"gate", "approve", "admit", "verify"}
"""Tasks that fail when the gate is closed, which is an answer and no breakdown."""
_LONG = 1200
"""Characters of a DAG's line; reasons may quote what came from a feed."""


@dataclass(frozen=True, slots=True)
class DagOutcome:
    """How one DAG ended."""

    dag_id: str
    state: str
    """``success`` or ``failed``; a DAG that found nothing new is a success."""
    seconds: float
    counts: dict[str, int] | None
    """What the store task counted; None when nothing was new or the DAG failed before."""
    verdict: Mapping[str, Any] | None = None
    """What the gate task of a guard DAG said; None when there was nothing to judge or the gate is closed."""
    admitted: str | None = None
    """The snapshot that was admitted."""
    model: Mapping[str, Any] | None = None
    """What the promote task of a training said; None when nothing was due."""
    errors: tuple[str, ...] = ()
    """``task: message`` of each task that failed."""
    closed: bool = False
    """Whether the DAG failed because the gate is closed, and for nothing else."""


def dags_folder() -> Path:
    """Return the folder of the DAG files: ``dags`` of a checkout, else the copy in the installed package."""
    package = Path(poison_guard.__file__).parent
    checkout = package.parent / "dags"
    return checkout if (checkout / "guard.py").is_file() else package / "shipped" / "dags"


def point_airflow(airflow_home: Path, dags: Path) -> None:
    """Point this process at an Airflow of its own, whatever the environment says; call before `airflow` is imported."""
    if "airflow" in sys.modules:
        raise UsageError("airflow is imported already; start the in-process run in a fresh Python")
    if importlib.util.find_spec("airflow") is None:
        raise MissingExtraError.of("Airflow", "airflow")
    private_folder(airflow_home)
    for key in [key for key in os.environ if key.startswith("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN")]:
        del os.environ[key]  # never somebody else's database
    os.environ |= {
        "AIRFLOW_HOME": str(airflow_home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{airflow_home / 'airflow.db'}",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


def run_dags(
    home: str | Path,
    feeds: str | Path,
    *,
    airflow_home: str | Path | None = None,
    on_start: Callable[[str], None] = lambda _dag_id: None,
    on_end: Callable[[DagOutcome], None] = lambda _outcome: None,
) -> tuple[DagOutcome, ...]:
    """Run ``guard_<feed>`` of each contract in `feeds` once, then each ``retrain_<feed>``; no work is done twice.

    Nobody can be asked here: a snapshot that could not be judged is not admitted, and its run says why.

    `airflow_home` is ``airflow`` under `home` unless given. Raises `ConfigError` for a broken contract.
    """
    root = Path(home).absolute()
    os.environ |= {"POISON_GUARD_HOME": str(root), "POISON_GUARD_FEEDS": str(Path(feeds).absolute())}
    point_airflow(Path(airflow_home or root / "airflow").absolute(), dags_folder())
    if broken := read_feeds(dags_folder()).broken:
        raise ConfigError("; ".join(broken))
    from airflow.utils import db

    from poison_guard.airflow.versions import dagbag

    db.initdb()
    bag = dagbag().DagBag(dags_folder())
    if bag.import_errors:
        raise ConfigError("; ".join(bag.import_errors.values()))
    outcomes = []
    for dag_id in (d for kind in _KINDS for d in sorted(bag.dags) if d.startswith(kind)):
        on_start(dag_id)
        outcomes.append(_run(bag.dags[dag_id]))
        on_end(outcomes[-1])
    return tuple(outcomes)


def _run(dag: Any) -> DagOutcome:
    from poison_guard.airflow.versions import AirflowFailException

    errors: list[str] = []
    closed: list[bool] = []

    def remember(context: Any) -> None:
        task, error = context["ti"].task_id, context.get("exception")
        errors.append(f"{task}: {error or 'no message, which Airflow 3.1 does not hand on; see the log'}")
        closed.append(task in _CLOSES and isinstance(error, AirflowFailException))

    for task in dag.tasks:
        kwargs = task.partial_kwargs if task.is_mapped else task.__dict__
        kwargs["on_failure_callback"] = [remember]
    start = time.monotonic()
    run = dag.test()
    done = {t.task_id: t for t in run.get_task_instances() if t.state == "success"}
    said = {name: done[name].xcom_pull(task_ids=name) for name in ("store", "gate", "admit", "promote") if name in done}
    return DagOutcome(
        dag.dag_id,
        str(run.state),
        time.monotonic() - start,
        said.get("store"),
        said.get("gate"),
        (said.get("admit") or {}).get("snapshot_id"),
        said.get("promote"),
        tuple(errors),
        bool(closed) and all(closed),
    )


@contextmanager
def quiet(log: Path) -> Iterator[Any]:
    """Send all that the process and its children print into `log`; yields a text stream to the terminal's stderr."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with log.open("ab") as file, os.fdopen(os.dup(2), "w", encoding="utf-8") as terminal:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield terminal
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for target, descriptor in zip((1, 2), saved, strict=True):
                os.dup2(descriptor, target)
                os.close(descriptor)


def main(argv: list[str] | None = None) -> int:
    """Run the DAGs with progress on stderr; returns the exit code: 0, 1 when a gate is closed, 4 when a DAG failed."""
    parser = argparse.ArgumentParser(prog="python -m poison_guard.airflow.run", description=main.__doc__)
    parser.add_argument("--home", default=os.environ.get("POISON_GUARD_HOME") or "guard-home")
    parser.add_argument("--feeds", default=os.environ.get("POISON_GUARD_FEEDS") or "feeds")
    args = parser.parse_args(argv)
    log = Path(args.home).absolute() / "airflow" / "run.log"
    try:
        with quiet(log) as terminal:

            def say(text: str) -> None:
                terminal.write(text)
                terminal.flush()

            outcomes = run_dags(
                args.home,
                args.feeds,
                on_start=lambda dag_id: say(f"  {dag_id:<24}"),
                on_end=lambda outcome: say(_line(outcome)),
            )
    except (GuardError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return getattr(error, "exit_code", StoreError.exit_code)
    if any(outcome.state != "success" and not outcome.closed for outcome in outcomes):
        sys.stderr.write(f"a DAG failed; the whole story is in {log}\n")
        return StoreError.exit_code
    _show(Path(args.home))
    return ClosedError.exit_code if any(outcome.closed for outcome in outcomes) else 0


def _show(home: Path) -> None:
    from rich.console import Console

    from poison_guard.drills.demo import demo_seed

    console = Console()
    contracts, seed = read_feeds(dags_folder()).contracts, demo_seed(home)
    if seed is not None:
        sys.stderr.write("  measuring what the models learned …\n")
    for table in (*demo_tables(contracts, home), *gate_tables(contracts, home, seed=seed)):
        console.print(table)
        console.print()
    console.print(next_steps(home), markup=False, highlight=False, soft_wrap=True)


def _line(outcome: DagOutcome) -> str:
    if outcome.errors or outcome.state != "success":
        line = f"failed in {outcome.seconds:.0f} s: {'; '.join(outcome.errors)}"
    elif phrases := _phrases(outcome):
        line = f"{outcome.seconds:4.0f} s   {'; '.join(phrases)}"
    else:
        line = "nothing new"
    return f"{visible(line, limit=_LONG)}\n"


def _phrases(outcome: DagOutcome) -> list[str]:
    """Return the results of a DAG, a phrase each for intake, gate and training; empty when there was nothing to do."""
    phrases = []
    if outcome.counts is not None:
        shown = ("received", "accepted", "quarantined", "rejected")
        phrases.append(", ".join(f"{outcome.counts[key]:,} {key}" for key in shown if key in outcome.counts))
    if outcome.admitted is not None:
        phrases.append(f"{outcome.admitted} admitted")
    elif outcome.verdict is not None:
        phrases.append(f"not admitted, {outcome.verdict['outcome']}: {'; '.join(outcome.verdict['why'])}")
    if outcome.model is not None:
        promoted = "the champion is now" if outcome.model["promoted"] else "not promoted:"
        phrases.append(f"{promoted} {outcome.model['model_id']}: {outcome.model['why']}")
    return phrases


if __name__ == "__main__":
    raise SystemExit(main())
