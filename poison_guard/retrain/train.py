"""Adversarial training: fast signed-gradient steps from a random start, watched for collapse, resumable."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from poison_guard.config.retrain import RetrainConfig
from poison_guard.errors import DataError, GuardError
from poison_guard.numerics.device import limited_threads, pick_device
from poison_guard.records import Examples
from poison_guard.retrain.checkpoint import fingerprint, read_checkpoint, write_checkpoint
from poison_guard.retrain.course import Course, Material, class_weights, seeded
from poison_guard.retrain.epoch import run_epoch
from poison_guard.retrain.inputs import Inputs, fit_inputs
from poison_guard.retrain.models import build_module
from poison_guard.retrain.plan import fill_in
from poison_guard.retrain.trained import TrainedModel
from poison_guard.retrain.watch import Watch, make_watch, watched_rows

__all__ = ["TrainingError", "train"]


class TrainingError(GuardError):
    """A training came to nothing: its loss stopped being a number; nothing of it is kept."""


def train(
    examples: Examples,
    config: RetrainConfig,
    *,
    warm: TrainedModel | None = None,
    checkpoint: Path | None = None,
    device: str = "auto",
    threads: int = 1,
    validation: Examples | None = None,
) -> TrainedModel:
    """Return a model trained on `examples` to be right on them and on the worst changes within ``config.epsilon``.

    Classes count alike however common they are. On the CPU the result depends only on the arguments, not on the order
    of the examples. `warm` gives the first weights when its model, kind, classes and shapes are the same (only its
    caller knows whether what it learned from was recalled since). `checkpoint` is a local file that keeps the training
    after each epoch: run again with the same arguments after a kill it goes on to the same result, and a file of
    another training is replaced; the caller deletes it once the model is saved. `validation` examples are watched for
    collapse in place of a part of the training's; they are never trained on.

    `DataError` for fewer than 2 classes, inputs out of range or an unknown kind; `ConfigError` for a model that does
    not fit the kind; `TrainingError` for a loss that is no number.
    """
    ordered = _ordered(examples)
    settled = fill_in(config, ordered)
    classes = _classes(ordered)
    place = pick_device(device)
    # limited_threads brings inference mode, which a training has to leave
    with limited_threads(threads), torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng():
        inputs = fit_inputs(ordered, settled.mutable)
        course, warmed = _start(settled, inputs, classes, warm, place)
        material = _material(ordered, inputs, classes, place)
        watch = _watch(ordered if validation is None else validation, inputs, classes, settled, material)
        identity = ""
        if checkpoint is not None:
            where = f"{place.type} {threads}"
            identity = fingerprint(settled, (ordered, validation), course.weights(), where)
            read_checkpoint(checkpoint, course, identity)
        while course.epoch < (settled.epochs or 0):
            _advance(course, material, watch, settled, warmed, checkpoint, identity)
    cost = {"cpu_s": course.cpu_s, "wall_s": course.wall_s, "epochs": course.epoch, "examples": len(examples)}
    module = course.module.cpu().eval().requires_grad_(False)
    return TrainedModel(examples.kind, classes, settled, inputs, module, tuple(course.history), cost, settled.seed)


def _ordered(examples: Examples) -> Examples:
    """Return the examples by id, so that the order they came in makes no difference."""
    ids = examples.frame["example_id"].to_numpy(dtype=object)
    order = np.argsort(ids, kind="stable")
    return examples if (order == np.arange(len(order))).all() else examples.take(order)


def _classes(examples: Examples) -> tuple[str, ...]:
    classes = tuple(sorted({str(label) for label in examples.frame["label"]}))
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if classes else "none"
        raise DataError(f"a training needs examples of at least 2 labels, got {found}; seal a snapshot that has more")
    return classes


def _start(
    config: RetrainConfig, inputs: Inputs, classes: tuple[str, ...], warm: TrainedModel | None, device: torch.device
) -> tuple[Course, bool]:
    seeded(config.seed, 0)
    module = build_module(str(config.model), inputs.shape, len(classes))
    warmed = warm is not None and _fits(module, config, classes, warm)
    if warm is not None and warmed:
        module.load_state_dict(warm.module.state_dict())
    module.to(device).requires_grad_(True)
    return Course(module, torch.optim.Adam(module.parameters(), config.learning_rate or 0.0)), warmed


def _fits(module: nn.Module, config: RetrainConfig, classes: tuple[str, ...], warm: TrainedModel) -> bool:
    def shapes(one: nn.Module) -> dict[str, torch.Size]:
        return {name: value.shape for name, value in one.state_dict().items()}

    same = (warm.config.model, warm.classes) == (config.model, classes)
    return same and shapes(module) == shapes(warm.module)


def _material(examples: Examples, inputs: Inputs, classes: tuple[str, ...], device: torch.device) -> Material:
    place = {label: i for i, label in enumerate(classes)}
    y = np.array([place.get(str(label), -1) for label in examples.frame["label"]], dtype=np.int64)
    known = np.flatnonzero(y >= 0)
    weights = class_weights(y[known], len(classes))
    return Material(inputs.encode(examples), torch.from_numpy(y), weights, inputs.space, device)


def _watch(
    examples: Examples, inputs: Inputs, classes: tuple[str, ...], config: RetrainConfig, material: Material
) -> Watch:
    """Return the watch over a part of `examples`."""
    place = {label: i for i, label in enumerate(classes)}
    y = np.array([place.get(str(label), -1) for label in examples.frame["label"]], dtype=np.int64)
    part = examples.take(watched_rows(y, config.seed))
    return make_watch(_material(part, inputs, classes, material.device), len(material.y))


def _advance(
    course: Course,
    material: Material,
    watch: Watch,
    config: RetrainConfig,
    warmed: bool,
    checkpoint: Path | None,
    identity: str,
) -> None:
    """Train one epoch, look, and keep the training; `TrainingError` when the loss is no number any more."""
    cpu, wall = time.process_time(), time.perf_counter()
    steps = course.attack_steps
    loss = run_epoch(course, material, config)
    if not math.isfinite(loss) or not all(torch.isfinite(p).all() for p in course.module.parameters()):
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)
        raise TrainingError(
            f"the loss was no number in epoch {course.epoch} of {config.epochs} and nothing was kept; lower "
            f"learning_rate in [retrain] (now {config.learning_rate:g}) or look at the examples"
        )
    robust, event = watch.look(course, config)
    event = event or ("warm" if warmed and course.epoch == 1 else "")
    row = {"epoch": course.epoch, "loss": loss, "robust": robust, "attack_steps": steps, "event": event}
    course.history.append(row)
    course.cpu_s += time.process_time() - cpu
    course.wall_s += time.perf_counter() - wall
    if checkpoint is not None:
        write_checkpoint(checkpoint, course, identity)
