"""Leftovers: what killed commands left in a home and its lake, and nothing names; `doctor --sweep` removes it.

A file younger than a day may be one that a command is about to name.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from poison_guard.config import Settings
from poison_guard.files import is_temporary
from poison_guard.store import Store
from poison_guard.store.leftovers import Named, named_files, unnamed_in_lake

__all__ = ["Leftover", "find_leftovers", "sweep"]

_YOUNG = dt.timedelta(days=1)
_MODELS = ("models", "measured")


@dataclass(frozen=True, slots=True)
class Leftover:
    """A file or folder that nothing names."""

    path: str
    """In the lake if `in_lake`, else in the home."""
    size: int
    """Bytes."""
    in_lake: bool = False


def find_leftovers(store: Store, settings: Settings, now: dt.datetime) -> list[Leftover]:
    """Return half-written files, and models, checkpoints and lake files that nothing names, older than a day."""
    before, named = now - _YOUNG, named_files(store)
    home = settings.home
    found = [
        Leftover(str(path.relative_to(home)), _size(path))
        for path in _unnamed(home, named)
        if dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC) < before
    ]
    lake = (Leftover(path, size, in_lake=True) for path, size in unnamed_in_lake(store, named, before))
    return [*found, *lake]


def sweep(store: Store, settings: Settings, found: Iterable[Leftover]) -> None:
    """Remove leftovers; those gone already are fine. `OSError` or `StoreError` where one cannot be removed."""
    for one in found:
        path = settings.home / one.path
        if one.in_lake:
            store.lake.remove(one.path)
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _unnamed(home: Path, named: Named) -> Iterator[Path]:
    """Yield what is in a home under a temporary name, and models and checkpoints that belong to nothing."""
    for folder in (home, *(home / name for name in ("manifests", "reports", "training"))):
        yield from sorted(path for path in folder.glob(".*") if path.is_file() and is_temporary(path.name))
    models = {str(Path(path).parent) for path in named.models}
    for kind in _MODELS:
        for folder in sorted((home / kind).glob("*/*/*/")):
            if folder.name.startswith(".new-") or str(folder.relative_to(home)) not in models:
                yield folder
    yield from sorted(path for path in (home / "training").glob("[!.]*") if path.name not in named.snapshots)


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
