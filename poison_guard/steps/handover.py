"""Values of a run in progress as files in the lake, so that one Airflow task can hand them to the next by run id.

Parquet and JSON only (nothing is pickled). Files are overwritten by a retry with the same content and are invisible to
every reader of the lake; `clear` removes them once the run is committed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from poison_guard.records import Batch, Campaign, Decided, ObjectRef, Phase, Reason
from poison_guard.store import Lake

__all__ = ["clear", "load_batch", "load_decided", "load_frame", "load_json", "save_batch", "save_decided", "save_frame"]


_FRAMES = ("decisions", "evidence", "items", "sources", "recalls", "memory", "near_controls")
"""Frames of a decided batch, a file each."""


def _path(run_id: str, name: str) -> str:
    return f"staging/{run_id}/{name}.parquet"


def save_frame(lake: Lake, run_id: str, name: str, frame: pd.DataFrame) -> None:
    """Write a frame; columns of dicts or lists are kept as JSON text (`load_frame` gives the text back)."""
    plain = frame.copy()
    for column in ("args", "reasons"):
        if column in plain:
            plain[column] = [json.dumps(v, default=str) if not isinstance(v, str) else v for v in plain[column]]
    lake.write_frame(plain, _path(run_id, name))


def load_frame(lake: Lake, run_id: str, name: str, *, json_columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a frame back, `json_columns` parsed."""
    frame = lake.read_frame(_path(run_id, name))
    for column in json_columns:
        frame[column] = pd.Series([json.loads(v) for v in frame[column]], dtype=object, index=frame.index)
    return frame


def save_json(lake: Lake, run_id: str, name: str, value: Mapping[str, Any]) -> None:
    """Write a JSON value as a frame of one cell, so that the lake holds one kind of file."""
    lake.write_frame(pd.DataFrame({"json": [json.dumps(value, default=str)]}), _path(run_id, name))


def load_json(lake: Lake, run_id: str, name: str) -> dict[str, Any]:
    """Read a JSON value back."""
    return json.loads(lake.read_frame(_path(run_id, name))["json"].iloc[0])


def save_batch(lake: Lake, run_id: str, batch: Batch, partitions: list[pd.DataFrame]) -> None:
    """Write a batch, its records partition by partition."""
    for number, part in enumerate(partitions):
        save_frame(lake, run_id, f"records-{number:05d}", part)
    save_frame(lake, run_id, "issues", batch.issues)
    save_frame(lake, run_id, "unreadable", batch.unreadable)
    facts = {
        "feed": batch.feed,
        "batch_id": batch.batch_id,
        "received_at": batch.received_at.isoformat(),
        "objects": [[o.uri, o.digest, o.size, o.rows, o.watermark] for o in batch.objects],
        "schema": dict(batch.schema),
        "duplicates": batch.duplicates,
        "partitions": len(partitions),
    }
    save_json(lake, run_id, "batch", facts)


def load_batch(lake: Lake, run_id: str, *, records: bool = True) -> tuple[Batch, int]:
    """Read a batch back, with the number of its partitions; without records where `records` is false."""
    facts = load_json(lake, run_id, "batch")
    numbers = range(facts["partitions"] if records else 1)
    parts = [load_frame(lake, run_id, f"records-{number:05d}") for number in numbers]
    batch = Batch(
        feed=facts["feed"],
        batch_id=facts["batch_id"],
        received_at=pd.Timestamp(facts["received_at"]).to_pydatetime(),
        objects=tuple(ObjectRef(*o) for o in facts["objects"]),
        records=pd.concat(parts, ignore_index=True),
        issues=load_frame(lake, run_id, "issues", json_columns=("args",)),
        unreadable=load_frame(lake, run_id, "unreadable", json_columns=("args",)),
        schema=facts["schema"],
        duplicates=facts["duplicates"],
    )
    return batch, facts["partitions"]


def save_decided(lake: Lake, run_id: str, decided: Decided) -> None:
    """Write a decided batch."""
    for name in _FRAMES:
        save_frame(lake, run_id, f"decided-{name}", getattr(decided, name))
    facts = {
        "campaigns": [_campaign_facts(c) for c in decided.campaigns],
        "phase": decided.phase.value,
        "notes": [[note.code, dict(note.args)] for note in decided.notes],
        "measurements": decided.measurements,
    }
    save_json(lake, run_id, "decided", facts)


def load_decided(lake: Lake, run_id: str) -> Decided:
    """Read a decided batch back."""
    facts = load_json(lake, run_id, "decided")
    return Decided(
        decisions=load_frame(lake, run_id, "decided-decisions", json_columns=("reasons",)),
        **{name: load_frame(lake, run_id, f"decided-{name}") for name in _FRAMES if name != "decisions"},
        campaigns=tuple(_campaign(c) for c in facts["campaigns"]),
        phase=Phase(facts["phase"]),
        notes=tuple(Reason(code, args) for code, args in facts["notes"]),
        measurements=facts["measurements"],
    )


def clear(lake: Lake, run_id: str) -> None:
    """Remove the files of a run; those already gone are fine."""
    lake.remove(f"staging/{run_id}")


def _campaign_facts(campaign: Campaign) -> dict[str, Any]:
    facts = {name: getattr(campaign, name) for name in Campaign.__slots__ if name != "reason"}
    return facts | {"reason": [campaign.reason.code, dict(campaign.reason.args)]}


def _campaign(facts: Mapping[str, Any]) -> Campaign:
    values: dict[str, Any] = dict(facts)
    values |= {name: facts[name] and pd.Timestamp(facts[name]).to_pydatetime() for name in ("first_at", "last_at")}
    values |= {name: tuple(facts[name]) for name in ("record_ids", "source_ids", "earlier_ids")}
    return Campaign(**values | {"reason": Reason(*facts["reason"])})
