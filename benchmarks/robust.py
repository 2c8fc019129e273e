"""Adversarial training with the default settings: accuracy clean and under attack, and what it costs on one thread.

    python benchmarks/robust.py [digits mnist adult sms …]

Rows named are measured again and put into the committed table, beside the same training without an adversary where that
is cheap. MNIST, adult and sms are read from the folder in `POISON_GUARD_DATA` and skipped where it is absent.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from poison_guard.config.policies import RetrainConfig
from poison_guard.records import Examples
from poison_guard.retrain.inputs import to_dense
from poison_guard.retrain.perturb import pgd
from poison_guard.retrain.train import train_classifier
from poison_guard.retrain.trained_model import TrainedModel, predict_probabilities

DATA = Path(os.environ.get("POISON_GUARD_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
RESULTS = Path(__file__).parent / "results" / "robust.md"
ATTACKED = 1000  # examples under PGD
STEPS, RESTARTS = 40, 2
HEAD = """# Adversarial training, default settings (one thread)

`python benchmarks/robust.py`; seed 0. PGD: 40 steps, L-infinity for images and tables (in standard deviations), L2
relative to the text's vector; on the first 1,000 test examples; *PGD* is one random start with the last iterate
(step .01 at radius .3), *PGD worst* the worst iterate of two restarts, cross-entropy and margin. Clean and worst class
are of the whole test set. CPU seconds are of the training; a machine shared with others adds some.

| data | model | train / test | radius | epochs | clean | worst class | PGD | PGD worst | CPU s |
|---|---|---|---|---|---|---|---|---|---|
"""


def examples(kind: str, inputs: np.ndarray, labels: np.ndarray, features: tuple[str, ...] = ()) -> Examples:
    frame = pd.DataFrame({"example_id": [f"{i:06d}" for i in range(len(labels))], "label": labels.astype(str)})
    return Examples(kind, frame.assign(slice="", is_new=True), inputs, features)


def split(whole: Examples, n: int) -> tuple[Examples, Examples]:
    order = np.random.default_rng(0).permutation(len(whole))
    return whole.take(order[:n]), whole.take(order[n:])


def digits() -> tuple[Examples, Examples]:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return split(examples("image", (pixels / 16).astype(np.float32).reshape(-1, 1, 8, 8), labels), 1100)


def mnist() -> tuple[Examples, Examples]:
    with np.load(DATA / "images" / "mnist.npz") as d:
        train_x, test_x = ((d[name].astype(np.float32) / 255)[:, None] for name in ("x_train", "x_test"))
        return examples("image", train_x, d["y_train"]), examples("image", test_x, d["y_test"])


def adult() -> tuple[Examples, Examples]:
    table = pd.read_csv(DATA / "tabular" / "adult.csv")
    numbers = table.select_dtypes("number").drop(columns="income", errors="ignore")
    features = tuple(map(str, numbers))
    return split(examples("table", numbers.to_numpy(float), table["income"].to_numpy(), features), 6000)


def sms() -> tuple[Examples, Examples]:
    table = pd.read_csv(DATA / "messages" / "sms-spam.csv").dropna()
    table = table[table["label"].isin(["ham", "spam"])]
    return split(examples("text", table["text"].to_numpy(object), table["label"].to_numpy()), 1000)


def attacked(model: TrainedModel, x: torch.Tensor, y: torch.Tensor, epsilon: float) -> tuple[float, float]:
    """Return the shares that stay right under the last iterate of one start, and under the worst of all."""
    generator = torch.Generator().manual_seed(1)
    space = model.inputs.space
    radius, mask = space.radius(x, epsilon), space.mask(x)
    delta = space.inside((2 * torch.rand(x.shape, generator=generator) - 1) * radius, x, radius, mask)
    for _ in range(STEPS):
        moved = (x + delta).requires_grad_()
        (slope,) = torch.autograd.grad(
            torch.nn.functional.cross_entropy(model.module(moved), y, reduction="sum"), moved
        )
        delta = space.inside(delta + radius / 30 * space.ascend(slope), x, radius, mask)
    worst = pgd(model.module, x, y, epsilon=epsilon, space=space, steps=STEPS, restarts=RESTARTS, generator=generator)
    with torch.no_grad():
        last, most = (float((model.module(z).argmax(1) == y).float().mean()) for z in (x + delta, worst))
    return last, most


def row(name: str, fitted: Examples, tested: Examples, config: RetrainConfig, radius: float | None) -> str:
    model = train_classifier(fitted, config, threads=1)
    y = model.targets(tested.frame["label"])
    right = predict_probabilities(model, tested).argmax(1) == y
    worst_class = min(right[y == c].mean() for c in range(len(model.classes)))
    epsilon = radius or model.config.epsilon or 0.0
    some = tested.take(np.arange(min(ATTACKED, len(tested))))
    x = to_dense(model.inputs.encode(some), slice(None))
    last, most = attacked(model, x, torch.from_numpy(y[: len(some)]), epsilon)
    how = f"{epsilon:g}" if config.epsilon is None else f"{epsilon:g} (trained without)"
    line = (
        f"| {name} | {model.config.model} | {len(fitted):,} / {len(tested):,} | {how} | {model.config.epochs} | "
        f"{100 * right.mean():.2f} | {100 * worst_class:.1f} | {100 * last:.1f} | {100 * most:.1f} | "
        f"{model.cost['cpu_s']:.1f} |"
    )
    print(line, flush=True)
    return line


def main(names: list[str]) -> None:
    known = {"digits": digits, "mnist": mnist, "adult": adult, "sms": sms}
    for name in names or list(known):
        if name != "digits" and not DATA.exists():
            print(f"{name}: skipped, there is no {DATA}", file=sys.stderr)
            continue
        fitted, tested = known[name]()
        rows = [row(name, fitted, tested, RetrainConfig(), None)]
        if len(fitted) < 10_000:
            rows.append(row(name, fitted, tested, RetrainConfig(epsilon=0.0), float(rows[0].split("|")[4])))
        keep(name, rows, list(known))


def keep(name: str, rows: list[str], order: list[str]) -> None:
    """Put the rows of `name` in place of those in the table."""
    before = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    others = [line for other in order if other != name for line in before if line.startswith(f"| {other} |")]
    lines = sorted(others + rows, key=lambda line: order.index(line.split("|")[1].strip()))
    RESULTS.write_text(HEAD + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
