from __future__ import annotations

import numpy as np
import torch
from torch import nn

from poison_guard.retrain.edits import (
    few_pixels_or_cells,
    few_words,
    patch_places,
    salt_and_pepper,
    trained_patches,
    with_patch,
)
from poison_guard.retrain.perturb import Space

PIXELS = Space("linf", 0.0, 1.0)


class Counts(nn.Module):
    """Says class 1 when more than half of what counts is bright."""

    def __init__(self, size: int):
        super().__init__()
        self.weights = torch.linspace(0.1, 2.0, size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        level = (x.flatten(1) * self.weights).sum(1) - self.weights.sum() / 2
        return torch.stack([-level, level], dim=1)


def test_each_more_pixel_is_the_one_that_costs_most_and_no_other_changes():
    module, x = Counts(16), torch.zeros(3, 1, 4, 4)
    y = torch.zeros(3, dtype=torch.int64)
    for count, moved in few_pixels_or_cells(module, x, y, space=PIXELS, counts=(1, 3)):
        changed = (moved != x).flatten(1)
        assert changed.sum(1).tolist() == [count] * 3
        assert changed[:, -count:].all()  # the heaviest ones


def test_a_cell_takes_values_that_rows_have_and_one_that_cannot_change_stays():
    x = torch.from_numpy(np.random.default_rng(0).random((40, 4), dtype=np.float32))
    space = Space("linf", mutable=(True, True, True, False))
    ((_, moved),) = few_pixels_or_cells(Counts(4), x, torch.zeros(40, dtype=torch.int64), space=space, counts=(1,))
    assert torch.equal(moved[:, 3], x[:, 3])
    assert ((moved != x).sum(1) <= 1).all()
    assert moved.min() >= x.min()
    assert moved.max() <= x.max()


def test_the_word_that_the_class_needs_most_goes_first():
    def ask(texts: np.ndarray) -> np.ndarray:
        lead = np.array([2 * ("free" in text) + ("win" in text) for text in texts], dtype=float)
        return np.stack([-lead, lead], axis=1)

    texts = np.array(["win a free lunch", "free"], dtype=object)
    found = dict(few_words(ask, texts, np.array([1, 1]), (1, 3)))
    assert found[1].tolist() == ["win a lunch", "free"]
    assert "win" not in found[3][0]


def test_patches_cover_the_image_and_change_nothing_outside():
    x = torch.full((2, 1, 8, 8), 0.5)
    places = patch_places((1, 8, 8), 3, 3)
    covered = sum(with_patch(torch.zeros(1, 1, 8, 8), place, 3, 1.0) for place in places)
    assert (covered > 0).all()
    for moved in trained_patches(Counts(64), x, torch.zeros(2, dtype=torch.int64), [(1, 2)], 3, torch.Generator()):
        inside = with_patch(torch.zeros(1, 1, 8, 8), (1, 2), 3, 1.0) > 0
        assert torch.equal(moved[~inside.expand(2, -1, -1, -1)], x[~inside.expand(2, -1, -1, -1)])
        assert (moved[inside.expand(2, -1, -1, -1)] > 0.9).all()


def test_salt_and_pepper_hits_its_share_in_all_channels_alike():
    images = np.full((4, 3, 50, 50), 0.5, dtype=np.float32)
    out = salt_and_pepper(images, 0.05, seed=1)
    hit = (out != images).all(axis=1)
    assert abs(hit.mean() - 0.05) < 0.01
    assert ((out != images).any(axis=1) == hit).all()
    assert set(np.unique(out)) == {0.0, 0.5, 1.0}
