"""What part of the queue is asked for: the filters that command line, pages and bulk decisions share."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from poison_guard.errors import UsageError
from poison_guard.text import nearest

__all__ = ["GROUPS", "KINDS", "SORTS", "STATES", "QueueFilter", "check_choice", "day_of"]

KINDS = ("held", "audit", "recalled", "item")
"""What an entry of the queue is there for."""
STATES = ("waiting", "free", "claimed", "expired", "all")
"""``waiting``: not decided and not expired, which is ``free`` or ``claimed``; ``all``: the expired ones too."""
SORTS = ("risk", "oldest", "newest")
GROUPS = ("campaign", "source", "item", "reason", "day", "label")
"""What entries are grouped by; the groups that hold most come first."""
_MAX_TEXT = 500


@dataclass(frozen=True, slots=True)
class QueueFilter:
    """Which entries of the queue are meant; None: any.

    >>> QueueFilter.of({"reason": "copies", "risk_from": "0.9"}).params()
    {'reason': 'copies', 'risk_from': '0.9'}
    """

    kind: str | None = None
    reason: str | None = None
    """Code of the reason that weighs most."""
    signal: str | None = None
    """Signal that gave this reason."""
    campaign_id: str | None = None
    source_id: str | None = None
    """Who sent it, or wrote it."""
    item_id: str | None = None
    label: str | None = None
    """The answer, rating or label that the record gives."""
    group: str | None = None
    run_id: str | None = None
    risk_from: float | None = None
    risk_to: float | None = None
    since: dt.date | None = None
    """First day (UTC) on which the records came."""
    until: dt.date | None = None
    """Last day."""
    text: str | None = None
    """Words that the payload's first 500 characters all hold."""
    state: str = "waiting"

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, KINDS)
        check_choice("state", self.state, STATES)
        for name in ("risk_from", "risk_to"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise UsageError(f"{name} is a risk from 0 to 1, got {value:g}")
        if self.text is not None and len(self.text) > _MAX_TEXT:
            raise UsageError(f"text to search for has at most {_MAX_TEXT} characters, got {len(self.text):,}")

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> QueueFilter:
        """Return the filter that text parameters spell, as in a URL; empty ones say nothing, an unknown one is refused.

        `UsageError` names the parameter and what it may be.
        """
        known = {f.name for f in fields(cls)}
        values: dict[str, Any] = {}
        for name, given in params.items():
            if name not in known:
                near = nearest(name, known)
                raise UsageError(f"the queue has no filter {name!r}" + (f"; did you mean `{near}`?" if near else ""))
            if given is not None and given != "":
                values[name] = _typed(name, given)
        return cls(**values)

    def params(self) -> dict[str, str]:
        """Return the parameters that `of` reads back, without those that say nothing."""
        chosen = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return {name: f"{v:g}" if isinstance(v, float) else str(v) for name, v in chosen.items()}


def check_choice(name: str, value: str | None, known: tuple[str, ...]) -> None:
    """Raise `UsageError` for a value that is none of `known`."""
    if value is not None and value not in known:
        raise UsageError(f"{name} is one of {', '.join(known)}, got {value!r}")


def day_of(value: Any, name: str) -> dt.date:
    """Return the day that ``2026-03-01`` spells; `UsageError` names the parameter."""
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    try:
        return dt.date.fromisoformat(str(value))
    except ValueError:
        raise UsageError(f"{name} is a day as 2026-03-01, got {value!r}") from None


def _typed(name: str, given: Any) -> Any:
    match name:
        case "risk_from" | "risk_to":
            try:
                return float(given)
            except (TypeError, ValueError):
                raise UsageError(f"{name} is a risk from 0 to 1, got {given!r}") from None
        case "since" | "until":
            return day_of(given, name)
    return str(given)
