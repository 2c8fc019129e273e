"""The commands `init`, `demo` and `doctor`: propose a contract, write the demo's feeds, check the installation."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import click

from poison_guard.cli.options import common_options, contract_file, dry_run, feed_option, sqlite_file
from poison_guard.cli.output import print_json, print_progress, print_result, print_table, progress, write_text
from poison_guard.cli.trust import count_misfits
from poison_guard.config import Settings, load_contract
from poison_guard.errors import GuardError, MissingExtraError, UsageError

__all__ = ["Check", "all_checks", "demo_command", "doctor_command", "init_command"]


_SAMPLE = 200_000
"""Rows looked at; a proposal needs no more."""


@click.command("init")
@click.argument("data")
@click.option("--name", help="Name of the feed. Default: from the file's name.")
@click.option(
    "--out",
    default=".",
    show_default=True,
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where feeds/NAME.toml and expectations/NAME.json are written.",
)
@click.option("--force", is_flag=True, help="Replace files that are there already.")
@dry_run
@common_options
def init_command(data: str, name: str | None, out: Path, force: bool, dry_run: bool, home: Path, as_json: bool) -> None:
    """Look at DATA (csv, jsonl or parquet) and propose a contract and expectations that the file itself passes."""
    from poison_guard.config import parse_contract
    from poison_guard.contracts.suite import check_suite, parse_suite
    from poison_guard.ingest import read_raw
    from poison_guard.onboard import propose_contract, propose_suite

    feed = name or _feed_name(data)
    files = (out / "feeds" / f"{feed}.toml", out / "expectations" / f"{feed}.json")
    if not force and not dry_run:
        _refuse_existing(files)
    with progress(f"looking at {data}"):
        frame = read_raw([data], sample_rows=_SAMPLE)
        text = propose_contract(frame, name=feed, data_path=_from_contract(data, files[0]))
        contract = parse_contract(tomllib.loads(text), path=files[0])
        suite = propose_suite(frame, contract)
    with progress("checking the proposal against the file"):
        rules = parse_suite(suite)
        check_suite(rules)
        _, flaws, _ = count_misfits(contract, rules, data, home)
    if not dry_run:
        write_text(text, files[0])
        write_text(json.dumps(suite, indent=2) + "\n", files[1])
    expectations = len(suite["expectations"])
    if as_json:
        listed = {"contract": str(files[0]), "suite": str(files[1]), "toml": text, "expectations": expectations}
        print_json(
            {"feed": feed, "dry_run": dry_run, "signals": list(contract.signals), "rows_failing": flaws, **listed}
        )
        return
    if dry_run:
        click.echo(text)
    print_result(f"{'would write' if dry_run else 'wrote'} {files[0]} and {files[1]} ({expectations} expectations)")
    print_result(f"signals that can run: {', '.join(contract.signals)}; rows of the file that fail: {flaws:,}")
    print_progress(f"next: read [columns] in {files[0]}, then poison-guard scan --feed {files[0]}")


def _feed_name(data: str) -> str:
    """Return a feed name made of the file's name: lower case, words joined by ``_``."""
    stem = Path(data.rstrip("/").rsplit("/", 1)[-1]).name.split(".")[0].lower()
    word = re.sub(r"[^a-z0-9]+", "_", stem).strip("_")[:48]
    if not re.match(r"[a-z]", word):
        raise UsageError(f"no feed name can be made of {data}; give one with --name")
    return word


def _refuse_existing(files: tuple[Path, ...]) -> None:
    there = next((file for file in files if file.exists()), None)
    if there is not None:
        raise UsageError(f"{there} exists already; give another --name or --out, or --force to replace it")


def _from_contract(data: str, contract: Path) -> str:
    """Return the path of `data` as the contract file sees it; URLs and absolute paths stay."""
    if "://" in data or Path(data).is_absolute():
        return data
    return Path(os.path.relpath(data, contract.parent)).as_posix()


_BY, _REASON = "demo", "vetted by construction: the demo knows the truth of its own records"


@click.command("demo")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1), help="Seed of everything drawn."
)
@dry_run
@common_options
def demo_command(seed: int, dry_run: bool, home: Path, as_json: bool) -> None:
    """Write the feeds captcha, chat and telemetry into the home, with attacks inside, and enter their trusted sets.

    Running it again changes nothing.
    """
    from poison_guard.contracts.gx import is_installed
    from poison_guard.drills.demo import demo_contracts, trusted_path, write_demo
    from poison_guard.drills.worlds import WORLDS
    from poison_guard.guard import Guard

    rows = []
    contracts: dict[str, Path] = {}
    if not dry_run:
        with progress(f"drawing three feeds from seed {seed}"):
            write_demo(home, seed)
        contracts = demo_contracts(home)
        if not is_installed():
            print_progress(f"feeds without their suites: {MissingExtraError.of('Great Expectations', 'gx')}")
        for name, contract in contracts.items():
            with progress(f"checking the trusted set of {name}"):
                added = Guard.open(contract, home=home).trust(str(trusted_path(home, name)), by=_BY, reason=_REASON)
            rows.append({"feed": name, "trusted": added.n, "added": added.added, "inbox": str(home / "inbox" / name)})
    if as_json:
        print_json({"seed": seed, "home": str(home), "dry_run": dry_run, "feeds": rows or list(WORLDS)})
    elif dry_run:
        print_progress(f"dry run: would write {', '.join(WORLDS)} into {home}")
    else:
        print_table(
            "Demo", ("feed", ">trusted records", "batches in"), [(r["feed"], r["trusted"], r["inbox"]) for r in rows]
        )
        file = contracts["captcha"]
        in_home = file.is_relative_to(home)
        near = "captcha" if in_home else file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
        print_progress(f"next: poison-guard run --feed {near} --home {home}")


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
    told: str


def all_checks(settings: Settings, contracts: list[Path]) -> Iterator[Check]:
    """Yield every check in the order in which problems should be mended."""
    yield _python()
    yield _packages()
    yield _home(settings.home)
    yield _key(settings)
    yield _store(settings)
    yield _lake(settings)
    yield _hosts(settings)
    yield _expectations()
    yield _airflow()
    yield _device(settings)
    for path in contracts:
        yield _contract(path)


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
    told = f"{home}{'' if folder == home else ' (made at first use)'}, {free / 1e9:.1f} GB free"
    return Check("home", OK if free >= _MIN_FREE else WARNING, told)


def _key(settings: Settings) -> Check:
    if os.environ.get("POISON_GUARD_KEY"):
        return Check("key", OK, "from the environment variable POISON_GUARD_KEY")
    if not settings.key_file.exists():
        return Check("key", OK, f"{settings.key_file} is made at first use")
    mode = stat.S_IMODE(settings.key_file.stat().st_mode)
    try:
        settings.key()
    except GuardError as error:
        return Check("key", PROBLEM, str(error))
    return Check("key", OK, f"{settings.key_file}, mode {mode:04o}")


def _store(settings: Settings) -> Check:
    from poison_guard.store import open_store

    file = sqlite_file(settings)
    if file is not None and not file.exists():
        return Check("store", OK, f"SQLite at {file}, made at first use")
    try:
        with open_store(settings) as store:
            return Check("store", OK, f"{store.shown}, reachable and at this version's tables")
    except GuardError as error:
        return Check("store", PROBLEM, str(error))


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
        return Check("lake", PROBLEM, f"it cannot be written: {error}")
    return Check("lake", OK, f"{settings.lake_url.split('://')[0]}:// URL, writable")


def _local_lake(root: Path) -> Check:
    folder = next(p for p in (root, *root.parents) if p.exists())
    if not os.access(folder, os.W_OK):
        return Check("lake", PROBLEM, f"{folder} cannot be written; set POISON_GUARD_LAKE to a folder or URL that can")
    return Check("lake", OK, str(root))


def _hosts(settings: Settings) -> Check:
    file = sqlite_file(settings)
    if file is None:
        return Check("hosts", OK, "a database server: any number of hosts")
    executor = os.environ.get("AIRFLOW__CORE__EXECUTOR", "")
    if any(word in executor for word in _MANY_HOSTS):
        told = f"{executor} runs tasks on several hosts and SQLite is for one; set POISON_GUARD_STORE to a Postgres URL"
        return Check("hosts", PROBLEM, f"{told} and POISON_GUARD_LAKE to a shared URL")
    kind = _file_system(file)
    if kind in _NETWORK:
        return Check(
            "hosts", PROBLEM, f"SQLite at {file} lies on {kind}, whose locks fail; set POISON_GUARD_STORE to Postgres"
        )
    return Check("hosts", OK, "SQLite on a local disk: for one host; several need Postgres and a shared lake URL")


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


def _airflow() -> Check:
    """Import Airflow in a child with a home of its own: importing it writes files."""
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


@click.command("doctor")
@feed_option(required=False)
@common_options
def doctor_command(feed: str | None, home: Path, as_json: bool) -> int:
    """Check packages, home, key, store, lake, Airflow, device and contracts. Exit code 1: something must be mended."""
    from poison_guard.config import open_settings

    contracts = [contract_file(feed, home)] if feed else sorted(Path("feeds").glob("*.toml"))
    with progress("checking"):
        checks = list(all_checks(open_settings(home), contracts))
    problems = sum(check.state == PROBLEM for check in checks)
    if as_json:
        print_json({"problems": problems, "checks": [dataclasses.asdict(check) for check in checks]})
    else:
        print_table("Doctor", ("check", "state", "what was found"), [(c.name, c.state, c.told) for c in checks])
    return 1 if problems else 0
