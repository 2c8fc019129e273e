"""Measure how often honest snapshots pass the gate and poisoned ones do not, over simulated seals of public data.

Usage: ``python benchmarks/gate.py [--seals N] [--attacks N]``; writes ``benchmarks/results/gate.md``. A seal draws up
to 5,000 examples and, apart from them, the trusted ones; 0, 1 or 3 % of both sides' labels are wrong in turn. The data
folder is POISON_GUARD_DATA, or ``shared/data`` beside the repository; data that is not there is left out.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from poison_guard.config.policies import GatePolicy
from poison_guard.gate.measure import (
    audits,
    backlog,
    measure_examples,
    no_candidate,
    no_sources,
    observed,
    trusted_set,
)
from poison_guard.gate.outcomes import Outcome, Verdict
from poison_guard.gate.verdict import evaluate_checks
from poison_guard.records import Examples

DATA = Path(os.environ.get("POISON_GUARD_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
RESULTS = Path(__file__).parent / "results" / "gate.md"
NOISE = (0.0, 0.01, 0.03)
"""Share of wrong labels on both sides, in turn."""
ATTACKS = ("flips:0.05", "targeted:0.3", "backdoor:0.01")
"""Random flips; flips of one random class into another; a trigger with a random target label, as shares."""
CASES = {
    "digits": (599,),
    "mnist": (1000, 500, 2000),
    "adult": (1000, 500, 2000),
    "sms-spam": (1000,),
    "made-26": (1000,),
    "made-2": (1000,),
    "tweets-davidson": (1000, 500, 2000),
}
"""Trusted examples; the first is the main case, the others get a quarter of its seals."""


@dataclass(frozen=True, slots=True)
class Pool:
    """All examples of one public data set, and how a dirty trigger is put into an input."""

    name: str
    kind: str
    inputs: np.ndarray
    labels: np.ndarray
    trigger: Callable[[np.ndarray], np.ndarray]


def _patch(images: np.ndarray) -> np.ndarray:
    out, side = images.copy(), max(1, images.shape[-1] // 9)
    out[:, :, -side - 1 : -1, -side - 1 : -1] = 1.0
    return out


def _word(texts: np.ndarray) -> np.ndarray:
    return np.array([f"{text} mondrivo" for text in texts], dtype=object)


def _value(rows: np.ndarray) -> np.ndarray:
    out = rows.copy()
    out[:, 0] = np.nanmax(rows[:, 0]) + 0.5
    return out


def pools() -> Iterator[Pool]:
    """Yield the data sets that are there."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images / 16.0)[:, None].astype(np.float32)
    yield Pool("digits", "image", images, digits.target.astype(str), _patch)
    if (DATA / "images/mnist.npz").exists():
        raw = np.load(DATA / "images/mnist.npz")
        images = raw["x_train"][:30_000, None].astype(np.float32) / 255.0
        yield Pool("mnist", "image", images, raw["y_train"][:30_000].astype(str), _patch)
    if (DATA / "tabular/adult.csv").exists():
        frame = pd.read_csv(DATA / "tabular/adult.csv", skipinitialspace=True)
        label = frame.pop("income").astype(str).str.strip(" .").to_numpy()
        coded = [
            pd.factorize(frame[c], sort=True)[0] if not pd.api.types.is_numeric_dtype(frame[c]) else frame[c]
            for c in frame
        ]
        yield Pool("adult", "table", np.column_stack(coded).astype(np.float64), label, _value)
    yield from _texts()
    yield _made("made-26", 26, uneven=0.0, apart=1.5)
    yield _made("made-2", 2, uneven=3.0, apart=1.5)


def _made(name: str, classes: int, *, uneven: float, apart: float) -> Pool:
    """Normal classes that overlap, the k-th of them ``1 / k**uneven`` as common, with rounded and missing cells."""
    rng = np.random.default_rng(classes)
    shares = 1 / np.arange(1, classes + 1) ** uneven
    codes = rng.choice(classes, 12_000, p=shares / shares.sum())
    rows = rng.standard_normal((12_000, 10)) + apart * rng.standard_normal((classes, 10))[codes]
    rows[:, 0] = np.round(rows[:, 0])
    rows[rng.random(rows.shape) < 0.02] = np.nan
    return Pool(name, "table", rows, np.array([f"L{code:02d}" for code in codes]), _value)


def _texts() -> Iterator[Pool]:
    for name, text, label in (("sms-spam", "text", "label"), ("tweets-davidson", "tweet", "class")):
        file = DATA / f"messages/{name}.csv"
        if file.exists():
            frame = pd.read_csv(file).dropna(subset=[text, label])
            frame = frame[frame[label].astype(str) != "Label"].drop_duplicates(text)
            yield Pool(name, "text", frame[text].to_numpy(object), frame[label].astype(str).to_numpy(), _word)


def examples(pool: Pool, at: np.ndarray, labels: np.ndarray, inputs: np.ndarray, prefix: str) -> Examples:
    """Return rows as `Examples`; everything is new."""
    frame = pd.DataFrame(
        {"example_id": [f"{prefix}{i}" for i in at], "label": labels.astype(str), "slice": "", "is_new": True}
    )
    names = tuple(f"c{i}" for i in range(inputs.shape[1])) if pool.kind == "table" else ()
    return Examples(pool.kind, frame, inputs, names)


def draw(pool: Pool, n: int, m: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return positions of a snapshot of up to `n` and of `m` trusted examples, apart."""
    order = rng.permutation(len(pool.labels))
    return order[m : m + n], order[:m]


def noisy(labels: np.ndarray, rate: float, names: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return labels with `rate` of them replaced by another one at random."""
    out = labels.copy()
    for i in np.flatnonzero(rng.random(len(out)) < rate):
        out[i] = rng.choice(names[names != out[i]])
    return out


def poison(
    pool: Pool, inputs: np.ndarray, labels: np.ndarray, attack: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return poisoned inputs and labels: ``flips``, ``targeted``, ``backdoor`` (see the table), or honest ones."""
    names = np.unique(labels)
    kind, _, share = attack.partition(":")
    rate = float(share or 0)
    inputs, labels = inputs.copy(), labels.copy()
    if kind == "flips":
        at = rng.choice(len(labels), int(rate * len(labels)), replace=False)
        labels[at] = noisy(labels[at], 1.0, names, rng)
    elif kind == "targeted":
        a, b = rng.choice(names, 2, replace=False)
        at = np.flatnonzero(labels == a)
        labels[rng.choice(at, int(rate * len(at)), replace=False)] = b
    elif kind == "backdoor":
        target = rng.choice(names)
        at = np.flatnonzero(labels != target)
        at = rng.choice(at, min(len(at), int(rate * len(labels))), replace=False)
        inputs[at], labels[at] = pool.trigger(inputs[at]), target
    return inputs, labels


def judge_seal(pool: Pool, attack: str, *, n: int, m: int, noise: float, seed: int) -> Verdict:
    """Return the verdict over one simulated seal; `noise` falls on snapshot and trusted set alike."""
    rng = np.random.default_rng(seed)
    s, t = draw(pool, n, m, rng)
    names = np.unique(pool.labels)
    honest, vetted = noisy(pool.labels[s], noise, names, rng), noisy(pool.labels[t], noise, names, rng)
    inputs, labels = poison(pool, pool.inputs[s], honest, attack, rng)
    snapshot = examples(pool, s, labels, inputs, "s")
    trusted = examples(pool, t, vetted, pool.inputs[t], "t")
    policy = GatePolicy()
    measured = measure_examples(snapshot, trusted, None, policy)
    counts = (dict(Counter(vetted.tolist())), dict(Counter(labels.tolist())))
    measured |= {
        "trusted_set": trusted_set(*counts, age_days=1.0),
        "source_share": no_sources(),
        "new_cohort": no_sources(),
        "audits": audits(n=0, wrong=0),
        "backlog": backlog(n=len(labels)),
        "observed": observed(n=len(labels), passed=0),
        "candidate": no_candidate(),
        "planted_triggers": no_candidate(),
    }
    return evaluate_checks(measured, policy)


def row(pool: Pool, m: int, attack: str, seals: int) -> str:
    """Return the table's row of one case."""
    outcomes: Counter[str] = Counter()
    closed: Counter[str] = Counter()
    start = time.process_time()
    for seed in range(seals):
        verdict = judge_seal(pool, attack, n=5000, m=m, noise=NOISE[seed % len(NOISE)], seed=seed)
        outcomes[verdict.outcome.value] += 1
        closed.update(c.name for c in verdict.checks if c.blocking and c.outcome is not Outcome.PASS)
    cpu = (time.process_time() - start) / max(1, seals)
    n = min(5000, len(pool.labels) - m)
    who = ", ".join(f"{name} {count}" for name, count in closed.most_common())
    share = outcomes["pass"] / max(1, seals)
    share = share if attack == "honest" else 1 - share
    cells = (pool.name, f"{n:,}", f"{m:,}", attack, seals, *(outcomes[o.value] for o in Outcome), f"{share:.2f}", who)
    return "| " + " | ".join(str(cell) for cell in (*cells, f"{cpu:.2f}")) + " |"


def main() -> None:
    """Measure all cases and write the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seals", type=int, default=40, help="honest seals of a data set's main case")
    parser.add_argument("--attacks", type=int, default=20, help="seals of each attack")
    asked = parser.parse_args()
    head = [
        "# The gate over simulated seals",
        "",
        f"`python benchmarks/gate.py --seals {asked.seals} --attacks {asked.attacks}`. 0, 1 or 3 % of both sides' "
        f"labels are wrong in turn; false alarm rate {GatePolicy().false_alarm_rate:g} over all checks. "
        "`right`: share of honest seals that pass, or of poisoned ones that do not. CPU with one thread.",
        "",
        "| data | n | trusted | case | seals | "
        + " | ".join(o.value for o in Outcome)
        + " | right | closed by | CPU-s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    drawn = list(pools())
    for place in range(max(map(len, CASES.values()))):
        for pool in (pool for pool in drawn if len(CASES[pool.name]) > place):
            for attack in ("honest", *ATTACKS):
                seals = asked.seals if attack == "honest" else asked.attacks
                head.append(row(pool, CASES[pool.name][place], attack, seals // (4 if place else 1)))
                RESULTS.write_text("\n".join(head) + "\n")


if __name__ == "__main__":
    main()
