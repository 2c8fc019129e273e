from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from poison_guard.config.policies import MODELS as NAMES
from poison_guard.config.policies import RetrainConfig
from poison_guard.errors import ConfigError, DataError
from poison_guard.retrain.models import MODELS, build_module, fill_defaults


def test_the_contract_and_the_room_name_the_same_models():
    assert tuple(MODELS) == NAMES


def test_every_default_is_filled_in_and_what_was_said_stays(small):
    for kind in ("image", "table", "text"):
        settled = fill_defaults(RetrainConfig(), small(kind))
        assert None not in dataclasses.astuple(settled)
    said = RetrainConfig(None, 3, 7, 0.5, 0.0, pixel_max=1.0, mutable=(), seed=4)
    settled = fill_defaults(said, small("table"))
    assert dataclasses.replace(settled, model=None) == said


def test_the_radius_of_images_follows_their_size_and_colour(small):
    image = small("image")
    for shape, radius in {
        (1, 1, 28, 28): 0.3,
        (1, 1, 64, 64): 0.3,
        (1, 1, 7, 14): 0.075,
        (1, 3, 32, 32): 8 / 255,
    }.items():
        one = dataclasses.replace(image.take(np.arange(1)), inputs=np.zeros(shape, np.float32))
        assert fill_defaults(RetrainConfig(), one).epsilon == pytest.approx(radius)


def test_models_of_another_kind_and_unknown_paths_are_configuration_errors(small):
    with pytest.raises(ConfigError, match="table"):
        fill_defaults(RetrainConfig(model="image-cnn"), small("table"))
    with pytest.raises(ConfigError, match="text"):
        fill_defaults(RetrainConfig(model="torch.nn:Linear"), small("text"))
    with pytest.raises(ConfigError, match="imported"):
        build_module("torch.nn:Nowhere", (2,), 2)
    with pytest.raises(ConfigError, match="must return"):
        build_module("operator:contains", (2,), 2)


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 5, 9), (1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 64, 4), (4, 100, 60)])
def test_images_of_any_size_get_a_network(shape):
    import torch

    assert build_module("image-cnn", shape, 5)(torch.zeros(2, *shape)).shape == (2, 5)


@pytest.mark.parametrize("shape", [(1, 3, 8), (1, 600, 8)])
def test_images_too_small_or_large_are_named(shape):
    with pytest.raises(DataError, match="4 to 512"):
        build_module("image-cnn", shape, 5)
