"""Turns: what threads of one process ask of the store at the same time is done in one transaction, with one commit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

__all__ = ["Turns"]

_GATHER_SECONDS = 0.01
"""How long those of the last turn are waited for, where there were several: about what a commit takes on a disk. Who
decides alone waits for nobody."""


class Turns:
    """Who waits for the store in this process.

    One thread has the turn and does what all others wait for, too; while its commit waits for the disk, the next ones
    gather.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[tuple[Any, Future[Any]]] = []
        """What is asked, and where its result goes."""
        self._busy = False
        self._last = 1
        """How many the last turn was of."""

    def take(self, asked: Any, do: Callable[[Sequence[Any]], Sequence[Any]]) -> Any:
        """Return the result of `asked`, as `do` gives it of all that is asked by now, in their order.

        An error of `do` (it did nothing then) is nobody's until each was done by itself.
        """
        mine: Future[Any] = Future()
        with self._changed:
            self._waiting.append((asked, mine))
            self._changed.notify_all()
            self._changed.wait_for(lambda: mine.done() or not self._busy)
            if mine.done():
                return mine.result()
            self._busy = True
            self._changed.wait_for(lambda: len(self._waiting) >= self._last, timeout=_GATHER_SECONDS)
            some = self._waiting
            self._waiting = list[tuple[Any, Future[Any]]]()
        try:
            _do_all(some, do)
        finally:  # a process that is told to stop leaves the rest to the threads that wait
            with self._changed:
                self._waiting = [each for each in some if not each[1].done()] + self._waiting
                self._busy, self._last = False, len(some)
                self._changed.notify_all()
        return mine.result()


def _do_all(some: Sequence[tuple[Any, Future[Any]]], do: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
    try:
        done = do([asked for asked, _ in some])
    except Exception as error:  # noqa: BLE001  it is raised to whom it belongs
        if len(some) == 1:
            some[0][1].set_exception(error)
            return
        for each in some:
            _do_all([each], do)
        return
    for (_, place), result in zip(some, done, strict=True):
        place.set_result(result)
