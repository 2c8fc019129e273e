"""Real crowds and messages under attack: public answers as they are, with a group added that agrees on wrong ones.

The sets are not part of the package: a folder that has ``crowd/NAME/answers.csv`` (item, source, answer) and
``truth.csv`` (item, truth), ``messages/tweets-davidson.csv`` and ``images/mnist.npz``. They tell neither times nor
ages, so both are drawn.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.drills.attacks.answers import COLUMNS, DAYS, draw_births
from poison_guard.drills.attacks.coordinated import BURSTS, raid_times
from poison_guard.drills.world import Origin, World, seal_world
from poison_guard.drills.worlds.draws import daily_times, draw_ids
from poison_guard.errors import DataError, NotFoundError, UsageError

__all__ = ["CROWDS", "Crowd", "find_data", "load_crowd", "load_messages", "load_pictures", "raid", "raid_twin"]

CROWDS: Mapping[str, str] = {"duck": "duck", "product": "product", "rte": "rte", "speech": "speech-dev-clean"}
"""Name of a crowd to its folder."""
_MESSAGES = "messages/tweets-davidson.csv"
_PICTURES = "images/mnist.npz"
_ENOUGH = 100  # different answers from which they are free text


@dataclass(frozen=True, slots=True)
class Crowd:
    """One set: `answers` has ``item, source, answer``, `truth` the true answer by item; all text."""

    name: str
    answers: pd.DataFrame
    truth: pd.Series

    @property
    def free_text(self) -> bool:
        """Whether answers are texts rather than one of some classes."""
        return self.answers["answer"].nunique() > _ENOUGH


def find_data(data: str | Path | None) -> Path:
    """Return the folder of public data: `data`, else ``$POISON_GUARD_DATA``; `NotFoundError` says how to name one."""
    named = data or os.environ.get("POISON_GUARD_DATA")
    if not named:
        raise NotFoundError("drills on public data need its folder: name it with --data or in POISON_GUARD_DATA")
    folder = Path(named)
    if not folder.is_dir():
        raise NotFoundError(f"there is no folder {folder} with public data; name another with --data")
    return folder


def load_crowd(name: str, data: Path) -> Crowd:
    """Return the crowd `name` (a key of `CROWDS`); the first of several answers of one person to an item stands.

    `NotFoundError` where the folder lacks it, `DataError` where its files are not what they should be.
    """
    if name not in CROWDS:
        raise NotFoundError(f"there is no crowd `{name}`; known: {', '.join(CROWDS)}")
    folder = data / "crowd" / CROWDS[name]
    answers = _read(folder / "answers.csv", ("item", "source", "answer")).drop_duplicates(["item", "source"])
    truth = _read(folder / "truth.csv", ("item", "truth")).drop_duplicates("item").set_index("item")["truth"]
    known = answers[answers["item"].isin(truth.index)].reset_index(drop=True)
    if known.empty:
        raise DataError(f"{folder} has no answer about an item whose truth is known")
    return Crowd(name, known, truth[truth.index.isin(known["item"])].sort_index())


def load_messages(data: Path) -> pd.Series:
    """Return the tweets of the folder, text; `NotFoundError` and `DataError` as `load_crowd`."""
    return _read(data / _MESSAGES, ("tweet",))["tweet"]


def load_pictures(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return MNIST's training pictures of the folder ``(n, 28, 28)`` in [0, 1], and labels as text; errors as above."""
    file = data / _PICTURES
    if not file.is_file():
        raise NotFoundError(f"there is no {file}; choose another set with --on or another folder with --data")
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return arrays["x_train"] / 255, arrays["y_train"].astype(str)
    except (KeyError, OSError, ValueError) as error:
        raise DataError(f"{file} needs the arrays x_train and y_train: {error}") from None


def _read(file: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    if not file.is_file():
        raise NotFoundError(f"there is no {file}; choose another set with --on or another folder with --data")
    try:
        frame = pd.read_csv(file, usecols=list(columns), dtype="str", keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{file} needs the columns {', '.join(columns)}: {error}") from None
    return frame[frame[list(columns)].ne("").all(axis=1)]


def raid(
    seed: int,
    *,
    crowd: Crowd,
    share: float = 0.6,
    sybils: int = 200,
    burst: str = "1h",
    camouflage: int = 0,
    aged: float = 0.0,
    control_aware: bool = True,
    constant: bool = False,
    subtle: bool = False,
    varied: bool = False,
    new: float = 0.2,
    targeted: float = 0.2,
    controls: float = 0.1,
    benign: bool = False,
) -> World:
    """Return `crowd` with a group of `sybils` added, its parameters those of ``attacks.coordinated.make``.

    A share `controls` of the items have known answers. Wrong answers are drawn from what is said of other items; with
    `subtle` they are the true ones with a word put in. With `varied` each push has a word of its own changed. With
    `benign` each of the group's accounts says what one of the honest people said of that item. `UsageError` for an
    unknown burst or a share that is not below 1.
    """
    if burst not in BURSTS or not 0 <= share < 1:
        raise UsageError(f"burst must be one of {', '.join(BURSTS)} and share in [0, 1), got {burst!r} and {share}")
    params: dict[str, Any] = {key: value for key, value in locals().items() if key not in ("seed", "crowd")}
    rng = np.random.default_rng([seed, 45])
    honest = crowd.answers.assign(at=daily_times(rng, len(crowd.answers), days=DAYS), origin=str(Origin.HONEST))
    honest["born"] = draw_births(rng, honest.assign(who=honest["source"]), 1 - new)
    items = crowd.truth.index.to_numpy()
    known = rng.random(len(items)) < controls
    aim = items[(rng.random(len(items)) < targeted) & ~known]
    group = _group(rng, crowd, aim, items[known], params)
    accounts = draw_ids(np.random.default_rng([seed, 46]), sybils, "u-")  # an attacker's are its twin's
    group["source"] = accounts[group["source"].to_numpy(int)]
    group["born"] = draw_births(rng, group.assign(who=group["source"]), aged)
    rows = pd.concat([honest, group], ignore_index=True).drop_duplicates(["item", "source"])
    return _sealed(crowd, seed, rows, items, known, params | {"targets": aim.tolist(), "free_text": crowd.free_text})


def raid_twin(seed: int, **params: Any) -> World:
    """Return the benign twin of `raid`: the same accounts, saying what honest people say."""
    return raid(seed, **params, benign=True)


def _group(
    rng: np.random.Generator, crowd: Crowd, aim: np.ndarray, known: np.ndarray, params: Mapping[str, Any]
) -> pd.DataFrame:
    """The group's answers: ``item, source`` (a number), ``answer, at, origin``: pushes, then camouflage."""
    sybils, share = params["sybils"], params["share"]
    each = crowd.answers["item"].value_counts().reindex(aim).to_numpy(float) * share / (1 - share)
    count = np.minimum(np.floor(each + rng.random(len(aim))).astype(int), sybils)
    who = np.concatenate([rng.choice(sybils, n, replace=False) for n in count] or [np.zeros(0, int)])
    hit = np.repeat(aim, count)
    wrong = _wrong(rng, crowd, np.concatenate([aim, known]), params)
    pushed = pd.Series(hit).map(wrong).to_numpy(object)
    if params["varied"]:
        pushed = np.array([_with_word(rng, text, f"w{k}", swap=True) for k, text in enumerate(pushed)], object)
    pushes = _rows(hit, who, pushed, raid_times(rng, hit, aim, params["burst"]), Origin.POISON)
    others = np.setdiff1d(crowd.truth.index.to_numpy(), np.concatenate([aim, known]))
    controls = np.concatenate([rng.choice(known, min(20, len(known)), replace=False) for _ in range(sybils)])
    cover = rng.choice(others, sybils * params["camouflage"])
    right = _honest_word(rng, crowd, np.concatenate([controls, cover]))
    if not params["control_aware"]:
        right[: len(controls)] = pd.Series(controls).map(wrong).to_numpy()
    else:
        right[: len(controls)] = crowd.truth.reindex(controls).to_numpy()
    by = np.concatenate([np.repeat(np.arange(sybils), n) for n in (min(20, len(known)), params["camouflage"])])
    at = daily_times(rng, len(by), days=DAYS)
    rest = _rows(np.concatenate([controls, cover]), by, right, at, Origin.CAMOUFLAGE)
    both = pd.concat([pushes, rest], ignore_index=True)
    if params["benign"]:
        both["answer"] = _honest_word(rng, crowd, both["item"].to_numpy())
        both["origin"] = str(Origin.HONEST)
    return both


def _rows(item: np.ndarray, who: np.ndarray, answer: np.ndarray, at: np.ndarray, origin: Origin) -> pd.DataFrame:
    return pd.DataFrame({"item": item, "source": who, "answer": answer, "at": at, "origin": str(origin)})


def _wrong(rng: np.random.Generator, crowd: Crowd, items: np.ndarray, params: Mapping[str, Any]) -> dict[str, str]:
    """Item to the answer that the group agrees on: a true answer of other items; with ``constant`` always one."""
    if params["constant"]:
        return dict.fromkeys(items.tolist(), "lol")
    if params["subtle"]:
        truth = crowd.truth.reindex(items).tolist()
        return {item: _with_word(rng, text, "never") for item, text in zip(items.tolist(), truth, strict=True)}
    pool = np.sort(crowd.truth.unique())
    at = np.searchsorted(pool, crowd.truth.reindex(items).to_numpy())
    return dict(zip(items.tolist(), pool[(at + rng.integers(1, len(pool), len(items))) % len(pool)], strict=True))


def _with_word(rng: np.random.Generator, text: str, word: str, *, swap: bool = False) -> str:
    """Return `text` with `word` put in somewhere, or in the place of another."""
    words = text.split()
    at = int(rng.integers(len(words) or 1))
    return " ".join([*words[:at], word, *words[at + swap :]])


def _honest_word(rng: np.random.Generator, crowd: Crowd, items: np.ndarray) -> np.ndarray:
    """What one of the honest people, drawn at random, said of each item."""
    answers = crowd.answers.sort_values("item", kind="stable")
    first = np.searchsorted(answers["item"].to_numpy(), items, side="left")
    after = np.searchsorted(answers["item"].to_numpy(), items, side="right")
    return answers["answer"].to_numpy(object)[first + (rng.random(len(items)) * (after - first)).astype(int)]


def _sealed(
    crowd: Crowd, seed: int, rows: pd.DataFrame, items: np.ndarray, known: np.ndarray, params: Mapping[str, Any]
) -> World:
    drafted = pd.DataFrame(
        {
            COLUMNS["source_id"]: rows["source"].astype("str"),
            COLUMNS["item_id"]: rows["item"].astype("str"),
            COLUMNS["answer"]: rows["answer"].astype("str"),
            COLUMNS["observed_at"]: rows["at"].astype("datetime64[us]"),
            COLUMNS["source_since"]: rows["born"].astype("datetime64[us]"),
            "origin": rows["origin"].astype("str"),
            "honest_source": rows["origin"].eq(str(Origin.HONEST)).groupby(rows["source"]).transform("all"),
            "truth": rows["item"].map(crowd.truth).astype("str"),
        }
    )
    facts = pd.DataFrame({"item_id": items, "label": crowd.truth.to_numpy(), "control": known})
    return seal_world(
        drafted.reset_index(drop=True),
        name=crowd.name,
        seed=seed,
        columns=COLUMNS,
        prefix="a",
        trusted=drafted.head(0).drop(columns=["origin", "honest_source", "truth"]),
        item_truth=facts.astype({"item_id": "str", "label": "str"}),
        controls=facts.loc[known, ["item_id", "label"]].set_axis(["item_id", "answer"], axis=1).reset_index(drop=True),
        params=params,
    )
