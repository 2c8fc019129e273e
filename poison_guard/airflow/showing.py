"""What the in-process run prints last: tables of decisions, verdicts and models, and where to look next."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poison_guard.config import Contract

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from poison_guard.drills.world import World

__all__ = ["demo_tables", "gate_table", "models_table", "where_next", "why_closed"]

_ROWS = {"everything": "everything", "admitted": "what was admitted", "truth": "the truth"}
_FIGURES = {
    "accuracy": "accuracy",
    "worst_class": "worst class",
    "attack_success": "attack success",
    "robust_accuracy": "robust accuracy",
}


def demo_tables(contracts: Sequence[Contract], home: Path) -> Iterator[Any]:
    """Yield a rich table for each feed of the demo that `home` holds, the naive baseline beside the guard."""
    from poison_guard.drills.demo import NOTE, demo_world
    from poison_guard.drills.scoreboard import score_baseline, table
    from poison_guard.drills.worlds import WORLDS

    if not (home / NOTE).is_file():
        return
    for contract in contracts:
        if contract.name in WORLDS:
            world = demo_world(home, contract.name)
            yield table(_score(contract, home, world), score_baseline(world))


def _score(contract: Contract, home: Path, world: World) -> dict[str, Any]:
    """Score all that was stored of a feed, run upon run; the newest word on an item or a source counts."""
    import pandas as pd

    from poison_guard.drills.scoreboard import score
    from poison_guard.steps.opening import open_feed
    from poison_guard.steps.results import stored_result
    from poison_guard.store import list_runs

    with open_feed(str(contract.path), home) as feed:
        done = [run for run in list_runs(feed.store, contract.name, limit=1000) if run.status == "committed"]
        stored = [stored_result(feed, run) for run in reversed(done)]
    return score(
        world,
        pd.concat([result.decisions for result in stored]),
        pd.concat([result.items for result in stored]).drop_duplicates("item_id", keep="last"),
        pd.concat([result.sources for result in stored]).drop_duplicates("source_id", keep="last"),
        pd.concat([result.evidence for result in stored]),
        policy=contract.policy,
    )


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

    `learned` is what ``drills.learned.compare`` gives: a line each for ``everything``, ``admitted`` and ``truth`` (in
    the column ``row``, or as index) with shares in [0, 1], NaN where there is nothing to measure, and ``n``.
    """
    from rich.table import Table

    frame = learned.set_index("row") if "row" in learned.columns else learned
    out = Table(title=f"feed {_plain(feed)}: models", title_justify="left")
    out.add_column("trained on")
    for name in ("examples", *_FIGURES.values()):
        out.add_column(name, justify="right")
    for row, line in frame.iterrows():
        cells = [f"{float(line[key]):.1%}" if line[key] == line[key] else "–" for key in _FIGURES]
        out.add_row(_ROWS.get(str(row), _plain(row)), f"{int(line['n']):,}", *cells)
    return out


def _plain(text: object) -> str:
    """Return text that a terminal shows as it stands: no control characters, no markup of rich."""
    from rich.markup import escape

    from poison_guard.web.visible import visible

    return escape(visible(text))


def where_next(home: Path) -> str:
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
