"""One expectation of a suite, and the texts that a reviewer reads: what was expected, and the cell that failed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

__all__ = ["Expectation", "expected_phrase", "shown_value"]


@dataclass(frozen=True, slots=True)
class Expectation:
    """One rule; only a failure of a ``critical`` one holds back a batch or a row."""

    type: str
    kwargs: Mapping[str, Any]
    severity: str = "critical"
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns it reads; none for an expectation about the whole table."""
        names = [self.kwargs.get(key) for key in ("column", "column_A", "column_B")]
        names += self.kwargs.get("column_list") or ()
        return tuple(dict.fromkeys(name for name in names if name is not None))


_MAX_TEXT = 200
_MAX_VALUES = 8
_FIXED_PHRASES = {
    "expect_column_values_to_not_be_null": "a value",
    "expect_column_values_to_be_null": "nothing",
    "expect_column_values_to_be_unique": "a value no other row of the batch has",
    "expect_compound_columns_to_be_unique": "values no other row of the batch has",
    "expect_column_pair_values_to_be_equal": "two equal values",
    "expect_column_to_exist": "a column of that name",
}


def expected_phrase(expectation: Expectation) -> str:
    """Return what the expectation requires of a value: "between 1 and 5", "one of ham, spam", "a value".

    >>> expected_phrase(Expectation("expect_column_values_to_be_between", {"column": "stars", "max_value": 5}))
    'at most 5'
    """
    kwargs = expectation.kwargs
    if expectation.type in _FIXED_PHRASES:
        return _FIXED_PHRASES[expectation.type]
    match expectation.type:
        case "expect_column_value_lengths_to_be_between":
            return f"{_range(kwargs)} characters"
        case "expect_column_value_lengths_to_equal":
            return f"exactly {kwargs.get('value')} characters"
        case "expect_column_values_to_be_in_set":
            return f"one of {_listed(kwargs.get('value_set') or ())}"
        case "expect_column_values_to_not_be_in_set":
            return f"none of {_listed(kwargs.get('value_set') or ())}"
        case "expect_column_pair_values_a_to_be_greater_than_b":
            return f"the first {'at least' if kwargs.get('or_equal') else 'greater than'} the second"
    if "regex" in expectation.type:
        verb = "no match of" if "_not_" in expectation.type else "a match of"
        return f"{verb} {_listed(kwargs.get('regex_list') or [kwargs.get('regex')])}"
    if "min_value" in kwargs or "max_value" in kwargs:
        return _range(kwargs)
    return expectation.type.removeprefix("expect_column_values_").removeprefix("expect_").replace("_", " ")


def shown_value(value: Any) -> Any:
    """Return a cell as a JSON-able scalar: numbers as they are, times in ISO form, text cut to 200 characters."""
    if isinstance(value, str):
        return value if len(value) <= _MAX_TEXT else value[:_MAX_TEXT] + "…"
    if isinstance(value, (list, tuple, dict, set)):
        return shown_value(str(value)[: _MAX_TEXT + 1])
    if value is None or pd.isna(value):
        return "(empty)"
    if hasattr(value, "isoformat"):
        return value.isoformat()
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, float) and not math.isfinite(plain):
        return str(plain)
    return plain if isinstance(plain, int | float | bool) else shown_value(str(plain))


def _range(kwargs: Mapping[str, Any]) -> str:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    if low is not None and high is not None and not (kwargs.get("strict_min") or kwargs.get("strict_max")):
        return f"between {_number_phrase(low)} and {_number_phrase(high)}"
    parts = []
    if low is not None:
        parts.append(f"{'more than' if kwargs.get('strict_min') else 'at least'} {_number_phrase(low)}")
    if high is not None:
        parts.append(f"{'less than' if kwargs.get('strict_max') else 'at most'} {_number_phrase(high)}")
    return " and ".join(parts)


def _listed(values: Any) -> str:
    shown = [_number_phrase(v) for v in list(values)[:_MAX_VALUES]]
    more = len(values) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _number_phrase(value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    thousands = isinstance(value, int) and abs(value) >= 10_000
    return f"{value:,}" if thousands else str(value)[:40]
