"""What reviewers do: see what waits, claim it, release or reject it, take accepted records back, and undo any of it."""

from poison_guard.review.bootstrap import draw_staged, trust_released
from poison_guard.review.claims import Claim, claim, unclaim
from poison_guard.review.selection import Selection, select
from poison_guard.review.sources import block_source, unblock_source
from poison_guard.review.undo import undo
from poison_guard.review.verdicts import ReviewResult, recall, reject, release
from poison_guard.review.view import list_groups, list_pending, show

__all__ = [
    "Claim",
    "ReviewResult",
    "Selection",
    "block_source",
    "claim",
    "draw_staged",
    "list_groups",
    "list_pending",
    "recall",
    "reject",
    "release",
    "select",
    "show",
    "trust_released",
    "unblock_source",
    "unclaim",
    "undo",
]
