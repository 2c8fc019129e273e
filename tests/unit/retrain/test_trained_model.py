from __future__ import annotations

import dataclasses
import hashlib
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from poison_guard.config.policies import RetrainConfig
from poison_guard.errors import DataError, TamperError
from poison_guard.numerics.tensors import pack_tensors, parse_tensors, read_bounded
from poison_guard.retrain.inputs import INPUTS
from poison_guard.retrain.train import train_classifier
from poison_guard.retrain.trained_model import has_collapsed, predict_probabilities, read_model, write_model

ROAD = "poison_guard.retrain.models:build_tabular_mlp"


@pytest.fixture
def saved(small, tmp_path):
    def make(kind: str = "table", **config):
        model = train_classifier(small(kind), RetrainConfig(epochs=2, **config), device="cpu")
        return model, *write_model(model, tmp_path / kind)

    return make


@pytest.mark.parametrize("kind", sorted(INPUTS))
def test_a_saved_model_comes_back_whole(saved, small, kind):
    model, path, sha256 = saved(kind)
    again = read_model(path, sha256)
    examples = small(kind, seed=1)
    np.testing.assert_array_equal(predict_probabilities(again, examples), predict_probabilities(model, examples))
    for name in ("kind", "classes", "config", "history", "cost", "seed"):
        assert getattr(again, name) == getattr(model, name)
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert write_model(again, path.parent)[1] == sha256


def test_a_model_that_says_the_same_of_everything_has_collapsed_and_one_that_learned_has_not(small):
    examples = small("table")
    model = train_classifier(examples, RetrainConfig(epochs=10, epsilon=0.0), device="cpu")
    assert not has_collapsed(model, examples)
    constant = dataclasses.replace(model, module=_Same(len(model.classes)))
    assert has_collapsed(constant, examples)


class _Same(nn.Module):
    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.eye(self.k)[:1].repeat(len(x), 1)


def test_a_file_with_another_hash_is_not_read(saved):
    _, path, sha256 = saved()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(TamperError, match="SHA-256"):
        read_model(path, sha256)


def test_pickles_and_archives_are_refused_and_run_nothing(tmp_path, capsys):
    class Bomb:
        def __reduce__(self):
            return print, ("it ran",)

    for name, write in {
        "model.pkl": lambda p: p.write_bytes(pickle.dumps(Bomb())),
        "model.pt": lambda p: torch.save(Bomb(), p),
        "old.pt": lambda p: torch.save(Bomb(), p, _use_new_zipfile_serialization=False),
        "model.safetensors": lambda p: p.write_bytes(pickle.dumps([Bomb()], protocol=0)),
    }.items():
        write(tmp_path / name)
        with pytest.raises(DataError, match=name):
            read_model(tmp_path / name)
    assert "it ran" not in capsys.readouterr().out


def test_a_missing_empty_or_cut_file_and_a_folder_are_named(saved, tmp_path):
    _, path, _ = saved()
    whole = path.read_bytes()
    with pytest.raises(DataError, match="gone"):
        read_model(tmp_path / "gone")
    with pytest.raises(DataError, match="not a file"):
        read_model(tmp_path)
    for length in (0, 7, 8, 9, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"model\.safetensors"):
            read_model(path)


def test_a_description_that_does_not_fit_its_tensors_is_refused_before_memory_is_taken(saved):
    _, path, _ = saved("image")
    description, tensors = parse_tensors(read_bounded(path), name="x", expected="poison-guard model 1")
    kinds = {
        "inputs": {"shape": [100_000, 500, 500]},
        "classes": [str(i) for i in range(1000)],
        "config": {"model": "image-cnn", "epochs": -1},
        "kind": "sound",
        "history": 3,
    }
    for key, value in kinds.items():
        path.write_bytes(pack_tensors(description | {key: value}, tensors))
        with pytest.raises(DataError, match=r"model\.safetensors"):
            read_model(path)
    tensors["module.0.weight"][0] = torch.nan
    path.write_bytes(pack_tensors(description, tensors))
    with pytest.raises(DataError, match="numbers"):
        read_model(path)


def test_a_model_of_an_import_path_needs_permission_and_a_hash(saved):
    model, path, sha256 = saved(model=ROAD)
    for arguments in ({}, {"sha256": sha256}, {"allow_import": True}):
        with pytest.raises(DataError, match="import path"):
            read_model(path, **arguments)
    again = read_model(path, sha256, allow_import=True)
    assert isinstance(again.module, nn.Module)
    assert again.config == model.config


def test_saving_leaves_no_half_written_file(saved):
    model, path, sha256 = saved()
    write_model(dataclasses.replace(model, seed=1), path.parent)
    assert [found.name for found in path.parent.iterdir()] == ["model.safetensors"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() != sha256


def test_a_file_past_its_bounds_is_not_read(tmp_path):
    path = tmp_path / "large.safetensors"
    path.write_bytes(b"x" * 2048)
    assert len(read_bounded(path, 2048)) == 2048
    with pytest.raises(DataError, match=r"large\.safetensors has more"):
        read_bounded(path, 2047)
