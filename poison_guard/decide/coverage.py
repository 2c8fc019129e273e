"""Coverage: which kinds of attack the guard can see in a feed, from what size, and which it cannot and why.

Two things are known of a kind. *Possible* follows from the columns and from what the signals of a batch had to compare;
it costs nothing and decides whether a batch was judged at all. *Measured* is what came of attacks of that kind put into
the feed's own rows; it costs minutes and says from how many records and accounts they are held.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from poison_guard.config import Contract

__all__ = [
    "KINDS",
    "Coverage",
    "Kind",
    "Measured",
    "MeasuredKind",
    "coverage_key",
    "is_judged",
    "kinds_of",
    "possible_kinds",
    "remedy",
]

_FORMAT = 2
"""Raise it when attacks or what counts as held change: then measurements of before are not shown again."""
_VOTE = ("item_id", "source_id", "answer")
_VOTERS = frozenset({"source", "agreement", "camps", "co_rating", "cohort_traits", "lockstep"})


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of attack: what it is, which comparisons can show it, and what these need."""

    what: str
    by: frozenset[str]
    """Signals and campaign finders that can show it; one that had something to compare makes it possible."""
    roles: tuple[str, ...]
    """Roles that have to be mapped; ``answer`` stands for any vote, ``text`` for any text, ``age`` for a time."""
    data: str
    """What the records need beyond these columns."""


_TRUSTED = "a trusted set (`poison-guard trust`)"

KINDS: Mapping[str, Kind] = {
    "agreed answers": Kind(
        "accounts that give the same wrong answers to the same items",
        _VOTERS,
        _VOTE,
        "items that three sources or more answer",
    ),
    "lockstep": Kind(
        "accounts that give the same wrong answers within an hour",
        _VOTERS,  # where no time is known, these are agreed answers like others
        _VOTE,
        "items that three sources or more answer",
    ),
    "label flips": Kind(
        "an account that answers wrongly by itself, or gives records a wrong label",
        frozenset({"source", "label"}),
        _VOTE,
        "items that three sources or more answer, or controls",
    ),
    "copies": Kind(
        "one text sent again and again, a word changed",
        frozenset({"near_duplicate_text", "copies", "rare_claims", "patient_raters"}),
        ("text", "age"),
        "times or account ages",
    ),
    "rare claims": Kind(
        "few accounts that repeat a claim hardly anybody else makes",
        frozenset({"rare_claims", "patient_raters", "pushed_words", "collisions"}),
        ("text", "source_id"),
        "thirty sources or more",
    ),
    "prompt triggers": Kind(
        "prompts with a word that has nothing to do with what is asked, and a reply that others would not give",
        frozenset({"prompt_triggers"}),
        ("prompt", "source_id"),
        "thirty sources or more",
    ),
    "turned preferences": Kind(
        "raters who agree to prefer longer replies, or other ones than the crowd does by a trait",
        frozenset({"turned_preferences"}),
        ("rejected", "source_id"),
        "thirty raters with four pairs or more that differ",
    ),
    "hidden text": Kind(
        "documents with text that people do not see, or that speaks to a model",
        frozenset({"hidden_text"}),
        ("text",),
        "texts that are documents: no prompt, no reply, no vote",
    ),
    "replays": Kind(
        "a recorded session sent again by many accounts, with a little noise",
        frozenset({"near_duplicate_vectors"}),
        ("features", "source_id"),
        "three sources or more",
    ),
    "strangers": Kind(
        "records unlike every vetted one",
        frozenset({"anomaly", "content"}),
        ("features",),
        _TRUSTED,
    ),
    "model copies": Kind(
        "accounts whose queries copy the model or search its edges",
        frozenset({"query"}),
        ("source_id", "observed_at", "query"),
        "thirty trusted sources of 25 different queries each (`poison-guard trust`)",
    ),
}
"""The kinds of attack that a statement speaks of, in the order in which it does."""
_OF_QUERIES = frozenset({"model copies"})
"""Kinds of attack on a model through queries; all others are on what it learns."""
_NO_SUBSTANCE = frozenset({"copies", "hidden text"})
"""Kinds whose finding says how often something comes, or what is not shown of it, and nothing of what it says."""


def kinds_of(contract: Contract) -> tuple[str, ...]:
    """Return the kinds of attack that a feed may be under."""
    others = {"hidden text": contract.documents, "turned preferences": contract.has("chosen")}
    return tuple(name for name in KINDS if (name in _OF_QUERIES) is contract.queries and others.get(name, True))


def possible_kinds(contract: Contract, compared: Collection[str], empty: Collection[str] = ()) -> tuple[str, ...]:
    """Return the kinds that could show, given the signals and finders that had something to compare.

    A kind cannot show that needs one of the roles `empty`, whose columns have no value in any record.
    """
    able = [name for name, kind in KINDS.items() if kind.by & set(compared)]
    return tuple(name for name in able if not _emptied(name, contract, empty))


def is_judged(possible: Collection[str]) -> bool:
    """Return whether a kind could show by what records say; copies and hidden text alone show nothing of that.

    >>> is_judged({"copies"}), is_judged({"copies", "strangers"})
    (False, True)
    """
    return bool(set(possible) - _NO_SUBSTANCE)


def remedy(kind: str, contract: Contract, empty: Collection[str] = ()) -> str:
    """Return what would let a kind be seen: roles without a column, else without a value, else more of the records."""
    if missing := _unmapped(kind, contract):
        *most, last = [_ROLE_NAMES.get(role, role) for role in missing]
        return f"a column for {last}" if not most else f"columns for {', '.join(most)} and {last}"
    if emptied := _emptied(kind, contract, empty):
        return f"values in {' and '.join(emptied)}"
    return _TRUSTED if kind == "label flips" and "label" in contract.signals else KINDS[kind].data


def _emptied(kind: str, contract: Contract, empty: Collection[str]) -> list[str]:
    """Return the columns without a value, of the roles `empty`, that a kind needs; one text for each need."""
    if not empty:
        return []
    lost = set(_unmapped(kind, contract.without(empty))) - set(_unmapped(kind, contract))
    needs = [_FILLED_BY.get(need, (need,)) for need in KINDS[kind].roles if need in lost]
    return [" or ".join(contract.columns.get(role, role) for role in roles if role in empty) for roles in needs]


_FILLED_BY = {
    "answer": ("answer", "label", "rating"),
    "text": ("text", "prompt", "response", "chosen", "rejected"),
    "age": ("observed_at", "source_since"),
    "source_id": ("source_id", "author_id"),
    "query": ("features", "text", "prompt", "response", "image"),
}
"""What a kind needs, to the roles of which one gives it."""


_ROLE_NAMES = {
    "answer": "answer (or label, or rating)",
    "age": "observed_at (or source_since)",
    "query": "features (or text, or image)",
}


def _unmapped(kind: str, contract: Contract) -> list[str]:
    if kind == "label flips" and "label" in contract.signals:
        return []
    return [role for role in KINDS[kind].roles if not _mapped(role, contract)]


def _mapped(role: str, contract: Contract) -> bool:
    match role:
        case "answer":
            return any(contract.has(name) for name in ("answer", "label", "rating"))
        case "text":
            return bool(contract.texts)
        case "age":  # without sources copies are counted, whenever they come
            return contract.speaker is None or contract.has("observed_at") or contract.has("source_since")
        case "source_id":
            return contract.speaker is not None
        case "query":
            return bool(contract.features or contract.texts or contract.has("image"))
    return contract.has(role)


@dataclass(frozen=True, slots=True)
class MeasuredKind:
    """What came of the attacks of one kind that were put into a feed's own rows."""

    held: float
    """Share of the attacks of the largest size tried of which at least half of the records were held."""
    most: int
    """Records of the largest size tried."""
    records: int | None = None
    """Records from which on every attack was held; None where no size was."""
    accounts: int | None = None
    """Accounts that sent them; 0 where the feed names no source."""
    aged: bool | None = None
    """Whether attacks of that size are held, too, where their accounts are as old as the feed's; None: not known."""

    @property
    def seen(self) -> bool:
        """Whether attacks of the kind are held, from a size on."""
        return self.records is not None

    @property
    def unseen(self) -> bool:
        """Whether hardly any attack of the kind was held, of no size."""
        return not self.seen and self.held <= _UNSEEN


_UNSEEN = 0.2


@dataclass(frozen=True, slots=True)
class Measured:
    """A measurement of a feed's coverage, and what it was made with."""

    key: str
    """Of what it holds for: `coverage_key`."""
    at: str
    """When it was made, ISO 8601."""
    records: int
    """The feed's own records that the attacks were put among."""
    tries: int
    """Attacks of each size."""
    kinds: Mapping[str, MeasuredKind]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Measured:
        """Return the measurement of `to_json`; `KeyError`, `TypeError` or `ValueError` for anything else."""
        kinds = {name: MeasuredKind(**kind) for name, kind in value["kinds"].items() if name in KINDS}
        return cls(str(value["key"]), str(value["at"]), int(value["records"]), int(value["tries"]), kinds)


def coverage_key(contract: Contract, trusted_hash: str) -> str:
    """Return the hash of all that a measurement holds for: columns, policy and trusted set."""
    parts = [
        _FORMAT,
        sorted(contract.columns.items()),
        contract.features,
        contract.policy_hash,
        trusted_hash,
        contract.controls is not None,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the guard can see of attacks on a feed, and what it cannot: the statement that results end with."""

    feed: str
    judged: bool
    """Whether anything judged what the records say."""
    possible: tuple[str, ...]
    """Kinds that could show, by what was compared."""
    remedies: Mapping[str, str]
    """Kind that could not show, to what would change that; what asks for least comes first."""
    measured: Measured | None = None
    outdated: bool = False
    """Whether a measurement was left out, because contract, policy or trusted set changed since."""

    @classmethod
    def of(
        cls,
        contract: Contract,
        compared: Collection[str],
        measured: Measured | None = None,
        *,
        outdated: bool = False,
        empty: Collection[str] = (),
    ) -> Coverage:
        """Return the statement of a batch whose signals compared `compared`, and of which the roles `empty` are."""
        possible = possible_kinds(contract, compared, empty)
        lacks = {kind: _unmapped(kind, contract) for kind in kinds_of(contract) if kind not in possible}
        nearest = sorted(lacks, key=lambda kind: 2 * len(lacks[kind]) - len(KINDS[kind].roles))
        remedies = {kind: remedy(kind, contract, empty) for kind in nearest}
        return cls(contract.name, is_judged(possible), possible, remedies, measured, outdated)

    def sentences(self) -> list[str]:
        """Return the statement, a sentence each: what is seen and from what size, what is not and what would help."""
        said = [] if self.judged else [self._unjudged()]
        seen = [self._seen(kind) for kind in self.possible if self._measured(kind) is None or self._is_seen(kind)]
        if seen and self.measured:
            said.append(f"seen here: {'; '.join(seen)}")
        elif seen:
            said.append(f"could be seen here, if large enough: {', '.join(seen)}")
        for kind in self.possible:
            one = self._measured(kind)
            if one is not None and not one.seen:
                often = f"{one.held:.0%} of them were" if one.held else "none was"
                said.append(f"not reliably seen here: {kind}, up to {one.most:,} records tried ({often} held)")
        if self.remedies:
            kinds = {what: [k for k, w in self.remedies.items() if w == what] for what in self.remedies.values()}
            lost = "; ".join(f"with {what}: {', '.join(names)}" for what, names in kinds.items())
            said.append(f"not seen here, but could be {lost}")
        return [*said, self._whence()]

    def nearest_remedy(self) -> str:
        """Return what would let a kind of substance be seen: of several, what asks for least."""
        nearest = next((kind for kind in self.remedies if kind not in _NO_SUBSTANCE), None)
        return "nothing is missing" if nearest is None else f"with {self.remedies[nearest]}, {nearest} could be seen"

    def to_dict(self) -> dict[str, Any]:
        """Return the statement as JSON holds it, its sentences included."""
        return {**asdict(self), "sentences": self.sentences()}

    def _measured(self, kind: str) -> MeasuredKind | None:
        return self.measured.kinds.get(kind) if self.measured else None

    def _is_seen(self, kind: str) -> bool:
        one = self._measured(kind)
        return one is not None and one.seen

    def _seen(self, kind: str) -> str:
        one = self._measured(kind)
        if one is None:
            return f"{kind} (not measured)" if self.measured else kind
        who = "" if not one.accounts else f" by {one.accounts:,} account{'' if one.accounts == 1 else 's'}"
        age = {True: "", False: " a day old, not by older ones", None: ""}[one.aged]
        return f"{kind} from {one.records:,} records{who}{age}"

    def _unjudged(self) -> str:
        return f"nothing could judge what these records say; {self.nearest_remedy()}"

    def _whence(self) -> str:
        how = f"`poison-guard coverage --feed {self.feed}` measures from what size"
        if self.measured is None:
            return f"contract, policy or trusted set changed since this was measured; {how}" if self.outdated else how
        return (
            f"measured {self.measured.at[:10]} with attacks put among {self.measured.records:,} of the feed's records, "
            f"{self.measured.tries} of each size; real attacks may be easier or harder"
        )
