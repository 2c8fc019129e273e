"""Who acts together: near-duplicate texts and vectors, votes in lockstep; overlapping findings are one campaign."""

from poison_guard.signals.campaigns.finders import BatchView, find_campaigns
from poison_guard.signals.campaigns.findings import merge_campaigns
from poison_guard.signals.campaigns.lockstep import lockstep
from poison_guard.signals.campaigns.text import near_duplicate_text, sketch_text

__all__ = ["BatchView", "find_campaigns", "lockstep", "merge_campaigns", "near_duplicate_text", "sketch_text"]
