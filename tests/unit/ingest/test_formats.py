"""A file that is known and not read is refused in one sentence that names what it is and what to do."""

from __future__ import annotations

import pytest

from poison_guard.ingest.formats import format_of
from poison_guard.ingest.raw_table import Unreadable


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer .*git lfs pull"),
        ("a.csv", b"PK\x03\x04rest", "an Excel workbook or another ZIP archive; save the sheet as CSV"),
        ("a.xlsx", b"not even a zip", "an Excel workbook; save"),
        ("a.jsonl.zst", b"\x28\xb5\x2f\xfd", "compressed with Zstandard; unpack"),
        ("a.csv.bz2", b"BZh91AY&SY", "compressed with bzip2; unpack"),
        ("a.feather", b"ARROW1\0\0", "an Arrow or Feather file; write it as csv, jsonl or parquet"),
        ("a.orc", b"ORC", "an ORC file"),
        ("a.pkl", b"\x80\x04\x95", "a Python pickle, which is never opened"),
        ("a.csv", b"<!DOCTYPE html>", "an HTML page, perhaps of a login"),
        ("a.dat", b"whatever", "neither csv, jsonl nor parquet by its name .* let its name end so"),
    ],
)
def test_what_is_not_read_is_named(tmp_path, name, content, why):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(Unreadable, match=why):
        format_of(path, str(path))


def test_a_table_whose_header_begins_like_a_format_is_a_table(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"ORC,elf\n1,2\n")
    assert format_of(path, str(path)) == "csv"
