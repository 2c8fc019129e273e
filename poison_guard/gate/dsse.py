"""Sign a payload with Ed25519 in a DSSE envelope, and open an envelope only when the one signature on it holds.

References:
    Secure Systems Lab (2021), "DSSE: Dead Simple Signing Envelope", protocol version 1.0.
    Josefsson and Liusvaara (2017), "Edwards-Curve Digital Signature Algorithm (EdDSA)", RFC 8032.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from poison_guard.canonical_json import MAX_BYTES, read_json, require_keys
from poison_guard.errors import TamperError
from poison_guard.gate.keys import key_id
from poison_guard.text import quoted

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = ["open_envelope", "sign_envelope"]

_SIGNATURE_BYTES = 64


def sign_envelope(payload: bytes, payload_type: str, key: Ed25519PrivateKey) -> str:
    """Return the JSON envelope of `payload`, signed over its type and its bytes."""
    signature = key.sign(_pre_authentication_encoding(payload, payload_type))
    envelope = {
        "payload": base64.b64encode(payload).decode("ascii"),
        "payloadType": payload_type,
        "signatures": [{"keyid": key_id(key.public_key()), "sig": base64.b64encode(signature).decode("ascii")}],
    }
    return json.dumps(envelope, sort_keys=True, separators=(",", ":"))


def open_envelope(
    text: str | bytes,
    public_keys: Sequence[Ed25519PublicKey],
    *,
    payload_type: str | None = None,
    what: str = "the manifest",
) -> bytes:
    """Return the payload of an envelope that one of `public_keys` signed.

    Stricter than the protocol, which lets verifiers ignore what they do not know: the envelope has these keys and no
    others, one signature, the id of the key that made it, and canonical standard base64, so that it says nothing that
    nobody signed. `payload_type` is the one expected. `TamperError` (naming `what`) says what does not hold.
    """
    if len(text) > MAX_BYTES:
        raise TamperError(f"{what} is larger than {MAX_BYTES // 1024:,} KiB; ask whoever signed it for the file again")
    envelope = require_keys(read_json(text, what), ("payload", "payloadType", "signatures"), what)
    kind = envelope["payloadType"]
    if not isinstance(kind, str) or (payload_type is not None and kind != payload_type):
        raise TamperError(f"{what} has the payload type {quoted(kind)}, expected {payload_type}; name the right file")
    keyid, signature = _signature(envelope["signatures"], what)
    payload = _decode(envelope["payload"], f"the payload of {what}")
    known = {key_id(key): key for key in public_keys}
    if keyid not in known:
        raise TamperError(
            f"{what} is signed by the key {quoted(keyid)}, not by {' or '.join(known) or 'a known one'}; "
            "name the public key of whoever should have signed it"
        )
    from cryptography.exceptions import InvalidSignature

    try:
        known[keyid].verify(signature, _pre_authentication_encoding(payload, kind))
    except InvalidSignature:
        raise TamperError(
            f"{what} was edited after it was signed, or signed by another key than {keyid}; "
            "ask whoever signed it for the file again"
        ) from None
    return payload


def _pre_authentication_encoding(payload: bytes, payload_type: str) -> bytes:
    """Return the bytes that are signed: DSSE's pre-authentication encoding of type and payload."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _signature(value: Any, what: str) -> tuple[str, bytes]:
    if not isinstance(value, list) or len(value) != 1:
        n = len(value) if isinstance(value, list) else "no list of"
        raise TamperError(f"{what} has {n} signatures, expected one; ask whoever signed it for the file again")
    entry = require_keys(value[0], ("keyid", "sig"), f"the signature of {what}")
    signature = _decode(entry["sig"], f"the signature of {what}")
    if not isinstance(entry["keyid"], str) or len(signature) != _SIGNATURE_BYTES:
        raise TamperError(f"the signature of {what} is not an Ed25519 signature with a key id; ask for the file again")
    return entry["keyid"], signature


def _decode(value: Any, what: str) -> bytes:
    try:
        body = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        body = b""
    if not body or base64.b64encode(body).decode("ascii") != value:
        raise TamperError(f"{what} is not canonical base64; ask whoever signed it for the file again")
    return body
