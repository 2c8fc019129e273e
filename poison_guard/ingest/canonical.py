"""Canonical bytes of cells: a cell gives the same bytes from CSV, JSON and Parquet, whatever else is in its batch.

A cell is its column's name, a tag and its value, each with its length, so that no two rows share their bytes; a missing
cell is no bytes at all, so that a new column without values changes no identity. Two NumPy arrays make a column.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["number_cells", "text_cells", "time_cells"]


def number_cells(name: str, values: np.ndarray, there: np.ndarray) -> pa.Array:
    """Return ``(n,)`` large_binary: tag ``n`` and the float64, big-endian; minus zero is zero."""
    plain = np.where(there, values + 0.0, 0.0)
    return _fixed(_head(name, b"n"), plain.astype(">f8"), there)


def time_cells(name: str, micros: np.ndarray, there: np.ndarray) -> pa.Array:
    """Return ``(n,)`` large_binary: tag ``d`` and the microseconds since 1970 as a big-endian int64."""
    return _fixed(_head(name, b"d"), micros.astype(">i8"), there)


def text_cells(name: str, values: pa.Array) -> pa.Array:
    """Return ``(n,)`` large_binary of a large_string or large_binary array: tag ``t``, the length and the bytes."""
    there = np.asarray(values.is_valid())
    lengths = pc.fill_null(pc.cast(pc.binary_length(values), pa.int64()), 0).to_numpy(zero_copy_only=False)
    heads = _fixed(_head(name, b"t"), lengths.astype(">i8"), there)
    body = values.cast(pa.large_binary()).fill_null(b"")
    return pc.binary_join_element_wise(heads, body, pa.scalar(b"", pa.large_binary()))


def _head(name: str, tag: bytes) -> bytes:
    text = name.encode("utf-8", "surrogatepass")
    return len(text).to_bytes(4, "big") + text + tag


def _fixed(head: bytes, eights: np.ndarray, there: np.ndarray) -> pa.Array:
    """Cells of a head and eight bytes each, laid out in one buffer; empty where not `there`."""
    kept = np.ascontiguousarray(eights[there])
    data = np.empty((len(kept), len(head) + 8), np.uint8)
    data[:, : len(head)] = np.frombuffer(head, np.uint8)
    data[:, len(head) :] = kept.view(np.uint8).reshape(-1, 8)
    offsets = np.zeros(len(there) + 1, np.int64)
    np.cumsum(there * data.shape[1], out=offsets[1:])
    return pa.Array.from_buffers(pa.large_binary(), len(there), [None, pa.py_buffer(offsets), pa.py_buffer(data)])
