"""Check the guard's GPU path on a GPU, in at most four minutes and without a network: one JSON file.

    python benchmarks/gpu_check.py [--out benchmarks/results/gpu_check.json] [--seed N]

Each detector on fresh inputs (the seed is drawn, and written down) against itself in float64 on the CPU; the same
scores in any order and in blocks of any size; the bytes of a block as its formula states them; the demo's decisions on
both devices; times as ratios to what the machine copies and multiplies in the same run. Exit code 0: all hold; 1:
something does not; 3: there is no GPU and nothing was checked.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from poison_guard import DETECTORS, Guard
from poison_guard.numerics.tensors import full_precision

OUT = Path(__file__).parent / "results" / "gpu_check.json"
NOTHING = "This machine has no GPU that torch sees: nothing was checked, and no file was written."
WIDTH = 16
_SIDE = 2048  # of the product that is the ceiling
FAR = 1e-3
"""Of the spread of the scores: how far float32 may be from float64."""
STEPPED = 0.01
"""Share of rows that may be farther where scores are steps: a value beside a cut falls on either side of it."""
NEAR = 1e-4
"""Difference of risks up to which another action counts as at a threshold."""


def check_detector(name: str, rng: np.random.Generator, rows: int) -> dict[str, Any]:
    """Return how far `name` on the GPU is from float64 on the CPU, whether order and blocks matter, and its bytes."""
    fitted, scored = rng.standard_normal((4096, WIDTH)), 1.5 * rng.standard_normal((rows, WIDTH))
    there = DETECTORS[name](device="cuda").fit(fitted)
    scores = there.score(scored)
    oracle = DETECTORS[name](device="cpu", dtype="float64").fit(fitted).score(scored)
    low, high = np.quantile(oracle, (0.05, 0.95))
    far = np.abs(scores - oracle) > FAR * max(high - low, 1e-12)
    order, cut = rng.permutation(rows), rows // 3
    gc.collect()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    there.score(scored)
    ratio = (torch.cuda.max_memory_allocated() - before) / there.block_bytes(rows)
    found = {
        "rows": rows,
        "far_from_float64": float(far.mean()),
        "order_is_nothing": bool((there.score(scored[order]) == scores[order]).all()),
        "blocks_are_nothing": bool((np.r_[there.score(scored[:cut]), there.score(scored[cut:])] == scores).all()),
        "bytes_to_formula": ratio,
    }
    holds = far.mean() <= STEPPED and found["order_is_nothing"] and found["blocks_are_nothing"]
    return {**found, "holds": bool(holds and abs(ratio - 1) <= 0.1)}


def check_demo(feed: str, seed: int) -> dict[str, Any]:
    """Return how many of a demo feed's records get another action on the GPU than on the CPU."""
    from poison_guard.drills.demo import shipped, trusted_path, write_world
    from poison_guard.drills.worlds import make_world

    with tempfile.TemporaryDirectory() as folder:
        home, before = Path(folder), os.environ.get("POISON_GUARD_DEVICE")
        write_world(make_world(feed, seed), home)
        decided = {}
        try:
            for device in ("cpu", "cuda"):
                os.environ["POISON_GUARD_DEVICE"] = device
                guard = Guard.open(shipped("feeds", f"{feed}.toml"), home=home)
                if not decided:
                    guard.trust(str(trusted_path(home, feed)), by="gpu-check", reason="the world's vetted records")
                decided[device] = guard.scan().decisions.set_index("record_id").sort_index()
        finally:
            os.environ.pop("POISON_GUARD_DEVICE")
            os.environ.update({} if before is None else {"POISON_GUARD_DEVICE": before})
    cpu, cuda = decided["cpu"], decided["cuda"].reindex(decided["cpu"].index)
    other = (cpu["action"].astype(str) != cuda["action"].astype(str)).to_numpy()
    near = ((cpu["risk"] - cuda["risk"]).abs() <= NEAR).to_numpy()
    counts = {
        "records": len(cpu),
        "other_action": int((other & ~near).sum()),
        "at_a_threshold": int((other & near).sum()),
    }
    return {**counts, "holds": counts["records"] > 0 and counts["other_action"] == 0}


def seconds(work: Callable[[], Any], times: int = 3) -> float:
    """Return the least wall seconds of `work`, done on the device, after a first one that is not counted."""
    work()
    found = []
    for _ in range(times):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return min(found)


def measure_times(rng: np.random.Generator, rows: int) -> dict[str, Any]:
    """Return what copies and products cost here, and each detector's time in units of both."""
    table = rng.standard_normal((rows, WIDTH)).astype(np.float32)
    block, side = torch.from_numpy(table), _SIDE
    square = torch.ones(side, side, device="cuda")
    with full_precision():
        copy, product = seconds(lambda: block.to("cuda")), seconds(lambda: square @ square)
    found: dict[str, Any] = {
        "rows": rows,
        "copy_gb_a_second": table.nbytes / copy / 1e9,
        "gemm_tflops": 2 * side**3 / product / 1e12,
    }
    for name, kind in DETECTORS.items():
        detector = kind(device="cuda").fit(table[:8192])
        spent = seconds(lambda detector=detector: detector.score(table), 2)
        found[name] = {"seconds": spent, "copies_of_the_table": spent / copy}
        if hasattr(detector, "reference_"):
            flops = 2 * rows * detector.reference_.numel()
            found[name]["times_its_gemm"] = spent / (product * flops / (2 * side**3))
    return found


def check(
    seed: int, *, rows: int = 20_000, timed: int = 262_144, feeds: tuple[str, ...] = ("telemetry", "chat", "captcha")
) -> dict[str, Any]:
    """Return all that is checked and measured, and whether it holds."""
    start, rng = time.perf_counter(), np.random.default_rng(seed)
    found: dict[str, Any] = {"checked": True, "seed": seed, "torch": torch.__version__}
    found["device"] = torch.cuda.get_device_name()
    found["detectors"] = {name: check_detector(name, rng, rows) for name in DETECTORS}
    found["demo"] = {feed: check_demo(feed, seed % 1000) for feed in feeds}
    found["times"] = measure_times(rng, timed)
    found["holds"] = all(one["holds"] for part in ("detectors", "demo") for one in found[part].values())
    found["wall_s"] = time.perf_counter() - start
    return found


def main() -> int:
    """Check, write the file, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--seed", type=int, default=None, help="of the inputs; drawn where none is given")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print(json.dumps({"checked": False, "why": NOTHING}))
        print(NOTHING, file=sys.stderr)
        return 3
    found = check(secrets.randbelow(2**32) if given.seed is None else given.seed)
    text = json.dumps(found, indent=1)
    given.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0 if found["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
