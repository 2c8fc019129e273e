"""What an admission says, as an in-toto statement: which data, which verdict, approved by whom, until when.

References:
    in-toto Attestation Framework, "Statement layer specification", version 1.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from poison_guard.canonical_json import parse_time, read_json, require_keys, require_text, to_canonical_json
from poison_guard.errors import DataError, TamperError
from poison_guard.gate.dsse import sign_envelope
from poison_guard.text import quoted

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["PAYLOAD_TYPE", "PREDICATE_TYPE", "Statement", "admission_statement", "read_statement", "sign_statement"]

PAYLOAD_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "tag:poison-guard,2026:admission/v1"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_TOP = ("_type", "predicate", "predicateType", "subject")
_PREDICATE = ("approvals", "expires", "feed", "gate_hash", "issued", "policy_hash", "snapshot", "verdict", "version")
_CHAIN = ("seq", "hash", "mac")
_FEED = re.compile(r"[a-z][a-z0-9_]{0,47}", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9_.-]{1,200}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=@+-]{0,199}", re.ASCII)
_ANY = re.compile(r".{0,10000}", re.DOTALL)
_MAX_SUBJECTS = 100_000


@dataclass(frozen=True, slots=True)
class Statement:
    """An admission as it was signed, every field checked for its form."""

    feed: str
    snapshot_id: str
    seq: int
    hash: str
    counts: Mapping[str, Any]
    subjects: Mapping[str, str]
    """File name, relative to the data folder, to its SHA-256 (hex)."""
    outcome: str
    verdict: Mapping[str, Any]
    approvals: tuple[Mapping[str, Any], ...]
    """``by``, ``reason``, ``at`` and ``expires`` (None: does not lapse) of each."""
    policy_hash: str
    gate_hash: str
    issued: dt.datetime
    expires: dt.datetime
    version: str
    chain: tuple[int, str, str] | None = None
    """Number, hash and keyed hash of the last event of the store's audit chain when it was issued; None where the
    manifest does not say."""


def admission_statement(
    *,
    feed: str,
    snapshot: Mapping[str, Any],
    subjects: Sequence[tuple[str, str]],
    policy_hash: str,
    gate_hash: str,
    verdict: Mapping[str, Any],
    approvals: Sequence[Mapping[str, Any]],
    issued: dt.datetime,
    expires: dt.datetime,
    version: str,
    chain: tuple[int, str, str] | None = None,
) -> dict[str, Any]:
    """Return the in-toto statement of an admission.

    `snapshot` has ``id``, ``seq``, ``hash`` and ``counts``; `subjects` are pairs of file name and SHA-256; `verdict`
    has at least ``outcome``; `approvals` have ``by``, ``reason``, ``at`` and may have ``expires``; `chain` is the
    head of the audit chain, which the manifest anchors. What the verifier would not take is not written: `DataError`
    names the field.
    """
    statement = {
        "_type": _STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in subjects],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "feed": feed,
            "snapshot": {key: snapshot[key] for key in ("id", "seq", "hash", "counts")},
            "policy_hash": policy_hash,
            "gate_hash": gate_hash,
            "verdict": {**verdict, "outcome": str(verdict["outcome"]).lower()},
            "approvals": [{key: each.get(key) for key in ("by", "reason", "at", "expires")} for each in approvals],
            "issued": issued,
            "expires": expires,
            "version": version,
            **({} if chain is None else {"chain": dict(zip(_CHAIN, chain, strict=True))}),
        },
    }
    try:
        body = to_canonical_json(statement)
        read_statement(body)
    except TamperError as error:
        raise DataError(f"this admission cannot be signed, since no verifier would take it: {error}") from None
    return read_json(body, "the statement")


def sign_statement(statement: Mapping[str, Any], key: Ed25519PrivateKey) -> str:
    """Return the manifest: the DSSE envelope of a statement, as text."""
    return sign_envelope(to_canonical_json(statement), PAYLOAD_TYPE, key)


def read_statement(payload: bytes) -> Statement:
    """Return the admission in a payload whose signature holds; `TamperError` names what is not as it is written."""
    statement = require_keys(read_json(payload, "the statement"), _TOP, "the statement")
    if statement["_type"] != _STATEMENT_TYPE or statement["predicateType"] != PREDICATE_TYPE:
        raise TamperError(
            f"the statement is of type {quoted(statement['predicateType'])}, expected {PREDICATE_TYPE}; "
            "verify it with the version of poison-guard that signed it"
        )
    anchors = isinstance(statement["predicate"], dict) and "chain" in statement["predicate"]
    predicate = require_keys(statement["predicate"], (*_PREDICATE, "chain") if anchors else _PREDICATE, "the predicate")
    snapshot = require_keys(predicate["snapshot"], ("counts", "hash", "id", "seq"), "the snapshot")
    issued, expires = parse_time(predicate["issued"], "issued"), parse_time(predicate["expires"], "expires")
    if expires <= issued:
        raise TamperError("the admission expires before it was issued; it is not what poison-guard signs")
    verdict = predicate["verdict"]
    if not isinstance(verdict, dict) or not isinstance(verdict.get("outcome"), str):
        raise TamperError("the verdict has no outcome; it is not what poison-guard signs")
    return Statement(
        feed=require_text(predicate["feed"], _FEED, "the feed"),
        snapshot_id=require_text(snapshot["id"], _ID, "the snapshot's id"),
        seq=_seq(snapshot["seq"]),
        hash=require_text(snapshot["hash"], _HASH, "the snapshot's hash"),
        counts=MappingProxyType(_counts(snapshot["counts"])),
        subjects=MappingProxyType(_subjects(statement["subject"])),
        outcome=verdict["outcome"],
        verdict=MappingProxyType(verdict),
        approvals=_approvals(predicate["approvals"]),
        policy_hash=require_text(predicate["policy_hash"], _ANY, "the policy's hash"),
        gate_hash=require_text(predicate["gate_hash"], _ANY, "the gate's hash"),
        issued=issued,
        expires=expires,
        version=require_text(predicate["version"], _ANY, "the version"),
        chain=_chain(predicate["chain"]) if anchors else None,
    )


def _chain(value: Any) -> tuple[int, str, str]:
    fields = require_keys(value, _CHAIN, "the head of the audit chain")
    digest, mac = (require_text(fields[name], _HASH, f"the {name} of the audit chain") for name in ("hash", "mac"))
    return _seq(fields["seq"]), digest, mac


def _subjects(value: Any) -> dict[str, str]:
    if not isinstance(value, list) or not 1 <= len(value) <= _MAX_SUBJECTS:
        raise TamperError(f"the statement must name 1 to {_MAX_SUBJECTS:,} data files; seal again and check again")
    digests: dict[str, str] = {}
    for each in value:
        subject = require_keys(each, ("digest", "name"), "a subject")
        name = _name(subject["name"])
        if name in digests:
            raise TamperError(f"the data file {quoted(name)} is named twice; it is not what poison-guard signs")
        digest = require_keys(subject["digest"], ("sha256",), "a subject's digest")
        digests[name] = require_text(digest["sha256"], _HASH, f"the hash of {quoted(name)}")
    return digests


def _name(value: Any) -> str:
    """Return a file name that stays inside the folder it is looked up in: relative, no ``..``, plain characters."""
    if not isinstance(value, str) or len(value) > 1000 or not all(_PART.fullmatch(part) for part in value.split("/")):
        raise TamperError(f"the data file name {quoted(value)} is not a plain relative path; it is refused")
    return value


def _approvals(value: Any) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(value, list):
        raise TamperError("the approvals are not a list; it is not what poison-guard signs")
    return tuple(MappingProxyType(_approval(each)) for each in value)


def _approval(value: Any) -> dict[str, Any]:
    fields = require_keys(value, ("at", "by", "expires", "reason"), "an approval")
    lapses = fields["expires"]
    return {
        "by": require_text(fields["by"], _ANY, "an approver"),
        "reason": require_text(fields["reason"], _ANY, "an approver's reason"),
        "at": parse_time(fields["at"], "the time of an approval"),
        "expires": None if lapses is None else parse_time(lapses, "the end of an approval"),
    }


def _seq(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TamperError(f"a sequence number is {quoted(value)}; it is not what poison-guard signs")
    return value


def _counts(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TamperError("the snapshot's counts are not a table; it is not what poison-guard signs")
    return value
