"""Shape a decided batch into rows of the records, evidence, campaign and item tables (pure)."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Collection, Iterable

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.config import Contract
from poison_guard.frames import among
from poison_guard.records import Campaign, Reason
from poison_guard.store.bulk import bounded_keys, to_json
from poison_guard.text import number_text

__all__ = [
    "AUDIT",
    "PREVIEW_CHARS",
    "campaign_rows",
    "evidence_rows",
    "item_rows",
    "previews",
    "reasons_text",
    "record_rows",
    "unreadable_hashes",
]

AUDIT = "audit_sample"
"""Reason code of a record that a reviewer sees though nothing speaks against it."""

_IDS = ("source_id", "author_id", "item_id", "group")
_ANSWER_CHARS = 512
_EVIDENCE = ["record_id", "signal", "level", "p", "code", "args"]


def record_rows(
    contract: Contract,
    records: pd.DataFrame,
    unreadable: pd.DataFrame,
    decisions: pd.DataFrame,
    received_at: dt.datetime,
) -> pd.DataFrame:
    """Return one row per record or unreadable row, with its decision; `place` is missing where there is none.

    `payload` is the row's position in `records`, or in `unreadable` where `readable` is false.
    """
    rows = _readable(contract, records, received_at)
    if len(unreadable):
        rows = pd.concat([rows, _unreadable(unreadable, received_at)], ignore_index=True)
    ids = pa.array(bounded_keys(decisions["record_id"]), pa.large_string())
    at = pc.index_in(pa.array(rows["record_id"], pa.large_string()), value_set=ids).fill_null(-1).to_numpy()
    made = decisions.reset_index(drop=True).reindex(at) if (at < 0).any() else decisions.iloc[at]
    made = made.set_axis(rows.index)
    texts = [None if type(codes) is list and not codes else reasons_text(codes) for codes in made["reasons"].tolist()]
    return rows.assign(
        place=made["place"].astype("str"),
        action=made["action"].astype("str"),
        risk=made["risk"].astype(float),
        reasons=pd.Series(texts, index=rows.index, dtype="str"),
        campaign_id=made["campaign_id"].astype("str"),
    )


def reasons_text(codes: object) -> str | None:
    """Return the codes of a decision as the records table keeps them: None where there are none."""
    return json.dumps([str(code) for code in codes]) if isinstance(codes, Collection) and len(codes) else None


def evidence_rows(
    decisions: pd.DataFrame,
    evidence: pd.DataFrame,
    notes: Iterable[Reason],
    wanted: Iterable[str],
) -> pd.DataFrame:
    """Return the evidence of `wanted` records, with the reasons of their decisions that no signal tells."""
    keep = frozenset(wanted)
    evidence = evidence.loc[among(evidence["record_id"], keep), _EVIDENCE]
    made = decisions.loc[among(decisions["record_id"], keep), ["record_id", "reasons"]].explode("reasons").dropna()
    known = set(zip(evidence["record_id"], evidence["code"], strict=True))
    noted = {note.code: note.args for note in notes}
    more: list[tuple[object, ...]] = [
        (name, "decide", "rule", 1.0, code, noted.get(code, {}))
        for name, code in zip(made["record_id"], made["reasons"], strict=True)
        if (name, code) not in known
    ]
    rows = pd.concat([evidence, pd.DataFrame(more, columns=_EVIDENCE)], ignore_index=True) if more else evidence
    return rows.assign(
        args=[a if isinstance(a, str) else to_json({} if a is None else a) for a in rows["args"]],
        signal=rows["signal"].astype("str"),
        level=rows["level"].astype("str"),
        p=rows["p"].astype(float).fillna(1.0),
    )


def campaign_rows(campaigns: Iterable[Campaign]) -> pd.DataFrame:
    """Return one row a campaign."""
    columns = ["campaign_id", "kind", "p", "strength", "n_records", "n_sources", "first_at", "last_at", "code", "args"]
    rows = [
        (
            *(
                c.campaign_id,
                c.kind,
                c.p,
                c.strength,
                len(c.record_ids) + len(c.earlier_ids),
                len(c.source_ids),
                c.first_at,
                c.last_at,
            ),
            *(c.reason.code, to_json(c.reason.args)),
        )
        for c in campaigns
    ]
    frame = pd.DataFrame(rows, columns=columns)
    times = {
        name: pd.to_datetime(frame[name], utc=True).astype("datetime64[us, UTC]") for name in ("first_at", "last_at")
    }
    return frame.assign(**times)


def item_rows(items: pd.DataFrame) -> pd.DataFrame:
    """Return the labels of items, one row an item."""
    return items.assign(
        item_id=bounded_keys(items["item_id"]),
        label=items["label"].astype("str").str.slice(0, _ANSWER_CHARS),
        probability=items["probability"].astype(float).fillna(0.0),
        adopted=items["adopted"].astype(bool),
        why=items["why"].astype("str"),
    ).drop_duplicates("item_id")


PREVIEW_CHARS = 500
"""Characters of a payload that the queue shows and searches."""
_SHOWN_CELL = 400
_TEXT_ROLES = ("prompt", "text", "response", "chosen", "rejected", "answer", "rating", "label")


def previews(contract: Contract, records: pd.DataFrame) -> pd.Series:
    """Return the beginning of each payload as the queue shows it, ``column: value`` a line; private columns left out.

    Empty for all records of a feed that keeps no copy of contents.
    """
    if not contract.data.copy:
        return pd.Series("", index=records.index, dtype="str")
    hidden = contract.privacy.private
    named = {role: contract.columns.get(role, role) for role in _TEXT_ROLES if role in records}
    more = [name for name in records if str(name).startswith(("feature.", "extra."))]
    named |= {name: name.partition(".")[2] for name in more}
    shown = pd.Series("", index=records.index, dtype="str")
    for column, name in named.items():
        if name in hidden:
            continue
        cells = records[column]
        if cells.dtype.kind == "O":
            cells = cells.where(cells.map(lambda cell: isinstance(cell, str | int | float | bool)))
        elif cells.dtype.kind == "f":
            cells = cells.map(number_text, na_action="ignore")  # 1, as it was written, not 1.0
        text = cells.astype("str").str.slice(0, _SHOWN_CELL).str.replace("\0", "␀", regex=False)
        shown += (name + ": " + text + "\n").where(cells.notna() & (text != ""), "")
    return shown.str.slice(0, PREVIEW_CHARS).str.rstrip("\n")


def _readable(contract: Contract, records: pd.DataFrame, received_at: dt.datetime) -> pd.DataFrame:
    n, empty = len(records), pd.Series(pd.NA, index=records.index, dtype="str")
    ids = {name: bounded_keys(records[name]) if name in records else empty for name in _IDS}
    vote = contract.vote
    answer = empty
    if vote in records.columns:  # whole ratings without a decimal point, so that 4.0 and "4" are one answer
        votes = records[vote]
        is_number = votes.dtype.kind == "f"
        answer = (votes.map(number_text, na_action="ignore") if is_number else votes).astype("str")
        answer = answer.str.slice(0, _ANSWER_CHARS).str.replace("\0", "␀", regex=False)
    times = records["received_at"] if "received_at" in records else pd.Series([received_at] * n, index=records.index)
    never = pd.Series(pd.NaT, index=records.index)
    return pd.DataFrame(
        {
            "record_id": bounded_keys(records["record_id"]),
            "content_hash": records["content_hash"],
            **ids,
            "answer": answer,
            "observed_at": _utc(records.get("observed_at", never)),
            "source_since": _utc(records.get("source_since", never)),
            "received_at": _utc(times),
            "readable": True,
            "payload": range(n),
        }
    ).astype({"record_id": "str", "content_hash": "str", "readable": bool})


def _unreadable(unreadable: pd.DataFrame, received_at: dt.datetime) -> pd.DataFrame:
    rows = unreadable.drop_duplicates("record_id")
    empty = pd.Series(pd.NA, index=rows.index, dtype="str")
    return pd.DataFrame(
        {
            "record_id": bounded_keys(rows["record_id"]),
            "content_hash": unreadable_hashes(rows),
            **dict.fromkeys((*_IDS, "answer"), empty),
            **dict.fromkeys(("observed_at", "source_since"), _utc(pd.Series(pd.NaT, index=rows.index))),
            "received_at": _utc(pd.Series([received_at] * len(rows), index=rows.index)),
            "readable": False,
            "payload": range(len(rows)),
        }
    ).astype({"record_id": "str", "content_hash": "str", "readable": bool})


def unreadable_hashes(rows: pd.DataFrame) -> pd.Series:
    """Return the content hash of rows that could not be read: their id says their text, wherever they stand."""
    hashes = [hashlib.blake2b(name.encode(), digest_size=16).hexdigest() for name in rows["record_id"]]
    return pd.Series(hashes, index=rows.index, dtype="str")


def _utc(times: pd.Series) -> pd.Series:
    return pd.to_datetime(times, utc=True).astype("datetime64[us, UTC]")
