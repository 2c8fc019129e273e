"""The steps as a scheduler calls them."""

from poison_guard.steps.gated import admit, approve, check_admission, due, evaluate, gate, promote, seal, train

__all__ = ["admit", "approve", "check_admission", "due", "evaluate", "gate", "promote", "seal", "train"]
