"""A policy: the thresholds a decision is made with; stored whole by its hash."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from poison_guard.config.numbers import Range, number_in
from poison_guard.config.toml import check_keys
from poison_guard.errors import ConfigError

__all__ = ["SIGNALS", "Policy", "parse_policy"]

SIGNALS = ("validation", "source", "campaign", "anomaly", "label", "content", "query")
"""Families of evidence, DESIGN's words."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Thresholds of one feed; the defaults are one for all feeds."""

    false_quarantine_rate: float = 0.01
    """Share of honest records held for their own content, per group; in (0, 0.5]."""
    required: tuple[str, ...] | None = None
    """Signals without which nothing is accepted; None: those that the feed's roles allow."""
    review_budget: int = 500
    """Queue entries a reviewer reads in a day; ranks, never decides."""
    source_alpha: float = 0.001
    """A source is held when an honest one would look like it with at most this chance."""
    campaign_alpha: float = 0.001
    """Chance, per feed and run, that honest independent sources are taken for one campaign."""
    reject_risk: float = 0.999
    """Risk from which a record is rejected instead of quarantined; only source evidence gets that far."""
    min_answers: int = 3
    """Undisputed accepted answers an item needs before its label is adopted."""
    adopt_probability: float = 0.95
    """Posterior probability an item's label needs before it is adopted."""
    audit_rate: float = 0.005
    """Share of accepted records put before a reviewer all the same, so that misses are measured."""
    expire_days: int = 30
    """Days after which unread queue entries count as excluded; they stay recoverable."""
    lateness_days: int = 30
    """`observed_at` is believed from this many days before to 1 hour after the record was received; a batch most of
    which is older is history, and believed as far back as it goes."""
    memory_days: int = 30
    """Days for which a record is remembered, so that what acts together over several batches shows."""
    memory_rows: int = 100_000
    """Newest records that are remembered; 0: none. A larger batch is remembered by a random sample of so many."""
    half_life: float = 0.0
    """Verified answers of a source after which an earlier one counts half in its reliability; 0: none is forgotten."""
    seed: int = 0
    """Seed of every random choice made in scoring."""

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON of all thresholds, hex."""
        body = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(body.encode()).hexdigest()


_RANGES: dict[str, Range] = {
    "false_quarantine_rate": (0, 0.5, False),
    "source_alpha": (0, 0.1, False),
    "campaign_alpha": (0, 0.1, False),
    "reject_risk": (0.5, 1, False),
    "adopt_probability": (0.5, 1, False),
    "audit_rate": (0, 1, True),
    "review_budget": (0, 1_000_000, True),
    "min_answers": (1, 1000, True),
    "expire_days": (1, 3650, True),
    "lateness_days": (0, 3650, True),
    "memory_days": (1, 3650, True),
    "memory_rows": (0, 5_000_000, True),
    "half_life": (0, 1_000_000, True),
    "seed": (0, 2**31 - 1, True),
}
_WHOLE = {"review_budget", "min_answers", "expire_days", "lateness_days", "memory_days", "memory_rows", "seed"}


def parse_policy(table: Mapping[str, Any], *, file: str) -> Policy:
    """Return the policy of a ``[policy]`` table; `ConfigError` names the key, its range and the file."""
    check_keys(table, {f.name for f in dataclasses.fields(Policy)}, where="[policy]", file=file)
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key == "required":
            values[key] = _signals(value, file)
        else:
            values[key] = number_in(key, value, _RANGES[key], whole=key in _WHOLE, file=file)
    return Policy(**values)


def _signals(value: Any, file: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise ConfigError(f"required must be a list of signal names, got {value!r} in {file}")
    check_keys(dict.fromkeys(value), SIGNALS, where="policy.required", file=file)
    return tuple(dict.fromkeys(value))
