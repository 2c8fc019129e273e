"""Own evaluation against outside attackers on the same model and images, paired.

    python -m venv outside && outside/bin/pip install poison-guard foolbox==3.3.4 pyautoattack==0.2.0
    outside/bin/python benchmarks/robustness.py [digits mnist] [--attacked 250] [--models FOLDER]

Trains with the default settings (or reads FOLDER/NAME/model.safetensors), evaluates with the full budget, then lets
foolbox (PGD with restarts, FGSM) and AutoAttack (APGD-CE, APGD-T, FAB-T, Square) attack the very same images.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.robust import digits, mnist
from poison_guard.config.policies import RetrainConfig
from poison_guard.numerics.intervals import paired_drop
from poison_guard.records import Examples
from poison_guard.retrain.attacks import FAST, FULL
from poison_guard.retrain.evaluation import evaluate
from poison_guard.retrain.train import train_classifier
from poison_guard.retrain.trained_model import TrainedModel, read_model, write_model

RESULTS = Path(__file__).parent / "results" / "robustness.md"
HEAD = """# Own evaluation and outside attackers, on the same model and images

`benchmarks/robustness.py`; default training, seed 0, L-infinity radius of the training. *Right* is the share that stays
right, of the same images for everybody; *worst* of several is the best choice for each image. The last column is by how
much the own figure is too kind (own worst minus that of the outsider), with its 95 % interval, paired.

"""


def outside(model: TrainedModel, x: torch.Tensor, y: torch.Tensor, epsilon: float, restarts: int) -> dict[str, Any]:
    """Return by attacker which images stay right, ``(n,)`` bool, and the seconds it took."""
    import foolbox
    from pyautoattack import AutoAttack

    model.module.eval()
    wrapped = foolbox.PyTorchModel(model.module, bounds=(0, 1), device="cpu")
    found: dict[str, Any] = {}

    def note(name: str, moved: torch.Tensor, begun: float) -> None:
        assert float((moved - x).abs().max()) <= epsilon + 1e-5
        with torch.no_grad():
            found[name] = ((model.module(moved).argmax(1) == y).numpy(), time.process_time() - begun)

    begun = time.process_time()
    note("foolbox FGSM", foolbox.attacks.LinfFastGradientAttack()(wrapped, x, y, epsilons=epsilon)[1], begun)
    right, begun = np.ones(len(y), dtype=bool), time.process_time()
    for seed in range(restarts):
        torch.manual_seed(seed)
        attack = foolbox.attacks.LinfProjectedGradientDescentAttack(steps=40, rel_stepsize=0.1 / 3)
        right &= ~attack(wrapped, x, y, epsilons=epsilon)[2].numpy()
    found[f"foolbox PGD-40 x {restarts}"] = (right, time.process_time() - begun)
    begun = time.process_time()
    adversary = AutoAttack(model.module, norm="Linf", eps=epsilon, version="standard", seed=0)
    note("AutoAttack", adversary.run_standard_evaluation(x, y, batch_size=len(y))[0], begun)
    return found


def measure(name: str, fitted: Examples, tested: Examples, attacked: int, models: Path | None) -> list[str]:
    file = models / name / "model.safetensors" if models else None
    model = read_model(file) if file is not None and file.exists() else train_classifier(fitted, RetrainConfig())
    if models and file is not None and not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_model(model, file.parent)
    budget = dataclasses.replace(FULL, attacked=attacked)
    begun = time.process_time()
    own = evaluate(model, tested, config=RetrainConfig(), seed=0, budget=budget)
    cost = time.process_time() - begun
    begun = time.process_time()
    fast = evaluate(model, tested, config=RetrainConfig(), seed=0, budget=FAST)
    fast_cost = time.process_time() - begun
    place = {one: at for at, one in enumerate(tested.frame["example_id"])}
    some = tested.take(np.array([place[one] for one in own["attacked"]]))
    x, y = torch.from_numpy(some.inputs), torch.from_numpy(model.targets(some.frame["label"]))
    wrong = set().union(*[own["attacks"][a]["wrong"] for a in ("fgsm", "pgd", "apgd", "apgd targeted", "blackbox")])
    mine = np.array([one not in wrong for one in own["attacked"]])
    epsilon = float(model.config.epsilon or 0)
    lines = [f"## {name}: {len(y)} images, radius {epsilon:g}, clean {100 * own['accuracy']:.2f} %", ""]
    lines += ["| attacker | right | CPU s | own too kind by |", "|---|---|---|---|"]
    lines.append(f"| own, full budget (worst within the radius) | {100 * mine.mean():.1f} | {cost:.0f} | |")
    quick = fast["robust"]
    lines.append(
        f"| own, fast budget ({quick['n']} images) | {100 * quick['right'] / quick['n']:.1f} | {fast_cost:.1f} | |"
    )
    worst = np.ones(len(y), dtype=bool)
    for who, (right, seconds) in outside(model, x, y, epsilon, 5).items():
        worst &= right
        lines.append(f"| {who} | {100 * right.mean():.1f} | {seconds:.0f} | {_kind(mine, right)} |")
    lines.append(f"| worst of all outsiders | {100 * worst.mean():.1f} | | {_kind(mine, worst)} |")
    lines += ["", own["masking"]["why"], "", "Own attacks, full budget:", ""]
    lines += ["| attack | size | right | confidence lost | margin left |", "|---|---|---|---|---|"]
    for attack, cell in own["attacks"].items():
        size = f"{cell['epsilon']:g} {cell['unit']}"
        share = 100 * cell["right"] / cell["n"]
        lines.append(f"| {attack} | {size} | {share:.1f} | {cell['confidence_lost']:.3f} | {cell['margin_left']:.3f} |")
    noise = own["noise"]
    lines += ["", f"Worst of all these, whatever their size: {100 * own['worst']['right'] / own['worst']['n']:.1f}."]
    lines.append(
        f"Noise taken for a class with confidence {noise['confidence']:g}: {noise['accepted']} of {noise['n']}"
        f" once optimised, {noise['at_once']} before."
    )
    lines += ["", "Given the target, of 100 moved towards it within the radius (rows: true class):", ""]
    names = sorted(model.classes)
    lines += [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for source in names:
        cells = [own["pairs"].get(source, {}).get(goal) for goal in names]
        shown = ["" if cell is None else f"{100 * cell['hits'] / cell['n']:.0f}" for cell in cells]
        lines.append(f"| {source} | {' | '.join(shown)} |")
    return [*lines, ""]


def _kind(mine: np.ndarray, theirs: np.ndarray) -> str:
    lost, gained = int((mine & ~theirs).sum()), int((~mine & theirs).sum())
    value, low, high = paired_drop(lost, gained, len(mine), low_tail=0.025, high_tail=0.025)
    return f"{100 * value:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=["digits", "mnist"])
    parser.add_argument("--attacked", type=int, default=250)
    parser.add_argument("--models", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    blocks = RESULTS.read_text().split("## ")[1:] if RESULTS.exists() else []
    kept = {block.split(":")[0]: f"## {block}" for block in blocks}
    for name in given.names:
        fitted, tested = {"digits": digits, "mnist": mnist}[name]()
        kept[name] = "\n".join(measure(name, fitted, tested, given.attacked, given.models))
        print(kept[name], flush=True)
        RESULTS.write_text(HEAD + "\n".join(text.rstrip() + "\n" for _, text in sorted(kept.items())))


if __name__ == "__main__":
    main()
