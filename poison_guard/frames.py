"""The columns of every frame that goes from one room to another: name, dtype, and what a column is.

A frame is made empty from here, checked at the borders of the stages where ``POISON_GUARD_CHECK_FRAMES`` is set (the
tests set it), and listed in ``docs/reference.md`` from here.

Marks say what a column is: ``id`` names something, ``private`` may show a person (`store/erasure_plan.py` looks for an
erased source in all columns that have both), ``from_feed`` is text that a sender wrote and that is escaped wherever it
is shown.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from poison_guard.errors import StoreError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = [
    "ADDED",
    "CHECKING",
    "FRAMES",
    "Column",
    "Frame",
    "among",
    "check_frame",
    "check_frames",
    "columns_marked",
    "empty_frame",
    "typed_frame",
]

ADDED = "guard."
"""What the names of columns begin with that the guard adds to a feed's rows in files it writes: no data of a feed."""

TIME = "datetime64[us, UTC]"
_KINDS = {"str": "O", "object": "OMTU", "int64": "iu", "float64": "fiu", "float32": "f", "bool": "b", TIME: "M"}
"""dtype to the NumPy kinds that stand for it; an empty or all-missing column may have any."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its pandas dtype (``object`` holds lists, mappings or bytes) and its marks."""

    dtype: str
    marks: frozenset[str] = frozenset()
    optional: bool = False
    """Whether a frame may lack it."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: what a row is, its columns in order, and the prefixes of further columns."""

    row: str
    columns: Mapping[str, Column]
    prefixes: Mapping[str, str] = field(default_factory=dict)
    """Beginning of the names of further columns, to their dtype."""


def _text(*marks: str, optional: bool = False) -> Column:
    return Column("str", frozenset(marks), optional)


_ID = _text("id", "from_feed")
_SOURCE = _text("id", "from_feed", "private")
_VOTE = _text("from_feed")
_CODE = _text()
_NUMBER, _COUNT, _YES, _TIME, _VALUE = (Column(dtype) for dtype in ("float64", "int64", "bool", TIME, "object"))
_ARGS = Column("object", frozenset({"from_feed"}))
_ROLES = {
    **{role: Column("str", _SOURCE.marks, optional=True) for role in ("source_id", "author_id")},
    "item_id": Column("str", _ID.marks, optional=True),
    **{role: Column("str", _VOTE.marks, optional=True) for role in ("answer", "label")},
    **{role: Column("float64", optional=True) for role in ("rating", "reward")},
    **{role: Column(TIME, optional=True) for role in ("observed_at", "source_since", "sent_at")},
    **{role: _text("from_feed", optional=True) for role in ("signature", "nonce", "client_version", "sequence")},
    **{role: _text("from_feed", "private", optional=True) for role in ("device", "place")},
    **{role: _text("from_feed", optional=True) for role in ("text", "prompt", "response", "chosen", "rejected")},
    "image": Column("object", frozenset({"from_feed"}), optional=True),
    "group": _text("from_feed", optional=True),
}
"""What the contract of a feed may map: each is there where the contract maps it."""
_REASON = {"code": _CODE, "args": _ARGS}
_WHERE = {
    "object": _text("from_feed", optional=True),
    "row": Column("int64", optional=True),
    "why": _text("from_feed", optional=True),
}
"""In the frames of a result: the row of the object that a record was made of, and the reasons as sentences."""
_MEMORY = {
    "record_id": _ID,
    "speaker": _SOURCE,
    "source_id": _SOURCE,
    "author_id": _SOURCE,
    "item_id": _ID,
    "vote": _VOTE,
    "observed_at": _TIME,
    "source_since": _TIME,
    "received_at": _TIME,
    "group": _text("from_feed"),
}
_TRACES = {"sketch": "object", "words.": "object", "rating": "float64", "vector.": "float32"}
_COUNTED = ("controls_right", "controls_wrong", "agreed", "disagreed")
_STATISTICS = {
    "source_id": _SOURCE,
    **dict.fromkeys(("n", *_COUNTED), _COUNT),
    **dict.fromkeys(("reliability", "lower_bound", "p"), _NUMBER),
}
_VOTES = {"item_id": _ID, "source_id": _SOURCE}

FRAMES: Mapping[str, Frame] = {
    "records": Frame(
        "a readable record of a batch, or a trusted one; a role that the contract does not map is absent",
        {
            "record_id": _ID,
            "content_hash": _text("id"),
            "object": _text("from_feed"),
            "row": _COUNT,
            "received_at": _TIME,
            **_ROLES,
            "proof": _text("id", optional=True),
            "shape": Column("object", optional=True),
        },
        {"feature.": "object", "extra.": "object", "given.": "str", "was.": "str"},
    ),
    "issues": Frame("something wrong with a readable record", {"record_id": _ID, **_REASON}),
    "newcomers": Frame(
        "a row of a batch in conflict over its id (`first_id`, else missing), or under another id than it came with",
        {"given_id": _ID, "record_id": _ID, "first_id": _ID, "squatted": _YES},
    ),
    "unreadable": Frame(
        "a row that could not be read",
        {
            "record_id": _ID,
            "object": _text("from_feed"),
            "row": _COUNT,
            **_REASON,
            "raw": _text("from_feed", "private"),
        },
    ),
    "failures": Frame("a rule that a record breaks", {"record_id": _ID, **_REASON}),
    "scored": Frame(
        "a record as the later stages see it: keys, p-values of record signals, traces to compare it by",
        {"record_id": _ID, "content_hash": _text("id"), **{k: v for k, v in _MEMORY.items() if k != "record_id"}},
        {"p.": "float64", "why.": "str", "crash.": "str", "proof": "str", "trait.": "object", **_TRACES},
    ),
    "batch_sources": Frame(
        "a source of the batch and what its votes say of it",
        {
            **_STATISTICS,
            **_REASON,
        },
    ),
    "votes": Frame(
        "a vote of the batch, free text as its cluster writes it",
        {"item_id": _ID, "source_id": _SOURCE, "vote": _VOTE, "observed_at": _TIME, "established": _YES},
    ),
    "accepted": Frame(
        "a vote accepted before about an item of the batch",
        {
            "record_id": _ID,
            "item_id": _ID,
            "source_id": _SOURCE,
            "vote": _VOTE,
            "observed_at": _TIME,
            "source_since": _TIME,
            "established": _YES,
        },
    ),
    "recent": Frame(
        "a vote of an earlier batch that is remembered and that no person rejected", {"item_id": _ID, "vote": _VOTE}
    ),
    "conflicts": Frame(
        "an item where newcomers contradict established sources",
        {"item_id": _ID, "established_answer": _VOTE, "new_answer": _VOTE},
    ),
    "decisions": Frame(
        "a record or unreadable row, decided",
        {
            "record_id": _ID,
            "action": _CODE,
            "risk": _NUMBER,
            "campaign_id": Column("object", frozenset({"id"})),
            "reasons": _VALUE,
            "place": _text(optional=True),
            **_WHERE,
        },
    ),
    "evidence": Frame(
        "a reason that a signal gives against a record, its arguments as JSON",
        {
            "record_id": _ID,
            "signal": _CODE,
            "level": _CODE,
            "p": _NUMBER,
            "code": _CODE,
            "args": _text("from_feed"),
            **_WHERE,
        },
    ),
    "items": Frame(
        "an item and the label adopted for it, or why none is",
        {"item_id": _ID, "label": _VOTE, "probability": _NUMBER, "adopted": _YES, "why": _CODE},
    ),
    "sources": Frame(
        "a source of the batch with what this batch adds to its ledger",
        {
            **_STATISTICS,
            "first_seen": _TIME,
        },
    ),
    "campaigns": Frame(
        "a campaign",
        {
            "campaign_id": _text("id"),
            "kind": _CODE,
            "p": _NUMBER,
            "strength": _NUMBER,
            "n_records": _COUNT,
            "n_sources": _COUNT,
            "first_at": _TIME,
            "last_at": _TIME,
            "why": _text("from_feed"),
        },
    ),
    "recalls": Frame(
        "an accepted record of an earlier batch whose campaign shows only now",
        {"record_id": _ID, "campaign_id": _text("id")},
    ),
    "remembered": Frame("what later batches may see of a record of this one", _MEMORY, _TRACES),
    "memory": Frame("a record of an earlier batch as this one sees it", {**_MEMORY, "place": _CODE}, _TRACES),
    "controls": Frame("an item whose answer is known", {"item_id": _ID, "answer": _VOTE}),
    "near_controls": Frame("a free-text answer that agrees with the item's control", {"item_id": _ID, "answer": _VOTE}),
    "ledger": Frame(
        "a source and the sums of what it did, up to the state version",
        {
            "source_id": _SOURCE,
            **dict.fromkeys(("n", *_COUNTED), _NUMBER),
            "outcomes_right": _NUMBER,
            "outcomes_wrong": _NUMBER,
            "blocked": _YES,
            "first_seen": _TIME,
        },
    ),
    "answers": Frame(
        "an answer accepted before, about an item of this batch; `verdict` 1: a person said that it is right",
        {
            "record_id": _ID,
            **_VOTES,
            "vote": _VOTE,
            "observed_at": _TIME,
            "source_since": Column(TIME, optional=True),
            "verdict": _COUNT,
        },
    ),
    "known": Frame(
        "a record of this batch that the store has", {"record_id": _ID, "content_hash": _text("id"), "place": _CODE}
    ),
    "verified": Frame("a verified answer of a source", {"source_id": _SOURCE, "at": _TIME, "right": _YES}),
}


BORDERS: Mapping[str, Mapping[str, str]] = {
    "Batch": {"records": "records", "issues": "issues", "unreadable": "unreadable"},
    "Validation": {"failures": "failures"},
    "BatchEvidence": {
        "sources": "batch_sources",
        **{name: name for name in ("votes", "accepted", "recent", "conflicts")},
    },
    "Decided": {
        **{name: name for name in ("decisions", "evidence", "items", "sources", "recalls", "near_controls")},
        "memory": "remembered",
    },
    "State": {
        **{name: name for name in ("ledger", "controls", "answers", "known", "memory", "verified")},
        **dict.fromkeys(("reference", "calibration"), "records"),
    },
    "ScanResult": {name: name for name in ("decisions", "items", "sources", "campaigns", "evidence")},
}
"""Class of a value that crosses a border, to the frame that each of its fields holds."""


CHECKING = bool(os.environ.get("POISON_GUARD_CHECK_FRAMES"))
"""Whether frames are checked at the borders."""


def empty_frame(name: str) -> pd.DataFrame:
    """Return the frame `name` of `FRAMES` without a row, its optional columns left out."""
    return _empty(name).copy()


@functools.cache
def _empty(name: str) -> pd.DataFrame:
    import pandas as pd

    columns = {key: column for key, column in FRAMES[name].columns.items() if not column.optional}
    return pd.DataFrame({key: pd.Series([], dtype=column.dtype) for key, column in columns.items()})


def typed_frame(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` with the columns that `FRAMES` names in their dtypes; one without a row may lack any."""
    columns = {key: column.dtype for key, column in FRAMES[name].columns.items() if key in frame}
    return frame.astype(columns) if len(frame) else empty_frame(name)


def columns_marked(*marks: str) -> tuple[str, ...]:
    """Return the names of the columns that have all of `marks`, in any frame, sorted.

    >>> columns_marked("id", "private")
    ('author_id', 'source_id', 'speaker')
    """
    columns = (pair for frame in FRAMES.values() for pair in frame.columns.items())
    return tuple(sorted({name for name, column in columns if column.marks.issuperset(marks)}))


def among(column: pd.Series, values: Iterable[str]) -> np.ndarray:
    """Return ``(n,)`` whether each cell of a column of text is one of `values`; a missing cell is not.

    For ids of a whole batch: `Series.isin` makes an Arrow object of each value, and takes 25 times as long.
    """
    import numpy as np

    if column.dtype == "str" and getattr(values, "dtype", None) == "str":
        import pyarrow as pa
        import pyarrow.compute as pc

        cells, given = (pa.array(each, pa.large_string()) for each in (column, values))
        return pc.is_in(cells, value_set=given, skip_nulls=True).to_numpy(zero_copy_only=False)
    wanted = {value for value in values if isinstance(value, str)}
    return np.fromiter((cell in wanted for cell in column.to_numpy(object)), bool, len(column))


def positions(column: pd.Series, names: pd.Index) -> np.ndarray:
    """Return ``(n,)`` where each cell of a column of text is among distinct `names`, -1 where it is not."""
    import pandas as pd

    if column.dtype != "str" or names.dtype != "str":
        return pd.Index(names).get_indexer(pd.Index(column))
    import pyarrow as pa
    import pyarrow.compute as pc

    cells, given = (pa.array(each, pa.large_string()) for each in (column, names))
    return pc.index_in(cells, value_set=given, skip_nulls=True).fill_null(-1).to_numpy(zero_copy_only=False)


def look_up(column: pd.Series, table: pd.Series) -> pd.Series:
    """Return what `table` says of each cell of a column of text, by its distinct index; missing where it says nothing.

    For ids of a whole history: `Series.map` makes an object of each cell, and takes 20 times as long.
    """
    import pandas as pd

    said = pd.api.extensions.take(table.array, positions(column, table.index), allow_fill=True)
    return pd.Series(said, index=column.index)


def check_frame(name: str, frame: pd.DataFrame) -> None:
    """Raise `StoreError` for a frame with a column missing, unknown, or of another kind than `FRAMES` says."""
    spec = FRAMES[name]
    lacking = [key for key, column in spec.columns.items() if key not in frame and not column.optional]
    unknown = [key for key in frame if key not in spec.columns and not any(map(str(key).startswith, spec.prefixes))]
    if lacking or unknown:
        raise StoreError(f"the frame {name} lacks {lacking} and has the unknown columns {unknown}; see frames.py")
    for key, dtype in frame.dtypes.items():
        column = spec.columns.get(key)
        if column is None or column.dtype == "object" or dtype.kind in _KINDS[column.dtype]:
            continue
        if frame[key].notna().any():
            raise StoreError(f"{key} of the frame {name} is {dtype}, expected {column.dtype}; see frames.py")


def check_frames(value: object) -> None:
    """Check the frames of a value that goes from one room to another; a frame without a row need not be shaped."""
    for name, frame in BORDERS.get(type(value).__name__, {}).items():
        cells = getattr(value, name)
        if len(cells):
            check_frame(frame, cells)
