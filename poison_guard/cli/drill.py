"""`poison-guard drill`: attack the guard with what is known, its benign twins beside, and show what came of it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from poison_guard.cli.options import out_option
from poison_guard.cli.output import emit, say, table
from poison_guard.errors import StoreError, UsageError

if TYPE_CHECKING:
    from poison_guard.drills.drill import Drill
    from poison_guard.drills.report import Line

__all__ = ["drill_command"]

_ON = ("synthetic", "duck", "product", "rte", "speech", "tweets")
_SHOWN = {
    "drill": "drill",
    "on": "on",
    "with": "with",
    "attack held": "attack\nheld",
    "targets wrong": "targets\nwrong",
    "right": "\nright",
    "deferred": "\ndeferred",
    "honest held elsewhere": "honest\nheld",
    "on targets": "on\ntargets",
    "honest blocked": "\nblocked",
    "twin held": "twin\nheld",
    "in its world": "its\nworld",
    "hours": "\nhours",
}
"""Column of the whole table to its title on a terminal."""


@click.command("drill")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--list", "only_list", is_flag=True, help="List the drills with their parameters, and run none.")
@click.option("--seeds", default=1, show_default=True, type=click.IntRange(1, 1000), help="Seeds, 0 to N - 1.")
@click.option(
    "--on", default="synthetic", show_default=True, metavar="SET,...", help=f"Worlds: {', '.join(_ON)}, or all."
)
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Folder of public data.")
@click.option("--param", "params", multiple=True, metavar="K=V[,V]", help="Run with these values, each with each.")
@click.option(
    "--jobs",
    default=lambda: min(4, os.cpu_count() or 1),
    type=click.IntRange(1, 256),
    help="Processes. Default: cores.",
)
@out_option("Markdown file for the whole table.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON with a schema_version instead of a table.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def drill_command(
    names: tuple[str, ...],
    only_list: bool,
    seeds: int,
    on: str,
    data: Path | None,
    params: tuple[str, ...],
    jobs: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Run drills by NAME or number, all of them by default, each in a home of its own that is thrown away.

    Figures are in percent, mean (worst seed). Public data is looked for in --data or POISON_GUARD_DATA.
    """
    from poison_guard.drills.drill import cells
    from poison_guard.drills.registry import find_drills
    from poison_guard.drills.report import markdown, summarise
    from poison_guard.drills.sweep import sweep

    drills = find_drills(names)
    if only_list:
        _list(drills, as_json)
        return
    given = _given(params)
    worlds = _worlds(on)
    wanted = [cell for world in worlds for drill in drills for cell in cells(drill, world, given)]
    if not wanted:
        raise UsageError(f"none of {', '.join(d.name for d in drills)} runs on {on}; see `poison-guard drill --list`")
    lines = summarise(sweep(wanted, range(seeds), data=data, jobs=jobs, tell=say))
    if out is not None:
        _write(out, markdown(lines, command=_command(names, seeds, on, params)))
    if as_json:
        emit({"lines": [_as_json(line) for line in lines]})
    else:
        _show(lines)


def _worlds(on: str) -> list[str]:
    worlds = list(_ON) if on == "all" else list(dict.fromkeys(name.strip() for name in on.split(",")))
    unknown = next((name for name in worlds if name not in _ON), None)
    if unknown is not None:
        raise UsageError(f"--on knows no {unknown!r}; it knows {', '.join(_ON)} and all")
    return worlds


def _given(params: Sequence[str]) -> dict[str, list[Any]]:
    """Return parameter to its values: JSON where it is JSON, else text."""
    given: dict[str, list[Any]] = {}
    for text in params:
        name, equals, values = text.partition("=")
        if not name or not equals or not values:
            raise UsageError(f"--param needs NAME=VALUE, or NAME=VALUE,VALUE, got {text!r}")
        given[name] = [_value(value) for value in values.split(",")]
    return given


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _command(names: Sequence[str], seeds: int, on: str, params: Sequence[str]) -> str:
    words = ["poison-guard", "drill", *names, f"--seeds {seeds}", f"--on {on}", *(f"--param {p}" for p in params)]
    return " ".join(words)


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"the table cannot be written to {file}: {error.strerror or error}") from None


def _list(drills: Sequence[Drill], as_json: bool) -> None:
    rows = [
        {
            "number": d.number,
            "name": d.name,
            "what": d.what,
            "grid": [dict(p) for p in d.grid],
            "day_by_day": [dict(p) for p in d.days],
            "on": d.on or None,
            "on_public_data": [dict(p) for p in d.real],
            "benign": d.twin is None,
            "atlas": d.atlas,
            "remains": d.remains,
        }
        for d in drills
    ]
    if as_json:
        emit({"drills": rows})
        return
    told = [(r["number"], r["name"], r["what"], _sweeps(r["grid"] + r["day_by_day"]), r["on"] or "–") for r in rows]
    table("Drills", (">", "name", "what", "with", "on public"), told)


def _sweeps(grid: Sequence[Mapping[str, Any]]) -> str:
    """Return the values each parameter takes in a grid: ``share 0.3 0.6``."""
    names = dict.fromkeys(name for params in grid for name in params)
    found = {name: dict.fromkeys(_word(params[name]) for params in grid if name in params) for name in names}
    return ", ".join(f"{name} {' '.join(values)}" for name, values in found.items()) or "defaults"


def _word(value: Any) -> str:
    """Return a value as `--param` takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _show(lines: Sequence[Line]) -> None:
    from poison_guard.drills.report import COLUMNS, as_rows

    mixed = any(line.cell.on != "synthetic" for line in lines)
    shown = {name: title for name, title in _SHOWN.items() if name != "on" or mixed}
    wanted = [COLUMNS.index(name) for name in shown]
    titles = [title if name in ("drill", "on", "with") else f">{title}" for name, title in shown.items()]
    rows = [[row[k] for k in wanted] for row in as_rows(lines)]
    table("Drills: % of records or items, mean (worst seed)", titles, rows)


def _as_json(line: Line) -> dict[str, Any]:
    return dataclasses.asdict(line)
