"""A pretended GPU: tensors with CPU values under the name ``cuda:0``, refused beside tensors of the CPU, and counted.

It checks the rules of a device (where tensors are, what is copied, what waits, what is held at once, what is summed in
no order, which products are rounded to TF32), not its kernels: those compute here as the CPU does.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

__all__ = ["Counts", "DeviceTensor", "pretended_device"]

_DEVICE = torch.device("cuda:0")
_GRAIN = 512  # bytes that CUDA's caching allocator rounds up to
_PRODUCTS = {"mm", "addmm", "bmm", "baddbmm"}
_CONVOLUTIONS = {"convolution", "convolution_backward"}
_WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "_unique2", "equal", "is_nonzero"}
_ADDING = {"index_add", "index_add_", "scatter_add", "scatter_add_"}


@dataclass
class Counts:
    """What was done on the device since it was entered."""

    operations: Counter[str] = field(default_factory=Counter)
    to_device: int = 0
    from_device: int = 0
    """Copies, each way."""
    pinned: int = 0
    """Tensors of the CPU that were pinned, so that their copy does not wait."""
    order: list[str] = field(default_factory=list)
    """``to`` and ``from``, a word a copy of `Tensor.to` and `cpu`."""
    waits: int = 0
    """Times that the CPU waited for the device: copies from it, and operations whose result has a size it decides."""
    unordered: Counter[str] = field(default_factory=Counter)
    """Sums of floats that a GPU adds up in no order."""
    live: int = 0
    peak: int = 0
    """Bytes that tensors hold now, and held at most."""
    capacity: float = float("inf")
    """Bytes past which an allocation fails as on a full GPU."""
    refused: int = 0
    """Allocations that failed."""
    held: Counter[int] = field(default_factory=Counter)
    """Tensors by storage."""


_now: list[Counts] = []


class DeviceTensor(torch.Tensor):
    """Values `elem` on the CPU that say they are on the device."""

    elem: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, elem: torch.Tensor) -> DeviceTensor:
        made: Any = torch.Tensor._make_wrapper_subclass(  # pyrefly: ignore
            cls,
            elem.shape,
            strides=elem.stride(),
            storage_offset=elem.storage_offset(),
            dtype=elem.dtype,
            device="cpu",
        )
        return made

    def __init__(self, elem: torch.Tensor) -> None:
        self.elem = elem
        _hold(self)

    @property
    def device(self) -> torch.device:  # pyrefly: ignore
        return _DEVICE

    @property
    def is_cuda(self) -> bool:  # pyrefly: ignore
        return True

    @property
    def is_cpu(self) -> bool:  # pyrefly: ignore
        return False

    def __repr__(self, **_: Any) -> str:  # pyrefly: ignore
        return f"DeviceTensor({self.elem!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


def _hold(tensor: DeviceTensor) -> None:
    """Count the storage of `tensor` until the last tensor that looks at it is gone."""
    counts = _now[-1] if _now else Counts()
    storage = tensor.elem.untyped_storage()
    key, size = storage._cdata, -(-storage.nbytes() // _GRAIN) * _GRAIN
    if not counts.held[key]:
        if counts.live + size > counts.capacity:
            counts.refused += 1
            raise torch.OutOfMemoryError(f"pretended device: {counts.live} and {size} bytes are past its capacity")
        counts.live += size
        counts.peak = max(counts.peak, counts.live)
    counts.held[key] += 1
    weakref.finalize(tensor, _let_go, counts, key, size)


def _let_go(counts: Counts, key: int, size: int) -> None:
    counts.held[key] -= 1
    if not counts.held[key]:
        del counts.held[key]
        counts.live -= size


def _compute(func: Any, args: Any, kwargs: Any) -> Any:
    counts, name = _now[-1], func._schema.name.split("::")[1]
    counts.operations[name] += 1
    _refuse_mixed(name, args, kwargs)
    if name in _WAITING or (name in ("index", "index_put_", "_index_put_impl_") and _by_mask(args[1])):
        counts.waits += 1
    if name in _ADDING and _adds_twice(args):
        counts.unordered[name] += 1
    if name in ("index_put_", "_index_put_impl_", "index_put") and len(args) > 3 and args[3]:
        counts.unordered[name] += 1
    plain, plain_kwargs = tree_map(_elem, (args, kwargs))
    if (name in _PRODUCTS and _matmul_rounds()) or (name in _CONVOLUTIONS and _convolution_rounds()):
        skipped = 1 if name in ("addmm", "baddbmm") else 0
        plain = plain[:skipped] + tuple(tree_map(_as_tf32, part) for part in plain[skipped:])
    own = {id(_elem(part)): part for part in _tensors((args, kwargs)) if isinstance(part, DeviceTensor)}

    def wrapped(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return own[id(value)] if id(value) in own else DeviceTensor(value)

    out = tree_map(wrapped, func(*plain, **plain_kwargs))
    if name == "copy_" and not isinstance(args[0], DeviceTensor):
        counts.from_device, counts.waits = counts.from_device + 1, counts.waits + 1
        return args[0]
    return out


def _elem(value: Any) -> Any:
    return value.elem if isinstance(value, DeviceTensor) else value


def _tensors(tree: Any) -> Iterator[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, dict):
        yield from _tensors(list(tree.values()))
    elif isinstance(tree, list | tuple):
        for part in tree:
            yield from _tensors(part)


def _refuse_mixed(name: str, args: Any, kwargs: Any) -> None:
    """Raise what torch raises for tensors of two devices; numbers (0-d) of the CPU may stand beside any."""
    if name in ("copy_", "_to_copy"):
        _now[-1].to_device += not isinstance(args[-1], DeviceTensor) if name == "copy_" else 0
        return
    if name in ("index", "index_put", "index_put_", "_index_put_impl_"):  # positions may be on the CPU, and are copied
        copied = [part for part in _tensors(args[1]) if not isinstance(part, DeviceTensor)]
        _now[-1].to_device += len(copied) if isinstance(args[0], DeviceTensor) else 0
        args = (args[0], *args[2:]) if isinstance(args[0], DeviceTensor) else args
    for part in _tensors((args, kwargs)):
        if not isinstance(part, DeviceTensor) and part.dim():
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but {name} got one of {_DEVICE} and one of the cpu"
            )


def _by_mask(indices: Any) -> bool:
    return any(part.dtype == torch.bool for part in _tensors(indices))


def _adds_twice(args: Any) -> bool:
    index, source = _elem(args[2]), args[3]
    return source.is_floating_point() and index.dim() == 1 and len(index.unique()) < len(index)


def _matmul_rounds() -> bool:
    return torch.backends.cuda.matmul.fp32_precision == "tf32"


def _convolution_rounds() -> bool:
    return torch.backends.cudnn.conv.fp32_precision == "tf32"


def _as_tf32(value: Any) -> Any:
    """Return a float32 tensor with 10 bits of fraction, to the nearest."""
    if not isinstance(value, torch.Tensor) or value.dtype != torch.float32:
        return value
    return ((value.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def _on_device(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


class _Placed(TorchFunctionMode):
    """Makes and copies tensors where they are asked for, before torch looks for a GPU that is not there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        held = bool(args) and isinstance(args[0], DeviceTensor)
        if name in ("to", "cpu", "cuda") and isinstance(args[0], torch.Tensor):
            return _moved(func, name, args, kwargs)
        if name == "pin_memory" and not held:
            _now[-1].pinned += 1
            return args[0]
        if held and name in ("numpy", "__array__", "data_ptr"):
            raise TypeError(f"can't convert {_DEVICE} device type tensor to numpy; copy it to the CPU first")
        if held and name == "tolist":
            _now[-1].waits, _now[-1].from_device = _now[-1].waits + 1, _now[-1].from_device + 1
            return args[0].elem.tolist()
        if held and name in (
            "quantile",
            "nanquantile",
            "median",
            "one_hot",
        ):  # made of parts, some on what torch holds for their device
            return tree_map(
                lambda out: DeviceTensor(out) if isinstance(out, torch.Tensor) else out, _whole(func, args, kwargs)
            )
        if name != "__get__" and _on_device(kwargs.get("device")):
            kwargs["device"] = "cpu"
            plain = tree_map(_elem, args)
            return DeviceTensor(func(*plain, **kwargs))
        return func(*args, **kwargs)


def _whole(func: Any, args: Any, kwargs: Any) -> Any:
    """Return an operation of the values, as one kernel."""
    _now[-1].operations[func.__name__] += 1
    _refuse_mixed(func.__name__, args, kwargs)
    plain, plain_kwargs = tree_map(_elem, (args, kwargs))
    return func(*plain, **plain_kwargs)


def _moved(func: Any, name: str, args: Any, kwargs: Any) -> torch.Tensor:
    """Return a tensor where `Tensor.to`, `cpu` or `cuda` wants it, and count the copy."""
    source, counts = args[0], _now[-1]
    target, kind = kwargs.get("device"), kwargs.get("dtype")
    for value in args[1:] if name == "to" else ():
        if isinstance(value, torch.dtype):
            kind = value
        elif isinstance(value, torch.Tensor):
            target, kind = value.device, value.dtype
        elif isinstance(value, str | torch.device):
            target = value
    target = {"cpu": "cpu", "cuda": _DEVICE}.get(name, target)
    here = isinstance(source, DeviceTensor)
    if target is None or _on_device(target) == here:
        return (
            source if kind is None else torch.ops.aten._to_copy(source, dtype=kind) if kind != source.dtype else source
        )
    if here:
        counts.from_device, counts.waits = counts.from_device + 1, counts.waits + 1
        counts.order.append("from")
        return source.detach().elem.clone().to(kind or source.dtype)
    counts.to_device += 1
    counts.order.append("to")
    return DeviceTensor(source.detach().clone().to(kind or source.dtype))


def _without_gradients(mode: bool = True) -> AbstractContextManager[Any]:
    return torch.no_grad() if mode else nullcontext()


@contextmanager
def pretended_device() -> Iterator[Counts]:
    """Run the body on a machine with one pretended GPU, which ``device="auto"`` and ``"cuda"`` take."""
    counts = Counts()
    _now.append(counts)
    patches = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "mem_get_info": lambda *_: (int(min(counts.capacity, 64 << 30)) - counts.live, 64 << 30),
        "get_rng_state": lambda *_: torch.empty(0),
        "set_rng_state": lambda *_: None,
        "empty_cache": lambda: None,
        "synchronize": lambda: None,
        "Stream": lambda *_: mock.MagicMock(),
        "current_stream": lambda *_: mock.MagicMock(),
        "stream": lambda *_: nullcontext(),
        "get_device_name": lambda: "pretended",
        "memory_allocated": lambda *_: counts.live,
        "max_memory_allocated": lambda *_: counts.peak,
        "memory_reserved": lambda *_: counts.live,
        "reset_peak_memory_stats": lambda: setattr(counts, "peak", counts.live),
    }
    with ExitStack() as stack:
        for name, value in patches.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        stack.enter_context(mock.patch.object(torch.Tensor, "record_stream", return_value=None))
        # views made in inference mode would be inference tensors of ones that are not, which a subclass may not be
        stack.enter_context(mock.patch.object(torch, "inference_mode", _without_gradients))
        # a moved parameter is another tensor: one on the device cannot take the place of another one's values
        stack.callback(
            torch.__future__.set_overwrite_module_params_on_conversion,
            torch.__future__.get_overwrite_module_params_on_conversion(),
        )
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.enter_context(_Placed())
        try:
            yield counts
        finally:
            _now.remove(counts)
