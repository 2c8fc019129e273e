"""What to ask next: the answers and looks that buy the most adopted labels, or show the most of a campaign."""

from __future__ import annotations

import numpy as np
import pandas as pd

from poison_guard.decide.adopt import Adoption

__all__ = ["PUSH_REASONS", "next_looks"]

PUSH_REASONS = ("conflict", "contested", "unproven", "split", "pushed")
"""Why a label waits that more answers alone would not settle: somebody may have pushed it."""
_MOST = 12  # answers more than so many for one item are not asked for
_CONTROLS_EACH = 5  # controls that a source is asked
_ODDS = 1e-4


def next_looks(adoption: Adoption, checked: frozenset[str], budget: int) -> pd.DataFrame:
    """Return what to ask, most useful first, within `budget` answers and looks.

    Columns ``ask`` (``answers`` of reliable sources, a ``look`` of a person, or ``controls`` for a source), ``item_id``
    or ``source_id``, ``label``, ``probability``, ``why``, ``n`` (answers to get), ``labels`` (adopted labels this is
    expected to buy) and ``related`` (other doubted items that the same sources answered, of which it tells something).
    `checked` are sources with verified answers, to whom no controls are put.
    """
    ballots, sure, items = adoption.ballots, adoption.certainty, adoption.items
    waits = ~items["adopted"].to_numpy(bool)  # nothing is asked about items that only show the crowd
    if not waits.any():
        return _table([])
    items = items.assign(why=np.where(waits & (adoption.doubts != ""), adoption.doubts, items["why"]))
    doubted = waits & items["why"].isin([*PUSH_REASONS, "disputed", "denied"]).to_numpy()
    related = _related(adoption, doubted)
    least = min(max(adoption.facts["least_chance"] or 1 - adoption.facts["max_adopted_error"], 0.5), 1 - _ODDS)
    p = np.clip(sure.probability[sure.best], _ODDS, 1 - _ODDS)
    counted = np.bincount(ballots.votes.source, ~ballots.held, minlength=len(sure.gain))
    step = float(counted @ sure.gain / max(counted.sum(), 1)) or 1.0
    right = float(1 / (1 + np.exp(-step)))
    size = ballots.by_item(~ballots.held)
    power = 1 / (1 + size * sure.correlation)
    gap = np.maximum(np.log(least / (1 - least)) - np.log(p / (1 - p)), 0)
    n = np.where(doubted, 1, np.clip(np.ceil(gap / (step * power)), 1, _MOST)).astype(int)
    bought = np.where(doubted, 1.0, p * right**n)
    rows = items.assign(ask=np.where(doubted, "look", "answers"), source_id=None, n=n, labels=bought, related=related)[
        waits
    ]
    both = pd.concat([rows, _sources(adoption, waits, checked)], ignore_index=True)
    worth = (both["labels"] + both["related"] / max(int(waits.sum()), 1)) / both["n"]
    both = both.assign(worth=worth).sort_values(["worth", "item_id", "source_id"], ascending=[False, True, True])
    return _table(both[both["n"].cumsum() <= budget].to_dict("records"))


def _table(rows: list[dict[str, object]]) -> pd.DataFrame:
    columns = ["ask", "item_id", "source_id", "label", "probability", "why", "n", "labels", "related"]
    return pd.DataFrame(rows, columns=columns).reset_index(drop=True)


def _related(adoption: Adoption, doubted: np.ndarray) -> np.ndarray:
    """Return ``(items,)`` how many other doubted items the sources of one of its answers answered, at most, on average.

    A look that shows one answer wrong tells something of all that these sources said.
    """
    votes, candidates = adoption.ballots.votes, adoption.certainty.candidates
    at = doubted[votes.item]
    of_source = np.bincount(votes.source, at, minlength=len(votes.sources))
    total = np.bincount(candidates.of_vote, np.where(at, of_source[votes.source] - 1, 0.0), len(candidates.item))
    mean = total / np.maximum(np.bincount(candidates.of_vote, minlength=len(candidates.item)), 1)
    return np.rint(np.maximum.reduceat(mean, candidates.start))


def _sources(adoption: Adoption, waits: np.ndarray, checked: frozenset[str]) -> pd.DataFrame:
    """Return the sources without a verified answer that say most of the labels that wait."""
    ballots, votes = adoption.ballots, adoption.ballots.votes
    on_controls = np.bincount(votes.source, ballots.control[votes.item] >= 0, minlength=len(votes.sources))
    gave = np.bincount(votes.source, waits[votes.item] & ~ballots.held, minlength=len(votes.sources))
    new = (on_controls == 0) & (gave > 1) & ~votes.sources.isin(list(checked))
    return pd.DataFrame(
        {
            "ask": "controls",
            "item_id": None,
            "source_id": votes.sources[new],
            "label": None,
            "probability": np.nan,
            "why": "unchecked",
            "n": _CONTROLS_EACH,
            "labels": 0.0,
            "related": gave[new].astype(float),
        }
    )
