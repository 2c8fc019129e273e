"""A trained model: the frozen value, its predictions, and its safetensors file, from which no code is ever run."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from poison_guard.config.policies import RetrainConfig
from poison_guard.config.tables import parse
from poison_guard.errors import ConfigError, DataError, TamperError
from poison_guard.files import write_atomic
from poison_guard.numerics.tensors import limited_threads, pack_tensors, parse_tensors, pick_device, read_bounded
from poison_guard.records import Examples
from poison_guard.retrain.ensemble import Ensemble, members_of
from poison_guard.retrain.inputs import INPUTS, Inputs, to_dense
from poison_guard.retrain.models import build_network, is_import_path, model_kind
from poison_guard.retrain.trees import Trees

__all__ = [
    "MODEL_FILE",
    "Answers",
    "TrainedModel",
    "answer",
    "device_of",
    "has_collapsed",
    "on_device",
    "predict",
    "predict_probabilities",
    "read_model",
    "write_model",
]


@dataclass(frozen=True, slots=True, eq=False)
class TrainedModel:
    """A trained classifier."""

    kind: str
    """``image``, ``table`` or ``text``."""
    classes: tuple[str, ...]
    """Labels in the order of the outputs, sorted."""
    config: RetrainConfig
    """Settings it was trained with, every default filled in."""
    inputs: Inputs
    """Fitted transform from examples to what `module` takes."""
    module: nn.Module
    """In evaluation mode: ``(b, *inputs.shape)`` float32 to logits ``(b, k)``; on the CPU but for `on_device`."""
    history: tuple[Mapping[str, Any], ...]
    """One dict an epoch: ``epoch, loss, robust`` (share of the watched examples that withstand PGD; None where it was
    not looked at), ``attack_steps`` (1: fast), ``event`` (``warm``, ``collapsed``,
    ``restored`` or empty)."""
    cost: Mapping[str, float]
    """``cpu_s`` and ``wall_s`` of the training, over all its runs, ``epochs`` and ``examples``."""
    seed: int

    def targets(self, labels: Any) -> np.ndarray:
        """Return the output of each label ``(n,)`` int64; -1 for labels that the model was not trained on."""
        place = {label: i for i, label in enumerate(self.classes)}
        return np.array([place.get(label, -1) for label in labels], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model says of examples, and which of them it leaves to a person."""

    probabilities: np.ndarray
    """``(n, k)`` as `predict_probabilities` gives them."""
    escalated: np.ndarray
    """``(n,)`` bool; none where the model was not trained to escalate."""


_BLOCK_ROWS = 16_384  # examples encoded at a time


def predict_probabilities(
    model: TrainedModel, examples: Examples, *, batch: int = 1024, threads: int = 1
) -> np.ndarray:
    """Return ``(n, k)`` float64 in [0, 1], rows adding up to 1, columns in the order of ``model.classes``.

    Labels of `examples` are not looked at: an example of a class that the model was not trained on gets probabilities
    of the classes it knows. They are those of equally common classes, since training balances them. `DataError` for
    examples of another kind, size or columns than the model was trained on, and for outputs that are no numbers.
    """
    return predict(model, examples, batch=batch, threads=threads).probabilities


def predict(model: TrainedModel, examples: Examples, *, batch: int = 1024, threads: int = 1) -> Answers:
    """Return what `predict_probabilities` does, and which examples the model is not sure enough of to answer."""
    if examples.kind != model.kind:
        raise DataError(f"the model judges examples of kind {model.kind}, got {examples.kind}")
    tables, handed_on = [np.empty((0, len(model.classes)))], [np.empty(0, dtype=bool)]
    with limited_threads(threads):
        model.module.eval()
        device = device_of(model.module)
        for start in range(0, len(examples), _BLOCK_ROWS):
            encoded = model.inputs.encode(examples.take(np.arange(start, min(start + _BLOCK_ROWS, len(examples)))))
            for at in range(0, encoded.shape[0], batch):
                p, escalated = answer(model.module, to_dense(encoded, slice(at, at + batch)).to(device))
                tables.append(p.double().cpu().numpy())
                handed_on.append(escalated.cpu().numpy())
    table = np.concatenate(tables)
    if not np.isfinite(table).all():
        raise DataError(
            "the model's outputs are no numbers for some examples; train it again with a lower learning_rate"
        )
    return Answers(table, np.concatenate(handed_on))


def on_device(model: TrainedModel, device: str) -> TrainedModel:
    """Return `model` with a copy of its module on `device` (as `pick_device` takes it); itself on the CPU."""
    place = pick_device(device)
    if place.type == "cpu":
        return model
    return dataclasses.replace(model, module=copy.deepcopy(model.module).to(place))


def device_of(module: nn.Module) -> torch.device:
    """Return where the weights are; the CPU for a module that has none."""
    return next((part.device for part in chain(module.parameters(), module.buffers())), torch.device("cpu"))


def answer(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return probabilities ``(b, k)`` of encoded inputs, and which rows ``(b,)`` bool a person must answer."""
    body = module[-1] if isinstance(module, nn.Sequential) else module
    if isinstance(body, Ensemble):
        squeezed = module[:-1](x) if isinstance(module, nn.Sequential) else x
        return body.answer(squeezed)
    return torch.softmax(module(x).double(), dim=1), torch.zeros(len(x), dtype=torch.bool, device=x.device)


_LOOKED_AT = 4_096  # examples of its own that a model is asked about


def has_collapsed(model: TrainedModel, examples: Examples) -> bool:
    """Return whether a model is no surer than chance to be right on the examples it learned from.

    The mean over labels of the share that is right, which any constant answer brings to one label in k, lies within two
    standard errors of that.
    """
    some = examples.take(np.unique(np.linspace(0, len(examples) - 1, min(_LOOKED_AT, len(examples))).astype(int)))
    wanted = model.targets(some.frame["label"].astype(str))
    right = predict_probabilities(model, some).argmax(axis=1) == wanted
    shares = [right[wanted == k].mean() for k in np.unique(wanted)]
    chance = 1 / len(model.classes)
    spread = math.sqrt(chance * (1 - chance) / len(some))
    return bool(np.mean(shares) <= chance + 2 * spread)


MODEL_FILE = "model.safetensors"
"""Name of the file in the folder it is saved to."""
_FORMAT = "poison-guard model 1"


def write_model(model: TrainedModel, folder: Path) -> tuple[Path, str]:
    """Write `model` to a file in `folder`, whole or not at all; return its path and SHA-256, hex."""
    description = {
        "format": _FORMAT,
        "kind": model.kind,
        "classes": list(model.classes),
        "config": {key: value for key, value in dataclasses.asdict(model.config).items() if value is not None},
        "inputs": model.inputs.settings(),
        "history": [dict(row) for row in model.history],
        "cost": dict(model.cost),
        "seed": model.seed,
    }
    tensors = {f"module.{name}": value for name, value in model.module.state_dict().items()}
    tensors |= {f"inputs.{name}": torch.from_numpy(array) for name, array in model.inputs.arrays().items()}
    data = pack_tensors(description, tensors)
    path = Path(folder) / MODEL_FILE
    write_atomic(path, data)
    return path, hashlib.sha256(data).hexdigest()


def read_model(path: Path, sha256: str | None = None, *, allow_import: bool = False) -> TrainedModel:
    """Return the model that `write_model` wrote to `path`.

    `DataError` names the file when it is anything else: a pickle, an archive, cut short, past its bounds, or with
    tensors that do not fit its model. `TamperError` when its hash is not `sha256`. A model of an import path runs code
    of that path's package: it is only loaded with `allow_import`, and then only with its `sha256`.
    """
    path = Path(path)
    data = read_bounded(path)
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and digest != sha256:
        raise TamperError(
            f"{path} has the SHA-256 {digest}, not {sha256} as it was saved; restore it from a "
            "backup, or train anew with `poison-guard retrain --from-scratch`"
        )
    description, tensors = parse_tensors(data, name=str(path), expected=_FORMAT)
    try:
        return _rebuild(description, tensors, path, allow_import and sha256 is not None)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        raise DataError(f"{path} describes a model that cannot be ({error}); train it again") from error


def _rebuild(description: dict[str, Any], tensors: dict[str, Tensor], path: Path, imports: bool) -> TrainedModel:
    kind, classes = str(description["kind"]), tuple(str(label) for label in description["classes"])
    config = _config(description["config"], path)
    arrays = {n.removeprefix("inputs."): v.numpy() for n, v in tensors.items() if n.startswith("inputs.")}
    inputs: Inputs = INPUTS[kind].restore(description["inputs"], arrays)
    name = str(config.model)
    if model_kind(name) not in (None, kind):
        raise DataError(f"{path} says that {name} learned from {kind} examples; train it again")
    if is_import_path(name) and not imports:
        raise DataError(f"{path} names the import path {name!r}, which loading would run; give its sha256 and allow it")
    module = _module(config, kind, inputs.shape, len(classes), tensors)
    history = tuple(dict(row) for row in description["history"])
    cost = {str(key): value for key, value in description["cost"].items() if math.isfinite(value)}
    return TrainedModel(kind, classes, config, inputs, module, history, cost, int(description["seed"]))


def _config(table: dict[str, Any], path: Path) -> RetrainConfig:
    try:
        return parse(RetrainConfig, table, where="[retrain]", file=str(path))
    except ConfigError as error:
        raise DataError(f"{path} holds settings that cannot be: {error}") from error


def _module(
    config: RetrainConfig, kind: str, shape: tuple[int, ...], classes: int, tensors: dict[str, Tensor]
) -> nn.Module:
    """Return the module with its weights; shapes are compared before memory is taken."""
    weights = {n.removeprefix("module."): value for n, value in tensors.items() if n.startswith("module.")}
    with nullcontext() if is_import_path(str(config.model)) else torch.device("meta"):
        module = build_network(config, kind, shape, classes, _tree_shapes(weights))
    wanted = {n: value.shape for n, value in module.state_dict().items()}
    if wanted != {n: value.shape for n, value in weights.items()}:
        raise ValueError("its tensors are not those of its model")
    module.load_state_dict(weights, assign=True)
    if not all(bool(np.isfinite(value.numpy()).all()) for value in weights.values()):
        raise ValueError("its weights are not all numbers")
    for part in members_of(module):
        if isinstance(part, Trees):
            part.check(math.prod(shape))
    return module.eval().requires_grad_(False)


def _tree_shapes(weights: dict[str, Tensor]) -> dict[int, tuple[int, int]]:
    """Return how many trees of how many nodes each member of a file has that is trees."""
    names = {name.split("members.")[1].split(".")[0]: name for name in weights if name.endswith(".threshold")}
    return {int(i): (weights[name].shape[0], weights[name].shape[1]) for i, name in names.items()}
