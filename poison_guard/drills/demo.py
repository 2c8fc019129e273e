"""Write the demo: three feeds with attacks inside, trusted sets and controls, where the shipped contracts look."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd

import poison_guard
from poison_guard.contracts.gx import is_installed
from poison_guard.drills.world import World
from poison_guard.drills.worlds import WORLDS, make_world
from poison_guard.errors import NotFoundError, StoreError, UsageError
from poison_guard.files import private_folder

__all__ = ["NOTE", "demo_contracts", "demo_seed", "demo_world", "shipped", "trusted_path", "write_demo", "write_world"]

NOTE = "demo.json"
"""File of a home that says which seed its demo was drawn from; written last."""

_BATCHES: dict[str, str] = {"captcha": "parquet", "chat": "jsonl", "telemetry": "csv"}
"""World to the format of its batch files."""


def write_demo(home: str | Path, seed: int = 0) -> tuple[Path, ...]:
    """Write every world into `home` and return the files, the same bytes for the same seed.

    ``inbox/FEED/DAY.*`` are the batches, ``FEED/trusted.parquet`` the vetted records, ``FEED/controls.csv`` and
    ``FEED/items.parquet`` what the captcha contract names, ``FEED/truth.parquet``, ``FEED/item_truth.parquet`` and
    ``FEED/fresh.parquet`` what only a scoreboard may read. `UsageError` where `home` holds the demo of another seed,
    `StoreError` where it takes no files.
    """
    root = Path(home)
    _check_seed(root, seed)
    try:
        private_folder(root)
        files = [file for name in WORLDS for file in write_world(make_world(name, seed), root)]
        (root / NOTE).write_text(json.dumps({"seed": seed, "feeds": list(WORLDS)}) + "\n", encoding="utf-8")
    except OSError as error:
        raise StoreError(f"the demo cannot be written to {root}: {error.strerror or error}") from None
    return (*files, root / NOTE)


def write_world(world: World, home: Path) -> list[Path]:
    """Write one world's files into `home` (see `write_demo`) and return them; one batch file per day."""
    inbox, beside = home / "inbox" / world.name, home / world.name
    inbox.mkdir(parents=True, exist_ok=True)
    beside.mkdir(parents=True, exist_ok=True)
    suffix = _BATCHES[world.name]
    days = world.role("observed_at").dt.strftime("%Y-%m-%d")
    written = [_save(part, inbox / f"{day}.{suffix}") for day, part in world.records.groupby(days, sort=True)]
    tables = {
        "trusted.parquet": world.trusted,
        "truth.parquet": world.truth,
        "item_truth.parquet": world.item_truth,
        "controls.csv": world.controls,
        "items.parquet": world.items,
        "fresh.parquet": world.fresh if len(world.fresh) else None,
    }
    return written + [_save(table, beside / name) for name, table in tables.items() if table is not None]


def demo_world(home: str | Path, name: str) -> World:
    """Return the world that ``inbox/NAME`` of `home` was written from, truth included; drawn again from its seed."""
    seed = demo_seed(Path(home))
    if seed is None:
        raise NotFoundError(f"{home} holds no demo; `poison-guard demo --home {home}` writes one")
    return make_world(name, seed)


def trusted_path(home: str | Path, name: str) -> Path:
    """Return the file of vetted records of the feed `name`."""
    return Path(home) / name / "trusted.parquet"


def shipped(*parts: str) -> Path:
    """Return a shipped file, say ``shipped("feeds", "chat.toml")``, of the installed package or the source tree."""
    package = Path(poison_guard.__file__).parent
    for root in (package / "shipped", package.parent):
        if (file := root.joinpath(*parts)).exists():
            return file
    raise NotFoundError(f"{'/'.join(parts)} is not among the files this installation ships")


def demo_contracts(home: Path) -> dict[str, Path]:
    """Return the contract of each feed; an installed package's are copied to the home, so that ``--feed NAME`` works.

    They are copied, too, where Great Expectations is not installed, and then without the suites, which would hold all.
    """
    source = shipped("feeds")
    checked = is_installed()
    if checked and source.parent.name != "shipped":
        return {name: source / f"{name}.toml" for name in WORLDS}
    for name in WORLDS:
        _copy(source / f"{name}.toml", home / "feeds")
        if checked:
            _copy(shipped("expectations", f"{name}.json"), home / "expectations")
    return {name: home / "feeds" / f"{name}.toml" for name in WORLDS}


def _copy(file: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / file.name).exists():
        shutil.copyfile(file, folder / file.name)


def _check_seed(home: Path, seed: int) -> None:
    held = demo_seed(home)
    if held is not None and held != seed:
        raise UsageError(f"{home} holds the demo of seed {held}; write seed {seed} to another home")


def demo_seed(home: Path) -> int | None:
    """Return the seed the demo in `home` was drawn from; None where it holds none."""
    file = home / NOTE
    if not file.is_file():
        return None
    try:
        return int(json.loads(file.read_text(encoding="utf-8"))["seed"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{file} is not the note of a demo; remove it or choose another home") from None


def _save(frame: pd.DataFrame, file: Path) -> Path:
    writers: dict[str, Callable[[], object]] = {
        ".parquet": lambda: frame.to_parquet(file, index=False),
        ".jsonl": lambda: frame.to_json(file, orient="records", lines=True, date_format="iso", date_unit="us"),
        ".csv": lambda: frame.to_csv(file, index=False, date_format="%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    writers[file.suffix]()
    return file
