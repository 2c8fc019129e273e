"""The pure line: map partitions to evidence, reduce to global evidence, decide. No I/O, clock or logging."""

from poison_guard.pipeline.decide import decide_batch
from poison_guard.pipeline.globals import Globals, find_globals
from poison_guard.pipeline.line import run
from poison_guard.pipeline.prepare import Prepared, prepare
from poison_guard.pipeline.score import score_partition
from poison_guard.pipeline.validation import Validation, validate_records

__all__ = [
    "Globals",
    "Prepared",
    "Validation",
    "decide_batch",
    "find_globals",
    "prepare",
    "run",
    "score_partition",
    "validate_records",
]
