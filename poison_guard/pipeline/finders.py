"""The campaign finders, one line each: what a finder sees, when it has anything to look at, and what it calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from poison_guard.config import Contract
from poison_guard.pipeline.score import read_sketches, read_vectors
from poison_guard.records import Campaign, Place

__all__ = ["FINDERS", "Finder", "Seen"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What finders look at; `earlier` is evidence like the batch, its records are only named beside the batch's."""

    scored: pd.DataFrame
    """The scored frame of the batch, sorted by ``record_id``."""
    contract: Contract
    earlier: pd.DataFrame
    """Records of earlier batches (`State.memory`), none of them in the batch."""
    trusted_vectors: np.ndarray | None = None
    """Vectors of the trusted reference, ``(m, d)``, scaled like the batch's."""

    @property
    def timed(self) -> pd.DataFrame:
        """The batch without the guard's own clock: the same for a whole batch, it is no evidence."""
        return self.scored.drop(columns="received_at")

    @property
    def earlier_votes(self) -> pd.DataFrame:
        """What was accepted before: ``item_id, source_id, vote, observed_at``."""
        accepted = self.earlier[self.earlier["place"] == Place.ACCEPTED.value]
        return accepted[["item_id", "source_id", "vote", "observed_at"]]


@dataclass(frozen=True, slots=True)
class Finder:
    """One way to find campaigns: `find` is called with the share of `campaign_alpha` it may spend, where `able`."""

    able: Callable[[Seen], bool]
    find: Callable[[Seen, float], list[Campaign]]


def _text(seen: Seen, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns import near_duplicate_text

    sketches = read_sketches(seen.scored)
    if sketches is None:
        return []
    return near_duplicate_text(seen.scored, sketches, alpha=alpha, seed=seen.contract.policy.seed)


def _vectors(seen: Seen, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns.vectors import near_duplicate_vectors

    vectors = read_vectors(seen.scored)
    if vectors is None:
        return []
    seed = seen.contract.policy.seed
    return near_duplicate_vectors(seen.scored, vectors, trusted=seen.trusted_vectors, alpha=alpha, seed=seed)


def _lockstep(seen: Seen, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns import lockstep

    return lockstep(seen.timed, alpha=alpha, earlier=seen.earlier_votes)


def _has_timed_votes(seen: Seen) -> bool:
    return bool(seen.contract.vote) and bool(seen.scored["observed_at"].notna().any())


FINDERS: Mapping[str, Finder] = {
    "near_duplicate_text": Finder(lambda seen: read_sketches(seen.scored) is not None, _text),
    "near_duplicate_vectors": Finder(lambda seen: read_vectors(seen.scored) is not None, _vectors),
    "lockstep": Finder(_has_timed_votes, _lockstep),
}
