"""The keys of the gate: the private one that signs admissions, the public one that anybody verifies them with."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from poison_guard.canonical_json import open_regular
from poison_guard.errors import ConfigError, StoreError
from poison_guard.files import create_atomic
from poison_guard.text import quoted

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = ["PRIVATE_FILE", "PUBLIC_FILE", "key_id", "public_key", "signing_key"]

PRIVATE_FILE, PUBLIC_FILE = "signing.key", "signing.pub"
_MAX_BYTES = 16 * 1024


def signing_key(home: Path, environ: Mapping[str, str] | None = None) -> Ed25519PrivateKey:
    """Return the key that signs for `home`, making ``signing.key`` (PEM, PKCS #8, mode 0600) at first use.

    The environment comes first: ``POISON_GUARD_SIGNING_KEY`` (PEM, or the 32-byte seed in base64), then
    ``POISON_GUARD_SIGNING_KEY_FILE``. ``signing.pub`` is written beside; `ConfigError` when the one that is there
    belongs to another key, when others can read the private key, or when it is no Ed25519 key. No error shows the key.
    """
    env = os.environ if environ is None else environ
    if text := env.get("POISON_GUARD_SIGNING_KEY"):
        key = _private(text.strip().encode(), "POISON_GUARD_SIGNING_KEY")
    else:
        named = env.get("POISON_GUARD_SIGNING_KEY_FILE")
        path = Path(named) if named else home / PRIVATE_FILE
        if not named and not path.exists():
            _create(path, _new_key(), 0o600)
        key = _private(_read(path, f"the signing key {path}", private=True), str(path))
    _keep_public(home / PUBLIC_FILE, key)
    return key


def public_key(path_or_pem: str | Path | bytes) -> Ed25519PublicKey:
    """Return an Ed25519 public key from a PEM file or text; `ConfigError` for anything else, a private key included."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    source = os.fsencode(path_or_pem)
    where, pem = "the public key", source
    if b"-----BEGIN" not in source:
        where = f"the public key file {quoted(os.fsdecode(source))}"
        pem = _read(Path(os.fsdecode(source)), where)
    if pem.count(b"-----BEGIN") > 1:
        raise ConfigError(f"{where} holds several keys; give the one {PUBLIC_FILE} of the home that signs")
    if b"PRIVATE KEY-----" in pem:
        raise ConfigError(f"{where} holds a private key, which verifying must not see; give {PUBLIC_FILE} instead")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(
            f"{where} is not a public key in PEM; give the {PUBLIC_FILE} of the home that signs"
        ) from None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{where} is not an Ed25519 key; give the {PUBLIC_FILE} of the home that signs")
    return key


def key_id(public: Ed25519PublicKey) -> str:
    """Return the name of a public key: the first 16 hexadecimal digits of the SHA-256 of its 32 bytes."""
    return hashlib.sha256(public.public_bytes_raw()).hexdigest()[:16]


def _private(body: bytes, where: str) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    fault = (
        f"the signing key in {where} must be an unencrypted Ed25519 key: PEM (PKCS #8), or its 32-byte seed in base64"
    )
    try:
        if b"-----BEGIN" not in body:
            return Ed25519PrivateKey.from_private_bytes(base64.b64decode(body.strip(), validate=True))
        key = load_pem_private_key(body, password=None)
    except (ValueError, TypeError, binascii.Error, UnsupportedAlgorithm):
        raise ConfigError(fault) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(fault)
    return key


def _read(path: Path, where: str, *, private: bool = False) -> bytes:
    try:
        with open_regular(path) as file:
            mode, body = os.fstat(file.fileno()).st_mode, file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a path"
        raise ConfigError(f"{where} cannot be read ({why}); name the right file") from None
    if private and stat.S_IMODE(mode) & 0o077:
        raise ConfigError(
            f"{path} can be read by others; run `chmod 600 {path}`, or make a new key if somebody else had it"
        )
    if len(body) > _MAX_BYTES:
        raise ConfigError(f"{where} is not a key file; it must be a PEM file of at most {_MAX_BYTES // 1024} KiB")
    return body


def _new_key() -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _keep_public(path: Path, key: Ed25519PrivateKey) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = key.public_key()
    if not path.exists():
        _create(path, public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    if key_id(public_key(path)) != key_id(public):
        raise ConfigError(
            f"{path} does not belong to the signing key; if the key was changed on purpose, remove {path}"
        )


def _create(path: Path, body: bytes, mode: int) -> None:
    """Write a key file only if there is none: two processes that start together end with the same key."""
    try:
        create_atomic(path, body, mode=mode)
    except OSError as error:
        raise StoreError(f"the key file {path} cannot be written: {error.strerror}") from None
