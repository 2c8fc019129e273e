"""Follow the gradient with steps that shrink where the loss stops growing: APGD, at any class or at one.

References: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
attacks" (2020).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from poison_guard.retrain.perturb import Space, random_start

__all__ = ["apgd"]

_MOMENTUM = 0.75
_GROWING = 0.75  # share of the steps since the last check that must have raised the loss
_FIRST_CHECK, _SOONER, _LEAST = 0.22, 0.03, 0.06  # of the steps
_TINY = 1e-12


def apgd(
    module: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    space: Space,
    steps: int,
    generator: torch.Generator,
    target: Tensor | None = None,
) -> Tensor:
    """Return the worst change of `x` ``(b, …)`` within `epsilon`: one that is misclassified, else of the largest loss.

    Without `target` the loss is the cross-entropy of `y` ``(b,)`` int64; with it ``(b,)`` the lead of that class over
    `y`, in units of the other logits, and a row counts as found once the model gives the target.
    """
    radius, mask = space.radius(x, epsilon), space.mask(x)
    start = random_start(x, epsilon=epsilon, space=space, generator=generator)
    delta = space.inside(start, x, radius, mask)
    loss, gradient, hit = _look(module, x + delta, y, target)
    found, worst = hit.clone(), x + delta
    best, best_loss, best_gradient = delta, loss, gradient
    step, before = 2 * radius, delta
    grew = torch.zeros_like(loss)
    last_step, last_best = step, best_loss
    checks, at = _checks(steps), 0
    for i in range(steps):
        ahead = space.inside(delta + step * space.ascend(gradient), x, radius, mask)
        share = _MOMENTUM if i else 1.0
        moved = delta + share * (ahead - delta) + (1 - share) * (delta - before)
        before, delta = delta, space.inside(moved, x, radius, mask)
        previous = loss
        loss, gradient, hit = _look(module, x + delta, y, target)
        grew += (loss > previous).to(grew.dtype)
        better = loss > best_loss
        keep = hit & ~found | better & (hit | ~found)
        worst = torch.where(_wide(keep, x), x + delta, worst)
        found |= hit
        best, best_gradient = (
            torch.where(_wide(better, x), delta, best),
            torch.where(_wide(better, x), gradient, best_gradient),
        )
        best_loss = torch.where(better, loss, best_loss)
        if i + 1 == checks[at] and i + 1 < steps:
            since = checks[at] - (checks[at - 1] if at else 0)
            stuck = (grew < _GROWING * since) | ((last_step == step).flatten() & (last_best == best_loss))
            last_step, last_best = step, best_loss
            step = torch.where(_wide(stuck, x), step / 2, step)
            delta, before = (torch.where(_wide(stuck, x), best, part) for part in (delta, before))
            gradient, loss = torch.where(_wide(stuck, x), best_gradient, gradient), torch.where(stuck, best_loss, loss)
            grew.zero_()
            at = min(at + 1, len(checks) - 1)
    return worst


def _checks(steps: int) -> list[int]:
    """Return after how many steps the step lengths are looked at."""
    shares = [0.0, _FIRST_CHECK]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - _SOONER, _LEAST))
    return sorted({max(1, math.ceil(share * steps)) for share in shares[1:]})


def _wide(rows: Tensor, x: Tensor) -> Tensor:
    return rows.reshape((-1,) + (1,) * (x.dim() - 1))


def _look(module: nn.Module, x: Tensor, y: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss of each row, its gradient, and whether the row is misclassified (as the target)."""
    x = x.detach().requires_grad_()
    logits = module(x)
    loss = functional.cross_entropy(logits, y, reduction="none") if target is None else _lead(logits, y, target)
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    given = logits.detach().argmax(1)
    return loss.detach(), gradient.detach(), given != y if target is None else given == target


def _lead(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    lead = logits.gather(1, target[:, None])[:, 0] - logits.gather(1, y[:, None])[:, 0]
    if logits.shape[1] < 4:
        return lead
    top = logits.sort(dim=1, descending=True).values
    return lead / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + _TINY)
