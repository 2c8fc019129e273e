"""Run every family of attack against a model within a bounded budget, each on the same examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from poison_guard.config.policies import RetrainConfig
from poison_guard.records import Examples
from poison_guard.retrain.blackbox import search_images, search_tables, search_texts
from poison_guard.retrain.inputs import to_dense
from poison_guard.retrain.models import fill_defaults
from poison_guard.retrain.perturb import Space, fgsm, pgd
from poison_guard.retrain.trained_model import TrainedModel, predict_probabilities
from poison_guard.retrain.transforms import add_noise, rotate_examples

__all__ = ["Attack", "Budget", "attack_all"]

_GRADIENT = ("fgsm", "pgd")
EDITED_WORDS = 0.1
"""Share of a text's words that the black box may misspell; one word at least."""
TURNS = (-15.0, -7.5, 7.5, 15.0)
"""Degrees that an image is turned by; all must be withstood."""
NOISE = 0.01
"""Size of the noise, as a share of the range or the standard deviation, or of the characters of a text."""
_UNITS = {  # of the radius, of the noise, of the black box
    "image": ("of the pixel range", "of the pixel range", "of the pixel range"),
    "table": ("standard deviations", "standard deviations", "standard deviations"),
    "text": ("of the embedding's length", "of the characters", "of the words"),
}
_BATCH = 256  # rows a gradient is taken of at a time: a text is 16,384 numbers


@dataclass(frozen=True, slots=True)
class Budget:
    """How much an evaluation may compute; the defaults keep one of 250 attacked examples to a few CPU-seconds.

    Measured on one thread with the guard's models: 0.2 s for a table of 8 columns, 1.5 s for texts of 20 words, 0.6 s
    for images of 8 x 8 and at most 3.8 s for 28 x 28, where nothing is fooled and every question is asked.
    """

    examples: int = 20_000
    """Examples judged; of more, those with the smallest hashes."""
    attacked: int = 250
    """Examples attacked, again those with the smallest hashes: n of every attack."""
    steps: int = 20
    """Steps of PGD from each start."""
    restarts: int = 2
    """Random starts of PGD; every second one climbs the margin instead of the loss."""
    queries: int = 250
    """Questions an example that the black box may ask about an image or a row."""
    text_queries: int = 40
    """Questions that it may ask about a text, each of which is hashed anew."""
    draws: int = 3
    """Draws of noise; all must be withstood."""


@dataclass(frozen=True, slots=True)
class Attack:
    """What one family did: which of the examples stayed right, ``(n,)`` bool, within which radius of what."""

    right: np.ndarray
    epsilon: float
    unit: str


@dataclass(frozen=True, slots=True)
class _Target:
    """What is attacked: examples that the model has right, and how far they may be moved."""

    model: TrainedModel
    examples: Examples
    truth: np.ndarray
    """``(n,)`` int64 positions of the labels among the model's classes."""
    space: Space
    epsilon: float
    seed: int
    budget: Budget

    def logits(self, x: Tensor) -> np.ndarray:
        """Return ``(b, k)`` for encoded inputs, in bounded memory."""
        with torch.inference_mode():
            return torch.cat([self.model.module(part) for part in x.split(_BATCH)]).numpy()


def attack_all(
    model: TrainedModel, examples: Examples, right: np.ndarray, *, config: RetrainConfig, seed: int, budget: Budget
) -> dict[str, Attack]:
    """Return what each family of attack does to `examples`, of which those in `right` ``(n,)`` bool are right unharmed.

    ``fgsm`` (random start), ``pgd``, ``blackbox``, ``noise``, and ``rotation`` for images. Radius and mutable columns
    are the config's, or the defaults for examples like these, never the model's own: two models are attacked alike.
    """
    alive = np.flatnonzero(right)
    target = _target(model, examples.take(alive), fill_defaults(config, examples), seed, budget)
    unit, noise_unit, search_unit = _UNITS[examples.kind]
    share = EDITED_WORDS if examples.kind == "text" and target.epsilon else target.epsilon
    results = {name: (still, target.epsilon, unit) for name, still in _by_gradient(target).items()}
    results["blackbox"] = (_by_queries(target), share, search_unit)
    noisy = (add_noise(target.examples, share=NOISE, seed=seed + draw) for draw in range(budget.draws))
    results["noise"] = (_withstood(target, noisy), NOISE, noise_unit)
    if examples.kind == "image":
        turned = (rotate_examples(target.examples, degrees) for degrees in TURNS)
        results["rotation"] = (_withstood(target, turned), max(TURNS), "degrees")
    attacks = {}
    for name, (still, epsilon, measured_in) in results.items():
        stays = np.zeros(len(examples), dtype=bool)
        stays[alive[still]] = True
        attacks[name] = Attack(stays, epsilon, measured_in)
    return attacks


def _target(model: TrainedModel, some: Examples, config: RetrainConfig, seed: int, budget: Budget) -> _Target:
    """Take the model's space of changes, with the config's mutable columns in place of its own."""
    space = model.inputs.space
    if space.mutable is not None and config.mutable is not None:
        columns = tuple(name in config.mutable for name in some.features)
        space = dataclasses.replace(space, mutable=columns + (False,) * (len(space.mutable) - len(columns)))
    return _Target(model, some, model.targets(some.frame["label"]), space, float(config.epsilon or 0), seed, budget)


def _by_gradient(target: _Target) -> dict[str, np.ndarray]:
    """Return by family which examples withstand it, ``(n,)`` bool."""
    still = {name: np.ones(len(target.examples), dtype=bool) for name in _GRADIENT}
    if not len(target.examples) or not target.epsilon:
        return still
    encoded, classes = target.model.inputs.encode(target.examples), torch.from_numpy(target.truth)
    module, space, epsilon, budget = target.model.module, target.space, target.epsilon, target.budget
    random = torch.Generator().manual_seed(target.seed)
    for start in range(0, len(target.examples), _BATCH):
        rows = slice(start, start + _BATCH)
        x, y = to_dense(encoded, rows), classes[rows]
        steps, restarts = budget.steps, budget.restarts
        near = fgsm(module, x, y, epsilon=epsilon, space=space, generator=random)
        far = pgd(module, x, y, epsilon=epsilon, space=space, steps=steps, restarts=restarts, generator=random)
        for name, moved in zip(_GRADIENT, (near, far), strict=True):
            logits = target.logits(moved)
            still[name][rows] = np.isfinite(logits).all(axis=1) & (logits.argmax(axis=1) == target.truth[rows])
    return still


def _by_queries(target: _Target) -> np.ndarray:
    """Return which examples withstand the black box, ``(n,)`` bool."""
    examples, truth, epsilon, seed = target.examples, target.truth, target.epsilon, target.seed
    if not len(examples) or not epsilon:
        return np.ones(len(examples), dtype=bool)
    if examples.kind == "text":

        def ask_text(texts: np.ndarray) -> np.ndarray:
            encoded = target.model.inputs.encode(dataclasses.replace(examples, inputs=texts))
            return np.concatenate([target.logits(to_dense(encoded, slice(at, at + _BATCH))) for at in _starts(texts)])

        queries = target.budget.text_queries
        return search_texts(ask_text, examples.inputs, truth, share=EDITED_WORDS, queries=queries, seed=seed).right
    x = to_dense(target.model.inputs.encode(examples), slice(None))
    queries = target.budget.queries

    def ask(rows: np.ndarray) -> np.ndarray:
        return target.logits(torch.from_numpy(rows))

    if examples.kind == "image":
        return search_images(ask, x.numpy(), truth, epsilon=epsilon, queries=queries, seed=seed).right
    mask = target.space.mask(x)
    free = np.ones(x.shape, dtype=bool) if mask is None else mask.numpy() > 0
    return search_tables(ask, x.numpy(), truth, epsilon=epsilon, mutable=free, queries=queries, seed=seed).right


def _withstood(target: _Target, versions: Iterable[Examples]) -> np.ndarray:
    """Return which examples are right in every version of them, ``(n,)`` bool."""
    still = np.ones(len(target.examples), dtype=bool)
    if len(still):
        for version in versions:
            still &= predict_probabilities(target.model, version).argmax(axis=1) == target.truth
    return still


def _starts(rows: np.ndarray) -> range:
    return range(0, len(rows), _BATCH)
