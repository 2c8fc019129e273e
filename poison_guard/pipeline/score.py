"""Score: map one partition of records to a frame of keys, record-level p-values and small sketches.

The frame is all that later steps see of a record, it can be written as Parquet as it is, and none of its values depends
on which other records share the partition (law 3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from poison_guard.config import Contract
from poison_guard.errors import SignalFailure, run_isolated
from poison_guard.numerics.characters import number_text
from poison_guard.pipeline.prepare import Prepared, RecordModel
from poison_guard.records import Level, SignalEvidence, reason_from_json, reason_json

if TYPE_CHECKING:
    from poison_guard.signals.anomaly.model import AnomalyModel

__all__ = [
    "KEYS",
    "join_partitions",
    "read_evidence",
    "score_partition",
]


KEYS = (
    "record_id",
    "content_hash",
    "speaker",
    "source_id",
    "author_id",
    "item_id",
    "vote",
    "observed_at",
    "source_since",
    "received_at",
    "group",
)
_TIMES = ("observed_at", "source_since", "received_at")


def score_partition(records: pd.DataFrame, contract: Contract, prepared: Prepared) -> pd.DataFrame:
    """Return the scored frame of a partition.

    Columns: `KEYS`, ``p.SIGNAL`` and ``why.SIGNAL`` (JSON or None) of each record signal, ``sketch`` and ``words.*``
    (bytes), ``rating`` and ``vector.*`` (floats), and ``crash.SIGNAL`` (text) for each signal that died.
    """
    parts = [_keys(records, contract)]
    if prepared.anomaly is not None:
        parts.append(_anomaly(records, contract, prepared.anomaly))
    parts += [_record_signal(records, contract, *fitted) for fitted in prepared.models.items()]
    if contract.texts and contract.speaker:
        parts.append(_traces(records, contract))
    return pd.concat(parts, axis=1)


def _keys(records: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    roles = {"speaker": contract.speaker, "vote": contract.vote}
    columns = {}
    for key in KEYS:
        role = roles.get(key, key)
        if role in records:
            column = records[role]
            columns[key] = column if key in _TIMES else _as_text(column)
        else:
            dtype = "datetime64[us, UTC]" if key in _TIMES else "str"
            columns[key] = pd.Series(None, index=records.index, dtype=dtype)
    columns["observed_at"] = _believable(columns["observed_at"], columns["received_at"], contract)
    return pd.DataFrame(columns).reset_index(drop=True)


def _believable(observed: pd.Series, received: pd.Series, contract: Contract) -> pd.Series:
    """Return times with those that ingest had to clamp missing: many at one edge would look like acting in step.

    Earlier than the edge are only the times of history, which ingest does not clamp.
    """
    earliest = received - pd.Timedelta(days=contract.policy.lateness_days)
    return observed.where((observed != earliest) & (observed < received + pd.Timedelta(hours=1)))


def _as_text(column: pd.Series) -> pd.Series:
    if not pd.api.types.is_numeric_dtype(column):
        return column.astype("str")
    return column.map(lambda v: None if pd.isna(v) else number_text(v)).astype("str")


def _anomaly(records: pd.DataFrame, contract: Contract, model: AnomalyModel) -> pd.DataFrame:
    features = [f"feature.{name}" for name in contract.features]
    groups = records["group"] if contract.has("group") else None
    found = run_isolated(lambda: (model.evidence(records[features], groups=groups), model.vectors(records[features])))
    if isinstance(found, SignalFailure):
        return pd.DataFrame({"crash.anomaly": pd.Series([str(found)] * len(records), dtype="str")})
    evidence, vectors = found
    named = {f"vector.{i}": vectors[:, i] for i in range(vectors.shape[1])}
    return pd.concat([_written(evidence), pd.DataFrame(named)], axis=1)


def _record_signal(records: pd.DataFrame, contract: Contract, signal: str, model: RecordModel) -> pd.DataFrame:
    groups = records["group"] if contract.has("group") else None
    found = run_isolated(lambda: model.evidence(records, groups=groups))
    if isinstance(found, SignalFailure):
        return pd.DataFrame({f"crash.{signal}": pd.Series([str(found)] * len(records), dtype="str")})
    return _written(found)


def _written(evidence: SignalEvidence) -> pd.DataFrame:
    """Return record-level evidence as columns, ``p.SIGNAL`` and ``why.SIGNAL`` (JSON or None)."""
    why = np.full(len(evidence.p), None, dtype=object)
    for row, reason in evidence.reasons.items():
        why[row] = reason_json(reason)
    return pd.DataFrame({f"p.{evidence.signal}": evidence.p, f"why.{evidence.signal}": pd.Series(why, dtype="str")})


def _traces(records: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Return what texts are compared by: ``sketch``, and where one person speaks of an item ``words.*, rating``."""
    found = run_isolated(lambda: pd.concat([_sketches(records, contract), *_words(records, contract)], axis=1))
    if isinstance(found, SignalFailure):
        return pd.DataFrame({"crash.campaign": pd.Series([str(found)] * len(records), dtype="str")})
    return found


def _sketches(records: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    from poison_guard.signals.campaigns import sketch_text

    # the smaller cells are those of all texts' words together, however long the first text is
    found = np.minimum.reduce([sketch_text(records[role]) for role in contract.texts])
    return pd.DataFrame({"sketch": pd.Series([row.tobytes() for row in found], dtype=object)})


def _words(records: pd.DataFrame, contract: Contract) -> list[pd.DataFrame]:
    from poison_guard.signals.campaigns.words import word_columns

    alone = any(contract.has(role) for role in ("prompt", "response", "chosen")) or not contract.vote
    return [word_columns(records)] if alone else []


def read_evidence(scored: pd.DataFrame) -> list[SignalEvidence]:
    """Return the record-level evidence that scored frames carry (the inverse of what `score_partition` wrote)."""
    found = []
    for signal in (name.removeprefix("p.") for name in scored if name.startswith("p.")):
        texts = scored[f"why.{signal}"].dropna()
        reasons = {int(row): reason_from_json(text) for row, text in texts.items()}
        found.append(SignalEvidence(signal, Level.RECORD, scored[f"p.{signal}"].to_numpy(float, na_value=1.0), reasons))
    return found


def join_partitions(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Return scored partitions as one frame sorted by ``record_id``: the order they came in is forgotten here."""
    return pd.concat(parts, ignore_index=True).sort_values("record_id", ignore_index=True)
