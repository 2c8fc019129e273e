"""Adversarial training: fast signed-gradient steps from a random start, resumable, checked for overfitting.

The perturbation of each example continues from the epoch before, so that one gradient step per epoch adds up to an
attack of many steps: as cheap as a single step from a random start, and it does not collapse where that does.

References: Zheng et al., "Efficient adversarial training with transferable adversarial examples" (2020); Wong, Rice and
Kolter, "Fast is better than free" (2020), for the single step, the random start and the learning rate.
"""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from poison_guard.config.policies import RetrainConfig
from poison_guard.errors import DataError, GuardError
from poison_guard.numerics.tensors import limited_threads, pick_device
from poison_guard.records import Examples
from poison_guard.retrain.augment import augmented
from poison_guard.retrain.bounds import box, draw_tight_weights, require_bounds, worst_logits
from poison_guard.retrain.ensemble import Ensemble, members_of, set_stack
from poison_guard.retrain.inputs import Inputs, fit_inputs, to_dense
from poison_guard.retrain.models import ALGORITHMS, build_member, build_network, fill_defaults
from poison_guard.retrain.overfitting import OverfittingWatch, make_overfitting_watch, watched_rows
from poison_guard.retrain.perturb import Space, divergent, fgsm, pgd, random_start
from poison_guard.retrain.squeeze import Squeeze
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
from poison_guard.retrain.trees import MOST_CELLS, Trees, grow_trees

__all__ = ["TrainingError", "run_epoch", "train_classifier"]


_PEAK_AT = 0.4  # share of the steps at which the learning rate is highest
_STRIDE = (1 / 3, 1.25)  # radii of one step of the adversary; few epochs take long ones
_PGD_STEPS = 7  # of the adversaries `pgd` and `trades`
_TRADE = 6.0  # weight of what an adversary changes beside what is right; theirs for MNIST
_BLOCK = 1024  # rows that teachers answer at a time
_WARM, _RAMP = 0.1, 0.6  # share of the steps that a certified training is clean for, and at which its radius is whole
_LEVELS = 127  # a radius, in the units that changes are carried in


def run_epoch(training: TrainingState, data: TrainingData, config: RetrainConfig) -> float:
    """Train `training` for one epoch on every example once; return the mean loss, not finite if any step's was not.

    `config` has every default filled in. The learning rate rises to its peak over 40 % of all steps and falls to zero.
    """
    n, batch, epochs = len(data.y), config.batch_size or 1, config.epochs or 1
    generator = seeded_generator(config.seed, training.epoch + 1)
    order = torch.randperm(n, generator=generator)
    steps = math.ceil(n / batch)
    total = torch.zeros((), device=data.device)
    training.module.train()
    for i in range(steps):
        done = (training.epoch * steps + i) / (epochs * steps)
        _set_rate(training, done, config.learning_rate or 0.0)
        loss = _loss(training, order[i * batch : (i + 1) * batch], done, data, config, generator)
        training.optimiser.zero_grad()
        loss.backward()
        training.optimiser.step()
        total += loss.detach()
    training.epoch += 1
    return float(total) / steps


def _loss(
    training: TrainingState,
    rows: Tensor,
    done: float,
    data: TrainingData,
    config: RetrainConfig,
    generator: torch.Generator,
) -> Tensor:
    """Return the loss of `rows` under the adversary of `config`, `done` ``[0, 1)`` of all steps being behind."""
    module, space, epsilon = training.module, data.space, config.epsilon or 0.0
    weights = data.weights.to(data.device)
    balance = weights if data.soft is None else None  # what teachers answer is balanced already
    x, y, wanted = data.batch(rows)
    if config.augment:
        x = augmented(x, config.augment, generator)
    match config.adversary if epsilon else "":
        case "certified":
            grown = min(1.0, max(0.0, (done - _WARM) / (_RAMP - _WARM)))
            logits = worst_logits(module, *box(x, epsilon * grown, space), y)
            loss = functional.cross_entropy(logits, y, weight=weights)
            if grown == 1:
                return loss
            return grown * loss + (1 - grown) * functional.cross_entropy(module(x), y, weight=weights)
        case "trades":
            moved = divergent(module, x, epsilon=epsilon, space=space, steps=_PGD_STEPS, generator=generator)
            clean = module(x)
            apart = functional.kl_div(
                functional.log_softmax(module(moved), dim=1), torch.softmax(clean, dim=1), reduction="batchmean"
            )
            return functional.cross_entropy(clean, wanted, weight=balance) + _TRADE * apart
        case "":
            return functional.cross_entropy(module(x), wanted, weight=balance)
    x = _perturb_batch(training, rows, x, y, data, config, generator)
    return functional.cross_entropy(module(x), wanted, weight=balance)


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
    if steps > 1 or config.adversary == "pgd":
        steps = max(steps, _PGD_STEPS if config.adversary == "pgd" else steps)
        return pgd(module, x, y, epsilon=epsilon, space=space, steps=steps, generator=generator)
    if space.norm == "l2":
        return fgsm(module, x, y, epsilon=epsilon, space=space, step=1.0)
    if config.augment:  # the example is another one each epoch: a change of it cannot be carried
        return fgsm(module, x, y, epsilon=epsilon, space=space, generator=generator)
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
    calibration: Examples | None = None,
) -> TrainedModel:
    """Return a model trained on `examples` to be right on them and on the worst changes within ``config.epsilon``.

    Classes count alike however common they are. On the CPU the result depends only on the arguments, not on the order
    of the examples. `warm` gives the first weights when its model, kind, classes and shapes are the same (only its
    caller knows whether what it learned from was recalled since). `checkpoint` is a local file that keeps the training
    after each epoch: run again with the same arguments after a kill it goes on to the same result, and a file of
    another training is replaced. Further members have files beside it; once the model is saved the caller deletes them
    all (`discard_checkpoint`). `validation` examples are watched for collapse in place of a part of the training's,
    `calibration` examples say from when on ``escalate`` hands on; neither are trained on.

    `DataError` for fewer than 2 classes, inputs out of range or an unknown kind; `ConfigError` for a model that does
    not fit the kind; `TrainingError` for a loss that is no number.
    """
    ordered = _ordered(examples)
    settled = fill_defaults(config, ordered)
    classes = _classes(ordered)
    place = pick_device(device)
    # limited_threads brings inference mode, which a training has to leave
    with limited_threads(threads), torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng():
        inputs = fit_inputs(ordered, settled.mutable, squeezed="round" in settled.squeeze)
        data = _training_data(ordered, inputs, classes, place)
        watched = ordered if validation is None else validation
        watch = _overfitting_watch(watched, inputs, classes, settled, data)
        where = f"{place.type} {threads}"
        job = _Job(settled, inputs, classes, data, watch, warm, checkpoint, (ordered, validation), where)
        trained: list[_Trained] = []
        for i in range(settled.members):
            trained.append(job.member(i, trained))
        if settled.distil:
            trained.append(job.student([part.module for part in trained]))
        module = _saved_form(settled, inputs, classes, [part.module for part in trained])
        if isinstance(ensemble := _body(module), Ensemble) and settled.escalate:
            set_stack(ensemble, _clean_rows(inputs, calibration, job.squeezer()), settled.escalate)
    cost = {"epochs": sum(len(part.history) for part in trained), "examples": len(examples)}
    cost |= {name: sum(getattr(part, name) for part in trained) for name in ("cpu_s", "wall_s")}
    history = tuple(row for part in trained for row in part.history)
    return TrainedModel(examples.kind, classes, settled, inputs, module, history, cost, settled.seed)


@dataclass(frozen=True, slots=True)
class _Trained:
    """A member that is done, on the CPU, without what squeezes its inputs."""

    module: nn.Module
    history: list[dict[str, Any]]
    cpu_s: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class _Job:
    """What the members of a training share."""

    config: RetrainConfig
    inputs: Inputs
    classes: tuple[str, ...]
    data: TrainingData
    watch: OverfittingWatch
    warm: TrainedModel | None
    checkpoint: Path | None
    examples: tuple[Examples, Examples | None]
    where: str

    def member(self, i: int, before: list[_Trained]) -> _Trained:
        """Train member `i` after those `before`; `TrainingError` says which one came to nothing."""
        algorithm = ALGORITHMS[i % len(ALGORITHMS)]
        try:
            if algorithm == "trees":
                return self._trees(before[0].module)
            return self._network(i, algorithm, self.data)
        except TrainingError as error:
            if self.config.members == 1:
                raise
            raise TrainingError(f"member {i + 1} of {self.config.members} ({algorithm}): {error}") from error

    def student(self, teachers: list[nn.Module]) -> _Trained:
        """Train one model on the mean of what `teachers`, and the champion where it has the classes, answer.

        References: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network" (2015).
        """
        asked = [nn.Sequential(*self.squeezer(), teacher) for teacher in teachers]
        if self.warm is not None and self.warm.classes == self.classes and self.warm.inputs.shape == self.inputs.shape:
            asked.append(self.warm.module)
        with torch.no_grad():
            rows = torch.arange(len(self.data.y)).split(_BLOCK)
            dense = (to_dense(self.data.encoded, some) for some in rows)
            answers = [sum(torch.softmax(one(x), dim=1) for one in asked) / len(asked) for x in dense]
        return self._network(self.config.members, "model", dataclasses.replace(self.data, soft=torch.cat(answers)))

    def squeezer(self) -> list[nn.Module]:
        if self.inputs.kind == "text":
            return []
        one = Squeeze.of(self.config.squeeze, self.config.epsilon or 0.0, self.inputs.shape)
        return [] if one is None else [one]

    def _network(self, i: int, algorithm: str, data: TrainingData) -> _Trained:
        config = dataclasses.replace(self.config, seed=self.config.seed + i)
        training, warmed = self._initial_state(i, algorithm, config)
        identity, checkpoint = "", self.checkpoint if i == 0 or self.checkpoint is None else self._file(i)
        if checkpoint is not None:
            where = self.where if i == 0 else f"{self.where} {i} {algorithm}"
            soft: dict[str, Tensor] = {} if data.soft is None else {"soft": data.soft}
            identity = training_fingerprint(config, self.examples, training.weights() | soft, where)
            read_checkpoint(checkpoint, training, identity)
        while training.epoch < (config.epochs or 0):
            _run_and_record_epoch(training, data, self.watch, config, warmed, checkpoint, identity)
        module = training.module.cpu().eval().requires_grad_(False)
        body = module[-1] if self.squeezer() and isinstance(module, nn.Sequential) else module
        history = training.history if self.config.members == 1 else [{**row, "member": i} for row in training.history]
        return _Trained(body, history, training.cpu_s, training.wall_s)

    def _file(self, i: int) -> Path:
        return Path(f"{self.checkpoint}.{i}")

    def _initial_state(self, i: int, algorithm: str, config: RetrainConfig) -> tuple[TrainingState, bool]:
        seeded_generator(config.seed, 0)
        n_classes = len(self.classes)
        module = build_member(str(config.model), algorithm, self.inputs.kind, self.inputs.shape, n_classes)
        before = self._warm_member(i, module)
        if before is not None:
            module.load_state_dict(before.state_dict())
        if squeezer := self.squeezer():
            module = nn.Sequential(*squeezer, module)
        if config.adversary == "certified":
            require_bounds(module, str(config.model))
            if before is None:
                draw_tight_weights(module)
        module.to(self.data.device).requires_grad_(True)
        optimiser = torch.optim.Adam(module.parameters(), config.learning_rate or 0.0, fused=True)
        return TrainingState(module, optimiser), before is not None

    def _warm_member(self, i: int, module: nn.Module) -> nn.Module | None:
        """Return the champion's member `i` where its model, classes and shapes are those of `module`."""
        if self.warm is None or (self.warm.config.model, self.warm.classes) != (self.config.model, self.classes):
            return None
        before = members_of(self.warm.module)
        i = 0 if i >= len(before) else i
        return before[i] if _shapes(before[i]) == _shapes(module) else None

    def _trees(self, first: nn.Module) -> _Trained:
        """Grow trees on squeezed examples, and on as many that one gradient step changed against the first network."""
        cpu, wall = time.process_time(), time.perf_counter()
        through = nn.Sequential(*self.squeezer(), first)
        columns = math.prod(self.inputs.shape)
        chosen = np.random.default_rng(self.config.seed).permutation(len(self.data.y))[: MOST_CELLS // (2 * columns)]
        rows = torch.from_numpy(np.sort(chosen))
        x, y = to_dense(self.data.encoded, rows), self.data.y[rows]
        if self.config.epsilon:
            how: dict[str, Any] = {"epsilon": self.config.epsilon, "space": self.data.space, "step": 1.0}
            moved = [fgsm(through, a, b, **how) for a, b in zip(x.split(_BLOCK), y.split(_BLOCK), strict=True)]
            x, y = torch.cat([x, *moved]), torch.cat([y, y])
        squeezed = nn.Sequential(*self.squeezer())(x).flatten(1).numpy()
        trees = grow_trees(squeezed, y.numpy(), self.data.weights[y].numpy(), len(self.classes), seed=self.config.seed)
        return _Trained(trees, [], time.process_time() - cpu, time.perf_counter() - wall)


def _shapes(one: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in one.state_dict().items()}


def _saved_form(config: RetrainConfig, inputs: Inputs, classes: tuple[str, ...], parts: list[nn.Module]) -> nn.Module:
    """Return the module that answers: the last of `parts` alone where it was taught, else all of them."""
    trees = {i: tuple(one.feature.shape) for i, one in enumerate(parts) if isinstance(one, Trees)}
    module = build_network(config, inputs.kind, inputs.shape, len(classes), trees)
    body = _body(module)
    if isinstance(body, Ensemble):
        for own, part in zip(body.members, parts, strict=True):
            own.load_state_dict(part.state_dict())
    else:
        body.load_state_dict(parts[-1].state_dict())
    return module.eval().requires_grad_(False)


def _clean_rows(inputs: Inputs, calibration: Examples | None, squeezer: list[nn.Module]) -> Tensor:
    """Return what the members see of examples that they did not learn from."""
    if calibration is None or not len(calibration):
        return torch.empty(0, *inputs.shape)
    x = to_dense(inputs.encode(calibration), slice(None))
    return nn.Sequential(*squeezer)(x)


def _body(module: nn.Module) -> nn.Module:
    """Return `module` without what squeezes its inputs."""
    squeezed = isinstance(module, nn.Sequential) and isinstance(module[0], Squeeze)
    return module[-1] if squeezed else module


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
