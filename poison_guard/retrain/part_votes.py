"""Parts that vote: the module of a model that is trained apart for each cohort of sources."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Parts"]

_WIDTH = 1024  # random features: what a thousand trusted examples can weigh


class Parts(nn.Module):
    """`parts` linear answers on the same random features, and one of trusted examples alone, which does not vote."""

    directions: Tensor
    """``(d, width)``."""
    shift: Tensor
    weights: Tensor
    """``(parts + 1, width + 1, k)``, the last of trusted examples alone."""

    def __init__(self, parts: int, d: int, n_classes: int) -> None:
        super().__init__()
        self.width = _WIDTH
        self.register_buffer("directions", torch.zeros(d, _WIDTH))
        self.register_buffer("shift", torch.zeros(_WIDTH))
        self.register_buffer("weights", torch.zeros(parts + 1, _WIDTH + 1, n_classes))

    def draw(self, trusted: Tensor) -> None:
        """Draw the directions, by torch's seed, along which `trusted` inputs ``(m, …)`` vary by one."""
        self.directions.normal_()
        along = trusted.flatten(1) @ self.directions
        self.directions.div_(along.std(dim=0).clamp_min(1e-6))
        self.shift.uniform_(-1.0, 1.0).sub_((along / along.std(dim=0).clamp_min(1e-6)).mean(dim=0))

    def features(self, x: Tensor) -> Tensor:
        """Return ``(b, width + 1)`` of inputs ``(b, …)``."""
        z = torch.relu(x.flatten(1) @ self.directions + self.shift)
        return torch.cat([z, torch.ones_like(z[:, :1])], dim=1)

    def scores(self, x: Tensor) -> Tensor:
        """Return what each part and the trusted examples alone say ``(parts + 1, b, k)``."""
        return torch.einsum("bf,pfk->pbk", self.features(x), self.weights)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(b, k)``: the mean of the parts, and the winner of the run-off first.

        Votes have no gradient: attacks follow that of the mean.
        """
        scores = self.scores(x)[:-1]
        mean = scores.mean(dim=0)
        k = mean.shape[1]
        votes = torch.nn.functional.one_hot(scores.argmax(2), k).sum(dim=0)
        # the lower class of equal ones, as in argsort of counts
        pair = votes.sub(torch.arange(k, device=x.device) / (2 * k)).topk(2, dim=1).indices.sort(dim=1).values
        first, second = (scores.gather(2, pair[None, :, side : side + 1].expand(len(scores), -1, 1)) for side in (0, 1))
        ahead = (first >= second).sum(dim=0).squeeze(1) * 2 >= len(scores)
        winner = torch.where(ahead, pair[:, 0], pair[:, 1])[:, None]
        lead = (mean.max(dim=1, keepdim=True).values - mean.gather(1, winner)).detach() + 1e-3
        return _SHARPNESS * mean.scatter_add(1, winner, lead)


_SHARPNESS = 6.0  # regressions say some 0 to 1: a softmax of them would be sure of nothing
