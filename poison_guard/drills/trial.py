"""Run the guard on one simulated world as a user would, at once or day by day, and measure what came of it.

Of the items an attack aimed at: what was learned there, and what honest people lost there and elsewhere.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from poison_guard.drills.scoreboard import score
from poison_guard.drills.world import World
from poison_guard.errors import DataError
from poison_guard.records import Action, Place
from poison_guard.steps.examples import read_parts
from poison_guard.steps.opening import Feed, open_feed
from poison_guard.steps.results import ScanResult
from poison_guard.steps.run import ingest
from poison_guard.steps.seal import NothingToSealError, seal
from poison_guard.steps.trust import trust
from poison_guard.store.reading import find_records
from poison_guard.store.snapshots import load_snapshot

__all__ = ["By", "Trial", "held_ids", "run_trial", "short_params", "target_figures", "target_items", "write_contract"]


_UNLIKE = 0.5  # share of words in common below which a transcript is of something else


def target_items(world: World) -> frozenset[str]:
    """Return the items the attack aims at: ``params["targets"]``, else those that attack records are about."""
    if "targets" in world.params:
        return frozenset(world.params["targets"])
    if "item_id" not in world.columns:
        return frozenset()
    return frozenset(world.role("item_id")[world.truth["attack"].to_numpy(bool)])


def target_figures(world: World, labels: pd.Series | None, decisions: pd.DataFrame) -> dict[str, Any]:
    """Return the figures of targeted items; shares are of all of them, in [0, 1], None where there are none.

    `labels`: the adopted label by item id. ``target_wrong``: adopted with another label than the truth (free text,
    where ``params["free_text"]``: with a text nearer to what the attack pushes); ``target_deferred``: not adopted.
    ``honest_held_on_targets`` and ``honest_held_elsewhere`` part the honest records held by what they are about;
    without targeted items all of them count as elsewhere.
    """
    aimed = target_items(world)
    out: dict[str, Any] = dict.fromkeys(("target_items", "target_right", "target_wrong", "target_deferred"))
    if labels is not None and world.item_truth is not None and aimed:
        out |= _adopted(world, world.item_truth, aimed, labels)
    held = decisions.set_index("record_id")["action"].ne(str(Action.ACCEPT)).reindex(world.truth["record_id"])
    honest = world.truth["honest"].to_numpy(bool)
    about = world.role("item_id") if "item_id" in world.columns else world.truth["record_id"]
    on = about.isin(aimed).to_numpy()
    for name, mine in (("on_targets", honest & on), ("elsewhere", honest & ~on)):
        n = int(mine.sum())
        out |= {f"honest_{name}": n, f"honest_held_{name}": float(held.to_numpy()[mine].mean()) if n else None}
    return out


def _adopted(world: World, facts: pd.DataFrame, aimed: frozenset[str], labels: pd.Series) -> dict[str, Any]:
    open_ones = facts[facts["item_id"].isin(aimed) & ~facts["control"].astype(bool)]
    truth = open_ones.set_index("item_id")["label"].astype("str")
    label = labels.reindex(truth.index)
    there = label.notna()
    if world.params.get("free_text"):
        wrong = _nearer_the_push(label[there], truth[there], _pushed(world))
    else:
        wrong = label[there].ne(truth[there])
    n, bad, got = len(truth), int(wrong.sum()), int(there.sum())
    shares = {"target_right": got - bad, "target_wrong": bad, "target_deferred": n - got}
    return {"target_items": n, **{name: count / n if n else None for name, count in shares.items()}}


def _pushed(world: World) -> dict[str, str]:
    """Item to the answer that most of its attack records give."""
    attack = world.truth["attack"].to_numpy(bool)
    pairs = pd.DataFrame({"item": world.role("item_id")[attack], "answer": world.role("answer")[attack]})
    top = pairs.value_counts().reset_index().drop_duplicates("item")
    return dict(zip(top["item"], top["answer"], strict=True))


def _nearer_the_push(label: pd.Series, truth: pd.Series, pushed: dict[str, str]) -> pd.Series:
    wrong = [
        _likeness(answer, pushed[item]) > _likeness(answer, truth[item])
        if item in pushed
        else _likeness(answer, truth[item]) < _UNLIKE
        for item, answer in label.items()
    ]
    return pd.Series(wrong, index=label.index, dtype=bool)


def _likeness(one: str, other: str) -> float:
    """Share of words that two texts have in common, in order, in [0, 1]; case and punctuation aside."""
    words = [
        [w for raw in text.casefold().split() if (w := "".join(c for c in raw if c.isalnum()))] for text in (one, other)
    ]
    return SequenceMatcher(None, *words, autojunk=False).ratio()


By = Literal["all", "day"]
"""All records in one batch, or a batch for each day of the world."""

FEED = "drill"
_NIGHT = dt.timedelta(hours=1)
_HELD = tuple(place for place in Place if place is not Place.ACCEPTED)


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """What came of one world; `figures` are those of `scoreboard.score` and `target_figures`, and

    ``recall_at_first``: share of the attack that was held when it was first decided, before late evidence recalled
    more; ``detect_hours``: from the first attack record to the batch from which on at least half of the attack that
    had come by then is held (None: never, or one batch only); ``accepted_per_attacker``: attack records that stayed
    accepted, a source that sent any; ``recalled_honest``: honest records that were accepted first and taken back;
    ``own_held``: of the look-alike's own honest records, ``own_records`` of them.
    """

    world: str
    seed: int
    by: By
    params: Mapping[str, Any]
    figures: Mapping[str, Any]


def run_trial(world: World, *, by: By = "all", home: str | Path, lookalikes: Collection[str] = ()) -> Trial:
    """Ingest `world` into `home`, an empty folder, seal it, and return the figures; nothing else is read or changed.

    The guard's clock is the world's: a batch is received an hour after the last of its records, or at
    ``params["until"]`` where senders' clocks are wrong. ``params["outcomes"]``, a dict of ``share`` and ``hours``,
    tells later which records were right: a share of them, drawn by their ids, each `hours` after it was made. What a
    benign twin's own records are says ``truth["lookalike"]`` (bool); where it is missing, they are those of the sources
    in `lookalikes`.
    `DataError` for a world without records.
    """
    if not len(world.records):
        raise DataError(f"the world `{world.name}` has no record to run a drill on")
    contract = write_contract(world, Path(home))
    results: list[ScanResult] = []
    held: list[tuple[dt.datetime, frozenset[str]]] = []
    with open_feed(contract, home) as feed:
        if len(world.trusted):
            began = world.role("observed_at").min() - _NIGHT
            trust(feed, world.trusted, by="drill", reason="the world's vetted records", now=began)
        for now, batch in _batches(world, by):
            _tell_outcomes(world, Path(home), now)
            results.append(ingest(feed, batch, now))
            held.append((now, held_ids(feed)))
        labels = _sealed_labels(feed) if feed.contract.vote else None
        policy = feed.contract.policy
    decisions = _final(world, held[-1][1])
    evidence, sources = (_together(results, name) for name in ("evidence", "sources"))
    figures = score(world, decisions, _as_items(world, labels), sources, evidence, policy=policy)
    figures |= target_figures(world, labels, decisions) | _over_time(world, results, held)
    figures |= _own(world, decisions, lookalikes)
    return Trial(world.name, world.seed, by, short_params(world.params), figures)


def write_contract(world: World, home: Path) -> Path:
    """Write the feed's contract and controls into `home` and return the contract's file."""
    home.mkdir(parents=True, exist_ok=True)
    lines = [f'name = "{FEED}"', f'kind = "{_kind(world)}"', "[columns]"]
    lines += [f"{role} = {json.dumps(column)}" for role, column in world.columns.items()]
    if world.features:
        lines.append(f"features = {json.dumps(list(world.features))}")
    if world.controls is not None and len(world.controls):
        world.controls.to_csv(home / "controls.csv", index=False)
        lines += ["[controls]", 'path = "controls.csv"']
    if "outcomes" in world.params:
        lines += ["[outcomes]", 'path = "outcomes/*.csv"']
    if "signature" in world.params:
        lines += _signature(world.params["signature"], home)
    file = home / f"{FEED}.toml"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def _signature(given: Mapping[str, Any], home: Path) -> list[str]:
    """Write the senders' keys (their secrets in hexadecimal) into `home` and return the contract's lines for them."""
    keys = []
    for kid, key in given["keys"].items():
        secret = base64.urlsafe_b64encode(bytes.fromhex(key["secret"])).rstrip(b"=").decode()
        keys.append({"kid": kid, "kty": "oct", "alg": key["alg"], "k": secret, "source": key["source"]})
    file = home / "keys.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps({"keys": keys}))
    signed = f"signed = {json.dumps(given['signed'])}"
    return ["[policy]", 'required = ["signature"]', "[signature]", signed, f'keys = "{file.name}"']


def _kind(world: World) -> str:
    if "kind" in world.params:
        return str(world.params["kind"])
    if "image" in world.columns:
        return "examples"
    by_role = {"answer": "answers", "chosen": "preferences", "rating": "preferences", "text": "messages"}
    return next((kind for role, kind in by_role.items() if role in world.columns), "telemetry")


def _batches(world: World, by: By) -> Iterator[tuple[dt.datetime, pd.DataFrame]]:
    """Batches with the moment each is received; days follow the senders' word, so skewed clocks need ``by="all"``."""
    at = world.role("observed_at")
    if by == "all":
        until = world.params.get("until")
        yield (pd.Timestamp(until) if until else at.max() + _NIGHT).to_pydatetime(), world.records
        return
    for day, batch in world.records.groupby(at.dt.floor("D"), sort=True):
        yield (day + dt.timedelta(days=1) + _NIGHT).to_pydatetime(), batch


def _tell_outcomes(world: World, home: Path, now: dt.datetime) -> None:
    """Write what has become known by `now` of records made before, whoever made them."""
    outcomes = world.params.get("outcomes")
    if outcomes is None:
        return
    ids = world.truth["record_id"]
    drawn = ids.map(lambda i: int(hashlib.sha256(str(i).encode()).hexdigest()[:8], 16) / 16**8 < outcomes["share"])
    known = drawn.to_numpy(bool) & (world.role("observed_at") + dt.timedelta(hours=outcomes["hours"]) <= now).to_numpy()
    right = world.role(_vote(world)).astype("str").to_numpy() == world.truth["label"].to_numpy()
    folder = home / "outcomes"
    folder.mkdir(exist_ok=True)
    table = pd.DataFrame({"record_id": ids, "correct": right})[known]
    if len(table):
        table.to_csv(folder / f"{now:%Y%m%dT%H%M%S}.csv", index=False)


def _vote(world: World) -> str:
    return next(role for role in ("answer", "label", "rating") if role in world.columns)


def held_ids(feed: Feed) -> frozenset[str]:
    """Return the records that are anywhere but accepted."""
    rows = find_records(feed.store, feed.contract.name, places=_HELD)
    return frozenset(rows["record_id"])


def _sealed_labels(feed: Feed) -> pd.Series:
    """What would be learned: the label of each item in a snapshot sealed now, indexed by item id."""
    try:
        sealed = seal(feed)
    except NothingToSealError:
        return pd.Series([], index=pd.Index([], dtype="str"), dtype="str")
    parts = load_snapshot(feed.store, sealed.snapshot_id).parts
    rows = read_parts(feed, parts, columns=["example_id", "label"])
    return rows.set_index("example_id")["label"].astype("str")


def _as_items(world: World, labels: pd.Series | None) -> pd.DataFrame | None:
    """Every item of the world as the scoreboard reads it: adopted where a snapshot holds it."""
    if labels is None or world.item_truth is None:
        return None
    ids = world.item_truth["item_id"]
    label = labels.reindex(ids)
    return pd.DataFrame({"item_id": ids, "label": label.to_numpy(), "adopted": label.notna().to_numpy()})


def _final(world: World, held: frozenset[str]) -> pd.DataFrame:
    ids = world.truth["record_id"]
    action = ids.isin(held).map({True: str(Action.QUARANTINE), False: str(Action.ACCEPT)})
    return pd.DataFrame({"record_id": ids, "action": action})


def _together(results: list[ScanResult], name: str) -> pd.DataFrame:
    frames = [frame for result in results if len(frame := getattr(result, name))]
    return pd.concat(frames, ignore_index=True) if frames else getattr(results[-1], name)


def _over_time(
    world: World, results: list[ScanResult], held: list[tuple[dt.datetime, frozenset[str]]]
) -> dict[str, Any]:
    """What was decided first, what was taken back, and when half of the attack was held."""
    truth = world.truth.set_index("record_id")
    first = _together(results, "decisions").drop_duplicates("record_id").set_index("record_id")["action"]
    passed = first.reindex(truth.index).eq(str(Action.ACCEPT)).to_numpy()
    attack, honest = truth["attack"].to_numpy(bool), truth["honest"].to_numpy(bool)
    last = truth.index.isin(held[-1][1])
    senders = world.role("source_id").to_numpy()[attack]
    return {
        "recall_at_first": float((attack & ~passed).sum() / attack.sum()) if attack.any() else None,
        "recalled_honest": int((honest & passed & last).sum()),
        "accepted_per_attacker": float((attack & ~last).sum() / len(set(senders))) if attack.any() else None,
        "attackers": len(set(senders)),
        "detect_hours": _detect_hours(world, attack, held) if len(held) > 1 else None,
    }


def _own(world: World, decisions: pd.DataFrame, lookalikes: Collection[str]) -> dict[str, Any]:
    """How much of what makes a world look like an attack was held, of its honest records."""
    if "lookalike" in world.truth:
        mine = world.truth["lookalike"].to_numpy(bool)
    else:
        mine = world.role("source_id").isin(lookalikes).to_numpy()
    mine = mine & world.truth["honest"].to_numpy(bool)
    held = decisions["action"].ne(str(Action.ACCEPT)).to_numpy()[mine]
    return {"own_records": int(mine.sum()), "own_held": float(held.mean()) if len(held) else None}


def _detect_hours(world: World, attack: np.ndarray, held: list[tuple[dt.datetime, frozenset[str]]]) -> float | None:
    ids, at = world.truth["record_id"][attack], world.role("observed_at")[attack]
    if ids.empty:
        return None
    since: dt.datetime | None = None
    for now, those in held:
        come = at <= now
        enough = come.any() and ids[come].isin(those).mean() >= 0.5
        since = (since or now) if enough else None if come.any() else since
    return None if since is None else (since - at.min()).total_seconds() / 3600


def short_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters without the long lists that only the scoreboard reads, and without keys."""
    return {
        key: value
        for key, value in params.items()
        if key not in ("signature", "kind") and (not isinstance(value, list) or len(value) <= 10)
    }
