"""The pure line: map partitions to evidence, reduce to global evidence, decide. No I/O, clock or logging."""

from poison_guard.pipeline.batch_evidence import BatchEvidence, find_batch_evidence
from poison_guard.pipeline.decide import decide_batch, run_line
from poison_guard.pipeline.prepare import Prepared, prepare
from poison_guard.pipeline.score import score_partition
from poison_guard.pipeline.validate import Validation, validate_records

__all__ = [
    "BatchEvidence",
    "Prepared",
    "Validation",
    "decide_batch",
    "find_batch_evidence",
    "prepare",
    "run_line",
    "score_partition",
    "validate_records",
]
