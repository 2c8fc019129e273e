"""`poison-guard recall`: take accepted records back into the queue, and name the snapshots and models they reached."""

from __future__ import annotations

from typing import Any

import click

from poison_guard.cli.deciding import chosen_by, decide_or_tell
from poison_guard.cli.options import by_and_reason, common, dry_run, feed_option

__all__ = ["recall_command"]


@click.command("recall")
@click.argument("records", nargs=-1)
@feed_option(required=True)
@chosen_by
@click.option("--observed", is_flag=True, help="All that was let pass in observe mode, though it would have been held.")
@by_and_reason
@dry_run
@common
def recall_command(**given: Any) -> None:
    """Take accepted records back: RECORDS by id, a whole campaign, all of a source or of a run. They wait for review.

    Snapshots that held them are revoked for good, and so are their admissions; the models that trained on these are
    named, with the rollback to run when one of them is the champion.
    """
    decide_or_tell("recall", **given)
