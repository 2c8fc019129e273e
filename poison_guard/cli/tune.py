"""`poison-guard tune`: what each threshold would cost in honest records and hours, and which attacks it would miss."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from poison_guard.cli.options import common, contract_file, feed_option
from poison_guard.cli.output import emit, table, told, working
from poison_guard.errors import UsageError

if TYPE_CHECKING:
    from poison_guard.records import Reason
    from poison_guard.signals.anomaly.calibrate import Drift
    from poison_guard.steps.alarms import RunAlarm
    from poison_guard.steps.tuning import Line, Tuned

__all__ = ["tune_command"]

_RUNS, _SHOWN = 10_000, 5  # runs looked at for alarms, alarms told
_MOST = 20  # values of an option: each is a table row and a whole trial
_VOLUMES = {"runs": "as its runs took in", "given": "as given", "assumed": "assumed; give --per-day"}
_WATCHED = {
    "holdout": "the holdout, by today's model",
    "anchor": "what was entered first, by today's model",
    "entered": "what was entered since, by a model of the first",
}


@click.command("tune")
@feed_option(required=True)
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
@common
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
    from poison_guard.drills.own import own_attacks
    from poison_guard.steps.alarms import run_alarms
    from poison_guard.steps.opening import open_feed
    from poison_guard.steps.tuning import tune
    from poison_guard.steps.watching import watch
    from poison_guard.store import list_runs

    asked = {"rates": _numbers(rates, "--rates", 0.5), "alphas": _numbers(alphas, "--alphas", 0.1)}
    with open_feed(contract_file(feed), home, only_look=True) as opened, working("trying thresholds"):
        found = tune(
            opened,
            **asked,
            make_attacks=lambda contract, records: own_attacks(contract, records, seed=seed),
            minutes=minutes,
            per_day=per_day,
        )
        watched = watch(opened)
        alarms = run_alarms(list_runs(opened.store, opened.contract.name, limit=_RUNS)[::-1])
    if as_json:
        emit(_document(found, watched, alarms))
    else:
        _show(found, watched, alarms)


def _numbers(text: str, option: str, most: float) -> list[float]:
    """Return the numbers of a comma-separated list; `UsageError` names what is none, or says how many may be."""
    found: list[float] = []
    for part in filter(None, (word.strip() for word in text.split(","))):
        try:
            value = float(part)
        except ValueError:
            raise UsageError(f"{option} takes numbers with commas between, got {part!r}") from None
        if not 0 < value <= most:
            raise UsageError(f"{option} takes numbers in (0, {most:g}], got {part}")
        found.append(value)
    if len(found) > _MOST:
        raise UsageError(f"{option} takes at most {_MOST} numbers, got {len(found)}")
    return found


def _document(found: Tuned, watched: Mapping[str, Drift], alarms: Sequence[RunAlarm]) -> dict[str, Any]:
    document: dict[str, Any] = dataclasses.asdict(found)
    document["watch"] = {name: {**dataclasses.asdict(drift), "parted": drift.parted} for name, drift in watched.items()}
    document["runs"] = [dataclasses.asdict(alarm) for alarm in alarms]
    for line, one in zip(document["lines"], found.lines, strict=True):
        line["share"] = one.share
        line["unjudged"] = None if one.unjudged is None else _sentence(one.unjudged)
    return document


def _show(found: Tuned, watched: Mapping[str, Drift], alarms: Sequence[RunAlarm]) -> None:
    names = list(found.attacks)
    columns: dict[str, Callable[[Line], object]] = {
        "": lambda line: "now" if line.present else "",
        ">own content\nrate": lambda line: f"{line.rate:g}",
        ">source\nalpha": lambda line: f"{line.source_alpha:g}",
        ">campaign\nalpha": lambda line: f"{line.campaign_alpha:g}",
        ">honest\nlost": lambda line: f"{line.share:.1%}",
        ">95 %\ninterval": lambda line: f"{line.lost_low:.1%} – {line.lost_high:.1%}",
        ">by own\ncontent": lambda line: f"{line.lost_by.get('record', 0) / line.honest:.1%}",
    }
    columns |= {f">{name}\nmissed": lambda line, name=name: _missed(line, name) for name in names}
    columns |= {
        ">to look at\na day": lambda line: f"{line.held_a_day:,.1f}",
        ">hours\na day": lambda line: f"{line.hours_a_day:,.1f}",
    }
    rows = [[cell(line) for cell in columns.values()] for line in found.lines]
    table(f"Thresholds of {found.feed}, tried on its trusted records", list(columns), rows)
    for remark in _remarks(found):
        told(remark)
    for name, drift in watched.items():
        for note in drift.notes():
            told(f"{_WATCHED[name]}: {_sentence(note)}")
    for alarm in [alarm for alarm in alarms if alarm.raised][-_SHOWN:]:
        told(
            f"run {alarm.run_id} held {alarm.held:,} of {alarm.records:,} for their own content, of honest ones "
            f"{alarm.expected:,.0f} are expected: more than chance"
        )


def _missed(line: Line, name: str) -> str:
    return "waits" if line.unjudged else f"{line.missed[name]:.0%}"


def _remarks(found: Tuned) -> list[str]:
    volume = _VOLUMES[found.per_day_from]
    attacks = ", ".join(f"{n:,} {name}" for name, n in found.attacks.items()) or "none that its columns allow"
    said = [
        f"honest: {found.holdout:,} trusted records of the holdout; attacks made of half of them: {attacks}",
        f"hours: {found.per_day:,.0f} records a day ({volume}), {found.minutes:g} min a record, "
        f"audits of {found.audit_rate:.1%} of the accepted included; real attacks come on top",
    ]
    over = [line for line in found.lines if line.held_a_day > found.review_budget]
    if over:
        least = min(line.rate for line in over)
        said.append(
            f"from rate {least:g} on there is more to look at than review_budget = {found.review_budget:,} a day"
        )
    waits = [(line.rate, _sentence(line.unjudged)) for line in found.lines if line.unjudged]
    said += [f"at rate {rate:g} every record would wait: {why}" for rate, why in waits]
    return list(dict.fromkeys(said))


def _sentence(why: Reason) -> str:
    from poison_guard.decide.reasons import sentence

    return sentence(why.code, why.args)
