"""Time and peak memory of `Guard.scan` over a telemetry batch, at several sizes, in fresh processes.

    python benchmarks/scan.py [ROWS …]

The yardstick of the same run is scikit-learn's IsolationForest alone (fit on the same trusted rows, scoring the same
batch): one detector, without validation, campaigns, calibration or reasons.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

FEATURES = [f"f{i}" for i in range(8)]
CONTRACT = f"""
name = "bench"
kind = "telemetry"
[columns]
record_id = "session_id"
source_id = "device_id"
observed_at = "at"
features = {json.dumps(FEATURES)}
"""
RESULTS = Path(__file__).parent / "results" / "scan.md"


def sessions(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(0).normal(size=(4, len(FEATURES)))
    x = np.exp(0.4 * rng.normal(size=(n, 4)) @ mix + 0.2 * rng.normal(size=(n, len(FEATURES))))
    frame = pd.DataFrame(x, columns=FEATURES)
    frame.insert(0, "session_id", [f"s{seed}-{i:07d}" for i in range(n)])
    frame.insert(1, "device_id", [f"d{k}" for k in rng.integers(0, max(1, n // 5), n)])
    seconds = rng.uniform(0, 86_400, n)
    frame.insert(2, "at", pd.Timestamp("2026-03-01", tz="UTC") + pd.to_timedelta(seconds, unit="s"))
    return frame


def measure_guard(folder: str, rows: int) -> dict[str, float]:
    from poison_guard import Guard

    home = Path(folder)
    (home / "bench.toml").write_text(CONTRACT)
    guard = Guard.open(home / "bench.toml", home=home / "home")
    guard.trust(sessions(6_000, 1), by="bench", reason="made by the benchmark")
    data = home / "batch.parquet"
    sessions(rows, 2).to_parquet(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    result = guard.scan(data)
    return {
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "before_mb": before / 1024,
        "held": int((result.decisions["action"] != "accept").sum()),
    }


def measure_peer(folder: str, rows: int) -> dict[str, float]:
    from sklearn.ensemble import IsolationForest

    trusted, data = sessions(6_000, 1), sessions(rows, 2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    scores = IsolationForest(random_state=0).fit(trusted[FEATURES]).score_samples(data[FEATURES])
    return {
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "before_mb": before / 1024,
        "held": int((scores < np.quantile(scores, 0.01)).sum()),
    }


def main(sizes: list[int]) -> None:
    lines = [
        "# `Guard.scan` over a telemetry batch (8 features, 6,000 trusted records, 2 cores)",
        "",
        "`python benchmarks/scan.py`; a fresh process each; peak memory is the whole process, libraries included.",
        "The peer is scikit-learn's IsolationForest alone: no validation, identities, campaigns, calibration, reasons.",
        "",
        "| rows | who | wall s | CPU s | peak MB | before MB | CPU / peer's |",
        "|---|---|---|---|---|---|---|",
    ]
    for rows in sizes:
        found = {}
        for who in ("peer", "guard"):
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, __file__, "--one", who, folder, str(rows)]
                told = subprocess.run(command, check=True, capture_output=True, text=True)
            found[who] = json.loads(told.stdout.splitlines()[-1])
        for who, m in found.items():
            ratio = m["cpu_s"] / found["peer"]["cpu_s"]
            seconds, memory = f"{m['wall_s']:.1f} | {m['cpu_s']:.1f}", f"{m['peak_mb']:.0f} | {m['before_mb']:.0f}"
            lines.append(f"| {rows:,} | {who} | {seconds} | {memory} | {ratio:.1f} |")
            print(lines[-1], flush=True)
    RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        who, folder, rows = sys.argv[2], sys.argv[3], int(sys.argv[4])
        print(json.dumps((measure_guard if who == "guard" else measure_peer)(folder, rows)))
    else:
        main([int(a) for a in sys.argv[1:]] or [10_000, 100_000, 1_000_000])
