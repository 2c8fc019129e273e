"""Detector files that somebody cut, edited or made of something else."""

from __future__ import annotations

import json
import pickle
import struct

import numpy as np
import pytest

from poison_guard.errors import DataError, UsageError
from poison_guard.signals.anomaly import DETECTORS
from poison_guard.signals.anomaly.saved import load, save

X = np.random.default_rng(5).standard_normal((100, 3))


@pytest.fixture
def path(tmp_path):
    save(DETECTORS["iforest"](trees=7, device="cpu").fit(X), tmp_path / "d.safetensors")
    return tmp_path / "d.safetensors"


def read(path):
    return load(path, DETECTORS, device="cpu")


def edit(path, change):
    """Rewrite the header of the file: `change` gets it, and the tree of the detector, to edit in place."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    description = json.loads(header["__metadata__"]["poison_guard"])
    change(header, description["tree"])
    header["__metadata__"]["poison_guard"] = json.dumps(description)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


def flatten(header, _):
    header["columns_.scale"]["shape"] = [1, 1, 3]


EDITS = {
    "parameter below its least": lambda _, tree: tree["parameters"].update(trees=-1),
    "parameter of another type": lambda _, tree: tree["parameters"].update(dtype=["float32"]),
    "threads as text": lambda _, tree: tree["parameters"].update(threads="2"),
    "parameter nobody knows": lambda _, tree: tree["parameters"].update(unknown=1),
    "another detector": lambda _, tree: tree.update(detector="lof"),
    "detector nobody knows": lambda _, tree: tree.update(detector="unknown"),
    "part missing": lambda _, tree: tree["fitted"].pop("cuts_"),
    "part empty": lambda _, tree: tree["fitted"].update(cuts_={"tuple": []}),
    "tensor missing": lambda _, tree: tree["fitted"].update(picks_={"tensor": "nowhere"}),
    "part of another type": lambda _, tree: tree["fitted"].update(columns_=5),
    "method replaced": lambda _, tree: tree["fitted"].update(score=5),
    "nothing": lambda _, tree: tree.clear(),
    "tensor of another shape": flatten,
}


@pytest.mark.parametrize("change", EDITS.values(), ids=EDITS)
def test_parts_that_do_not_fit_together_are_found_when_read(path, change):
    edit(path, change)
    with pytest.raises(DataError, match="holds no known detector"):
        read(path)


def test_a_parameter_edited_to_be_huge_costs_nothing(path):
    before = read(path).score(X)
    edit(path, lambda _, tree: tree["parameters"].update(trees=10**12, sample=10**12, threads=10**12))
    np.testing.assert_array_equal(read(path).score(X), before)


def test_nan_in_a_tensor_is_found_when_read(path):
    data = path.read_bytes()
    path.write_bytes(data[:-64] + b"\xff" * 64)
    with pytest.raises(DataError, match="NaN"):
        read(path)


@pytest.mark.parametrize("most", [0, 7, 50, -1])
def test_a_file_cut_short_is_an_error_that_names_it(path, most):
    path.write_bytes(path.read_bytes()[:most])
    with pytest.raises(DataError, match=r"d\.safetensors"):
        read(path)


def test_a_pickle_is_an_error_that_names_the_file(path):
    path.write_bytes(pickle.dumps(X))
    with pytest.raises(DataError, match=r"d\.safetensors"):
        read(path)


def test_a_device_that_is_not_there_is_no_fault_of_the_file(path):
    with pytest.raises(UsageError, match="device must be"):
        load(path, DETECTORS, device="gpu")


def test_parameters_from_numpy_can_be_saved(tmp_path):
    save(DETECTORS["knn"](k=np.int64(3), seed=np.int32(1), device="cpu").fit(X), tmp_path / "d")
    assert read(tmp_path / "d").k == 3


@pytest.mark.parametrize("asked", ["auto", "cpu"])
def test_a_detector_of_another_class_of_device_is_refused_with_what_to_do(path, asked):
    edit(path, lambda header, _: None)
    data = path.read_bytes().replace(b'\\"fitted_on\\": \\"cpu\\"', b'\\"fitted_on\\":\\"cuda\\"')
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"was fitted and calibrated on cuda, not on cpu: .* anew with device='cpu'"):
        load(path, DETECTORS, device=asked)
