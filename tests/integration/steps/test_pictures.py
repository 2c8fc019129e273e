"""A data set of pictures in files, as Hugging Face writes it: judged, held, sealed and read again for training."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from poison_guard import Guard
from poison_guard.steps.examples import load_examples
from poison_guard.steps.opening import open_feed
from poison_guard.store.snapshots import last_snapshot

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed here")
CONTRACT = """
name = "photos"
kind = "examples"
mode = "enforce"
[data]
path = "inbox/*.parquet"
[columns]
record_id = "id"
source_id = "uploader"
label = "class"
image = "image.bytes"
"""


def photo(rng: np.random.Generator, upper: bool) -> bytes:
    """Return a coloured picture that is bright above or below."""
    pixels = rng.integers(0, 90, (48, 40, 3), dtype=np.uint8)
    pixels[:20 if upper else 48, :][(0 if upper else 28):] += 150  # fmt: skip
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG" if rng.random() < 0.5 else "PNG")
    return out.getvalue()


def rows(n: int, seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    kinds = rng.random(n) < 0.5
    return [
        {
            "id": f"{seed}-{i}",
            "image": {"bytes": photo(rng, bool(kind)), "path": f"{i}.jpg"},
            "class": "up" if kind else "down",
            "uploader": f"u{rng.integers(0, 40)}",
        }
        for i, kind in enumerate(kinds)
    ]


def test_flipped_pictures_and_those_that_cannot_be_read_are_held_and_the_rest_is_trained_on(tmp_path: Path):
    (tmp_path / "photos.toml").write_text(CONTRACT)
    (tmp_path / "home" / "inbox").mkdir(parents=True)
    feed = rows(120, 1)
    for row in feed[:6]:
        row["class"] = "down" if row["class"] == "up" else "up"
    feed[6]["image"]["bytes"], feed[7]["image"] = b"\x89PNG torn", None
    pq.write_table(pa.Table.from_pylist(feed), tmp_path / "home" / "inbox" / "day.parquet")
    pq.write_table(pa.Table.from_pylist(rows(420, 2)), tmp_path / "vetted.parquet")
    guard = Guard.open(tmp_path / "photos.toml", home=tmp_path / "home")
    guard.trust(tmp_path / "vetted.parquet", by="ann", reason="looked at each")
    result = guard.ingest()
    held = set(result.decisions.loc[result.decisions["action"] != "accept", "record_id"])
    assert held >= {f"1-{i}" for i in range(8)}
    assert len(held) <= 12
    guard.seal()
    with open_feed(tmp_path / "photos.toml", tmp_path / "home") as opened:
        examples = load_examples(opened, last_snapshot(opened.store, "photos"))
    assert examples.inputs.shape == (120 - len(held), 3, 32, 32)
    assert 0 <= examples.inputs.min() < 0.2 < 0.8 < examples.inputs.max() <= 1
