"""Split-conformal p-values: how an unseen score ranks among those of trusted records that nothing was fitted on."""

from __future__ import annotations

import numpy as np

__all__ = ["attainable_p", "conformal_p", "rows_needed"]


def conformal_p(calibration: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return p-values ``(n,)`` in (0, 1] of `scores` (larger = stranger) against `calibration` scores ``(m,)``.

    ``p = (1 + #{calibration >= score}) / (m + 1)``. Ties count against suspicion, so for exchangeable records
    ``P(p <= q) <= q`` at every q whatever the ties. With ``m = 0`` every p is 1.

    References: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World" (2005); Bates, Candès, Lei, Romano
    and Sesia, "Testing for outliers with conformal p-values" (2023).

    >>> conformal_p(np.array([0.0, 1.0, 1.0, 2.0]), np.array([-1.0, 1.0, 9.0])).tolist()
    [1.0, 0.8, 0.2]
    """
    ordered = np.sort(np.asarray(calibration, dtype=np.float64))
    below = np.searchsorted(ordered, np.asarray(scores, dtype=np.float64), side="left")
    return (1.0 + len(ordered) - below) / (len(ordered) + 1.0)


def attainable_p(rows: int) -> float:
    """Return the smallest p-value that `rows` calibration rows can give."""
    return 1.0 / (rows + 1)


def rows_needed(rate: float) -> int:
    """Return the least number of calibration rows with which a p-value can be as small as `rate`, in (0, 1).

    >>> rows_needed(0.01)
    99
    """
    return max(1, int(np.ceil(1.0 / rate - 1e-9)) - 1)
