"""Measure how many labels are adopted at the promised error: honest crowds, attacked ones, public ones; as a page.

``python benchmarks/adoption.py [--first SEED] [--worlds N] [--data FOLDER]`` prints Markdown. The defaults were chosen
on honest worlds 0 to 39; the page reports worlds from 1,000 on.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from coordination import SimulatedFeed, contract_of, records_of
from crowd_models import bwa, ebcc

from poison_guard.config import Policy
from poison_guard.decide.adopt import Adoption, adopt
from poison_guard.drills.attacks import coordinated
from poison_guard.drills.attacks.answers import answer_rows, draw_births, draw_items, seal_answers
from poison_guard.drills.crowds import Crowd, load_crowd
from poison_guard.drills.world import Origin, World
from poison_guard.drills.worlds.draws import daily_times
from poison_guard.signals.sources.aggregators import Prior, list_candidates, majority, one_coin
from poison_guard.signals.sources.consensus import COLD_PRIOR
from poison_guard.signals.sources.consensus_output import best_candidates
from poison_guard.signals.votes import encode

LIMIT = 0.01
RULES = ("conflict", "contested", "unproven", "split", "pushed")
GROUPS: tuple[dict[str, Any], ...] = (
    {"share": 0.3, "sybils": 40, "burst": "30d", "answers_per_item": 6},
    {"share": 0.3, "sybils": 100, "burst": "waves", "classes": 6, "answers_per_item": 7},
    {"share": 0.3, "sybils": 200, "burst": "1h"},
    {"share": 0.4, "sybils": 100, "burst": "1d", "classes": 8, "answers_per_item": 6},
    {"share": 0.5, "sybils": 200, "burst": "30d"},
    {"share": 0.6, "sybils": 200, "burst": "1h", "answers_per_item": 7},
    {"share": 0.6, "sybils": 40, "burst": "waves", "camouflage": 100, "classes": 6, "answers_per_item": 6},
    {"share": 0.6, "sybils": 1000, "burst": "30d"},
    {"share": 0.6, "sybils": 100, "burst": "1h", "classes": 2, "answers_per_item": 6},
    {"share": 0.3, "sybils": 200, "burst": "30d", "aged": 1.0, "answers_per_item": 6},
    {"share": 0.6, "sybils": 200, "burst": "30d", "aged": 0.5},
    {"share": 0.6, "sybils": 200, "burst": "1h", "aged": 1.0},
)


def honest_world(seed: int, *, controls: float | None = None, items: int | None = None) -> World:
    """Return answers of people who err independently: 3 to 8 an item, 2 to 10 classes, accuracies .55 to .95."""
    rng = np.random.default_rng([seed, 77])
    classes, each = int(rng.integers(2, 11)), rng.uniform(3, 8)
    n_items, people = int(rng.integers(1200, 3000)), int(rng.integers(60, 400))
    share, mean = float(rng.choice([0, 0.02, 0.05, 0.1, 0.1, 0.2])), rng.uniform(0.65, 0.87)
    skill = 0.55 + 0.4 * rng.beta(10 * (mean - 0.55), 10 * (0.95 - mean), people)
    busy = rng.lognormal(0, rng.uniform(0.5, 1.8), people)
    n_items = items or n_items
    facts = draw_items(rng, n_items, classes, share if controls is None else controls)
    size = np.clip(rng.poisson(each - 3, n_items) + 3, 3, 12) if rng.random() < 0.5 else np.full(n_items, round(each))
    order = np.argsort(np.log(rng.exponential(size=(n_items, people))) - np.log(busy), axis=1)
    item = np.repeat(np.arange(n_items), size)
    who = np.concatenate([order[i, : size[i]] for i in range(n_items)])
    right = rng.random(len(item)) < skill[who]
    wrong = (facts.truth[item] + rng.integers(1, classes, len(item))) % classes
    said = np.where(right, facts.truth[item], wrong)
    rows = answer_rows(who, item, said, daily_times(rng, len(item), days=30), str(Origin.HONEST))
    aged = float(rng.choice([1.0, 0.8, 0.6]))
    rows = rows.assign(born=draw_births(rng, rows, aged))
    return seal_answers(rows, facts, name="honest", seed=seed, params={"classes": classes, "targets": []})


def judged(world: World) -> pd.DataFrame:
    """Return the labels of the unknown items as the pure pipeline gives them: the items' frame, `truth` and `ok`."""
    rows = records_of(world, world.role("observed_at").max())
    feed = SimulatedFeed(world, contract_of(world), rows)
    decided = feed.take(rows, rows["received_at"].iloc[0])
    held = world.truth["record_id"].map(feed.place).ne("accepted")
    attack = world.truth["attack"].astype(bool)
    out = _with_truth(decided.items, world.item_truth)
    out.attrs["recall"] = float((held & attack).sum() / max(1, attack.sum()))
    out.attrs["honest held"] = float((held & ~attack).sum() / max(1, (~attack).sum()))
    return out


def _with_truth(items: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    out = items.merge(facts.rename(columns={"label": "truth"}), on="item_id")
    out = out[~out["control"]].assign(ok=lambda t: t["label"].astype("str") == t["truth"].astype("str"))
    return out.reset_index(drop=True)


def oracle(world: World) -> float:
    """Return how many unknown labels plain one-coin EM could adopt at 1 % wrong, were its threshold known."""
    votes = world.records.rename(columns={c: r for r, c in world.columns.items()}).rename(columns={"answer": "vote"})
    table = ranked_by(votes[["item_id", "source_id", "vote"]], "one_coin", world.item_truth)
    return adopted_at(table, LIMIT)


def ranked_by(votes: pd.DataFrame, model: str, facts: pd.DataFrame) -> pd.DataFrame:
    """Return ``chance, ok`` of the unknown items by a plain model that knows no controls."""
    coded = encode(votes)
    n = len(coded.sources)
    prior = Prior(np.full(n, COLD_PRIOR[0]), np.full(n, COLD_PRIOR[1]))
    candidates, unknown = list_candidates(coded), np.full(len(coded.items), -1)
    q = {"one_coin": one_coin, "majority": majority}[model](coded, candidates, unknown, prior).q
    best = best_candidates(candidates, q)[0]
    labels = coded.answers[candidates.answer[best]]
    told = pd.DataFrame({"item_id": coded.items, "label": labels, "chance": q[best]})
    return _with_truth(told, facts)


def adopted_at(table: pd.DataFrame, limit: float) -> float:
    """Return the most labels that a threshold on ``chance`` adopts with at most the share `limit` of them wrong."""
    order = table.sort_values("chance", ascending=False)
    wrong = (~order["ok"]).cumsum().to_numpy() / np.arange(1, len(order) + 1)
    ends = np.r_[np.diff(order["chance"].to_numpy()) != 0, True]
    fits = np.flatnonzero((wrong <= limit) & ends)
    return float(fits[-1] + 1) if len(fits) else 0.0


def honest(first: int, n: int) -> None:
    rows, why = [], []
    for seed in range(first, first + n):
        world = honest_world(seed)
        items, best = judged(world), oracle(world)
        taken = items[items["adopted"]]
        rows.append((len(taken) / max(best, 1), (~taken["ok"]).mean() if len(taken) else 0.0, best / len(items)))
        why.append(items["why"].value_counts(normalize=True).reindex(RULES).fillna(0))
    gained, wrong, could = np.array(rows).T
    each = pd.DataFrame(why)
    print(f"## Honest worlds ({n})\n")
    print(
        "| adopted, of what an oracle's one-coin EM adopts | wrong of the adopted | worlds at most 1 % wrong | oracle |"
    )
    print("|---|---|---|---|")
    print(
        f"| {gained.mean():.3f} | {wrong.mean():.2%} | {(wrong <= LIMIT).mean():.0%} | {could.mean():.1%} of items |\n"
    )
    print("What each rule defers of the items, mean (worst world), where nobody attacks:")
    print(", ".join(f"{name} {each[name].mean():.2%} ({each[name].max():.1%})" for name in RULES) + ".\n", flush=True)


def groups(first: int, seeds: int) -> None:
    print(f"## Groups that push, {seeds} seeds each\n")
    print("| group | recall | honest held | targets adopted | wrong of the targets | others adopted | of these wrong |")
    print("|" + "---|" * 7)
    stops: list[pd.Series] = []
    for params in GROUPS:
        found = []
        for seed in range(first, first + seeds):
            world = coordinated.make(seed, **params)
            items = judged(world)
            aim = items["item_id"].isin(world.params["targets"])
            at, off = items[aim], items[~aim]
            stops.append(at["why"].value_counts(normalize=True).reindex(RULES).fillna(0))
            facts = (items.attrs["recall"], items.attrs["honest held"], at["adopted"].mean())
            wrong = ((at["adopted"] & ~at["ok"]).mean(), off["adopted"].mean(), (~off.loc[off["adopted"], "ok"]).mean())
            found.append((*facts, *wrong))
        name = " ".join(f"{k}={v}" for k, v in params.items())
        print(f"| {name} | " + " | ".join(f"{x:.2%}" for x in np.mean(found, axis=0)) + " |", flush=True)
    mean = pd.DataFrame(stops).mean()
    print(
        "\nWhat each rule defers of the targets: " + ", ".join(f"{k} {mean[k]:.1%}" for k in RULES) + ".\n", flush=True
    )


def certified(first: int, seeds: int) -> None:
    """Print what a certificate costs: a curve over the number of controls."""
    print(f'## `label_promise = "bound"`: 5,000 items, {seeds} worlds each\n')
    print("| controls | adopted, of what the mean adopts | worlds at most 1 % wrong |\n|---|---|---|")
    for n in (300, 600, 1000, 2000):
        found = []
        for seed in range(first, first + seeds):
            world = honest_world(seed, controls=n / 5000, items=5000)
            votes = _votes(world.records.rename(columns={c: r for r, c in world.columns.items()}))
            bound, mean = (
                _with_truth(_adoption(votes, world.controls, Policy(label_promise=promise)).items, world.item_truth)
                for promise in ("bound", "mean")
            )
            taken = bound[bound["adopted"]]
            found.append((len(taken) / max(mean["adopted"].sum(), 1), not len(taken) or (~taken["ok"]).mean() <= LIMIT))
        kept, fine = np.mean(found, axis=0)
        print(f"| {n:,} | {kept:.2f} | {fine:.0%} |", flush=True)
    print()


def _votes(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.rename(columns={"answer": "vote"})[["item_id", "source_id", "vote"]].assign(established=True)


def _adoption(votes: pd.DataFrame, controls: pd.DataFrame | None, policy: Policy) -> Adoption:
    known = pd.DataFrame({"item_id": [], "answer": []}) if controls is None else controls
    return adopt(votes, votes.head(0).assign(campaign_id=None), pd.DataFrame({"item_id": []}), known, policy)


def public(data: Path, draws: int) -> None:
    """Print what is adopted of public crowds, and how well chances rank: labels at a share wrong, threshold known."""
    print(f"## Public crowds, controls drawn at 10 %, mean of {draws} draws\n")
    print("*at 1, 2, 3 %*: the labels that a threshold could adopt with that share wrong, if somebody knew it.\n")
    print("| crowd | adopted | wrong of these | chances of | at 1 % | at 2 % | at 3 % |")
    print("|" + "---|" * 7)
    for name in ("duck", "product", "rte"):
        crowd = load_crowd(name, data)
        votes = _votes(crowd.answers.rename(columns={"item": "item_id", "source": "source_id"}))
        peers, taken, ranks = dict(_peers(crowd, votes)), [], {}
        for draw in range(draws):
            facts = _facts(crowd, np.random.default_rng([draw, 5]))
            controls = facts.loc[facts["control"], ["item_id", "label"]].rename(columns={"label": "answer"})
            found = _adoption(votes, controls, Policy())
            mine = _with_truth(found.items, facts)
            yes = mine[mine["adopted"]]
            taken.append((len(yes) / len(mine), (~yes["ok"]).mean() if len(yes) else 0.0))
            sure = found.certainty.probability[found.certainty.best]
            told = _with_truth(found.items.assign(chance=sure), facts)
            for peer, table in {"the guard": told, **peers}.items():
                left = table[~table["item_id"].isin(controls["item_id"])]
                ranks.setdefault(peer, []).append([adopted_at(left, x) / len(left) for x in (0.01, 0.02, 0.03)])
        adopted, wrong = np.mean(taken, axis=0)
        for peer, found in ranks.items():
            head = f"{name} | {adopted:.1%} | {wrong:.1%}" if peer == "the guard" else " | | "
            print(f"| {head} | {peer} | " + " | ".join(f"{x:.1%}" for x in np.mean(found, axis=0)) + " |", flush=True)
    print()


def _facts(crowd: Crowd, rng: np.random.Generator) -> pd.DataFrame:
    known = rng.random(len(crowd.truth)) < 0.1
    return pd.DataFrame({"item_id": crowd.truth.index, "label": crowd.truth.to_numpy(), "control": known})


def _peers(crowd: Crowd, votes: pd.DataFrame) -> Any:
    """Yield names and ``item_id, chance, ok`` of peers; crowd-kit's only where it is installed."""
    facts = _facts(crowd, np.random.default_rng(0)).assign(control=False)
    yield "one-coin EM", ranked_by(votes[["item_id", "source_id", "vote"]], "one_coin", facts)
    yield "majority", ranked_by(votes[["item_id", "source_id", "vote"]], "majority", facts)
    coded = encode(votes)
    for name, q in (("EBCC", ebcc(coded)), ("BWA", bwa(coded))):
        labels = coded.answers[q.argmax(1)]
        yield name, _with_truth(pd.DataFrame({"item_id": coded.items, "label": labels, "chance": q.max(1)}), facts)
    try:
        from crowdkit.aggregation import MACE, DawidSkene
    except ImportError:
        return
    frame = votes.rename(columns={"item_id": "task", "source_id": "worker", "vote": "label"})
    for name, model in (("Dawid–Skene", DawidSkene(100)), ("MACE", MACE(n_iter=10, random_state=0))):
        chances = model.fit_predict_proba(frame[["task", "worker", "label"]])
        told = pd.DataFrame({"item_id": chances.index, "label": chances.idxmax(axis=1), "chance": chances.max(axis=1)})
        yield name, _with_truth(told.reset_index(drop=True), facts)


def speed() -> None:
    rng = np.random.default_rng(0)
    item = np.repeat(np.arange(200_000), 5)
    who, skill, truth = rng.integers(0, 20_000, 1_000_000), rng.beta(8, 2, 20_000), rng.integers(0, 4, 200_000)
    right = rng.random(len(item)) < skill[who]
    said = np.where(right, truth[item], (truth[item] + rng.integers(1, 4, len(item))) % 4)
    frame = pd.DataFrame({"item_id": item, "source_id": who, "vote": said}).sample(frac=1, random_state=0)
    votes = frame.astype("str").reset_index(drop=True).assign(established=rng.random(len(item)) < 0.8)
    _adoption(votes.head(1000), None, Policy())
    started = time.process_time()
    _adoption(votes, None, Policy())
    print(f"## Time\n\n1,000,000 answers, 200,000 items, 20,000 sources: {time.process_time() - started:.2f} CPU-s.\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--worlds", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--data", type=Path, help="folder of public data")
    parser.add_argument("--only", choices=("honest", "groups", "bound", "public", "speed"), help="one part of the page")
    given = parser.parse_args()
    parts = {
        "honest": lambda: honest(given.first, given.worlds),
        "groups": lambda: groups(given.first, given.seeds),
        "bound": lambda: certified(given.first, given.seeds),
        "public": lambda: public(given.data, given.draws) if given.data else None,
        "speed": speed,
    }
    if given.only:
        parts[given.only]()
        return
    print(
        "# Labels adopted at a promised error\n\n`python benchmarks/adoption.py`: `max_adopted_error` 1 %, one default."
    )
    print("Records are judged by the whole pipeline, in one batch; public crowds and certificates by adoption alone.\n")
    for part in parts.values():
        part()


if __name__ == "__main__":
    main()
