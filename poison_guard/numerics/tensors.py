"""Where torch computes, and named tensors in one safetensors file: written whole or not at all, read within bounds."""

from __future__ import annotations

import json
import os
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from poison_guard.errors import DataError, UsageError

__all__ = [
    "MAX_BYTES",
    "check_device",
    "full_precision",
    "limited_threads",
    "pack_tensors",
    "parse_tensors",
    "pick_device",
    "read_bounded",
]


def pick_device(device: str = "auto") -> torch.device:
    """Return the torch device for `device`: ``auto`` (CUDA when there, else CPU), ``cpu``, ``cuda`` or ``cuda:N``.

    `UsageError` when the name is none of these or the machine lacks it.
    """
    check_device(device)
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = device.partition(":")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {device!r} is not on this machine; use device='auto'")
    return torch.device(device)


def check_device(device: object) -> None:
    """Raise `UsageError` unless `device` is a name that `pick_device` knows, whatever this machine has."""
    kind, colon, number = device.partition(":") if isinstance(device, str) else ("", "", "")
    if device != "auto" and (kind not in ("cpu", "cuda") or (colon and not number.isdecimal())):
        raise UsageError(f"device must be auto, cpu, cuda or cuda:N, got {device!r}")


class _Precision:
    """How torch may round float32 products, as this process has it set, and how many bodies have it pinned."""

    def __init__(self) -> None:
        self.lock, self.bodies = threading.Lock(), 0
        self.before: list[tuple[Any, str, Any]] = []

    def enter(self) -> None:
        with self.lock:
            self.bodies += 1
            if self.bodies == 1:
                self.before = [(owner, name, getattr(owner, name)) for owner, name, _ in _exact_settings()]
                for owner, name, value in _exact_settings():
                    setattr(owner, name, value)

    def leave(self) -> None:
        with self.lock:
            self.bodies -= 1
            if self.bodies == 0:
                for owner, name, value in self.before:
                    setattr(owner, name, value)


def _exact_settings() -> list[tuple[Any, str, Any]]:
    """Return owner, name and value of what keeps float32 products from being rounded to fewer bits."""
    cuda, cudnn, cpu = torch.backends.cuda.matmul, torch.backends.cudnn, torch.backends.mkldnn
    once = [(cudnn, "deterministic", True), (cudnn, "benchmark", False)]
    if not hasattr(cuda, "fp32_precision"):  # torch below 2.9
        return [*once, (cuda, "allow_tf32", False), (cudnn, "allow_tf32", False)]
    owners = (cuda, cudnn.conv, cudnn.rnn, cpu.matmul, cpu.conv)
    return [*once, *[(owner, "fp32_precision", "ieee") for owner in owners]]


_PRECISION = _Precision()


@contextmanager
def full_precision() -> Iterator[None]:
    """Run the body with float32 products of full precision, whatever the process allows (TF32, bfloat16), and restore.

    The settings are the process's: while any thread is inside they are pinned, and the last one out restores them.
    cuDNN takes algorithms that add up in one order. A neighbour may be missed, and an example fooled or not, by TF32's
    rounding alone, which has 10 bits of fraction for 23.
    """
    _PRECISION.enter()
    try:
        yield
    finally:
        _PRECISION.leave()


@contextmanager
def limited_threads(threads: int | None) -> Iterator[None]:
    """Run the body with `threads` torch threads, no more than there are cores (None: as they are).

    Without autograd, and with `full_precision`.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be at least 1, got {threads}")
    before = torch.get_num_threads()
    try:
        if threads is not None and threads != before:
            torch.set_num_threads(min(threads, max(before, os.cpu_count() or 1)))
        with torch.inference_mode(), full_precision():
            yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


MAX_BYTES = 1 << 30
"""Largest file that is read."""
_MAX_HEADER = 32 << 20
_KEY = "poison_guard"  # one key only: safetensors does not keep the order of several


def pack_tensors(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """Return a safetensors file: equal content gives equal bytes."""
    whole = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    text = json.dumps(description, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return safetensors.torch.save(whole, {_KEY: text})


def parse_tensors(data: bytes, *, name: str, expected: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return description and tensors of a safetensors file whose description has ``format`` `expected`.

    `DataError` names the file for anything else. Reading runs no code of the file: pickles and archives are refused.
    """
    kind = _foreign(data)
    if kind is not None:
        raise DataError(f"{name} is {kind}, not a safetensors file; only files that poison-guard saved are read")
    try:
        size = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8 : 8 + size])
        description = json.loads(header["__metadata__"][_KEY])
        if description["format"] != expected:
            raise ValueError(f"its format is {description['format']!r}")
        return description, safetensors.torch.load(data)
    except (ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError) as error:
        raise DataError(f"{name} is not a {expected!r} file ({error}); write it again") from error


def _foreign(data: bytes) -> str | None:
    """Return what a file that cannot be safetensors is, or None."""
    if data[:2] == b"PK":
        return "a zip archive (as torch.save writes, which can hold code)"
    if data[:1] == b"\x80" and data[1:2] <= b"\x08" and data[8:9] != b"{":
        return "a pickle (which can hold code)"
    if len(data) < 10 or data[8:9] != b"{":
        return "of another format"
    if struct.unpack("<Q", data[:8])[0] > min(len(data) - 8, _MAX_HEADER):
        return "cut short or has a header past its bounds"
    return None


def read_bounded(path: Path, most: int = MAX_BYTES) -> bytes:
    """Return the bytes of `path`; `DataError` when it is missing, no plain file, or has more than `most`."""
    if not path.is_file():
        raise DataError(f"{path} is not a file; name one that poison-guard wrote")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(min(size, most) + 1)  # as much memory is taken as is asked for
    if len(data) > most:
        raise DataError(
            f"{path} has more than {most >> 20} MiB, the most that is read; name one that poison-guard wrote"
        )
    return data
