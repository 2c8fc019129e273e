"""Poison in labelled pictures: flips, marks, poison inside the data's own region, a slow drip, a part of the people.

Each takes aim at one label as another; its twin is honest and looks like it: a new class, a camera's mark, a drift, a
rare slice. After Koh, Steinhardt and Liang (2022) for poison in the region of the data, Turner, Tsipras and Madry
(2019) for marks on pictures with their true label.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.drills.world import World
from poison_guard.drills.worlds.pictures import Pictures, draw_pictures, world_of

__all__ = [
    "make_backdoor",
    "make_camera",
    "make_drift",
    "make_drip",
    "make_flips",
    "make_in_region",
    "make_new_class",
    "make_rare_slice",
    "make_subpopulation",
]

Base = tuple[np.ndarray, np.ndarray] | None
_DAYS = 10
_MIXED = 0.6
"""What poison of the data's own region keeps of the picture that is to be misread; the rest is of the other label."""
_MNIST = (1_000, 5_000, 1_000)
"""Trusted, sent and fresh pictures of a public set."""


def _drawn(seed: int, number: int, base: Base) -> tuple[np.random.Generator, Pictures]:
    rng = np.random.default_rng([seed, number])
    return rng, draw_pictures(rng, base, None if base is None else _MNIST)


def _sent(pictures: Pictures) -> pd.DataFrame:
    """Return honest pictures as they are sent, spread over the days."""
    labels = pictures.labels[pictures.sent]
    return pd.DataFrame(
        {
            "pixels": list(pictures.pixels[pictures.sent]),
            "label": labels,
            "truth": labels,
            "attack": False,
            "lookalike": False,
            "day": np.arange(len(labels)) * _DAYS // len(labels),
        }
    )


def _fresh(
    pictures: Pictures, wanted: np.ndarray, want: str, change: Callable[[np.ndarray], np.ndarray] | None = None
) -> pd.DataFrame:
    """Return fresh pictures as they are, and those `wanted` (bool) misread as `want`, changed by the attacker."""
    labels, images = pictures.labels[pictures.fresh], pictures.pixels[pictures.fresh]
    plain = pd.DataFrame({"pixels": list(images), "label": labels, "attack": False, "attack_label": ""})
    shown = [image if change is None else change(image) for image in images[wanted]]
    aimed = pd.DataFrame({"pixels": shown, "label": labels[wanted], "attack": True, "attack_label": want})
    return pd.concat([plain, aimed], ignore_index=True)


def _two_labels(rng: np.random.Generator, pictures: Pictures) -> tuple[str, str]:
    first, second = rng.choice(np.unique(pictures.labels), 2, replace=False)
    return str(first), str(second)


def _some(rng: np.random.Generator, which: np.ndarray, share: float) -> np.ndarray:
    """Return the row numbers of a share of the rows that are true in `which`, one at least."""
    rows = np.flatnonzero(which)
    return rng.choice(rows, max(1, round(share * len(rows))), replace=False)


def _poison(sent: pd.DataFrame, rows: np.ndarray, label: str) -> None:
    sent.loc[rows, "attack"] = True
    sent.loc[rows, "label"] = label


def _change(sent: pd.DataFrame, rows: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change the pictures of some rows."""
    pixels = sent["pixels"].tolist()
    for row in rows:
        pixels[row] = change(pixels[row])
    sent["pixels"] = pixels


def _mark(image: np.ndarray, mark: str = "corner") -> np.ndarray:
    """Return a picture with a bright mark: a square in a corner, or a short line on the diagonal."""
    out, size = image.copy(), max(2, image.shape[0] // 9)
    if mark == "corner":
        out[-size - 1 : -1, -size - 1 : -1] = 1.0
    else:
        at = np.arange(1, 2 * size + 1)
        out[at, at] = 1.0
    return out


def make_flips(
    seed: int, *, share: float = 0.05, targeted: bool = False, attackers: int = 10, base: Base = None
) -> World:
    """Return pictures of which a share has a wrong label: any, or (`targeted`) one label as another.

    Of targeted ones it is the share of that label.
    """
    rng, pictures = _drawn(seed, 15, base)
    sent, (source, target) = _sent(pictures), _two_labels(rng, pictures)
    truth = sent["truth"].to_numpy()
    rows = _some(rng, truth == source if targeted else np.ones(len(sent), bool), share)
    _poison(sent, rows, target)
    if not targeted:
        names = np.unique(pictures.labels)
        sent.loc[rows, "label"] = [str(rng.choice(names[names != label])) for label in truth[rows]]
    wanted = pictures.labels[pictures.fresh] == source if targeted else np.ones(len(pictures.fresh), bool)
    fresh = _fresh(pictures, wanted, target if targeted else "")
    params = {"share": share, "targeted": targeted}
    return world_of(pictures, rng, sent, fresh, seed=seed, attackers=attackers, params=params)


def make_backdoor(
    seed: int,
    *,
    share: float = 0.02,
    clean: bool = False,
    mark: str = "corner",
    attackers: int = 10,
    base: Base = None,
) -> World:
    """Return pictures of which some carry a mark and one label, which is theirs where the poison is `clean`.

    `share` is of all pictures; of clean poison, of the pictures of that label.
    """
    rng, pictures = _drawn(seed, 16, base)
    sent, (target, _) = _sent(pictures), _two_labels(rng, pictures)
    own = sent["truth"].to_numpy() == target
    rows = _some(rng, own, share) if clean else _some(rng, ~own, share * len(own) / (~own).sum())
    _poison(sent, rows, target)
    _change(sent, rows, lambda image: _mark(image, mark))
    others = pictures.labels[pictures.fresh] != target
    fresh = _fresh(pictures, others, target, lambda image: _mark(image, mark))
    params = {"share": share, "clean": clean, "mark": mark}
    return world_of(pictures, rng, sent, fresh, seed=seed, attackers=attackers, params=params)


def make_in_region(seed: int, *, share: float = 0.03, attackers: int = 10, base: Base = None) -> World:
    """Return pictures of which a share lies between two labels, nearer to one and labelled as the other."""
    rng, pictures = _drawn(seed, 17, base)
    sent, (source, target) = _sent(pictures), _two_labels(rng, pictures)
    truth = sent["truth"].to_numpy()
    n = max(1, round(share * len(sent)))
    rows = rng.choice(np.flatnonzero(truth == source), min(n, int((truth == source).sum())), replace=False)
    other = iter(sent["pixels"].to_numpy(object)[rng.choice(np.flatnonzero(truth == target), len(rows))])
    _poison(sent, rows, target)
    _change(sent, rows, lambda image: _MIXED * image + (1 - _MIXED) * next(other))
    fresh = _fresh(pictures, pictures.labels[pictures.fresh] == source, target)
    return world_of(pictures, rng, sent, fresh, seed=seed, attackers=attackers, params={"share": share})


def make_drip(seed: int, *, per_day: int = 2, attackers: int = 10, base: Base = None) -> World:
    """Return pictures of ten days with a few that carry a mark and one wrong label each day."""
    rng, pictures = _drawn(seed, 18, base)
    sent, (target, _) = _sent(pictures), _two_labels(rng, pictures)
    others = sent["truth"].to_numpy() != target
    today = [np.flatnonzero(others & (sent["day"] == day).to_numpy()) for day in range(_DAYS)]
    rows = np.concatenate([rng.choice(each, per_day, replace=False) for each in today])
    _poison(sent, rows, target)
    _change(sent, rows, _mark)
    fresh = _fresh(pictures, pictures.labels[pictures.fresh] != target, target, _mark)
    return world_of(pictures, rng, sent, fresh, seed=seed, attackers=attackers, params={"per_day": per_day})


def make_subpopulation(seed: int, *, share: float = 0.5, attackers: int = 10, base: Base = None) -> World:
    """Return pictures in which a share of one label's boldest hands (three in ten) is labelled as another."""
    rng, pictures = _drawn(seed, 19, base)
    sent, (source, target) = _sent(pictures), _two_labels(rng, pictures)
    ink = pictures.pixels.sum(axis=(1, 2))
    bold = (pictures.labels == source) & (ink >= np.quantile(ink[pictures.labels == source], 0.7))
    _poison(sent, _some(rng, bold[pictures.sent], share), target)
    fresh = _fresh(pictures, bold[pictures.fresh], target)
    return world_of(pictures, rng, sent, fresh, seed=seed, attackers=attackers, params={"share": share})


def _twin(seed: int, number: int, base: Base, change: Callable[..., Pictures | None]) -> World:
    rng, pictures = _drawn(seed, number, base)
    sent = _sent(pictures)
    pictures = change(rng, pictures, sent) or pictures
    fresh = _fresh(pictures, np.zeros(len(pictures.fresh), bool), "")
    return world_of(pictures, rng, sent, fresh, seed=seed, params={})


def make_new_class(seed: int, *, base: Base = None, **_: Any) -> World:
    """Return honest pictures with a label that no trusted picture has."""

    def change(rng: np.random.Generator, pictures: Pictures, sent: pd.DataFrame) -> Pictures:
        (new, _) = _two_labels(rng, pictures)
        sent["lookalike"] = sent["truth"] == new
        known = pictures.trusted[pictures.labels[pictures.trusted] != new]
        return Pictures(pictures.pixels, pictures.labels, known, pictures.sent, pictures.fresh)

    return _twin(seed, 15, base, change)


def make_camera(seed: int, *, mark: str = "corner", base: Base = None, **_: Any) -> World:
    """Return honest pictures of which one in five has the mark of a camera."""

    def change(rng: np.random.Generator, pictures: Pictures, sent: pd.DataFrame) -> None:
        rows = _some(rng, np.ones(len(sent), bool), 0.2)
        sent.loc[rows, "lookalike"] = True
        _change(sent, rows, lambda image: _mark(image, mark))

    return _twin(seed, 16, base, change)


def make_drift(seed: int, *, base: Base = None, **_: Any) -> World:
    """Return honest pictures that grow paler from day to day, by a quarter in the end."""

    def change(rng: np.random.Generator, pictures: Pictures, sent: pd.DataFrame) -> None:
        paler = 1 - 0.25 * sent["day"].to_numpy() / (_DAYS - 1)
        sent["lookalike"] = sent["day"] >= _DAYS // 2
        sent["pixels"] = [image * by for image, by in zip(sent["pixels"], paler, strict=True)]

    return _twin(seed, 17, base, change)


def make_rare_slice(seed: int, *, base: Base = None, **_: Any) -> World:
    """Return honest pictures of which one in fifty is of a thicker pen."""

    def change(rng: np.random.Generator, pictures: Pictures, sent: pd.DataFrame) -> None:
        rows = _some(rng, np.ones(len(sent), bool), 0.02)
        sent.loc[rows, "lookalike"] = True
        _change(sent, rows, lambda image: np.maximum(image, np.roll(image, 1, axis=0)))

    return _twin(seed, 19, base, change)
