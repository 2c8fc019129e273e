"""Score: map one partition of records to a frame of keys, record-level p-values and small sketches.

The frame is all that later steps see of a record, it can be written as Parquet as it is, and none of its values depends
on which other records share the partition (law 3).
"""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pandas as pd

from poison_guard.config import Contract
from poison_guard.pipeline.prepare import Prepared
from poison_guard.records import Level, Reason, SignalEvidence
from poison_guard.signals.isolation import SignalFailure, run_isolated
from poison_guard.text import number_text

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
TRAITS = ("sent_at", "device", "place", "client_version", "sequence")
"""Roles that only the plausibility of a source is judged by; ``trait.ROLE`` in the scored frame."""
_TIMES = ("observed_at", "source_since", "received_at")


def score_partition(records: pd.DataFrame, contract: Contract, prepared: Prepared) -> pd.DataFrame:
    """Return the scored frame of a partition.

    Columns: `KEYS`, ``p.SIGNAL`` and ``why.SIGNAL`` (JSON or None) of each record signal, ``sketch`` and ``words.*``
    (bytes), ``rating`` and ``vector.*`` (floats), and ``crash.SIGNAL`` (text) for each signal that died.
    """
    parts = [_keys(records, contract)]
    groups = records["group"] if contract.has("group") else None
    if (anomaly := prepared.anomaly) is not None:
        features = records[[f"feature.{name}" for name in contract.features]]
        parts.append(_judge("anomaly", features, groups, anomaly.evidence, anomaly.vectors))
    parts += [_judge(signal, records, groups, model.evidence) for signal, model in prepared.models.items()]
    if (reader := prepared.queries) is not None:
        asked = run_isolated(lambda: reader.scored(records, parts[0]))
        died = {"crash.query": pd.Series([str(asked)] * len(records), dtype="str")}
        parts.append(pd.DataFrame(died) if isinstance(asked, SignalFailure) else asked)
    elif contract.texts and not contract.queries:
        parts.append(_traces(records, contract))
    return pd.concat(parts, axis=1)


def _keys(records: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Return `KEYS`; times of observation that ingest had to clamp are missing.

    Many at one edge of the window would look like acting in step. Earlier than the edge are only the times of history,
    which ingest does not clamp.
    """
    roles = {"speaker": contract.speaker, "vote": "answer" if contract.queries else contract.vote}
    columns = {}
    for key in KEYS:
        role = roles.get(key, key)
        if role in records:
            column = records[role]
            if key not in _TIMES:
                is_number = pd.api.types.is_numeric_dtype(column)
                column = (column.map(number_text, na_action="ignore") if is_number else column).astype("str")
            columns[key] = column
        else:
            dtype = "datetime64[us, UTC]" if key in _TIMES else "str"
            columns[key] = pd.Series(None, index=records.index, dtype=dtype)
    observed, received = columns["observed_at"], columns["received_at"]
    earliest = received - pd.Timedelta(days=contract.policy.lateness_days)
    columns["observed_at"] = observed.where((observed != earliest) & (observed < received + pd.Timedelta(hours=1)))
    traits = {f"trait.{role}": records[role] for role in TRAITS if role in records}
    proof = {"proof": records["proof"]} if "proof" in records else {}
    return pd.DataFrame(columns | traits | proof).reset_index(drop=True)


def _judge(
    signal: str,
    records: pd.DataFrame,
    groups: pd.Series | None,
    evidence_of: Callable[..., SignalEvidence],
    vectors_of: Callable[[pd.DataFrame], np.ndarray] | None = None,
) -> pd.DataFrame:
    """Return ``p.SIGNAL`` and ``why.SIGNAL`` of each record, and the vectors it is compared by where there are any."""
    judged = run_isolated(
        lambda: (
            evidence_of(records, groups=groups),
            np.empty((0, 0)) if vectors_of is None else vectors_of(records),
        )
    )
    if isinstance(judged, SignalFailure):
        return pd.DataFrame({f"crash.{signal}": pd.Series([str(judged)] * len(records), dtype="str")})
    evidence, vectors = judged
    why = np.full(len(records), None, dtype=object)
    for row, reason in evidence.reasons.items():
        why[row] = json.dumps([reason.code, dict(reason.args)], default=str)
    columns = {f"p.{signal}": evidence.p, f"why.{signal}": pd.Series(why, dtype="str")}
    return pd.DataFrame(columns | {f"vector.{i}": column for i, column in enumerate(vectors.T)})


def _traces(records: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Return what texts are compared by: ``sketch``, and where one person speaks of an item ``words.*, rating``.

    Documents for retrieval have ``words.hidden`` as well, and ``words.questions`` where their sources are known; pairs
    of replies have ``words.preferred``.
    """
    found = run_isolated(
        lambda: pd.concat(
            [
                _sketches(records, contract),
                *_words(records, contract),
                *_documents(records, contract),
                *_preferences(records, contract),
            ],
            axis=1,
        )
    )
    if isinstance(found, SignalFailure):
        return pd.DataFrame({"crash.campaign": pd.Series([str(found)] * len(records), dtype="str")})
    return found


def _sketches(records: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    from poison_guard.signals.campaigns.copies import sketch_records

    found = sketch_records(records, contract.texts, sourced=contract.speaker is not None)
    return pd.DataFrame({"sketch": pd.Series([row.tobytes() for row in found], dtype=object)})


def _words(records: pd.DataFrame, contract: Contract) -> list[pd.DataFrame]:
    from poison_guard.signals.campaigns.words import word_columns

    alone = any(contract.has(role) for role in ("prompt", "response", "chosen")) or not contract.vote
    return [word_columns(records)] if alone and contract.speaker else []


def _documents(records: pd.DataFrame, contract: Contract) -> list[pd.DataFrame]:
    from poison_guard.signals.campaigns.collisions import QUESTIONS, question_sets
    from poison_guard.signals.campaigns.hidden_text import HIDDEN, hidden_cells

    if not contract.documents:
        return []
    texts = records["text"].astype("str").where(records["text"].notna(), "").tolist()
    columns = {HIDDEN: hidden_cells(texts)} | ({QUESTIONS: question_sets(texts)} if contract.speaker else {})
    return [pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in columns.items()})]


def _preferences(records: pd.DataFrame, contract: Contract) -> list[pd.DataFrame]:
    from poison_guard.signals.campaigns.preferences import TRAITS_OF_REPLIES, preference_cells

    if not contract.has("chosen", "rejected") or not contract.speaker:
        return []
    sides = [records[role].astype("str").where(records[role].notna(), "").tolist() for role in ("chosen", "rejected")]
    reward = pd.to_numeric(records["reward"]).to_numpy(float) if "reward" in records else None
    return [pd.DataFrame({TRAITS_OF_REPLIES: pd.Series(preference_cells(sides[0], sides[1], reward), dtype=object)})]


def read_evidence(scored: pd.DataFrame) -> list[SignalEvidence]:
    """Return the record-level evidence that scored frames carry (the inverse of what `_judge` wrote)."""
    found = []
    for signal in (name.removeprefix("p.") for name in scored if name.startswith("p.")):
        texts = scored[f"why.{signal}"].dropna()
        reasons = {int(row): Reason(*json.loads(text)) for row, text in texts.items()}
        found.append(SignalEvidence(signal, Level.RECORD, scored[f"p.{signal}"].to_numpy(float, na_value=1.0), reasons))
    return found


def join_partitions(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Return scored partitions as one frame sorted by ``record_id``: the order they came in is forgotten here."""
    return pd.concat(parts, ignore_index=True).sort_values("record_id", ignore_index=True)
