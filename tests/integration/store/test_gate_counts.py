"""What the gate counts in the store: misses among audited records, of late."""

from __future__ import annotations

import datetime as dt

from poison_guard.steps.review import reject, release
from poison_guard.store.gate_counts import audit_counts
from tests.integration.conftest import feed_of

DAY = dt.timedelta(days=1)


def test_audits_count_from_when_people_decided_them(store, made):
    records = made.records("a1", "a2", "a3", "a4")
    made.commit(store, made.begin(store, "b1"), records, made.decided(records, samples=("a1", "a2", "a3")))
    who = {"by": "ann", "reason": "looked"}
    release(feed_of(store, made.contract), record_ids=["a1"], now=made.now, **who)
    reject(feed_of(store, made.contract), record_ids=["a2"], now=made.now + 9 * DAY, **who)
    assert audit_counts(store, "captcha", since=made.now) == {"decided": 2, "wrong": 1}
    assert audit_counts(store, "captcha", since=made.now + DAY) == {"decided": 1, "wrong": 1}
    assert audit_counts(store, "captcha", since=made.now + 10 * DAY) == {"decided": 0, "wrong": 0}
