"""The tables ``[policy]``, ``[gate]`` and ``[retrain]`` of a contract, each parsed into one frozen value.

The first two are stored whole by their hash.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from poison_guard.config.tables import Range, check_keys, expect, number_in
from poison_guard.errors import ConfigError

__all__ = ["MODELS", "SIGNALS", "GatePolicy", "Policy", "RetrainConfig", "parse_gate", "parse_policy", "parse_retrain"]


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


_POLICY_RANGES: dict[str, Range] = {
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
_WHOLE_NUMBERS = {"review_budget", "min_answers", "expire_days", "lateness_days", "memory_days", "memory_rows", "seed"}


def parse_policy(table: Mapping[str, Any], *, file: str) -> Policy:
    """Return the policy of a ``[policy]`` table; `ConfigError` names the key, its range and the file."""
    check_keys(table, {f.name for f in dataclasses.fields(Policy)}, where="[policy]", file=file)
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key == "required":
            values[key] = _signals(value, file)
        else:
            values[key] = number_in(key, value, _POLICY_RANGES[key], whole=key in _WHOLE_NUMBERS, file=file)
    return Policy(**values)


def _signals(value: Any, file: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise ConfigError(f"required must be a list of signal names, got {value!r} in {file}")
    check_keys(dict.fromkeys(value), SIGNALS, where="policy.required", file=file)
    return tuple(dict.fromkeys(value))


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
_GATE_RANGES: dict[str, Range] = {
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
        key: number_in(key, value, _GATE_RANGES[key], whole=kinds[key] == "int", file=file)
        for key, value in table.items()
    }
    return GatePolicy(**values)


MODELS = ("image-cnn", "tabular-mlp", "text-linear")
"""Models that come with the guard; anything else is an import path ``package.module:name``."""

_IMPORT_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class RetrainConfig:
    """Settings of a training; None takes what the model and the data call for."""

    model: str | None = None
    """One of `MODELS`, or an import path; None: by what the feed carries (image, text, else features)."""
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    epsilon: float | None = None
    """Radius the model is trained and tested to withstand: L-infinity in [0, 1] pixel values for images and in standard
    deviations for tables, L2 relative to the embedding's norm for text. 0 trains without an adversary."""
    pixel_max: float = 255.0
    """Value of a full pixel in the data."""
    mutable: tuple[str, ...] | None = None
    """Feature columns an adversary can change; None: all."""
    seed: int = 0


_RETRAIN_RANGES: dict[str, tuple[Range, bool]] = {
    # name: (range, whole number)
    "epochs": ((1, 10_000, True), True),
    "batch_size": ((1, 65_536, True), True),
    "learning_rate": ((0, 10, False), False),
    "epsilon": ((0, 10, True), False),
    "pixel_max": ((0, 1e9, False), False),
    "seed": ((0, 2**31 - 1, True), True),
}


def parse_retrain(table: Mapping[str, Any], *, features: tuple[str, ...], file: str) -> RetrainConfig:
    """Return the settings of a ``[retrain]`` table; `ConfigError` names key and file."""
    check_keys(table, {field.name for field in dataclasses.fields(RetrainConfig)}, where="[retrain]", file=file)
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key in _RETRAIN_RANGES:
            allowed, whole = _RETRAIN_RANGES[key]
            values[key] = number_in(key, value, allowed, whole=whole, file=file)
    if "model" in table:
        values["model"] = _model_name(expect(table, "model", str, where="[retrain]", file=file), file)
    if "mutable" in table:
        values["mutable"] = _mutable_columns(
            expect(table, "mutable", list, where="[retrain]", file=file), features, file
        )
    return RetrainConfig(**values)


def _model_name(name: str, file: str) -> str:
    if name not in MODELS and not _IMPORT_PATH.fullmatch(name):
        raise ConfigError(
            f"model in [retrain] of {file} must be one of {', '.join(MODELS)} or an import path such as "
            f"`package.module:name`, got {name!r}"
        )
    return name


def _mutable_columns(names: list[Any], features: tuple[str, ...], file: str) -> tuple[str, ...]:
    known = dict.fromkeys(features)
    if not all(isinstance(name, str) for name in names):
        raise ConfigError(f"mutable in [retrain] of {file} must list feature columns, got {names!r}")
    check_keys(dict.fromkeys(names), known, where="mutable in [retrain]", file=file)
    return tuple(dict.fromkeys(names))
