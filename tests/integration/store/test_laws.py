"""Laws 1 and 2 over arbitrary histories: whatever comes in and is decided, each record is in one place, once."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poison_guard.errors import BusyError, NotFoundError
from poison_guard.records import Place
from poison_guard.steps.queue import list_queue
from poison_guard.steps.review import recall, reject, release, undo
from poison_guard.store import (
    accepted_frames,
    count_places,
    find_records,
    load_sources,
    open_store,
    verify,
)
from poison_guard.store.reading import frames_in
from tests.integration.conftest import feed_of
from tests.thorough import examples

IDS = st.sampled_from([f"r{i}" for i in range(6)])
PLACED = st.sampled_from(["accepted", "quarantined", "rejected", "staged"])
BATCH = st.tuples(
    st.dictionaries(IDS, PLACED, min_size=1), st.sampled_from(["one", "two"]), st.lists(IDS, max_size=2, unique=True)
)
VERB = st.tuples(st.sampled_from([release, reject, recall]), st.lists(IDS, min_size=1, unique=True))
STEPS = st.lists(st.one_of(BATCH, VERB, st.integers(1, 8)), min_size=1, max_size=7)


def staged_payloads(store):
    return pd.concat(list(frames_in(store, "captcha", (Place.STAGED,))) or [pd.DataFrame({"record_id": []})])


def take_step(store, made, number, step):
    match step:
        case int():
            return undo(feed_of(store, made.contract), step, by="ann", reason="changed my mind", now=made.now)
        case (dict() as places, answer, late):
            records, back = made.records(*places, answer=answer), {"recalls": tuple(late), "remember": True}
            before = find_records(store, "captcha").set_index("record_id")
            counts = made.ingest(store, f"b{number}", records, places, **back)
            again = made.ingest(store, f"b{number}", records, places, **back)
            assert counts == again
            check_recalled(store, made, before, counts["recalled"], late)
            settled = sum(counts[p] for p in ("staged", "accepted", "quarantined", "rejected", "seen_before"))
            assert counts["received"] == settled == len(records)
        case (verb, ids):
            return verb(feed_of(store, made.contract), by="ann", reason="looked at it", record_ids=ids, now=made.now)
    return None


def check_recalled(store, made, before, count, late):
    """What was accepted, and no person had vouched for, is taken back; nobody else is touched."""
    after = find_records(store, "captcha").set_index("record_id")
    taken = {n for n in before.index if before["place"][n] != "recalled" and after["place"][n] == "recalled"}
    may = {n for n in late if n in before.index and before["place"][n] == "accepted" and before["verdict"][n] < 1}
    assert taken <= may
    assert count == len(taken)
    assert all(after["place"][n] != "accepted" for n in may)  # an id that came with other content is held instead
    waiting = list_queue(feed_of(store, made.contract), size=100, now=made.now).entries
    assert taken <= set(waiting["record_id"])


def places_of(store):
    return find_records(store, "captcha").set_index("record_id")["place"].to_dict()


@given(steps=STEPS)
@settings(max_examples=examples(4), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_record_is_in_exactly_one_place_whatever_happens(steps, made, settings_at):
    from poison_guard.errors import UsageError

    with tempfile.TemporaryDirectory() as folder, open_store(settings_at(Path(folder))) as store:
        came: set[str] = set()
        for number, step in enumerate(steps):
            before = places_of(store)
            try:
                take_step(store, made, number, step)
            except (BusyError, NotFoundError, UsageError):
                assert places_of(store) == before
            came |= set(places_of(store))
            assert set(places_of(store)) == came  # none is ever lost
        counts = count_places(store, "captcha")
        assert sum(counts.values()) == len(came)
        held = [f["record_id"].tolist() for f in accepted_frames(store, "captcha")]
        accepted = sorted(name for ids in held for name in ids)
        assert accepted == sorted(n for n, p in places_of(store).items() if p == Place.ACCEPTED)
        assert set(staged_payloads(store)["record_id"]) == {n for n, p in places_of(store).items() if p == Place.STAGED}
        assert verify(store).ok
        ledger = load_sources(store, made.contract)
        assert ledger["n"].sum() == len(came) if len(came) else ledger.empty


def test_counts_of_a_source_do_not_depend_on_how_records_were_batched(made, settings_at, tmp_path):
    sums = []
    for name, batches in (("one", [("r1", "r2", "r3", "r4")]), ("two", [("r1", "r2"), ("r2", "r3", "r4")])):
        with open_store(settings_at(tmp_path / name)) as store:
            for number, ids in enumerate(batches):
                made.ingest(store, f"b{number}", made.records(*ids))
            sums.append(load_sources(store, made.contract)[["source_id", "n", "first_seen"]])
    pd.testing.assert_frame_equal(*sums)
