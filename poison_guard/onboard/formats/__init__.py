"""The known formats: one declarative entry each, a plain registry. The first entry that a file fits is its format."""

from poison_guard.onboard.formats.annotation import ANNOTATION
from poison_guard.onboard.formats.entry import FormatJoin, KnownFormat
from poison_guard.onboard.formats.production import PRODUCTION
from poison_guard.onboard.formats.training import TRAINING

__all__ = ["FORMATS", "FormatJoin", "KnownFormat"]

FORMATS = {entry.name: entry for entry in (*ANNOTATION, *PRODUCTION, *TRAINING)}
"""Name to entry; those that say more of a file stand before those that say less."""
