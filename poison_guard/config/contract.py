"""Feed contracts: what `feeds/NAME.toml` may say, parsed into frozen values (a promise to users)."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from poison_guard.config.columns import ROLES, Columns, check_columns
from poison_guard.config.data import Data, check_data
from poison_guard.config.outgoing import Out, Privacy, check_outgoing
from poison_guard.config.parse import Parse
from poison_guard.config.policies import SIGNALS, GatePolicy, Policy, RetrainConfig
from poison_guard.config.signing import Signature, check_signature
from poison_guard.config.tables import Text, check_keys, matching, read_toml, values_of
from poison_guard.errors import ConfigError
from poison_guard.text import nearest

__all__ = [
    "KNOWN_FEEDS",
    "Contract",
    "Kind",
    "Mode",
    "Policy",
    "find_contract",
    "known_feeds",
    "load_contract",
    "parse_contract",
]


class Kind(StrEnum):
    """What a feed carries. The roles present decide which signals run; of queries, the one that judges streams."""

    ANSWERS = "answers"
    RATINGS = "ratings"
    MESSAGES = "messages"
    TELEMETRY = "telemetry"
    PREFERENCES = "preferences"
    EXAMPLES = "examples"
    QUERIES = "queries"


class Mode(StrEnum):
    """`observe` decides and reports but holds nothing back."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


@dataclass(frozen=True, slots=True)
class Contract:
    """One feed's contract; `repr` shows no path of data, which may be a signed URL."""

    name: str
    kind: Kind
    data: Data = field(repr=False)
    columns: Mapping[str, str]
    """Role to column, without features."""
    features: tuple[str, ...] = ()
    parse: Parse = field(default_factory=Parse)
    mode: Mode = Mode.ENFORCE
    schedule: str | None = None
    source_namespace: str | None = None
    items: str | None = field(default=None, repr=False)
    item_columns: Mapping[str, Any] = field(default_factory=dict)
    """Columns of the items' file that a model is trained on: ``image``, ``text`` or ``features`` (a list)."""
    controls: str | None = field(default=None, repr=False)
    outcomes: str | None = field(default=None, repr=False)
    outcome_columns: Mapping[str, str] = field(default_factory=dict)
    """Columns of the outcomes' files, where they are not called ``record_id`` and ``correct``; with ``visible_at``, the
    time from which an outcome was known outside (else: when it was first read)."""
    policy: Policy = field(default_factory=Policy)
    gate: GatePolicy = field(default_factory=GatePolicy)
    retrain: RetrainConfig = field(default_factory=RetrainConfig)
    privacy: Privacy = field(default_factory=Privacy)
    out: Out = field(default_factory=Out, repr=False)
    signature: Signature | None = None
    """How senders sign their records; None: nothing proves who sent one."""
    path: Path | None = None
    """File the contract was read from."""

    vote: str | None = field(init=False, repr=False, compare=False)
    """Role whose values are votes about an item (answer, else label, else rating); None without items."""
    texts: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """Text roles present, in a fixed order."""
    speaker: str | None = field(init=False, repr=False, compare=False)
    """Role of who wrote the text: the author where there is one, else the source."""
    signals: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """Signals that the roles present allow, ``validation`` always among them."""
    required: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """Signals without which nothing is accepted."""
    namespace: str = field(init=False, repr=False, compare=False)
    """Key under which this feed's sources are kept."""
    policy_hash: str = field(init=False, repr=False, compare=False)
    """Hash that decisions name the policy by."""

    def __post_init__(self) -> None:
        """Derive from the roles present what the feed can be judged by."""
        votes = () if self.kind is Kind.QUERIES else ("answer", "label", "rating")  # a model answers: that is no vote
        vote = next((r for r in votes if self.has("item_id", "source_id", r)), None)
        texts = tuple(r for r in ("text", "prompt", "response", "chosen", "rejected") if self.has(r))
        speaker = next((r for r in ("author_id", "source_id") if self.has(r)), None)
        derived: dict[str, Any] = {"vote": vote, "texts": texts, "speaker": speaker}
        derived |= {"namespace": self.source_namespace or self.name, "policy_hash": self.policy.hash}
        for name, value in derived.items():
            object.__setattr__(self, name, value)
        signals = tuple(signal for signal, able in SIGNALS.items() if able(self))
        object.__setattr__(self, "signals", signals)
        object.__setattr__(self, "required", signals if self.policy.required is None else self.policy.required)

    @property
    def rates(self) -> bool:
        """Whether votes are ratings: sources choose what they rate, and people of one taste agree by themselves."""
        return self.vote == "rating" or (self.vote is not None and self.kind is Kind.RATINGS)

    @property
    def queries(self) -> bool:
        """Whether records are what somebody asked a model, ``answer`` (or ``response``) what it said."""
        return self.kind is Kind.QUERIES

    @property
    def documents(self) -> bool:
        """Whether records are texts by themselves, such as documents for retrieval: no prompt, no reply, no vote."""
        return self.has("text") and not self.vote and not any(map(self.has, ("prompt", "response", "chosen")))

    @property
    def pasted(self) -> bool:
        """Whether texts are documents that people bring along, and not messages that they write."""
        return self.documents and self.kind is not Kind.MESSAGES

    def without(self, roles: Collection[str]) -> Contract:
        """Return what the contract would be if no column were mapped to `roles`."""
        columns = {role: column for role, column in self.columns.items() if role not in roles}
        return replace(self, columns=columns, features=() if "features" in roles else self.features)

    def has(self, *roles: str) -> bool:
        """Whether every role is mapped to a column (``features``: at least one)."""
        return all(bool(self.features) if r == "features" else r in self.columns for r in roles)


@dataclass(frozen=True, slots=True)
class _Controls:
    path: str
    """File of the controls."""


@dataclass(frozen=True, slots=True)
class _Items:
    path: str
    """File of the items."""
    image: Text | None = None
    """Column with the image."""
    text: Text | None = None
    """Column with the text."""
    features: tuple[str, ...] | None = None
    """Columns with the features."""


@dataclass(frozen=True, slots=True)
class _Outcomes:
    path: str
    """Files of outcomes."""
    record_id: Text | None = None
    """Column with the record's id, where it is not called so."""
    correct: Text | None = None
    """Column that says whether the record was right, where it is not called so."""
    visible_at: Text | None = None
    """Column with the time from which the outcome was known outside (without: when it was first read)."""


@dataclass(frozen=True, slots=True)
class _Top:
    """The keys of a contract file; tables of files and columns are read by `_TABLES`."""

    name: Annotated[str, matching(r"[a-z][a-z0-9_]{0,47}", "a word of a-z, 0-9 and _ (at most 48, a letter first)")]
    """Name of the feed."""
    kind: Kind
    """What the records are; sets defaults only."""
    mode: Mode | None = None
    """`observe` decides and reports, and holds nothing back; without this key, `enforce`."""
    schedule: str | None = None
    """When Airflow runs the feed: a cron expression or a preset such as ``@hourly``."""
    source_namespace: str | None = None
    """Name under which several feeds share what is known of their sources; without, each feed has its own."""
    data: Data | None = None
    parse: Parse | None = None
    columns: dict[str, Any] | None = None
    items: dict[str, Any] | None = None
    controls: dict[str, Any] | None = None
    outcomes: dict[str, Any] | None = None
    policy: Policy | None = None
    gate: GatePolicy | None = None
    retrain: RetrainConfig | None = None
    privacy: Privacy | None = None
    out: Out | None = None
    signature: Signature | None = None


_TABLES = {"columns": Columns, "items": _Items, "controls": _Controls, "outcomes": _Outcomes}


KNOWN_FEEDS = "known-feeds.json"
"""File in a home: the name of each feed it has stored records of, and where its contract was."""


def find_contract(feed: str | Path, home: str | Path) -> Path:
    """Return the contract file of a feed: a path as it is; a name in the home's ``feeds/``, the home, or ``./feeds``.

    A name that is in none of them is that of the contract by which the home last stored records of the feed.
    `ConfigError` for a name without a file says where it was looked for and which name is nearest.
    """
    path = Path(feed)
    if path.is_file() or path.suffix or path.name != str(feed):
        return path
    folders = (Path(home) / "feeds", Path(home), Path("feeds"))
    for folder in folders:
        if (folder / f"{feed}.toml").is_file():
            return folder / f"{feed}.toml"
    known = known_feeds(home)
    if str(feed) in known and known[str(feed)].is_file():
        return known[str(feed)]
    names = sorted({*known, *(file.stem for folder in folders for file in folder.glob("*.toml"))} - {"settings"})
    near = nearest(str(feed), names)
    hint = f"did you mean `{near}`?" if near else f"known: {', '.join(names) or 'none yet'}"
    raise ConfigError(f"there is no {feed}.toml in {', '.join(map(str, folders))}; {hint}")


def known_feeds(home: str | Path) -> dict[str, Path]:
    """Return where the contract of each feed was by which the home stored its records; empty for a new home."""
    try:
        table = json.loads((Path(home) / KNOWN_FEEDS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    pairs = table.items() if isinstance(table, dict) else ()
    return {str(name): Path(path) for name, path in pairs if isinstance(path, str)}


def load_contract(path: str | Path) -> Contract:
    """Read and check a contract file; `ConfigError` names file and key."""
    file = Path(path)
    return parse_contract(read_toml(file), path=file)


def parse_contract(table: Mapping[str, Any], *, path: Path | None = None) -> Contract:
    """Return the contract of a parsed TOML table; `ConfigError` for whatever is not known, missing or out of range."""
    file = str(path or "the contract")
    parsing = table.get("parse")
    if isinstance(parsing, dict) and isinstance(parsing.get("time_format"), str):  # one format or a list of them
        table = {**table, "parse": {**parsing, "time_format": [parsing["time_format"]]}}
    if isinstance(table.get("columns"), dict):
        check_columns(table["columns"], file)
    values: dict[str, Any] = {"data": Data(), **values_of(_Top, table, where="the top level", file=file)}
    tables = {
        name: values_of(shape, values.pop(name), where=f"[{name}]", file=file) if name in values else {}
        for name, shape in _TABLES.items()
    }
    contract = Contract(
        **values,
        **{name: tables[name].pop("path", None) for name in ("items", "controls", "outcomes")},
        features=tables["columns"].pop("features", ()),
        columns=tables["columns"],
        item_columns=tables["items"],
        outcome_columns=tables["outcomes"],
        path=path,
    )
    _check_together(contract, table, file)
    return contract


def _check_together(contract: Contract, table: Mapping[str, Any], file: str) -> None:
    """Raise `ConfigError` where keys that are right alone are not right together."""
    data, trained = contract.data, contract.item_columns.get("features", contract.features)
    if not contract.columns and not contract.features:
        raise ConfigError(f"[columns] of {file} maps no role to a column; known roles: {', '.join(ROLES)}, features")
    check_data(data, contract.columns, file)
    if contract.parse.decimal == contract.parse.thousands:
        raise ConfigError(
            f"decimal and thousands in [parse] of {file} are both {contract.parse.decimal!r}; they differ"
        )
    if len(contract.item_columns) > 1:
        named = " and ".join(contract.item_columns)
        raise ConfigError(f"[items] of {file} names {named}; a model is trained on one of them")
    features = {f"features ({name})": name for name in contract.features}
    check_outgoing(contract.privacy, {**contract.columns, **features}, file)
    check_signature(contract.signature, contract.columns, contract.policy.required, file)
    check_keys(contract.retrain.mutable or (), trained, where="mutable in [retrain]", file=file)
    for signal in contract.policy.required or ():
        if signal not in contract.signals:
            able = ", ".join(contract.signals)
            raise ConfigError(f"required names `{signal}`, but the roles in [columns] of {file} feed only {able}")
