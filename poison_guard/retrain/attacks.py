"""Run every family of attack against a model within a bounded budget, each on the same examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from poison_guard.config.policies import RetrainConfig
from poison_guard.records import Examples
from poison_guard.retrain.apgd import apgd
from poison_guard.retrain.blackbox import Search, search_images, search_tables, search_texts
from poison_guard.retrain.edits import (
    few_pixels_or_cells,
    few_words,
    patch_places,
    salt_and_pepper,
    trained_patches,
    with_patch,
)
from poison_guard.retrain.inputs import to_dense
from poison_guard.retrain.models import fill_defaults
from poison_guard.retrain.perturb import Space, fgsm, pgd
from poison_guard.retrain.trained_model import TrainedModel, device_of
from poison_guard.retrain.transforms import add_noise, move_images

__all__ = ["ADVERSARIES", "FAST", "FULL", "Attack", "Attacks", "Budget", "attack_all"]

ADVERSARIES = ("fgsm", "pgd", "apgd", "apgd targeted", "blackbox")
"""Attacks within the radius that a model is trained to withstand, which someone who means harm picks from."""
EDITED_WORDS = 0.1
"""Share of a text's words that the black box may misspell; one word at least."""
TURNS, SHIFT, SCALES = 15.0, 0.1, (0.8, 1.25)
"""Degrees that an image is turned by, share of its side that it is shifted by, factors of its size; either way."""
NOISE, SALT = 0.01, 0.05
"""Size of the noise, as a share of the range or the standard deviation, or of the characters of a text; share of the
pixels that become black or white."""
PATCH = 0.21
"""Side of a patch, as a share of the image's: 6 pixels of 28."""
PLACES = (1, 3, 10)
"""Pixels, cells or words that may change as they like; 1 and 3 of cells and words."""
SURE = 0.99
"""Confidence at which noise counts as accepted."""
_UNITS = {  # of the radius, of the noise, of the black box
    "image": ("of the pixel range", "of the pixel range", "of the pixel range"),
    "table": ("standard deviations", "standard deviations", "standard deviations"),
    "text": ("of the embedding's length", "of the characters", "of the words"),
}
_BATCH = 256  # rows a gradient is taken of at a time: a text is 16,384 numbers
_NOISE_STEPS, _NOISE_STEP = 50, 0.05
_FLAT = 0.005  # share of the examples that the last fifth of the questions may still fool, before more are asked
_PATCHES_TRAINED = 6


@dataclass(frozen=True, slots=True)
class Budget:
    """How much an evaluation may compute; `FAST` is for each promotion, `FULL` for an evaluation by hand."""

    examples: int = 20_000
    """Examples judged; of more, those with the smallest hashes."""
    attacked: int = 250
    """Examples attacked, again those with the smallest hashes: n of every attack."""
    steps: int = 20
    """Steps of PGD from each start, and of APGD."""
    restarts: int = 2
    """Random starts of PGD; every second one climbs the margin instead of the loss."""
    targets: int = 2
    """Classes that APGD moves each example to, the likeliest wrong ones first."""
    queries: int = 250
    """Questions an example that the black box may ask about an image or a row."""
    text_queries: int = 40
    """Questions that it may ask about a text, each of which is hashed anew."""
    draws: int = 3
    """Draws of noise; all must be withstood."""
    moves: int = 1
    """Steps each way of a turn or a shift: of 3, a shift is tried at 48 places."""
    full: bool = False
    """Whether patches, few pixels and optimised noise are tried too, and questions asked until they fool no more."""


FAST = Budget()
FULL = Budget(
    attacked=500, steps=100, restarts=5, targets=9, queries=5_000, text_queries=200, draws=5, moves=3, full=True
)


@dataclass(frozen=True, slots=True)
class Attack:
    """What one family did to the examples, ``(n,)`` each, within which radius of what."""

    right: np.ndarray
    """Whether the model stayed right, bool."""
    margin: np.ndarray
    """By how much the true class still leads, as probabilities, where it leads least; NaN where it was wrong before."""
    confidence: np.ndarray
    """Probability of the true class there; NaN as before."""
    epsilon: float
    unit: str


@dataclass(frozen=True, slots=True)
class Attacks:
    """What all families did."""

    by_name: dict[str, Attack]
    confidence: np.ndarray
    """Probability of the true class unharmed ``(n,)``; NaN where the model was wrong."""
    pairs: dict[str, dict[str, dict[str, int]]]
    """Source and target class: ``n`` examples moved towards the target within the radius, ``hits`` given it."""
    noise: dict[str, Any] | None
    """``n`` inputs of noise, ``accepted`` with confidence `SURE` once optimised, ``at_once`` before."""


@dataclass(slots=True)
class _Worst:
    """The worst version of each example seen so far."""

    truth: np.ndarray
    right: np.ndarray = field(init=False)
    margin: np.ndarray = field(init=False)
    confidence: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        n = len(self.truth)
        self.right, self.margin, self.confidence = np.ones(n, dtype=bool), np.full(n, np.inf), np.ones(n)

    def see(self, logits: np.ndarray, rows: Any = slice(None)) -> None:
        """Take in the logits ``(b, k)`` of versions of `rows`; what is no number is wrong."""
        truth = self.truth[rows]
        sound = np.asarray(np.isfinite(logits).all(axis=1))
        with np.errstate(over="ignore"):
            p = np.exp(logits - logits.max(axis=1, keepdims=True), where=sound[:, None], out=np.zeros(logits.shape))
        p /= np.maximum(p.sum(axis=1, keepdims=True), 1e-300)
        at = np.arange(len(p))
        own = np.where(sound, p[at, truth], 0.0)
        p[at, truth] = -1.0
        margin = np.where(sound, own - p.max(axis=1), -1.0)
        worse = np.asarray(margin < self.margin[rows])
        self.right[rows] &= sound & (logits.argmax(axis=1) == truth)
        self.confidence[rows] = np.where(worse, own, self.confidence[rows])
        self.margin[rows] = np.minimum(margin, self.margin[rows])


@dataclass(frozen=True, slots=True)
class _Target:
    """What is attacked: examples that the model has right, and how far they may be moved.

    Gradients and answers are computed where the model is; what goes in or comes out as arrays is copied by the batch.
    """

    model: TrainedModel
    examples: Examples
    encoded: Any
    truth: np.ndarray
    """``(n,)`` int64 positions of the labels among the model's classes."""
    space: Space
    epsilon: float
    seed: int
    budget: Budget

    def logits(self, x: Tensor) -> np.ndarray:
        """Return ``(b, k)`` for encoded inputs, in bounded memory."""
        with torch.inference_mode():
            return torch.cat([self.model.module(part) for part in x.to(self.device).split(_BATCH)]).cpu().numpy()

    @property
    def device(self) -> torch.device:
        return device_of(self.model.module)

    def ask(self, inputs: np.ndarray) -> np.ndarray:
        """Return the logits ``(b, k)`` of inputs as examples hold them."""
        encoded = self.model.inputs.encode(dataclasses.replace(self.examples, inputs=inputs))
        return np.concatenate(
            [self.logits(to_dense(encoded, slice(at, at + _BATCH))) for at in range(0, len(inputs), _BATCH)]
        )

    def batches(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield the rows, inputs and classes of each batch."""
        for start in range(0, len(self.truth), _BATCH):
            rows = slice(start, min(start + _BATCH, len(self.truth)))
            yield rows, to_dense(self.encoded, rows).to(self.device), torch.from_numpy(self.truth[rows]).to(self.device)

    def random(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)


def attack_all(
    model: TrainedModel, examples: Examples, right: np.ndarray, *, config: RetrainConfig, seed: int, budget: Budget
) -> Attacks:
    """Return what each family of attack does to `examples`, of which those in `right` ``(n,)`` bool are right unharmed.

    Radius and mutable columns are the config's, or the defaults for examples like these, never the model's own: two
    models are attacked alike.
    """
    alive = np.flatnonzero(right)
    target = _target(model, examples.take(alive), fill_defaults(config, examples), seed, budget)
    clean = _Worst(target.truth)
    if len(alive):
        clean.see(target.ask(target.examples.inputs))
    pairs: dict[str, dict[str, dict[str, int]]] = {}
    by_name = {}
    for name, (seen, epsilon, measured_in) in _families(target, pairs).items():
        values = [np.full(len(examples), np.nan) for _ in range(2)]
        for value, part in zip(values, (seen.margin, seen.confidence), strict=True):
            value[alive] = np.where(np.isfinite(part), part, clean.margin if value is values[0] else clean.confidence)
        stays = np.zeros(len(examples), dtype=bool)
        stays[alive] = seen.right
        by_name[name] = Attack(stays, values[0], values[1], epsilon, measured_in)
    confidence = np.full(len(examples), np.nan)
    confidence[alive] = clean.confidence
    return Attacks(by_name, confidence, pairs, _optimised_noise(target) if budget.full else None)


def _target(model: TrainedModel, some: Examples, config: RetrainConfig, seed: int, budget: Budget) -> _Target:
    """Take the model's space of changes, with the config's mutable columns in place of its own."""
    space = model.inputs.space
    if space.mutable is not None and config.mutable is not None:
        columns = tuple(name in config.mutable for name in some.features)
        space = dataclasses.replace(space, mutable=columns + (False,) * (len(space.mutable) - len(columns)))
    encoded = model.inputs.encode(some) if len(some) else torch.empty(0)
    truth = model.targets(some.frame["label"])
    return _Target(model, some, encoded, truth, space, float(config.epsilon or 0), seed, budget)


_Found = dict[str, tuple[_Worst, float, str]]


def _families(target: _Target, pairs: dict[str, dict[str, dict[str, int]]]) -> _Found:
    """Return by family the worst it found, its radius and what that is of; `pairs` is filled."""
    kind, budget = target.examples.kind, target.budget
    unit, noise_unit, search_unit = _UNITS[kind]
    found: _Found = {name: (worst, target.epsilon, unit) for name, worst in _by_gradient(target, pairs).items()}
    share = EDITED_WORDS if kind == "text" and target.epsilon else target.epsilon
    found["blackbox"] = (_by_queries(target), share, search_unit)
    draws = [target.seed + draw for draw in range(budget.draws)]
    noisy = (add_noise(target.examples, share=NOISE, seed=seed).inputs for seed in draws)
    found["noise"] = (_over_versions(target, noisy), NOISE, noise_unit)
    if kind == "image":
        found |= _moved(target)
        salted = (salt_and_pepper(target.examples.inputs, SALT, seed) for seed in draws)
        found["salt and pepper"] = (_over_versions(target, salted), SALT, "of the pixels")
        found["patch"] = (_plain_patch(target), PATCH, "of the side")
    if budget.full:
        found |= _places(target)
    if budget.full and kind == "image":
        found["trained patch"] = (_trained_patch(target), PATCH, "of the side")
    return found


def _by_gradient(target: _Target, pairs: dict[str, dict[str, dict[str, int]]]) -> dict[str, _Worst]:
    names = [name for name in ADVERSARIES if name != "blackbox"]
    worst = {name: _Worst(target.truth) for name in names}
    if not target.epsilon:
        return worst
    module, budget, random = target.model.module, target.budget, target.random()
    how: dict[str, Any] = {"epsilon": target.epsilon, "space": target.space, "generator": random}
    for rows, x, y in target.batches():
        worst["fgsm"].see(target.logits(fgsm(module, x, y, **how)), rows)
        steps, restarts = budget.steps, budget.restarts
        worst["pgd"].see(target.logits(pgd(module, x, y, steps=steps, restarts=restarts, **how)), rows)
        worst["apgd"].see(target.logits(apgd(module, x, y, steps=steps, **how)), rows)
        truth = torch.from_numpy(target.truth[rows])
        likely = torch.from_numpy(target.logits(x)).scatter(1, truth[:, None], -torch.inf)
        order = likely.argsort(dim=1, descending=True)
        for rank in range(min(budget.targets, order.shape[1] - 1)):
            goal = order[:, rank].clone()
            logits = target.logits(apgd(module, x, y, steps=steps, target=goal.to(x.device), **how))
            worst["apgd targeted"].see(logits, rows)
            _count_pairs(target, pairs, truth.numpy(), goal.numpy(), logits.argmax(axis=1))
    return worst


def _count_pairs(
    target: _Target, pairs: dict[str, dict[str, dict[str, int]]], y: np.ndarray, goal: np.ndarray, given: np.ndarray
) -> None:
    classes = target.model.classes
    for source, wanted, got in zip(y, goal, given, strict=True):
        cell = pairs.setdefault(classes[source], {}).setdefault(classes[wanted], {"n": 0, "hits": 0})
        cell["n"] += 1
        cell["hits"] += int(got == wanted)


def _by_queries(target: _Target) -> _Worst:
    """Return what the black box finds; with a full budget it asks on, twice as much, until it finds no more."""
    worst = _Worst(target.truth)
    if not len(target.truth) or not target.epsilon:
        return worst
    text = target.examples.kind == "text"
    queries = target.budget.text_queries if text else target.budget.queries
    for again in range(3 if target.budget.full else 1):
        rows = np.flatnonzero(worst.right)
        found = _search(target, rows, queries * 2**again, target.seed + again)
        see = target.ask if text else lambda inputs: target.logits(torch.from_numpy(inputs))
        worst.see(see(found.inputs), rows)
        worst.right[rows] &= found.right
        late = ~found.right & (found.spent > 0.8 * queries * 2**again)
        if late.sum() <= _FLAT * len(target.truth):
            break
    return worst


def _search(target: _Target, rows: np.ndarray, queries: int, seed: int) -> Search:
    truth, epsilon = target.truth[rows], target.epsilon
    if target.examples.kind == "text":
        texts = target.examples.inputs[rows]
        return search_texts(target.ask, texts, truth, share=EDITED_WORDS, queries=queries, seed=seed)
    x = to_dense(target.encoded, slice(None))[rows]

    def ask(inputs: np.ndarray) -> np.ndarray:
        return target.logits(torch.from_numpy(inputs))

    if target.examples.kind == "image":
        return search_images(ask, x.numpy(), truth, epsilon=epsilon, queries=queries, seed=seed)
    mask = target.space.mask(x)
    free = np.ones(x.shape, dtype=bool) if mask is None else mask.numpy() > 0
    return search_tables(ask, x.numpy(), truth, epsilon=epsilon, mutable=free, queries=queries, seed=seed)


def _over_versions(target: _Target, versions: Iterable[np.ndarray]) -> _Worst:
    """Return the worst of several versions of the examples' inputs."""
    worst = _Worst(target.truth)
    if len(target.truth):
        for inputs in versions:
            worst.see(target.ask(inputs))
    return worst


def _moved(target: _Target) -> _Found:
    """Return what turning, shifting and scaling images do."""
    images, moves = target.examples.inputs, target.budget.moves
    side = min(images.shape[2:]) if len(images) else 1
    far = max(1, round(SHIFT * side))
    steps = np.linspace(-1, 1, 2 * moves + 1)
    turns = [float(step) * TURNS / part for step in steps if step for part in (1, 2)]
    shifts = [(round(far * a), round(far * b)) for a in steps for b in steps if a or b]
    turned = (move_images(images, degrees=degrees) for degrees in turns)
    shifted = (move_images(images, down=down, right=right) for down, right in shifts)
    scaled = (move_images(images, scale=scale) for scale in SCALES)
    return {
        "rotation": (_over_versions(target, turned), TURNS, "degrees"),
        "shift": (_over_versions(target, shifted), float(far), "pixels"),
        "scale": (_over_versions(target, scaled), max(SCALES), "times the size"),
    }


def _patch_side(target: _Target) -> int:
    return max(1, round(PATCH * min(target.examples.inputs.shape[2:])))


def _plain_patch(target: _Target) -> _Worst:
    """Cover a square with black or white: at all places with a full budget, else half a side apart."""
    worst, full = _Worst(target.truth), target.budget.full
    side = _patch_side(target) if len(target.truth) else 1
    for rows, x, _ in target.batches():
        for place in patch_places(x.shape, side, 1 if full else max(1, side // 2)):
            for value in (0.0, 1.0):
                worst.see(target.logits(with_patch(x, place, side, value)), rows)
    return worst


def _trained_patch(target: _Target) -> _Worst:
    """Optimise a square for each example, at a few places."""
    worst, random = _Worst(target.truth), target.random()
    for rows, x, y in target.batches():
        side = _patch_side(target)
        every = patch_places(x.shape, side, 1)
        places = [every[int(at)] for at in torch.randperm(len(every), generator=random)[:_PATCHES_TRAINED]]
        for patched in trained_patches(target.model.module, x, y, places, side, random):
            worst.see(target.logits(patched), rows)
    return worst


def _places(target: _Target) -> _Found:
    """Change 1, 3 or 10 places as far as they may: pixels, cells or words."""
    kind = target.examples.kind
    noun = {"image": "pixels", "table": "cells", "text": "words"}[kind]
    counts = PLACES if kind == "image" else PLACES[:2]
    found: _Found = {f"{noun} {count}": (_Worst(target.truth), float(count), noun) for count in counts}
    if kind == "text":
        for count, texts in few_words(target.ask, target.examples.inputs, target.truth, counts):
            found[f"{noun} {count}"][0].see(target.ask(texts))
        return found
    for rows, x, y in target.batches():
        for count, moved in few_pixels_or_cells(target.model.module, x, y, space=target.space, counts=counts):
            found[f"{noun} {count}"][0].see(target.logits(moved), rows)
    return found


def _optimised_noise(target: _Target) -> dict[str, Any] | None:
    """Climb from noise to each class in turn: how much of it a model takes for sure is input that nobody recognises.

    Noise of a table is its cells, each column shuffled apart. None for texts.
    """
    if target.examples.kind == "text" or not len(target.truth):
        return None
    random = target.random()
    x = to_dense(target.encoded, slice(0, _BATCH))
    if target.examples.kind == "image":
        noise = torch.rand(x.shape, generator=random)
    else:
        noise = torch.stack([column[torch.randperm(len(x), generator=random)] for column in x.T], dim=1)
    noise = noise.to(target.device)
    goal = torch.arange(len(x), device=noise.device) % len(target.model.classes)
    at_once, moved, mask = target.logits(noise), noise.clone(), target.space.mask(noise)
    for _ in range(_NOISE_STEPS):
        moved.requires_grad_()
        loss = torch.nn.functional.cross_entropy(target.model.module(moved), goal, reduction="sum")
        (slope,) = torch.autograd.grad(loss, moved)
        step = _NOISE_STEP * slope.sign() if mask is None else _NOISE_STEP * slope.sign() * mask
        moved = (moved.detach() - step).clamp(target.space.low, target.space.high)
    accepted = [
        int((torch.softmax(torch.from_numpy(z), dim=1).amax(1) >= SURE).sum()) for z in (target.logits(moved), at_once)
    ]
    return {"n": len(x), "accepted": accepted[0], "at_once": accepted[1], "confidence": SURE}
