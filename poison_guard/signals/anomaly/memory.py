"""Blocks that fit a device's memory: halved until what they hold is half of what is free, and again where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

__all__ = ["halved", "halvings", "halvings_that_fit"]

_HALVINGS: ContextVar[int] = ContextVar("halvings", default=0)
_MOST = 24
_SHARE = 0.5  # of the free memory that a block may take: formulas leave out what kernels take for themselves


def halved(rows: int) -> int:
    """Return how many of `rows` a block has, at least 1: halved as often as `halvings` says."""
    return max(1, rows >> _HALVINGS.get())


@contextmanager
def halvings(more: int) -> Iterator[None]:
    """Run the body with all blocks halved `more` times again."""
    token = _HALVINGS.set(_HALVINGS.get() + more)
    try:
        yield
    finally:
        _HALVINGS.reset(token)


def halvings_that_fit(device: torch.device, block_bytes: Callable[[], int]) -> int:
    """Return how often blocks on `device` must be halved; `block_bytes` says what one holds under `halvings`.

    0 on a CPU, whose blocks fit its caches.
    """
    if device.type == "cpu":
        return 0
    idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch's own, free for it
    free = torch.cuda.mem_get_info(device)[0] + idle
    for more in range(_MOST):
        with halvings(more):
            if block_bytes() <= _SHARE * free:
                return more
    return _MOST
