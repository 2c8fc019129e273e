"""Fitted detectors as safetensors files: numbers and names only, so that loading one runs no code."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from poison_guard.errors import DataError, UsageError
from poison_guard.files import write_atomic
from poison_guard.numerics.tensors import pack_tensors, parse_tensors, pick_device, read_bounded
from poison_guard.signals.anomaly.base import Columns, Detector, TailRank
from poison_guard.text import to_jsonable

__all__ = ["FORMAT", "load", "save"]

FORMAT = "poison-guard-detector/1"
_BROKEN = (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError)  # what a tampered part raises
_VALUES: dict[str, type] = {"Columns": Columns, "TailRank": TailRank}  # frozen values that detectors hold, by name


def save(detector: Detector, path: str | Path) -> None:
    """Write the fitted `detector` to `path`: its parameters and every attribute whose name ends in ``_``.

    `DataError` when it was not fitted.
    """
    if (offset := getattr(detector, "offset_", None)) is not None:
        vars(detector)["offset_"] = offset  # found when first asked for, by rows that are not saved
    tensors: dict[str, torch.Tensor] = {}
    tree = _taken_apart(detector, "", tensors)
    if not tree["fitted"]:
        raise DataError(f"{detector.name} was not fitted; call fit before save")
    fitted_on = "cuda" if any(part.is_cuda for part in tensors.values()) else "cpu"
    description = {"format": FORMAT, "fitted_on": fitted_on, "tree": tree}
    write_atomic(Path(path), pack_tensors(description, tensors), mode=None)


def load(path: str | Path, kinds: Mapping[str, type[Detector]], *, device: str = "auto") -> Detector:
    """Return the detector that `save` wrote, of one of `kinds` by name, on `device`; it scores as the saved one did.

    ``auto`` is the class of device that it was fitted on. `UsageError` for another one, and where this machine has
    none: thresholds and p-values found on a GPU are not those of a CPU, to the last digits.
    `DataError` names the file when it cannot be read, holds no such detector, or one that cannot score a row. A file
    that somebody edited may still score as they like: keep it where only those who may change the guard can write.
    """
    description, tensors = parse_tensors(read_bounded(Path(path)), name=str(path), expected=FORMAT)
    place = _place(device, description.get("fitted_on"), path)
    try:
        detector = _put_together(description["tree"], kinds, tensors, str(place))
        _try(detector, tensors)
    except (*_BROKEN, UsageError) as error:
        raise DataError(f"{path} holds no known detector ({error!r}); fit one and save it again") from error
    return detector


def _place(device: str, fitted_on: object, path: str | Path) -> torch.device:
    """Return the device to load on, of the class that a detector was fitted on where its file says so."""
    there = pick_device(device)
    if fitted_on not in ("cpu", "cuda") or there.type == fitted_on:
        return there
    if device == "auto" and fitted_on == "cpu":
        return torch.device("cpu")
    raise UsageError(
        f"{path} was fitted and calibrated on {fitted_on}, not on {there.type}: load it on a machine with "
        f"device={fitted_on!r}, or fit and calibrate it anew with device={there.type!r}"
    )


def _try(detector: Detector, tensors: Mapping[str, torch.Tensor]) -> None:
    """Score two rows: parts that do not fit together fail here, not in the middle of a batch."""
    if any(part.is_floating_point() and bool(part.isnan().any()) for part in tensors.values()):
        raise ValueError("a tensor holds NaN")
    columns = [part.shape for name, part in tensors.items() if name.endswith(("columns_.centre", "columns_.scale"))]
    if len({*columns}) != 1 or len(columns[0]) != 1:
        raise ValueError("its columns are not those of one table")
    scores = detector.score(np.zeros((2, *columns[0])))
    if scores.shape != (2,) or not np.isfinite(scores).all():
        raise ValueError("its scores are no finite numbers")


def _parameters(kind: type[Any]) -> list[str]:
    return [name for name in inspect.signature(kind).parameters if name != "device"]


def _taken_apart(value: Any, at: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Return `value` as JSON, its arrays put into `tensors` under the path that leads to them."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case torch.Tensor():
            tensors[at] = value
            return {"tensor": at}
        case np.ndarray():
            tensors[at] = torch.from_numpy(np.ascontiguousarray(value))
            return {"array": at}
        case tuple():
            return {"tuple": [_taken_apart(one, f"{at}.{i}", tensors) for i, one in enumerate(value)]}
        case _ if hasattr(value, "fit") and hasattr(value, "score"):
            fitted = {k: v for k, v in vars(value).items() if k.endswith("_")}
            return {
                "detector": value.name,
                "parameters": {name: to_jsonable(getattr(value, name)) for name in _parameters(type(value))},
                "fitted": {k: _taken_apart(v, f"{at}.{k}".lstrip("."), tensors) for k, v in fitted.items()},
            }
    if is_dataclass(value) and type(value).__name__ in _VALUES:
        parts = {f.name: _taken_apart(getattr(value, f.name), f"{at}.{f.name}", tensors) for f in fields(value)}
        return {"value": type(value).__name__, "parts": parts}
    raise TypeError(f"{at} is a {type(value).__name__}, which a detector file cannot hold")


def _put_together(
    tree: Any, kinds: Mapping[str, type[Detector]], tensors: Mapping[str, torch.Tensor], device: str
) -> Any:
    def again(part: Any) -> Any:
        return _put_together(part, kinds, tensors, device)

    match tree:
        case {"tensor": at}:
            return tensors[at].to(pick_device(device))
        case {"array": at}:
            return tensors[at].numpy()
        case {"tuple": parts}:
            return tuple(again(part) for part in parts)
        case {"value": name, "parts": parts}:
            return _VALUES[name](**{key: again(part) for key, part in parts.items()})
        case {"detector": name, "parameters": parameters, "fitted": fitted}:
            make: Callable[..., Detector] = kinds[name]
            detector = make(**parameters, device=device)
            for key, part in fitted.items():
                if not key.endswith("_") or key.startswith("_"):
                    raise ValueError(f"{key!r} is no fitted attribute")
                setattr(detector, key, again(part))
            return detector
    return tree
