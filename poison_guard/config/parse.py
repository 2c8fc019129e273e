"""The table ``[parse]`` of a contract: how the cells of a feed are to be read where they alone do not say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from poison_guard.config.tables import Rule, one_of

__all__ = ["NAMED_FORMATS", "NULL_WORDS", "Case", "Parse"]

NULL_WORDS = ("null", "n/a", "none", "undefined", "(not set)", "-", "nil")
"""Words that stand for no value, in any case, where `null_words` names no others."""
NAMED_FORMATS = ("excel", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns")
"""Formats of times that are numbers: days since 1899-12-30, and parts of a second since 1970."""
_DIRECTIVES = frozenset("aAbBdmYyHIMSfpzZjTDR%")


class Case(StrEnum):
    """What two spellings of a label are that differ in upper and lower case alone."""

    FOLD = "fold"
    KEEP = "keep"


def _is_time_format(text: str) -> bool:
    """Return whether a text is one of `NAMED_FORMATS`, or names a year, a month and a day as strptime does."""
    if text in NAMED_FORMATS:
        return True
    names = set(re.findall(r"%(.)", text))
    whole = "D" in names or (names & set("Yy") and ("j" in names or (names & set("mbB") and "d" in names)))
    return bool(whole) and names <= _DIRECTIVES and text.count("%") == len(re.findall(r"%.", text)) + text.count("%%")


def _is_zone(name: str) -> bool:
    from zoneinfo import ZoneInfo

    if re.fullmatch(r"UTC|[+-](0[0-9]|1[0-4]):[0-5][0-9]", name):
        return True
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


_FORMAT_RULE = Rule(
    f'strptime formats with year, month and day, such as "%d/%m/%Y %H:%M", or of {", ".join(NAMED_FORMATS)}',
    _is_time_format,
)


@dataclass(frozen=True, slots=True)
class Parse:
    """How cells are read; what is not set here is read only where one reading is possible."""

    decimal: Annotated[str, one_of((".", ","))] = "."
    """Character before the decimals of a number written as text."""
    thousands: Annotated[str, one_of(("", ".", ",", " ", "'", "_"))] = ""
    """Character between the thousands of a number written as text; none where empty."""
    null_words: tuple[str, ...] = NULL_WORDS
    """Words that stand for no value in ids, numbers and times, in any case."""
    time_format: Annotated[tuple[str, ...], _FORMAT_RULE] = ()
    """How times are written (one strptime format or several, tried in order); ISO 8601, RFC 2822, epochs and what
    JavaScript, Java (with a numeric zone) and Apache write are read without it."""
    time_zone: Annotated[str, Rule('a zone such as "Europe/Berlin" or "+01:00"', _is_zone)] = "UTC"
    """Zone of times that name none, and of zone names such as PST."""
    case: Case | None = None
    """Whether labels that differ in upper and lower case alone are one, where no declared label decides it."""
    anonymous: (
        Annotated[str, Rule("a name of at most 100 characters", lambda text: 0 < len(text.strip()) <= 100)] | None
    ) = None
    """Id of the one source that rows without a source id are of; without this key they are held."""
    ordered: bool = False
    """Whether the order of a list that is an answer or a label counts."""

    @property
    def null_set(self) -> frozenset[str]:
        """The words of `null_words`, case-folded."""
        return frozenset(word.strip().casefold() for word in self.null_words)
