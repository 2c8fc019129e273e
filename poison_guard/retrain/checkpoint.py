"""A training kept between epochs in one safetensors file, so that a killed one goes on where it was."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from poison_guard.config.retrain import RetrainConfig
from poison_guard.numerics.tensors import pack, parse, read_bounded, write_whole
from poison_guard.records import Examples
from poison_guard.retrain.course import Course

__all__ = ["fingerprint", "read_checkpoint", "write_checkpoint"]

_FORMAT = "poison-guard training 1"
_MOST = 16 << 30  # bytes; what is carried of each example can make it large
_PLAIN = ("epoch", "attack_steps", "history", "best_robust", "cpu_s", "wall_s")


def fingerprint(config: RetrainConfig, parts: tuple[Examples | None, ...], start: dict[str, Tensor], place: str) -> str:
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


def write_checkpoint(path: Path, course: Course, identity: str) -> None:
    """Keep `course` in `path`, whole, in place of what was there."""
    tensors = {f"module.{name}": value for name, value in course.module.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in (course.best or {}).items()}
    if course.carried is not None:
        tensors["carried"] = course.carried
    for i, state in course.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{i}.{name}": value for name, value in state.items()}
    description = {"format": _FORMAT, "identity": identity} | {name: getattr(course, name) for name in _PLAIN}
    write_whole(path, pack(description, tensors))


def read_checkpoint(path: Path, course: Course, identity: str) -> bool:
    """Bring `course` to where `path` left it; False, and `course` untouched, when there is none of this training.

    `DataError` when the file is no checkpoint at all.
    """
    if not path.exists():
        return False
    description, tensors = parse(read_bounded(path, _MOST), name=str(path), expected=_FORMAT)
    if description.get("identity") != identity:
        return False
    parts = {part: _under(tensors, part) for part in ("module", "best", "optimiser")}
    course.module.load_state_dict(parts["module"])
    course.best = parts["best"] or None
    course.carried = tensors.get("carried")
    _restore_optimiser(course, parts["optimiser"])
    for name in _PLAIN:
        setattr(course, name, description[name])
    return True


def _under(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name.removeprefix(part + "."): value for name, value in tensors.items() if name.startswith(part + ".")}


def _restore_optimiser(course: Course, tensors: dict[str, Tensor]) -> None:
    """Put the optimiser's tensors back, laid out in memory as the weights are, so that sums round alike."""
    parameters = [p for group in course.optimiser.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, _, key = name.partition(".")
        like = parameters[int(number)]
        same = value.shape == like.shape
        state.setdefault(int(number), {})[key] = torch.empty_like(like).copy_(value) if same else value
    groups = course.optimiser.state_dict()["param_groups"]
    course.optimiser.load_state_dict({"state": state, "param_groups": groups})
