"""Measure the label signal and the gate's marks on public data: flips, triggers, honest look-alikes, honest seals.

Usage: ``python benchmarks/labels.py [--seeds N] [--seals N] [--only PART]``; writes ``benchmarks/results/labels.md``
from the parts measured last (``labels.json``). 5,000 records, 1,000 trusted (split as the store splits them); records
are judged by all record signals of a feed together. Seeds from 1,000: those below were chosen on.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from gate import CASES, NOISE, judge_seal, pools

from poison_guard.config import parse_contract
from poison_guard.decide.decisions import HOLD, decide_records
from poison_guard.pipeline.prepare import prepare
from poison_guard.pipeline.score import read_evidence, score_partition
from poison_guard.records import State
from poison_guard.signals.conformal import held_bounds

DATA = Path(os.environ.get("POISON_GUARD_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
RESULTS = Path(__file__).parent / "results" / "labels"
FIRST_SEED, N, REFERENCE, CALIBRATION, TRUSTED = 1_000, 5_000, 500, 300, 1_000
FLOORS = {"mnist": (10, 15, 25), "tweets-davidson": (15, 25, 40), "adult": (15, 25, 40)}


class Feed:
    """One public set as a feed of examples: its contract, and rows as frames of records."""

    def __init__(self, name: str) -> None:
        self.name = name
        columns: dict[str, Any] = {"record_id": "record_id", "label": "label"}
        if name == "mnist":
            with np.load(DATA / "images/mnist.npz") as data:
                self.images, labels = data["x_train"], data["y_train"]
            self.rows = pd.DataFrame({"label": labels.astype(str)})
            columns["image"] = "image"
        elif name == "tweets":
            frame = pd.read_csv(DATA / "messages/tweets-davidson.csv").drop_duplicates("tweet")
            self.rows = pd.DataFrame({"label": frame["class"].astype(str), "text": frame["tweet"]})
            columns["text"] = "text"
        else:
            frame = pd.read_csv(DATA / "tabular/adult.csv")
            self.rows = frame.drop(columns="income").add_prefix("feature.").assign(label=frame["income"].str.strip())
            columns["features"] = [c.removeprefix("feature.") for c in self.rows if c != "label"]
        self.rows = self.rows.reset_index(drop=True)
        self.contract = parse_contract({"name": "bench", "kind": "examples", "columns": columns, "data": {"path": "x"}})
        self.labels = np.unique(self.rows["label"])

    def draw(self, seed: int, wrong: float) -> tuple[pd.DataFrame, pd.DataFrame, np.random.Generator]:
        """Return trusted rows, of which a share has a wrong label, and the batch."""
        rng = np.random.default_rng(seed)
        at = rng.permutation(len(self.rows))[: TRUSTED + N]
        rows = self.rows.iloc[at].reset_index(drop=True).astype({"label": "str"})
        if self.name == "mnist":
            rows["image"] = [image.astype(float) for image in self.images[at]]
        rows = rows.assign(record_id=[f"r{i:05d}" for i in range(len(rows))], content_hash=[str(i) for i in at])
        trusted, batch = rows.iloc[:TRUSTED].reset_index(drop=True), rows.iloc[TRUSTED:].reset_index(drop=True)
        self.relabel(trusted, rng.random(TRUSTED) < wrong, rng)
        return trusted, batch, rng

    def relabel(self, rows: pd.DataFrame, which: np.ndarray, rng: np.random.Generator) -> None:
        """Give some rows another label, drawn at random."""
        rows.loc[which, "label"] = [str(rng.choice(self.labels[self.labels != y])) for y in rows.loc[which, "label"]]

    def held(self, trusted: pd.DataFrame, batch: pd.DataFrame) -> np.ndarray:
        """Return which records ``(n,)`` bool the record signals hold together."""
        none = pd.DataFrame()
        splits = (trusted.iloc[:REFERENCE], trusted.iloc[REFERENCE : REFERENCE + CALIBRATION].reset_index(drop=True))
        state = State("bench", 0, none, *splits, "x", none, none, none, {})
        prepared = prepare(self.contract, state, batch, device="cpu", threads=1)
        received = pd.Timestamp("2026-01-01", tz="UTC")
        scored = score_partition(batch.assign(received_at=received, source_id=None), self.contract, prepared)
        crashed = [name for name in scored if name.startswith("crash.")]
        if crashed or prepared.missing:
            raise SystemExit(f"a signal could not judge: {scored[crashed].iloc[0].tolist()} {prepared.missing}")
        nobody = [None] * len(batch)
        decided, _ = decide_records(batch["record_id"].tolist(), read_evidence(scored), nobody, self.contract.policy)
        return (decided["risk"] >= HOLD).to_numpy()


def _stamp(change: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Callable[..., None]:
    def dirty(rows: pd.DataFrame, at: np.ndarray, rng: np.random.Generator) -> None:
        images = rows["image"].tolist()
        for i in at:
            images[i] = np.clip(change(images[i].copy(), rng), 0, 255)
        rows["image"] = images

    return dirty


def _put(image: np.ndarray, row: int, column: int, patch: np.ndarray) -> np.ndarray:
    image[row : row + patch.shape[0], column : column + patch.shape[1]] = patch
    return image


_GRID = np.mgrid[:28, :28]
_FULL = np.full((3, 3), 255.0)
TRIGGERS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "corner 3x3": lambda x, _: _put(x, 24, 24, _FULL),
    "four pixels": lambda x, _: _put(x, 1, 1, np.array([[255.0, 0, 255], [0, 0, 0], [255, 0, 255]])),
    "cross": lambda x, _: _put(x, 2, 22, np.array([[0, 255.0, 0], [255, 255, 255], [0, 255, 0]])),
    "chequers 4x4": lambda x, _: _put(x, 23, 1, np.indices((4, 4)).sum(0) % 2 * 255.0),
    "patch anywhere": lambda x, rng: _put(x, *rng.integers(0, 25, 2), _FULL),
    "frame": lambda x, _: np.where((_GRID.min(0) == 0) | (_GRID.max(0) == 27), 255.0, x),
    "line": lambda x, _: np.where(_GRID[0] == 26, 255.0, x),
    "blend 20 %": lambda x, _: 0.8 * x + 0.2 * np.random.default_rng(7).uniform(0, 255, (28, 28)),
    "sinus": lambda x, _: x + 30 * np.sin(2 * np.pi * _GRID[1] * 6 / 28),
    "warp": lambda x, _: x[_GRID[0], np.clip(_GRID[1] + np.rint(1.5 * np.sin(_GRID[0] / 3)), 0, 27).astype(int)],
    "salt": lambda x, _: np.where(np.random.default_rng(8).random((28, 28)) < 0.02, 255.0, x),
    "one pixel": lambda x, _: _put(x, 26, 26, np.full((1, 1), 255.0)),
}


def attack(feed: Feed, name: str, batch: pd.DataFrame, rng: np.random.Generator, trusted: pd.DataFrame) -> np.ndarray:
    """Poison the batch in place and return which rows ``(n,)`` are what is asked about: poison, or a twin's own."""
    which = np.zeros(len(batch), bool)
    kind, _, what = name.partition(": ")
    if kind == "flips":
        which[rng.choice(N, int(float(what.rstrip(" %")) / 100 * N), replace=False)] = True
        feed.relabel(batch, which, rng)
    elif kind == "targeted":
        first, second = rng.choice(feed.labels, 2, replace=False)
        which = (batch["label"] == first).to_numpy() & (rng.random(N) < 0.3)
        batch.loc[which, "label"] = str(second)
    elif kind == "trigger":
        target = str(rng.choice(feed.labels))
        at = rng.choice(np.flatnonzero(batch["label"] != target), N // 100, replace=False)
        which[at] = True
        if feed.name == "mnist":
            _stamp(TRIGGERS[what])(batch, at, rng)
        elif feed.name == "tweets":
            batch.loc[at, "text"] = batch.loc[at, "text"] + " mondrivo"
        else:
            batch.loc[at, "feature.age"] = 95
        batch.loc[at, "label"] = target
    elif kind == "twin" and what == "camera mark":
        which = rng.random(N) < 0.2
        _stamp(TRIGGERS["corner 3x3"])(batch, np.flatnonzero(which), rng)
    elif kind == "twin" and what == "camera mark, trusted has it":
        which = rng.random(N) < 0.2
        _stamp(TRIGGERS["corner 3x3"])(batch, np.flatnonzero(which), rng)
        _stamp(TRIGGERS["corner 3x3"])(trusted, np.flatnonzero(rng.random(TRUSTED) < 0.2), rng)
    elif kind == "twin" and what == "rare slice":  # few honest records of another hand: thicker strokes
        which = rng.random(N) < 0.02
        _stamp(lambda x, _: np.maximum(x, np.roll(x, 1, axis=1)))(batch, np.flatnonzero(which), rng)
    return which


TWINS = ("twin: camera mark", "twin: camera mark, trusted has it", "twin: rare slice")


def signal(seeds: int, only: str | None) -> list[dict[str, Any]]:
    """Return a row a case of all data, or of `only` one set: share of the poison held, and of the honest records."""
    common = [("flips: 5 %", w) for w in (0.0, 0.01, 0.05, 0.1)] + [
        ("flips: 1 %", 0.0),
        ("flips: 20 %", 0.0),
        ("targeted", 0.0),
    ]
    cases = {
        "mnist": [*common, *((f"trigger: {name}", 0.0) for name in TRIGGERS), *((twin, 0.0) for twin in TWINS)],
        "tweets": [*common, ("trigger: word", 0.0)],
        "adult": [*common, ("trigger: value", 0.0)],
    }  # fmt: skip
    rows = []
    for name, mine in cases.items():
        if only not in (None, name):
            continue
        feed = Feed(name)
        for case, wrong in mine:
            held, honest, spent = [], [], time.process_time()
            for seed in range(FIRST_SEED, FIRST_SEED + seeds):
                trusted, batch, rng = feed.draw(seed, wrong)
                which = attack(feed, case, batch, rng, trusted)
                found = feed.held(trusted, batch)
                held.append(float(found[which].mean()))
                honest.append(float(found[~which].mean()))
            rows.append({"data": name, "case": case, "wrong": wrong, "held": held, "honest": honest,
                         "cpu": (time.process_time() - spent) / seeds})  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
    return rows


def activations(vectors: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Return the hidden units ``(n, 64)`` of a small network trained on all rows with their labels as they are."""
    from sklearn.neural_network import MLPClassifier

    net = MLPClassifier(64, max_iter=15, random_state=seed).fit(vectors, labels)
    return np.maximum(vectors @ net.coefs_[0] + net.intercepts_[0], 0.0)


def knn(vectors: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Share of the 10 nearest other rows with another label."""
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=11).fit(vectors).kneighbors(vectors, return_distance=False)[:, 1:]
    return (labels[near] != labels[:, None]).mean(axis=1)


def confident_learning(vectors: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Northcutt, Jiang and Chuang (2021): out-of-fold chances less what rows of a label have; the margin of another."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    names, codes = np.unique(labels, return_inverse=True)
    chance = cross_val_predict(LogisticRegression(max_iter=200), vectors, codes, cv=5, method="predict_proba")
    margin = chance - np.array([chance[codes == k, k].mean() for k in range(len(names))])
    own = margin[np.arange(len(codes)), codes]
    margin[np.arange(len(codes)), codes] = -np.inf
    return margin.max(axis=1) - own


def spectral_signatures(vectors: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Tran, Li and Madry (2018): squared projection on the first direction of each label's hidden units."""
    hidden, score = activations(vectors, labels, seed), np.zeros(len(labels))
    for label in np.unique(labels):
        rows = hidden[labels == label] - hidden[labels == label].mean(axis=0)
        score[labels == label] = (rows @ np.linalg.svd(rows, full_matrices=False)[2][0]) ** 2
    return score


def activation_clustering(vectors: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Chen et al. (2019): two clusters of each label's hidden units; how small its own is, then how far out."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    hidden, score = activations(vectors, labels, seed), np.zeros(len(labels))
    for label in np.unique(labels):
        rows = PCA(min(10, (labels == label).sum() - 1), random_state=seed).fit_transform(hidden[labels == label])
        found = KMeans(2, n_init=4, random_state=seed).fit(rows)
        sizes = np.bincount(found.labels_, minlength=2) / len(rows)
        far = np.linalg.norm(rows - found.cluster_centers_[sizes.argmax()], axis=1)
        score[labels == label] = 1 - sizes[found.labels_] + 1e-3 * far / far.max()
    return score


def at_one_percent(poison: np.ndarray, honest: np.ndarray) -> float:
    """Return the share of `poison` held where 1 % of `honest` is, of scores that tie as large a part on both sides."""
    limit = np.quantile(honest, 0.99, method="higher")
    tied = (0.01 - (honest > limit).mean()) / (honest == limit).mean()
    return float((poison > limit).mean() + tied * (poison == limit).mean())


BASELINES = {
    f.__name__.replace("_", " "): f for f in (knn, confident_learning, spectral_signatures, activation_clustering)
}
BESIDE = {
    "mnist": ("flips: 5 %", "trigger: corner 3x3", "trigger: warp"),
    "tweets": ("flips: 5 %", "trigger: word"),
    "adult": ("flips: 5 %", "trigger: value"),
}


def baselines(seeds: int) -> list[dict[str, Any]]:
    """Return a row a case and method: the share of the poison among the records that it finds strangest.

    So many that 1 % of the honest ones are among them: what no method knows by itself. Each is given the trusted rows
    beside the batch, and the vectors that the label signal sees, in 50 dimensions.
    """
    from sklearn.decomposition import PCA

    from poison_guard.pipeline.content import content_of, record_content, to_examples
    from poison_guard.signals.labels.representation import fit_representation

    rows = []
    for name, cases in BESIDE.items():
        feed = Feed(name)
        content = content_of(feed.contract)
        for case in cases:
            caught: dict[str, list[float]] = {method: [] for method in BASELINES}
            for seed in range(FIRST_SEED, FIRST_SEED + seeds):
                trusted, batch, rng = feed.draw(seed, 0.0)
                which = attack(feed, case, batch, rng, trusted)
                like = record_content(trusted.iloc[:REFERENCE], content)
                both = pd.concat([trusted, batch], ignore_index=True)
                lead = both[["record_id", "label"]].rename(columns={"record_id": "example_id"}).assign(slice="")
                frame = pd.concat([lead, record_content(both, content)], axis=1)
                examples = to_examples(frame, content, np.ones(len(both), bool), like)
                vectors = fit_representation(examples.take(np.arange(REFERENCE))).vectors(examples)
                vectors = PCA(50, random_state=seed).fit_transform(vectors)
                for method, score_of in BASELINES.items():
                    score = score_of(vectors, both["label"].to_numpy(object).astype(str), seed)[TRUSTED:]
                    caught[method].append(at_one_percent(score[which], score[~which]))
            rows += [{"data": name, "case": case, "method": method, "held": held} for method, held in caught.items()]
            print(json.dumps(rows[-4:]), flush=True)
    return rows


def floors(seeds: int) -> list[dict[str, Any]]:
    """Return of how many records a dirty trigger closes the check `triggers`, by data and target."""
    rows = []
    for pool in (pool for pool in pools() if pool.name in FLOORS):
        for size in FLOORS[pool.name]:
            closed = []
            for seed in range(FIRST_SEED, FIRST_SEED + seeds):
                verdict = judge_seal(pool, f"backdoor:{size / N}", n=N, m=TRUSTED, noise=0.0, seed=seed)
                closed.append(next(c.outcome.value for c in verdict.checks if c.name == "triggers") == "fail")
            rows.append({"data": pool.name, "records": size, "closed": int(sum(closed)), "of": seeds})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def seals(count: int) -> list[dict[str, Any]]:
    """Return how many honest seals pass, with 0, 1 and 3 % of both sides' labels wrong in turn."""
    rows = []
    mine = [pool for pool in pools() if pool.name in FLOORS and pool.name in CASES]
    for pool in mine:
        each, why = count // len(mine), []
        for seed in range(FIRST_SEED, FIRST_SEED + each):
            verdict = judge_seal(pool, "honest", n=N, m=TRUSTED, noise=NOISE[seed % len(NOISE)], seed=seed)
            why += [list(verdict.why)] if verdict.why else []
        rows.append({"data": pool.name, "seals": each, "passed": each - len(why), "why": why})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def _beside(parts: dict[str, Any]) -> list[str]:
    """Return the table of the baselines."""
    lines = [
        "## Beside others",
        "",
        "Share of the poison that is held. The others, written short in the benchmark, get the threshold at which",
        "1 % of the honest records are held, which nobody knows; the guard's own share of honest records is above.",
        "",
        f"| data | attack | guard | {' | '.join(BASELINES)} |",
        "|---|---|---|" + "---|" * len(BASELINES),
    ]
    ours = {(r["data"], r["case"]): np.mean(r["held"]) for r in parts.get("signal", []) if not r["wrong"]}
    for name, cases in BESIDE.items():
        for case in cases:
            got = {
                r["method"]: np.mean(r["held"]) for r in parts["baselines"] if (r["data"], r["case"]) == (name, case)
            }
            cells = " | ".join(f"{got[method]:.3f}" for method in BASELINES)
            lines.append(f"| {name} | {case} | {ours.get((name, case), np.nan):.3f} | {cells} |")
    return [*lines, ""]


def _table(parts: dict[str, Any]) -> str:
    """Return the page."""
    low, high = (bound / N for bound in held_bounds(CALIBRATION, 0.01, N))
    lines = [
        "# Labels and marks",
        "",
        "`python benchmarks/labels.py`: 5,000 records, 1,000 trusted (500 reference, 300 calibration). Mean "
        "over "
        "seeds, smallest and largest in brackets. All record signals of a feed together hold 1 % of honest records; "
        f"one calibration set's luck lets the share of a single seed lie between {low:.2%} and {high:.2%}.",
        "",
        "| data | attack | trusted labels wrong | seeds | poison held | honest held | CPU-s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in parts.get("signal", []):
        cells = [f"{np.mean(v):.3f} ({min(v):.3f}-{max(v):.3f})" for v in (row["held"], row["honest"])]
        lead = f"| {row['data']} | {row['case']} | {row['wrong']:.0%} | {len(row['held'])} | "
        lines.append(lead + f"{' | '.join(cells)} | {row['cpu']:.1f} |")
    lines += ["", "Twins: `poison held` is the share of the twin's own honest records that is held.", ""]
    lines += _beside(parts) if parts.get("baselines") else []
    lines += [
        "## Marks: seals closed by `triggers`, random target label",
        "",
        "| data | records | closed |",
        "|---|---|---|",
    ]
    lines += [
        f"| {row['data']} | {row['records']} | {row['closed']} of {row['of']} |" for row in parts.get("floors", [])
    ]
    lines += ["", "## Honest seals, all checks", "", "| data | seals | passed | closed by |", "|---|---|---|---|"]
    for row in parts.get("seals", []):
        why = "; ".join(sorted({one[0].split(":")[0] for one in row["why"]}))
        lines.append(f"| {row['data']} | {row['seals']} | {row['passed']} | {why} |")
    return "\n".join(lines) + "\n" + TRIED


TRIED = """
## Tried, taken and not taken

What lies beyond nearly all trusted coordinates is cut to their edge. Put at the middle instead (seeds 1 to 3, MNIST,
held before and after): frame .827 and .920, blend .787 and .880, line .940 both, a diagonal of 6 pixels in 25 records
.947 and .933, corner .993 and .960, flips .980 and .975; honest held .007, .017, .037 and .005, .025, .037. With
edges at .5 % in place of 2 % the gain on the frame is gone (.827). So what it gains it owes to chance and to honest
records, and the frame stayed at .79.

A picture is judged by all of it and without each of its quarters, and the likeliest view counts (seeds 1 to 4, MNIST,
3,000 records, the label signal alone, before and after): frame .808 and .833, blend .833 and .908, line .975 and .942,
corner 1.000 and .992, flips .980 and .978, camera mark .017 and .011, thicker strokes .013 and .000; honest held .013
and .011. On scikit-learn's digits (8 x 8 pixels, the drills' seeds 200 to 207): camera mark .037 and .015, thicker pen
.100 and .075, flips .997 and .994, a corner mark with a wrong label .967 and .950, a diagonal one .958 and .908, in the
region of the data .853 and .815. The second or the mean of the views in place of the likeliest hold .031 and .034 of
the camera's pictures. Labels told apart less sharply where much of a vector is beyond the trusted ones, or far from
them, do not help the thicker pen (.067 and .092).

What the quarters cost on the table's own seeds (1000 to 1002, before and after): flips of 5 % .972 and .957, frame .793
and .773, line .900 and .867, sinus .960 and .933, salt .947 and .927, corner .940 and .953; honest held .005 both, the
camera's mark .009 and .006. Seven of twelve kinds of triggers are at .95 or above, before and after.
"""


def main() -> None:
    """Measure the parts asked for and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seals", type=int, default=200)
    parser.add_argument("--only", choices=("signal", "baselines", "floors", "seals"))
    parser.add_argument("--data", choices=tuple(BESIDE), help="measure the signal on this set alone")
    asked = parser.parse_args()
    work = {
        "signal": lambda: signal(asked.seeds, asked.data),
        "baselines": lambda: baselines(asked.seeds),
        "floors": lambda: floors(asked.seeds),
        "seals": lambda: seals(asked.seals),
    }
    for name in work if asked.only is None else (asked.only,):
        rows = work[name]()
        file = RESULTS.with_suffix(".json")
        parts = json.loads(file.read_text()) if file.exists() else {}
        if name == "signal" and asked.data:
            rows = [row for row in parts.get(name, []) if row["data"] != asked.data] + rows
        file.write_text(json.dumps(parts | {name: rows}, indent=1) + "\n")
        RESULTS.with_suffix(".md").write_text(_table(parts | {name: rows}))


if __name__ == "__main__":
    main()
