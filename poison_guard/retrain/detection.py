"""Tell adversarial inputs when a model serves: what answers otherwise once squeezed, or what members differ on.

References: Xu, Evans and Qi, "Feature squeezing" (2018), for the distance of answers; Tramèr, "Detecting adversarial
examples is (nearly) as hard as classifying them" (2022), for what to hold a detector against.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from poison_guard.errors import DataError
from poison_guard.numerics.tensors import limited_threads
from poison_guard.records import Examples
from poison_guard.retrain.ensemble import members_of
from poison_guard.retrain.inputs import TextInputs, to_dense
from poison_guard.retrain.perturb import random_start
from poison_guard.retrain.squeeze import Squeeze
from poison_guard.retrain.trained_model import TrainedModel, device_of

__all__ = ["Detector", "evades", "fit_detector", "input_scores"]

_BATCH = 256
_WEIGHTS = (0.0, 1.0, 4.0)  # of staying unseen beside being wrong, a start each


@dataclass(frozen=True, slots=True)
class Detector:
    """Limits of the scores of inputs: above any of them an input is flagged."""

    limits: dict[str, float]
    rate: float
    """Share of clean inputs that are flagged."""
    rows: int
    """Clean inputs that the limits were set on."""

    def flags(self, scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return by score which inputs ``(n,)`` are above its limit."""
        return {name: scores[name] > limit for name, limit in self.limits.items()}


def input_scores(model: TrainedModel, examples: Examples, *, threads: int = 1) -> dict[str, np.ndarray]:
    """Return by name how strange each input is ``(n,)``: distances of probabilities, in [0, 2].

    ``squeezed``: between the answers for the input as it is and squeezed (rounded, smoothed, in its normal form), the
    largest of them. ``members``: from one member's answer to that of all, in the mean; only of several.
    """
    parts: list[dict[str, Tensor]] = []
    with limited_threads(threads):
        encoded = model.inputs.encode(examples)
        other = None
        if isinstance(model.inputs, TextInputs):
            other = dataclasses.replace(model.inputs, squeezed=not model.inputs.squeezed).encode(examples)
        device = device_of(model.module)
        for at in range(0, len(examples), _BATCH):
            rows = slice(at, at + _BATCH)
            versions = None if other is None else [to_dense(other, rows).to(device)]
            parts.append(_scores(model, to_dense(encoded, rows).to(device), versions))
    names = parts[0] if parts else {}
    return {name: torch.cat([part[name] for part in parts]).double().cpu().numpy() for name in names}


def _scores(model: TrainedModel, x: Tensor, versions: list[Tensor] | None = None) -> dict[str, Tensor]:
    """Return the scores of encoded rows, with their gradient."""
    module = model.module
    plain = torch.softmax(module(x), dim=1)
    versions = [squeezer(x) for squeezer in _squeezers(model)] if versions is None else versions
    gaps = [(torch.softmax(module(version), dim=1) - plain).abs().sum(1) for version in versions]
    scores = {"squeezed": torch.stack(gaps).amax(0)} if gaps else {}
    members = members_of(module)
    if len(members) > 1:
        seen = module[0](x) if isinstance(module, nn.Sequential) else x
        each = torch.stack([torch.softmax(member(seen), dim=1) for member in members])
        scores["members"] = (each - each.mean(0)).abs().sum(2).mean(0)
    return scores


def _squeezers(model: TrainedModel) -> list[Squeeze]:
    """Return what an input is compared with: rounded and smoothed images, rows rounded finely and coarsely."""
    epsilon, shape = model.config.epsilon or 0.0, model.inputs.shape
    if model.kind == "image":
        found = [Squeeze.of(("round",), epsilon, shape), Squeeze.of(("smooth",), epsilon, shape)]
    else:
        found = [Squeeze.of(("round",), epsilon * times, shape) for times in (1, 2)]
    return [one for one in found if one is not None]


def fit_detector(scores: dict[str, np.ndarray], rate: float) -> Detector:
    """Return limits that a share `rate` of clean inputs, whose `scores` these are, exceeds in any score.

    All limits lie at the same rank. `DataError` for fewer rows than `rate` can be told from, and for a model of which
    nothing can be compared.
    """
    if not scores:
        raise DataError(
            "the model has one member and a radius of 0, so there is nothing to compare its answers with; set epsilon "
            "or members in [retrain]"
        )
    table = np.stack(list(scores.values()), axis=1)
    n = len(table)
    allowed = int(rate * (n + 1))
    if allowed < 1:
        raise DataError(
            f"flagging {rate:g} of clean inputs takes {int(1 / rate)} trusted calibration rows, and there are {n}; "
            "enter more with `poison-guard trust`"
        )
    ordered = np.sort(table, axis=0)
    limits = ordered[-1]
    for rank in range(n - allowed, n):
        limits = ordered[rank]
        if (table > limits).any(axis=1).sum() < allowed:
            break
    return Detector(dict(zip(scores, map(float, limits), strict=True)), rate, n)


def evades(
    model: TrainedModel,
    detector: Detector,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    steps: int,
    generator: torch.Generator,
) -> np.ndarray:
    """Return which rows ``(n,)`` someone who knows the detector makes the model wrong about without being flagged.

    Signed steps up the margin of a wrong class, less the scores wherever they near their limits, from a start each of
    three weights of the two; every step counts.
    """
    space, found = model.inputs.space, torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for rows in torch.arange(len(x), device=x.device).split(_BATCH):
        part, truth = x[rows], y[rows]
        radius, mask = space.radius(part, epsilon), space.mask(part)
        for weight in _WEIGHTS:
            delta = space.inside(
                random_start(part, epsilon=epsilon, space=space, generator=generator), part, radius, mask
            )
            for _ in range(steps + 1):
                moved = (part + delta).detach().requires_grad_()
                loss, won = _evasion(model, detector, moved, truth, weight)
                found[rows] |= won
                (slope,) = torch.autograd.grad(loss, moved)
                delta = space.inside(delta + radius * (2.5 / steps) * space.ascend(slope), part, radius, mask)
    return found.cpu().numpy()


def _evasion(model: TrainedModel, detector: Detector, x: Tensor, y: Tensor, weight: float) -> tuple[Tensor, Any]:
    logits = model.module(x)
    own = logits.gather(1, y[:, None])[:, 0]
    lead = logits.scatter(1, y[:, None], -torch.inf).amax(1) - own
    scores = _scores(model, x)
    near = sum(torch.relu(scores[name] / max(limit, 1e-6) - 0.9) for name, limit in detector.limits.items())
    flagged = torch.stack([scores[name] > limit for name, limit in detector.limits.items()]).any(0)
    return (lead.clamp_max(5.0) - weight * near).sum(), (logits.argmax(1) != y) & ~flagged
