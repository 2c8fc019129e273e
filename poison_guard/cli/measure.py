"""The commands `tune`, `coverage` and `drill`: what thresholds cost, which attacks are seen, what simulated ones do."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from poison_guard.cli.options import common_options, feed_option, out_option
from poison_guard.cli.output import print_json, print_progress, print_result, print_table, progress
from poison_guard.errors import InconclusiveError, UsageError
from poison_guard.files import write_text

if TYPE_CHECKING:
    from poison_guard.drills.drill import Drill
    from poison_guard.drills.report import DrillSummary
    from poison_guard.guard import Line, TuneResult

__all__ = ["coverage_command", "drill_command", "tune_command"]


@click.command("tune")
@feed_option
@click.option(
    "--rates",
    default="0.002,0.005,0.01,0.02,0.05",
    show_default=True,
    metavar="RATE,...",
    help="Values of false_quarantine_rate to try.",
)
@click.option(
    "--alphas",
    default="0.0001,0.01",
    show_default=True,
    metavar="ALPHA,...",
    help="Values of source_alpha and campaign_alpha to try.",
)
@click.option("--minutes", default=1.0, show_default=True, type=click.FloatRange(0, min_open=True), help="A record.")
@click.option(
    "--per-day",
    type=click.FloatRange(0, min_open=True),
    help="Records a day. Default: as the last runs took in; 1,000 before there are any.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the attacks.")
@common_options
def tune_command(
    feed: str,
    rates: str,
    alphas: str,
    minutes: float,
    per_day: float | None,
    seed: int,
    home: Path,
    as_json: bool,
) -> None:
    """Try thresholds on the feed's trusted records, and on small attacks made of them; nothing is changed.

    Honest records are the holdout split, which no model is fitted on. The attacks are yours only in part: real ones may
    be easier or harder. What a threshold is set to stands in the feed's contract, [policy].
    """
    from poison_guard.guard import Guard

    guard = Guard.open(feed, home=home)
    rates_tried, alphas_tried = _numbers(rates, "--rates"), _numbers(alphas, "--alphas")
    with progress("trying thresholds"):
        result = guard.tune(rates=rates_tried, alphas=alphas_tried, minutes=minutes, per_day=per_day, seed=seed)
    if as_json:
        print_json(result.to_dict())
    else:
        _print_tuning(result)


def _numbers(text: str, option: str) -> list[float]:
    """Return the numbers of a comma-separated list; `UsageError` names what is none."""
    numbers: list[float] = []
    for part in filter(None, (word.strip() for word in text.split(","))):
        try:
            numbers.append(float(part))
        except ValueError:
            raise UsageError(f"{option} takes numbers with commas between, got {part!r}") from None
    return numbers


def _print_tuning(result: TuneResult) -> None:
    columns: dict[str, Callable[[Line], object]] = {
        "": lambda line: "now" if line.present else "",
        ">own content\nrate": lambda line: f"{line.rate:g}",
        ">source\nalpha": lambda line: f"{line.source_alpha:g}",
        ">campaign\nalpha": lambda line: f"{line.campaign_alpha:g}",
        ">honest\nlost": lambda line: f"{line.share:.1%}",
        ">95 %\ninterval": lambda line: f"{line.lost_low:.1%} – {line.lost_high:.1%}",
        ">by own\ncontent": lambda line: f"{line.lost_by.get('record', 0) / line.honest:.1%}",
    }
    columns |= {f">{name}\nmissed": lambda line, name=name: _missed(line, name) for name in result.attacks}
    columns |= {
        ">to look at\na day": lambda line: f"{line.held_a_day:,.1f}",
        ">hours\na day": lambda line: f"{line.hours_a_day:,.1f}",
    }
    rows = [[cell(line) for cell in columns.values()] for line in result.lines]
    print_table(f"Thresholds of {result.feed}, tried on its trusted records", list(columns), rows)
    for remark in result.remarks():
        print_result(remark)


def _missed(line: Line, name: str) -> str:
    return "waits" if line.unjudged else f"{line.missed[name]:.0%}"


@click.command("coverage")
@click.argument("data", nargs=-1)
@feed_option
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the attacks.")
@common_options
def coverage_command(data: tuple[str, ...], feed: str, seed: int, home: Path, as_json: bool) -> int:
    """Measure which attacks on the feed are held, and from what size; `scan`, `run` and `status` then say it.

    Attacks of each kind are put among the newest records of DATA (paths or URLs; default: the contract's [data], else
    what the store holds), ten of each size tried. Nothing of the feed is stored; the result is kept in the home. Exit
    code 3: nothing could judge what these records say.
    """
    from poison_guard.guard import Guard

    guard = Guard.open(feed, home=home)
    with progress("putting attacks among the feed's records"):
        result = guard.coverage(list(data) or None, seed=seed)
    if as_json:
        print_json(result.to_dict())
    else:
        columns, rows = result.table()
        print_table(f"Attacks on {result.coverage.feed}", columns, rows)
        for remark in result.remarks():
            print_result(remark)
    return 0 if result.coverage.judged else InconclusiveError.exit_code


_ON = ("synthetic", "duck", "product", "rte", "speech", "tweets", "mnist")
_DRILL_COLUMNS = {
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
_LINE_COLUMNS = {
    "drill": "drill",
    "on": "on",
    "with": "with",
    "attack held": "attack\nheld",
    "excess unguarded": "excess\nunguarded",
    "excess guarded": "excess\nguarded",
    "accuracy lost": "accuracy\nlost",
    "ended": "ended",
    "honest held elsewhere": "honest\nheld",
    "twin held": "twin\nheld",
    "twin ended": "twin ended",
}
"""The same of drills through the whole line."""
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

    Figures are in percent, mean (worst seed). Public data is looked for in --data or POISON_GUARD_DATA. The NAME `llm`
    alone tells how few records of the attacks on language models' feedback are found, by accounts and age (--on
    synthetic, replies, notes; --param attack, records, accounts, age); --out writes its picture beside, as SVG.
    """
    from poison_guard.drills.drill import cells
    from poison_guard.drills.registry import find_drills
    from poison_guard.drills.report import markdown, summarise, sweep

    given = _given(params)
    if "llm" in names:
        if len(names) > 1 or only_list:
            raise UsageError("the drill llm is run alone: `poison-guard drill llm`; its parameters are in --help")
        _count(seeds, on, data, given, out, as_json, _command(names, seeds, on, params))
        return
    drills = find_drills(names)
    if only_list:
        _list_drills(drills, as_json)
        return
    worlds = _worlds(on)
    wanted = [cell for world in worlds for drill in drills for cell in cells(drill, world, given)]
    if not wanted:
        raise UsageError(f"none of {', '.join(d.name for d in drills)} runs on {on}; see `poison-guard drill --list`")
    lines = summarise(sweep(wanted, range(seeds), data=data, jobs=jobs, tell=print_progress))
    if out is not None:
        write_text(markdown(lines, command=_command(names, seeds, on, params)), out)
    if as_json:
        print_json({"lines": [_as_json(line) for line in lines]})
    else:
        _print_drills(lines)


_FEEDS_OF_REPLIES = ("synthetic", "replies", "notes")


def _count(
    seeds: int,
    on: str,
    data: Path | None,
    given: Mapping[str, Sequence[Any]],
    out: Path | None,
    as_json: bool,
    command: str,
) -> None:
    """Run the drill on language models' feedback and print its table; write it and its picture where `out` is given."""
    from poison_guard.drills.crowds import find_data
    from poison_guard.drills.llm_counts import COLUMNS, as_rows, chosen, count_lines, markdown
    from poison_guard.web.counts_picture import counts_picture

    worlds = list(_FEEDS_OF_REPLIES) if on == "all" else [name.strip() for name in on.split(",")]
    unknown = next((name for name in worlds if name not in _FEEDS_OF_REPLIES), None)
    if unknown is not None:
        raise UsageError(f"--on of the drill llm knows no {unknown!r}; it knows {', '.join(_FEEDS_OF_REPLIES)} and all")
    folder = None if worlds == ["synthetic"] else find_data(data)
    choices = chosen(given)
    lines = [
        line for world in worlds for line in count_lines(world, choices, range(seeds), data=folder, tell=print_progress)
    ]
    if not lines:
        raise UsageError(f"none of {', '.join(choices['attack'])} runs on {on}")
    if out is not None:
        write_text(counts_picture(lines), out.with_suffix(".svg"))
        write_text(markdown(lines, command=command, picture=out.with_suffix(".svg").name), out)
    if as_json:
        print_json({"lines": [dataclasses.asdict(line) for line in lines]})
    else:
        titles = [name if name in ("attack", "what", "on", "accounts") else f">{name}" for name in COLUMNS]
        print_table("Attacks on language models' feedback: records found and missed", titles, as_rows(lines))


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
        given[name] = [_parse_value(value) for value in values.split(",")]
    return given


def _parse_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _command(names: Sequence[str], seeds: int, on: str, params: Sequence[str]) -> str:
    words = ["poison-guard", "drill", *names, f"--seeds {seeds}", f"--on {on}", *(f"--param {p}" for p in params)]
    return " ".join(words)


def _list_drills(drills: Sequence[Drill], as_json: bool) -> None:
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
        print_json({"drills": rows})
        return
    shown = [(r["number"], r["name"], r["what"], _sweeps(r["grid"] + r["day_by_day"]), r["on"] or "–") for r in rows]
    print_table("Drills", (">", "name", "what", "with", "on public"), shown)


def _sweeps(grid: Sequence[Mapping[str, Any]]) -> str:
    """Return the values each parameter takes in a grid: ``share 0.3 0.6``."""
    names = dict.fromkeys(name for params in grid for name in params)
    found = {name: dict.fromkeys(_word(params[name]) for params in grid if name in params) for name in names}
    return ", ".join(f"{name} {' '.join(values)}" for name, values in found.items()) or "defaults"


def _word(value: Any) -> str:
    """Return a value as `--param` takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _print_drills(lines: Sequence[DrillSummary]) -> None:
    """Print the lines, those of the whole line in a table of their own."""
    for columns, whole in ((_DRILL_COLUMNS, False), (_LINE_COLUMNS, True)):
        mine = [line for line in lines if bool(line.ended or line.twin_ended) is whole]
        if mine:
            _print_lines(mine, columns)


def _print_lines(lines: Sequence[DrillSummary], columns: Mapping[str, str]) -> None:
    from poison_guard.drills.report import COLUMNS, as_rows

    mixed = any(line.cell.on != "synthetic" for line in lines)
    shown = {name: title for name, title in columns.items() if name != "on" or mixed}
    wanted = [COLUMNS.index(name) for name in shown]
    words = ("drill", "on", "with", "ended", "twin ended")
    titles = [title if name in words else f">{title}" for name, title in shown.items()]
    rows = [[row[k] for k in wanted] for row in as_rows(lines)]
    print_table("Drills: % of records or items, mean (worst seed)", titles, rows)


def _as_json(line: DrillSummary) -> dict[str, Any]:
    return dataclasses.asdict(line)
