"""Who acts on the command line: the person signed in to a home, whose token lies in a file of their own (mode 0600)."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from poison_guard.errors import GuardError, NotFoundError, SignInError, UsageError
from poison_guard.files import write_text
from poison_guard.guard import Home

__all__ = ["acting", "forget_token", "keep_token", "token_file", "token_of"]


def acting(home: Path, by: str | None, *, feed: str | None = None, role: str = "reviewer") -> str:
    """Return who acts: the person signed in to the home, or the name in `by` where nobody can sign in to it.

    `SignInError` where a home has people and nobody is signed in, `by` is somebody else, or the role is too low.
    """
    token = token_of(home)
    if token is not None:
        session = Home.open(home).session(token)
        if by and by.strip() != session.name:
            raise SignInError(f"you are signed in as {session.name}, so --by {by} is refused; leave it out")
        if not session.allows(feed, role):
            raise SignInError(f"{session.name} is no {role} of {feed or 'every feed'}")
        return session.person
    if _has_users(home):
        raise SignInError("this home has people who sign in: `poison-guard login` first")
    if not by:
        raise UsageError("give --by, the name of who acts")
    return by


def _has_users(home: Path) -> bool:
    try:
        return bool(Home.open(home).users().users)
    except NotFoundError:  # no store yet: the command says so, or makes one
        return False


def token_file(home: Path) -> Path:
    """Return where the token of a home lies: ``~/.config/poison-guard``, or POISON_GUARD_TOKENS."""
    folder = os.environ.get("POISON_GUARD_TOKENS") or Path.home() / ".config" / "poison-guard"
    return Path(folder) / f"{hashlib.sha256(str(home.expanduser().absolute()).encode()).hexdigest()[:16]}.token"


def token_of(home: Path) -> str | None:
    """Return the token of a home; None where nobody is signed in. `UsageError` for a file that others may read."""
    file = token_file(home)
    try:
        if file.stat().st_mode & 0o077:
            raise UsageError(f"{file} can be read by others: chmod 600 it, or sign in again")
        return file.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def keep_token(home: Path, token: str) -> None:
    """Keep a token, for this user alone."""
    write_text(token + "\n", token_file(home), mode=0o600)


def forget_token(home: Path) -> bool:
    """End the session and remove its token; return whether there was one."""
    token, file = token_of(home), token_file(home)
    file.unlink(missing_ok=True)
    if token is None:
        return False
    try:
        return Home.open(home).sign_out(token).ended
    except GuardError:  # the store is away, or was made anew: what is left of the session ends by itself
        return False
