"""The list of snapshots that were taken back: signed, and good for a day, so that its absence closes the gate."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poison_guard.canonical_json import (
    CLOCK_SKEW,
    parse_time,
    read_bounded,
    read_json,
    require_keys,
    require_text,
    to_canonical_json,
)
from poison_guard.errors import ClosedError, DataError, StoreError, TamperError
from poison_guard.files import private_folder, write_atomic
from poison_guard.gate.dsse import open_envelope, sign_envelope
from poison_guard.text import quoted

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = [
    "REVOCATIONS_FILE",
    "Revocation",
    "fresh_revocations",
    "listed_snapshots",
    "revocation_statement",
    "sign_revocations",
    "write_revocations",
]

REVOCATIONS_FILE = "revocations.json"
"""Its name in a home."""
PAYLOAD_TYPE = "application/vnd.poison-guard.revocations+json"
_TYPE = "tag:poison-guard,2026:revocations/v1"
_DAY = dt.timedelta(hours=24)
_WHAT = "the revocation list"
_ID = re.compile(r"[A-Za-z0-9_.-]{1,200}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ANY = re.compile(r".{0,2000}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Revocation:
    """One snapshot that must not be trained on any more."""

    snapshot_id: str
    feed: str
    why: str
    at: dt.datetime
    admissions: tuple[str, ...]
    """SHA-256 of the manifests that were issued for it."""


def revocation_statement(
    revoked: Iterable[Mapping[str, Any]], *, issued: dt.datetime, valid_for: dt.timedelta = _DAY
) -> dict[str, Any]:
    """Return the list as it is signed; each of `revoked` has ``snapshot_id, feed, why, at, admissions``.

    `DataError` names what no verifier would take.
    """
    keys = ("snapshot_id", "feed", "why", "at", "admissions")
    entries = [{**{key: each[key] for key in keys}, "why": str(each["why"] or "")[:2000]} for each in revoked]
    body = to_canonical_json({"type": _TYPE, "issued": issued, "expires": issued + valid_for, "revoked": entries})
    statement = read_json(body, _WHAT)
    try:
        _read(statement)
    except TamperError as error:
        raise DataError(f"this revocation list cannot be signed, since no verifier would take it: {error}") from None
    return statement


def sign_revocations(statement: Mapping[str, Any], key: Ed25519PrivateKey) -> str:
    """Return the DSSE envelope of a revocation statement, as text."""
    return sign_envelope(to_canonical_json(statement), PAYLOAD_TYPE, key)


def write_revocations(
    path: Path,
    revoked: Iterable[Mapping[str, Any]],
    key: Ed25519PrivateKey,
    *,
    issued: dt.datetime,
) -> None:
    """Sign the list and put it at `path` whole: a reader sees the old list or the new one.

    What the list there already revokes stays in it, so that of two writers the one that knew less takes nothing back.
    """
    import fcntl  # not on every system that verifies

    fresh = list(revoked)
    try:
        private_folder(path.parent)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            every = _merged(fresh, _written(path, key.public_key()))
            statement = revocation_statement(every, issued=issued)
            write_atomic(path, sign_revocations(statement, key), mode=0o644)
        finally:
            os.close(folder)
    except OSError as error:
        raise StoreError(f"the revocation list {path} cannot be written: {error.strerror}") from None


def fresh_revocations(
    envelope: str | bytes, key: Ed25519PublicKey, *, now: dt.datetime, max_age: dt.timedelta
) -> tuple[Revocation, ...]:
    """Return what a list revokes, if `key` signed it, not in the future and not longer than `max_age` ago.

    `TamperError` when it was edited or another key signed it, `ClosedError` when it is not fresh.
    """
    payload = open_envelope(envelope, [key], payload_type=PAYLOAD_TYPE, what=_WHAT)
    issued, expires, revoked = _read(read_json(payload, _WHAT))
    if issued > now + CLOCK_SKEW:
        raise ClosedError(f"{_WHAT} was issued in the future, at {issued:%Y-%m-%d %H:%M} UTC; check both clocks")
    if now >= expires or now - issued > max_age:
        raise ClosedError(
            f"{_WHAT} is stale: it was issued at {issued:%Y-%m-%d %H:%M} UTC; "
            f"fetch a fresh {REVOCATIONS_FILE} from the home that signs"
        )
    return revoked


def listed_snapshots(path: Path, key: Ed25519PublicKey) -> frozenset[str]:
    """Return the snapshots that the list at `path` revokes, stale or not; none where `key` did not sign it."""
    return frozenset(entry.snapshot_id for entry in _written(path, key))


def _written(path: Path, key: Ed25519PublicKey) -> tuple[Revocation, ...]:
    """Return what the list at `path` revokes, stale or not; nothing where there is none that `key` signed."""
    try:
        payload = open_envelope(read_bounded(path, _WHAT), [key], payload_type=PAYLOAD_TYPE, what=_WHAT)
        return _read(read_json(payload, _WHAT))[2]
    except (ClosedError, TamperError):
        return ()


def _merged(fresh: Sequence[Mapping[str, Any]], old: Iterable[Revocation]) -> list[Mapping[str, Any]]:
    merged = {str(each["snapshot_id"]): each for each in fresh}
    for entry in old:
        known = merged.get(entry.snapshot_id, dataclasses.asdict(entry))
        merged[entry.snapshot_id] = {**known, "admissions": sorted({*known["admissions"], *entry.admissions})}
    return [merged[name] for name in sorted(merged)]


def _read(statement: Any) -> tuple[dt.datetime, dt.datetime, tuple[Revocation, ...]]:
    fields = require_keys(statement, ("expires", "issued", "revoked", "type"), _WHAT)
    if fields["type"] != _TYPE:
        raise TamperError(f"{_WHAT} is of type {quoted(fields['type'])}, expected {_TYPE}; name the right file")
    if not isinstance(fields["revoked"], list):
        raise TamperError(f"{_WHAT} holds no list; it is not what poison-guard signs")
    issued, expires = parse_time(fields["issued"], "its time"), parse_time(fields["expires"], "its end")
    return issued, expires, tuple(_entry(each) for each in fields["revoked"])


def _entry(value: Any) -> Revocation:
    fields = require_keys(value, ("admissions", "at", "feed", "snapshot_id", "why"), "a revocation")
    if not isinstance(fields["admissions"], list):
        raise TamperError("the admissions of a revocation are not a list; it is not what poison-guard signs")
    return Revocation(
        snapshot_id=require_text(fields["snapshot_id"], _ID, "a revoked snapshot"),
        feed=require_text(fields["feed"], _ID, "a revoked snapshot's feed"),
        why=require_text(fields["why"], _ANY, "the reason of a revocation"),
        at=parse_time(fields["at"], "the time of a revocation"),
        admissions=tuple(require_text(digest, _HASH, "a revoked manifest") for digest in fields["admissions"]),
    )
