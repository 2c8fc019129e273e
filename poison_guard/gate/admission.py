"""The rule of admission: what a verdict and the approvals on it allow, and until when."""

from __future__ import annotations

import datetime as dt
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from poison_guard.canonical_json import CLOCK_SKEW, parse_time, utc_or_now
from poison_guard.text import quoted

__all__ = ["AdmissionDecision", "decide_admission", "same_person"]

_APPROVALS_NEEDED = {"pass": 0, "inconclusive": 1, "fail": 2}
"""Outcome to how many different people must approve; one that is not here is never admitted."""


@dataclass(frozen=True, slots=True)
class AdmissionDecision:
    """Whether a snapshot may be trained on, and why."""

    admitted: bool
    why: str
    """One sentence."""
    needs: int
    """Approvals still missing; 0 where it is admitted, and where no approval would help."""
    expires: dt.datetime | None
    """When the first approval that it rests on lapses; None where none does."""


def decide_admission(outcome: str, approvals: Sequence[Mapping[str, Any]], *, now: dt.datetime) -> AdmissionDecision:
    """Decide by the rule: PASS; INCONCLUSIVE and one named approver; FAIL and two different ones; ERROR never.

    An approval is a mapping of ``by``, ``reason``, ``at`` and ``expires`` (a time, or None where it does not lapse). It
    counts with a name and a reason, from its time on until it lapses; against a FAIL it must lapse some day. One person
    is one however the name is spelled: letter case, spaces, punctuation and accents make no second person.
    """
    name = str(outcome).lower()
    if name not in _APPROVALS_NEEDED:
        why = "a check could not be measured" if name == "error" else f"the outcome {quoted(outcome)} is unknown"
        return AdmissionDecision(
            False, f"the gate is closed: {why}, and no approval opens that; mend it and check again", 0, None
        )
    needed = _APPROVALS_NEEDED[name]
    if needed == 0:
        return AdmissionDecision(True, "admitted: all blocking checks passed", 0, None)
    lapses = _valid_approvals(approvals, utc_or_now(now), must_lapse=name == "fail")
    missing = max(0, needed - len(lapses))
    if missing:
        return AdmissionDecision(False, _closed_reason(name, missing, len(approvals) - len(lapses)), missing, None)
    rests_on = sorted(lapses.values(), key=lambda at: (at is None, at or dt.datetime.max.replace(tzinfo=dt.UTC)))
    first = rests_on[-needed]
    who = "a named person" if needed == 1 else "two named people"
    return AdmissionDecision(True, f"admitted: the verdict is {name.upper()}, and {who} approved it", 0, first)


def same_person(one: str, other: str) -> bool:
    """Whether two names are of one person as far as spelling can tell."""
    return _folded_name(one) == _folded_name(other)


def _valid_approvals(approvals: Sequence[Mapping[str, Any]], now: dt.datetime, *, must_lapse: bool) -> dict[str, Any]:
    """Return the folded names of those whose approval counts, and when their longest one lapses (None: never)."""
    lapses_by_name: dict[str, dt.datetime | None] = {}
    for approval in approvals:
        who, expires = _folded_name(approval.get("by")), _approval_time(approval.get("expires"))
        at = _approval_time(approval.get("at"))
        lapsed = expires is not None and expires <= now
        early = at is not None and at > now + CLOCK_SKEW
        if not who or not str(approval.get("reason") or "").strip() or lapsed or early:
            continue
        if must_lapse and expires is None:
            continue
        longest = lapses_by_name.get(who, expires)
        lapses_by_name[who] = None if expires is None or longest is None else max(expires, longest)
    return lapses_by_name


def _closed_reason(name: str, missing: int, ignored: int) -> str:
    people = "a named person" if missing == 1 and name == "inconclusive" else f"{missing} more"
    if name == "fail":
        people = "two different people" if missing == 2 else "another person"
    expiry = " and an expiry" if name == "fail" else ""
    note = f" ({ignored} given do not count: lapsed, by the same person, or without what is needed)" if ignored else ""
    return f"the gate is closed: the verdict is {name.upper()}, and {people} must approve with a reason{expiry}{note}"


def _approval_time(value: Any) -> dt.datetime | None:
    if value is None:
        return None
    if isinstance(value, str):
        return parse_time(value, "the time of an approval")
    return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


def _folded_name(name: Any) -> str:
    """Return a name without case, spaces, punctuation, accents and invisible characters."""
    return "".join(c for c in unicodedata.normalize("NFKD", str(name or "")).casefold() if c.isalnum())
