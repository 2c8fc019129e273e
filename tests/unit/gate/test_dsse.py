"""Envelopes: what is signed, and every shape of envelope that must not be opened."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.canonical_json import MAX_BYTES
from poison_guard.errors import TamperError
from poison_guard.gate.dsse import open_envelope, sign_envelope

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
PUBLIC = KEY.public_key()
TYPE = "application/x"


def _envelope(signed: bytes = b"hello", **changed):
    return {**json.loads(sign_envelope(signed, TYPE, KEY)), **changed}


def _open(envelope) -> bytes:
    text = envelope if isinstance(envelope, str | bytes) else json.dumps(envelope)
    return open_envelope(text, [PUBLIC], payload_type=TYPE)


def test_the_signature_is_over_the_encoding_of_the_protocol():
    envelope = json.loads(sign_envelope(b"hello world", "http://example.com/HelloWorld", KEY))
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    PUBLIC.verify(signature, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world")
    with pytest.raises(InvalidSignature):
        PUBLIC.verify(signature, b"hello world")


@given(st.binary(min_size=1, max_size=300), st.text(max_size=30))
def test_what_was_signed_is_what_comes_out(payload, payload_type):
    text = sign_envelope(payload, payload_type, KEY)
    assert open_envelope(text, [OTHER.public_key(), PUBLIC]) == payload
    assert open_envelope(text.encode(), [PUBLIC], payload_type=payload_type) == payload


@given(st.integers(0, 511))
def test_no_bit_of_the_signature_may_change(bit):
    envelope = _envelope()
    signature = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
    signature[bit // 8] ^= 1 << bit % 8
    envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    with pytest.raises(TamperError, match="edited after it was signed"):
        _open(envelope)


def test_the_other_half_of_a_signature_that_fits_too_is_refused():
    order = 2**252 + 27742317777372353535851937790883648493
    envelope = _envelope()
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    second = (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    envelope["signatures"][0]["sig"] = base64.b64encode(signature[:32] + second).decode()
    with pytest.raises(TamperError, match="edited"):
        _open(envelope)


def test_another_type_is_refused_though_somebody_signed_it():
    with pytest.raises(TamperError, match="payload type 'other'"):
        _open(sign_envelope(b"hello", "other", KEY))


def test_a_type_changed_after_signing_is_refused():
    envelope = {**json.loads(sign_envelope(b"hello", "other", KEY)), "payloadType": TYPE}
    with pytest.raises(TamperError, match="edited"):
        _open(envelope)


def test_moving_bytes_between_type_and_payload_is_refused():
    envelope = json.loads(sign_envelope(b"b c", "a", KEY))
    with pytest.raises(TamperError, match="edited"):
        open_envelope(json.dumps({**envelope, "payloadType": "a b", "payload": "Yw=="}), [PUBLIC])


def test_more_or_fewer_than_one_signature_is_refused_even_when_each_holds():
    one = _envelope()["signatures"][0]
    other = json.loads(sign_envelope(b"hello", TYPE, OTHER))["signatures"][0]
    for signatures in ([], [one, one], [one, other], [other, one], {"0": one}, None, "x"):
        with pytest.raises(TamperError, match="signatures, expected one"):
            _open(_envelope(signatures=signatures))


@pytest.mark.parametrize("keyid", ["", None, 7, ["x"], "0" * 16])
def test_a_missing_or_strange_key_id_is_refused(keyid):
    signature = {**_envelope()["signatures"][0], "keyid": keyid}
    with pytest.raises(TamperError, match="key"):
        _open(_envelope(signatures=[signature]))


def test_no_known_key_opens_nothing():
    with pytest.raises(TamperError, match="a known one"):
        open_envelope(sign_envelope(b"hello", TYPE, KEY), [])


@pytest.mark.parametrize(
    "payload", ["aGVsbG8", "aGVsbG8=\n", "aGVs bG8=", "aGVsbG9=", "aGVsbG8==", "", "~", 7, None, "é"]
)
def test_base64_that_is_not_canonical_is_refused(payload):
    with pytest.raises(TamperError, match="the payload of the manifest is not canonical base64"):
        _open(_envelope(payload=payload))


def test_the_url_safe_alphabet_is_refused():
    envelope = _envelope(b"\xff\xfe\xfd")
    envelope["payload"] = base64.urlsafe_b64encode(b"\xff\xfe\xfd").decode()
    with pytest.raises(TamperError, match="canonical"):
        _open(envelope)


def test_a_signature_of_another_length_is_refused():
    signature = _envelope()["signatures"][0]
    for body in (b"x", b"x" * 63, b"x" * 65, b"x" * 256):
        with pytest.raises(TamperError, match="not an Ed25519 signature"):
            _open(_envelope(signatures=[{**signature, "sig": base64.b64encode(body).decode()}]))


def test_repeated_keys_are_refused_at_every_level():
    text = sign_envelope(b"hello", TYPE, KEY)
    for old, new in (
        ('"payload":', '"payload":"eA==","payload":'),
        ('"keyid":', '"keyid":"0","keyid":'),
        ('"signatures":', '"signatures":[],"signatures":'),
    ):
        with pytest.raises(TamperError, match="twice"):
            _open(text.replace(old, new, 1))


def test_keys_that_nobody_signed_are_refused():
    with pytest.raises(TamperError, match="unknown key 'approved'"):
        _open(_envelope(approved=True))
    signature = {**_envelope()["signatures"][0], "by": "somebody"}
    with pytest.raises(TamperError, match="unknown key 'by'"):
        _open(_envelope(signatures=[signature]))


@pytest.mark.parametrize("missing", ["payload", "payloadType", "signatures"])
def test_a_missing_key_is_refused(missing):
    envelope = _envelope()
    del envelope[missing]
    with pytest.raises(TamperError, match=f"lacks the key '{missing}'"):
        _open(envelope)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "7",
        '"x"',
        "NaN",
        "{",
        "\x00",
        "[" * 100_000,
        '{"a":' * 5000 + "1" + "}" * 5000,
        '{"payload":' + "9" * 5000 + "}",
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b"\x80",
        '{"payload": Infinity}',
    ],
)
def test_what_is_no_envelope_is_refused(text):
    with pytest.raises(TamperError):
        _open(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
        max_leaves=5,
    )
)
def test_whatever_json_is_given_is_refused_with_one_sentence(value):
    with pytest.raises(TamperError) as caught:
        _open(json.dumps(value))
    assert str(caught.value).isprintable()


def test_a_huge_text_is_refused_before_it_is_parsed():
    with pytest.raises(TamperError, match="larger than"):
        _open(" " * (MAX_BYTES + 1))


def test_many_keys_one_of_them_twice_are_refused_in_linear_time():
    body = ",".join(f'"{n}":0' for n in range(200_000))
    with pytest.raises(TamperError, match="'199999' twice"):
        _open(f'{{{body},"199999":0}}')
