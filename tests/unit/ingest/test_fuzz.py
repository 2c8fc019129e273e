"""Whatever bytes an object holds: a batch that accounts for every row, or an error of the guard, never a traceback."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pandas as pd
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from poison_guard.config import Contract
from poison_guard.errors import GuardError
from poison_guard.ingest.collect import collect_frames
from poison_guard.ingest.raw_table import Unreadable
from tests.thorough import examples
from tests.unit.ingest.conftest import NOW, accounted, contract_of, read_bytes

CONTRACT = contract_of(
    {"record_id": "id", "source_id": "user", "rating": "stars", "observed_at": "at", "text": "note", "features": ["f"]},
    kind="messages",
)
CSV = b'id,user,stars,at,note,f\n1,u,4,2026-01-01,"a ""b"" c",0.5\n2,v,3,1767323045,"two\nlines",nan\n'
JSONL = b'{"id": 1, "user": "u", "stars": 4, "note": "\xc3\xa9", "f": 0.5}\n{"id": 2, "f": [1, {"a": null}]}\n'
_buffer = io.BytesIO()
pd.read_csv(io.BytesIO(CSV)).to_parquet(_buffer)
PARQUET = _buffer.getvalue()

fuzz = settings(max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def damaged(draw: st.DrawFn, seed: bytes) -> bytes:
    """The seed with some bytes overwritten, cut out or put in."""
    data = bytearray(seed)
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        piece = draw(
            st.one_of(st.binary(max_size=4), st.sampled_from([b'"', b"\n", b",", b"{", b"[", b"\x00", b"\\ud800"]))
        )
        data[at : at + draw(st.integers(0, 4))] = piece
    return bytes(data)


def take_in(folder: Path, name: str, content: bytes, contract: Contract = CONTRACT) -> None:
    path = folder / name
    path.write_bytes(content)
    for source in ([str(path)], [str(folder / "*")]):
        try:
            batch = collect_frames(contract, source, home=folder, received_at=NOW)
        except GuardError:
            continue
        assert accounted(batch)
        assert batch.records["record_id"].is_unique
        assert batch.records["record_id"].notna().all()
        assert set(batch.issues["record_id"]) <= set(batch.records["record_id"])
    path.unlink()


@fuzz
@given(damaged(CSV))
@example(b'id,user,stars,at,note,f\n"')
@example(b"id\r\ruser")
@example(b"\xff\xfeid")
def test_any_csv(tmp_path, content):
    take_in(tmp_path, "a.csv", content)


@fuzz
@given(damaged(JSONL))
@example(b"[" * 5_000)
@example(b'{"id": 1e999, "user": -Infinity, "stars": NaN, "at": Infinity, "f": 1' + b"0" * 400 + b"}")
@example(b'{"id": true, "user": {}, "stars": [], "at": false, "note": 1, "f": "x"}')
def test_any_jsonl(tmp_path, content):
    take_in(tmp_path, "a.jsonl", content)


@fuzz
@given(st.binary(max_size=60))
def test_any_gzip(tmp_path, content):
    take_in(tmp_path, "a.csv.gz", content)
    take_in(tmp_path, "b.jsonl.gz", gzip.compress(content))


@fuzz
@given(damaged(PARQUET))
def test_any_parquet(tmp_path, content):
    try:
        raw = read_bytes(tmp_path / "a.parquet", content)
    except Unreadable:
        return
    assert raw.table.num_rows == len(raw.row_numbers)
    raw.table.validate(full=True)


@fuzz
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                name: st.one_of(
                    st.none(),
                    st.booleans(),
                    st.integers(),
                    st.floats(),
                    st.text(max_size=5),
                    st.binary(max_size=3),
                    st.datetimes(),
                    st.lists(st.integers(), max_size=2),
                    st.decimals(),
                )
                for name in ("id", "user", "stars", "at", "note", "f", "other")
            },
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_frame(tmp_path, rows):
    frame = pd.DataFrame(rows, columns=["id", "user", "stars", "at", "note", "f", "other"], dtype=object)
    batch = collect_frames(CONTRACT, frame, home=tmp_path, received_at=NOW)
    assert accounted(batch)
    assert batch.records["record_id"].is_unique
