"""A home that is made once for each scenario and restored for each trial, on SQLite or Postgres; what is checked of it.

A home always lies at the same path while something runs in it, since its files and rows name that path.
"""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults import compare, process
from tests.faults.compare import Held
from tests.faults.process import Outcome, Strike
from tests.faults.scenarios import Context, Scenario, Step, saved

__all__ = ["KEY", "Checked", "Lab", "Postgres", "ScenarioError"]

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


@dataclass
class Lab:
    """Where trials of one scenario on one backend happen."""

    folder: Path
    postgres: Postgres | None = None
    context: Context = field(default_factory=dict)
    clock: dt.datetime = START

    @property
    def live(self) -> Path:
        """The folder that is watched."""
        return self.folder / "live"

    @property
    def home(self) -> Path:
        """The home in it."""
        return self.live / "home"

    @property
    def _names(self) -> tuple[str, str]:
        worker = self.postgres.worker if self.postgres else ""
        return f"faults_{worker}_live", f"faults_{worker}_base"

    @property
    def env(self) -> dict[str, str]:
        """Environment of what runs here."""
        env = {"POISON_GUARD_KEY": "", "TMPDIR": str(self.live / "tmp")}
        return env | ({"POISON_GUARD_STORE": self.postgres.of(self._names[0])} if self.postgres else {})

    def make(self, scenario: Scenario) -> None:
        """Make the home of a scenario and keep it as the base of all trials."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.home.mkdir(parents=True)
        (self.live / "tmp").mkdir()
        if self.postgres:
            self.postgres.restore(self._names[0], "template0")
        scenario.write(self.home)
        if not scenario.makes_key:
            (self.home / "key").write_text(KEY + "\n")
            (self.home / "key").chmod(0o600)
        self.context, self.clock = {"home": str(self.home)}, START
        for step in scenario.prepare:
            outcome = self.run(step)
            if outcome.code not in step.codes:
                raise ScenarioError(f"preparing {scenario.name}: exit {outcome.code}: {outcome.err[-600:]}")
        self._base_context = dict(self.context)
        shutil.copytree(self.live, self.folder / "base")
        if self.postgres:
            self.postgres.restore(self._names[1], self._names[0])

    def restore(self, *, early: dt.timedelta = dt.timedelta()) -> None:
        """Put the base back."""
        shutil.rmtree(self.live)
        shutil.copytree(self.folder / "base", self.live)
        if self.postgres:
            self.postgres.restore(*self._names)
        self.context, self.clock = dict(self._base_context), START + HOUR * 24 + early

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

    def held(self) -> Held:
        """Return what the home holds now."""
        if self.postgres:
            return compare.held_postgres(self.home, self.postgres.of(self._names[0]))
        return compare.held_sqlite(self.home)

    def check(self, *, on_copy: bool = False) -> Checked:
        """Verify the audit chain and every manifest, as others would; `on_copy` leaves the home untouched."""
        home = self.home
        if on_copy:
            home = self.folder / "copy"
            shutil.rmtree(home, ignore_errors=True)
            shutil.copytree(self.home, home)
        names = sorted(path.stem for path in (home / "manifests").glob("*.json"))

        def task() -> int:
            found = {"audit": _code(["audit", "verify", "--home", str(home)])}
            for name in names:
                manifest = home / "manifests" / f"{name}.json"
                found[name] = _code(["verify", str(manifest), "--home", str(home)])
            (self.folder / "checked.json").write_text(json.dumps(found))
            return 0

        if not (home / "store.db").exists() and not self.postgres:
            return Checked(0, {}, frozenset())
        process.call(task, root=self.live, logs=self.folder / "logs", clock=self.clock, env=self.env)
        found: dict[str, int] = json.loads((self.folder / "checked.json").read_text())
        revoked = self._revoked(home)
        return Checked(found.pop("audit"), {name: code == 0 for name, code in found.items()}, revoked)

    def _revoked(self, home: Path) -> frozenset[str]:
        if self.postgres:
            held: Mapping[str, Any] = compare.held_postgres(home, self.postgres.of(self._names[0])).tables
        else:
            held = compare.held_sqlite(home).tables
        columns, rows = held.get("snapshots", ((), []))
        if not rows:
            return frozenset()
        name, seq = columns.index("snapshot_id"), columns.index("revoked_seq")
        return frozenset(row[name] for row in rows if row[seq] is not None)


def _code(arguments: list[str]) -> int:
    try:
        return process.command(arguments)()
    except Exception:  # noqa: BLE001  a traceback is a failure like any other
        return 98
