"""What people are shown at random: drawn by id and key alone, every group and source alike."""

from __future__ import annotations

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.review.sampling import audit_sample, stratified_sample

KEY = bytes(range(32))


@given(st.lists(st.text(max_size=10), unique=True, max_size=50), st.binary(min_size=32, max_size=32))
def test_an_audit_draw_hangs_on_ids_and_key_alone(ids, key):
    drawn = audit_sample(ids, key, 0.5)
    assert set(drawn) == set(audit_sample(ids[::-1], key, 0.5))
    assert audit_sample(ids, key, 0.0) == []
    assert audit_sample(ids, key, 1.0) == ids


def test_an_audit_draw_takes_the_share_and_another_key_draws_others():
    ids = [f"record-{i}" for i in range(20_000)]
    one, two = (set(audit_sample(ids, bytes([n]) * 32, 0.01)) for n in (1, 2))
    assert 140 <= len(one) <= 260
    assert len(one & two) < 20


def rows(counts: dict[tuple[str, str], int]) -> pd.DataFrame:
    """Return so many records of each ``(group, source)``."""
    cells = [(f"{group}-{who}-{k}", who, group) for (group, who), n in counts.items() for k in range(n)]
    return pd.DataFrame(cells, columns=["record_id", "source_id", "group"])


def test_a_group_that_floods_the_feed_fills_no_more_of_the_sample_than_another():
    sample = stratified_sample(rows({("flood", f"u{k}"): 40 for k in range(50)} | {("calm", "ann"): 30}), 40, KEY)
    assert sample["group"].value_counts().to_dict() == {"flood": 20, "calm": 20}


def test_a_source_is_drawn_once_before_any_is_drawn_twice():
    sample = stratified_sample(rows({("g", "busy"): 500, ("g", "ann"): 3, ("g", "bob"): 3}), 6, KEY)
    assert sample["source_id"].value_counts().to_dict() == {"busy": 2, "ann": 2, "bob": 2}


@given(st.randoms(use_true_random=False), st.integers(0, 30))
def test_a_sample_hangs_on_ids_and_key_alone_and_a_larger_one_begins_with_it(random, n):
    frame = rows({("a", "x"): 9, ("a", "y"): 4, ("b", "z"): 7})
    order = list(frame.index)
    random.shuffle(order)
    drawn = stratified_sample(frame, n, KEY)["record_id"].tolist()
    assert drawn == stratified_sample(frame.loc[order], n, KEY)["record_id"].tolist()
    assert drawn == stratified_sample(frame, 30, KEY)["record_id"].tolist()[:n]
    assert list(stratified_sample(frame, n, KEY).columns) == list(frame.columns)


def test_records_without_source_or_group_are_drawn_too():
    frame = rows({("a", "x"): 3}).assign(source_id=None, group=None)
    assert len(stratified_sample(frame, 2, KEY)) == 2
    assert stratified_sample(frame.iloc[:0], 2, KEY).empty
