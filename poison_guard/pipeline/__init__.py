"""What happens to a batch between reading and storing: validate, score, reduce, decide. No I/O, clock or logging."""

from poison_guard.pipeline.batch_evidence import BatchEvidence, find_batch_evidence
from poison_guard.pipeline.decide import decide_batch
from poison_guard.pipeline.newcomers import find_newcomers, name_failures, names_of, rename
from poison_guard.pipeline.prepare import Prepared, choose_sample, prepare
from poison_guard.pipeline.score import join_partitions, score_partition
from poison_guard.pipeline.validate import Validation, validate_records

__all__ = [
    "BatchEvidence",
    "Prepared",
    "Validation",
    "choose_sample",
    "decide_batch",
    "find_batch_evidence",
    "find_newcomers",
    "join_partitions",
    "name_failures",
    "names_of",
    "prepare",
    "rename",
    "score_partition",
    "validate_records",
]
