"""Clean-label and dirty-label triggers of many shapes through training and the scan: what is refused, what it costs.

    python benchmarks/planted.py [SEED,KIND,SHAPE,SHARE …] [--models FOLDER]

Snapshots of 5,000 MNIST images, 1,000 trusted (500 of them the reference model's), target label 0. KIND is honest,
clean (SHARE of the images of the label carry the shape) or dirty (SHARE of all, of other labels, said to be 0).
Trained models are kept in FOLDER and read again.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.robust import DATA, examples
from poison_guard.config.policies import GatePolicy, RetrainConfig
from poison_guard.gate.checks.planted import planted_trigger, planted_triggers
from poison_guard.numerics.intervals import paired_drop
from poison_guard.records import Examples
from poison_guard.retrain.stamps import control_stamps, find_stamps
from poison_guard.retrain.train import train_classifier
from poison_guard.retrain.trained_model import TrainedModel, predict_probabilities, read_model, write_model
from poison_guard.retrain.trigger_scan import Ask, scan_candidate

RESULTS = Path(__file__).parent / "results" / "planted.md"
SNAPSHOT, TRUSTED, TESTED, TARGET = 5_000, 1_000, 1_000, "0"
RUNS = [
    "0,honest,-,0",
    "1,honest,-,0",
    "2,honest,-,0",
    "0,clean,checker,.3",
    "1,clean,cross,.3",
    "2,clean,L,.3",
    "3,clean,dots,.3",
    "4,clean,diag,.3",
    "6,clean,grey,.3",
    "5,clean,bar,.3",
    "1,dirty,diag,.005",
]
HEAD = """# Planted triggers: what the scan of a candidate refuses

`python benchmarks/planted.py`; MNIST, 5,000 records, 1,000 trusted, own `image-cnn` with the default training.
*Excess* is the share of stamped trusted examples that the worst mark turns beyond the model of trusted data, with the
lower bound that the check judges by. *Carriers*: how much of the poison is named, and how many honest examples with it.
*After* is the attack's success on a model of the same recipe and seed without the named carriers.

| seed | poison | accuracy | success | check | mark | excess | carriers | after | scan, CPU s |
|---|---|---|---|---|---|---|---|---|---|
"""


def shape(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of a trigger and their values, ``(28, 28)``."""
    mask, values = np.zeros((28, 28), bool), np.ones((28, 28), np.float32)
    match name:
        case "cross":
            mask[3, 1:6] = mask[1:6, 3] = True
        case "checker":
            mask[22:27, 1:6] = True
            values[22:27, 1:6] = np.indices((5, 5)).sum(0) % 2
        case "L":
            mask[2:7, 22] = mask[6, 22:27] = True
        case "bar":
            mask[26, 8:20] = True
        case "dots":
            for row, column in ((2, 2), (2, 25), (25, 2), (25, 25)):
                mask[row : row + 2, column : column + 2] = True
        case "diag":
            mask[range(4, 10), range(20, 26)] = True
        case "grey":
            mask[3:7, 3:7], values[:] = True, 0.5
        case "corner":
            mask[24:27, 24:27] = True
    return mask, values


def stamp(images: np.ndarray, name: str) -> np.ndarray:
    mask, values = shape(name)
    return np.where(mask, values, images).astype(np.float32)


def ask(model: TrainedModel) -> Ask:
    classes = np.array(model.classes, dtype=object)
    return lambda some: classes[predict_probabilities(model, some).argmax(1)]


def trained(folder: Path | None, name: str, some: Examples, seed: int) -> TrainedModel:
    place = folder / name if folder else None
    if place is not None and (place / "model.safetensors").exists():
        return read_model(place / "model.safetensors")
    model = train_classifier(some, RetrainConfig(seed=seed))
    if place is not None:
        place.mkdir(parents=True, exist_ok=True)
        write_model(model, place)
    return model


def run(spec: str, folder: Path | None) -> str:
    first, kind, name, part = spec.split(",")
    seed, share = int(first), float(part)
    with np.load(DATA / "images" / "mnist.npz") as d:
        pixels, given = d["x_train"][:30_000, None].astype(np.float32) / 255, d["y_train"][:30_000].astype(str)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pixels))
    trusted = examples("image", pixels[order[:TRUSTED]], given[order[:TRUSTED]])
    at = order[TRUSTED : TRUSTED + SNAPSHOT]
    x, y = pixels[at].copy(), given[at].copy()
    chosen = np.zeros(0, int)
    if kind == "clean":
        own = np.flatnonzero(y == TARGET)
        chosen = rng.choice(own, int(share * len(own)), replace=False)
        x[chosen] = stamp(x[chosen], name)
    elif kind == "dirty":
        chosen = rng.choice(np.flatnonzero(y != TARGET), int(share * len(y)), replace=False)
        x[chosen], y[chosen] = stamp(x[chosen], name), TARGET
    snapshot, half = examples("image", x, y), TRUSTED // 2
    model = trained(folder, f"{seed}-{kind}-{name}-{share}-{SNAPSHOT}", snapshot, seed)
    reference = trained(folder, f"ref-{seed}", trusted.take(np.arange(half)), seed)
    begun = time.process_time()
    held = trusted.take(np.arange(half, TRUSTED))
    stamps = [*find_stamps(snapshot, trusted), *control_stamps(trusted.take(np.arange(half)), held)]
    found = scan_candidate(ask(model), ask(reference), held, stamps, snapshot)
    cost = time.process_time() - begun
    check, worst = planted_triggers(found, GatePolicy()), planted_trigger(found, GatePolicy())
    shown = worst or max(
        found["marks"], key=lambda row: (row["kind"] == "pattern", row["candidate"] - row["reference"])
    )
    tail = GatePolicy().false_alarm_rate / len(found["marks"])
    value, low, _ = paired_drop(shown["candidate"], shown["reference"], shown["n"], low_tail=tail, high_tail=0.05)
    test = order[-TESTED:]
    others = test[given[test] != TARGET]

    def success(one: TrainedModel) -> float:
        return float((ask(one)(examples("image", stamp(pixels[others], name), given[others])) == TARGET).mean())

    named, after = "", ""
    if worst is not None and len(chosen):
        mark = next(s for s in stamps if s.name == worst["mark"] and s.label in (None, worst["label"]))
        carries = mark.carried(snapshot.inputs) & (y == worst["label"])
        named = f"{int(carries[chosen].sum())} of {len(chosen)}, {int(carries.sum() - carries[chosen].sum())} honest"
        rest = snapshot.take(~carries)
        after = f"{success(trained(folder, f'after-{seed}-{kind}-{name}-{share}', rest, seed)):.3f}"
    right = (ask(model)(examples("image", pixels[test], given[test])) == given[test]).mean()
    poison = "none" if kind == "honest" else f"{kind} {name} {share:g}"
    reach = "" if kind == "honest" else f"{success(model):.3f}"
    line = f"| {seed} | {poison} | {right:.3f} | {reach} | {check.outcome.value} | {shown['mark']} ({shown['kind']}) | "
    line += f"{value:.3f} ({low:.3f}) | {named} | {after} | {cost:.1f} |"
    print(line, flush=True)
    return line


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="*", default=RUNS)
    parser.add_argument("--models", type=Path)
    given = parser.parse_args()
    lines = []
    for spec in given.runs or RUNS:
        lines.append(run(spec, given.models))
        RESULTS.write_text(HEAD + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
