"""Draw records for people to see: by a keyed hash of their ids, so that no sender can foresee which are drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

__all__ = ["audit_sample", "stratified_sample"]


def audit_sample(accepted_ids: Sequence[str], key: bytes, rate: float) -> list[str]:
    """Return the ids that reviewers see although they were accepted: the `rate` share with the lowest keyed hash.

    `key` must not be known to who sends records (it is the store's secret), or they could choose ids that are never
    drawn.
    """
    limit = int(rate * 2**64)
    return [name for name, drawn in zip(accepted_ids, _draw(accepted_ids, key), strict=True) if drawn < limit]


def stratified_sample(rows: pd.DataFrame, n: int, key: bytes) -> pd.DataFrame:
    """Return at most `n` of `rows` (``record_id, source_id, group``): every group alike, each source once before twice.

    The same draw again until rows are vetted; a group that floods the feed does not fill the sample.
    """
    if rows.empty:
        return rows
    drawn = rows.assign(drawn=pd.Series(_draw(rows["record_id"].tolist(), key), index=rows.index, dtype="uint64"))
    drawn = drawn.sort_values("drawn")
    drawn["turn"] = drawn.groupby(drawn["source_id"].fillna(drawn["record_id"])).cumcount()
    drawn = drawn.sort_values(["turn", "drawn"])
    drawn["round"] = drawn.groupby(drawn["group"].fillna("")).cumcount()
    return drawn.sort_values(["round", "drawn"]).head(n)[list(rows.columns)].reset_index(drop=True)


def _draw(record_ids: Iterable[str], key: bytes) -> list[int]:
    """Return the keyed hash of each id, below 2**64."""
    keyed, digests = hashlib.blake2b(digest_size=8, key=key[:64]), bytearray()
    for name in record_ids:
        one = keyed.copy()
        one.update(name.encode())
        digests += one.digest()
    return np.frombuffer(digests, ">u8").tolist()  # type: ignore[no-any-return]
