"""What an entry of the known formats says: how a file of it is recognised, and where its roles are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from poison_guard.config import Kind

__all__ = ["FormatJoin", "KnownFormat"]


@dataclass(frozen=True, slots=True)
class FormatJoin:
    """A second file that a format leaves something to: `init --join FILE` names it."""

    key: str
    to: str
    name: str
    gives: str
    """What it adds, in a few words."""


@dataclass(frozen=True, slots=True)
class KnownFormat:
    """One known format.

    Paths are those of `ingest.paths`; of paths with ``|`` between, those stay whose columns the file has. ``{q}`` in a
    path is a part of a column's name that `names` found.
    """

    name: str
    """Its name on the command line and in ``[data] format``."""
    title: str
    """What people call it."""
    kind: Kind
    roles: Mapping[str, str]
    """Role to path."""
    has: tuple[str, ...]
    """Paths that find something in a file of it."""
    lacks: tuple[str, ...] = ()
    """Columns that no file of it has."""
    holds: Mapping[str, str] = field(default_factory=dict)
    """Path to a regular expression that all its values match, as texts."""
    names: tuple[str, ...] = ()
    """Regular expressions that the names of the columns, one per line, contain; their groups are put into paths."""
    only: bool = False
    """Whether it has no other columns than those of `has`."""
    explode: str = ""
    join: FormatJoin | None = None
    features: tuple[str, ...] = ()
    revisions: bool = False
    """Whether its tool lets a person change a judgement, which then comes again under its id."""
    missing: str = ""
    """What no file of it says, in one sentence."""
    training: bool = False
    """Whether trainers read it as it is."""
