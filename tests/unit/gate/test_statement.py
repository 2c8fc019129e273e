"""Statements: what is written can be read again, and nothing odd is read, even when it is signed."""

from __future__ import annotations

import copy
import hashlib
import math

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.canonical_json import to_canonical_json
from poison_guard.errors import DataError, TamperError
from poison_guard.gate.outcomes import make_check
from poison_guard.gate.statement import read_statement, sign_statement
from poison_guard.records import Outcome
from tests.unit.gate.admitted import DAY, NOW, SNAPSHOT, approval, statement

PART = ("snapshots/chat/part.parquet", "a" * 64)


def _edited(path: str, value) -> bytes:
    """Return a valid statement in which the thing at `path` is `value`; the last step `-` removes."""
    said = copy.deepcopy(statement([PART], approvals=[approval("ann")]))
    at = said
    *way, last = path.split(".")
    for step in way:
        at = at[int(step)] if step.isdigit() else at[step]
    if last.startswith("-"):
        del at[last[1:]]
    else:
        at[int(last) if last.isdigit() else last] = value
    return to_canonical_json(said)


def test_what_is_written_is_what_is_read():
    said = statement([PART], verdict={"outcome": "FAIL", "checks": []}, approvals=[approval("ann"), approval("bob")])
    found = read_statement(to_canonical_json(said))
    assert (found.feed, found.snapshot_id, found.seq, found.outcome) == ("chat", SNAPSHOT, 7, "fail")
    assert found.subjects == dict([PART])
    assert (found.issued, found.expires) == (NOW, NOW + 7 * DAY)
    assert [(a["by"], a["expires"]) for a in found.approvals] == [("ann", NOW + DAY), ("bob", NOW + DAY)]


def test_a_number_that_is_none_is_written_as_null():
    said = statement([PART], verdict={"outcome": "pass", "checks": [{"value": math.nan, "limit": math.inf}]})
    assert said["predicate"]["verdict"]["checks"] == [{"value": None, "limit": None}]


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/passwd",
        "a/../../x",
        "a//b",
        "a/",
        "",
        ".",
        "..",
        "./a",
        "a\\b",
        "C:\\x",
        "a\x00b",
        "a\nb",
        "~/x",
        ".hidden",
        "a/.hidden",
        "-rf",
        "é",
        "a b",
        "a" * 201,
        "a/" * 600 + "a",
        "file://x",
        "%2e%2e/x",
        "\u202ea",
    ],
)
def test_a_name_that_could_leave_the_folder_is_neither_written_nor_read(name):
    with pytest.raises(DataError, match="plain relative path"):
        statement([(name, "a" * 64)])
    with pytest.raises(TamperError, match="plain relative path"):
        read_statement(_edited("subject.0.name", name))


@given(st.text(max_size=20))
def test_every_name_that_is_read_stays_below_its_folder(name):
    try:
        found = read_statement(_edited("subject.0.name", name)).subjects
    except TamperError:
        return
    assert all(part not in ("", ".", "..") for part in next(iter(found)).split("/"))


def test_no_file_or_one_file_twice_is_not_signed():
    with pytest.raises(DataError, match="1 to 100,000 data files"):
        statement([])
    with pytest.raises(DataError, match="named twice"):
        statement([PART, PART])


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"expires": NOW}, "expires before"),
        ({"feed": "Chat; drop"}, "the feed"),
        ({"approvals": [approval("ann", reason="x" * 20_000)]}, "reason"),
        ({"snapshot": {"id": "a/b", "seq": 1, "hash": "a" * 64, "counts": {}}}, "snapshot's id"),
    ],
)
def test_what_no_verifier_would_take_is_not_signed(changed, why):
    with pytest.raises(DataError, match=why):
        statement([PART], **changed)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("_type", "https://in-toto.io/Statement/v0.1"),
        ("predicateType", "tag:poison-guard,2026:admission/v2"),
        ("predicateType", None),
        ("subject", []),
        ("subject", {}),
        ("subject.0.digest", {"sha256": "a" * 64, "md5": "b"}),
        ("subject.0.digest", {"sha1": "a" * 40}),
        ("subject.0.digest.sha256", "A" * 64),
        ("subject.0.digest.sha256", "a" * 63),
        ("subject.0.digest.sha256", None),
        ("subject.0.uri", "https://example.com"),
        ("predicate", None),
        ("predicate", []),
        ("predicate.note", "trust me"),
        ("predicate.-policy_hash", None),
        ("predicate.feed", "CHAT"),
        ("predicate.feed", 7),
        ("predicate.snapshot.seq", -1),
        ("predicate.snapshot.seq", True),
        ("predicate.snapshot.seq", "7"),
        ("predicate.snapshot.seq", 7.0),
        ("predicate.snapshot.hash", "x" * 64),
        ("predicate.snapshot.counts", []),
        ("predicate.snapshot.-id", None),
        ("predicate.verdict", None),
        ("predicate.verdict", {}),
        ("predicate.verdict", {"outcome": True}),
        ("predicate.approvals", None),
        ("predicate.approvals", {}),
        ("predicate.approvals.0", "ann"),
        ("predicate.approvals.0.at", None),
        ("predicate.approvals.0.at", "2026-03-04T12:00:00"),
        ("predicate.approvals.0.expires", "never"),
        ("predicate.approvals.0.by", None),
        ("predicate.approvals.0.-reason", None),
        ("predicate.version", 1),
    ],
)
def test_a_statement_of_any_other_form_is_refused(path, value):
    with pytest.raises(TamperError):
        read_statement(_edited(path, value))


def test_repeated_keys_inside_the_signed_text_are_refused():
    body = to_canonical_json(statement([PART]))
    with pytest.raises(TamperError, match="'outcome' twice"):
        read_statement(body.replace(b'"outcome":"pass"', b'"outcome":"fail","outcome":"pass"'))


@given(st.binary(max_size=60))
def test_bytes_that_are_no_statement_are_refused(body):
    with pytest.raises(TamperError):
        read_statement(body)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "[" * 40 + "]" * 40])
def test_numbers_that_are_none_and_deep_nesting_are_refused_inside_the_signed_text(value):
    body = to_canonical_json(statement([PART]))
    with pytest.raises(TamperError, match=r"not valid JSON|nested too deeply"):
        read_statement(body.replace(b'"counts":{"rows":2}', b'"counts":{"rows":%b}' % value.encode()))


def test_a_signed_manifest_keeps_its_bytes():
    check = make_check(
        "canary",
        Outcome.INCONCLUSIVE,
        "class 'é\u202e' lost 3",
        n=41,
        value=float("nan"),
        limit=0.03,
        bounds=(-0.01, 1e-17),
        needs=300,
    )
    verdict = {"outcome": "inconclusive", "checks": [check.to_json()]}
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    manifest = sign_statement(statement([PART], verdict=verdict, approvals=[approval("ann")]), key)
    digest = "4eb76d64b4d126086f05727763820107811fe2ae95b0503bd2f2345f71c7a7d4"  # of version 0.1.0's first manifests
    assert hashlib.sha256(manifest.encode()).hexdigest() == digest
