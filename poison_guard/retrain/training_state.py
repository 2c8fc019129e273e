"""The state of a training between epochs, and its checkpoint: a safetensors file a killed training resumes from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from poison_guard.config.policies import RetrainConfig
from poison_guard.files import write_atomic
from poison_guard.numerics.tensors import pack_tensors, parse_tensors, read_bounded
from poison_guard.records import Examples
from poison_guard.retrain.inputs import to_dense
from poison_guard.retrain.perturb import Space

__all__ = [
    "TrainingData",
    "TrainingState",
    "class_weights",
    "discard_checkpoint",
    "read_checkpoint",
    "seeded_generator",
    "training_fingerprint",
    "write_checkpoint",
]


_MAX_CLASS_WEIGHT = 20.0  # times the weight of an average class that a rare one gets at most


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """What a module is trained on: encoded inputs, targets ``(n,)`` int64, weights of the classes ``(k,)``."""

    encoded: Any
    y: Tensor
    weights: Tensor
    space: Space
    device: torch.device

    soft: Tensor | None = None
    """Probabilities ``(n, k)`` that teachers give; None: the targets alone are learned."""

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return inputs, targets and what is to be answered (the targets, or probabilities) of `rows` on the device."""
        y = self.y[rows].to(self.device)
        wanted = y if self.soft is None else self.soft[rows].to(self.device)
        return to_dense(self.encoded, rows).to(self.device), y, wanted


@dataclass(slots=True, eq=False)
class TrainingState:
    """A training under way, between two epochs."""

    module: nn.Module
    optimiser: torch.optim.Optimizer
    epoch: int = 0
    """Epochs done."""
    attack_steps: int = 1
    """Gradient steps of the adversary in training: 1 is fast, more after a collapse."""
    carried: Tensor | None = None
    """Change of each example ``(n, …)`` int8, 127 being the radius; None without an adversary, or for ``l2``."""
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    """Weights that withstood PGD best so far."""
    best_robust: float = -1.0
    cpu_s: float = 0.0
    wall_s: float = 0.0

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the weights."""
        return {name: value.detach().clone() for name, value in self.module.state_dict().items()}


def class_weights(y: np.ndarray, classes: int) -> Tensor:
    """Return weights ``(k,)`` that make the classes count alike; a rare one at most twenty times."""
    counts = np.bincount(y, minlength=classes)
    weights = len(y) / (classes * np.maximum(counts, len(y) / (classes * _MAX_CLASS_WEIGHT)))
    return torch.tensor(weights, dtype=torch.float32)


def seeded_generator(seed: int, epoch: int) -> torch.Generator:
    """Return the source of all chance in an epoch, the same whether or not the training was interrupted before it."""
    mixed = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
    torch.manual_seed(mixed)  # for modules that draw themselves, such as dropout
    return torch.Generator().manual_seed(mixed)


_FORMAT = "poison-guard training 1"
_MAX_BYTES = 16 << 30  # bytes; what is carried of each example can make it large
_JSON_FIELDS = ("epoch", "attack_steps", "history", "best_robust", "cpu_s", "wall_s")


def training_fingerprint(
    config: RetrainConfig, parts: tuple[Examples | None, ...], start: dict[str, Tensor], place: str
) -> str:
    """Return a hash of all that a training depends on: settings, examples, first weights, and where it computes."""
    digest = hashlib.sha256(json.dumps([dataclasses.asdict(config), place, torch.__version__]).encode())
    for part in parts:
        digest.update(b"none" if part is None else _examples_hash(part))
    for name in sorted(start):
        digest.update(name.encode() + b"\0" + start[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _examples_hash(examples: Examples) -> bytes:
    digest = hashlib.sha256(repr((examples.kind, examples.inputs.shape, examples.features)).encode())
    for column in ("example_id", "label"):
        digest.update(json.dumps([str(value) for value in examples.frame[column]]).encode())
    if examples.kind == "text":
        digest.update(json.dumps(list(examples.inputs)).encode())
    else:
        digest.update(np.ascontiguousarray(examples.inputs).tobytes())
    return digest.digest()


def write_checkpoint(path: Path, training: TrainingState, identity: str) -> None:
    """Keep `training` in `path`, whole, in place of what was there."""
    tensors = {f"module.{name}": value for name, value in training.module.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in (training.best or {}).items()}
    if training.carried is not None:
        tensors["carried"] = training.carried
    for i, state in training.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{i}.{name}": value for name, value in state.items()}
    description = {"format": _FORMAT, "identity": identity} | {name: getattr(training, name) for name in _JSON_FIELDS}
    write_atomic(path, pack_tensors(description, tensors))


def read_checkpoint(path: Path, training: TrainingState, identity: str) -> bool:
    """Bring `training` to where `path` left it; False, and `training` untouched, when there is none of this training.

    `DataError` when the file is no checkpoint at all.
    """
    if not path.exists():
        return False
    description, tensors = parse_tensors(read_bounded(path, _MAX_BYTES), name=str(path), expected=_FORMAT)
    if description.get("identity") != identity:
        return False
    parts = {part: _tensors_of(tensors, part) for part in ("module", "best", "optimiser")}
    training.module.load_state_dict(parts["module"])
    training.best = parts["best"] or None
    training.carried = tensors.get("carried")
    _restore_optimiser(training, parts["optimiser"])
    for name in _JSON_FIELDS:
        setattr(training, name, description[name])
    return True


def discard_checkpoint(path: Path) -> None:
    """Remove the checkpoint `path` and those of further members beside it, where there are any."""
    for one in (path, *path.parent.glob(f"{path.name}.[0-9]*")):
        one.unlink(missing_ok=True)


def _tensors_of(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name.removeprefix(part + "."): value for name, value in tensors.items() if name.startswith(part + ".")}


def _restore_optimiser(training: TrainingState, tensors: dict[str, Tensor]) -> None:
    """Put the optimiser's tensors back, laid out in memory as the weights are, so that sums round alike."""
    parameters = [p for group in training.optimiser.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, _, key = name.partition(".")
        like = parameters[int(number)]
        same = value.shape == like.shape
        state.setdefault(int(number), {})[key] = torch.empty_like(like).copy_(value) if same else value
    groups = training.optimiser.state_dict()["param_groups"]
    training.optimiser.load_state_dict({"state": state, "param_groups": groups})
