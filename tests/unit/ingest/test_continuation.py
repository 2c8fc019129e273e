"""An export that grew gives its repeated rows the ids they had, and no other rows are merged."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poison_guard.ingest.continuation import Earlier, RowNames, Trail, name_rows
from poison_guard.ingest.identity import count_named, derived_ids
from poison_guard.records import ObjectRef


def contents(*values: object) -> list[str]:
    return [hashlib.blake2b(repr(value).encode(), digest_size=16).hexdigest() for value in values]


class Feed:
    """Takes in objects one run after the other, and keeps what a store keeps."""

    def __init__(self) -> None:
        self.trails: list[tuple[str, str, Trail]] = []
        self.stored: dict[str, str] = {}

    def take(self, *objects: tuple[str, Sequence[str]]) -> list[RowNames]:
        refs = [ObjectRef(uri, hashlib.sha256("".join([uri, *rows]).encode()).hexdigest(), 1) for uri, rows in objects]
        named = name_rows(refs, [rows for _, rows in objects], Earlier(self.trails, self.total))
        for ref, (_, rows), names in zip(refs, objects, named, strict=True):
            self.stored |= dict(zip(derived_ids("f", names.names, rows, names.ordinals), rows, strict=True))
            if names.trail:
                self.trails.insert(0, (ref.digest, ref.uri, Trail.of_json(names.trail.to_json())))
        return named

    def total(self, name: str, hashes: Sequence[str]) -> dict[str, int]:
        pairs = [(i, h) for i, h in self.stored.items() if h in set(hashes)]
        return count_named("f", name, [i for i, _ in pairs], [h for _, h in pairs])


@pytest.mark.parametrize("n", [20, 127, 500, 3_000])
@pytest.mark.parametrize("together", [True, False])
def test_a_cumulative_export_and_a_moving_window_store_each_row_once(n, together):
    rows = contents(*range(3 * n))
    objects = [
        ("day-8", rows[:n]),
        ("day-9", rows[: n + n // 3]),
        ("day-10", rows[n // 4 : n + n // 2]),
        ("day-11", rows[n // 2 : 2 * n]),
    ]
    feed = Feed()
    for batch in [objects] if together else [[one] for one in objects]:
        feed.take(*batch)
    assert len(feed.stored) == 2 * n


@given(
    st.lists(st.integers(0, 40), min_size=60, max_size=200),
    st.lists(st.tuples(st.integers(0, 30), st.integers(20, 90)), min_size=1, max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_whatever_windows_of_a_stream_come_no_object_has_fewer_records_than_rows(stream, windows):
    stream = contents(*((value, i // 2) for i, value in enumerate(stream)))
    feed, start, end = Feed(), 0, 0
    pieces: list[Counter[str]] = []
    for k, (step, size) in enumerate(windows):
        start, end = min(start + step, len(stream)), min(max(end, start + step + size), len(stream))
        feed.take((f"o{k}", stream[start:end]))
        pieces.append(Counter(stream[start:end]))
        held = Counter(feed.stored.values())
        assert all(held[content] >= n for piece in pieces for content, n in piece.items())
        assert all(n <= sum(piece[content] for piece in pieces) for content, n in held.items())


def test_equal_rows_stay_as_many_as_they_were_when_the_window_moves_on():
    rng = random.Random(5)
    rows = contents(*(rng.randrange(30) for _ in range(400)))
    feed = Feed()
    feed.take(("a", rows[:300]))
    named = feed.take(("b", rows[100:]))[0]
    assert (named.continued, named.repeated) == ("a", 200)
    assert len(feed.stored) == 400
    assert feed.take(("b", rows[100:]))[0].names == named.names  # read once more
    assert len(feed.stored) == 400


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["up"] * 1_000, ["up"] * 1_000),
        (["down"] * 500 + ["up"] * 500, ["down"] * 500 + ["up"] * 500 + ["up"]),
        (list(range(19)), [*range(19), 99]),
        (list(range(100)), [*range(50, 99), 7, *range(200, 300)]),
        (list(range(100)), random.Random(1).sample(range(100), 100)),
    ],
    ids=["all equal", "sorted", "too short", "not the last rows", "shuffled"],
)
def test_rows_that_may_be_the_same_by_chance_are_records_of_their_own(first, second):
    feed = Feed()
    feed.take(("a", contents(*first)))
    named = feed.take(("b", contents(*second)))[0]
    assert not named.continued
    assert len(feed.stored) == len(first) + len(second)


def test_what_is_kept_of_an_object_does_not_grow_with_it():
    rows = contents(*range(100_000))
    assert max(len(Feed().take(("a", rows[:n]))[0].trail.to_json()) for n in (128, 5_000, 100_000)) < 8_000


def test_a_file_that_grows_after_it_continued_another_keeps_its_ids():
    rows = contents(*range(300))
    feed = Feed()
    feed.take(("a", rows[:100]))
    feed.take(("b", rows[:200]))
    feed.take(("b", rows))
    assert len(feed.stored) == 300
    feed.take(("b", rows[:150] + contents("edited") + rows[151:]))
    assert len(feed.stored) == 301
