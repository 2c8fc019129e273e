"""The gate's policy: what a snapshot may hold before a model trains on it; stored whole by its hash."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from poison_guard.config.numbers import Range, number_in
from poison_guard.config.toml import check_keys

__all__ = ["GatePolicy", "parse_gate"]


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """Limits of one feed's gate; the defaults are one for all feeds."""

    false_alarm_rate: float = 0.02
    """Chance that an honest snapshot does not pass, over all statistical checks together; in (0, 0.2]."""
    max_label_error: float = 0.03
    """Share of examples whose label their trusted neighbours contradict, beyond the share honest data has."""
    max_drop: float = 0.03
    """Accuracy, in [0, 1], that may be lost over all trusted examples."""
    max_class_drop: float = 0.15
    """Accuracy that any one class or slice may lose."""
    max_label_shift: float = 0.15
    """How far any label's share may lie from its share in the trusted set and in the anchor."""
    max_source_share: float = 0.05
    """Share of the snapshot that may rest on one source (three times an even share where sources are few)."""
    max_new_source_examples: int = 250
    """Examples that may rest on one source whose account was new; a count, since some 250 poisoned documents are
    enough whatever the corpus size (arXiv 2510.07192)."""
    max_new_share: float = 0.5
    """Share of the snapshot that may rest on new sources together."""
    max_missed: float = 0.02
    """Share of accepted records that audits may show to be wrong."""
    min_trusted: int = 20
    """Trusted examples that each label needs."""
    trusted_days: int = 180
    """Days after which a trusted set that nobody added to is stale."""
    new_days: int = 30
    """Days for which a source counts as new."""
    admission_days: int = 7
    """Days for which an admission holds."""
    seed: int = 0
    """Seed of every random choice made in measuring."""

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON of all limits, hex."""
        body = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(body.encode()).hexdigest()


_SHARE: Range = (0, 1, False)
_RANGES: dict[str, Range] = {
    "false_alarm_rate": (0, 0.2, False),
    **dict.fromkeys(("max_label_error", "max_drop", "max_class_drop", "max_label_shift"), _SHARE),
    **dict.fromkeys(("max_source_share", "max_new_share", "max_missed"), _SHARE),
    "max_new_source_examples": (1, 1_000_000_000, True),
    "min_trusted": (1, 1_000_000, True),
    **dict.fromkeys(("trusted_days", "new_days"), (1, 3650, True)),
    "admission_days": (1, 365, True),
    "seed": (0, 2**31 - 1, True),
}


def parse_gate(table: Mapping[str, Any], *, file: str) -> GatePolicy:
    """Return the policy of a ``[gate]`` table; `ConfigError` names the key, its range and the file."""
    kinds = {field.name: field.type for field in dataclasses.fields(GatePolicy)}
    check_keys(table, kinds, where="[gate]", file=file)
    values: dict[str, Any] = {
        key: number_in(key, value, _RANGES[key], whole=kinds[key] == "int", file=file) for key, value in table.items()
    }
    return GatePolicy(**values)
