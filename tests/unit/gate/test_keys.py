"""Keys: made once, kept private, refused in every other state; nothing that is told holds the key."""

from __future__ import annotations

import base64
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from poison_guard.errors import ConfigError, StoreError
from poison_guard.gate.keys import key_id, public_key, signing_key

SEED = bytes(range(32))
KEY = Ed25519PrivateKey.from_private_bytes(SEED)


def _pem(key, encryption=None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def _public_pem(key) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _same(one, other) -> bool:
    return one.private_bytes_raw() == other.private_bytes_raw()


def test_the_key_is_made_at_first_use_kept_private_and_stays(tmp_path):
    key = signing_key(tmp_path / "home", {})
    assert _same(signing_key(tmp_path / "home", {}), key)
    assert stat.S_IMODE((tmp_path / "home" / "signing.key").stat().st_mode) == 0o600
    assert key_id(public_key(tmp_path / "home" / "signing.pub")) == key_id(key.public_key())
    assert sorted(p.name for p in (tmp_path / "home").iterdir()) == ["signing.key", "signing.pub"]


def test_two_homes_have_two_keys(tmp_path):
    assert not _same(signing_key(tmp_path / "a", {}), signing_key(tmp_path / "b", {}))


def test_many_that_start_together_end_with_one_key(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: signing_key(tmp_path, {}), range(16)))
    assert len({key.private_bytes_raw() for key in keys}) == 1


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601, 0o777])
def test_a_key_that_others_can_reach_is_refused(tmp_path, mode):
    signing_key(tmp_path, {})
    (tmp_path / "signing.key").chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        signing_key(tmp_path, {})


def test_a_named_key_file_that_others_can_read_or_that_is_missing_is_refused_and_not_made(tmp_path):
    file = tmp_path / "k.pem"
    with pytest.raises(ConfigError, match="cannot be read"):
        signing_key(tmp_path, {"POISON_GUARD_SIGNING_KEY_FILE": str(file)})
    assert not file.exists()
    file.write_bytes(_pem(KEY))
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        signing_key(tmp_path, {"POISON_GUARD_SIGNING_KEY_FILE": str(file)})
    file.chmod(0o400)
    assert _same(signing_key(tmp_path, {"POISON_GUARD_SIGNING_KEY_FILE": str(file)}), KEY)


@pytest.mark.parametrize("text", [_pem(KEY).decode(), base64.b64encode(SEED).decode(), f" {_pem(KEY).decode()}\n"])
def test_the_environment_gives_the_key_as_pem_or_seed_and_no_private_file_is_made(tmp_path, text):
    assert _same(signing_key(tmp_path, {"POISON_GUARD_SIGNING_KEY": text}), KEY)
    assert [p.name for p in tmp_path.iterdir()] == ["signing.pub"]


@pytest.mark.parametrize(
    "text",
    [
        "hush-hush",
        base64.b64encode(SEED[:31]).decode(),
        base64.b64encode(SEED + b"x").decode(),
        "-----BEGIN PRIVATE KEY-----\nhush-hush\n-----END PRIVATE KEY-----",
        _pem(ec.generate_private_key(ec.SECP256R1())).decode(),
        _pem(KEY, BestAvailableEncryption(b"word")).decode(),
        _public_pem(KEY).decode(),
        "é" * 32,
    ],
)
def test_anything_but_a_plain_ed25519_key_is_refused_without_showing_it(tmp_path, text):
    with pytest.raises(ConfigError, match="POISON_GUARD_SIGNING_KEY must be an unencrypted Ed25519") as caught:
        signing_key(tmp_path, {"POISON_GUARD_SIGNING_KEY": text})
    assert "hush" not in str(caught.value)
    assert text[:20] not in str(caught.value).replace("PEM", "")


def test_a_broken_key_file_is_refused_and_not_replaced(tmp_path):
    (tmp_path / "signing.key").write_bytes(b"")
    (tmp_path / "signing.key").chmod(0o600)
    with pytest.raises(ConfigError, match="unencrypted Ed25519"):
        signing_key(tmp_path, {})
    assert (tmp_path / "signing.key").read_bytes() == b""


def test_a_public_key_that_was_exchanged_is_noticed_when_signing(tmp_path):
    signing_key(tmp_path, {})
    (tmp_path / "signing.pub").write_bytes(_public_pem(KEY))
    with pytest.raises(ConfigError, match="does not belong to the signing key"):
        signing_key(tmp_path, {})


def test_a_home_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "home").write_text("a file")
    with pytest.raises(StoreError, match="cannot be written"):
        signing_key(tmp_path / "home", {})


def test_a_public_key_comes_from_a_file_or_from_text(tmp_path):
    file = tmp_path / "x.pub"
    file.write_bytes(_public_pem(KEY))
    for given in (file, str(file), _public_pem(KEY), _public_pem(KEY).decode()):
        assert key_id(public_key(given)) == key_id(KEY.public_key())


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not a public key"),
        (b"x" * 20_000, "at most 16 KiB"),
        (_pem(KEY), "private key"),
        (_public_pem(KEY) * 2, "several keys"),
        (_public_pem(ec.generate_private_key(ec.SECP256R1())), "not an Ed25519 key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "not a public key"),
    ],
)
def test_anything_but_one_ed25519_public_key_is_refused(tmp_path, body, why):
    file = tmp_path / "x.pub"
    file.write_bytes(body)
    with pytest.raises(ConfigError, match=why):
        public_key(file)


@pytest.mark.parametrize("path", ["", "nothing", "a\x00b", "."])
def test_a_public_key_that_is_no_file_is_refused(path):
    with pytest.raises(ConfigError, match="public key file"):
        public_key(path)
