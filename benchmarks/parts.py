"""What lying cohorts cannot take from a model of parts, less what trusted examples give alone.

    python benchmarks/parts.py [--parts 50] [--cohorts 400] [--seeds 1]

MNIST and adult: so many examples by hashed cohorts, a few trusted ones in each part; 1,000 test examples.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.robust import adult, mnist
from poison_guard.config.policies import RetrainConfig
from poison_guard.retrain.parts import certificate, train_parts

SETS = (("MNIST", mnist, 300, 10_000), ("adult", adult, 200, 5_000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=50)
    parser.add_argument("--cohorts", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    print(
        "| data | parts | trusted, cohorts' | right | trusted alone | certified less alone, by lying cohorts | CPU s |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, load, few, many in SETS:
        fitted, tested = load()
        tested = tested.take(np.arange(1000))
        for seed in range(given.seeds):
            rng = np.random.default_rng(seed)
            order = rng.permutation(len(fitted))
            trusted, crowd = fitted.take(order[:few]), fitted.take(order[few : few + many])
            cohorts = np.array([f"cohort {i}" for i in rng.integers(0, given.cohorts, len(crowd))], dtype=object)
            begun = time.process_time()
            model = train_parts(crowd, cohorts, trusted, RetrainConfig(parts=given.parts))
            told = certificate(model, tested)
            spent, n = time.process_time() - begun, told["n"]
            gained = ", ".join(
                f"{m}: {100 * (right - told['alone']) / n:+.1f}" for m, right in told["certified"].items()
            )
            shares = f"{100 * told['right'] / n:.1f} | {100 * told['alone'] / n:.1f} | {gained}"
            print(f"| {name} | {given.parts} | {few} / {len(crowd):,} | {shares} | {spent:.0f} |", flush=True)


if __name__ == "__main__":
    main()
