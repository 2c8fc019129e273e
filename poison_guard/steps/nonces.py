"""Replays across runs: signed records whose nonce the store has seen under another id."""

from __future__ import annotations

import hashlib

import pandas as pd

from poison_guard.config import Contract
from poison_guard.ingest.signatures import nonce_keys
from poison_guard.steps.opening import Feed
from poison_guard.store.nonces import find_nonces

__all__ = ["replayed", "signed_nonces"]


def replayed(feed: Feed, records: pd.DataFrame, *, version: int) -> pd.DataFrame:
    """Return the failures ``record_id, code, args`` of proved records whose nonce came before in another record."""
    mine = signed_nonces(feed.contract, records)
    if mine.empty:
        return pd.DataFrame(columns=["record_id", "code", "args"])
    known = find_nonces(feed.store, feed.contract.name, mine["nonce"], version=version)
    first = dict(zip(known["nonce"], known["record_id"], strict=True))
    rows = [
        (name, "signature_replayed", {"nonce": str(nonce)[:64]})
        for name, key, own, nonce in zip(mine["name"], mine["nonce"], mine["record_id"], mine["written"], strict=True)
        if first.get(key, own) != own
    ]
    return pd.DataFrame(rows, columns=["record_id", "code", "args"])


def signed_nonces(contract: Contract, records: pd.DataFrame) -> pd.DataFrame:
    """Return ``nonce, record_id`` as hashes, ``sent_at``, and ``name, written`` as they are, of proved records."""
    columns = ["nonce", "record_id", "sent_at", "name", "written"]
    if contract.signature is None or not contract.has("nonce") or "proof" not in records:
        return pd.DataFrame(columns=columns)
    rows = records[records["proof"].notna() & records["nonce"].notna()]
    ids = [
        hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest() for name in rows["record_id"]
    ]
    return pd.DataFrame(
        {
            "nonce": nonce_keys(rows["proof"], rows["nonce"]),
            "record_id": ids,
            "sent_at": rows["sent_at"]
            if contract.has("sent_at")
            else pd.Series(pd.NaT, rows.index, "datetime64[us, UTC]"),
            "name": rows["record_id"],
            "written": rows["nonce"],
        }
    )
