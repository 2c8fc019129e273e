"""The steps as a scheduler calls them."""

from poison_guard.steps.gated import admit, approve, check_admission, due, evaluate, gate, promote, seal, train
from poison_guard.steps.scheduled import collect, decide, load_outcomes, score, store, validate

__all__ = [
    "admit",
    "approve",
    "check_admission",
    "collect",
    "decide",
    "due",
    "evaluate",
    "gate",
    "load_outcomes",
    "promote",
    "score",
    "seal",
    "store",
    "train",
    "validate",
]
