"""The canonical form of an id, an answer and a label: two cells of any file type that are the same become equal here.

What is written down in ``docs/values.md``. Each cell is judged by itself: the form does not depend on its batch.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.ingest.cells import as_text, byte_text, is_uuid

__all__ = [
    "bytes_text",
    "canonical_ids",
    "canonical_labels",
    "comparable_text",
    "is_null_word",
    "plain_numbers",
    "uuid_text",
]

_NO_TEXT = pa.scalar(None, pa.large_string())
_FLAG = r"(\x{1F3F4}[\x{E0020}-\x{E007F}]+)"  # the flags of England, Scotland and Wales are spelled with tags
_HIDDEN = (
    r"[\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x9F\x{AD}\x{34F}\x{61C}\x{115F}\x{1160}\x{17B4}\x{17B5}\x{180B}-\x{180F}"
    r"\x{200B}\x{200E}\x{200F}\x{202A}-\x{202E}\x{2060}-\x{206F}\x{3164}\x{FE00}-\x{FE0F}\x{FEFF}\x{FFA0}"
    r"\x{FFF0}-\x{FFFB}\x{E0000}-\x{E0FFF}]+"
)
"""Characters that draw nothing (Default_Ignorable_Code_Point and controls), without the two joiners."""
_JOINERS = r"[\x{200C}\x{200D}]+"
"""They shape Persian and Indic words and join emoji; beside ASCII, a blank or an end they do nothing."""
_BESIDE_PLAIN = (rf"([\x00-\x7F]){_JOINERS}", rf"{_JOINERS}([\x00-\x7F])")
_OUTER = r"^[\s\pZ\x{200C}\x{200D}]+|[\s\pZ\x{200C}\x{200D}]+$"


def plain_numbers(text: pa.Array) -> pa.Array:
    """Write ``4.0`` as ``4``: a tool that reads blanks as NaN writes whole numbers with a fraction."""
    pattern = r"^(-?(?:0|[1-9][0-9]{0,17}))\.0{1,3}$"
    if not pc.any(pc.ends_with(text, ".0")).as_py() and not pc.any(pc.ends_with(text, "00")).as_py():
        return text
    return pc.replace_substring_regex(text, pattern, r"\1")


def comparable_text(text: pa.Array) -> pa.Array:
    """Return a large_string array in NFC without invisible characters and outer blanks.

    A text of nothing else is empty. Joiners inside words and emoji stay.
    """
    return _on_odd_cells(text, _visible_text)


def canonical_ids(text: pa.Array, null_words: Collection[str] = ()) -> pa.Array:
    """Return ids as large_string: outer blanks removed, NFC, ``4.0`` as ``4``; never folded.

    A cell without anything, or one of `null_words` (lower case), is null.
    """
    text = plain_numbers(_on_odd_cells(text, lambda odd: pc.utf8_trim_whitespace(pc.utf8_normalize(odd, form="NFC"))))
    missing = pc.or_kleene(pc.equal(pc.binary_length(text), 0), pa.array(is_null_word(text, null_words)))
    return pc.if_else(missing, _NO_TEXT, text) if pc.any(missing).as_py() else text


def canonical_labels(cells: pa.Array, *, ordered: bool = False) -> pa.Array:
    """Return answers or labels of any simple type as large_string, in their canonical form.

    Numbers are their shortest text, truth is ``true`` or ``false`` however it was written, text is comparable text, and
    a list is compact JSON, of which order and repetition do not count unless `ordered`.
    """
    text = as_text(cells)
    if not pa.types.is_large_string(cells.type):
        return text
    text = comparable_text(text)
    truth = pc.fill_null(pc.match_substring_regex(text, r"^(?i:true|false)$"), False)
    if pc.any(truth).as_py():
        text = pc.if_else(truth, pc.ascii_lower(text), text)
    lists = pc.fill_null(pc.and_(pc.starts_with(text, "["), pc.ends_with(text, "]")), False)
    if pc.any(lists).as_py():
        text = pc.replace_with_mask(text, lists, _canonical_lists(text.filter(lists), ordered=ordered))
    empty = pc.equal(pc.binary_length(text), 0)
    return pc.if_else(empty, _NO_TEXT, text) if pc.any(empty).as_py() else text


def is_null_word(text: pa.Array, words: Collection[str]) -> np.ndarray:
    """Return ``(n,)`` bool: cells without outer blanks that are one of `words` (lower case) in any case."""
    if not words or not len(text):
        return np.zeros(len(text), bool)
    known = pa.array(sorted(words), pa.large_string())
    return np.asarray(pc.is_in(pc.utf8_lower(text), value_set=known))


def uuid_text(cells: pa.Array) -> pa.Array:
    """Return bytes as large_string: UTF-8 text, or the UUID where there are 16 bytes that are no printable ASCII."""
    texts = [str(uuid.UUID(bytes=v)) if is_uuid(v) else v for v in cells.to_pylist()]
    return as_text(pa.array([v.encode() if isinstance(v, str) else v for v in texts], pa.large_binary()))


def bytes_text(cells: pa.Array) -> pa.Array:
    """Return bytes as the large_string that text formats hold them as: `byte_text`."""
    return pa.array([None if v is None else byte_text(v) for v in cells.to_pylist()], pa.large_string())


def _on_odd_cells(text: pa.Array, change: Any) -> pa.Array:
    """Return `text` with the cells changed that are not printable ASCII, or that have an outer blank."""
    plain = pc.and_not(pc.ascii_is_printable(text), pc.or_(pc.starts_with(text, " "), pc.ends_with(text, " ")))
    odd = pc.invert(pc.fill_null(pc.or_(plain, pc.equal(pc.binary_length(text), 0)), True))
    if not pc.any(odd).as_py():
        return text
    return pc.replace_with_mask(text, odd, change(text.filter(odd)))


def _visible_text(text: pa.Array) -> pa.Array:
    if pc.any(pc.match_substring_regex(text, _HIDDEN)).as_py():
        text = pc.replace_substring_regex(text, f"{_FLAG}|{_HIDDEN}", r"\1")
    text = pc.utf8_trim_whitespace(text)
    if pc.any(pc.match_substring_regex(text, _JOINERS)).as_py():
        text = pc.replace_substring_regex(text, _OUTER, "")
        for pattern in _BESIDE_PLAIN:
            text = pc.replace_substring_regex(text, pattern, r"\1")
    return pc.utf8_normalize(text, form="NFC")


def _canonical_lists(text: pa.Array, *, ordered: bool) -> pa.Array:
    """Return JSON lists in compact form, sorted and without repetition unless `ordered`; other text as it is."""
    unique = text.dictionary_encode()
    known = [_canonical_list(value, ordered=ordered) for value in unique.dictionary.to_pylist()]
    return pa.array(known, pa.large_string()).take(unique.indices)


def _canonical_list(text: str, *, ordered: bool) -> str:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return text
    words = comparable_text(pa.array([v if isinstance(v, str) else None for v in values], pa.large_string()))
    plain = [v if word is None else word for v, word in zip(values, words.to_pylist(), strict=True)]
    parts = [json.dumps(v, ensure_ascii=False, sort_keys=True, separators=(",", ":")) for v in plain]
    if not ordered:
        parts = sorted(set(parts), key=lambda part: (part.casefold(), part))
    return f"[{','.join(parts)}]"
