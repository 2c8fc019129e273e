"""Doctor: whether packages, home, key, store, lake, hosts, extras, device and contracts let the guard work."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from poison_guard.config import Settings, load_contract
from poison_guard.errors import GuardError, MissingExtraError
from poison_guard.files import is_temporary
from poison_guard.results import TableResult
from poison_guard.store import Store
from poison_guard.store.leftovers import Named, named_files, unnamed_in_lake
from poison_guard.text import without_secrets

__all__ = ["Check", "DoctorResult", "Leftover", "doctor", "find_leftovers", "sweep"]


OK, WARNING, PROBLEM = "ok", "warning", "problem"
_MIN_FREE = 1_000_000_000
"""Bytes."""
_PATIENCE = 120
"""Seconds that importing Airflow may take."""
_NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "ceph",
    "glusterfs",
    "lustre",
    "fuse.sshfs",
    "fuse.s3fs",
    "9p",
    "afs",
}
"""File systems whose locks SQLite cannot rely on (SQLite, *File Locking And Concurrency*)."""
_MANY_HOSTS = ("Celery", "Kubernetes", "Edge", "Ecs", "Batch")
"""Words in the names of Airflow executors that run tasks on other hosts."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check; `state` is ``ok``, ``warning`` or ``problem``."""

    name: str
    state: str
    finding: str


@dataclass(frozen=True, slots=True)
class DoctorResult(TableResult):
    """What `Home.doctor` returns."""

    checks: tuple[Check, ...]
    """In the order in which problems should be mended."""

    @property
    def problems(self) -> int:
        """How many checks found something that must be mended."""
        return sum(check.state == PROBLEM for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return the number of problems and every check."""
        checks = [{"name": check.name, "state": check.state, "message": check.finding} for check in self.checks]
        return {"problems": self.problems, "checks": checks}

    def table(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Return a line per check."""
        return ("check", "state", "what was found"), [(one.name, one.state, one.finding) for one in self.checks]


def doctor(settings: Settings, contracts: Iterable[Path], now: dt.datetime, *, sweep: bool = False) -> DoctorResult:
    """Check this installation, a home and the contracts in files; nothing is written but a probe in a remote lake.

    With `sweep`, what killed commands left and nothing names is removed.
    """
    contracts_checked = (_contract(path) for path in contracts)
    return DoctorResult((*_all_checks(settings), _leftovers(settings, now, remove=sweep), *contracts_checked))


def _all_checks(settings: Settings) -> Iterator[Check]:
    yield _python()
    yield _packages()
    yield _home(settings.home)
    yield _modes(settings)
    yield _key(settings)
    yield _store(settings)
    yield _lake(settings)
    yield _hosts(settings)
    yield _expectations()
    yield _airflow()
    yield _device(settings)


def _python() -> Check:
    return Check("python", OK, ".".join(map(str, sys.version_info[:3])))


def _packages() -> Check:
    from packaging.requirements import Requirement

    wrong = []
    for line in metadata.requires("poison-guard") or ():
        need = Requirement(line)
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            have = metadata.version(need.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{need.name} is missing")
            continue
        if not need.specifier.contains(have, prereleases=True):
            wrong.append(f"{need.name} {have} is not {need.specifier}")
    if wrong:
        return Check("packages", PROBLEM, f"{'; '.join(wrong)}: install poison-guard with its constraints again")
    return Check("packages", OK, "all at their floors or above")


def _home(home: Path) -> Check:
    folder = next(p for p in (home, *home.parents) if p.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        return Check("home", PROBLEM, f"{folder} cannot be written: {error.strerror}; name another with --home")
    finding = f"{home}{'' if folder == home else ' (made at first use)'}, {free / 1e9:.1f} GB free"
    return Check("home", OK if free >= _MIN_FREE else WARNING, finding)


def _modes(settings: Settings) -> Check:
    """Whether others on this machine may look into the home, or into a store and lake outside it."""
    places = [settings.home, _sqlite_file(settings), Path(settings.lake_url.removeprefix("file://"))]
    wide: list[Path] = []
    for place in places:
        inside = place is None or (place != settings.home and place.is_relative_to(settings.home))
        if place is not None and not inside and place.exists() and stat.S_IMODE(place.stat().st_mode) & 0o077:
            wide.append(place)
    if wide:
        names = " ".join(map(str, wide))
        return Check("privacy", WARNING, f"others on this machine may read {names}: run `chmod -R go= {names}`")
    return Check("privacy", OK, "files and folders are for this user alone")


def _key(settings: Settings) -> Check:
    if os.environ.get("POISON_GUARD_KEY"):
        return Check("key", OK, "from the environment variable POISON_GUARD_KEY")
    if not settings.key_file.exists():
        return Check("key", OK, f"{settings.key_file} is made at first use")
    from poison_guard.store.key import read_key
    from poison_guard.store.mark import mark_file

    mode = stat.S_IMODE(settings.key_file.stat().st_mode)
    try:
        read_key(settings)
    except GuardError as error:
        return Check("key", PROBLEM, str(error))
    mark = mark_file(settings)
    if mark is not None and not mark.exists() and any((settings.home / "manifests").glob("[!.]*.json")):
        finding = f"{mark} is missing, so an older copy of the store would not be noticed; the next command that writes"
        return Check("key", WARNING, f"{finding} makes it, once the store is known to be the newest")
    return Check("key", OK, f"{settings.key_file}, mode {mode:04o}")


def _store(settings: Settings) -> Check:
    from poison_guard.store import open_store
    from poison_guard.store.engine import refuse_lost

    file = _sqlite_file(settings)
    try:
        if file is not None and not file.exists():
            refuse_lost(settings)
            return Check("store", OK, f"SQLite at {file}, made at first use")
        with open_store(settings) as store:
            return Check("store", OK, f"{store.shown}, reachable and at this version's tables")
    except GuardError as error:
        return Check("store", PROBLEM, str(error))


def _leftovers(settings: Settings, now: dt.datetime, *, remove: bool) -> Check:
    from poison_guard.store import open_store

    file = _sqlite_file(settings)
    if file is not None and not file.exists():
        return Check("leftovers", OK, "none")
    try:
        with open_store(settings) as store:
            found = find_leftovers(store, settings, now)
            if remove:
                sweep(store, settings, found)
    except (GuardError, OSError) as error:
        return Check("leftovers", PROBLEM, f"they cannot be looked for or removed: {error}")
    if not found:
        return Check("leftovers", OK, "none")
    names = ", ".join(("lake/" if one.in_lake else "") + one.path for one in found[:5]) + (", …" if found[5:] else "")
    told = f"{len(found)} files of commands that were killed ({sum(one.size for one in found) / 1e6:.1f} MB): {names}"
    if remove:
        return Check("leftovers", OK, f"removed {told}")
    return Check("leftovers", WARNING, f"{told}; nothing names them, and `poison-guard doctor --sweep` removes them")


def _lake(settings: Settings) -> Check:
    import fsspec

    try:
        system, root = fsspec.core.url_to_fs(settings.lake_url)
        if system.protocol in ("file", "local") or "file" in system.protocol:
            return _local_lake(Path(root))
        probe = f"{root.rstrip('/')}/.doctor"
        system.pipe_file(probe, b"")
        system.rm_file(probe)
    except (OSError, ImportError, ValueError) as error:
        return Check("lake", PROBLEM, f"it cannot be written: {without_secrets(error, settings.lake_url)}")
    return Check("lake", OK, f"{settings.lake_url.split('://')[0]}:// URL, writable")


def _local_lake(root: Path) -> Check:
    folder = next(p for p in (root, *root.parents) if p.exists())
    if not os.access(folder, os.W_OK):
        return Check("lake", PROBLEM, f"{folder} cannot be written; set POISON_GUARD_LAKE to a folder or URL that can")
    return Check("lake", OK, str(root))


def _hosts(settings: Settings) -> Check:
    file = _sqlite_file(settings)
    if file is None:
        return Check("hosts", OK, "a database server: any number of hosts")
    executor = os.environ.get("AIRFLOW__CORE__EXECUTOR", "")
    if any(word in executor for word in _MANY_HOSTS):
        finding = (
            f"{executor} runs tasks on several hosts and SQLite is for one; set POISON_GUARD_STORE to a Postgres URL"
        )
        return Check("hosts", PROBLEM, f"{finding} and POISON_GUARD_LAKE to a shared URL")
    kind = _file_system(file)
    if kind in _NETWORK:
        return Check(
            "hosts", PROBLEM, f"SQLite at {file} lies on {kind}, whose locks fail; set POISON_GUARD_STORE to Postgres"
        )
    return Check("hosts", OK, "SQLite on a local disk: for one host; several need Postgres and a shared lake URL")


def _sqlite_file(settings: Settings) -> Path | None:
    """Return the file of a SQLite store; None for a database server."""
    from poison_guard.store.engine import sqlite_file

    file = sqlite_file(settings.store_url)
    return None if file is None else file.absolute()


def _file_system(path: Path) -> str:
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return ""
    best, kind = "", ""
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        _, point, name, *_ = line.split(" ")
        if len(point) >= len(best) and path.is_relative_to(point.replace("\\040", " ")):
            best, kind = point, name
    return kind


def _expectations() -> Check:
    if find_spec("great_expectations") is None:
        missing = MissingExtraError.of("Great Expectations", "gx")
        return Check("expectations", WARNING, f"feeds with a suite of expectations are held: {missing}")
    return Check("expectations", OK, f"Great Expectations {metadata.version('great-expectations')}")


@cache
def _airflow() -> Check:
    """Import Airflow in a child with a home of its own: importing it writes files. Once a process: it takes seconds."""
    if find_spec("airflow") is None:
        return Check("airflow", OK, str(MissingExtraError.of("Airflow", "airflow")))
    with tempfile.TemporaryDirectory() as folder:
        try:
            child = subprocess.run(
                [sys.executable, "-c", "import airflow.sdk, airflow; print(airflow.__version__)"],
                env={**os.environ, "AIRFLOW_HOME": folder},
                capture_output=True,
                text=True,
                timeout=_PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Check("airflow", PROBLEM, f"importing it took longer than {_PATIENCE} s")
    if child.returncode:
        last = next(iter(child.stderr.strip().splitlines()[-1:]), "no message")
        return Check("airflow", PROBLEM, f"it cannot be imported: {last}")
    return Check("airflow", OK, child.stdout.strip().splitlines()[-1])


def _device(settings: Settings) -> Check:
    from poison_guard.numerics.tensors import pick_device

    try:
        device = pick_device(settings.device)
    except GuardError as error:
        return Check("device", PROBLEM, str(error))
    return Check("device", OK, f"{settings.device}: {device.type}")


def _contract(path: Path) -> Check:
    try:
        contract = load_contract(path)
    except GuardError as error:
        return Check("contract", PROBLEM, str(error))
    return Check("contract", OK, f"{path}: {contract.kind} feed, signals {', '.join(contract.signals)}")


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
