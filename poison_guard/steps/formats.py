"""List the known formats: how each is known, where it has its roles, and what it does not say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from poison_guard.onboard import FORMATS
from poison_guard.onboard.formats import KnownFormat
from poison_guard.results import Result

__all__ = ["FormatsResult", "list_formats"]


@dataclass(frozen=True, slots=True)
class FormatsResult(Result):
    """What `formats` returns."""

    formats: tuple[dict[str, Any], ...]
    """One for each: ``name, title, kind, known_by, roles, explode, joins, missing, training``."""

    def __str__(self) -> str:
        return "\n".join(f"{entry['name']}: {entry['title']}" for entry in self.formats)

    def table(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Return headings and rows for a terminal."""
        rows: list[tuple[object, ...]] = [
            (entry["name"], entry["title"], ", ".join(entry["roles"]), entry["missing"]) for entry in self.formats
        ]
        return ("format", "what it is", "roles", "what is missing"), rows


def list_formats() -> FormatsResult:
    """Return the entries of the registry, in the order in which a file is compared with them."""
    return FormatsResult(tuple(_shown(entry) for entry in FORMATS.values()))


def _shown(entry: KnownFormat) -> dict[str, Any]:
    columns = [f"columns match {pattern.replace('(?m)', '')}" for pattern in entry.names]
    others = [f"no {name}" for name in entry.lacks]
    values = [f"{path} is like {pattern}" for path, pattern in entry.holds.items()]
    only = ["no other column"] if entry.only else []
    return {
        "name": entry.name,
        "title": entry.title,
        "kind": entry.kind.value,
        "known_by": [*entry.has, *columns, *values, *others, *only],
        "roles": {**entry.roles, **({"features": list(entry.features)} if entry.features else {})},
        "explode": entry.explode,
        "joins": entry.join.gives if entry.join else "",
        "missing": entry.missing,
        "training": entry.training,
    }
