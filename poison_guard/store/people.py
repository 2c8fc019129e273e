"""Keep the people who sign in, their sessions, and the sign-ins that failed lately."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from poison_guard.errors import NotFoundError, UsageError
from poison_guard.store import chain
from poison_guard.store.bulk import from_json, to_json
from poison_guard.store.engine import Store
from poison_guard.store.tables import sessions, sign_ins, users

__all__ = [
    "add_session",
    "add_user",
    "change_user",
    "end_session",
    "failures_of",
    "find_session",
    "find_user",
    "has_users",
    "list_users",
    "note_failure",
]


def has_users(store: Store) -> bool:
    """Whether anybody can sign in to this home."""
    with store.read() as conn:
        return conn.execute(sa.select(users.c.name).limit(1)).first() is not None


def list_users(store: Store) -> list[dict[str, Any]]:
    """Return all people by name, without their passwords."""
    with store.read() as conn:
        rows = conn.execute(sa.select(users).order_by(users.c.name)).all()
    return [_plain(row) for row in rows]


def find_user(store: Store, name: str) -> tuple[dict[str, Any], str] | None:
    """Return a person and the hash of the password; None where nobody has that name."""
    with store.read() as conn:
        row = conn.execute(sa.select(users).where(users.c.name == name)).first()
    return None if row is None else (_plain(row), str(row.password))


def _plain(row: sa.Row[Any]) -> dict[str, Any]:
    values = {key: value for key, value in row._asdict().items() if key != "password"}
    return {**values, "roles": from_json(row.roles)}


def add_user(
    store: Store, name: str, password: str, roles: Mapping[str, str], *, by: str, at: dt.datetime, first: bool
) -> None:
    """Add a person (`password` is the hash), as one event; with `first` only while there is nobody."""
    with store.write() as conn:
        chain.next_seq(conn)
        known = conn.execute(sa.select(users.c.name)).scalars().all()
        if first and known:
            raise UsageError("this home has people already: an admin adds more (`poison-guard users add`)")
        if any(name.casefold() == other.casefold() for other in known):
            raise UsageError(f"there is a {name!r} already")
        row = {"name": name, "password": password, "roles": to_json(roles), "made_at": at, "made_by": str(by)}
        conn.execute(sa.insert(users), [row])
        _note(conn, store, "user.added", name, by=by, at=at, body={"roles": dict(roles)})


def change_user(store: Store, name: str, *, by: str, at: dt.datetime, **values: Any) -> None:
    """Change ``roles`` (a mapping), ``disabled`` or ``password`` (a hash) of a person; the sessions end with it.

    `UsageError` where no admin of every feed would be left.
    """
    with store.write() as conn:
        chain.next_seq(conn)
        new = {k: to_json(v) if k == "roles" else v for k, v in values.items()}
        if conn.execute(sa.update(users).where(users.c.name == name).values(**new)).rowcount != 1:
            raise NotFoundError(f"nobody is called {name!r}; `poison-guard users list` shows who there is")
        able = conn.execute(sa.select(users.c.roles).where(users.c.disabled.is_(False))).scalars()
        if not any(from_json(roles).get("*") == "admin" for roles in able):
            raise UsageError(f"{name} is the last admin of every feed; make another one first")
        conn.execute(sa.delete(sessions).where(sessions.c.name == name))
        said = {k: v for k, v in values.items() if k != "password"} or {"password": "changed"}
        _note(conn, store, "user.changed", name, by=by, at=at, body=said)


def _note(
    conn: sa.Connection, store: Store, kind: str, name: str, *, by: str, at: dt.datetime, body: Mapping[str, Any]
) -> None:
    whole = {**body, "user": chain.keyed_hash(store.key, name)}
    chain.append(conn, store.key, kind=kind, at=at, body=whole, actor=str(by), rows=[(users, [name])])


def add_session(store: Store, session_id: str, name: str, *, via: str, at: dt.datetime, expires: dt.datetime) -> None:
    """Keep a session; those that have expired go, and so do the failures of the name."""
    with store.write() as conn:
        conn.execute(sa.delete(sessions).where(sessions.c.expires < at))
        conn.execute(sa.delete(sign_ins).where(sign_ins.c.name == name))
        row = {"session_id": session_id, "name": name, "via": via, "at": at, "expires": expires}
        conn.execute(sa.insert(sessions), [row])


def find_session(store: Store, session_id: str, now: dt.datetime) -> dict[str, Any] | None:
    """Return ``name, roles, via, expires`` of a session; None where it was ended, expired, or its person disabled."""
    s = sessions.c
    query = sa.select(s.name, users.c.roles, s.via, s.expires).join_from(sessions, users, s.name == users.c.name)
    query = query.where(s.session_id == session_id, s.expires > now, users.c.disabled.is_(False))
    with store.read() as conn:
        row = conn.execute(query).first()
    return None if row is None else {**row._asdict(), "roles": from_json(row.roles)}


def end_session(store: Store, session_id: str) -> bool:
    """End a session, and return whether there was one."""
    with store.write() as conn:
        return conn.execute(sa.delete(sessions).where(sessions.c.session_id == session_id)).rowcount == 1


_KEPT = dt.timedelta(hours=1)


def note_failure(store: Store, name: str, at: dt.datetime) -> None:
    """Keep that a sign-in failed; those of an hour ago go."""
    with store.write() as conn:
        chain.next_seq(conn)
        conn.execute(sa.delete(sign_ins).where(sign_ins.c.at < at - _KEPT))
        last = conn.execute(sa.select(sa.func.max(sign_ins.c.seq))).scalar() or 0
        conn.execute(sa.insert(sign_ins), [{"seq": last + 1, "name": name, "at": at}])


def failures_of(store: Store, name: str) -> list[dt.datetime]:
    """Return when sign-ins under a name failed lately."""
    with store.read() as conn:
        return list(conn.execute(sa.select(sign_ins.c.at).where(sign_ins.c.name == name)).scalars())
