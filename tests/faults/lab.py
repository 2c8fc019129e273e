"""A home that is made once for each scenario and restored for each trial, on SQLite or Postgres; what is checked of it.

A home always lies at the same path while something runs in it, since its files and rows name that path.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults import compare, process
from tests.faults.compare import Held
from tests.faults.process import Outcome, Strike
from tests.faults.scenarios import Context, Scenario, Step, saved

__all__ = ["KEY", "Base", "Checked", "Lab", "Postgres", "ScenarioError"]

KEY = "5a" * 32
START = dt.datetime(2026, 12, 1, 8, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
LATER = dt.timedelta(minutes=10)
"""How much later a command is repeated, in trials whose clock goes on."""


class ScenarioError(Exception):
    """An undisturbed step of a scenario did not end as it should."""


@dataclass(frozen=True)
class Postgres:
    """Databases of a server, made from one another as templates."""

    url: str
    worker: str = "w"

    def of(self, database: str) -> str:
        """Return the URL of a database."""
        import sqlalchemy as sa

        return sa.make_url(self.url).set(database=database).render_as_string(hide_password=False)

    def restore(self, target: str, template: str) -> None:
        """Replace the database `target` by a copy of `template`."""
        import psycopg

        with psycopg.connect(self.of("postgres"), autocommit=True) as conn:
            conn.execute(f'DROP DATABASE IF EXISTS "{target}" WITH (FORCE)')
            self._wait_until_unused(conn, template)
            conn.execute(f'CREATE DATABASE "{target}" TEMPLATE "{template}"')

    def _wait_until_unused(self, conn: Any, database: str) -> None:
        import time

        for _ in range(200):
            if not conn.execute("select 1 from pg_stat_activity where datname = %s", [database]).fetchone():
                return
            time.sleep(0.05)


@dataclass
class Checked:
    """What a home looks like from outside."""

    audit: int | None
    verified: dict[str, bool]
    """Snapshot to whether its manifest verifies."""
    revoked: frozenset[str]
    """Snapshots that the store says are revoked."""

    @property
    def revoked_but_valid(self) -> list[str]:
        """Snapshots that the store revoked and whose manifest still verifies."""
        return sorted(name for name, valid in self.verified.items() if valid and name in self.revoked)


@dataclass(frozen=True)
class Base:
    """A home that is kept: the name of its folder and database, what its steps printed, and when the last ended."""

    name: str
    context: Context
    clock: dt.datetime


@dataclass
class Lab:
    """Where trials on one backend happen, of one scenario after the other."""

    folder: Path
    postgres: Postgres | None = None
    context: Context = field(default_factory=dict)
    clock: dt.datetime = START
    _bases: dict[object, Base] = field(default_factory=dict)
    _base: Base | None = None
    _checked: dict[object, Checked] = field(default_factory=dict)

    @property
    def live(self) -> Path:
        """The folder that is watched."""
        return self.folder / "live"

    @property
    def home(self) -> Path:
        """The home in it."""
        return self.live / "home"

    def _database(self, name: object) -> str:
        return f"faults_{self.postgres.worker if self.postgres else ''}_{name}"

    @property
    def env(self) -> dict[str, str]:
        """Environment of what runs here."""
        env = {"POISON_GUARD_KEY": "", "TMPDIR": str(self.live / "tmp")}
        return env | ({"POISON_GUARD_STORE": self.postgres.of(self._database("live"))} if self.postgres else {})

    def make(self, scenario: Scenario) -> None:
        """Make the home of a scenario, the base of its trials, from one whose first steps were the same."""
        self._base = self._made(scenario, len(scenario.prepare))
        self._checked.clear()

    def _made(self, scenario: Scenario, n: int) -> Base:
        key = (scenario.write, scenario.makes_key, scenario.prepare[:n])
        if key not in self._bases:
            if n:
                self.put_back(self._made(scenario, n - 1))
                outcome = self.run(step := scenario.prepare[n - 1])
                if outcome.code not in step.codes:
                    raise ScenarioError(f"preparing {scenario.name}: exit {outcome.code}: {outcome.err[-600:]}")
            else:
                self._begin(scenario)
            self._bases[key] = self.kept(len(self._bases))
        return self._bases[key]

    def _begin(self, scenario: Scenario) -> None:
        """Write what a scenario finds before its first command."""
        shutil.rmtree(self.live if self._bases else self.folder, ignore_errors=True)
        self.home.mkdir(parents=True)
        (self.live / "tmp").mkdir()
        if self.postgres:
            self.postgres.restore(self._database("live"), "template0")
        scenario.write(self.home)
        if not scenario.makes_key:
            (self.home / "key").write_text(KEY + "\n")
            (self.home / "key").chmod(0o600)
        self.context, self.clock = {"home": str(self.home)}, START

    def kept(self, name: object) -> Base:
        """Keep a copy of what is there now, in the place of one that was called the same."""
        shutil.rmtree(self.folder / f"base-{name}", ignore_errors=True)
        shutil.copytree(self.live, self.folder / f"base-{name}")
        if self.postgres:
            self.postgres.restore(self._database(name), self._database("live"))
        return Base(str(name), dict(self.context), self.clock)

    def put_back(self, base: Base) -> None:
        """Let what was kept be there again."""
        shutil.rmtree(self.live)
        shutil.copytree(self.folder / f"base-{base.name}", self.live)
        if self.postgres:
            self.postgres.restore(self._database("live"), self._database(base.name))
        self.context, self.clock = dict(base.context), base.clock

    def restore(self, *, early: dt.timedelta = dt.timedelta()) -> None:
        """Put the base back."""
        if self._base is None:
            raise ScenarioError("no scenario was made here")
        self.put_back(self._base)
        self.clock = START + HOUR * 24 + early

    def run(self, step: Step, strike: Strike | None = None, **more: Any) -> Outcome:
        """Do one step at the lab's clock, which goes on an hour when it is done."""
        if step.before is not None:
            step.before(self.home)
        env = {**self.env, **more.pop("env", {})}
        outcome = process.call(
            step.task(self.context),
            root=self.live,
            logs=self.folder / "logs",
            clock=more.pop("clock", self.clock),
            strike=strike,
            env=env,
            sockets=self.postgres is not None,
            **more,
        )
        if outcome.code in step.codes:
            try:
                saved(step, self.context, outcome.out)
            except (ValueError, LookupError) as error:
                raise ScenarioError(f"a step printed what cannot be used ({error!r}): {outcome.out[:300]}") from error
            self.clock += HOUR
        return outcome

    def run_all(self, steps: Sequence[Step], **more: Any) -> list[Outcome]:
        """Do several steps, up to the first that does not end as it should."""
        done = []
        for step in steps:
            done.append(self.run(step, **more))
            if done[-1].code not in step.codes or self.context.pop("skip", False):
                break
        return done

    def held(self, home: Path | None = None, store: Path | None = None) -> Held:
        """Return what the home, or a copy of it, holds now; its rows are read from `store` where they lie there."""
        if self.postgres:
            return compare.held_postgres(home or self.home, self.postgres.of(self._database("live")))
        return compare.held_sqlite(home or self.home, store)

    def left(self) -> str:
        """Return a digest of what a kill now would leave, without a touch: files, and rows that are committed."""
        if self.postgres:
            import psycopg

            try:
                return self.held().digest
            except psycopg.errors.LockNotAvailable:  # what is locked cannot be read: like no other
                return os.urandom(16).hex()
        copy = self.folder / "store"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        there = [name for name in compare.STORE_FILES if (self.home / name).exists()]
        for name in there:
            shutil.copyfile(self.home / name, copy / name)
        return " ".join([self.held(store=copy).digest, *there])

    def check(self, *, on_copy: bool = False) -> Checked:
        """Verify the audit chain and every manifest, as others would; `on_copy` leaves the home untouched.

        What holds the same at the same time was verified before.
        """
        home = self.home
        if on_copy:
            home = self.folder / "copy"
            shutil.rmtree(home, ignore_errors=True)
            shutil.copytree(self.home, home)
        if not (home / "store.db").exists() and not self.postgres:
            return Checked(0, {}, frozenset())
        held = self.held(home)
        key = (held.digest, self.clock, on_copy)
        if key not in self._checked:
            self._checked[key] = self._verified(home, held)
        return self._checked[key]

    def _verified(self, home: Path, held: Held) -> Checked:
        names = sorted(path.stem for path in (home / "manifests").glob("*.json"))

        def task() -> int:
            found = {"audit": _code(["audit", "verify", "--home", str(home)])}
            for name in names:
                manifest = home / "manifests" / f"{name}.json"
                found[name] = _code(["verify", str(manifest), "--home", str(home)])
            (self.folder / "checked.json").write_text(json.dumps(found))
            return 0

        process.call(task, root=self.live, logs=self.folder / "logs", clock=self.clock, env=self.env)
        found: dict[str, int] = json.loads((self.folder / "checked.json").read_text())
        return Checked(found.pop("audit"), {name: code == 0 for name, code in found.items()}, _revoked(held))


def _revoked(held: Held) -> frozenset[str]:
    columns, rows = held.tables.get("snapshots", ((), []))
    if not rows:
        return frozenset()
    name, seq = columns.index("snapshot_id"), columns.index("revoked_seq")
    return frozenset(row[name] for row in rows if row[seq] is not None)


def _code(arguments: list[str]) -> int:
    try:
        return process.command(arguments)()
    except Exception:  # noqa: BLE001  a traceback is a failure like any other
        return 98
