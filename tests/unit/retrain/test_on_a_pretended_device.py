"""Every detector, recipe and attack on a pretended GPU: the rules of a device, and the values that the CPU gives."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import gpu_check
from poison_guard import DETECTORS
from poison_guard.config.policies import RetrainConfig
from poison_guard.numerics.tensors import full_precision
from poison_guard.numerics.transfers import in_turns
from poison_guard.retrain.attacks import Budget
from poison_guard.retrain.edits import few_pixels_or_cells, trained_patches
from poison_guard.retrain.evaluation import evaluate
from poison_guard.retrain.perturb import Space
from poison_guard.retrain.train import train_classifier
from poison_guard.signals.anomaly.ensemble import Ensemble
from tests.pretended_device import DeviceTensor, pretended_device

rng = np.random.default_rng(0)
FITTED, SCORED = rng.standard_normal((300, 5)), 2 * rng.standard_normal((40, 5))
FEW: dict[str, dict[str, Any]] = {
    "autoencoder": {"epochs": 1},
    "inne": {"bags": 20},
    "iforest": {"trees": 20},
    "extended_iforest": {"trees": 20},
}
KINDS: dict[str, Callable[..., Any]] = {
    **{name: functools.partial(kind, **FEW.get(name, {})) for name, kind in DETECTORS.items()},
    "ensemble": Ensemble,
    "ensemble unsupervised": functools.partial(Ensemble, mode="unsupervised"),
}


@pytest.fixture
def tf32() -> Iterator[None]:
    """A process that allows TF32, as many set it for training."""
    owners = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    before = [owner.fp32_precision for owner in owners]
    for owner in owners:
        owner.fp32_precision = "tf32"
    yield
    for owner, value in zip(owners, before, strict=True):
        owner.fp32_precision = value


def test_the_pretended_device_refuses_tensors_of_two_devices_and_counts_copies_and_waits():
    with pretended_device() as counts:
        there = torch.arange(4.0).to("cuda")
        assert isinstance(there, DeviceTensor)
        assert there.device.type == "cuda"
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.arange(4.0)
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        assert (there + torch.tensor(1.0)).cpu().tolist() == [1, 2, 3, 4]
        assert float(torch.zeros(2, device=there.device).sum()) == 0.0
        assert (counts.to_device, counts.from_device, counts.waits) == (1, 1, 2)
        twice = torch.tensor([0, 0, 1, 1], device="cuda")
        torch.zeros(2, device="cuda").index_add_(0, twice, there)
        assert counts.unordered["index_add_"] == 1


@pytest.mark.parametrize("name", KINDS)
def test_a_detector_gives_on_a_device_what_it_gives_on_the_cpu(name: str, tf32: None):
    """Also where the process allows TF32, which rounds products: the pin holds."""
    here = KINDS[name](device="cpu").fit(FITTED)
    with pretended_device() as counts:
        there = KINDS[name](device="auto").fit(FITTED)
        before = counts.to_device, counts.from_device
        np.testing.assert_allclose(there.score(SCORED), here.score(SCORED), rtol=3e-6)
        views = len(getattr(there, "detectors_", "1"))
        assert counts.from_device - before[1] == views, "scores are copied once a block"
        assert counts.to_device - before[0] <= 2 * views, "a block is copied once, and what its rows' keys need"
        if hasattr(there, "explain"):
            np.testing.assert_allclose(there.explain(SCORED), here.explain(SCORED), rtol=1e-5, atol=1e-6)
        assert not counts.unordered
    assert torch.backends.cuda.matmul.fp32_precision == "tf32", "what the process allows is restored"


@pytest.mark.parametrize("name", DETECTORS)
def test_a_block_holds_the_bytes_that_the_detector_states(name: str):
    wide = rng.standard_normal((600, 12))
    with pretended_device() as counts:
        detector = KINDS[name](device="cuda").fit(wide)
        gc.collect()
        counts.peak = fitted = counts.live
        detector.score(np.tile(wide, (2, 1)))
        assert counts.peak - fitted == pytest.approx(detector.block_bytes(1200), rel=0.1)


def test_the_next_block_is_copied_from_pinned_memory_before_the_scores_of_the_last_come_back():
    device = torch.device("cuda")
    with pretended_device() as counts:
        blocks = (torch.full((2, 3), float(n)) for n in range(3))
        parts = list(in_turns(device, blocks, lambda block: block.sum(dim=1)))
        assert [part.tolist() for part in parts] == [[0.0, 0.0], [3.0, 3.0], [6.0, 6.0]]
        assert counts.order == ["to", "to", "from", "to", "from", "from"]
        assert counts.pinned == 3
        assert list(in_turns(device, iter(()), lambda block: block)) == []


def test_two_blocks_at_most_are_on_the_device_at_once():
    with pretended_device() as counts:
        blocks = (torch.zeros(1024) for _ in range(9))
        assert len(list(in_turns(torch.device("cuda"), blocks, lambda block: block[:1]))) == 9
        assert counts.peak <= 2 * 4096 + 2 * 512


@pytest.mark.parametrize("name", ["iforest", "knn", "mahalanobis"])
@pytest.mark.parametrize("told", [True, False])
def test_blocks_are_sized_from_free_memory_and_halved_where_it_is_full(
    name: str, told: bool, monkeypatch: pytest.MonkeyPatch
):
    rows = np.tile(SCORED, (20, 1))
    here = KINDS[name](device="cpu").fit(FITTED)
    with pretended_device() as counts:
        there = KINDS[name](device="cuda").fit(FITTED)
        gc.collect()
        counts.capacity = counts.live + there.block_bytes(len(rows)) / 5
        if not told:  # somebody else takes the memory after it was measured
            monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (64 << 30, 64 << 30))
        np.testing.assert_allclose(there.score(rows), here.score(rows), rtol=3e-6)
        assert (counts.refused == 0) == told
        counts.capacity = counts.live + 1
        with pytest.raises(torch.OutOfMemoryError):
            there.score(rows)


def test_without_the_pin_tf32_changes_scores(tf32: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("poison_guard.numerics.tensors._exact_settings", list)
    here = KINDS["bagged_knn"](device="cpu").fit(FITTED)
    with pretended_device():
        there = KINDS["bagged_knn"](device="cuda").fit(FITTED).score(SCORED)
    assert np.abs(there / here.score(SCORED) - 1).max() > 1e-4


def test_precision_is_pinned_until_the_last_body_ends_and_old_switches_are_restored():
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = True
    try:
        first, second = full_precision(), full_precision()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert matmul.fp32_precision == "ieee"
        second.__exit__(None, None, None)
        assert matmul.allow_tf32
    finally:
        matmul.allow_tf32 = before


RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "fast": ("table", {}),
    "certified": ("table", {"adversary": "certified"}),
    "trades": ("table", {"adversary": "trades"}),
    "pgd": ("table", {"adversary": "pgd"}),
    "members that escalate": ("table", {"members": 2, "escalate": 0.1}),
    "distilled": ("table", {"members": 2, "distil": True}),
    "images, moved and squeezed": ("image", {"augment": ("shift", "rotate"), "squeeze": ("round", "smooth")}),
    "texts": ("text", {}),
}
LITTLE = Budget(attacked=6, steps=2, restarts=2, targets=1, queries=4, text_queries=2, draws=1)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_and_its_evaluation_give_on_a_device_what_they_give_on_the_cpu(name: str, small: Any, tf32: None):
    kind, options = RECIPES[name]
    examples = small(kind, n=48)
    config = RetrainConfig(epsilon=0.1, epochs=1, **options)
    here = train_classifier(examples, config, device="cpu", calibration=examples)
    with pretended_device() as counts:
        there = train_classifier(examples, config, device="auto", calibration=examples)
        assert counts.to_device
        for one, other in zip(here.module.parameters(), there.module.parameters(), strict=True):
            torch.testing.assert_close(one, other)
        counts.operations.clear()
        found = evaluate(here, examples, config=config, seed=0, budget=LITTLE, device="auto")
        assert counts.operations.keys() & {"addmm", "convolution"}, "the model answers on the device"
    assert found == evaluate(here, examples, config=config, seed=0, budget=LITTLE)


def test_few_pixels_and_trained_patches_are_found_on_the_device(small: Any):
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8, 2))
    x, y, space = torch.rand(2, 1, 4, 4), torch.tensor([0, 1]), Space("linf", 0.0, 1.0)

    def tried(x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
        pixels = [moved.cpu() for _, moved in few_pixels_or_cells(module, x, y, space=space, counts=(1, 3))]
        patches = trained_patches(module, x, y, [(0, 0)], 2, torch.Generator().manual_seed(0))
        return pixels + [moved.detach().cpu() for moved in patches]

    with full_precision():
        here = tried(x, y)
        with pretended_device():
            module.to("cuda")
            for one, other in zip(here, tried(x.to("cuda"), y.to("cuda")), strict=True):
                torch.testing.assert_close(one, other)


def test_the_check_for_a_gpu_passes_on_the_pretended_one_and_fails_for_a_wrong_formula(monkeypatch: pytest.MonkeyPatch):
    kind = DETECTORS["mahalanobis"]
    monkeypatch.setattr(gpu_check, "DETECTORS", {"mahalanobis": kind})
    monkeypatch.setattr(gpu_check, "_SIDE", 64)
    with pretended_device():
        found = gpu_check.check(0, rows=600, timed=1000, feeds=())
        assert found["holds"], found
        assert found["times"]["mahalanobis"]["copies_of_the_table"] > 0
        monkeypatch.setattr(kind, "block_bytes", lambda self, rows: 8 * rows)
        assert not gpu_check.check_detector("mahalanobis", rng, 600)["holds"]


def test_without_a_gpu_the_check_says_that_nothing_was_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["gpu_check.py", "--out", str(tmp_path / "found.json")])
    assert gpu_check.main() == 3
    assert "nothing was checked" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
