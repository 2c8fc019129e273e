"""Say of each decision which row of which object it is about, and why in words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.decide.reasons import sentence
from poison_guard.records import Batch
from poison_guard.store import Store
from poison_guard.store.bulk import bounded_keys
from poison_guard.store.reading import load_rows

__all__ = ["batch_places", "located", "stored_places", "with_sentences"]

_PLACE = ["record_id", "object", "row"]


def batch_places(batch: Batch) -> pd.DataFrame:
    """Return ``record_id, object, row`` of the rows of a batch in the order in which they came."""
    if not len(batch.unreadable):
        return batch.records[_PLACE]
    places = pd.concat([batch.records[_PLACE], batch.unreadable[_PLACE]], ignore_index=True)
    objects = {uri: i for i, uri in enumerate(dict.fromkeys([*(ref.uri for ref in batch.objects), *places["object"]]))}
    order = np.lexsort((places["row"].to_numpy(np.int64), places["object"].map(objects).to_numpy()))
    return places.iloc[order].reset_index(drop=True)


def stored_places(store: Store, rows: pd.DataFrame) -> pd.DataFrame:
    """Return ``record_id, object, row`` of stored records (``record_id, file_id``) by object and row."""
    parts = list(load_rows(store, rows))
    places = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=_PLACE)
    return places.sort_values(["object", "row", "record_id"], ignore_index=True)


def located(frame: pd.DataFrame, places: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` in the order of `places`, with ``object, row`` of each record; rows of no place come last."""
    if frame.empty:
        return frame.assign(object=pd.Series(dtype="str"), row=pd.Series(dtype="int64"))
    at = _positions(frame["record_id"], bounded_keys(places["record_id"]))
    if (at < 0).any():
        at = np.where(at < 0, _positions(frame["record_id"], places["record_id"]), at)
    order = np.argsort(np.where(at < 0, len(places), at), kind="stable")
    at, frame = at[order], frame.iloc[order].reset_index(drop=True)
    rows = np.where(at < 0, 0, places["row"].to_numpy(np.int64)[at]) if len(places) else np.zeros(len(at), np.int64)
    objects = pa.array(places["object"], pa.large_string()).take(pa.array(at, pa.int64(), mask=at < 0))
    return frame.assign(object=pd.Series(objects.to_pandas(), dtype="str"), row=rows)


def _positions(names: pd.Series, among: pd.Series) -> np.ndarray:
    """Return ``(n,)`` int64: where each name stands first, -1 for nowhere."""
    found = pc.index_in(pa.array(names, pa.large_string()), value_set=pa.array(among, pa.large_string()))
    return found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def with_sentences(
    decisions: pd.DataFrame, evidence: pd.DataFrame, noted: Iterable[tuple[str, Mapping[str, Any]]] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both frames with ``why``: the sentence of each piece of evidence, and those of each decision's reasons.

    `evidence` holds ``record_id, p, code, args`` (JSON), `noted` code and arguments of what is true of the whole batch.
    """
    evidence = evidence.assign(why=_sentences(evidence["code"], evidence["args"]))
    if not len(decisions):
        return decisions.assign(why=pd.Series(dtype="str")), evidence
    whole = {code: sentence(code, args) for code, args in noted}
    made = decisions[["record_id", "reasons"]].explode("reasons").dropna(subset=["reasons"])
    made = made.rename(columns={"reasons": "code"}).rename_axis("at").reset_index()
    best = evidence.sort_values("p", kind="stable").drop_duplicates(["record_id", "code"])
    made = made.merge(best[["record_id", "code", "why"]], on=["record_id", "code"], how="left")
    plain = made["code"].map({code: whole.get(code) or sentence(code, {}) for code in made["code"].unique()})
    made = made.assign(why=made["why"].fillna(plain))
    several = made["at"].duplicated(keep=False)
    texts = pd.Series("", index=decisions.index, dtype=object)
    texts.loc[made.loc[~several, "at"]] = made.loc[~several, "why"].to_numpy()
    if several.any():
        joined = made[several].groupby("at", sort=False)["why"].agg("; ".join)
        texts.loc[joined.index] = joined.to_numpy()
    return decisions.assign(why=texts.astype("str")), evidence


def _sentences(codes: pd.Series, args: pd.Series) -> pd.Series:
    """Return the sentence of each code with its arguments (JSON), each made once."""
    keys = pd.Series([f"{code}\0{a}" for code, a in zip(codes, args, strict=True)], dtype=object)
    made = {key: _sentence(*key.split("\0", 1)) for key in keys.unique()}
    return pd.Series(keys.map(made).to_numpy(), index=codes.index, dtype="str")


def _sentence(code: str, args: str) -> str:
    return sentence(code, json.loads(args))
