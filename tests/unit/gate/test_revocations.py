"""The revocation list: fresh or nothing, and what is on it stays on it."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from poison_guard.canonical_json import to_canonical_json
from poison_guard.errors import DataError, StoreError, TamperError
from poison_guard.gate.dsse import sign_envelope
from poison_guard.gate.revocations import (
    PAYLOAD_TYPE,
    fresh_revocations,
    revocation_statement,
    sign_revocations,
    write_revocations,
)
from tests.unit.gate.admitted import DAY, NOW

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def _entry(snapshot_id="chat-7-abababab", **changed):
    return {"snapshot_id": snapshot_id, "feed": "chat", "why": "sybils", "at": NOW, "admissions": [], **changed}


def _ids(path, key=KEY):
    return [r.snapshot_id for r in fresh_revocations(path.read_text(), key.public_key(), now=NOW, max_age=DAY)]


def test_what_is_revoked_is_what_is_read():
    text = sign_revocations(revocation_statement([_entry(admissions=["a" * 64])], issued=NOW), KEY)
    (found,) = fresh_revocations(text, KEY.public_key(), now=NOW, max_age=DAY)
    assert (found.snapshot_id, found.why, found.at, found.admissions) == ("chat-7-abababab", "sybils", NOW, ("a" * 64,))


def test_a_reason_of_any_length_or_none_is_written():
    for why in (None, "x" * 100_000, "\ud800\x1b"):
        assert revocation_statement([_entry(why=why)], issued=NOW)


@pytest.mark.parametrize("changed", [{"snapshot_id": "a/b"}, {"admissions": ["x"]}, {"feed": ""}])
def test_what_no_verifier_would_take_is_not_signed(changed):
    with pytest.raises(DataError, match="cannot be signed"):
        revocation_statement([_entry(**changed)], issued=NOW)


def test_a_writer_that_knows_less_takes_nothing_back(tmp_path):
    path = tmp_path / "revocations.json"
    write_revocations(path, [_entry("a-1-00"), _entry("b-1-00", admissions=["a" * 64])], KEY, issued=NOW)
    write_revocations(path, [_entry("b-1-00", admissions=["b" * 64]), _entry("c-1-00")], KEY, issued=NOW)
    write_revocations(path, [], KEY, issued=NOW)
    found = fresh_revocations(path.read_text(), KEY.public_key(), now=NOW, max_age=DAY)
    assert [(r.snapshot_id, len(r.admissions)) for r in found] == [("a-1-00", 0), ("b-1-00", 2), ("c-1-00", 0)]


def test_a_stale_list_is_made_fresh_and_keeps_what_it_revoked(tmp_path):
    path = tmp_path / "revocations.json"
    write_revocations(path, [_entry()], KEY, issued=NOW - 30 * DAY)
    write_revocations(path, [], KEY, issued=NOW)
    assert _ids(path) == ["chat-7-abababab"]


def test_many_writers_at_once_lose_nothing(tmp_path):
    path = tmp_path / "revocations.json"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: write_revocations(path, [_entry(f"chat-{n}-00")], KEY, issued=NOW), range(24)))
    assert len(_ids(path)) == 24
    assert [p.name for p in tmp_path.iterdir()] == ["revocations.json"]


@pytest.mark.parametrize("body", ["", "{}", "garbage"])
def test_a_broken_list_or_one_of_another_key_is_replaced(tmp_path, body):
    path = tmp_path / "revocations.json"
    path.write_text(body)
    write_revocations(path, [_entry()], KEY, issued=NOW)
    assert _ids(path) == ["chat-7-abababab"]
    other = Ed25519PrivateKey.generate()
    write_revocations(path, [], other, issued=NOW)
    assert _ids(path, other) == []


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_revocations(tmp_path / "file" / "revocations.json", [], KEY, issued=NOW)


def test_the_list_ends_when_its_signer_said_though_the_reader_would_take_older_ones():
    text = sign_revocations(revocation_statement([], issued=NOW, valid_for=dt.timedelta(hours=1)), KEY)
    assert fresh_revocations(text, KEY.public_key(), now=NOW, max_age=9 * DAY) == ()
    with pytest.raises(Exception, match="stale"):
        fresh_revocations(text, KEY.public_key(), now=NOW + dt.timedelta(hours=1), max_age=9 * DAY)


@pytest.mark.parametrize(
    "said",
    [
        [],
        {"type": "tag:poison-guard,2026:revocations/v2", "issued": NOW, "expires": NOW + DAY, "revoked": []},
        {"type": "tag:poison-guard,2026:revocations/v1", "issued": NOW, "expires": NOW + DAY, "revoked": {}},
        {"type": "tag:poison-guard,2026:revocations/v1", "issued": NOW, "expires": NOW + DAY, "revoked": ["x"]},
        {"type": "tag:poison-guard,2026:revocations/v1", "issued": NOW, "revoked": []},
        {"type": "tag:poison-guard,2026:revocations/v1", "issued": "now", "expires": NOW + DAY, "revoked": []},
        {"type": "tag:poison-guard,2026:revocations/v1", "issued": NOW, "expires": NOW + DAY, "revoked": [], "x": 1},
    ],
)
def test_a_list_of_any_other_form_is_refused_even_when_signed(said):
    with pytest.raises(TamperError):
        fresh_revocations(
            sign_envelope(to_canonical_json(said), PAYLOAD_TYPE, KEY), KEY.public_key(), now=NOW, max_age=DAY
        )
