"""Several models that answer as one: the mean or a vote, or a stack that hands on what it is not sure of.

A stack asks the first member alone, then the first two together, and so on, each where the one before it was not sure;
what all together are not sure of goes to a person.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from poison_guard.errors import DataError

__all__ = ["Ensemble", "members_of", "set_stack"]


class Ensemble(nn.Module):
    """`members`, each from ``(b, …)`` to logits ``(b, k)``; its own logits are the logs of probabilities."""

    sure: Tensor
    """``(n,)``: lead of the likeliest class over the next from which the first 1, 2, … members answer; below the last
    one an input is escalated. Above 1: those members never answer alone."""

    def __init__(self, members: Sequence[nn.Module], combine: str = "mean") -> None:
        super().__init__()
        self.members, self.combine = nn.ModuleList(members), combine
        self.register_buffer("sure", torch.tensor([2.0] * (len(members) - 1) + [0.0]))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(b, k)``, whoever answered; what is escalated has the answer of all members."""
        return self.answer(x)[0].clamp_min(1e-30).log()

    def answer(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities ``(b, k)`` and which rows ``(b,)`` bool are escalated."""
        left = torch.arange(len(x), device=x.device)
        rows: list[Tensor] = []
        parts: list[Tensor] = []
        escalated = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        total = votes = torch.zeros((), device=x.device)
        for i, member in enumerate(self.members):
            p = torch.softmax(member(x[left]), dim=1)
            total, votes = total + p, votes + torch.nn.functional.one_hot(p.argmax(1), p.shape[1])
            together = self._together(total, votes, i + 1)
            sure = _lead(together.detach()) >= self.sure[i]
            if i == len(self.members) - 1:
                escalated[left] = ~sure
                sure = torch.ones_like(sure)
            rows.append(left[sure])
            parts.append(together[sure])
            left, total, votes = left[~sure], total[~sure], votes[~sure]
        return torch.cat(parts)[torch.cat(rows).argsort()], escalated

    def _together(self, total: Tensor, votes: Tensor, n: int) -> Tensor:
        mean = total / n
        return (votes + mean) / (n + 1) if self.combine == "vote" else mean

    def each(self, x: Tensor) -> Tensor:
        """Return the probabilities of each member ``(n, b, k)``."""
        return torch.stack([torch.softmax(member(x), dim=1) for member in self.members])


def _lead(p: Tensor) -> Tensor:
    first = p.topk(2, dim=1).values
    return first[:, 0] - first[:, 1]


def members_of(module: nn.Module) -> list[nn.Module]:
    """Return the members of a saved model's module; of a single model itself, without what squeezes its inputs."""
    body = module[-1] if isinstance(module, nn.Sequential) and isinstance(module[-1], Ensemble) else module
    return list(body.members) if isinstance(body, Ensemble) else [body]


def set_stack(ensemble: Ensemble, x: Tensor, rate: float) -> None:
    """Set from which lead on each layer answers, from clean inputs `x` that no member learned from.

    All members together leave a share `rate` of such inputs to a person. Fewer answer where they lead by more than
    wherever they differed from all together, and by no less than all must. `DataError` for
    fewer rows than `rate` can be told from.
    """
    allowed = int(rate * (len(x) + 1))
    if allowed < 1:
        raise DataError(
            f"escalate = {rate:g} in [retrain] is set on trusted calibration rows that no training sees, and needs "
            f"{int(1 / rate)} of them, got {len(x)}; enter more with `poison-guard trust`"
        )
    each = ensemble.each(x)
    hard = torch.nn.functional.one_hot(each.argmax(2), each.shape[2])
    layers = [ensemble._together(each[: i + 1].sum(0), hard[: i + 1].sum(0), i + 1) for i in range(len(each))]
    given, leads = layers[-1].argmax(1), torch.stack([_lead(layer) for layer in layers])
    least = torch.zeros(len(layers))
    for i, layer in enumerate(layers[:-1]):
        other = leads[i][layer.argmax(1) != given]
        least[i] = other.max() + 1e-6 if len(other) else 0.0
    for limit in leads[-1].sort().values:  # nobody answers below the limit of all: at most `allowed` rows pass none
        sure = least.clamp_min(float(limit))
        if (leads < sure[:, None]).all(0).sum() >= allowed:
            break
        ensemble.sure.copy_(sure)
