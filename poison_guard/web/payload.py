"""A record's payload as people see it: its image, its texts with the differences to copies marked, its values."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from poison_guard.text import number_text
from poison_guard.web.escaping import moment, shown
from poison_guard.web.report.plots import Drawing, linear, short

if TYPE_CHECKING:
    from poison_guard.guard import Comparison

__all__ = ["NULLS", "Payload", "marked_differences", "null_of", "payload_of", "picture_of", "range_plot"]

_TEXTS = ("text", "prompt", "response", "chosen", "rejected")
_VOTES = ("label", "answer", "rating")
_ABOUT = {
    "source_id": "source",
    "author_id": "author",
    "item_id": "item",
    "group": "group",
    "observed_at": "sent, by its own word",
    "source_since": "account since",
    "received_at": "received",
    "object": "file",
    "row": "row",
}
_LEFT_OUT = ("record_id", "content_hash", "shape", "image", "was.", "given.")
_MOST_WORDS = 400
"""Of each of two texts that are compared word by word."""
PRIVATE = "(private)"

NULLS: Mapping[str, str] = {
    "source": "If this source were as honest as others, it would do as badly with a chance of {chance}.",
    "campaign": "If its members acted on their own, so much in common would arise with a chance of {chance}.",
    "anomaly": "Of honest records like the trusted ones, a share of {chance} looks as strange.",
    "content": "Of the trusted texts, a share of {chance} scores as high.",
    "label": "If the label were honest, it would disagree with the others as much with a chance of {chance}.",
    "query": "If the queries were ordinary, they would look so with a chance of {chance}.",
}
"""Signal to its null hypothesis in a sentence."""
_RULE = "A rule of the contract or of a person, not a chance: it holds whoever sent the record."


def null_of(evidence: Mapping[str, Any], chance: str) -> str:
    """Return what a reason was judged against, as a sentence."""
    sentence = NULLS.get(evidence["signal"])
    is_rule = sentence is None or evidence.get("level") == "rule" or evidence["p"] >= 1 or evidence["p"] <= 0
    return _RULE if is_rule else str(sentence).format(chance=chance)


@dataclass(frozen=True, slots=True)
class Payload:
    """The parts of a payload, in the order in which people read them."""

    picture: str | None
    """``data:`` address of the image."""
    texts: tuple[tuple[str, str], ...]
    votes: tuple[tuple[str, str], ...]
    values: tuple[tuple[str, str], ...]
    """Features and columns without a role."""
    about: tuple[tuple[str, str], ...]
    private: tuple[str, ...]
    """Columns that the contract hides."""


def payload_of(payload: Mapping[str, Any], item: Mapping[str, Any] | None = None, *, pixel_max: float = 255) -> Payload:
    """Return a payload in parts; `item` is what the items' file shows of the record's item."""
    cells = {name: value for name, value in payload.items() if _is_there(value)}
    texts = [(name, str(cells[name])) for name in _TEXTS if name in cells]
    picture = picture_of(cells.get("image"), pixel_max)
    for name, value in (item or {}).items():
        picture = picture or picture_of(value, pixel_max)
        if isinstance(value, str) and not _is_picture_text(value):
            texts.insert(0, (f"item: {name}", value))
    taken = {*_TEXTS, *_VOTES, *_ABOUT}
    values = [
        (name.removeprefix("feature.").removeprefix("extra."), _plain(value))
        for name, value in cells.items()
        if name not in taken and not name.startswith(_LEFT_OUT)
    ]
    return Payload(
        picture=picture,
        texts=tuple(texts),
        votes=tuple((name, _plain(cells[name])) for name in _VOTES if name in cells),
        values=tuple(values),
        about=tuple((title, _plain(cells[name])) for name, title in _ABOUT.items() if name in cells),
        private=tuple(name for name, value in cells.items() if value == PRIVATE),
    )


def _is_there(value: Any) -> bool:
    return value is not None and type(value).__name__ not in ("NAType", "NaTType") and value == value  # NaN differs


def _plain(value: Any) -> str:
    if isinstance(value, dt.datetime):
        return moment(value)
    return number_text(value) if isinstance(value, float) and math.isfinite(value) else str(value)


_MAGIC = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}
"""First bytes of the kinds of image that a browser may be given; never SVG, which is a document."""
_MOST_PIXELS = 4_000_000


def picture_of(value: Any, pixel_max: float = 255) -> str | None:
    """Return the ``data:`` address of an image: of pixel numbers, or of the bytes of a PNG, JPEG, GIF or WebP.

    None where `value` is no image. Numbers are a square of grey values, or three a pixel; nested lists say the width.
    """
    if isinstance(value, bytes):
        return _address(value)
    if isinstance(value, str):
        return _address(_bytes_of(value)) if _is_picture_text(value) else None
    return _drawn(value, pixel_max)


def _is_picture_text(value: str) -> bool:
    return value.startswith(("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR", "data:image/"))


def _bytes_of(text: str) -> bytes:
    try:
        return base64.b64decode(text.rpartition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        return b""


def _address(data: bytes) -> str | None:
    kind = next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}" if kind and len(data) < 8_000_000 else None


def _drawn(value: Any, pixel_max: float) -> str | None:
    import numpy as np

    try:
        cells = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return None
    if cells.ndim not in (1, 2, 3) or not 4 <= cells.size <= _MOST_PIXELS or not np.isfinite(cells).all():
        return None
    if cells.ndim == 1:
        colours = (
            3 if math.isqrt(cells.size // 3) ** 2 * 3 == cells.size and math.isqrt(cells.size) ** 2 != cells.size else 1
        )
        side = math.isqrt(cells.size // colours)
        if side * side * colours != cells.size:
            return None
        cells = cells.reshape(side, side, colours)
    elif cells.ndim == 2:
        cells = cells[:, :, None]
    if cells.shape[2] not in (1, 3):
        return None
    grey = np.clip(cells / (pixel_max or 1) * 255, 0, 255).astype(np.uint8)
    return _address(_png(grey.shape[1], grey.shape[0], grey.shape[2], grey.tobytes()))


def _png(width: int, height: int, colours: int, pixels: bytes) -> bytes:
    """Return the bytes of a PNG of ``(height, width, colours)`` pixels (PNG specification, 2003)."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0 if colours == 1 else 2, 0, 0, 0)
    size = width * colours
    lines = b"".join(b"\0" + pixels[size * k : size * (k + 1)] for k in range(height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def marked_differences(text: str, other: str) -> Markup:
    """Return `other` with its words that `text` lacks marked as inserted, and those it lacks as deleted; escaped."""
    a, b = _split(text), _split(other)
    parts: list[Markup] = []
    for what, i, j, k, m in SequenceMatcher(a=a, b=b, autojunk=False).get_opcodes():
        if what in ("replace", "delete"):
            parts.append(Markup("<del>{}</del>").format(shown(" ".join(a[i:j]), 4000)))
        if what in ("replace", "insert"):
            parts.append(Markup("<ins>{}</ins>").format(shown(" ".join(b[k:m]), 4000)))
        if what == "equal":
            parts.append(shown(" ".join(b[k:m]), 4000))
    return Markup(" ").join(parts)


def _split(text: str) -> list[str]:
    words = text.split()
    return [*words[:_MOST_WORDS], "…"] if len(words) > _MOST_WORDS else words


def range_plot(one: Any) -> Markup:
    """Return where a value lies among the trusted ones: their histogram, and a line at the value."""
    drawing = Drawing(320, 34)
    low, high = min(one.edges[0], one.value), max(one.edges[-1], one.value)
    x = linear(low, high, 4, 316)
    peak = max(one.counts) or 1
    for k, n in enumerate(one.counts):
        left, right = x.place(one.edges[k]), x.place(one.edges[k + 1])
        drawing.rect(left, 32 - 28 * n / peak, max(right - left - 0.6, 0.4), 28 * n / peak, "fill-trust")
    drawing.line(x.place(one.value), 2, x.place(one.value), 34, "mine")
    return drawing.markup(
        one.feature, f"{one.feature} {short(one.value)}, trusted {short(one.low)} to {short(one.high)}"
    )


def copies_of(found: Comparison) -> Sequence[tuple[str, str | None, Markup]]:
    """Return the texts of others of the campaign, each with its differences to the record's own marked."""
    return [(c.record_id, c.source_id, marked_differences(found.text or "", c.text)) for c in found.copies]
