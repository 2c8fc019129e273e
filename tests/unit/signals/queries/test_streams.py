"""Streams of queries: what people ask is left alone, what copies a model or searches its edges is found."""

from __future__ import annotations

import numpy as np
import pytest

from poison_guard.signals.queries import MEASURES, KnownStreams, Queries, find_streams
from poison_guard.signals.queries.measures import Pool, Window, measure

HOUR = 3600.0


def person(rng, n):
    """Queries about two of five things, in bursts with pauses."""
    things = 3 * np.eye(5)[rng.choice(5, 2, replace=False)]
    gaps = np.where(rng.random(n) < 0.8, 60, 2 * HOUR) * rng.exponential(1, n)
    return things[rng.integers(0, 2, n)] + 0.5 * rng.normal(size=(n, 5)), np.cumsum(gaps)


def queries(streams, *, cohort=None, own=True, answers=None):
    source = np.repeat(np.arange(len(streams)), [len(x) for x, _ in streams])
    nothing = np.full(len(source), -1)
    return Queries(
        vectors=np.concatenate([x for x, _ in streams]).astype(np.float32),
        source=source,
        seconds=np.concatenate([at for _, at in streams]),
        answers=np.zeros(len(source), int) if answers is None else answers,
        cohort=nothing if cohort is None else np.asarray(cohort)[source],
        own=np.full(len(source), own),
    )


@pytest.fixture(scope="module")
def known():
    rng = np.random.default_rng(0)
    return KnownStreams.of(queries([person(rng, 60) for _ in range(60)]))


def people(seed, n=20):
    rng = np.random.default_rng(seed)
    return [person(rng, 60) for _ in range(n)]


def attacked(known, x, at=None, **more):
    crowd = people(5)
    at = np.arange(len(x)) * HOUR / 4 if at is None else at
    batch = queries([*crowd, (x, at)], **more)
    found = find_streams(batch, known, alpha=0.001)
    return [stream for stream in found if (batch.source[stream.rows] == len(crowd)).any()]


def test_people_are_left_alone(known):
    assert find_streams(queries(people(1, 80)), known, alpha=0.001) == []


def test_what_nobody_asks_about_is_found_with_all_that_follows_it(known):
    rng = np.random.default_rng(2)
    (stream,) = attacked(known, rng.uniform(-9, 9, (100, 5)))
    assert stream.kind in ("query_novelty", "query_shift")
    assert len(stream.rows) == 100


def test_small_steps_around_one_query_are_found(known):
    rng = np.random.default_rng(3)
    (stream,) = attacked(known, 3 * np.eye(5)[0] + 0.002 * rng.normal(size=(50, 5)))
    assert stream.kind == "query_steps"


def test_haste_is_found(known):
    rng = np.random.default_rng(4)
    x, _ = person(rng, 100)
    assert attacked(known, x) == []
    (stream,) = attacked(known, x, np.arange(100) * 0.05)
    assert stream.kind == "query_pace"


def test_one_query_asked_again_and_again_teaches_nothing(known):
    assert attacked(known, np.repeat(3 * np.eye(5)[:1], 500, axis=0), np.arange(500) * 0.05) == []


def test_a_cohort_is_one_stream_where_each_asks_too_little(known):
    rng = np.random.default_rng(6)
    crowd = people(7)
    parts = [(rng.uniform(-9, 9, (10, 5)), np.sort(rng.uniform(0, 99 * HOUR, 10))) for _ in range(10)]
    batch = queries([*crowd, *parts], cohort=[*range(20), *[99] * 10])
    (stream,) = find_streams(batch, known, alpha=0.001)
    assert set(batch.source[stream.rows]) == set(range(20, 30))
    apart = queries([*crowd, *parts])
    assert find_streams(apart, known, alpha=0.001) == []


@pytest.mark.parametrize("each", [10, 60])
def test_people_who_began_in_the_week_of_those_who_copy_are_let_go(known, each):
    rng = np.random.default_rng(6)
    crowd = people(7)
    parts = [(rng.uniform(-9, 9, (each, 5)), np.sort(rng.uniform(0, 99 * HOUR, each))) for _ in range(10)]
    batch = queries([*crowd, *parts], cohort=[99] * 5 + [*range(15)] + [99] * 10)
    found = find_streams(batch, known, alpha=0.001)
    held = np.unique(np.concatenate([batch.source[stream.rows] for stream in found]))
    assert held.tolist() == list(range(20, 30))


def test_windows_without_a_query_of_the_batch_are_not_looked_at_again(known):
    rng = np.random.default_rng(8)
    old = queries([(rng.uniform(-9, 9, (100, 5)), np.arange(100) * HOUR)], own=False)
    assert find_streams(old, known, alpha=0.001) == []


def test_too_few_trusted_sources_are_no_null():
    assert KnownStreams.of(queries(people(1, 29))) is None


def test_order_makes_no_difference(known):
    rng = np.random.default_rng(9)
    batch = queries([*people(1, 5), (rng.uniform(-9, 9, (60, 5)), np.arange(60) * HOUR)])
    mixed = rng.permutation(len(batch.source))
    other = Queries(
        *(getattr(batch, name)[mixed] for name in ("vectors", "source", "seconds", "answers", "cohort", "own"))
    )
    (one,), (two,) = (find_streams(each, known, alpha=0.001) for each in (batch, other))
    assert set(mixed[two.rows]) == set(one.rows)
    assert (one.kind, one.p) == (two.kind, two.p)


@pytest.mark.parametrize("name", ["query_line", "query_breadth", "query_spacing"])
def test_what_programs_do_measures_more_than_what_people_do(name):
    rng = np.random.default_rng(10)
    made = {
        "query_line": np.linspace(0, 1, 50)[:, None] * np.ones(5) + 1e-3 * rng.normal(size=(50, 5)),
        "query_breadth": rng.uniform(-3, 3, (50, 5)),
        "query_spacing": np.concatenate(
            [rng.normal(size=(15, 5)), np.zeros((35, 5)) + 1e-2 * rng.normal(size=(35, 5))]
        ),
    }[name]
    honest = 0.3 * rng.normal(size=(50, 5))
    pool, place = Pool.of(rng.normal(size=(500, 5)), np.zeros(500, int)), list(MEASURES).index(name)
    values = [measure(Window(x, np.zeros(50, int), np.arange(50.0), x[:0]), pool)[place] for x in (made, honest)]
    assert values[0] > values[1] + 0.5
