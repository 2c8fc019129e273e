"""Verify: check a manifest with the public key, revocation list and data of a home, or with files that are named."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poison_guard.config import Settings
from poison_guard.errors import UsageError
from poison_guard.gate.keys import PUBLIC_FILE
from poison_guard.gate.revocations import REVOCATIONS_FILE
from poison_guard.gate.verify import verify_manifest
from poison_guard.results import Result, text_table

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
    is named and the home has no lake in a folder.
    """
    if data is not None and no_data:
        raise UsageError("--data and --no-data exclude each other; give one")
    lake = None if no_data else _local_folder(settings.lake_url)
    folder = None if no_data else (Path(data) if data is not None else lake)
    if folder is None and not no_data:
        raise UsageError(f"{settings.home} has no lake in a folder; name the data with --data, or pass --no-data")
    in_lake = folder is not None and lake is not None and folder.exists() and folder.samefile(lake)
    admission = verify_manifest(
        manifest,
        public_key=Path(key) if key is not None else settings.home / PUBLIC_FILE,
        revocations=Path(revocations) if revocations is not None else settings.home / REVOCATIONS_FILE,
        data=folder,
        snapshot_id=snapshot_id,
        feed=feed,
        only=data is not None and not in_lake,
    )
    fields = ("snapshot_id", "feed", "hash", "outcome", "approvals", "issued", "expires", "digest", "key_id")
    return Verified(
        True,
        **{name: getattr(admission, name) for name in (*fields, "subjects", "data_checked")},
        files=() if folder is None else tuple(str(folder / name) for name in admission.subjects),
    )


def _local_folder(url: str) -> Path | None:
    """Return the folder of a lake; None where there is none, or it is not on this machine."""
    path = url.removeprefix("file://")
    return Path(path) if "://" not in path and Path(path).is_dir() else None
