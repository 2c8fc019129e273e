"""Images of handwritten digits for the captcha world: how hard each is to read, and what people misread it as."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from poison_guard.drills.worlds.people import draw_ids

__all__ = ["Images", "draw_images"]


@dataclass(frozen=True, slots=True)
class Images:
    """Images and what is known of them, one row each."""

    ids: np.ndarray
    digits: np.ndarray
    error: np.ndarray
    """Chance that an average person errs, ``(n,)``."""
    confusion: np.ndarray
    """What they then answer, ``(n, 10)``, rows sum to 1, 0 at the truth."""
    control: np.ndarray
    pixels: np.ndarray
    """``(n, 64)`` uint8, 0 to 16."""


def draw_images(
    rng: np.random.Generator, *, out: int, control_share: float, easy: float, hardest: float
) -> tuple[Images, Images]:
    """Return scikit-learn's 1,797 digits shuffled and parted: those of a feed, and `out` others held out of it.

    How hard an image is to read follows from its distance to the digits' mean images: people err with chance `easy`,
    rising to `hardest` over the hardest fifth. Of the feed's images `control_share` are controls, of the others none.
    """
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    order = rng.permutation(len(digits))
    pixels, digits = pixels[order], digits[order]
    means = np.stack([pixels[digits == k].mean(0) for k in range(10)])
    away = ((pixels[:, None, :] - means) ** 2).sum(2)
    own = away[np.arange(len(digits)), digits]
    others = np.where(np.arange(10) == digits[:, None], np.inf, away)
    hard = np.argsort(np.argsort(own - others.min(1))) / len(digits)  # rank in [0, 1)
    rise = np.clip((hard - 0.8) / 0.2, 0, None) ** 2
    like = np.exp(-(others - others.min(1, keepdims=True)) / 150)
    control = np.zeros(len(digits), dtype=bool)
    kept = np.arange(out, len(digits))
    control[rng.choice(kept, size=round(len(kept) * control_share), replace=False)] = True
    drawn = Images(
        ids=draw_ids(rng, len(digits), "img-"),
        digits=digits,
        error=easy + (hardest - easy) * rise,
        confusion=like / like.sum(1, keepdims=True),
        control=control,
        pixels=pixels.astype(np.uint8),
    )
    return _rows(drawn, kept), _rows(drawn, np.arange(out))


def _rows(images: Images, at: np.ndarray) -> Images:
    return Images(
        images.ids[at], images.digits[at], images.error[at], images.confusion[at], images.control[at], images.pixels[at]
    )
