"""Values as text that is safe to show and to keep: hidden characters visible, numbers short, anything as JSON."""

from __future__ import annotations

import datetime as dt
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = [
    "character_name",
    "dataset_of",
    "holds_password",
    "nearest",
    "number_text",
    "p_value_text",
    "quoted",
    "shown_url",
    "to_jsonable",
    "visible",
    "visible_pieces",
    "without_secrets",
]

_MAX_EXACT_INT = 2**53 - 1
"""Largest whole number to which no other rounds in float64."""


_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories that draw nothing, reorder what is drawn, or break the line (Unicode Standard, annex 9 and 44)."""
_DRAWN_AS_NOTHING = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")
"""Letters and marks that draw nothing all the same (Hangul fillers, blank Braille, joiners)."""


def visible(text: object, *, limit: int = 300, lines: bool = False) -> str:
    """Return `text` in at most `limit` characters with each hidden one as ``<U+202E>``; `lines` keeps line breaks."""
    return "".join(f"<{part}>" if hidden else part for hidden, part in visible_pieces(text, limit=limit, lines=lines))


def quoted(value: object, *, limit: int = 80) -> str:
    """Return text in quotes, with hidden characters and blanks other than a space visible, cut to `limit`.

    A number or None is returned as it is written.

    >>> quoted("a\u202eb"), quoted("a\u00a0b"), quoted(3)
    ("'a<U+202E>b'", "'a<U+00A0>b'", '3')
    """
    if isinstance(value, int | float | None):
        return repr(value)
    shown = visible(value, limit=limit)
    return "'" + "".join(part if part.isprintable() else f"<U+{ord(part):04X}>" for part in shown) + "'"


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*")
_USER_INFO = re.compile(r"[^/?#@:]*(:[^@]*)?@")
_PASSWORD_KEY = re.compile(r"passw|pwd", re.IGNORECASE)
_SECRET_KEY = re.compile(r"passw|pwd|secret|token|credential|signature|^sig$|(access|account|api).?key", re.IGNORECASE)


def shown_url(url: object) -> str:
    """Return a URL as it may be shown: scheme, host and path; no user, password, query or fragment. Paths stay.

    >>> shown_url("postgresql://ann:pw@db/guard?password=x"), shown_url("s3://bucket/day.csv"), shown_url("a?b.csv")
    ('postgresql://…@db/guard?…', 's3://bucket/day.csv', 'a?b.csv')
    """
    scheme, mark, rest = str(url).partition("://")
    if not mark or not _SCHEME.fullmatch(scheme):
        return str(url)
    user = _USER_INFO.match(rest)
    shown = f"…@{rest[user.end() :]}" if user else rest
    path = re.split(r"[?#]", shown, maxsplit=1)[0]
    return f"{scheme}://{path}{'' if path == shown else '?…'}"


def dataset_of(uri: str) -> tuple[str, str]:
    """Return name space and name of a file or URL as OpenLineage spells them, without any secret.

    >>> dataset_of("s3://bucket/day/a.csv?key=x"), dataset_of("/data/a.csv"), dataset_of("frame")
    (('s3://bucket', 'day/a.csv'), ('file', '/data/a.csv'), ('file', 'frame'))
    """
    plain = shown_url(uri).removesuffix("?…").removeprefix("file://")
    scheme, mark, rest = plain.partition("://")
    if not mark:
        return "file", plain
    host, _, path = rest.partition("/")
    return f"{scheme}://{host}", path or "/"


def without_secrets(text: object, url: object) -> str:
    """Return a text, such as a driver's message, without what `shown_url` leaves out of the URL it speaks of."""
    whole, plain = str(url), str(text)
    scheme, mark, rest = whole.partition("://")
    if not mark or not _SCHEME.fullmatch(scheme):
        return plain
    plain = plain.replace(whole, shown_url(whole))
    user = _USER_INFO.match(rest)
    secrets = [part for part in (user.group()[:-1].partition(":")[2] if user else "",) if part]
    tail = re.split(r"[?#]", rest[user.end() :] if user else rest, maxsplit=1)[1:]
    secrets += tail + [value for part in tail for value in re.findall(r"[=#]([^&#]*)", part)]
    for secret in sorted({form for part in secrets for form in (part, unquote(part)) if len(form) > 3}, key=len)[::-1]:
        plain = plain.replace(secret, "…")
    return plain


def holds_password(url: str, *, tokens: bool = True) -> bool:
    """Whether a URL holds a password (with `tokens` a token too): before its host, or under a key that is called so."""
    user = _USER_INFO.match(url.partition("://")[2])
    keys = _SECRET_KEY if tokens else _PASSWORD_KEY
    return bool(user and user.group(1)) or any(keys.search(key) for key, _ in parse_qsl(urlsplit(url).query))


def visible_pieces(text: object, *, limit: int = 300, lines: bool = False) -> Iterator[tuple[bool, str]]:
    """Yield ``(hidden, part)``: plain text, and ``U+XXXX`` for each hidden character.

    A cut is said in words, and made only where what is cut is longer than these.
    """
    whole = str(text)
    cut = f"… ({len(whole) - limit:,} more characters)"
    if len(whole) - limit <= len(cut):
        limit = len(whole)
    plain: list[str] = []
    for character in whole[:limit]:
        draws_nothing = unicodedata.category(character) in _HIDDEN or character in _DRAWN_AS_NOTHING
        if not draws_nothing or (lines and character == "\n"):
            plain.append(character)
            continue
        if plain:
            yield False, "".join(plain)
            plain.clear()
        yield True, f"U+{ord(character):04X}"
    if len(whole) > limit:
        plain.append(cut)
    if plain:
        yield False, "".join(plain)


def character_name(code: str) -> str:
    """Return the Unicode name of ``U+XXXX``, lower case, or its category where it has none."""
    character = chr(int(code.removeprefix("U+"), 16))
    return unicodedata.name(character, "control character").lower()


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like `name`, as "did you mean" offers it; None where none is alike.

    >>> nearest("satus", ["status", "scan"])
    'status'
    """
    from difflib import get_close_matches  # only where a name is wrong

    return next(iter(get_close_matches(name, list(known), n=1, cutoff=0.5)), None)


def p_value_text(p: float | None) -> str:
    """Return a p-value in words that need no logarithm.

    >>> p_value_text(0.034), p_value_text(0.0000831), p_value_text(2e-8), p_value_text(1e-12)
    ('0.034', '1 in 12,000', '1 in 50 million', 'under 1 in a billion')
    """
    if p is None:
        return "–"
    if p >= 0.01:
        return f"{p:.2g}"
    if p < 1e-9:
        return "under 1 in a billion"
    ratio = 1 / p
    if ratio >= 1e6:
        return f"1 in {ratio / 1e6:.2g} million" if ratio < 1e8 else f"1 in {round(ratio / 1e6):,} million"
    digits = 10 ** max(len(str(int(ratio))) - 2, 0)
    return f"1 in {round(ratio / digits) * digits:,}"


def number_text(value: float) -> str:
    """Return the shortest text of a number that reads back as it; a whole one has no decimal point.

    >>> number_text(4.0), number_text(0.1), number_text(1e16)
    ('4', '0.1', '1e+16')
    """
    if isinstance(value, int):
        return str(value)
    return str(int(value)) if value.is_integer() and abs(value) <= _MAX_EXACT_INT else repr(float(value))


def to_jsonable(value: Any, *, max_text: int | None = None, max_items: int | None = None, max_depth: int = 32) -> Any:
    """Return `value` as what JSON can hold: NaN and missing become null, times ISO text, NumPy values plain ones.

    `max_text` characters of a text are kept and `max_items` of a list or mapping; deeper than `max_depth` is ``"…"``.
    """
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        value = value.tolist()
    if not isinstance(value, Iterable) or isinstance(value, str | bytes):
        return _scalar(value, max_text)
    if max_depth == 0:
        return "…"
    bounds: dict[str, Any] = {"max_text": max_text, "max_items": max_items, "max_depth": max_depth - 1}
    if isinstance(value, Mapping):
        return {str(key): to_jsonable(inner, **bounds) for key, inner in list(value.items())[:max_items]}
    items = sorted(value, key=str) if isinstance(value, Set) else list(value)
    return [to_jsonable(inner, **bounds) for inner in items[:max_items]]


def _scalar(value: Any, max_text: int | None) -> Any:
    match value:
        case None | bool() | int():
            return value
        case float():
            return float(value) if math.isfinite(value) else None
        case bytes():
            return f"{len(value)} bytes"
    if type(value).__name__ in ("NAType", "NaTType"):  # pandas' missing, without importing pandas
        return None
    text = value.isoformat() if isinstance(value, dt.datetime | dt.date) else str(value)
    return text if max_text is None or len(text) <= max_text else text[:max_text] + "…"
