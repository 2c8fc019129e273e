"""Who speaks: what the sources agree on, how far each can be believed, where newcomers contradict the established."""

from poison_guard.signals.sources.answer_clusters import canonicalise, cluster_answers
from poison_guard.signals.sources.batches import Statistics, consensus_of, update
from poison_guard.signals.sources.consensus import MODELS, Consensus, agree, consensus
from poison_guard.signals.sources.honest_sources import detect_changes
from poison_guard.signals.sources.reliability import score_history, score_sources
from poison_guard.signals.sources.standing import cohort_conflict, established

__all__ = [
    "MODELS",
    "Consensus",
    "Statistics",
    "agree",
    "canonicalise",
    "cluster_answers",
    "cohort_conflict",
    "consensus",
    "consensus_of",
    "detect_changes",
    "established",
    "score_history",
    "score_sources",
    "update",
]
