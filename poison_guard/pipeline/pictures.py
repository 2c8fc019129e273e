"""Pictures as files hold them (PNG, JPEG, WebP, BMP, GIF) become pixels, within bounds that no sender sets."""

from __future__ import annotations

import base64
import io
import re

import numpy as np

from poison_guard.errors import DataError, MissingExtraError

__all__ = ["holds_picture", "picture_pixels"]

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
_BEGINNINGS = re.compile(r"data:image/|iVBORw0KGgo|/9j/|R0lGOD|UklGR|Qk[0-3]")
"""What the base64 text of such a file begins with."""
_MOST_PIXELS = 25_000_000
"""Of one picture as it is unpacked (a JPEG no larger than needed): some 300 MB with the copies that are made of it."""


def holds_picture(cell: object) -> bool:
    """Return whether a cell is the bytes of a picture file, or its base64 text as the reader and data URLs write it."""
    return isinstance(cell, bytes) or (isinstance(cell, str) and _BEGINNINGS.match(cell) is not None)


def picture_pixels(cell: bytes | str, side: int) -> np.ndarray:
    """Return ``(height, width)`` grey or ``(height, width, 3)`` colour values from 0 to 255 as uint8.

    A picture with more than `side` pixels in either direction is scaled to ``side x side``; what is transparent is
    white; of several frames it is the first. `DataError` for anything else than a picture.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise MissingExtraError.of("Pillow, which reads pictures,", "image") from None
    try:
        data = cell if isinstance(cell, bytes) else base64.b64decode(cell.rpartition(",")[2], validate=True)
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            picture.draft("RGB", (side, side))  # of a JPEG alone
            if picture.width * picture.height > _MOST_PIXELS:
                raise DataError(f"the picture has more than {_MOST_PIXELS:,} pixels")
            upright = ImageOps.exif_transpose(picture)
            grey = upright.mode in ("1", "L", "LA", "I", "I;16", "I;16B", "F")
            if upright.has_transparency_data:
                shown = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown)
            if grey and upright.mode.startswith("I"):  # sixteen bits a pixel
                upright = Image.fromarray((np.asarray(upright, np.float64) / 257).round().clip(0, 255).astype(np.uint8))
            pixels = upright.convert("L" if grey else "RGB")
            if max(pixels.size) > side:
                pixels = pixels.resize((side, side), Image.Resampling.BILINEAR)
            return np.asarray(pixels)
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001  whatever a decoder dies of, one picture is refused and no batch is held
        raise DataError(f"it is no picture that can be read ({', '.join(_FORMATS)}): {str(error)[:100]}") from None
