"""People: who may sign in to a home and do what on which feed; sessions of pages and of the command line."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from poison_guard.errors import SignInError, UsageError
from poison_guard.records import UNVERIFIED, Person, via_of
from poison_guard.results import Result, TableResult
from poison_guard.review import people as rules
from poison_guard.store import Store, people

__all__ = [
    "Session",
    "SignedOut",
    "User",
    "Users",
    "add_user",
    "change_user",
    "session",
    "sign_in",
    "sign_out",
    "users",
]

HOURS = 12
"""How long a sign-in to the pages holds; a token of the command line holds a week."""
_TOKEN_HOURS = 24 * 7


@dataclass(frozen=True, slots=True)
class User(Result):
    """A person who may sign in."""

    name: str
    roles: Mapping[str, str]
    """Feed (``*``: every one) to ``viewer``, ``reviewer`` or ``admin``."""
    disabled: bool
    made_at: dt.datetime
    made_by: str

    def __str__(self) -> str:
        """Return who it is in a sentence."""
        roles = ", ".join(f"{role} of {'every feed' if feed == '*' else feed}" for feed, role in self.roles.items())
        return f"{self.name}: {roles or 'no role'}{', disabled' if self.disabled else ''}"


@dataclass(frozen=True, slots=True)
class Users(TableResult):
    """The people of a home."""

    home: str
    users: tuple[User, ...]

    def table(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Return a line per person."""
        rows = [(u.name, ", ".join(f"{f}: {r}" for f, r in u.roles.items()), u.disabled, u.made_at, u.made_by)
                for u in self.users]  # fmt: skip
        return ("name", "roles", "disabled", "since", "added by"), list(rows)


@dataclass(frozen=True, slots=True)
class Session(Result):
    """A sign-in that holds."""

    name: str
    roles: Mapping[str, str]
    via: str
    """``session`` of pages, ``token`` of the command line; ``proxy`` and ``airflow`` for who is verified there."""
    expires: dt.datetime
    token: str = field(default="", repr=False)
    """The secret to come back with; empty unless it was just given."""

    @property
    def person(self) -> Person:
        """The name as the verbs take it in `by`."""
        return Person(self.name, self.via)

    def allows(self, feed: str | None, role: str) -> bool:
        """Whether this person may do on a feed (None: on every one) what a `role` may."""
        return rules.allows(self.roles, feed, role)

    def to_dict(self) -> dict[str, Any]:
        """Return what may be shown: everything but the token."""
        return {key: value for key, value in Result.to_dict(self).items() if key != "token"}

    def __str__(self) -> str:
        """Return who is signed in until when."""
        return f"signed in as {self.name} until {self.expires:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True, slots=True)
class SignedOut(Result):
    """A session that was ended."""

    ended: bool
    """False: there was none, or it had ended."""

    def __str__(self) -> str:
        """Return what was done."""
        return "signed out" if self.ended else "nobody was signed in"


def users(store: Store, home: str) -> Users:
    """Return the people of a home."""
    return Users(home, tuple(User(**row) for row in people.list_users(store)))


def add_user(
    store: Store,
    name: str,
    password: str,
    *,
    role: str,
    feed: str,
    by: str | None,
    first: bool = False,
    now: dt.datetime,
) -> User:
    """Add a person by a signed-in admin; the `first` one, an admin of every feed, only while there is nobody."""
    rules.check_password(password, rules.check_name(name))
    rules.check_role(role)
    if first and (role, feed) != ("admin", "*"):
        raise UsageError("the first person is an admin of every feed; give neither role nor feed")
    if not first:
        _check_admin(store, by)
    added_by = name if first else str(by)
    people.add_user(store, name, rules.hash_password(password), {feed: role}, by=added_by, at=now, first=first)
    return _user(store, name)


def change_user(
    store: Store,
    name: str,
    *,
    by: str,
    now: dt.datetime,
    feed: str = "*",
    role: str | None = None,
    disabled: bool | None = None,
    password: str | None = None,
) -> User:
    """Change a person's role on a feed (``none`` takes it away), disable or enable, or set a new password.

    By a signed-in admin of every feed; the own password by oneself. It ends the person's sessions.
    """
    if not (
        password is not None and role is None and disabled is None and str(by) == name and via_of(by) != UNVERIFIED
    ):
        _check_admin(store, by)
    values: dict[str, Any] = {} if disabled is None else {"disabled": disabled}
    if role is not None:
        roles = {key: value for key, value in _user(store, name).roles.items() if key != feed}
        values["roles"] = roles if role == "none" else {**roles, feed: rules.check_role(role)}
    if password is not None:
        rules.check_password(password, name)
        values["password"] = rules.hash_password(password)
    if not values:
        raise UsageError("nothing to change: give a role, a password, or whether the person is disabled")
    people.change_user(store, name, by=by, at=now, **values)
    return _user(store, name)


def _check_admin(store: Store, by: str | None) -> None:
    known = people.find_user(store, str(by)) if by else None
    if by is None or via_of(by) == UNVERIFIED:
        raise SignInError("people are managed by a signed-in admin; `poison-guard login` first")
    if via_of(by) in ("session", "token") and (known is None or not rules.allows(known[0]["roles"], None, "admin")):
        raise SignInError(f"{by} is no admin of every feed")


def _user(store: Store, name: str) -> User:
    known = people.find_user(store, name)
    if known is None:
        raise UsageError(f"nobody is called {name!r}; `poison-guard users list` shows who there is")
    return User(**known[0])


def sign_in(store: Store, name: str, password: str, *, via: str = "session", now: dt.datetime) -> Session:
    """Return a new session of a person; `SignInError` for a wrong name or password, or after too many tries."""
    kept = name[:64].replace("\0", "")
    wait = rules.wait_seconds(people.failures_of(store, kept), now)
    if wait > 0:
        raise SignInError(f"too many sign-ins failed; try again in {wait:.0f} seconds")
    known = people.find_user(store, kept)
    right = rules.is_right(password[:4096], known[1] if known else None)
    if not right or known is None or known[0]["disabled"]:
        people.note_failure(store, kept, now)
        raise SignInError("name or password is wrong, or the person was disabled")
    token = rules.new_token(store.key)
    expires = now + dt.timedelta(hours=_TOKEN_HOURS if via == "token" else HOURS)
    people.add_session(store, rules.session_id(token, store.key), kept, via=via, at=now, expires=expires)
    return Session(kept, known[0]["roles"], via, expires, token)


def session(store: Store, token: str, now: dt.datetime) -> Session:
    """Return the session of a token; `SignInError` where it was ended, has expired, or its person was disabled."""
    found = people.find_session(store, rules.session_id(token, store.key), now)
    if found is None:
        raise SignInError("this sign-in has ended; sign in again")
    return Session(**found)


def sign_out(store: Store, token: str) -> SignedOut:
    """End the session of a token."""
    return SignedOut(people.end_session(store, rules.session_id(token, store.key)))
