"""Autoencoder: strange is what a small network that learned to restore trusted rows from noise does not restore."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np
import torch

from poison_guard.errors import UsageError
from poison_guard.numerics.tensors import limited_threads, pick_device
from poison_guard.signals.anomaly.base import (
    MAX_REFERENCE,
    Columns,
    Options,
    bounded,
    check_whole,
    item_bytes,
    score_blocks,
)

__all__ = ["Autoencoder"]

_HELD_OUT = 10  # one row in so many decides when to stop
_BATCH, _RATE = 128, 0.003  # rows a step, and Adam's step size
_PATIENCE = 3  # looks at the held-out rows without a better one before training stops
_WORK = 2e11  # multiplications that one fit may cost: a few seconds of a core
_LEAST = 1e-3  # added to the usual errors: a constant column is copied without one
_CELLS = 2**20  # numbers in the widest layer of a block


class Autoencoder(Options):
    """Error of a network that learned to restore rows from noisy ones, each column's in units of its usual error.

    Cells are squashed by the inverse hyperbolic sine, so that a few wild ones do not lead the training, and disturbed
    by `noise` scales of normal noise: restoring asks for what columns have in common, where copying would learn the
    strange rows too. A tenth of the rows is held out to stop in time. The units are bounded (tanh), so that rows far
    out cannot be copied either. Training is one thread of float32 whatever `threads` and `dtype` say: they are for
    `score`. It takes at most `epochs` passes and a few seconds of a core.

    References: Vincent et al., "Extracting and composing robust features with denoising autoencoders" (2008); Hawkins
    et al., "Outlier detection using replicator neural networks" (2002); Huber, "Robust estimation of a location
    parameter" (1964), for the loss.

    >>> line = [[0.1 * i, 0.1 * i] for i in range(100)]
    >>> Autoencoder(device="cpu").fit(line).score([[5.0, 5.0], [5.0, 99.0]]).argmax()
    np.int64(1)
    """

    name: ClassVar[str] = "autoencoder"

    def __init__(
        self,
        *,
        hidden: int = 64,
        inner: int = 32,
        noise: float = 1.0,
        epochs: int = 10,
        seed: int = 0,
        device: str = "auto",
        dtype: str = "float32",
        threads: int | None = None,
    ) -> None:
        check_whole(hidden=hidden, inner=inner, epochs=epochs)
        if isinstance(noise, bool) or not isinstance(noise, int | float) or not 0 <= noise < math.inf:
            raise UsageError(f"noise must be a finite number of at least 0, got {noise!r}")
        self.hidden, self.inner, self.noise, self.epochs = hidden, inner, noise, epochs
        super().__init__(seed=seed, device=device, dtype=dtype, threads=threads)

    def fit(self, X: Any, y: object = None) -> Self:
        """Train on at most 8,192 rows of `X` ``(n, d)``, chosen by hash."""
        rows = bounded(X, MAX_REFERENCE, self.seed)
        self.columns_ = Columns.fit(rows)
        device = pick_device(self.device)
        cells = torch.from_numpy(self.columns_.apply(rows)).to(device).asinh()
        with limited_threads(1 if device.type == "cpu" else None):
            self.layers_ = tuple(part.double() for part in self._trained(cells))
            error = self._error(cells[: max(256, _CELLS // cells.shape[1])])
            wild = error.quantile(0.99, dim=0)
            self.usual_ = error.minimum(wild).mean(dim=0) + _LEAST
        return self

    def score(self, X: Any) -> np.ndarray:
        """Return the mean over columns of the squared errors in units of the usual one ``(n,)``, >= 0."""
        return self._blocks(X, lambda block: self._parts(block).mean(dim=1).float())

    def explain(self, X: Any) -> np.ndarray:
        """Return each column's squared error in units of its usual one ``(n, d)``, >= 0; the score is their mean."""
        return self._blocks(X, lambda block: self._parts(block).float())

    def _blocks(self, X: Any, part: Any) -> np.ndarray:
        rows = max(16, _CELLS // max(self.columns_.width, len(self.layers_[1])))
        device = self.usual_.device
        return score_blocks(
            X, self.columns_, device, rows, part, dtype=self.dtype, threads=self.threads, block_bytes=self.block_bytes
        )

    def block_bytes(self, rows: int) -> int:
        """Return the most bytes that scoring `rows` rows holds: cells as given and as float64, and two wide layers."""
        d, wide = self.columns_.width, len(self.layers_[1])
        return rows * (2 * item_bytes(self.dtype) * d + 8 * d + 8 * len(self.layers_[3]) + 16 * max(d, wide))

    def _parts(self, block: torch.Tensor) -> torch.Tensor:
        return self._error(block.asinh()) / self.usual_

    def _error(self, cells: torch.Tensor) -> torch.Tensor:
        # float64, rounded at the end: the shape of the block leaves no trace in the score
        return (_copied(cells.double(), self.layers_) - cells).square()

    def _trained(self, cells: torch.Tensor) -> tuple[torch.Tensor, ...]:
        n, width = cells.shape
        with torch.inference_mode(mode=False), torch.enable_grad():
            rng = torch.Generator().manual_seed(self.seed)
            layers = _layers([width, self.hidden, self.inner, self.hidden, width], rng, cells.device)
            held, learned = cells[::_HELD_OUT].clone(), cells[torch.arange(n) % _HELD_OUT > 0].clone()
            if not len(learned):
                learned = held
            work = 12 * n * self.hidden * (width + self.inner)  # forward, and twice that backward
            epochs = max(1, min(self.epochs, int(_WORK / work)))
            return self._descended(learned, held, layers, epochs, rng)

    def _descended(
        self, learned: torch.Tensor, held: torch.Tensor, layers: list[torch.Tensor], epochs: int, rng: torch.Generator
    ) -> tuple[torch.Tensor, ...]:
        optimizer = torch.optim.Adam(layers, lr=_RATE)
        best, kept, since = float("inf"), [layer.detach().clone() for layer in layers], 0
        for _ in range(epochs):
            order = torch.randperm(len(learned), generator=rng).to(learned.device)
            for at in order.split(_BATCH):
                rows = learned[at]
                optimizer.zero_grad()
                noisy = rows + self.noise * torch.randn(rows.shape, generator=rng).to(rows.device)
                torch.nn.functional.huber_loss(_copied(noisy, layers), rows).backward()
                optimizer.step()
            with torch.no_grad():
                loss = float(torch.nn.functional.huber_loss(_copied(held, layers), held))
            since += 1
            if loss < best * 0.999:
                best, kept, since = loss, [layer.detach().clone() for layer in layers], 0
            if since >= _PATIENCE:
                break
        return tuple(kept)


def _layers(sizes: list[int], rng: torch.Generator, device: torch.device) -> list[torch.Tensor]:
    """Return weights and biases in turn (Glorot and Bengio 2010)."""
    made: list[torch.Tensor] = []
    for before, after in pairwise(sizes):
        weight = torch.randn(before, after, generator=rng) * (2.0 / (before + after)) ** 0.5
        made += [weight.to(device), torch.zeros(after, device=device)]
    return [part.requires_grad_() for part in made]


def _copied(cells: torch.Tensor, layers: Any) -> torch.Tensor:
    first, bias, narrow, bias2, widen, bias3, last, bias4 = layers
    inner = ((cells @ first + bias).tanh() @ narrow + bias2).tanh()
    return (inner @ widen + bias3).tanh() @ last + bias4
