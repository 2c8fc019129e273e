from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from poison_guard.records import Examples

_GOOD, _BAD = ("soup", "cat", "lake", "garden", "poem", "tea"), ("fool", "clown", "weasel", "leech", "crook", "nitwit")


def _inputs(kind: str, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if kind == "table":
        cells = rng.standard_normal((len(y), 3)) + 3.0 * y[:, None]
        cells[rng.random(cells.shape) < 0.05] = np.nan
        return cells
    if kind == "image":
        pixels = rng.uniform(0, 0.3, (len(y), 1, 6, 6)).astype(np.float32)
        pixels[y == 1, :, :, :3] += 0.7
        return pixels
    words = [rng.choice(_BAD if label else _GOOD, 4) for label in y]
    return np.array([f"you {' '.join(some)} today" for some in words], dtype=object)


@pytest.fixture
def small() -> Callable[..., Examples]:
    def make(kind: str, n: int = 120, seed: int = 0, share: float = 0.5) -> Examples:
        rng = np.random.default_rng(seed)
        y = (rng.random(n) < share).astype(int)
        frame = pd.DataFrame({"example_id": [f"e{i:05d}" for i in range(n)], "label": np.where(y, "bad", "fine")})
        features = ("a", "b", "c") if kind == "table" else ()
        return Examples(kind, frame.assign(slice="", is_new=True), _inputs(kind, y, rng), features)

    return make
