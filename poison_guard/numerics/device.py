"""Where torch computes and with how many threads: one place that decides."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from poison_guard.errors import UsageError

__all__ = ["limited_threads", "pick_device"]


def pick_device(device: str = "auto") -> torch.device:
    """Return the torch device for `device`: ``auto`` (CUDA when there, else CPU), ``cpu``, ``cuda`` or ``cuda:N``.

    `UsageError` when the name is none of these or the machine lacks it.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = device.partition(":") if isinstance(device, str) else ("", "", "")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise UsageError(f"device must be auto, cpu, cuda or cuda:N, got {device!r}")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {device!r} is not on this machine; use device='auto'")
    return torch.device(device)


@contextmanager
def limited_threads(threads: int | None) -> Iterator[None]:
    """Run the body with `threads` torch threads, no more than there are cores, without autograd (None: as they are)."""
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be at least 1, got {threads}")
    before = torch.get_num_threads()
    try:
        if threads is not None and threads != before:
            torch.set_num_threads(min(threads, max(before, os.cpu_count() or 1)))
        with torch.inference_mode():
            yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
