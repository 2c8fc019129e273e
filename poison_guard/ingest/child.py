"""The process that reads untrusted objects: bounded memory, bounded computing, no environment.

It is started by `poison_guard.ingest.reader`, without pandas, and answers each line of JSON on stdin with one on
stdout: `Blocks.answer`, ``{"refusal": …}`` for what the object did, or ``{"fault": …}`` for what failed around it.
"""

from __future__ import annotations

import gc
import importlib
import json
import math
import resource
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from poison_guard.ingest.blocks import Blocks, read_blocks
from poison_guard.ingest.formats import FORMATS
from poison_guard.ingest.join import Joined
from poison_guard.ingest.nested import Reshaper, Shape
from poison_guard.ingest.raw_table import Limits, Unreadable, is_fault_of_file

_IDLE_SECONDS = 60
"""After so long without a request the process ends; the next request starts another one."""

_GARBAGE_AFTER = 200_000
"""Containers made before Python looks for cycles: the cells of a block are many, and have none."""


def main() -> None:
    """Answer requests until stdin ends or none has come for a while."""
    start = _address_space()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pa.set_cpu_count(1)
    gc.set_threshold(_GARBAGE_AFTER)
    while select.select([sys.stdin], [], [], _IDLE_SECONDS)[0] and (line := sys.stdin.readline()):
        request = json.loads(line)
        limits = Limits(**request["limits"])
        _limit(resource.RLIMIT_AS, start + limits.memory_bytes)
        _limit(resource.RLIMIT_CPU, math.ceil(time.process_time() + limits.cpu_seconds))
        sys.stdout.write(_answer(request, limits) + "\n")
        sys.stdout.flush()


def _limit(kind: int, value: int) -> None:
    """Set a limit of this process, at most the one that the system sets."""
    most = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if most == resource.RLIM_INFINITY else min(value, most), most))


def _address_space() -> int:
    """Return the bytes of address space that this process has now; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _answer(request: dict[str, Any], limits: Limits) -> str:
    answer: dict[str, Any]
    try:
        return json.dumps(_read(request, limits))
    except Unreadable as refusal:
        answer = {"refusal": str(refusal)}
    except MemoryError:
        megabytes = limits.memory_bytes >> 20
        answer = {"refusal": f"reading it takes more than {megabytes:,} MiB of memory", "memory": True}
    except Exception as error:  # noqa: BLE001  whatever a reader dies of, one object is held and the others are read
        first = (str(error).splitlines() or [type(error).__name__])[0][:300].rstrip(". ")
        if isinstance(error, ImportError) or (isinstance(error, OSError) and not is_fault_of_file(error)):
            answer = {"fault": getattr(error, "strerror", None) or first}
        else:
            answer = {"refusal": f"it is not a readable {FORMATS[request['format']].name} file: {first}"}
    return json.dumps(answer)


def _read(request: dict[str, Any], limits: Limits) -> dict[str, Any]:
    reshaper = None
    if "shape" in request:
        shape = Shape.received(request["shape"])
        reshaper = Reshaper(shape, limits, _partners(shape, request, limits))
    columns = tuple(request["columns"])
    return _rows(Path(request["path"]), request["format"], request["out"], limits, columns, reshaper).answer()


def _rows(
    path: Path, name: str, out_file: str, limits: Limits, columns: tuple[str, ...], reshaper: Reshaper | None = None
) -> Blocks:
    read: Callable[[Path, Limits, Blocks], None]
    read = getattr(importlib.import_module(f"poison_guard.ingest.{name}"), f"read_{name}")
    with Path(out_file).open("wb") as file:
        out = Blocks(file, limits, path.stat().st_size, columns, reshaper=reshaper)
        read(path, limits, out)
    return out


def _partners(shape: Shape, request: dict[str, Any], limits: Limits) -> Joined | None:
    """Return the rows of the second file; what cannot be read of it is the object's refusal, and says so."""
    parts = []
    wanted = shape.joined_columns()
    try:
        for i, (path, name) in enumerate(request["beside"]):
            file = f"{request['out']}.{i}"
            answer = _rows(Path(path), name, file, limits, tuple(sorted(wanted))).answer()
            parts.append(read_blocks(file, answer, limits))
        return shape.joined_by(parts) if shape.join[0] else None
    except Unreadable as refusal:
        raise Unreadable(f"the file that it is joined with cannot be used: {refusal}") from None
