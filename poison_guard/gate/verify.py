"""Verify an admission offline: the manifest, the public key, a fresh revocation list and the data, nothing else.

Needs the standard library and `cryptography` alone; also ``python -m poison_guard.gate.verify MANIFEST …``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import errno
import hashlib
import json
import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poison_guard.canonical_json import CLOCK_SKEW, open_regular, read_bounded, read_json, to_canonical_json, utc_or_now
from poison_guard.errors import ClosedError, GuardError, TamperError
from poison_guard.gate.admission import decide_admission
from poison_guard.gate.dsse import open_envelope
from poison_guard.gate.keys import key_id
from poison_guard.gate.keys import public_key as read_public_key
from poison_guard.gate.revocations import fresh_revocations
from poison_guard.gate.statement import PAYLOAD_TYPE, Statement, read_statement
from poison_guard.text import quoted

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["Admission", "check_files", "check_nothing_else", "main", "verify_manifest"]


MAX_REVOCATION_AGE = dt.timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Admission:
    """A permission to train that holds now."""

    snapshot_id: str
    feed: str
    hash: str
    """Of the snapshot, SHA-256 in hex."""
    outcome: str
    """``pass``, ``inconclusive`` or ``fail``; the last two with the approvals they need."""
    approvals: tuple[Mapping[str, Any], ...]
    issued: dt.datetime
    expires: dt.datetime
    """When the admission, or an approval it rests on, ends."""
    subjects: Mapping[str, str]
    """Name of each file to train on, relative to the data folder, to its SHA-256: train on these and no others."""
    digest: str
    """SHA-256 of the manifest as it was signed, however the file is laid out; to log with the model."""
    key_id: str
    data_checked: bool
    """Whether the files were compared; False only where no data folder was given."""


def verify_manifest(
    manifest: str | Path,
    *,
    public_key: str | Path | bytes,
    revocations: str | Path | None,
    data: str | Path | None = None,
    max_revocation_age: dt.timedelta = MAX_REVOCATION_AGE,
    now: dt.datetime | None = None,
    snapshot_id: str | None = None,
    feed: str | None = None,
    only: bool = False,
) -> Admission:
    """Return the admission of a manifest file when training on it is allowed now; else an error with the reason.

    It holds when `public_key` (PEM file or text) signed it, it was issued and has not expired, its verdict and
    approvals allow it, the revocation list (a file signed by the same key, at most `max_revocation_age` old) does not
    name it, and each file it names lies in `data` with the hash it was admitted with. `snapshot_id` and `feed` are
    what the caller means to train on. `only`: the data folder holds nothing else. Without `data` no file is compared.

    `TamperError` for what was edited or signed by another key, `ClosedError` for what does not hold, `ConfigError` for
    an unusable public key.
    """
    key, at = read_public_key(public_key), utc_or_now(now)
    body = read_bounded(Path(manifest), "the manifest")
    statement = read_statement(open_envelope(body, [key], payload_type=PAYLOAD_TYPE))
    digest = hashlib.sha256(
        to_canonical_json(read_json(body, "the manifest"))
    ).hexdigest()  # as signed, however it is laid out
    _check_expected(statement, snapshot_id, feed)
    expires = _check_time_and_rule(statement, at)
    _check_not_revoked(statement, digest, revocations, key, at, max_revocation_age)
    if data is not None:
        check_files(Path(data), statement.subjects)
    if data is not None and only:
        named = (manifest, revocations, public_key)
        own = [Path(name) for name in named if isinstance(name, str | Path) and "\n" not in str(name)]
        check_nothing_else(Path(data), statement.subjects, besides=own)
    return _admission(statement, expires, digest, key, data_checked=data is not None)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verifier alone; returns 0 when training is allowed, 1 when not, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m poison_guard.gate.verify", description="Verify an admission.")
    parser.add_argument("manifest")
    parser.add_argument("--key", required=True, help="public key (PEM) of the home that signs")
    parser.add_argument("--revocations", required=True, help="revocation list of that home, at most a day old")
    parser.add_argument("--data", required=True, help="folder of the data files; must hold nothing else")
    parser.add_argument("--snapshot", help="snapshot that is meant")
    parser.add_argument("--feed", help="feed that is meant")
    args = parser.parse_args(argv)
    try:
        admission = verify_manifest(
            args.manifest,
            public_key=args.key,
            revocations=args.revocations,
            data=args.data,
            snapshot_id=args.snapshot,
            feed=args.feed,
            only=True,
        )
    except GuardError as error:
        sys.stderr.write(f"poison-guard: {error}\n")
        return error.exit_code
    facts = {key: getattr(admission, key) for key in ("snapshot_id", "feed", "digest")}
    sys.stdout.write(json.dumps({**facts, "files": [*admission.subjects]}) + "\n")
    return 0


def _admission(
    signed: Statement, expires: dt.datetime, digest: str, key: Ed25519PublicKey, *, data_checked: bool
) -> Admission:
    return Admission(
        snapshot_id=signed.snapshot_id,
        feed=signed.feed,
        hash=signed.hash,
        outcome=signed.outcome,
        approvals=signed.approvals,
        issued=signed.issued,
        expires=expires,
        subjects=signed.subjects,
        digest=digest,
        key_id=key_id(key),
        data_checked=data_checked,
    )


def _check_expected(signed: Statement, snapshot_id: str | None, feed: str | None) -> None:
    if snapshot_id is not None and signed.snapshot_id != snapshot_id:
        raise ClosedError(
            f"the manifest admits the snapshot {signed.snapshot_id}, not {quoted(snapshot_id)}; name the right manifest"
        )
    if feed is not None and signed.feed != feed:
        raise ClosedError(f"the manifest is of the feed {signed.feed}, not {quoted(feed)}; name the right manifest")


def _check_time_and_rule(signed: Statement, now: dt.datetime) -> dt.datetime:
    """Return when the admission ends; `ClosedError` when it has, has not begun, or the rule does not allow it."""
    if signed.issued > now + CLOCK_SKEW:
        raise ClosedError(
            f"the admission was issued in the future, at {signed.issued:%Y-%m-%d %H:%M} UTC; check both clocks"
        )
    if now >= signed.expires:
        raise ClosedError(f"the admission expired at {signed.expires:%Y-%m-%d %H:%M} UTC; check the snapshot again")
    decision = decide_admission(signed.outcome, signed.approvals, now=now)
    if not decision.admitted:
        raise ClosedError(decision.why)
    return min(signed.expires, decision.expires or signed.expires)


def _check_not_revoked(
    signed: Statement,
    digest: str,
    path: str | Path | None,
    key: Ed25519PublicKey,
    now: dt.datetime,
    max_age: dt.timedelta,
) -> None:
    if path is None:
        raise ClosedError("no revocation list was given; name the revocations.json of the home that signs")
    body = read_bounded(Path(path), "the revocation list")
    for entry in fresh_revocations(body, key, now=now, max_age=max_age):
        if entry.snapshot_id == signed.snapshot_id or digest in entry.admissions:
            at = f"{entry.at:%Y-%m-%d %H:%M} UTC"
            raise ClosedError(
                f"the snapshot {signed.snapshot_id} was revoked at {at} ({quoted(entry.why)}); train on a newer one"
            )


if __name__ == "__main__":
    sys.exit(main())


_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LINK_ERRORS = (errno.ELOOP, errno.ENOTDIR)


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Hash each of `files` (relative name to SHA-256, hex) in `folder`.

    `ClosedError` for one that is missing, is no regular file or lies behind a symbolic link; `TamperError` for one
    whose content is another.
    """
    try:
        root = os.open(folder, _FOLDER_FLAGS)
    except (OSError, ValueError):
        raise ClosedError(f"there is no data folder {quoted(folder)}; name the one that holds the files") from None
    try:
        for name, digest in files.items():
            if _digest(root, name, folder) != digest:
                raise TamperError(
                    f"{quoted(name)} in {quoted(folder)} is not the file that was admitted; restore it, or seal again"
                )
    finally:
        os.close(root)


def check_nothing_else(folder: Path, files: Collection[str], *, besides: Collection[Path] = ()) -> None:
    """Raise `ClosedError` when `folder` holds anything but `files` and the paths `besides`, hidden files included."""
    allowed = {path.resolve() for path in besides}
    extra = sorted(
        name for name in _all_files(folder) if name not in files and (folder / name).resolve() not in allowed
    )
    if extra:
        more = f" and {len(extra) - 1:,} more" if len(extra) > 1 else ""
        raise ClosedError(
            f"{quoted(folder)} holds {quoted(extra[0])}{more}, which the manifest does not name; "
            "move it out, so that nothing else is trained on"
        )


def _digest(root: int, name: str, folder: Path) -> str:
    """Return the SHA-256 of a file below `root`, opened folder by folder so that no part of the way can be a link."""
    *parents, last = name.split("/")
    at = os.dup(root)
    try:
        for parent in parents:
            inner = os.open(parent, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = inner
        with open_regular(last, folder=at) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        why = "missing"
    except OSError as error:
        why = "behind a link" if error.errno in _LINK_ERRORS else f"unreadable: {error.strerror}"
    finally:
        os.close(at)
    raise ClosedError(f"{quoted(name)} in {quoted(folder)} is {why}; copy it again from the lake that was sealed")


def _all_files(folder: Path) -> Iterator[str]:
    for at, folders, files in os.walk(folder, onerror=_raise_unreadable):
        here = Path(at)
        links = [name for name in folders if (here / name).is_symlink()]
        for name in (*files, *links):
            yield (here / name).relative_to(folder).as_posix()


def _raise_unreadable(error: OSError) -> None:
    raise ClosedError(f"{quoted(error.filename)} cannot be looked into: {error.strerror}; make it readable") from None
