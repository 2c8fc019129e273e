"""Run one signal so that its crash holds the batch instead of passing it: fail closed, and say which signal failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from poison_guard.errors import GuardError

__all__ = ["Crash", "SignalError", "guarded"]

_T = TypeVar("_T")


class Crash(str):
    """Why a signal could not judge, in words for a reviewer."""

    __slots__ = ()


class SignalError(Exception):
    """A signal lacks what it judges by; `guarded` turns it into a `Crash`, which holds the records."""


def guarded(signal: Callable[[], _T]) -> _T | Crash:
    """Return what `signal` returns, or a `Crash`; deliberate errors (`GuardError`) and memory exhaustion pass on."""
    try:
        return signal()
    except (GuardError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  whatever a signal dies of, its records are staged, never accepted
        return Crash(f"{type(error).__name__}: {error}"[:300])
