"""Tables that `make run` prints after its DAGs: decisions, gates and models of the demo's feeds."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poison_guard.config import Contract
from poison_guard.errors import NotFoundError
from poison_guard.guard import Guard
from poison_guard.text import visible

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

__all__ = ["demo_tables", "gate_table", "gate_tables", "models_table", "next_steps", "why_closed"]


_TRAINED_ON = {"everything": "everything", "admitted": "what was admitted", "truth": "the truth"}
_FIGURES = {
    "accuracy": "accuracy",
    "worst_class": "worst class",
    "attack_success": "attack success",
    "robust_accuracy": "robust accuracy",
}


def demo_tables(contracts: Sequence[Contract], home: Path) -> Iterator[Any]:
    """Yield a rich table for each feed of the demo that `home` holds, the naive baseline beside the guard."""
    from poison_guard.drills.demo import demo_seed, demo_world
    from poison_guard.drills.scoreboard import score_baseline, score_home, table
    from poison_guard.drills.worlds import WORLDS

    if demo_seed(home) is None:
        return
    for contract in contracts:
        if contract.name in WORLDS:
            world = demo_world(home, contract.name)
            yield table(score_home(world, contract, home), score_baseline(world))


def gate_table(verdicts: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return a rich table of the gate's last verdict on each feed.

    `verdicts` maps a feed to ``{"outcome": str, "admitted": bool, "examples": int, "checks": [check as JSON]}``;
    ``examples`` and ``checks`` may be absent.
    """
    from rich.table import Table

    out = Table(title="gate", title_justify="left")
    for name in ("feed", "verdict", "admitted", "checks passed", "examples"):
        out.add_column(name, justify="right" if name in ("checks passed", "examples") else "left")
    for feed, verdict in verdicts.items():
        blocking = [c for c in verdict.get("checks", ()) if c.get("blocking", True)]
        passed = sum(c["outcome"] == "pass" for c in blocking)
        out.add_row(
            _plain(feed),
            _plain(verdict["outcome"]),
            "yes" if verdict["admitted"] else "no",
            f"{passed} of {len(blocking)}" if blocking else "–",
            f"{verdict['examples']:,}" if "examples" in verdict else "–",
        )
    return out


def why_closed(verdicts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what keeps the gate closed, a line each, for verdicts as in `gate_table` with their ``why``."""
    return "\n".join(
        f"{_plain(feed)}: {_plain(sentence)}"
        for feed, verdict in verdicts.items()
        if not verdict["admitted"]
        for sentence in verdict.get("why", ())
    )


def models_table(feed: str, learned: pd.DataFrame) -> Table:
    """Return a rich table of what three models of one feed learned, for measurement only.

    `learned` is what ``drills.training_effect.compare`` gives: a line each for ``everything``, ``admitted`` and
    ``truth`` (in the column ``row``, or as index) with shares in [0, 1], NaN where there is nothing to measure, and
    ``n``.
    """
    from rich.table import Table

    frame = learned.set_index("row") if "row" in learned.columns else learned
    out = Table(title=f"feed {_plain(feed)}: models", title_justify="left")
    out.add_column("trained on")
    for name in ("examples", *_FIGURES.values()):
        out.add_column(name, justify="right")
    for row, line in frame.iterrows():
        cells = [f"{float(line[key]):.1%}" if line[key] == line[key] else "–" for key in _FIGURES]
        out.add_row(_TRAINED_ON.get(str(row), _plain(row)), f"{int(line['n']):,}", *cells)
    return out


def _plain(text: object) -> str:
    """Return text that a terminal shows as it stands: no control characters, no markup of rich."""
    from rich.markup import escape

    return escape(visible(text))


def next_steps(home: Path) -> str:
    """Return the commands and files to look at after a run."""
    named = shlex.quote(str(home))
    reports = sorted((home / "reports").glob("*.html")) if (home / "reports").is_dir() else []
    lines = [f"  {file}" for file in reports[-6:]]
    guard = _command()
    commands = {
        f"{guard} status --home {named}": "what is where, and what waits",
        f"{guard} review list --feed captcha --groups campaign --home {named}": "the quarantine, campaign by campaign",
        f"{guard} review list --feed captcha --home {named}": "record by record, each with its reasons",
        "make up": "the DAGs in Airflow's own pages",
    }
    width = max(map(len, commands))
    return "\n".join(["Look next at", *lines, *(f"  {c:<{width}}  {why}" for c, why in commands.items())])


def _command() -> str:
    """Return how this shell calls the command line: by name, or by the path of the environment we run in."""
    if shutil.which("poison-guard"):
        return "poison-guard"
    beside = Path(sys.executable).with_name("poison-guard")
    return shlex.quote(os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside))


_BY_HAND = "by-hand"
"""Folder of the demo's home with the homes of the two cases."""


def gate_tables(contracts: Sequence[Contract], home: Path, *, seed: int | None) -> Iterator[Any]:
    """Yield the gate's table and, for the feeds of a demo (drawn from `seed`), one of the models trained after it."""
    rows = {contract.name: row for contract in contracts if (row := _last_verdict(contract, home)) is not None}
    if seed is not None and rows:
        from poison_guard.drills.training_effect import gate_by_hand

        rows |= {case.pop("case"): case for case in gate_by_hand(home / _BY_HAND, seed)}
    if rows:
        yield gate_table(rows)
        if sentences := why_closed(rows):
            yield sentences
    if seed is not None:
        from poison_guard.drills.training_effect import compare_admitted

        for contract in contracts:
            learned = compare_admitted(contract, home)
            if learned is not None:
                yield models_table(contract.name, learned)


def _last_verdict(contract: Contract, home: Path) -> dict[str, Any] | None:
    """Return the last verdict on a feed, as `gate_table` takes it; None where nothing was judged yet."""
    try:
        status = Guard.open(str(contract.path), home=home).gate_status()
    except NotFoundError:
        return None
    checks = status.checks.to_dict("records")
    why = [f"{check['name']}: {check['why']}" for check in checks if check["blocking"] and check["outcome"] != "pass"]
    facts = {"outcome": status.outcome, "admitted": status.admitted, "snapshot_id": status.snapshot_id, "why": why}
    return {**facts, "checks": checks, "examples": status.examples}
