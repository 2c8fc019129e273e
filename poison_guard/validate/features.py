"""Which columns describe behaviour: what a proposal lists as features, and what kind of feed the roles make."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from poison_guard.config import Kind
from poison_guard.validate.columns import Column

__all__ = ["guess_features", "guess_kind"]

_MAX_FEATURES = 64
_MAX_CATEGORIES = 50
_INDEX = re.compile(r"|index|level_0|unnamed(_\d+)?|row|row_(number|no)|line|position")
_BEHAVIOUR = re.compile(
    r"(.*_)?(ms|millis|seconds|secs?|minutes|duration|dwell|elapsed|latency|delay|took|speed|velocity|acceleration|"
    r"pointer|mouse|clicks?|scrolls?|keys?|keystrokes?|taps|touches|distance|attempts?|retries|edits|words?|tokens?|"
    r"length|len|age|confidence|pressure|jitter|entropy)(_(ms|s|px|mean|avg|std|max|min|count|days|hours))*"
)
_COUNTED = re.compile(r"(n|num|number|count)_.+|.+_(count|ms|px|days|hours|seconds)")


def guess_kind(roles: Collection[str], n_numbers: int) -> Kind:
    """Return the kind of feed that `roles` make; `n_numbers` counts the columns of numbers without a role."""
    has = set(roles).__contains__
    if has("chosen") or has("prompt") or (has("response") and not has("item_id")):
        return Kind.PREFERENCES
    voted = has("answer") or has("label") or has("rating")
    if has("source_id") and (has("item_id") or has("answer")) and voted:
        return Kind.ANSWERS
    if has("text") or has("image"):
        return Kind.MESSAGES if has("source_id") or has("author_id") else Kind.EXAMPLES
    if has("source_id") and n_numbers >= 2:
        return Kind.TELEMETRY
    if has("source_id") and voted:
        return Kind.ANSWERS
    return Kind.EXAMPLES if has("label") else Kind.TELEMETRY


def guess_features(columns: Sequence[Column], kind: Kind, *, prose: bool) -> list[Column]:
    """Return the columns without a role that tell how a record came about.

    Telemetry and tabular examples: all numbers, and categories with at most 50 values. Other feeds: numbers whose names
    speak of behaviour (times taken, speeds, counts); the rest may be parts of the vote itself.
    """
    wide = kind is Kind.TELEMETRY or (kind is Kind.EXAMPLES and not prose)
    chosen = [c for c in columns if _usable(c) and (wide or (c.kind == "number" and _speaks_of_behaviour(c.words)))]
    return chosen[:_MAX_FEATURES]


def _usable(c: Column) -> bool:
    if c.constant or _INDEX.fullmatch(c.words) or re.search(r"(^|_)(id|uuid|guid)$", c.words):
        return False
    if c.kind == "number":
        return c.epoch is None
    return c.kind == "bool" or (c.kind == "text" and c.distinct <= _MAX_CATEGORIES and c.rows >= 5 * c.distinct)


def _speaks_of_behaviour(words: str) -> bool:
    return bool(_BEHAVIOUR.fullmatch(words) or _COUNTED.fullmatch(words))
