"""Who speaks: what the sources agree on, how far each can be believed, where newcomers contradict the established."""

from poison_guard.signals.sources.cohorts import cohort_conflict, established
from poison_guard.signals.sources.consensus import MODELS, Consensus, consensus
from poison_guard.signals.sources.reliability import score_sources

__all__ = ["MODELS", "Consensus", "cohort_conflict", "consensus", "established", "score_sources"]
