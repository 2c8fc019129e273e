"""Check what senders signed: of each row whether its signature holds, by which key, and if not, why.

A signature is ``KID:MAC``, HMAC-SHA256 (RFC 2104; hexadecimal) over the signed columns as RFC 8785 JSON; or a compact
JWS (RFC 7515), whose payload is a JSON object that has the signed columns as the row has them, or is left out
(``HEADER..SIGNATURE``), and is then that RFC 8785 JSON. The key decides the algorithm, never the signature.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from poison_guard.config import Contract
from poison_guard.config.signing import keys_file, max_age
from poison_guard.ingest.cells import as_text
from poison_guard.ingest.signature_keys import Key, load_keys
from poison_guard.ingest.signed_json import json_rows, json_values
from poison_guard.text import quoted

__all__ = ["CLOCK_AHEAD", "Proofs", "check_rows", "judge_proofs", "nonce_keys"]

CLOCK_AHEAD = dt.timedelta(hours=1)
"""How far `sent_at` may lie after the time at which a record was received."""
_MAX_CHARS = 65_536
"""Characters of a signature."""
_MAX_HEADERS = 4096
"""Headers that are remembered: a sender could make every one another."""
_JSON_SPACE = " \t\r\n"
_NO_OBJECT = "its payload is no JSON object, or has a key twice"
_NO_FAULT = ""
_URL_SAFE = bytes.maketrans(b"-_+/", b"+/!!")
Issue = tuple[int, str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Proofs:
    """What the signatures of rows say by themselves, before times and repeats are looked at; both ``(n,)`` object."""

    key: np.ndarray
    """The `Key` by which a signature holds, else None."""
    fault: np.ndarray
    """Why there is none, in words; empty where there is no signature at all."""


def check_rows(table: pa.Table, contract: Contract) -> Proofs | None:
    """Return what the signatures of the rows as they came prove; None for a feed that has none.

    `ConfigError` where its keys cannot be read.
    """
    if contract.signature is None:
        return None
    keys = load_keys(keys_file(contract.signature, contract.path))
    n, name = table.num_rows, contract.columns["signature"]
    cells = {c: table[c].combine_chunks() for c in contract.signature.signed if c in table.column_names}
    columns = [(c, cells.get(c, pa.nulls(n))) for c in contract.signature.signed]
    tokens = as_text(table[name].combine_chunks()).to_pylist() if name in table.column_names else [None] * n
    key, fault = np.full(n, None, object), np.full(n, _NO_FAULT, object)
    if n:
        found = _checked(tokens, columns, keys)
        key[:], fault[:] = zip(*found, strict=True)
    if "source_id" in contract.columns:
        _check_sources(key, fault, cells.get(contract.columns["source_id"]))
    return Proofs(key, fault)


def _checked(
    tokens: Sequence[str | None], columns: Sequence[tuple[str, pa.Array]], keys: Mapping[str, Key]
) -> Iterator[tuple[Key | None, str]]:
    """Yield of each row the key by which its signature holds, or None and why."""
    texts: Sequence[bytes] = json_rows(columns).cast(pa.large_binary()).to_pylist()
    is_text = any(pa.types.is_large_string(cells.type) for _, cells in columns)
    loose: list[bytes] = []  # made at the first row that needs it

    def other_text(row: int) -> bytes | None:
        if is_text and not loose:
            loose.extend(json_rows(columns, loose=True).cast(pa.large_binary()).to_pylist())
        return loose[row] if loose and loose[row] != texts[row] else None

    by_mac = {kid: key.verify for kid, key in keys.items() if key.secret is not None}
    jws, fromhex = _JwsReader(columns, keys), bytes.fromhex
    for row, (token, text) in enumerate(zip(tokens, texts, strict=True)):
        if not token:
            yield None, _NO_FAULT
            continue
        kid, colon, written = token.partition(":")
        if not colon:
            yield jws.check(row, token, text, other_text)
            continue
        holds = by_mac.get(kid)
        if holds is None:
            yield None, _no_key(kid, keys)
            continue
        try:
            given = fromhex(written)
        except ValueError:
            yield None, "its MAC is not hexadecimal"
            continue
        if holds(text, given) or ((other := other_text(row)) is not None and holds(other, given)):
            yield keys[kid], _NO_FAULT
        else:
            yield None, f"it is no signature of the signed columns by the key {quoted(kid)}"


def _no_key(kid: str, keys: Mapping[str, Key]) -> str:
    if kid in keys:
        return f"the key {quoted(kid)} is for {keys[kid].alg}, and the signature is not"
    return f"there is no key {quoted(kid[:64])}"


class _JwsReader:
    """Checks compact JWS; headers, the same for all records of a key, are read once."""

    def __init__(self, columns: Sequence[tuple[str, pa.Array]], keys: Mapping[str, Key]) -> None:
        self.columns, self.keys = columns, keys
        self.headers: dict[str, tuple[Key | None, str]] = {}
        self.names = [name for name, _ in columns]
        self.cells: list[tuple[str, list[Any]]] = []
        self.rows: list[tuple[Any, ...]] = []

    def check(
        self, row: int, token: str, text: bytes, other_text: Callable[[int], bytes | None]
    ) -> tuple[Key | None, str]:
        message, _, end = token.rpartition(".")
        head, dot, body = message.partition(".")
        if not dot or "." in body or len(token) > _MAX_CHARS:
            return None, "it is neither KID:MAC nor a compact JWS"
        known = self.headers.get(head)
        if known is None:
            known = self._header(head)
            if len(self.headers) < _MAX_HEADERS:
                self.headers[head] = known
        key, fault = known
        if key is None:
            return None, fault
        try:
            signature = _decoded(end)
            payload = _decoded(body) if body else None
        except ValueError:
            return None, "it is not base64url"
        if payload is not None:
            if not key.verify(message.encode(), signature):
                return None, f"it is no signature of its payload by the key {quoted(key.kid)}"
            return self._compared(row, key, payload)
        for each in (text, other_text(row)):
            if each is not None and key.verify(f"{head}.{_encoded(each)}".encode(), signature):
                return key, _NO_FAULT
        return None, f"it is no signature of the signed columns by the key {quoted(key.kid)}"

    def _header(self, head: str) -> tuple[Key | None, str]:
        try:
            header = json.loads(_decoded(head), object_pairs_hook=_once)
        except (ValueError, RecursionError):
            return None, "its header is not JSON"
        if not isinstance(header, dict) or "crit" in header or header.get("b64") is False:
            return None, "its header asks for what is not supported (crit, b64)"
        kid, alg = header.get("kid"), header.get("alg")
        key = self.keys.get(kid) if isinstance(kid, str) else None
        if key is None:
            return None, f"there is no key {quoted(str(kid)[:64])}"
        if (key.alg if alg == "Ed25519" and key.alg == "EdDSA" else alg) != key.alg:
            return None, f"the key {quoted(key.kid)} is for {key.alg}, and the signature says {quoted(str(alg)[:64])}"
        return key, _NO_FAULT

    def _compared(self, row: int, key: Key, payload: bytes) -> tuple[Key | None, str]:
        try:
            text = payload.decode().strip(_JSON_SPACE)
            record, end = _DECODER.raw_decode(text)
        except (ValueError, RecursionError):
            return None, _NO_OBJECT
        if not isinstance(record, dict) or end != len(text):
            return None, _NO_OBJECT
        if not self.cells:
            self.cells = [(name, _plain(cells)) for name, cells in self.columns]
            self.rows = list(zip(*(cells for _, cells in self.cells), strict=True))
        if self.rows[row] == tuple(map(record.get, self.names)):
            return key, _NO_FAULT
        for name, cells in self.cells:
            if name not in record:
                return None, f"its payload lacks the column {quoted(name)}"
            if not _same(cells[row], record[name]):
                return None, f"its payload has another {quoted(name)} than the row"
        return key, _NO_FAULT


def _decoded(text: str) -> bytes:
    """Return the bytes of base64url without padding; `ValueError` for anything else."""
    plain = text.encode("ascii").translate(_URL_SAFE)
    return binascii.a2b_base64(plain + b"=" * (-len(plain) % 4), strict_mode=True)


def _encoded(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key twice")
    return table


_DECODER = json.JSONDecoder(object_pairs_hook=_once)


def _plain(cells: pa.Array) -> list[Any]:
    """Return cells as JSON has them: times as text."""
    if pa.types.is_timestamp(cells.type):
        return [json.loads(text) for text in json_values(cells).to_pylist()]
    return cells.to_pylist()


def _same(cell: Any, value: Any) -> bool:
    """Return whether a cell says what a value of the payload says; text of CSV may stand for numbers and booleans."""
    if type(cell) is type(value):
        return bool(cell == value)
    if cell is None or cell == "":
        return value is None or value == ""
    if isinstance(value, bool) or isinstance(cell, bool):
        return isinstance(cell, str) and cell.lower() == str(value).lower()
    if isinstance(value, (int, float)) and isinstance(cell, (int, float, str)):
        try:
            return float(cell) == float(value)
        except (ValueError, OverflowError):
            return False
    return isinstance(value, (dict, list)) and isinstance(cell, str) and _same_json(cell, value)


def _same_json(cell: str, value: Any) -> bool:
    try:
        return bool(json.loads(cell) == value)
    except (ValueError, RecursionError):
        return False


def _check_sources(key: np.ndarray, fault: np.ndarray, sources: pa.Array | None) -> None:
    """Take back what was signed by the key of another source."""
    bound = [row for row, by in enumerate(key) if by is not None and by.source is not None]
    if not bound:
        return
    names = [None] * len(key) if sources is None else as_text(sources).to_pylist()
    for row in bound:
        if names[row] != key[row].source:
            fault[row] = f"the key {quoted(key[row].kid)} is of the source {quoted(key[row].source)}"
            key[row] = None


def judge_proofs(
    proofs: Proofs, contract: Contract, columns: Mapping[str, pd.Series], ids: pd.Series, received: pd.Timestamp
) -> tuple[pd.Series, list[Issue]]:
    """Return by which key each row is proved ``(n,)`` (missing: by none), and what is wrong with signatures.

    `columns` are the rows' roles, `ids` their record ids. Codes: ``signature_invalid, signature_stale,
    signature_early, signature_replayed``, and ``signature_missing`` where the feed requires signatures.
    """
    days = max_age(contract)
    sent = columns.get("sent_at")
    at = pd.Series(received, index=ids.index) if sent is None else sent.fillna(received)
    key, issues = proofs.key.copy(), list[Issue]()
    required = "signature" in (contract.policy.required or ())
    kept = np.asarray(pd.notna(key))
    for row in np.flatnonzero(~kept & (required | (proofs.fault != _NO_FAULT))).tolist():
        why = proofs.fault[row]
        issues.append((row, "signature_invalid", {"why": why}) if why else (row, "signature_missing", {}))
    outside = _outside(key, at, received)
    issues += [(row, "signature_invalid", {"why": why}) for row, why in outside.items()]
    kept[list(outside)] = False
    early = kept & (at > received + CLOCK_AHEAD).to_numpy()
    stale = kept & (at < received - pd.Timedelta(days=days)).to_numpy()
    for code, rows in (("signature_early", early), ("signature_stale", stale)):
        issues += [
            (row, code, {"sent_at": at.iloc[row].isoformat(), "days": days}) for row in np.flatnonzero(rows).tolist()
        ]
    kids = np.full(len(key), None, object)
    key[~kept | early | stale] = None
    for by, rows in _by_key(key):
        kids[rows] = by.kid
    issues += _repeats(kids, columns, ids)
    return pd.Series(kids, dtype="str"), issues


def _by_key(key: np.ndarray) -> Iterator[tuple[Key, np.ndarray]]:
    """Yield each key and the rows ``(k,)`` that it proves."""
    codes, found = pd.factorize(pd.Series([by and by.kid for by in key], dtype=object))
    order = np.argsort(codes, kind="stable")
    ends = np.searchsorted(codes[order], np.arange(len(found) + 1))
    for start, end in itertools.pairwise(ends):
        yield key[order[start]], order[start:end]


def _outside(key: np.ndarray, at: pd.Series, received: pd.Timestamp) -> dict[int, str]:
    """Return the rows whose key did not count when they were sent or received, and why."""
    faults: dict[int, str] = {}
    for one, rows in _by_key(key):
        name, when = quoted(one.kid), at.iloc[rows]
        if one.revoked is not None and received >= one.revoked:
            faults |= dict.fromkeys(rows.tolist(), f"the key {name} was revoked on {one.revoked:%Y-%m-%d}")
            continue
        if one.starts is not None:
            early = rows[(when < one.starts).to_numpy()]
            faults |= dict.fromkeys(early.tolist(), f"the key {name} counts from {one.starts:%Y-%m-%d}")
        if one.ends is not None:
            late = rows[(when >= one.ends).to_numpy()]
            faults |= dict.fromkeys(late.tolist(), f"the key {name} counted until {one.ends:%Y-%m-%d}")
    return faults


def nonce_keys(kids: pd.Series, nonces: pd.Series) -> np.ndarray:
    """Return ``(n,)`` object: 32 hexadecimal digits of a key's nonce, or None where one of both is missing."""
    pairs = zip(kids.to_numpy(object), nonces.to_numpy(object), strict=True)
    return np.array(
        [
            hashlib.blake2b(f"{len(kid)}:{kid}{nonce}".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
            if isinstance(kid, str) and isinstance(nonce, str)
            else None
            for kid, nonce in pairs
        ],
        dtype=object,
    )


def _repeats(kids: np.ndarray, columns: Mapping[str, pd.Series], ids: pd.Series) -> list[Issue]:
    """Return the rows whose nonce another row of the batch has; of equal rows the one with the first id stays.

    `kids` ``(n,)`` loses those. Rows that differ in what is not signed are all held: which came first, nobody can say.
    """
    nonce = columns.get("nonce")
    if nonce is None:
        return []
    there = np.flatnonzero(np.asarray(pd.notna(kids)) & nonce.notna().to_numpy())
    kid, name = (pd.factorize(cells[there])[0].astype(np.int64) for cells in (kids, nonce.to_numpy(object)))
    pair = kid * (name.max(initial=0) + 1) + name
    rows = there[pd.Series(pair).duplicated(keep=False).to_numpy()]
    if not len(rows):
        return []
    said = pd.DataFrame({n: c.iloc[rows].astype(str).to_numpy() for n, c in columns.items() if n != "record_id"})
    some = pd.DataFrame({"kid": kids[rows], "nonce": nonce.to_numpy(object)[rows]}).assign(
        row=rows, id=ids.iloc[rows].to_numpy(object), said=pd.util.hash_pandas_object(said, index=False).to_numpy()
    )
    issues: list[Issue] = []
    for (_, name), group in some.groupby(["kid", "nonce"], sort=False):
        if len(set(group["id"])) == 1:  # one record, delivered twice
            continue
        ordered = group.sort_values(["id", "row"])
        first = ordered["id"].iloc[0]
        copies = ordered if len(set(group["said"])) > 1 else ordered[ordered["id"] != first]
        for row in copies["row"].tolist():
            issues.append((row, "signature_replayed", {"nonce": str(name)[:64], "n": len(group)}))
            kids[row] = None
    return issues
