"""Run a signal so that what it dies of holds the records it was to judge, and ends nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from poison_guard.errors import GuardError, MissingExtraError

__all__ = ["SignalFailure", "run_isolated"]

_T = TypeVar("_T")


class SignalFailure(str):
    """Why a signal could not judge, in words for a reviewer."""

    __slots__ = ()


def run_isolated(
    signal: Callable[[], _T], *, passes: tuple[type[Exception], ...] = (GuardError, MemoryError)
) -> _T | SignalFailure:
    """Return what `signal` returns, or a `SignalFailure`; errors in `passes` are raised, but for a missing extra.

    By default these are deliberate errors and lack of memory.
    """
    try:
        return signal()
    except MissingExtraError as error:
        return SignalFailure(str(error))
    except passes:
        raise
    except Exception as error:  # noqa: BLE001  whatever a signal dies of, its records are staged, never accepted
        return SignalFailure(f"{type(error).__name__}: {error}"[:300])
