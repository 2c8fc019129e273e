"""Cost: what each stage of a run took of the machine, whichever process it ran in, and the run as a whole."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from poison_guard.steps.handover import Handover

__all__ = ["STAGES", "measured", "spent", "total_cost", "usage"]

STAGES = ("collect", "validate", "score", "reduce", "decide", "commit")
"""The stages of a run, in their order."""


def usage() -> dict[str, float]:
    """Return ``wall_s``, a clock; ``cpu_s`` of this process and of those it waited for; and ``peak_mb`` of this one."""
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu = own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime
    return {"wall_s": time.perf_counter(), "cpu_s": cpu, "peak_mb": _peak_bytes() / 2**20}


def spent(since: Mapping[str, float]) -> dict[str, float]:
    """Return what was used since `usage` was asked: seconds, and the most MiB that this process ever held."""
    now = usage()
    return {name: round(now[name] - since[name], 3) for name in ("wall_s", "cpu_s")} | {
        "peak_mb": round(now["peak_mb"], 1)
    }


@contextmanager
def measured(handover: Handover, name: str) -> Iterator[None]:
    """Hand over what the body took, as the cost of a stage: ``score-00003`` counts to ``score``."""
    before = usage()
    yield
    handover.put(f"cost-{name}", spent(before))


def total_cost(handover: Handover, partitions: int, commit: Mapping[str, float]) -> dict[str, Any]:
    """Return the cost of each stage, and of all: seconds of all processes together, and the peak of the largest one.

    The wall time of stages that ran side by side is that of all of them, one after the other. The start of Python and
    its imports are not counted.
    """
    names = ["collect", "validate", *(f"score-{part:05d}" for part in range(partitions)), "reduce", "decide"]
    stages: dict[str, dict[str, float]] = {}
    for name in names:
        if handover.has(f"cost-{name}"):
            stage = name.partition("-")[0]
            stages[stage] = _together(stages.get(stage), handover.get(f"cost-{name}"))
    stages["commit"] = dict(commit)
    whole: dict[str, float] = {}
    for cost in stages.values():
        whole = _together(whole, cost)
    return {**stages, "cpu_s": whole["cpu_s"], "peak_mb": whole["peak_mb"]}


def _together(one: Mapping[str, float] | None, other: Mapping[str, float]) -> dict[str, float]:
    sums = {name: round((one or {}).get(name, 0.0) + other[name], 3) for name in ("wall_s", "cpu_s")}
    return sums | {"peak_mb": max((one or {}).get("peak_mb", 0.0), other["peak_mb"])}


def _peak_bytes() -> int:
    """Return the most memory that this process held; Linux's ``ru_maxrss`` would be the parent's for a new child."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
