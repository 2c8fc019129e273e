"""Feed contracts: what `feeds/NAME.toml` may say, parsed into frozen values (a promise to users)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from poison_guard.config.policies import GatePolicy, Policy, RetrainConfig, parse_gate, parse_policy, parse_retrain
from poison_guard.config.tables import check_keys, expect, read_toml
from poison_guard.errors import ConfigError

__all__ = ["ROLES", "Contract", "Data", "Kind", "Mode", "Policy", "load_contract", "parse_contract"]

ROLES = (
    "record_id",
    "source_id",
    "author_id",
    "item_id",
    "answer",
    "label",
    "rating",
    "observed_at",
    "source_since",
    "text",
    "prompt",
    "response",
    "chosen",
    "rejected",
    "image",
    "group",
)
"""Roles one column can play; `features` is the one role that lists several."""

_E = TypeVar("_E", bound=StrEnum)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
_FILE_TABLES = ("items", "controls", "outcomes")
_ITEM_KEYS = ("image", "text", "features")
_OUTCOME_KEYS = ("record_id", "correct", "visible_at")
_MORE_KEYS: Mapping[str, tuple[str, ...]] = {"items": _ITEM_KEYS, "outcomes": _OUTCOME_KEYS}
_TOP = (
    "name",
    "kind",
    "mode",
    "schedule",
    "source_namespace",
    "data",
    "columns",
    *_FILE_TABLES,
    "policy",
    "gate",
    "retrain",
)


class Kind(StrEnum):
    """What a feed carries; sets defaults only, the roles present decide which signals run."""

    ANSWERS = "answers"
    MESSAGES = "messages"
    TELEMETRY = "telemetry"
    PREFERENCES = "preferences"
    EXAMPLES = "examples"


class Mode(StrEnum):
    """`observe` decides and reports but holds nothing back."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


@dataclass(frozen=True, slots=True)
class Data:
    """Where records come from, and the bounds they are read under."""

    path: str | None = None
    query: str | None = None
    watermark: str | None = None
    """Column of `query` that only grows; rows above the highest value taken in are read."""
    url_env: str = "POISON_GUARD_SOURCE_URL"
    """Environment variable with the database URL of `query` (never written in TOML)."""
    revisions: bool = False
    """Whether the same id with other content is a revision (else both are held as a conflict)."""
    max_bytes: int = 2_000_000_000
    max_rows: int = 20_000_000
    max_columns: int = 256
    max_cell_chars: int = 100_000
    max_depth: int = 8
    partition_rows: int = 100_000


@dataclass(frozen=True, slots=True)
class Contract:
    """One feed's contract."""

    name: str
    kind: Kind
    data: Data
    columns: Mapping[str, str]
    """Role to column, without features."""
    features: tuple[str, ...] = ()
    mode: Mode = Mode.ENFORCE
    schedule: str | None = None
    source_namespace: str | None = None
    items: str | None = None
    item_columns: Mapping[str, Any] = field(default_factory=dict)
    """Columns of the items' file that a model is trained on: ``image``, ``text`` or ``features`` (a list)."""
    controls: str | None = None
    outcomes: str | None = None
    outcome_columns: Mapping[str, str] = field(default_factory=dict)
    """Columns of the outcomes' files, where they are not called ``record_id`` and ``correct``; with ``visible_at``, the
    time from which an outcome was known outside (else: when it was first read)."""
    policy: Policy = field(default_factory=Policy)
    gate: GatePolicy = field(default_factory=GatePolicy)
    retrain: RetrainConfig = field(default_factory=RetrainConfig)
    path: Path | None = None
    """File the contract was read from."""

    def has(self, *roles: str) -> bool:
        """Whether every role is mapped to a column (``features``: at least one)."""
        return all(bool(self.features) if r == "features" else r in self.columns for r in roles)

    @property
    def vote(self) -> str | None:
        """Role whose values are votes about an item (answer, else label, else rating); None without items."""
        return next((r for r in ("answer", "label", "rating") if self.has("item_id", "source_id", r)), None)

    @property
    def texts(self) -> tuple[str, ...]:
        """Text roles present, in a fixed order."""
        return tuple(r for r in ("text", "prompt", "response", "chosen", "rejected") if self.has(r))

    @property
    def speaker(self) -> str | None:
        """Role of who wrote the text: the author where there is one, else the source."""
        return next((r for r in ("author_id", "source_id") if self.has(r)), None)

    @property
    def signals(self) -> tuple[str, ...]:
        """Signals that the roles present allow, ``validation`` always among them."""
        able = ["validation"]
        if self.vote:
            able.append("source")
        if self.speaker and (self.texts or self.features or (self.vote and self.has("observed_at"))):
            able.append("campaign")
        if self.features:
            able.append("anomaly")
        if self.texts and "content" in (self.policy.required or ()):  # weak evidence: only where a feed asks for it
            able.append("content")
        return tuple(able)

    @property
    def required(self) -> tuple[str, ...]:
        """Signals without which nothing is accepted."""
        return self.signals if self.policy.required is None else self.policy.required

    @property
    def namespace(self) -> str:
        """Key under which this feed's sources are kept."""
        return self.source_namespace or self.name


def load_contract(path: str | Path) -> Contract:
    """Read and check a contract file; `ConfigError` names file and key."""
    file = Path(path)
    return parse_contract(read_toml(file), path=file)


def parse_contract(table: Mapping[str, Any], *, path: Path | None = None) -> Contract:
    """Return the contract of a parsed TOML table; `ConfigError` for whatever is not known, missing or out of range."""
    file = str(path or "the contract")
    check_keys(table, _TOP, where="the top level", file=file)
    columns, features = _columns(_table(table, "columns", file), file)
    contract = Contract(
        name=_name(table, file),
        kind=_choice(Kind, table.get("kind"), "kind", file),
        data=_data(_table(table, "data", file), file),
        columns=columns,
        features=features,
        mode=_choice(Mode, table.get("mode", Mode.ENFORCE), "mode", file),
        schedule=expect(table, "schedule", str, where="the top level", file=file),
        source_namespace=expect(table, "source_namespace", str, where="the top level", file=file),
        policy=parse_policy(_table(table, "policy", file), file=file),
        item_columns=_item_columns(_table(table, "items", file), file),
        outcome_columns=_outcome_columns(_table(table, "outcomes", file), file),
        gate=parse_gate(_table(table, "gate", file), file=file),
        retrain=parse_retrain(_table(table, "retrain", file), features=_trained_on(table, features), file=file),
        path=path,
        **{name: _one_path(_table(table, name, file), name, file) for name in _FILE_TABLES},
    )
    _check_signals(contract, file)
    return contract


def _table(table: Mapping[str, Any], key: str, file: str) -> Mapping[str, Any]:
    return expect(table, key, dict, where="the top level", file=file) or {}


def _name(table: Mapping[str, Any], file: str) -> str:
    name = table.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(f"name must be a word of a-z, 0-9 and _ (at most 48, a letter first), got {name!r} in {file}")
    return name


def _choice(enum: type[_E], value: Any, key: str, file: str) -> _E:
    try:
        return enum(value)
    except ValueError:
        raise ConfigError(f"{key} must be one of {', '.join(enum)}, got {value!r} in {file}") from None


def _columns(table: Mapping[str, Any], file: str) -> tuple[dict[str, str], tuple[str, ...]]:
    check_keys(table, (*ROLES, "features"), where="[columns]", file=file)
    features = expect(table, "features", list, where="[columns]", file=file) or []
    columns = {role: expect(table, role, str, where="[columns]", file=file) for role in table if role != "features"}
    names = [*columns.values(), *features]
    if not all(isinstance(n, str) and n for n in names):
        raise ConfigError(f"[columns] of {file} must name columns by non-empty strings, got {names!r}")
    if len(set(features)) < len(features):
        raise ConfigError(f"features in [columns] of {file} names a column twice: {features!r}")
    if not names:
        raise ConfigError(f"[columns] of {file} maps no role to a column; known roles: {', '.join(ROLES)}, features")
    return columns, tuple(features)


def _data(table: Mapping[str, Any], file: str) -> Data:
    kinds = {f.name: f for f in dataclasses.fields(Data)}
    check_keys(table, kinds, where="[data]", file=file)
    values: dict[str, Any] = {}
    for key in table:
        kind = bool if key == "revisions" else int if key.startswith(("max_", "partition_")) else str
        values[key] = expect(table, key, kind, where="[data]", file=file)
        if kind is int and values[key] < 1:
            raise ConfigError(f"{key} in [data] of {file} must be at least 1, got {values[key]}")
    data = Data(**values)
    if data.path and data.query:
        raise ConfigError(f"[data] of {file} has both path and query; keep one")
    if data.query and not data.watermark:
        raise ConfigError(f"query in [data] of {file} needs watermark, the name of a column that only grows")
    return data


def _one_path(table: Mapping[str, Any], name: str, file: str) -> str | None:
    check_keys(table, ("path", *_MORE_KEYS.get(name, ())), where=f"[{name}]", file=file)
    if table and "path" not in table:
        raise ConfigError(f"[{name}] of {file} needs path")
    return expect(table, "path", str, where=f"[{name}]", file=file)


def _outcome_columns(table: Mapping[str, Any], file: str) -> dict[str, str]:
    named = {key: expect(table, key, str, where="[outcomes]", file=file) for key in table if key in _OUTCOME_KEYS}
    if not all(named.values()):
        raise ConfigError(f"[outcomes] of {file} must name columns by non-empty strings, got {named!r}")
    return named


def _item_columns(table: Mapping[str, Any], file: str) -> dict[str, Any]:
    given = {key: expect(table, key, list if key == "features" else str, where="[items]", file=file) for key in table}
    named = {key: value for key, value in given.items() if key in _ITEM_KEYS}
    if len(named) > 1:
        raise ConfigError(f"[items] of {file} names {' and '.join(named)}; a model is trained on one of them")
    if not all(isinstance(name, str) and name for name in named.get("features", ())):
        raise ConfigError(f"features in [items] of {file} must list column names, got {named['features']!r}")
    return named


def _trained_on(table: Mapping[str, Any], features: tuple[str, ...]) -> tuple[str, ...]:
    """Return the feature columns of training examples: the items' own where items have some."""
    items = table.get("items") or {}
    return tuple(items["features"]) if isinstance(items.get("features"), list) else features


def _check_signals(contract: Contract, file: str) -> None:
    for signal in contract.policy.required or ():
        if signal not in contract.signals:
            able = ", ".join(contract.signals)
            raise ConfigError(f"required names `{signal}`, but the roles in [columns] of {file} feed only {able}")
