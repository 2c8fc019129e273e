"""Detect catastrophic overfitting of fast adversarial training: a model robust against one gradient step only.

References: Wong, Rice and Kolter, "Fast is better than free" (2020), section 5; Andriushchenko and Flammarion,
"Understanding and improving fast adversarial training" (2020).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from poison_guard.config.policies import RetrainConfig
from poison_guard.retrain.perturb import pgd
from poison_guard.retrain.training_state import TrainingData, TrainingState

__all__ = ["OverfittingWatch", "make_overfitting_watch", "watched_rows"]


_MAX_EXAMPLES = 256  # examples looked at
_STEPS = 8
_SHARE = 0.15  # of the work of an epoch that looking may add
_DROP = 0.2  # fall of the robust share from its best that is a collapse
_SLACK = 0.05  # fall at the end of the training from which the best weights are taken instead
_STRONGEST = 7  # gradient steps of the training's adversary after collapses


@dataclass(frozen=True, slots=True, eq=False)
class OverfittingWatch:
    """A small part of the examples that PGD attacks between epochs."""

    data: TrainingData
    every: int
    """Epochs between looks; the last epoch is always looked at."""

    def look(self, training: TrainingState, config: RetrainConfig) -> tuple[float | None, str]:
        """Return the robust share in [0, 1] (None: not looked at), and what was done about it, or nothing.

        ``collapsed``: the training goes on from its best weights with an adversary of more steps. ``restored``: it
        ended clearly below its best weights and was given them back.
        """
        last = training.epoch == config.epochs
        if not config.epsilon or (training.epoch % self.every and not last):
            return None, ""
        robust = self.robust(training, config)
        if robust >= training.best_robust:
            training.best, training.best_robust = training.weights(), robust
        if training.best is None or robust >= training.best_robust - (_SLACK if last else _DROP):
            return robust, ""
        training.module.load_state_dict(training.best)
        training.optimiser.state.clear()
        training.attack_steps = min(2 * training.attack_steps + 1, _STRONGEST)
        return robust, "restored" if last else "collapsed"

    def robust(self, training: TrainingState, config: RetrainConfig) -> float:
        """Return the share of the watched examples that stay right under PGD from one random start."""
        x, y, _ = self.data.batch(torch.arange(len(self.data.y)))
        generator = torch.Generator().manual_seed(config.seed)
        training.module.eval()
        epsilon = config.epsilon or 0.0
        space = self.data.space
        worst = pgd(training.module, x, y, epsilon=epsilon, space=space, steps=_STEPS, generator=generator)
        with torch.no_grad():
            return float((training.module(worst).argmax(1) == y).float().mean())


def make_overfitting_watch(data: TrainingData, trained: int) -> OverfittingWatch:
    """Return the watch over `data` for a training on `trained` examples, seldom enough to cost little."""
    work = len(data.y) * _STEPS / max(1.0, 2 * _SHARE * trained)
    return OverfittingWatch(data, max(1, math.ceil(work)))


def watched_rows(y: np.ndarray, seed: int) -> np.ndarray:
    """Return the positions of up to 256 examples, as many of each class as there are in turn; targets below 0 never."""
    order = np.random.default_rng(seed).permutation(len(y))
    order = order[y[order] >= 0]
    turn = np.zeros(len(order), dtype=np.int64)
    for label in np.unique(y[order]):
        mine = y[order] == label
        turn[mine] = np.arange(mine.sum())
    return order[np.argsort(turn, kind="stable")][:_MAX_EXAMPLES]
