"""Find the contracts that DAGs are made of: the good ones, and one sentence for each that cannot be used."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from poison_guard.config import Contract, load_contract
from poison_guard.errors import ConfigError

__all__ = ["Feeds", "guard_home", "read_feeds"]


@dataclass(frozen=True, slots=True)
class Feeds:
    """The contracts of one folder, in the order of their file names."""

    contracts: tuple[Contract, ...]
    broken: tuple[str, ...]
    """What is wrong with the other files, a sentence each that names the file."""


def guard_home() -> str:
    """Return the home that the DAGs work in: ``POISON_GUARD_HOME``, else ``guard-home`` in the working directory."""
    return os.environ.get("POISON_GUARD_HOME") or "guard-home"


def read_feeds(dags_folder: str | Path) -> Feeds:
    """Read every ``*.toml`` of ``POISON_GUARD_FEEDS``, else of the folder ``feeds`` beside `dags_folder`."""
    folder = Path(os.environ.get("POISON_GUARD_FEEDS") or Path(dags_folder).parent / "feeds").absolute()
    if not folder.is_dir():
        return Feeds((), (f"the folder of feed contracts {folder} does not exist; set POISON_GUARD_FEEDS",))
    by_name: dict[str, Contract] = {}
    broken: list[str] = []
    for file in sorted(folder.glob("*.toml")):
        try:
            contract = load_contract(file)
            _check_schedule(contract)
            if contract.name in by_name:
                raise ConfigError(
                    f"{file} has the name {contract.name!r} that {by_name[contract.name].path} has already"
                )
        except ConfigError as error:
            broken.append(str(error))
        else:
            by_name[contract.name] = contract
    return Feeds(tuple(by_name.values()), tuple(broken))


def _check_schedule(contract: Contract) -> None:
    from airflow.sdk import DAG

    from poison_guard.airflow.versions import AirflowTimetableInvalid

    try:
        DAG(f"guard_{contract.name}", schedule=contract.schedule).timetable.validate()
    except AirflowTimetableInvalid as error:
        raise ConfigError(
            f"schedule must be a cron line or a preset such as @hourly, got {contract.schedule!r} in {contract.path}"
        ) from error
