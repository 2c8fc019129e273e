"""The map step: one partition of records to one frame of keys, record-level p-values and small sketches.

The frame is all that later steps see of a record, it can be written as Parquet as it is, and none of its values depends
on which other records share the partition (law 3).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from poison_guard.config import Contract
from poison_guard.pipeline.guarded import Crash, guarded
from poison_guard.pipeline.prepare import Prepared
from poison_guard.records import Level, Reason, SignalEvidence

if TYPE_CHECKING:
    from poison_guard.signals.anomaly.model import AnomalyModel

__all__ = ["KEYS", "read_evidence", "read_sketches", "read_vectors", "score_partition"]

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

    Columns: `KEYS`, ``p.anomaly``, ``why.anomaly`` (JSON or None), ``sketch`` (bytes), ``vector.*`` (float32), and
    ``crash.SIGNAL`` (text) for each signal that died.
    """
    parts = [_keys(records, contract)]
    if prepared.anomaly is not None:
        parts.append(_anomaly(records, contract, prepared.anomaly))
    if contract.texts and contract.speaker:
        parts.append(_sketches(records, contract))
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
    return column.map(lambda v: None if pd.isna(v) else f"{v:g}").astype("str")


def _anomaly(records: pd.DataFrame, contract: Contract, model: AnomalyModel) -> pd.DataFrame:
    features = [f"feature.{name}" for name in contract.features]
    groups = records["group"] if contract.has("group") else None
    found = guarded(lambda: (model.evidence(records[features], groups=groups), model.vectors(records[features])))
    if isinstance(found, Crash):
        return pd.DataFrame({"crash.anomaly": pd.Series([str(found)] * len(records), dtype="str")})
    evidence, vectors = found
    why = np.full(len(records), None, dtype=object)
    for row, reason in evidence.reasons.items():
        why[row] = json.dumps([reason.code, dict(reason.args)], default=str)
    columns = {"p.anomaly": evidence.p, "why.anomaly": pd.Series(why, dtype="str")}
    columns |= {f"vector.{i}": vectors[:, i] for i in range(vectors.shape[1])}
    return pd.DataFrame(columns)


def _sketches(records: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    from poison_guard.signals.campaigns import sketch_text

    texts = records[list(contract.texts)].astype("str").fillna("").agg("\n".join, axis=1)
    if len(contract.texts) == 1:
        texts = records[contract.texts[0]]
    found = guarded(lambda: sketch_text(texts))
    if isinstance(found, Crash):
        return pd.DataFrame({"crash.campaign": pd.Series([str(found)] * len(records), dtype="str")})
    return pd.DataFrame({"sketch": pd.Series([row.tobytes() for row in found], dtype=object)})


def read_evidence(scored: pd.DataFrame) -> list[SignalEvidence]:
    """Return the record-level evidence that scored frames carry (the inverse of what `score_partition` wrote)."""
    if "p.anomaly" not in scored:
        return []
    p = scored["p.anomaly"].to_numpy(float, na_value=1.0)
    why = scored["why.anomaly"]
    rows = np.flatnonzero(why.notna().to_numpy())
    texts = why.to_numpy(object)
    reasons = {int(row): Reason(*json.loads(texts[row])) for row in rows}
    return [SignalEvidence("anomaly", Level.RECORD, p, reasons)]


def read_sketches(scored: pd.DataFrame) -> np.ndarray | None:
    """Return the MinHash sketches ``(n, K)`` uint32, or None where the feed has no text."""
    if "sketch" not in scored or scored["sketch"].isna().any():
        return None
    joined = b"".join(scored["sketch"])
    return np.frombuffer(joined, dtype=np.uint32).reshape(len(scored), -1)


def read_vectors(scored: pd.DataFrame) -> np.ndarray | None:
    """Return the scaled feature vectors ``(n, d)`` float32, or None where the feed has no features."""
    columns = [c for c in scored if c.startswith("vector.")]
    if not columns:
        return None
    return scored[sorted(columns, key=lambda c: int(c.split(".")[1]))].to_numpy(np.float32)
