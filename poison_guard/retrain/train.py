"""Adversarial training: fast signed-gradient steps from a random start, resumable, checked for overfitting.

The perturbation of each example continues from the epoch before, so that one gradient step per epoch adds up to an
attack of many steps: as cheap as a single step from a random start, and it does not collapse where that does.

References: Zheng et al., "Efficient adversarial training with transferable adversarial examples" (2020); Wong, Rice and
Kolter, "Fast is better than free" (2020), for the single step, the random start and the learning rate.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from poison_guard.config.policies import RetrainConfig
from poison_guard.errors import DataError, GuardError
from poison_guard.numerics.tensors import limited_threads, pick_device
from poison_guard.records import Examples
from poison_guard.retrain.inputs import Inputs, fit_inputs
from poison_guard.retrain.models import build_module, fill_defaults
from poison_guard.retrain.overfitting import OverfittingWatch, make_overfitting_watch, watched_rows
from poison_guard.retrain.perturb import Space, fgsm, pgd, random_start
from poison_guard.retrain.trained_model import TrainedModel
from poison_guard.retrain.training_state import (
    TrainingData,
    TrainingState,
    class_weights,
    read_checkpoint,
    seeded_generator,
    training_fingerprint,
    write_checkpoint,
)

__all__ = ["TrainingError", "run_epoch", "train_classifier"]


_PEAK_AT = 0.4  # share of the steps at which the learning rate is highest
_STRIDE = (1 / 3, 1.25)  # radii of one step of the adversary; few epochs take long ones
_LEVELS = 127  # a radius, in the units that changes are carried in


def run_epoch(training: TrainingState, data: TrainingData, config: RetrainConfig) -> float:
    """Train `training` for one epoch on every example once; return the mean loss, not finite if any step's was not.

    `config` has every default filled in. The learning rate rises to its peak over 40 % of all steps and falls to zero.
    """
    n, batch, epochs = len(data.y), config.batch_size or 1, config.epochs or 1
    generator = seeded_generator(config.seed, training.epoch + 1)
    order = torch.randperm(n, generator=generator)
    steps = math.ceil(n / batch)
    weights, total = data.weights.to(data.device), torch.zeros((), device=data.device)
    training.module.train()
    for i in range(steps):
        _set_rate(training, (training.epoch * steps + i) / (epochs * steps), config.learning_rate or 0.0)
        rows = order[i * batch : (i + 1) * batch]
        x, y = data.batch(rows)
        if config.epsilon:
            x = _perturb_batch(training, rows, x, y, data, config, generator)
        loss = functional.cross_entropy(training.module(x), y, weight=weights)
        training.optimiser.zero_grad()
        loss.backward()
        training.optimiser.step()
        total += loss.detach()
    training.epoch += 1
    return float(total) / steps


def _set_rate(training: TrainingState, done: float, peak: float) -> None:
    rate = peak * (done / _PEAK_AT if done < _PEAK_AT else (1 - done) / (1 - _PEAK_AT))
    for group in training.optimiser.param_groups:
        group["lr"] = rate


def _perturb_batch(
    training: TrainingState,
    rows: Tensor,
    x: Tensor,
    y: Tensor,
    data: TrainingData,
    config: RetrainConfig,
    generator: torch.Generator,
) -> Tensor:
    """Return `x` as the adversary changes it, and carry the changes of `rows` to the next epoch."""
    module, space, epsilon, steps = training.module, data.space, config.epsilon or 0.0, training.attack_steps
    if steps > 1:
        return pgd(module, x, y, epsilon=epsilon, space=space, steps=steps, generator=generator)
    if space.norm == "l2":
        return fgsm(module, x, y, epsilon=epsilon, space=space, step=1.0)
    stride = min(max(4 / (config.epochs or 1), _STRIDE[0]), _STRIDE[1])
    start = _adversary_start(training, rows, x, space, epsilon, stride, generator)
    moved = fgsm(module, x, y, epsilon=epsilon, space=space, start=start, step=stride)
    if training.carried is None:
        training.carried = torch.zeros((len(data.y), *x.shape[1:]), dtype=torch.int8)
    training.carried[rows] = ((moved - x) * (_LEVELS / epsilon)).round().to(torch.int8).cpu()
    return moved


def _adversary_start(
    training: TrainingState,
    rows: Tensor,
    x: Tensor,
    space: Space,
    epsilon: float,
    stride: float,
    generator: torch.Generator,
) -> Tensor:
    """Return where the adversary's step begins: in the first epoch at random, a step far at most."""
    if training.epoch > 0 and training.carried is not None:
        return training.carried[rows].to(x.device) * (epsilon / _LEVELS)
    return random_start(x, epsilon=epsilon * min(stride, 1.0), space=space, generator=generator)


class TrainingError(GuardError):
    """A training came to nothing: its loss stopped being a number; nothing of it is kept."""


def train_classifier(
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
    settled = fill_defaults(config, ordered)
    classes = _classes(ordered)
    place = pick_device(device)
    # limited_threads brings inference mode, which a training has to leave
    with limited_threads(threads), torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng():
        inputs = fit_inputs(ordered, settled.mutable)
        training, warmed = _initial_state(settled, inputs, classes, warm, place)
        data = _training_data(ordered, inputs, classes, place)
        watch = _overfitting_watch(ordered if validation is None else validation, inputs, classes, settled, data)
        identity = ""
        if checkpoint is not None:
            where = f"{place.type} {threads}"
            identity = training_fingerprint(settled, (ordered, validation), training.weights(), where)
            read_checkpoint(checkpoint, training, identity)
        while training.epoch < (settled.epochs or 0):
            _run_and_record_epoch(training, data, watch, settled, warmed, checkpoint, identity)
    cost = {"cpu_s": training.cpu_s, "wall_s": training.wall_s, "epochs": training.epoch, "examples": len(examples)}
    module = training.module.cpu().eval().requires_grad_(False)
    return TrainedModel(examples.kind, classes, settled, inputs, module, tuple(training.history), cost, settled.seed)


def _ordered(examples: Examples) -> Examples:
    """Return the examples by id, so that the order they came in makes no difference."""
    ids = examples.frame["example_id"].to_numpy(dtype=object)
    order = np.argsort(ids, kind="stable")
    return examples if (order == np.arange(len(order))).all() else examples.take(order)


def _classes(examples: Examples) -> tuple[str, ...]:
    classes = tuple(sorted({str(label) for label in examples.frame["label"]}))
    if len(classes) < 2:
        labels = f"only {classes[0]!r}" if classes else "none"
        raise DataError(f"a training needs examples of at least 2 labels, got {labels}; seal a snapshot that has more")
    return classes


def _initial_state(
    config: RetrainConfig, inputs: Inputs, classes: tuple[str, ...], warm: TrainedModel | None, device: torch.device
) -> tuple[TrainingState, bool]:
    seeded_generator(config.seed, 0)
    module = build_module(str(config.model), inputs.shape, len(classes))
    warmed = warm is not None and _warm_start_fits(module, config, classes, warm)
    if warm is not None and warmed:
        module.load_state_dict(warm.module.state_dict())
    module.to(device).requires_grad_(True)
    return TrainingState(module, torch.optim.Adam(module.parameters(), config.learning_rate or 0.0)), warmed


def _warm_start_fits(module: nn.Module, config: RetrainConfig, classes: tuple[str, ...], warm: TrainedModel) -> bool:
    def shapes(one: nn.Module) -> dict[str, torch.Size]:
        return {name: value.shape for name, value in one.state_dict().items()}

    same = (warm.config.model, warm.classes) == (config.model, classes)
    return same and shapes(module) == shapes(warm.module)


def _training_data(examples: Examples, inputs: Inputs, classes: tuple[str, ...], device: torch.device) -> TrainingData:
    place = {label: i for i, label in enumerate(classes)}
    y = np.array([place.get(str(label), -1) for label in examples.frame["label"]], dtype=np.int64)
    known = np.flatnonzero(y >= 0)
    weights = class_weights(y[known], len(classes))
    return TrainingData(inputs.encode(examples), torch.from_numpy(y), weights, inputs.space, device)


def _overfitting_watch(
    examples: Examples, inputs: Inputs, classes: tuple[str, ...], config: RetrainConfig, data: TrainingData
) -> OverfittingWatch:
    """Return the watch over a part of `examples`."""
    place = {label: i for i, label in enumerate(classes)}
    y = np.array([place.get(str(label), -1) for label in examples.frame["label"]], dtype=np.int64)
    part = examples.take(watched_rows(y, config.seed))
    return make_overfitting_watch(_training_data(part, inputs, classes, data.device), len(data.y))


def _run_and_record_epoch(
    training: TrainingState,
    data: TrainingData,
    watch: OverfittingWatch,
    config: RetrainConfig,
    warmed: bool,
    checkpoint: Path | None,
    identity: str,
) -> None:
    """Train one epoch, look, and keep the training; `TrainingError` when the loss is no number any more."""
    cpu, wall = time.process_time(), time.perf_counter()
    steps = training.attack_steps
    loss = run_epoch(training, data, config)
    if not math.isfinite(loss) or not all(torch.isfinite(p).all() for p in training.module.parameters()):
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)
        raise TrainingError(
            f"the loss was no number in epoch {training.epoch} of {config.epochs} and nothing was kept; lower "
            f"learning_rate in [retrain] (now {config.learning_rate:g}) or look at the examples"
        )
    robust, event = watch.look(training, config)
    event = event or ("warm" if warmed and training.epoch == 1 else "")
    row = {"epoch": training.epoch, "loss": loss, "robust": robust, "attack_steps": steps, "event": event}
    training.history.append(row)
    training.cpu_s += time.process_time() - cpu
    training.wall_s += time.perf_counter() - wall
    if checkpoint is not None:
        write_checkpoint(checkpoint, training, identity)
