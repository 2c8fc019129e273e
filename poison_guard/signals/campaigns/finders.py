"""The campaign finders, one line each: what a finder sees, when it has anything to look at, and what it calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from poison_guard.config import Contract
from poison_guard.records import Campaign, Place

__all__ = ["FINDERS", "Finder", "Seen", "read_sketches", "read_vectors"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What finders look at; `earlier` is evidence like the batch, its records are only named beside the batch's."""

    scored: pd.DataFrame
    """The scored frame of the batch, sorted by ``record_id``."""
    contract: Contract
    earlier: pd.DataFrame
    """Records of earlier batches (`State.memory`), none of them in the batch."""
    newcomer: np.ndarray
    """``(n + m,)`` bool a row of `scored` and then of `earlier`: its source has no history to lose."""
    trusted_vectors: np.ndarray | None = None
    """Vectors of the trusted reference, ``(m, d)``, scaled like the batch's."""

    @property
    def timed(self) -> pd.DataFrame:
        """The batch without the guard's own clock: the same for a whole batch, it is no evidence."""
        return self.scored.drop(columns="received_at")

    @property
    def counted(self) -> np.ndarray:
        """Which earlier records ``(m,)`` are evidence of what was said: all but those that people rejected."""
        return (self.earlier["place"] != Place.REJECTED.value).to_numpy(bool)

    def remembered(self, trace: str) -> pd.DataFrame:
        """The earlier records that are evidence and have the column `trace`, in order."""
        if trace not in self.earlier:
            return self.earlier.iloc[:0]
        return self.earlier[self.counted & self.earlier[trace].notna().to_numpy(bool)].reset_index(drop=True)

    @property
    def earlier_votes(self) -> pd.DataFrame:
        """What was said before: the columns of `timed`, without what people rejected."""
        return self.earlier[self.counted].drop(columns="received_at")

    @property
    def new_votes(self) -> pd.Series:
        """`newcomer` of the rows of `timed` and then of `earlier_votes`."""
        return pd.Series(self.newcomer[np.r_[np.ones(len(self.scored), bool), self.counted]])


@dataclass(frozen=True, slots=True)
class Finder:
    """One way to find campaigns: `find` is called with the share of `campaign_alpha` it may spend, where `able`."""

    able: Callable[[Seen], bool]
    find: Callable[[Seen, float], list[Campaign]]
    votes: bool = False
    """Whether it compares what is said of items: of free text also as it is written alike."""


def _text(seen: Seen, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns import near_duplicate_text

    sketches = read_sketches(seen.scored)
    if sketches is None:
        return []
    known = seen.remembered("sketch")
    old = read_sketches(known) if len(known) else None
    earlier = None if old is None else (known, old)
    return near_duplicate_text(seen.scored, sketches, alpha=alpha, seed=seen.contract.policy.seed, earlier=earlier)


def _vectors(seen: Seen, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns.vectors import near_duplicate_vectors

    vectors = read_vectors(seen.scored)
    if vectors is None:
        return []
    known = seen.earlier[seen.counted].reset_index(drop=True)
    old = read_vectors(known) if len(known) else None
    earlier = None if old is None or old.shape[1] != vectors.shape[1] else (known, old)
    seed, trusted = seen.contract.policy.seed, seen.trusted_vectors
    return near_duplicate_vectors(seen.scored, vectors, trusted=trusted, earlier=earlier, alpha=alpha, seed=seed)


def _lockstep(seen: Seen, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns import lockstep

    return lockstep(seen.timed, alpha=alpha, earlier=seen.earlier_votes)


def _agreement(seen: Seen, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns.agreement import agreement

    return agreement(seen.timed, alpha=alpha, newcomer=seen.new_votes, earlier=seen.earlier_votes)


def _cohort_traits(seen: Seen, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns.cohort_traits import cohort_traits

    return cohort_traits(seen.timed, alpha=alpha, newcomer=seen.new_votes, earlier=seen.earlier_votes)


def _rare_claims(seen: Seen, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns.claims import rare_claims

    return rare_claims(
        seen.scored, alpha=alpha, source_alpha=_of_one_source(seen), earlier=seen.remembered("words.reply")
    )


def _patient_raters(seen: Seen, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns.raters import patient_raters

    seed = seen.contract.policy.seed
    return patient_raters(
        seen.scored, alpha=min(alpha, _of_one_source(seen)), earlier=seen.remembered("words.reply"), seed=seed
    )


def _of_one_source(seen: Seen) -> float:
    """Chance at which a single source is found: per source, so a tenth of what a source is held at."""
    return min(seen.contract.policy.source_alpha / 10, seen.contract.policy.campaign_alpha)


def _has_ages(seen: Seen) -> bool:
    return bool(seen.contract.vote) and bool(seen.scored["source_since"].notna().any())


def _has_timed_votes(seen: Seen) -> bool:
    return bool(seen.contract.vote) and bool(seen.scored["observed_at"].notna().any())


FINDERS: Mapping[str, Finder] = {
    "near_duplicate_text": Finder(lambda seen: read_sketches(seen.scored) is not None, _text),
    "near_duplicate_vectors": Finder(lambda seen: read_vectors(seen.scored) is not None, _vectors),
    "lockstep": Finder(_has_timed_votes, _lockstep, votes=True),
    "agreement": Finder(lambda seen: bool(seen.contract.vote), _agreement, votes=True),
    "cohort_traits": Finder(_has_ages, _cohort_traits, votes=True),
    "rare_claims": Finder(lambda seen: "words.reply" in seen.scored, _rare_claims),
    "patient_raters": Finder(lambda seen: "words.reply" in seen.scored, _patient_raters),
}


def read_sketches(scored: pd.DataFrame) -> np.ndarray | None:
    """Return the MinHash sketches ``(n, K)`` uint32, or None where the feed has no text."""
    if "sketch" not in scored or scored["sketch"].isna().any():
        return None
    joined = b"".join(scored["sketch"])
    return np.frombuffer(joined, dtype=np.uint32).reshape(len(scored), -1)


def read_vectors(scored: pd.DataFrame) -> np.ndarray | None:
    """Return the scaled feature vectors ``(n, d)`` float32, or None where the feed has no features."""
    columns = [c for c in scored if c.startswith("vector.")]
    if not columns:
        return None
    return scored[sorted(columns, key=lambda c: int(c.split(".")[1]))].to_numpy(np.float32)
