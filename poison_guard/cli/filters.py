"""The filters of the queue as options of a command."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

__all__ = ["filter_options"]

_F = TypeVar("_F", bound=Callable[..., Any])

_FILTERS: Mapping[str, tuple[str, str]] = {
    "kind": ("KIND", "Only entries of this kind: held, audit, recalled or item."),
    "reason": ("CODE", "Only what this reason speaks against most."),
    "signal": ("SIGNAL", "Only what this signal speaks against most."),
    "campaign_id": ("CAMPAIGN", "Only records of this campaign."),
    "source_id": ("SOURCE", "Only what this source sent or wrote."),
    "item_id": ("ITEM", "Only records about this item."),
    "label": ("LABEL", "Only records that give this answer or label."),
    "group": ("GROUP", "Only records of this group."),
    "run_id": ("RUN", "Only what this run decided."),
    "risk_from": ("RISK", "Only this risk or more, 0 to 1."),
    "risk_to": ("RISK", "Only this risk or less."),
    "since": ("DAY", "Only what came on this day (2026-03-01, UTC) or later."),
    "until": ("DAY", "Only what came on this day or earlier."),
    "text": ("WORDS", "Only payloads whose first 500 characters hold all these words."),
    "state": ("STATE", "waiting (the default), free, claimed, expired or all."),
}
"""Filter of the queue to the name of its value and its line in the help."""


def filter_options(command: _F) -> _F:
    """Add the filters of the queue, given on as ``filters``: None where there is none."""

    @functools.wraps(command)
    def call(**options: Any) -> Any:
        given = {name: options.pop(f"filter_{name}") for name in _FILTERS}
        asked = {name: value for name, value in given.items() if value is not None}
        from poison_guard.guard import QueueFilter

        return command(filters=QueueFilter.of(asked) if asked else None, **options)

    for name, (value, text) in reversed([*_FILTERS.items()]):
        option = f"--{'code' if name == 'reason' else name.removesuffix('_id').replace('_', '-')}"
        call = click.option(option, f"filter_{name}", metavar=value, help=text)(call)  # a decision has a reason, too
    return call  # type: ignore[return-value]  # click gives back what it decorates
