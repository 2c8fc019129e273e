"""The commands of models: train, attack, list and change the champion, predict with it, inspect its inputs."""

from __future__ import annotations

from pathlib import Path

import click

from poison_guard.cli.options import common_options, dry_run, feed_option, person_options
from poison_guard.cli.output import print_json, print_progress, print_result, print_table, progress
from poison_guard.errors import UsageError
from poison_guard.guard import Guard

__all__ = [
    "evaluate_command",
    "inspect_command",
    "models_command",
    "predict_command",
    "retrain_command",
    "rollback_command",
]


REFUSED = FINDINGS = 1


@click.command("retrain")
@feed_option
@click.option("--measure-only", is_flag=True, help="Train to measure, without admission; never to be promoted.")
@click.option(
    "--from-scratch",
    is_flag=True,
    help="Train on the admitted snapshot again and start from nothing: the way out where a model's file is damaged.",
)
@common_options
def retrain_command(feed: str, measure_only: bool, from_scratch: bool, home: Path, as_json: bool) -> int:
    """Train on the newest admitted snapshot, test the model against the champion, promote it or refuse it.

    Killed and run again, it goes on where it was. Exit code 0: it is the champion, also where nothing new was admitted.
    1: refused, or the gate is closed.
    """
    if measure_only and from_scratch:
        raise UsageError("--measure-only measures what is there and --from-scratch replaces it; choose one")
    guard = Guard.open(feed, home=home)
    name = guard.contract.name
    with progress(f"training on what {name} admits" if not measure_only else f"measuring a model of {name}"):
        result = guard.retrain(measure_only=measure_only, from_scratch=from_scratch)
    code = 0 if result.promoted or measure_only else REFUSED
    if as_json:
        print_json(result.to_dict())
        return code
    print_result(f"{result.model_id}, on trusted examples that no training saw:")
    print_table("Measured", ("measured", ">value", ">n"), result.rows())
    print_result(f"{result.state}: {result.why}")
    if not measure_only:
        print_progress(f"next: poison-guard models --feed {feed}")
    return code


@click.command("evaluate")
@click.argument("model", required=False)
@feed_option
@click.option("--fast", is_flag=True, help="With the budget of a promotion: seconds in place of minutes.")
@common_options
def evaluate_command(model: str | None, feed: str, fast: bool, home: Path, as_json: bool) -> None:
    """Attack MODEL (default: the champion) on trusted examples that no training saw, and store nothing.

    What it says is of these attacks and examples; docs/robustness.md has what it does not claim.
    """
    guard = Guard.open(feed, home=home)
    with progress(f"attacking {model or 'the champion'} of {guard.contract.name}"):
        result = guard.evaluate(model, fast=fast)
    if as_json:
        print_json(result.to_dict())
        return
    for line in str(result).splitlines():
        print_result(line)


@click.command("models")
@feed_option
@common_options
def models_command(feed: str, home: Path, as_json: bool) -> None:
    """List the models of a feed, the newest first: the champion, earlier ones, refused ones, measurements."""
    result = Guard.open(feed, home=home).models()
    if as_json:
        print_json(result.to_dict())
        return
    empty = f"{result.feed} has no model yet; `poison-guard retrain --feed {feed}` makes one"
    print_table(f"Models of {result.feed}", *result.table(), empty=empty)
    for model in result.models:
        if model.why:
            print_result(f"{model.model_id}, {model.status}: {model.why}")


@click.command("predict")
@click.argument("data")
@click.option("--model", metavar="MODEL", help="A model of the feed in place of the champion.")
@click.option(
    "--confidence",
    type=click.Choice(["full", "rounded", "none"]),
    default="full",
    show_default=True,
    help="How sure the model is: as it is, in tenths, or left out; copies of a model are made from it.",
)
@feed_option
@common_options
def predict_command(data: str, model: str | None, confidence: str, feed: str, home: Path, as_json: bool) -> int:
    """Label the inputs of the file DATA; what the model is not sure of has no label and is a person's.

    DATA has the feed's content columns, and a record_id where there is one. Nothing is stored. Exit code 1: a
    larger share is left to people than of trusted inputs.
    """
    result = Guard.open(feed, home=home).predict(data, model_id=model, confidence=confidence)
    if as_json:
        print_json(result.to_dict())
    else:
        print_table(f"Labels by {result.model_id}", *result.table(), empty="DATA has no inputs")
        print_result(result.why)
    return FINDINGS if result.alarm else 0


@click.command("inspect")
@click.argument("data")
@click.option("--model", metavar="MODEL", help="A model of the feed in place of the champion.")
@feed_option
@common_options
def inspect_command(data: str, model: str | None, feed: str, home: Path, as_json: bool) -> int:
    """Flag inputs of the file DATA that a model answers otherwise once squeezed, or that its members differ on.

    Limits come from the trusted calibration rows. An attacker who knows the limits evades them: `evaluate` measures how
    often. Nothing is stored. Exit code 1: an input is flagged.
    """
    result = Guard.open(feed, home=home).inspect(data, model_id=model)
    flagged = int(result.frame["flagged"].sum())
    if as_json:
        print_json(result.to_dict())
    else:
        empty = "no input is flagged" if len(result.frame) else "DATA has no inputs"
        print_table(f"Inputs that look made to mislead {result.model_id}", *result.table(), empty=empty)
        told = f"{flagged:,} of {len(result.frame):,} inputs flagged; {100 * result.rate:g} % of clean ones are"
        print_result(f"{told}, by limits from {result.rows:,} trusted rows")
    return FINDINGS if flagged else 0


@click.command("rollback")
@feed_option
@click.option("--to", "model_id", required=True, metavar="MODEL", help="Earlier champion; `models` lists them.")
@click.option("--force", is_flag=True, help="Even where the snapshot it was trained on was revoked.")
@person_options
@dry_run
@common_options
def rollback_command(
    feed: str, model_id: str, force: bool, by: str, reason: str, dry_run: bool, home: Path, as_json: bool
) -> None:
    """Make MODEL the champion of a feed again. Only one that was champion before, and whose snapshot still holds."""
    guard = Guard.open(feed, home=home)
    result = guard.rollback(to=model_id, by=by, reason=reason, force=force, dry_run=dry_run)
    if as_json:
        print_json(result.to_dict())
        return
    verb = "would make" if dry_run else "made"
    print_result(f"{verb} {model_id} the champion of {result.feed} instead of {result.before or 'none'}")
    if not dry_run:
        print_progress(f"next: poison-guard models --feed {feed}")
