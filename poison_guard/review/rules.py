"""The rules of a review: who decides and why, from where each verb takes records, and to where it moves them."""

from __future__ import annotations

from poison_guard.errors import UsageError

__all__ = ["check_person"]


_MAX_NAME = 200
_MAX_REASON = 2000


def check_person(by: str, reason: str) -> tuple[str, str]:
    """Return name and reason without surrounding space; `UsageError` when one is missing or too long."""
    name, why = by.strip(), reason.strip()
    if not name:
        raise UsageError("a decision needs the name of who makes it; give `by`")
    if not why:
        raise UsageError("a decision needs a reason that others can read later; give `reason`")
    if len(name) > _MAX_NAME or len(why) > _MAX_REASON or "\0" in name + why:
        raise UsageError(f"a name has at most {_MAX_NAME} and a reason at most {_MAX_REASON} characters, without NUL")
    return name, why
