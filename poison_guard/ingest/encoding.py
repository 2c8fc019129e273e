"""Find the encoding and the delimiter of text files: what `init` proposes, and a contract then says."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

from poison_guard.errors import DataError
from poison_guard.ingest.csv import delimiter_of
from poison_guard.ingest.formats import format_of
from poison_guard.ingest.objects import local_copy, resolve_paths
from poison_guard.ingest.raw_table import Limits, NotRead, Unreadable
from poison_guard.text import quoted, shown_url

__all__ = ["find_text_keys", "likely_encoding"]

_HEAD_BYTES = 4_000_000
_ODD_LINES, _ODD_BYTES = 400, 60_000
"""Lines, and bytes of them, that are not ASCII and that the encoding is found from."""
_WESTERN = frozenset("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜßàáâãäåæçèéêëìíîïñòóôõöøùúûüÿŒœ€–—‘’‚“”„…•«»°£§©®™¿¡´ºª·")
"""What texts of western Europe hold besides ASCII."""
_TURKISH, _TURKISH_ALONE = frozenset("çÇğĞıİöÖşŞüÜâÂîÎûÛ€–—‘’“”…«»°"), frozenset("ğĞıİşŞ")
"""What Turkish texts hold besides ASCII, and the letters of it that western ones lack."""
_CAPITALS = 0.4
"""Share of letters inside of words that are capitals, from which on another encoding is preferred that has few."""
_ENOUGH = 25
"""Letters that are all Hebrew from which a text is: of as many Cyrillic ones some are past its alphabet's last byte."""
_SURE = 0.9
"""Share of kana or Hangul from which a text is Japanese or Korean: of Chinese ones read so, half are."""
_CANDIDATES = (
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "iso8859_15", "iso8859_2", "koi8_r",
    "shift_jis", "cp932", "euc_jp", "gb18030", "big5", "euc_kr", "cp874", "mac_roman", "cp437", "cp850",
)  # fmt: skip
"""Encodings that people's programs write."""


def find_text_keys(paths: Sequence[str], limits: Limits) -> dict[str, tuple[str, str]]:
    """Return the keys ``encoding`` and ``delimiter`` of text files, where they need one, each with what shows it.

    The first file decides. `DataError` names a file in which no encoding can be found.
    """
    for ref in resolve_paths([paths] if isinstance(paths, str) else list(paths), limits, by_hand=True)[:1]:
        try:
            with local_copy(ref, limits) as path:
                if (kind := format_of(path, ref.uri)) == "parquet":
                    return {}
                head = _head_of(path)
        except (Unreadable, NotRead, EOFError, OSError, zlib.error):
            return {}  # the reader says why
        if head.startswith((b"\xff\xfe", b"\xfe\xff")):
            return {}
        found = _encoding_of(head, shown_url(ref.uri))
        keys = {} if found is None else {"encoding": found}
        sign = _delimiter(head) if kind == "csv" else None
        return keys if sign is None else {**keys, "delimiter": sign}
    return {}


def _head_of(path: Path) -> bytes:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        return (gzip.GzipFile(fileobj=file) if zipped else file).read(_HEAD_BYTES)


def _delimiter(head: bytes) -> tuple[str, str] | None:
    """Return the character between the fields where it is no comma; None where a comma is, or a line ``sep=`` says."""
    lines = [line for line in head[:100_000].decode("utf-8", "replace").splitlines() if line.strip()]
    first = next((line for line in lines if not line.startswith("#")), "")
    sign = delimiter_of(first)
    if sign == "," or first.lower().startswith("sep="):
        return None
    return sign, f"its first line has {first.count(sign):,} of it"


def _encoding_of(head: bytes, shown: str) -> tuple[str, str] | None:
    odd = [line for line in head.splitlines() if not line.isascii()]
    bad = [line for line in odd if not _is_utf8(line)]
    if not bad or len(bad) < 0.5 * len(odd):  # a few broken lines of a UTF-8 file are not another encoding
        return None
    names = likely_encoding(bad)
    if not names:
        raise DataError(f"{shown} is not UTF-8, and no encoding fits it; convert it to UTF-8")
    others = f" (or {', '.join(names[1:4])})" if names[1:] else ""
    word = min(_odd_words(bad[:1]), key=len).decode(names[0], "replace")
    return names[0], f"{len(bad):,} lines are not UTF-8; read so{others} they have words like {quoted(word, limit=40)}"


def _odd_words(lines: Sequence[bytes]) -> list[bytes]:
    """Return the different words of some lines that are not ASCII: ids and times around them say nothing."""
    words = (word for line in lines for word in re.split(rb"[\s,;|\"]+", line) if not word.isascii())
    return list(dict.fromkeys(words))


def likely_encoding(lines: Sequence[bytes]) -> tuple[str, ...]:
    """Return the encodings that lines which are not UTF-8 may have, the likeliest first; none where none fits."""
    from charset_normalizer import from_bytes  # only where a file is not UTF-8

    sample = b" ".join(_odd_words(lines[:_ODD_LINES]))[:_ODD_BYTES]
    found = list(from_bytes(sample, cp_isolation=list(_CANDIDATES), enable_fallback=False))
    alike = {
        match.encoding for match in found if (match.chaos, match.coherence) == (found[0].chaos, found[0].coherence)
    }
    names = tuple(name for name in _CANDIDATES if name in alike)
    names = _with_small_letters(sample, names, [match.encoding for match in found])
    names = tuple(sorted(names, key=lambda name: _syllables(sample, name)))
    likely = "cp1252" if _is_written_in(sample, "cp1252", _WESTERN) else ""
    if _is_written_in(sample, "cp1254", _TURKISH) and not _TURKISH_ALONE.isdisjoint(sample.decode("cp1254", "replace")):
        likely = "cp1254"
    hebrew = [letter for letter in sample.decode("cp1255", "replace") if not letter.isascii()]
    if len(hebrew) >= _ENOUGH and all("א" <= letter <= "ת" for letter in hebrew):
        likely = "cp1255"
    others = tuple(name for name in names if name not in ("cp1252", likely))
    return (likely, *others) if likely else others or names


def _with_small_letters(sample: bytes, names: tuple[str, ...], others: Sequence[str]) -> tuple[str, ...]:
    """Return `names` after those of `others` in which words are written small, where the first one has capitals only.

    Small letters of one Cyrillic encoding are the capitals of another.
    """
    if not names or _capitals(sample, names[0]) < _CAPITALS:
        return names
    small = [name for name in _CANDIDATES if name in others and _capitals(sample, name) < 1 - _CAPITALS]
    small = [name for name in small if _capitals(sample, name) <= 0.5 * _capitals(sample, names[0])]
    return tuple(dict.fromkeys((*small, *names)))


def _syllables(sample: bytes, encoding: str) -> int:
    """Return -1 for an encoding by which texts are kana or Hangul alone, 1 by which they are half-width kana, else 0.

    Texts of few words fit several encodings of East Asia; half-width kana are what the others look like in one of them.
    """
    odd = [character for character in sample.decode(encoding, "replace") if not character.isascii()]
    whole = sum("\u3041" <= c <= "\u30ff" or "\uac00" <= c <= "\ud7a3" for c in odd) / max(1, len(odd))
    half = sum("\uff61" <= c <= "\uff9f" for c in odd) / max(1, len(odd))
    return (half > 1 - _SURE) - (whole >= _SURE)


def _capitals(sample: bytes, encoding: str) -> float:
    """Return the share of capitals among the letters that follow another letter; 0 where none does."""
    inner = re.findall(r"(?<=[^\W\d_])[^\W\d_]", sample.decode(encoding, "replace"))
    odd = [letter for letter in inner if not letter.isascii()]
    return sum(map(str.isupper, odd)) / len(odd) if odd else 0.0


def _is_written_in(sample: bytes, encoding: str, letters: frozenset[str]) -> bool:
    """Return whether words are of a language as an encoding reads them: its letters and marks among more of ASCII."""
    text = sample.decode(encoding, "replace")
    odd = [character for character in text if not character.isascii()]
    return len(odd) < 0.5 * len(text) and set(odd) <= letters


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
