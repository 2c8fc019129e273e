"""Copies to a GPU beside its work: the next block is made and copied while the one before is computed on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

__all__ = ["in_turns"]


def in_turns(device: torch.device, blocks: Iterator[Tensor], work: Callable[[Tensor], Tensor]) -> Iterator[np.ndarray]:
    """Yield `work` of each of `blocks` as float64; blocks are tensors of the CPU, results come back from `device`.

    Blocks are copied from pinned memory on a stream of their own, two of them at most on the device at once. Whoever
    sizes blocks counts one more input. `torch.OutOfMemoryError` where a block does not fit: those before it were
    yielded.

    References: NVIDIA, "CUDA C++ Best Practices Guide", "Asynchronous and overlapping transfers with computation".
    """
    copies = torch.cuda.Stream(device)

    def send() -> Tensor | None:
        block = next(blocks, None)
        if block is None:
            return None
        with torch.cuda.stream(copies):
            return block.pin_memory().to(device, non_blocking=True)

    sent = send()
    while sent is not None:
        computing = torch.cuda.current_stream(device)
        computing.wait_stream(copies)
        sent.record_stream(computing)  # its memory is not given to a next copy before the work on it is done
        done = work(sent)
        sent = send()
        yield done.double().cpu().numpy()
