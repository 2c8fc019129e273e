"""`poison-guard audit`: verify that the chain of audit events is whole."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from poison_guard.cli.options import common
from poison_guard.cli.output import emit, told
from poison_guard.cli.rooms import opened_store

__all__ = ["audit_command"]


@click.group("audit")
def audit_command() -> None:
    """Look after the chain of audit events."""


@audit_command.command("verify")
@common
def verify_command(home: Path, as_json: bool) -> int:
    """Check every audit event against the one before it. Exit code 1: an event was changed, removed or added."""
    from poison_guard.store import verify

    with opened_store(home) as store:
        result = verify(store)
    if as_json:
        emit(dataclasses.asdict(result))
    elif result.ok:
        told(f"the audit chain is whole: {result.events:,} events")
    else:
        told(f"the audit chain is broken: {result.why}")
    return 0 if result.ok else 1
