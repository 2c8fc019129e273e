"""A model that lying cohorts cannot turn: each is hashed to one part, the trusted set is in all, and parts vote.

A part is a ridge regression on random features. Whoever writes all examples of m cohorts changes m parts at most, so an
answer whose lead in votes is larger is certified, whatever they write. Nothing that parts share depends on the cohorts:
inputs are scaled by trusted examples, and the directions are drawn from a seed.

References: Levine and Feizi, "Deep partition aggregation" (2021); Rezaei et al., "Run-off election: improved provable
defense against data poisoning attacks" (2023); Rahimi and Recht, "Random features for large-scale kernel machines"
(2007).
"""

from __future__ import annotations

import hashlib
import math
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from poison_guard.config.policies import RetrainConfig
from poison_guard.errors import DataError
from poison_guard.numerics.tensors import limited_threads
from poison_guard.records import Examples
from poison_guard.retrain.inputs import Inputs, fit_inputs, to_dense
from poison_guard.retrain.models import fill_defaults
from poison_guard.retrain.part_votes import Parts
from poison_guard.retrain.trained_model import TrainedModel, device_of

__all__ = ["certificate", "certified_cohorts", "part_of", "train_parts"]

_RIDGE = 0.01  # of the mean square of a feature, an example
_ROWS = 4096  # rows at a time
_TOLD = (1, 2, 5, 10, 20, 50)  # lying cohorts that are told of


def part_of(cohort: str, parts: int) -> int:
    """Return the part that a cohort is in, for ever."""
    return int.from_bytes(hashlib.blake2b(cohort.encode("utf-8", "surrogatepass"), digest_size=8).digest()) % parts


def train_parts(examples: Examples, cohorts: np.ndarray, trusted: Examples, config: RetrainConfig) -> TrainedModel:
    """Return the model of `examples` by `cohorts` ``(n,)`` of str and of `trusted` ones, which are in every part.

    The labels are those of the trusted examples: whoever invents another one could else make a class. `DataError` for
    fewer than two of them.
    """
    cpu, wall = time.process_time(), time.perf_counter()
    classes = tuple(sorted(set(trusted.frame["label"].astype(str))))
    if len(classes) < 2:
        raise DataError(f"parts in [retrain] need trusted examples of two labels, got {len(classes)}; enter more")
    settled = fill_defaults(config, trusted)
    with limited_threads(1), torch.inference_mode(False), torch.random.fork_rng(), torch.no_grad():
        inputs = fit_inputs(trusted, settled.mutable)
        torch.manual_seed(settled.seed)
        module = Parts(settled.parts, math.prod(inputs.shape), len(classes))
        module.draw(to_dense(inputs.encode(trusted.take(np.arange(min(_ROWS, len(trusted))))), slice(None)))
        core = _sums(module, inputs, trusted, classes)
        module.weights[-1] = _solve(*core)
        place = np.array([part_of(name, settled.parts) for name in cohorts], dtype=np.int64)
        for part in range(settled.parts):
            mine = _sums(module, inputs, examples.take(np.flatnonzero(place == part)), classes)
            module.weights[part] = _solve(*(a + b for a, b in zip(core, mine, strict=True)))
    cost = {"epochs": 0, "examples": len(examples), "parts": settled.parts, "cohorts": len(set(cohorts.tolist()))}
    cost |= {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    module = module.eval().requires_grad_(False)
    return TrainedModel(trusted.kind, classes, settled, inputs, module, (), cost, settled.seed)


def _sums(module: Parts, inputs: Inputs, examples: Examples, classes: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Return the Gram matrix of the features and their products with the labels, float64; of unknown labels none."""
    width, k = module.width + 1, len(classes)
    gram, image = torch.zeros(width, width, dtype=torch.float64), torch.zeros(width, k, dtype=torch.float64)
    if not len(examples):
        return gram, image
    at = {label: i for i, label in enumerate(classes)}
    y = np.array([at.get(label, -1) for label in examples.frame["label"].astype(str)], dtype=np.int64)
    known = np.flatnonzero(y >= 0)
    encoded = inputs.encode(examples)
    for start in range(0, len(known), _ROWS):
        rows = known[start : start + _ROWS]
        z = module.features(to_dense(encoded, torch.from_numpy(rows))).double()
        wanted = torch.nn.functional.one_hot(torch.from_numpy(y[rows]), k).double()
        gram += z.T @ z
        image += z.T @ wanted
    return gram, image


def _solve(gram: Tensor, image: Tensor) -> Tensor:
    """Return the ridge weights ``(width, k)`` float32."""
    ridge = _RIDGE * gram.diagonal().mean().clamp_min(1e-9)
    return torch.linalg.solve(gram + ridge * torch.eye(len(gram), dtype=gram.dtype), image).float()


def certified_cohorts(scores: np.ndarray) -> np.ndarray:
    """Return ``(n,)`` how many cohorts may lie at will without moving the answer by the parts' `scores` ``(k, n, c)``.

    -1 where the answer rests on how a tie is broken. A vote moved changes a lead by two; the answer stays where it
    keeps its place among the first two, and beats whoever can get there.
    """
    votes = np.eye(scores.shape[2], dtype=np.int64)[scores.argmax(axis=2)].sum(axis=0)
    answers = _elected(scores, votes)
    return np.array([_needed(scores[:, i], votes[i], answers[i]) - 1 for i in range(len(answers))])


def _elected(scores: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Return the winner ``(n,)`` of the run-off between the two with most votes, the lower class of equal ones."""
    pair = np.sort(np.argsort(-votes, axis=1, kind="stable")[:, :2], axis=1)
    rows = np.arange(len(pair))
    first, second = (scores[:, rows, pair[:, side]] for side in (0, 1))
    return np.where((first >= second).sum(axis=0) * 2 >= len(scores), pair[:, 0], pair[:, 1])


def _needed(scores: np.ndarray, votes: np.ndarray, answer: int) -> int:
    """Return a lower bound of the parts of `scores` ``(k, c)`` that must change for another answer."""
    others = [c for c in range(len(votes)) if c != answer]
    second = max(votes[c] for c in others)
    gaps = sorted(votes[answer] - votes[c] for c in others)[:2]
    # out of the first two, when two others have as many votes: a moved vote takes three off both leads together
    least = max(-(-max(gaps) // 2), -(-sum(gaps) // 3), 0) if len(gaps) == 2 else len(scores)
    for c in others:
        lead = int((scores[:, answer] > scores[:, c]).sum()) * 2 - len(scores)
        least = min(least, max(-(-(second - votes[c]) // 2), -(-lead // 2), 0))
    return int(least)


def certificate(model: TrainedModel, examples: Examples) -> dict[str, Any]:
    """Return what lying cohorts can take from a model of parts, on `examples` it never saw.

    ``parts, n, right, alone`` (right by trusted examples without any cohort), and ``certified``: by number of lying
    cohorts how many are right whatever these write.
    """
    module = model.module
    if not isinstance(module, Parts):
        return {}
    with torch.inference_mode():
        x = to_dense(model.inputs.encode(examples), slice(None)).to(device_of(module))
        every = module.scores(x).cpu().numpy()
    targets = model.targets(examples.frame["label"].astype(str))
    scores = every[:-1]
    votes = np.eye(scores.shape[2], dtype=np.int64)[scores.argmax(axis=2)].sum(axis=0)
    right = _elected(scores, votes) == targets
    radius = certified_cohorts(scores)
    return {
        "parts": len(scores),
        "n": len(targets),
        "right": int(right.sum()),
        "alone": int((every[-1].argmax(axis=1) == targets).sum()),
        "certified": {str(m): int((right & (radius >= m)).sum()) for m in _TOLD if m <= len(scores) // 2},
    }
