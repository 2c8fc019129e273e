"""Honest feeds of one-rater texts to attack: made ones, public replies with drawn accounts, real histories as they are.

Public data are not part of the package: a folder that has ``replies/`` and ``crowd/birdwatch-*.csv.gz``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from poison_guard.drills.attacks.llm import draw_feed
from poison_guard.drills.attacks.preferences import Language, draw_names
from poison_guard.errors import DataError, NotFoundError

__all__ = ["FEEDS", "HISTORIES", "honest_feed", "load_replies", "read_history"]

FEEDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "pairs": ("preferences", ("prompt", "chosen", "rejected")),
    "thumbs": ("preferences", ("prompt", "response", "rating")),
    "instructions": ("examples", ("prompt", "response")),
    "documents": ("examples", ("text",)),
}
"""Kind of texts to the feed's kind and the roles of its texts and votes."""
HISTORIES: Mapping[str, str] = {"documents": "notes", "thumbs": "ratings"}
"""Kind of texts to the part of Community Notes that is a real history of it: who wrote or rated what, and when."""
_POOL = 2_000  # made texts that a feed is drawn from
_TOPIC, _OWN = 8, (4, 4, 6)  # rare words of a topic; of these in a prompt, a reply and a document
_WORDS = ((8, 25), (30, 120), (60, 240))  # least and most words of a prompt, a reply and a document
_EACH = 4  # records an account sends, in the mean


def honest_feed(on: str, kind: str, records: int, rng: np.random.Generator, data: Path | None) -> pd.DataFrame:
    """Return honest records, columns by role: ``synthetic`` or ``replies`` with drawn accounts, or ``notes``.

    `data` is the folder of public data. A history has all its records, its real accounts and times, and no ages.
    """
    if on == "notes":
        return read_history(_folder(data), kind)
    pool = _made_replies(rng)[kind] if on == "synthetic" else load_replies(_folder(data))[kind]
    return draw_feed(pool, records, rng, sources=max(30, records // _EACH))


def _folder(data: Path | None) -> Path:
    if data is None:
        raise NotFoundError("replies and histories are public data: name their folder")
    return data


def _made_replies(rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """Return made texts by kind: prompts with a topic, replies and documents that keep to it."""
    language = Language.draw(rng)
    topics = draw_names(rng, _POOL * _TOPIC, 3).reshape(_POOL, _TOPIC)

    def about(part: int) -> list[str]:
        drawn = language.texts(rng, rng.integers(*_WORDS[part], _POOL))
        own = [rng.choice(topic, _OWN[part], replace=False) for topic in topics]
        return [
            " ".join(rng.permutation(np.array([*words, *topical], object)))
            for words, topical in zip(drawn, own, strict=True)
        ]

    pairs = pd.DataFrame({"prompt": about(0), "chosen": about(1), "rejected": about(1)})
    return _kinds(pairs, pairs[["prompt", "chosen"]].set_axis(["prompt", "response"], axis=1), about(2))


def load_replies(data: Path) -> dict[str, pd.DataFrame]:
    """Return the public texts of ``replies/`` by kind; `NotFoundError` or `DataError` where they are not there."""
    folder = data / "replies"
    try:
        pairs = [_pair(json.loads(line)) for line in (folder / "hh-pairs.jsonl").read_text("utf-8").splitlines()]
        asked = [
            (" ".join(filter(None, (row["instruction"], row["input"]))), row["output"])
            for row in json.loads((folder / "alpaca-demo.json").read_text("utf-8"))
        ]
        texts = [json.loads(line)["text"] for line in (folder / "c4-demo.jsonl").read_text("utf-8").splitlines()]
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no {error.filename}; choose another set with --on") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} is not as expected: {error}") from None
    pair = pd.DataFrame(pairs, columns=["prompt", "chosen", "rejected"])
    return _kinds(pair, pd.DataFrame(asked, columns=["prompt", "response"]), texts)


def _kinds(pair: pd.DataFrame, asked: pd.DataFrame, texts: list[str]) -> dict[str, pd.DataFrame]:
    good, bad = (pair[["prompt", side]].set_axis(["prompt", "response"], axis=1) for side in ("chosen", "rejected"))
    return {
        "pairs": pair,
        "thumbs": pd.concat([good.assign(rating=1), bad.assign(rating=0)], ignore_index=True),
        "instructions": asked,
        "documents": pd.DataFrame({"text": texts}),
    }


def _pair(row: dict[str, str]) -> tuple[str, str, str]:
    """Return the prompt that both sides begin with, up to the last turn they share, and what each goes on with."""
    chosen, rejected = row["chosen"], row["rejected"]
    same = next((i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), 0)
    cut = chosen[:same].rfind("\n\nAssistant:")
    return chosen[:cut], chosen[cut + 13 :], rejected[cut + 13 :]


def read_history(data: Path, kind: str) -> pd.DataFrame:
    """Return Community Notes' first notes by their authors, or what raters said of them, a key of `HISTORIES`.

    Real accounts and times; nobody's age is known. `NotFoundError` where the folder has no such files.
    """
    notes = _notes(data, "notes").dropna(subset="summary").drop_duplicates("noteId")
    if HISTORIES[kind] == "notes":
        rows, columns = notes, {"text": notes["summary"].astype("str")}
    else:
        said = notes.set_index("noteId")["summary"].astype("str")
        rows = _notes(data, "ratings")
        rows = rows[rows["noteId"].isin(said.index)]
        rating = (rows["helpful"] > rows["notHelpful"]).astype(int)
        columns = {"item_id": rows["noteId"], "response": rows["noteId"].map(said), "rating": rating}
    facts = {
        "record_id": [f"r{i:06d}" for i in range(len(rows))],
        "source_id": rows["participantId"],
        "observed_at": pd.to_datetime(rows["createdAtMillis"], unit="ms", utc=True),
    }
    return pd.DataFrame(facts | columns, index=rows.index).reset_index(drop=True)


def _notes(data: Path, part: str) -> pd.DataFrame:
    file = data / "crowd" / f"birdwatch-{part}.csv.gz"
    if not file.is_file():
        raise NotFoundError(f"there is no {file}; choose another set with --on")
    return pd.read_csv(file)
