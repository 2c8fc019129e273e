"""Verify: check a manifest with the public key, revocation list and data of a home, or with files that are named."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poison_guard.config import Settings
from poison_guard.errors import ClosedError, NotFoundError, UsageError
from poison_guard.gate.keys import PUBLIC_FILE, key_id, public_key
from poison_guard.gate.revocations import REVOCATIONS_FILE, listed_snapshots
from poison_guard.gate.verify import Admission, verify_manifest
from poison_guard.results import Result, text_table
from poison_guard.steps.opening import has_store
from poison_guard.store import open_store, outbox
from poison_guard.store.admissions import revoked_snapshots
from poison_guard.store.snapshots import load_snapshot
from poison_guard.text import quoted

__all__ = ["Verified", "verify"]


@dataclass(frozen=True, slots=True)
class Verified(Result):
    """What `verify` returns: an admission that holds."""

    admitted: bool
    snapshot_id: str
    feed: str
    hash: str
    outcome: str
    approvals: tuple[Mapping[str, Any], ...]
    issued: dt.datetime
    expires: dt.datetime
    digest: str
    key_id: str
    subjects: Mapping[str, str]
    """File name, relative to the data folder, to SHA-256."""
    data_checked: bool
    files: tuple[str, ...]
    """Paths of the data files that were compared."""

    @property
    def folder(self) -> str:
        """The folder of the data files; empty where none were compared."""
        name = next(iter(self.subjects))
        return self.files[0].removesuffix(name).rstrip("/") if self.files else ""

    def __str__(self) -> str:
        """Return what is admitted, until when and by whom."""
        rows = [("verdict", self.outcome), ("until", f"{self.expires:%Y-%m-%d %H:%M} UTC"), ("files", len(self.files))]
        return text_table(("admitted", self.snapshot_id), [*rows, *(("by", a["by"]) for a in self.approvals)])


def verify(
    manifest: Path,
    settings: Settings,
    *,
    key: str | Path | None,
    revocations: str | Path | None,
    data: str | Path | None,
    no_data: bool,
    snapshot_id: str | None,
    feed: str | None,
) -> Verified:
    """Verify a manifest with what is named, and with the files of the home for what is not.

    A folder of data that is named, and is not the lake of the home, must hold nothing else. `UsageError` where no data
    is named and the home has no lake in a folder. Where the home signed the manifest and has a store, the store is
    asked too: `ClosedError` where the list is older than it.
    """
    if data is not None and no_data:
        raise UsageError("--data and --no-data exclude each other; give one")
    lake = None if no_data else _local_folder(settings.lake_url)
    folder = None if no_data else (Path(data) if data is not None else lake)
    if folder is None and not no_data:
        raise UsageError(f"{settings.home} has no lake in a folder; name the data with --data, or pass --no-data")
    in_lake = folder is not None and lake is not None and folder.exists() and folder.samefile(lake)
    signer = Path(key) if key is not None else settings.home / PUBLIC_FILE
    list_file = Path(revocations) if revocations is not None else settings.home / REVOCATIONS_FILE
    admission = verify_manifest(
        manifest,
        public_key=signer,
        revocations=list_file,
        data=folder,
        snapshot_id=snapshot_id,
        feed=feed,
        only=data is not None and not in_lake,
    )
    if _signs(settings, admission) and has_store(settings):
        _check_against_store(settings, admission, listed_snapshots(list_file, public_key(signer)), list_file)
    fields = ("snapshot_id", "feed", "hash", "outcome", "approvals", "issued", "expires", "digest", "key_id")
    return Verified(
        True,
        **{name: getattr(admission, name) for name in (*fields, "subjects", "data_checked")},
        files=() if folder is None else tuple(str(folder / name) for name in admission.subjects),
    )


def _signs(settings: Settings, admission: Admission) -> bool:
    """Whether the key of a home signed an admission: then its store knows more than the list."""
    own = settings.home / PUBLIC_FILE
    return own.is_file() and key_id(public_key(own)) == admission.key_id


def _check_against_store(settings: Settings, admission: Admission, listed: frozenset[str], list_file: Path) -> None:
    """Raise `ClosedError` for a snapshot that the store revoked or does not know, and for a list older than the store.

    A command that is killed after its commit leaves such a list, until the next one that writes.
    """
    with open_store(settings) as store:
        revoked = {row["snapshot_id"]: row["why"] for row in revoked_snapshots(store)}
        waits = any(task.kind == outbox.REVOCATIONS for task in outbox.pending(store))
        try:
            load_snapshot(store, admission.snapshot_id)
        except NotFoundError:
            raise ClosedError(
                f"the store of {settings.home} knows no snapshot {admission.snapshot_id}, though its key signed the "
                "manifest; name the home that sealed it with --home"
            ) from None
    renew = f"`poison-guard gate check --feed {admission.feed}` writes a new one"
    if admission.snapshot_id in revoked:
        raise ClosedError(
            f"the store says that {admission.snapshot_id} was revoked ({quoted(revoked[admission.snapshot_id])}), and "
            f"{list_file} does not say so yet; do not train on it; {renew}"
        )
    missing = revoked.keys() - listed
    if waits or missing:
        raise ClosedError(f"{list_file} is older than the store, which has revoked snapshots since; {renew}")


def _local_folder(url: str) -> Path | None:
    """Return the folder of a lake; None where there is none, or it is not on this machine."""
    path = url.removeprefix("file://")
    return Path(path) if "://" not in path and Path(path).is_dir() else None
