"""Audit: recompute the store, and hold its chain against heads kept elsewhere: anchors and the manifests of a home."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poison_guard.canonical_json import read_bounded
from poison_guard.config import Settings
from poison_guard.errors import GuardError, UsageError
from poison_guard.gate.dsse import open_envelope
from poison_guard.gate.keys import PUBLIC_FILE, public_key
from poison_guard.gate.statement import PAYLOAD_TYPE, read_statement
from poison_guard.results import Result
from poison_guard.store import AuditResult, Store, verify
from poison_guard.store.audit import Anchor
from poison_guard.store.chain import head_mac, last_event

__all__ = ["HeadResult", "audit", "head"]

_ANCHOR = re.compile(r"(\d{1,18}):([0-9a-f]{64})")
_MAX_ANCHOR_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class HeadResult(Result):
    """The last event of the chain, to keep elsewhere: `audit verify --anchor` compares the store with it later."""

    seq: int
    hash: str
    mac: str
    """Keyed hash over both, which only the holder of the key can make."""
    at: dt.datetime
    """When it was read."""

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


def head(store: Store, now: dt.datetime) -> HeadResult:
    """Return the head of the chain as of now."""
    with store.read() as conn:
        last = last_event(conn)
    return HeadResult(last.seq, last.hash, head_mac(store.key, last.seq, last.hash), now)


def audit(store: Store, settings: Settings, *, last_runs: int | None, anchors: Sequence[str | Path]) -> AuditResult:
    """Recompute all (or what was written since `last_runs` runs ago), and compare the chain with what was kept of it.

    `anchors` are ``SEQ:HASH`` or files: what `audit head` printed, or a manifest. The manifests of the home are anchors
    by themselves. `UsageError` for an anchor that is none.
    """
    if last_runs is not None and last_runs < 1:
        raise UsageError(f"the number of runs to audit must be at least 1, got {last_runs}")
    signed, unsigned = _manifest_anchors(settings)
    result = verify(store, last_runs=last_runs, anchors=[*(_anchor(text, settings) for text in anchors), *signed])
    if result.ok and unsigned is not None:
        path, why = unsigned
        return dataclasses.replace(
            result, ok=False, first_bad=result.events + 1, why=f"{path}: {why}", table="manifest", key=path
        )
    return result


def _manifest_anchors(settings: Settings) -> tuple[list[Anchor], tuple[str, str] | None]:
    """Return the heads that the manifests of a home are signed with, and the first manifest that does not verify."""
    anchors: list[Anchor] = []
    unsigned: tuple[str, str] | None = None
    for path in sorted((settings.home / "manifests").glob("[!.]*.json")):  # a writer that died leaves a hidden file
        try:
            anchor = _anchor_of_manifest(path, read_bounded(path, "the manifest"), settings)
        except GuardError as error:
            unsigned = unsigned or (str(path), str(error))
            continue
        if anchor is not None:
            anchors.append(anchor)
    return anchors, unsigned


def _anchor_of_manifest(path: Path, body: bytes, settings: Settings) -> Anchor | None:
    key = public_key(settings.home / PUBLIC_FILE)
    chain = read_statement(open_envelope(body, [key], payload_type=PAYLOAD_TYPE)).chain
    return None if chain is None else Anchor(*chain, where=str(path), kind="manifest")


def _anchor(text: str | Path, settings: Settings) -> Anchor:
    """Return the anchor that a user names."""
    if match := _ANCHOR.fullmatch(str(text).strip()):
        return Anchor(int(match[1]), match[2], "", where="the anchor")
    path = Path(text)
    try:
        with path.open("rb") as file:
            body = file.read(_MAX_ANCHOR_BYTES)
    except OSError as error:
        raise UsageError(
            f"the anchor {path} is neither SEQ:HASH nor a file that can be read: {error.strerror}"
        ) from None
    if match := _ANCHOR.fullmatch(body[:200].decode("ascii", "replace").strip()):
        return Anchor(int(match[1]), match[2], "", where=str(path))
    fields = _json_of(body)
    if "payload" in fields:
        anchor = _anchor_of_manifest(path, body, settings)
        if anchor is None:
            raise UsageError(f"the manifest {path} holds no head of a chain; name another anchor")
        return anchor
    seq, digest, mac = fields.get("seq"), fields.get("hash"), fields.get("mac", "")
    if not isinstance(seq, int) or not _ANCHOR.fullmatch(f"{seq}:{digest}") or not isinstance(mac, str):
        raise UsageError(f"{path} is no anchor; `poison-guard audit head` prints one")
    return Anchor(seq, str(digest), mac, where=str(path))


def _json_of(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}
