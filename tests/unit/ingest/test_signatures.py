"""What a signature proves, and the ways in which one proves nothing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey

from poison_guard.config import load_contract
from poison_guard.errors import ConfigError
from poison_guard.ingest.collect import batch_from_frame
from poison_guard.ingest.signature_keys import load_keys
from poison_guard.ingest.signed_json import es6_number, json_rows, json_values

SECRET, OTHER = b"0123456789abcdef0123456789abcdef", b"another secret of another device"
NOW = pd.Timestamp("2026-06-10T12:00Z")
SIGNED = ("device", "nonce", "sent", "x")
CONTRACT = """name = "pings"
kind = "telemetry"
[columns]
record_id = "id"
source_id = "device"
signature = "sig"
nonce = "nonce"
sent_at = "sent"
features = ["x"]
[signature]
signed = ["device", "nonce", "sent", "x"]
keys = "keys.toml"
"""


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def key(kid: str = "k1", secret: bytes = SECRET, **more: str) -> str:
    lines = "".join(f'{name} = "{value}"\n' for name, value in more.items())
    return f'[keys.{kid}]\nalg = "HS256"\nsecret = "{b64(secret)}"\n{lines}'


def mac(row: dict, kid: str = "k1", secret: bytes = SECRET, columns=SIGNED) -> str:
    text = json.dumps({c: row[c] for c in columns}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"{kid}:{hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()}"


def rows(n: int = 6) -> list[dict]:
    sent = (NOW - pd.Timedelta(minutes=5)).isoformat()
    return [
        {"id": f"r{i}", "device": f"d{i % 3}", "nonce": f"n{i}", "sent": sent, "x": round(0.1 * i + 0.05, 2)}
        for i in range(n)
    ]


@pytest.fixture
def feed(tmp_path):
    """Write contract and keys, and return what judges rows that are signed already."""

    def judge(records: list[dict], keys: str = key(), contract: str = CONTRACT):
        (tmp_path / "pings.toml").write_text(contract)
        (tmp_path / "keys.toml").write_text(keys)
        (tmp_path / "keys.toml").chmod(0o600)
        batch = batch_from_frame(
            load_contract(tmp_path / "pings.toml"), pd.DataFrame(records), object_uri=None, received_at=NOW
        )
        proof = batch.records.set_index("record_id")["proof"]
        faults = {}
        for name, code, args in batch.issues[["record_id", "code", "args"]].itertuples(index=False):
            faults[name] = (code, args.get("why", ""))
        return proof, faults

    return judge


def signed(some: list[dict], **how) -> list[dict]:
    return [row | {"sig": mac(row, **how)} for row in some]


def test_a_signature_over_the_signed_columns_proves_its_key(feed):
    proof, faults = feed(signed(rows()))
    assert set(proof) == {"k1"}
    assert not faults


def test_a_changed_cell_another_secret_and_an_unknown_key_prove_nothing(feed):
    good = signed(rows(4))
    good[0]["x"] = 9.9
    good[1]["sig"] = mac(good[1], secret=OTHER)
    good[2]["sig"] = mac(good[2], kid="k2")
    proof, faults = feed(good)
    assert proof.notna().to_dict() == {"r0": False, "r1": False, "r2": False, "r3": True}
    assert {name: code for name, (code, _) in faults.items()} == dict.fromkeys(("r0", "r1", "r2"), "signature_invalid")
    assert "no key 'k2'" in faults["r2"][1]


def test_a_signature_over_other_columns_does_not_hold(feed):
    some = rows(2)
    proof, faults = feed([row | {"sig": mac(row, columns=("device", "nonce", "sent"))} for row in some])
    assert proof.isna().all()
    assert len(faults) == 2


def test_without_a_signature_a_record_is_a_fact_and_held_only_where_signatures_are_required(feed):
    some = [*signed(rows(3)), rows(4)[3] | {"sig": None}]
    proof, faults = feed(some)
    assert proof.isna()["r3"]
    assert not faults
    _, faults = feed(some, contract=CONTRACT + '[policy]\nrequired = ["signature"]\n')
    assert {name: code for name, (code, _) in faults.items()} == {"r3": "signature_missing"}


def test_stale_and_future_records_are_told_apart_from_late_ones(feed):
    some = rows(4)
    for row, days in zip(some, (3, 29, 31, -1), strict=True):
        row["sent"] = (NOW - pd.Timedelta(days=days)).isoformat()
    _, faults = feed(signed(some))
    assert {name: code for name, (code, _) in faults.items()} == {"r2": "signature_stale", "r3": "signature_early"}


def test_a_nonce_counts_once_and_where_rows_differ_in_what_is_unsigned_none_counts(feed):
    some = signed(rows(3))
    copy = some[0] | {"id": "r9"}
    _, faults = feed([*some, copy])
    assert set(faults) == {"r9"}
    assert faults["r9"][0] == "signature_replayed"
    _, faults = feed([*some, copy | {"extra": "changed"}])
    assert set(faults) == {"r0", "r9"}


def test_rotated_keys_count_in_their_time_and_a_revoked_one_never_again(feed):
    old = key("old", until="2026-06-05") + key("new", OTHER, **{"from": "2026-06-05"})
    some = rows(4)
    for row, day in zip(some, ("04", "06", "06", "04"), strict=True):
        row["sent"] = f"2026-06-{day}T00:00:00+00:00"
    by = [("old", SECRET), ("old", SECRET), ("new", OTHER), ("new", OTHER)]
    proof, _ = feed([row | {"sig": mac(row, kid, secret)} for row, (kid, secret) in zip(some, by, strict=True)], old)
    assert proof.notna().tolist() == [True, False, True, False]
    proof, faults = feed(signed(some), key(revoked="2026-06-09"))
    assert proof.isna().all()  # a thief can date it back
    assert "revoked on 2026-06-09" in faults["r0"][1]
    proof, _ = feed(signed(some), key(revoked="2026-06-11"))
    assert proof.notna().all()


def test_the_key_of_one_source_proves_no_other(feed):
    proof, faults = feed(signed(rows(3)), key(source="d1"))
    assert proof.notna().tolist() == [False, True, False]
    assert "is of the source 'd1'" in faults["r0"][1]


def test_text_of_csv_stands_for_the_numbers_that_were_signed(feed):
    some = signed(rows(3))
    proof, _ = feed([{**row, "x": f"{row['x']:.6f}"} for row in some])
    assert proof.notna().all()


JWKS = {
    "HS256": OctKey.import_key(SECRET),
    "ES256": ECKey.generate_key("P-256"),
    "EdDSA": OKPKey.generate_key("Ed25519"),
}


def public_keys() -> str:
    parts = [key("HS256")]
    for alg in ("ES256", "EdDSA"):
        pem = JWKS[alg].as_pem(private=False).decode()
        parts.append(f'[keys.{alg}]\nalg = "{alg}"\npublic = """{pem}"""\n')
    return "".join(parts)


def token(row: dict, alg: str, *, kid: str | None = None, said: str | None = None, payload: dict | None = None) -> str:
    body = json.dumps({c: row[c] for c in SIGNED} if payload is None else payload).encode()
    made = jws.serialize_compact(
        {"alg": alg.replace("EdDSA", "Ed25519"), "kid": kid or alg},
        body,
        JWKS[alg],
        algorithms=["HS256", "ES256", "Ed25519"],
    )
    if said is None:
        return made
    head = b64(json.dumps({"alg": said, "kid": kid or alg}).encode())
    return ".".join([head, *made.split(".")[1:]])


@pytest.mark.parametrize("alg", sorted(JWKS))
def test_a_jws_proves_the_record_it_carries(feed, alg):
    some = rows(4)
    made = [row | {"sig": token(row, alg)} for row in some]
    made[1]["x"] = 3.0
    made[2]["sig"] = token(some[2], alg, payload={"device": "d2"})
    head, _, end = made[3]["sig"].split(".")
    made[3]["sig"] = f"{head}.{b64(b'{}')}.{end}"
    proof, faults = feed(made, public_keys())
    assert proof.notna().tolist() == [True, False, False, False]
    assert "another 'x' than the row" in faults["r1"][1]
    assert "lacks the column" in faults["r2"][1]


@pytest.mark.parametrize("size", [0, 63, 65, 70])
def test_an_es256_signature_of_another_length_or_of_zeros_does_not_hold(feed, size):
    (row,) = rows(1)
    whole = token(row, "ES256")
    head, _, end = whole.rpartition(".")
    cut = (base64.urlsafe_b64decode(end + "==") + bytes(8))[:size]
    wrong = [f"{head}.{b64(cut)}", f"{head}.{b64(bytes(64))}"]
    proof, _ = feed([row | {"sig": sig, "id": f"r{i}"} for i, sig in enumerate([*wrong, whole])], public_keys())
    assert proof.notna().tolist() == [False, False, True]


@pytest.mark.parametrize(("around", "held"), [(" \n{}\t", True), ("{}x", False), ("{}{{}}", False), ("[{}]", False)])
def test_a_payload_is_one_json_object_and_nothing_else(feed, around, held):
    (row,) = rows(1)
    body = b64(around.format(json.dumps({c: row[c] for c in SIGNED})).encode())
    signed = f"{b64(json.dumps({'alg': 'HS256', 'kid': 'HS256'}).encode())}.{body}"
    secret = base64.urlsafe_b64decode(JWKS["HS256"].as_dict(private=True)["k"] + "==")
    whole = f"{signed}.{b64(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"
    proof, _ = feed([row | {"sig": whole}], public_keys())
    assert proof.notna().all() == held


def test_a_jws_cannot_choose_the_algorithm_of_a_key(feed):
    some = rows(4)
    pem = JWKS["ES256"].as_pem(private=False)
    body = f"{b64(json.dumps({'alg': 'HS256', 'kid': 'ES256'}).encode())}.{b64(json.dumps(some[0]).encode())}"
    confused = f"{body}.{b64(hmac.new(pem, body.encode(), hashlib.sha256).digest())}"
    none = f"{b64(json.dumps({'alg': 'none', 'kid': 'HS256'}).encode())}.{b64(json.dumps(some[1]).encode())}."
    wrong = [confused, none, token(some[2], "HS256", kid="EdDSA"), mac(some[3], kid="ES256")]
    proof, faults = feed([row | {"sig": sig} for row, sig in zip(some, wrong, strict=True)], public_keys())
    assert proof.isna().all()
    assert all("is for" in why for _, why in faults.values())


def test_a_jws_without_its_payload_covers_the_signed_columns(feed):
    (row,) = rows(1)
    text = json.dumps({c: row[c] for c in SIGNED}, sort_keys=True, separators=(",", ":")).encode()
    head, _, end = jws.serialize_compact({"alg": "HS256", "kid": "k1"}, text, JWKS["HS256"]).split(".")
    proof, _ = feed([row | {"sig": f"{head}..{end}"}])
    assert proof.notna().all()


@pytest.mark.parametrize("junk", ["k1:", "k1:zz", "a.b", "..", "e30.e30.e30", "é.é.é", "k1:" + "0" * 63, "." * 70_000])
def test_what_is_no_signature_is_told_and_nothing_breaks(feed, junk):
    proof, faults = feed([rows(1)[0] | {"sig": junk}])
    assert proof.isna().all()
    assert faults["r0"][0] == "signature_invalid"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("[keys]", "has no key"),
        ("[keys.k1]\nalg = 'RS256'\nsecret = 'x'", "alg of key 'k1'"),
        ("[keys.k1]\nalg = 'HS256'\nsecret = 'c2hvcnQ'", "shorter than 16 bytes"),
        ("[keys.k1]\nalg = 'ES256'\nsecret = 'c2hvcnQ'", "needs public, a PEM"),
        ("[keys.k1]\nalg = 'ES256'\npublic = 'no pem'", "cannot be read as a key for ES256"),
        ("[keys.k1]\nalg = 'HS256'\nsecret = 'MDEyMzQ1Njc4OWFiY2RlZg'\nuntill = 2026-01-01", "unknown key 'untill'"),
        ("[keys.k1]\nalg = 'HS256'\nsecret = 'MDEyMzQ1Njc4OWFiY2RlZg'\nrevoked = 'soon'", "revoked of key 'k1'"),
        ('{"keys": [{"kty": "oct", "k": "MDEyMzQ1Njc4OWFiY2RlZg"}]}', "key 1 of"),
        ("not = [toml", "neither TOML nor JSON"),
    ],
)
def test_a_bad_file_of_keys_is_told_with_file_and_key(tmp_path, body, told):
    file = tmp_path / "keys.toml"
    file.write_text(body)
    file.chmod(0o600)
    with pytest.raises(ConfigError, match=told) as raised:
        load_keys(file)
    assert "keys.toml" in str(raised.value)
    assert "MDEy" not in str(raised.value)


def test_secrets_that_others_can_read_and_a_missing_file_are_refused(tmp_path):
    file = tmp_path / "keys.toml"
    file.write_text(key())
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_keys(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_keys(tmp_path / "none.toml")


def test_private_keys_and_other_curves_are_refused(tmp_path):
    file = tmp_path / "keys.toml"
    for pem in (JWKS["ES256"].as_pem(private=True), ECKey.generate_key("P-384").as_pem(private=False)):
        file.write_text(f'[keys.k1]\nalg = "ES256"\npublic = """{pem.decode()}"""\n')
        with pytest.raises(ConfigError, match="must be a public key on P-256, and no private one"):
            load_keys(file)


def test_a_set_of_jwk_is_read_with_dates_and_sources(tmp_path):
    file = tmp_path / "keys.json"
    made = [JWKS["ES256"].as_dict(private=False) | {"kid": "e", "alg": "ES256", "until": "2026-01-01", "source": "d1"}]
    file.write_text(json.dumps({"keys": made}))
    (one,) = load_keys(file).values()
    assert (one.kid, one.source, one.ends.year) == ("e", "d1", 2026)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('signed = ["device", "nonce", "sent", "x"]', 'signed = ["device", "nonce", "x"]', "lacks sent"),
        ('signed = ["device", ', "signed = [", "lacks device"),
        ('signature = "sig"\n', "", "needs the column of the signatures"),
        ('"sent", "x"]\n', '"sent", "x", "sig"]\n', "the signatures itself"),
        (
            '[signature]\nsigned = ["device", "nonce", "sent", "x"]\nkeys = "keys.toml"\n',
            "",
            r"needs the table \[signature\]",
        ),
    ],
)
def test_a_contract_that_signs_too_little_is_refused(tmp_path, old, new, told):
    (tmp_path / "pings.toml").write_text(CONTRACT.replace(old, new))
    with pytest.raises(ConfigError, match=told):
        load_contract(tmp_path / "pings.toml")


def test_many_nonces_are_compared_in_seconds(tmp_path):
    from poison_guard.ingest.signatures import Proofs, judge_proofs

    n = 200_000
    (tmp_path / "pings.toml").write_text(CONTRACT)
    contract, one = load_contract(tmp_path / "pings.toml"), object.__new__(_Key)
    nonces = np.arange(n).astype(str).astype(object)
    nonces[-3:] = nonces[:3]
    columns = {"nonce": pd.Series(nonces, dtype="str")}
    proofs = Proofs(np.full(n, one, object), np.full(n, "", object))
    began = time.process_time()
    proof, issues = judge_proofs(proofs, contract, columns, pd.Series(np.arange(n).astype(str), dtype="str"), NOW)
    assert len(issues) == 3
    assert proof.notna().sum() == n - 3
    assert time.process_time() - began < 20


class _Key:
    kid, starts, ends, revoked, source = "k1", None, None, None, None


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.text(max_size=20), st.floats(allow_nan=False, allow_infinity=False), st.booleans()),
        min_size=1,
        max_size=20,
    )
)
def test_rows_become_the_json_that_a_sender_writes(made):
    texts, numbers, flags = zip(*made, strict=True)
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    columns = [
        ("é", pa.array(texts, pa.large_string())),
        ("b", pa.array(flags)),
        ("a", pa.array(numbers, pa.float64())),
    ]
    written = json_rows(columns).to_pylist()
    for row, text, number, flag in zip(written, texts, numbers, flags, strict=True):
        assert row == f'{{"a":{es6_number(number)},"b":{json.dumps(flag)},"é":{json.dumps(text, ensure_ascii=False)}}}'
        assert float(es6_number(number)) == number


@pytest.mark.parametrize(
    ("bits", "text"),
    [  # RFC 8785, appendix B
        ("0000000000000001", "5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af6", "1e+23"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
        ("8000000000000000", "0"),
    ],
)
def test_numbers_are_written_as_rfc_8785_shows(bits, text):
    assert es6_number(struct.unpack(">d", bytes.fromhex(bits))[0]) == text


def test_whole_numbers_beyond_exact_ones_are_written_as_numbers():
    cells = pa.array([0, -5, 2**53, 2**60, None])
    assert json_values(cells).to_pylist() == ["0", "-5", "9007199254740992", "1152921504606847000", "null"]
