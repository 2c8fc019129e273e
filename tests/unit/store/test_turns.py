"""What threads ask for at the same time is done in one go, and each gets its own result or error."""

from __future__ import annotations

import threading

import pytest

from poison_guard.store.turns import Turns


def test_what_gathers_while_one_has_the_turn_is_done_together():
    turns, first_is_in, first_may_end = Turns(), threading.Event(), threading.Event()
    done: list[list[int]] = []

    def do(asked):
        done.append(sorted(asked))
        if asked == [0]:
            first_is_in.set()
            assert first_may_end.wait(10)
        return [10 * one for one in asked]

    results: dict[int, int] = {}

    def ask(one: int) -> None:
        results[one] = turns.take(one, do)

    threads = [threading.Thread(target=ask, args=(one,)) for one in range(5)]
    threads[0].start()
    assert first_is_in.wait(10)
    for thread in threads[1:]:
        thread.start()
    while len(turns._waiting) < 4:
        threading.Event().wait(0.001)
    first_may_end.set()
    for thread in threads:
        thread.join()
    assert done == [[0], [1, 2, 3, 4]]
    assert results == {one: 10 * one for one in range(5)}


def test_an_error_is_raised_to_whom_it_belongs():
    turns, barrier = Turns(), threading.Barrier(6)
    said: dict[int, object] = {}

    def do(asked):
        if 3 in asked:
            raise ValueError("three")
        return asked

    def ask(one: int) -> None:
        barrier.wait()
        try:
            said[one] = turns.take(one, do)
        except ValueError as error:
            said[one] = str(error)

    threads = [threading.Thread(target=ask, args=(one,)) for one in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {0: 0, 1: 1, 2: 2, 3: "three", 4: 4, 5: 5}


def test_who_is_told_to_stop_leaves_the_turn_to_others():
    turns = Turns()

    def stop(_asked):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        turns.take(1, stop)
    turns._waiting.clear()
    assert turns.take(2, lambda asked: asked) == 2
