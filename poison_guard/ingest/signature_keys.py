"""The keys that the signatures of records are checked by: a file of one key an id, TOML or JSON.

TOML has a table a key, ``[keys.KID]``, with ``alg`` and ``secret`` (base64url, HS256) or ``public`` (PEM, ES256 and
EdDSA); JSON is a JWK set (RFC 7517). Both take ``from``, ``until``, ``revoked`` (dates or times with a zone) and
``source``, the only source that may sign with the key.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import hmac
import json
import os
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poison_guard.canonical_json import open_regular
from poison_guard.errors import ConfigError
from poison_guard.text import quoted

__all__ = ["ALGORITHMS", "Key", "load_keys"]

Verify = Callable[[bytes, bytes], bool]
"""Whether, of a message and a signature, the second is of the first."""
ALGORITHMS = {"HS256": "oct", "ES256": "EC", "EdDSA": "OKP"}
"""Algorithm to the kind of its keys; a signature never chooses its own."""
_MAX_BYTES = 16 * 1024 * 1024
_SHORTEST = 16
"""Bytes of a secret."""
_TIMES, _WORDS = ("from", "until", "revoked"), ("alg", "secret", "public", "source")


@dataclass(frozen=True, slots=True)
class Key:
    """One key: how it verifies, and when and for whom it counts."""

    kid: str
    alg: str
    secret: bytes | None
    """Of HMAC alone."""
    verify: Verify
    starts: dt.datetime | None = None
    ends: dt.datetime | None = None
    revoked: dt.datetime | None = None
    """Nothing that is received from then on counts, whenever it says it was sent."""
    source: str | None = None


def load_keys(path: Path) -> dict[str, Key]:
    """Return the keys of a file by their ids; `ConfigError` names the file and the kid, and shows no secret."""
    try:
        with open_regular(path) as file:
            mode, body = os.fstat(file.fileno()).st_mode, file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a path"
        raise ConfigError(f"keys in [signature]: {path} cannot be read ({why}); name the file of the keys") from None
    if len(body) > _MAX_BYTES:
        raise ConfigError(f"keys in [signature]: {path} is larger than {_MAX_BYTES // 2**20} MiB")
    tables = _tables(body, path)
    keys = {kid: _key(kid, table, f"key {quoted(kid)} of {path}") for kid, table in tables.items()}
    if not keys:
        raise ConfigError(f"{path} has no key; write one as [keys.KID] with alg and secret or public")
    if stat.S_IMODE(mode) & 0o077 and any(key.secret for key in keys.values()):
        raise ConfigError(f"{path} holds secrets and can be read by others; run `chmod 600 {path}`")
    return keys


def _tables(body: bytes, path: Path) -> dict[str, dict[str, Any]]:
    """Return kid to the key's table; a JWK's members become ``jwk``."""
    try:
        text = body.decode("utf-8")
        if not text.lstrip().startswith("{"):
            listed = tomllib.loads(text)
            tables = listed.get("keys")
            if listed.keys() - {"keys"} or not isinstance(tables, dict):
                raise ConfigError(f"{path} must hold tables [keys.KID] and nothing else")
            return {kid: _as_table(table, kid, path) for kid, table in tables.items()}
        listed = json.loads(text)
    except (ValueError, RecursionError):
        raise ConfigError(f"{path} is neither TOML nor JSON; see docs/signatures.md for what it must hold") from None
    named: dict[str, dict[str, Any]] = {}
    for number, jwk in enumerate(listed.get("keys") if isinstance(listed.get("keys"), list) else [], start=1):
        kid = jwk.get("kid") if isinstance(jwk, dict) else None
        if not isinstance(kid, str) or not kid:
            raise ConfigError(f"key {number} of {path} has no kid; every key needs its own")
        if kid in named:
            raise ConfigError(f"{path} has the kid {quoted(kid)} twice; every key needs its own")
        own = {name: jwk[name] for name in (*_TIMES, "alg", "source") if name in jwk}
        named[kid] = {**own, "jwk": {name: value for name, value in jwk.items() if name not in (*_TIMES, "source")}}
    return named


def _as_table(table: Any, kid: str, path: Path) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise ConfigError(f"key {quoted(kid)} of {path} must be a table with alg and secret or public")
    unknown = sorted(set(table) - {*_TIMES, *_WORDS})
    if unknown:
        raise ConfigError(f"key {quoted(kid)} of {path} has the unknown key {quoted(unknown[0])}")
    return table


def _key(kid: str, table: Mapping[str, Any], where: str) -> Key:
    alg = table.get("alg")
    if alg not in ALGORITHMS:
        raise ConfigError(f"alg of {where} must be one of {', '.join(ALGORITHMS)}, got {quoted(str(alg))}")
    source = table.get("source")
    if source is not None and not isinstance(source, str):
        raise ConfigError(f"source of {where} must be the text of a source id")
    starts, ends, revoked = (_time(table.get(name), f"{name} of {where}") for name in _TIMES)
    if starts and ends and starts >= ends:
        raise ConfigError(f"{where} ends before it starts; from must lie before until")
    secret, verify = _material(alg, table, where)
    return Key(kid, alg, secret, verify, starts, ends, revoked, source)


def _time(value: Any, what: str) -> dt.datetime | None:
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            raise ConfigError(f"{what} is {quoted(value)}, not a date or a time in ISO 8601") from None
    if value is None:
        return None
    if isinstance(value, dt.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    raise ConfigError(f"{what} must be a date or a time in ISO 8601")


def _material(alg: str, table: Mapping[str, Any], where: str) -> tuple[bytes | None, Verify]:
    """Return the secret of an HMAC key, and how the key verifies."""
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key

    kind, jwk = ALGORITHMS[alg], table.get("jwk")
    if jwk is None and ("secret" in table) != (kind == "oct"):
        raise ConfigError(f"{where} is for {alg} and needs {'secret' if kind == 'oct' else 'public, a PEM'}")
    if jwk is not None and jwk.get("kty") != kind:
        raise ConfigError(f"{where} says {alg}, which needs kty {kind}, and has {quoted(str(jwk.get('kty')))}")
    try:
        if kind == "oct":
            text = jwk.get("k") if jwk is not None else table["secret"]
            secret = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            if len(secret) < _SHORTEST:
                raise ConfigError(f"the secret of {where} is shorter than {_SHORTEST} bytes; make a longer one")
            return secret, _by_mac(secret)
        key: Any = import_key(dict(jwk) if jwk is not None else table["public"], kind)  # type: ignore[arg-type]
        if key.curve_name != ("P-256" if kind == "EC" else "Ed25519") or key.is_private:
            needs = "a public key on P-256" if kind == "EC" else "a public Ed25519 key"
            raise ConfigError(f"{where} is for {alg} and must be {needs}, and no private one")
        return None, _by_curve(key.public_key) if kind == "EC" else _by_edwards_curve(key.public_key)
    except ConfigError:
        raise
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, binascii.Error):
        raise ConfigError(f"{where} cannot be read as a key for {alg}; see docs/signatures.md") from None


def _by_mac(secret: bytes) -> Verify:
    """Return how HMAC-SHA256 by a secret is checked: the two padded blocks are hashed once (RFC 2104, 4)."""
    block = (hashlib.sha256(secret).digest() if len(secret) > 64 else secret).ljust(64, b"\0")
    inner, outer = (hashlib.sha256(bytes(byte ^ pad for byte in block)) for pad in (0x36, 0x5C))
    same, begin, end = hmac.compare_digest, inner.copy, outer.copy

    def verify(message: bytes, signature: bytes) -> bool:
        first, second = begin(), end()
        first.update(message)
        second.update(first.digest())
        return same(second.digest(), signature)

    return verify


def _by_curve(key: Any) -> Verify:
    """Return how ES256 by a public P-256 key is checked; a signature is two numbers of 32 bytes (RFC 7518, 3.4)."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256

    scheme = ECDSA(SHA256())

    def verify(message: bytes, signature: bytes) -> bool:
        if len(signature) != 64:
            return False
        numbers = (int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
        try:
            key.verify(encode_dss_signature(*numbers), message, scheme)
        except InvalidSignature:
            return False
        return True

    return verify


def _by_edwards_curve(key: Any) -> Verify:
    """Return how Ed25519 by a public key is checked (RFC 8032)."""
    from cryptography.exceptions import InvalidSignature

    def verify(message: bytes, signature: bytes) -> bool:
        try:
            key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    return verify
