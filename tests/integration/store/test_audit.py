"""Whoever changes the store behind its back is found out, and the first bad event is named."""

from __future__ import annotations

import dataclasses

import pytest
import sqlalchemy as sa

from poison_guard.steps.review import release
from poison_guard.store import add_trusted, tables, verify
from tests.integration.conftest import feed_of


@pytest.fixture
def written(sqlite_store, made):
    """A store with four events: trust, a run, a run with a conflict and a recall, and a release."""
    add_trusted(sqlite_store, made.contract, made.records("t1"), by="ann", reason="audit", now=made.now)
    made.ingest(sqlite_store, "b1", made.records("a1", "a2", "a3"), {"a2": "quarantined"})
    made.ingest(sqlite_store, "b2", made.records("a1", answer="one"), recalls=("a3",))
    release(feed_of(sqlite_store, made.contract), by="ann", reason="fine", record_ids=["a2"], now=made.now)
    return sqlite_store


def tamper(store, statement, **values):
    with store.write() as conn:
        conn.execute(sa.text(statement), values)


def test_an_untouched_chain_is_whole(written):
    result = verify(written)
    assert (result.ok, result.events, result.first_bad, result.why) == (True, 4, None, "")


@pytest.mark.parametrize(
    ("statement", "first_bad"),
    [
        ("UPDATE events SET actor = 'bob' WHERE seq = 4", 4),
        ("UPDATE events SET body = '{}' WHERE seq = 2", 2),
        ("UPDATE events SET at = at + 1 WHERE seq = 3", 3),
        ("DELETE FROM events WHERE seq = 2", 2),
        ("DELETE FROM events WHERE seq = 4", 4),
        ("UPDATE events SET prev = hash WHERE seq = 3", 3),
        ("UPDATE chain SET seq = 3", 5),
        ("UPDATE chain SET mac = ''", 5),
        ("DELETE FROM chain", 5),
        ("UPDATE moves SET from_place = 'rejected' WHERE seq = 4", 4),
        ("DELETE FROM moves WHERE seq = 3", 3),
        ("UPDATE ledger SET controls_right = 99 WHERE seq = 2", 2),
        ("DELETE FROM ledger WHERE seq = 4", 4),
        ("UPDATE records SET place = 'quarantined' WHERE record_id = 'a1'", 2),
        ("UPDATE records SET content_hash = 'x' WHERE record_id LIKE 'a1~%'", 3),
        ("DELETE FROM records WHERE record_id = 'a2'", 2),
    ],
)
def test_every_tampering_is_found(written, statement, first_bad):
    tamper(written, statement)
    result = verify(written)
    assert not result.ok
    assert result.first_bad == first_bad
    assert result.why


def test_a_truncated_chain_whose_head_was_moved_too_needs_the_key(written):
    with written.read() as conn:
        third = conn.execute(sa.select(tables.events.c.hash).where(tables.events.c.seq == 3)).scalar_one()
    tamper(written, "DELETE FROM events WHERE seq = 4")
    tamper(written, "UPDATE chain SET seq = 3, hash = :hash", hash=third)
    assert verify(written).first_bad == 4


def test_a_chain_cannot_be_checked_with_another_key(written):
    result = verify(dataclasses.replace(written, key=b"x" * 32))
    assert result.first_bad == 1


def test_no_name_of_a_record_or_source_stands_in_the_chain(written):
    with written.read() as conn:
        bodies = " ".join(conn.execute(sa.select(tables.events.c.body)).scalars())
    for name in ('"a1"', '"a2"', '"user-', '"fine', '"audit'):  # a hash may begin with a1
        assert name not in bodies
