"""Files of pictures become pixels; what is hostile or none is refused with a sentence."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import numpy as np
import pandas as pd
import pytest

from poison_guard.errors import DataError
from poison_guard.pipeline.content import Content, image_of, with_pixels
from poison_guard.pipeline.pictures import holds_picture, picture_pixels

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed here")
RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def written(picture: Any, kind: str = "PNG", **more: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **more)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "WEBP"])
def test_every_kind_gives_its_pixels_back_from_bytes_base64_and_data_urls(kind):
    data = written(Image.fromarray(RAMP), kind, **({"lossless": True} if kind == "WEBP" else {}))
    text = base64.b64encode(data).decode()
    for cell in (data, text, f"data:image/{kind.lower()};base64,{text}"):
        assert holds_picture(cell)
        pixels = picture_pixels(cell, 32)
        assert np.array_equal(pixels if pixels.ndim == 2 else pixels[..., 0], RAMP)


def test_jpeg_is_read_about_as_it_was_and_one_that_lies_on_its_side_is_set_up():
    tall = np.zeros((16, 8), np.uint8)
    tall[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    assert picture_pixels(written(Image.fromarray(tall), "JPEG"), 32)[:3].mean() > 200
    turned = picture_pixels(written(Image.fromarray(tall), "JPEG", exif=exif), 32)
    assert turned.shape == (8, 16)
    assert turned[:, -3:].mean() > 200


@pytest.mark.parametrize(
    ("picture", "seen"),
    [
        (Image.new("RGBA", (4, 4), (200, 0, 0, 0)), (255, 255, 255)),  # what is transparent is white
        (Image.new("LA", (4, 4), (0, 255)), 0),
        (Image.new("P", (4, 4), 0, ), (0, 0, 0)),
        (Image.new("1", (4, 4), 1), 255),
        (Image.fromarray(np.full((4, 4), 65535, np.uint16)), 255),
        (Image.new("RGB", (4, 4), (1, 2, 3)), (1, 2, 3)),
    ],
    ids=["transparent", "grey with alpha", "palette", "one bit", "sixteen bits", "colour"],
)  # fmt: skip
def test_every_mode_is_grey_or_colour(picture, seen):
    pixels = picture_pixels(written(picture), 32)
    assert pixels.shape == ((4, 4) if isinstance(seen, int) else (4, 4, 3))
    assert np.array_equal(pixels[0, 0], seen)


def test_a_larger_picture_is_scaled_to_a_square_and_a_smaller_one_stays():
    large = Image.new("RGB", (300, 200), (9, 9, 9))
    assert picture_pixels(written(large), 32).shape == (32, 32, 3)
    assert picture_pixels(written(large, "JPEG"), 64).shape == (64, 64, 3)
    assert picture_pixels(written(Image.new("L", (20, 30))), 32).shape == (30, 20)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


BOMB = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 9_000, 9_000, 8, 0, 0, 0, 0))
BOMB += chunk(b"IDAT", zlib.compress(bytes(9_001))) + chunk(b"IEND", b"")
TEXT_BOMB = written(Image.fromarray(RAMP))[:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(8 << 20), 9))


@pytest.mark.parametrize(
    "data",
    [BOMB, TEXT_BOMB, written(Image.fromarray(RAMP))[:45], b"", b"not a picture", b"<svg onload=alert(1)>", b"%PDF-1.4",
     b"\x00\x00\x01\x00" + bytes(40), b"II*\0" + bytes(40)],
    ids=["bomb", "text bomb", "torn", "empty", "words", "svg", "pdf", "ico", "tiff"],
)  # fmt: skip
def test_what_is_hostile_or_no_picture_is_refused_in_a_sentence(data):
    with pytest.raises(DataError, match="picture"):
        picture_pixels(data, 32)


def test_colours_come_back_from_lists_in_lists_as_parquet_gives_them():
    colours = np.arange(2 * 3 * 3, dtype=float).reshape(2, 3, 3)
    nested = np.empty(2, object)
    for at, row in enumerate(colours):
        nested[at] = np.empty(3, object)
        for k, pixel in enumerate(row):
            nested[at][k] = pixel
    assert np.array_equal(image_of("a", nested), np.moveaxis(colours, -1, 0))
    nested[1] = nested[1][:2]
    with pytest.raises(DataError, match="must be a picture"):
        image_of("a", nested)


def test_content_holds_pictures_beside_lists_on_the_scale_of_the_feed():
    text = base64.b64encode(written(Image.fromarray(RAMP))).decode()
    cells = [text, "[[0, 1], [1, 0]]", f'{{"bytes": "{text}", "path": "a.png"}}', b"no picture", "words", None]
    content = Content("image", ("image",), of_items=False, pixel_max=1.0)
    shown = with_pixels(pd.DataFrame({"image": pd.Series(cells, dtype=object)}), content)["image"].tolist()
    assert image_of("a", shown[0]).shape == (1, 8, 8)
    assert image_of("a", shown[0]).max() == pytest.approx(RAMP.max() / 255)
    assert image_of("b", shown[1]).shape == (1, 2, 2)
    assert image_of("c", shown[2]).shape == (1, 8, 8)
    for left in shown[3:]:
        with pytest.raises(DataError, match="must be a picture"):
            image_of("c", left)
