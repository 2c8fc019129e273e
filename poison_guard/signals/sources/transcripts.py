"""Controls of free-text feeds: an answer is right that says nearly the same, whatever its case and punctuation."""

from __future__ import annotations

import numpy as np
import pandas as pd

from poison_guard.signals.sources.closest import is_free_text
from poison_guard.signals.sources.edits import edit_distances, words
from poison_guard.signals.sources.votes import as_text, encode

__all__ = ["NEAR", "as_controls_say"]

NEAR = 0.2
"""Share of the words in which an answer to a control may differ and still be right."""


def as_controls_say(votes: pd.DataFrame, controls: pd.DataFrame | None) -> pd.DataFrame:
    """Return `votes` (``item_id, answer, …``) with nearly right answers to controls written as the control writes them.

    Where the answers are no long free text (`is_free_text`), or there are no controls, nothing changes: "seven" is not
    nearly "eleven". Distance is in words (`edit_distances`).
    """
    if controls is None or controls.empty or not is_free_text(encode(votes)):
        return votes
    told = controls[["item_id", "answer"]].dropna().drop_duplicates("item_id")
    known = pd.Series(as_text(told["answer"]).to_numpy(), index=as_text(told["item_id"]).to_numpy(), dtype="str")
    truth = as_text(votes["item_id"]).map(known).astype("str")
    asked = np.flatnonzero((truth.notna() & votes["answer"].notna()).to_numpy(bool))
    said = as_text(votes["answer"]).to_numpy(object)
    right = truth.to_numpy(object)
    codes: dict[str, int] = {}
    texts = [
        np.array([codes.setdefault(word, len(codes)) for word in words(str(text))], np.int32)
        for text in (*said[asked], *right[asked])
    ]
    left = np.arange(len(asked))
    near = asked[edit_distances(texts, left, left + len(asked)) <= NEAR]
    said[near] = right[near]
    return votes.assign(answer=pd.Series(said, index=votes.index).astype("str"))
