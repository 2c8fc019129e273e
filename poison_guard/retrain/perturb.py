"""Adversarial inputs within a radius: one signed-gradient step with a random start, and many with restarts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Space", "divergent", "fgsm", "pgd", "random_start"]

_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Space:
    """What an adversary may change of an input row and how far is measured."""

    norm: str
    """``linf``: each coordinate up to the radius; ``l2``: up to the radius times the row's own length."""
    low: float = -math.inf
    high: float = math.inf
    """Range that changed inputs stay in."""
    mutable: tuple[bool, ...] | None = None
    """Which columns can change, for rows ``(b, d)``; None: all of the input."""
    flags: int = 0
    """Columns at the end that say which of the first ones are missing: never changed, and neither is a missing cell."""

    def mask(self, x: Tensor) -> Tensor | None:
        """Return a 0/1 tensor shaped like `x`, 1 where it may change; None when all of it may."""
        if self.mutable is None:
            return None
        mask = torch.tensor(self.mutable, dtype=x.dtype, device=x.device).expand(x.shape[0], -1).clone()
        if self.flags:
            mask[:, : self.flags] *= 1 - x[:, -self.flags :]
        return mask

    def radius(self, x: Tensor, epsilon: float) -> Tensor:
        """Return how far each row may move: shape ``(b, 1, …)``."""
        shape = (-1,) + (1,) * (x.dim() - 1)
        if self.norm == "l2":
            return epsilon * x.flatten(1).norm(dim=1).reshape(shape)
        return torch.full((x.shape[0],), epsilon, dtype=x.dtype, device=x.device).reshape(shape)

    def inside(self, delta: Tensor, x: Tensor, radius: Tensor, mask: Tensor | None) -> Tensor:
        """Return `delta` brought back into the radius, the mutable cells and the range of inputs around `x`."""
        if mask is not None:
            delta = delta * mask
        if self.norm == "l2":
            length = delta.flatten(1).norm(dim=1).reshape(radius.shape)
            delta = delta * (radius / length.clamp_min(_TINY)).clamp_max(1.0)
        else:
            delta = torch.minimum(torch.maximum(delta, -radius), radius)
        if math.isfinite(self.low) or math.isfinite(self.high):
            delta = (x + delta).clamp(self.low, self.high) - x
        return delta

    def ascend(self, gradient: Tensor) -> Tensor:
        """Return the direction of one step: the sign of the gradient, or the gradient at length 1."""
        if self.norm == "l2":
            shape = (-1,) + (1,) * (gradient.dim() - 1)
            return gradient / gradient.flatten(1).norm(dim=1).clamp_min(_TINY).reshape(shape)
        return gradient.sign()


def random_start(x: Tensor, *, epsilon: float, space: Space, generator: torch.Generator) -> Tensor:
    """Return a random change of the mutable cells of `x` ``(b, …)`` within the radius, maybe past the range of inputs.

    Drawn on the CPU so that devices agree. No change for ``l2``: in thousands of dimensions a random direction changes
    no output.
    """
    if space.norm == "l2":
        return torch.zeros_like(x)
    noise = (2 * torch.rand(x.shape, generator=generator) - 1).to(x.device) * epsilon
    mask = space.mask(x)
    return noise if mask is None else noise * mask


def fgsm(
    module: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    space: Space,
    generator: torch.Generator | None = None,
    start: Tensor | None = None,
    step: float = 1.25,
) -> Tensor:
    """Return `x` ``(b, …)`` changed by one gradient step of `step` radii against the labels `y` ``(b,)`` int64.

    The step begins at the change `start`; without it at a random one drawn from `generator`, which may lie past the
    range of inputs; without both at `x` itself, and `step` should be 1. The result lies within `epsilon` of `x`, in
    `space`, and carries no gradient.

    References: Goodfellow, Shlens and Szegedy, "Explaining and harnessing adversarial examples" (2015); Wong, Rice and
    Kolter, "Fast is better than free" (2020), for the random start.
    """
    if start is None:
        start = torch.zeros_like(x)
        if generator is not None:
            start = random_start(x, epsilon=epsilon, space=space, generator=generator)
    gradient, _ = _gradient(module, x + start, y, margin=False)
    radius = space.radius(x, epsilon)
    return x + space.inside(start + step * radius * space.ascend(gradient), x, radius, space.mask(x))


def pgd(
    module: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    space: Space,
    steps: int,
    generator: torch.Generator,
    step: float | None = None,
    restarts: int = 1,
) -> Tensor:
    """Return the worst change of `x` ``(b, …)`` on `steps` projected gradient steps from each of `restarts` starts.

    `step` is the length of one step in units of the input (for ``l2`` as a share of the row's length); default
    ``2.5 epsilon / steps``. Worst is misclassified, then the largest loss, so that the result is never kinder than `x`.
    Every second restart climbs the margin instead of the cross-entropy, whose gradient vanishes for sure predictions.

    References: Madry et al. (2018); Carlini and Wagner, "Towards evaluating the robustness of neural networks" (2017),
    for the margin.
    """
    radius, mask = space.radius(x, epsilon), space.mask(x)
    length = radius * ((step if step is not None else 2.5 * epsilon / steps) / epsilon) if epsilon else radius
    with torch.no_grad():
        worst, score = x.clone(), _harm(module(x), y)
    for restart in range(restarts if epsilon else 0):
        start = random_start(x, epsilon=epsilon, space=space, generator=generator)
        delta = space.inside(start, x, radius, mask)
        for _ in range(steps):
            gradient, logits = _gradient(module, x + delta, y, margin=restart % 2 == 1)
            _keep_worst(worst, score, x + delta, _harm(logits, y))
            delta = space.inside(delta + length * space.ascend(gradient), x, radius, mask)
        with torch.no_grad():
            _keep_worst(worst, score, x + delta, _harm(module(x + delta), y))
    return worst


def divergent(
    module: nn.Module, x: Tensor, *, epsilon: float, space: Space, steps: int, generator: torch.Generator
) -> Tensor:
    """Return `x` ``(b, …)`` moved within `epsilon` to where the answer differs most from that for `x`, by divergence.

    References: Zhang et al., "Theoretically principled trade-off between robustness and accuracy" (2019, TRADES).
    """
    radius, mask = space.radius(x, epsilon), space.mask(x)
    with torch.no_grad():
        before = torch.softmax(module(x), dim=1)
    start = 1e-3 * torch.randn(x.shape, generator=generator).to(x.device)
    delta = space.inside(start, x, radius, mask)
    for _ in range(steps):
        moved = (x + delta).detach().requires_grad_()
        loss = functional.kl_div(functional.log_softmax(module(moved), dim=1), before, reduction="sum")
        (slope,) = torch.autograd.grad(loss, moved)
        delta = space.inside(delta + radius * (2.5 / steps) * space.ascend(slope), x, radius, mask)
    return (x + delta).detach()


def _gradient(module: nn.Module, x: Tensor, y: Tensor, *, margin: bool) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    logits = module(x)
    loss = _margin(logits, y).sum() if margin else functional.cross_entropy(logits, y, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, x)
    return gradient.detach(), logits.detach()


def _margin(logits: Tensor, y: Tensor) -> Tensor:
    own = logits.gather(1, y[:, None])[:, 0]
    others = logits.scatter(1, y[:, None], -math.inf).amax(1)
    return others - own


def _harm(logits: Tensor, y: Tensor) -> Tensor:
    """Return how bad each row is ``(b,)``: its loss, and more than any loss where it is misclassified."""
    wrong = logits.argmax(1) != y
    return functional.cross_entropy(logits, y, reduction="none") + wrong * 1e6


def _keep_worst(worst: Tensor, score: Tensor, x: Tensor, harm: Tensor) -> None:
    worse = harm > score
    worst[worse] = x[worse]
    score[worse] = harm[worse]
