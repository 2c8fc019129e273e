"""A small home with one admitted snapshot, and ways to sign what is not quite it."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from poison_guard.gate.keys import signing_key
from poison_guard.gate.revocations import write_revocations
from poison_guard.gate.statement import admission_statement, sign_statement
from poison_guard.gate.verify import Admission, verify_manifest

NOW = dt.datetime(2026, 3, 4, 12, 0, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
SNAPSHOT = "chat-7-abababab"


@dataclasses.dataclass
class Home:
    path: Path
    key: Ed25519PrivateKey
    said: dict[str, Any]

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.json"

    @property
    def public(self) -> Path:
        return self.path / "signing.pub"

    @property
    def revocations(self) -> Path:
        return self.path / "revocations.json"

    @property
    def data(self) -> Path:
        return self.path / "lake"

    def verify(self, **changed: Any) -> Admission:
        given: dict[str, Any] = {"public_key": self.public, "revocations": self.revocations, "data": self.data}
        return verify_manifest(changed.pop("manifest", self.manifest), **{**given, "now": NOW, **changed})

    def write(self, text: str) -> None:
        self.manifest.write_text(text, encoding="utf-8")

    def sign_again(self, **changed: Any) -> None:
        """Sign the statement with these keys of its predicate changed, as somebody with the key could."""
        self.said["predicate"].update(changed)
        self.write(sign_statement(self.said, self.key))

    def envelope(self) -> dict[str, Any]:
        return json.loads(self.manifest.read_text())

    def edit_payload(self, old: str, new: str) -> None:
        """Change the signed text without signing it again."""
        envelope = self.envelope()
        payload = base64.b64decode(envelope["payload"]).decode()
        assert old in payload
        envelope["payload"] = base64.b64encode(payload.replace(old, new).encode()).decode()
        self.write(json.dumps(envelope))

    def revoke(self, snapshot_id: str = SNAPSHOT, admissions: tuple[str, ...] = ()) -> None:
        entry = {
            "snapshot_id": snapshot_id,
            "feed": "chat",
            "why": "recall: sybils",
            "at": NOW,
            "admissions": admissions,
        }
        write_revocations(self.revocations, [entry], self.key, issued=NOW)


def statement(subjects: list[tuple[str, str]], **changed: Any) -> dict[str, Any]:
    given = {
        "feed": "chat",
        "snapshot": {"id": SNAPSHOT, "seq": 7, "hash": "ab" * 32, "counts": {"rows": 2}},
        "subjects": subjects,
        "policy_hash": "c" * 64,
        "gate_hash": "d" * 64,
        "verdict": {"outcome": "pass", "checks": []},
        "approvals": [],
        "issued": NOW,
        "expires": NOW + 7 * DAY,
        "version": "0.1.0",
    }
    return admission_statement(**{**given, **changed})


def make_home(path: Path, *, content: bytes = b"part") -> Home:
    subjects = []
    for n in range(2):
        body = content + bytes([n])
        digest = hashlib.sha256(body).hexdigest()
        file = path / "lake" / "snapshots" / "chat" / f"{digest[:24]}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
        subjects.append((f"snapshots/chat/{file.name}", digest))
    key = signing_key(path, {})
    home = Home(path, key, statement(subjects))
    home.sign_again()
    write_revocations(home.revocations, [], key, issued=NOW)
    return home


def approval(by: str, **changed: Any) -> dict[str, Any]:
    return {"by": by, "reason": "looked at it", "at": NOW, "expires": NOW + DAY, **changed}
