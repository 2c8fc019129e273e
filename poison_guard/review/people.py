"""People who sign in: passwords, roles, and the tokens of sessions. Pure: the store keeps what these functions give."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from poison_guard.errors import MissingExtraError, SignInError, UsageError

__all__ = [
    "EVERY_FEED",
    "ROLES",
    "allows",
    "check_name",
    "check_password",
    "check_role",
    "hash_password",
    "is_right",
    "new_token",
    "role_of",
    "session_id",
    "wait_seconds",
]

ROLES = ("viewer", "reviewer", "admin")
"""Each may do what the ones before it may: look; decide; approve, block, set rules and manage people."""
EVERY_FEED = "*"
_NAME = re.compile(r"[\w][\w.@+-]{0,63}")
_SHORTEST, _LONGEST = 12, 1024


def check_name(name: str) -> str:
    """Return a name to sign in with; `UsageError` for one that cannot be one."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"a name has 1 to 64 letters, digits and . _ @ + -, and begins with a letter, got {name!r}")
    return name


def check_password(password: str, name: str) -> None:
    """Raise `UsageError` for a password that is too short, too long or the name."""
    if not _SHORTEST <= len(password) <= _LONGEST:
        raise UsageError(f"a password has {_SHORTEST} to {_LONGEST:,} characters, got {len(password):,}")
    if password.casefold() == name.casefold() or len(set(password)) < 5:
        raise UsageError("a password is not the name, and has at least 5 different characters")


def check_role(role: str) -> str:
    """Return a role; `UsageError` for one that is none."""
    if role not in ROLES:
        raise UsageError(f"a role is one of {', '.join(ROLES)}, got {role!r}")
    return role


def role_of(roles: Mapping[str, str], feed: str | None) -> str | None:
    """Return the highest role on a feed (None: on every feed); None without one."""
    found = [roles.get(EVERY_FEED), None if feed is None else roles.get(feed)]
    return max((r for r in found if r in ROLES), key=ROLES.index, default=None)


def allows(roles: Mapping[str, str], feed: str | None, needed: str) -> bool:
    """Whether someone with these roles may do on a feed what `needed` may; None: on every feed.

    >>> allows({"*": "viewer", "chat": "reviewer"}, "chat", "reviewer"), allows({"chat": "admin"}, None, "viewer")
    (True, False)
    """
    role = role_of(roles, feed)
    return role is not None and ROLES.index(role) >= ROLES.index(needed)


def hash_password(password: str) -> str:
    """Return a salted argon2id hash."""
    return str(_hasher().hash(password))


def is_right(password: str, kept: str | None) -> bool:
    """Whether a password is the one that was hashed; takes as long for a name that nobody has (None)."""
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return bool(_hasher().verify(kept or _nobody(), password)) and kept is not None
    except (VerificationError, InvalidHashError):
        return False


def _hasher() -> Any:
    try:
        import argon2
    except ImportError:
        raise MissingExtraError.of("argon2-cffi, which keeps passwords,", "web") from None
    return argon2.PasswordHasher()


_NOBODY: list[str] = []


def _nobody() -> str:
    """Return the hash of a password that nobody has, made once a process."""
    if not _NOBODY:
        _NOBODY.append(hash_password(secrets.token_hex(16)))
    return _NOBODY[0]


_FREE_TRIES = 5
_WINDOW = dt.timedelta(minutes=15)


def wait_seconds(failures: Sequence[dt.datetime], now: dt.datetime) -> float:
    """Return how long a name has to wait for its next try: from the fifth failure in 15 minutes on, a minute and more.

    >>> wait_seconds([dt.datetime(2026, 1, 1, 0, 0, k) for k in range(5)], dt.datetime(2026, 1, 1, 0, 0, 4))
    60.0
    """
    late = sorted(at for at in failures if at > now - _WINDOW)
    if len(late) < _FREE_TRIES:
        return 0.0
    wait = min(60 * 2 ** (len(late) - _FREE_TRIES), 900)
    return max(0.0, (late[-1] - now).total_seconds() + wait)


def new_token(key: bytes) -> str:
    """Return a new session's token: a secret, and a signature that says that this home gave it."""
    secret = secrets.token_urlsafe(32)
    return f"{secret}.{_signature(key, secret)}"


def session_id(token: str, key: bytes) -> str:
    """Return under which id a token's session is kept; `SignInError` for a token that this home did not give."""
    secret, _, signature = token.partition(".")
    if not secret.isascii() or not hmac.compare_digest(signature.encode(), _signature(key, secret).encode()):
        raise SignInError("this sign-in is not one of this home's; sign in again")
    return hashlib.sha256(secret.encode()).hexdigest()


def _signature(key: bytes, secret: str) -> str:
    return hmac.digest(key, b"session\0" + secret.encode("utf-8", "surrogatepass"), "sha256").hex()
