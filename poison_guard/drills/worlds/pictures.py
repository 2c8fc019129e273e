"""World *pictures*: people send handwritten digits with a label each; what attacks on labels and models are made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.drills.world import Origin, World

__all__ = ["Pictures", "draw_pictures", "own_digits", "world_of"]

COLUMNS = {"record_id": "picture_id", "source_id": "sender", "label": "digit", "image": "pixels"}
_SENDERS = 60
_SHARES = (0.4, 0.43)
"""Shares that are trusted and that are sent, where all pictures there are must do; models are judged on the rest."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Grey square pictures with their true labels, parted: trusted ones, those that are sent, fresh ones."""

    pixels: np.ndarray
    """``(n, side, side)`` float64 in [0, 1]."""
    labels: np.ndarray
    """``(n,)`` of str: the truth."""
    trusted: np.ndarray
    """Row numbers; so are `sent` and `fresh`."""
    sent: np.ndarray
    fresh: np.ndarray

    @property
    def side(self) -> int:
        """Pixels a side."""
        return self.pixels.shape[1]


def own_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's 1,797 digits of 8 x 8 pixels in [0, 1], and their labels as text."""
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    return pixels.reshape(-1, 8, 8) / 16, digits.astype(str)


def draw_pictures(
    rng: np.random.Generator, base: tuple[np.ndarray, np.ndarray] | None, sizes: tuple[int, int, int] | None = None
) -> Pictures:
    """Return `base` (pixels and labels; scikit-learn's digits without it), shuffled and parted.

    `sizes`: how many are trusted, sent and fresh; without them by shares.
    """
    pixels, labels = own_digits() if base is None else base
    order = rng.permutation(len(labels))
    n_trusted, n_sent, n_fresh = sizes or (*(int(share * len(order)) for share in _SHARES), len(order))
    ends = np.cumsum([n_trusted, n_sent, n_fresh])
    return Pictures(pixels, labels, *np.split(order, ends)[:3])


def world_of(
    pictures: Pictures,
    rng: np.random.Generator,
    sent: pd.DataFrame,
    fresh: pd.DataFrame,
    *,
    seed: int,
    attackers: int = 0,
    params: Mapping[str, Any],
) -> World:
    """Return the world of what is `sent` and `fresh`.

    `sent`: ``pixels`` (arrays), ``label`` as sent, ``truth``, ``attack`` and ``lookalike`` (bool), ``day``. `fresh`:
    ``pixels``, ``label`` (the truth), ``attack``, ``attack_label`` (as what the attacker wants it read; empty: as
    anything else). Attack rows come from `attackers` accounts of their own.
    """
    n = len(sent)
    sender = np.array([f"s{k:03d}" for k in rng.integers(0, _SENDERS, n)], dtype=object)
    attack = sent["attack"].to_numpy(bool)
    if attackers:
        sender[attack] = [f"s{_SENDERS + k % attackers:03d}" for k in range(int(attack.sum()))]
    ids = pd.Series([f"p{k:06d}" for k in range(n)], dtype="str")
    trusted = pd.DataFrame(
        {
            "picture_id": [f"t{k:06d}" for k in range(len(pictures.trusted))],
            "sender": [f"v{k % 5}" for k in range(len(pictures.trusted))],
            "digit": pictures.labels[pictures.trusted],
            "pixels": [_cell(image) for image in pictures.pixels[pictures.trusted]],
        }
    )
    origin = np.where(attack, str(Origin.POISON), str(Origin.HONEST))
    truth = pd.DataFrame({"record_id": ids, "origin": origin, "attack": attack, "honest": ~attack})
    truth = truth.assign(label=sent["truth"].to_numpy(), lookalike=sent["lookalike"].to_numpy(bool))
    senders = pd.DataFrame({"source_id": sender, "honest": ~attack}).groupby("source_id")["honest"].all().reset_index()
    cells = [_cell(image) for image in sent["pixels"]]
    return World(
        name="pictures",
        seed=seed,
        columns=COLUMNS,
        features=(),
        records=pd.DataFrame({"picture_id": ids, "sender": sender, "digit": sent["label"].to_numpy(), "pixels": cells}),
        truth=truth.assign(day=sent["day"].to_numpy()),
        source_truth=senders,
        trusted=trusted,
        fresh=fresh.assign(pixels=[_cell(image) for image in fresh["pixels"]]),
        params=dict(params),
    )


def _cell(image: np.ndarray) -> str:
    return json.dumps(np.rint(255 * image).astype(int).ravel().tolist())
