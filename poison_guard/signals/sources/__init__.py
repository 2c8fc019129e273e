"""Who speaks: what the sources agree on, how far each can be believed, where newcomers contradict the established."""

from poison_guard.signals.sources.batches import Statistics, consensus_of, update
from poison_guard.signals.sources.change import changes
from poison_guard.signals.sources.cohorts import cohort_conflict, established
from poison_guard.signals.sources.consensus import MODELS, Consensus, consensus
from poison_guard.signals.sources.history import score_history
from poison_guard.signals.sources.reliability import score_sources
from poison_guard.signals.sources.wording import reworded, wordings

__all__ = [
    "MODELS",
    "Consensus",
    "Statistics",
    "changes",
    "cohort_conflict",
    "consensus",
    "consensus_of",
    "established",
    "reworded",
    "score_history",
    "score_sources",
    "update",
    "wordings",
]
