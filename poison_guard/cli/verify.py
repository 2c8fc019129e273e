"""`poison-guard verify`: may this data be trained on now? Offline, from a manifest, without the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from poison_guard.cli.options import common, feed_name
from poison_guard.cli.output import emit, told
from poison_guard.config import open_settings
from poison_guard.errors import UsageError

if TYPE_CHECKING:
    from poison_guard.gate.verify import Admission

__all__ = ["verify_command"]

_FILE = click.Path(path_type=Path)


@click.command("verify")
@click.argument("manifest", type=_FILE)
@click.option(
    "--key", type=_FILE, metavar="FILE", help="Public key of the home that signs. Default: signing.pub in it."
)
@click.option("--revocations", type=_FILE, metavar="FILE", help="Its revocation list. Default: revocations.json in it.")
@click.option("--data", type=_FILE, metavar="FOLDER", help="Data; must hold nothing else. Default: the home's lake.")
@click.option("--no-data", is_flag=True, help="Compare no data: the signature, time and revocations only.")
@click.option("--snapshot", metavar="ID", help="Refuse a manifest of another snapshot.")
@click.option("--feed", metavar="FEED.toml", help="Refuse a manifest of another feed: its name or contract file.")
@common
def verify_command(
    manifest: Path,
    key: Path | None,
    revocations: Path | None,
    data: Path | None,
    no_data: bool,
    snapshot: str | None,
    feed: str | None,
    home: Path,
    as_json: bool,
) -> int:
    """Verify that MANIFEST admits its data for training, now. Exit code 1: it does not, and says why."""
    from poison_guard.gate.keys import PUBLIC_FILE
    from poison_guard.gate.revocations import FILE
    from poison_guard.gate.verify import verify_manifest

    if data is not None and no_data:
        raise UsageError("--data and --no-data exclude each other; give one")
    settings = open_settings(home)
    lake = None if no_data else _folder(settings.lake_url)
    folder = None if no_data else data or lake
    if folder is None and not no_data:
        raise UsageError(f"{home} has no lake in a folder; name the data with --data, or pass --no-data")
    found = verify_manifest(
        manifest,
        public_key=key or settings.home / PUBLIC_FILE,
        revocations=revocations or settings.home / FILE,
        data=folder,
        snapshot_id=snapshot,
        feed=feed_name(feed) if feed else None,
        only=data is not None and not (lake is not None and data.exists() and data.samefile(lake)),
    )
    _tell(found, folder, as_json=as_json)
    return 0


def _tell(found: Admission, folder: Path | None, *, as_json: bool) -> None:
    files: list[str] = [] if folder is None else [str(folder / name) for name in found.subjects]
    if as_json:
        keys = ("snapshot_id", "feed", "hash", "outcome", "approvals", "issued", "expires", "digest", "key_id")
        known = {name: getattr(found, name) for name in (*keys, "subjects", "data_checked")}
        emit({"admitted": True, **known, "files": files})
        return
    told(f"admitted: {found.snapshot_id}, verdict {found.outcome.upper()}, until {found.expires:%Y-%m-%d %H:%M} UTC")
    for approval in found.approvals:
        told(f"approved by {approval['by']}: {approval['reason']}")
    if found.data_checked:
        told(f"data: {len(found.subjects):,} files in {folder} are the ones admitted; train on these and no others")
    else:
        told(f"data: NOT compared ({len(found.subjects):,} files named); compare them with --data before you train")


def _folder(url: str) -> Path | None:
    """Return the folder of a lake; None where there is none, or it is not on this machine."""
    path = url.removeprefix("file://")
    return Path(path) if "://" not in path and Path(path).is_dir() else None
