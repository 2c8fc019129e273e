"""The lake keeps frames as they were, and tells when a file is not what was written."""

from __future__ import annotations

import pandas as pd
import pyarrow.parquet as pq
import pytest

from poison_guard.errors import StoreError, TamperError, UsageError
from poison_guard.store import Lake


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def frame():
    at = pd.Series(pd.to_datetime(["2026-01-01T00:00:00.000001Z", None])).astype("datetime64[us, UTC]")
    return pd.DataFrame(
        {
            "record_id": pd.Series(["a", "b"], dtype="str"),
            "text": pd.Series(["héllo\0\u202e", None], dtype="str"),
            "row": pd.Series([1, 2], dtype="int64"),
            "feature.x": [0.1, float("nan")],
            "observed_at": at,
            "image": pd.Series([b"\x00\xff", None], dtype=object),
        }
    )


def test_a_frame_comes_back_as_it_was(lake, frame):
    file = lake.write_frame(frame, "runs/r1/x.parquet")
    assert (file.rows, file.path) == (2, "runs/r1/x.parquet")
    pd.testing.assert_frame_equal(lake.read_frame(file.path, sha256=file.sha256), frame)
    assert list(lake.read_frame(file.path, columns=["row"]).columns) == ["row"]


def test_the_same_frame_is_the_same_file(lake, frame):
    assert lake.add_frame(frame, "runs/r1") == lake.add_frame(frame, "runs/r1")
    assert len(lake.list("runs")) == 1
    assert lake.add_frame(frame.iloc[:1], "runs/r1").path != lake.list("runs")[0] or len(lake.list("runs")) == 2


def test_half_a_file_left_by_a_crash_is_written_anew(lake, frame, tmp_path):
    file = lake.add_frame(frame, "runs/r1")
    path = tmp_path / "lake" / file.path
    path.write_bytes(path.read_bytes()[:100])
    lake.add_frame(frame, "runs/r1")
    assert len(lake.read_frame(file.path, sha256=file.sha256)) == 2


def test_a_changed_file_is_found(lake, frame, tmp_path):
    file = lake.add_frame(frame, "runs/r1")
    lake.write_frame(frame.iloc[:1], file.path)
    with pytest.raises(TamperError, match="not the file that was written"):
        lake.read_frame(file.path, sha256=file.sha256)
    (tmp_path / "lake" / file.path).write_bytes(b"PAR1 no more")
    with pytest.raises(StoreError, match="cannot be read"):
        lake.read_frame(file.path)


def test_a_missing_file_is_named(lake):
    with pytest.raises(StoreError, match=r"runs/none\.parquet is missing from the lake"):
        lake.read_frame("runs/none.parquet")
    assert not lake.exists("runs/none.parquet")
    assert lake.list() == ()


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../b", "", "memory://x"])
def test_paths_stay_inside(lake, frame, path):
    with pytest.raises(UsageError, match="stay inside"):
        lake.write_frame(frame, path)


def test_a_folder_can_be_removed_twice(lake, frame):
    lake.add_frame(frame, "staging/r1")
    lake.remove("staging/r1")
    lake.remove("staging/r1")
    assert lake.list() == ()


def test_mixed_cells_are_kept_as_text(lake):
    mixed = pd.DataFrame({"x": pd.Series([1, "a", {"k": [1]}, b"z", None], dtype=object)})
    file = lake.add_frame(mixed, "f")
    assert lake.read_frame(file.path)["x"].tolist()[:4] == ["1", "a", '{"k": [1]}', "z"]


def test_any_fsspec_url_will_do(frame):
    lake = Lake("memory://guard-lake-test")
    file = lake.add_frame(frame, "runs/r1")
    assert lake.list() == (file.path,)
    pd.testing.assert_frame_equal(lake.read_frame(file.path, sha256=file.sha256), frame)


def test_a_lake_that_cannot_be_written_is_one_sentence(tmp_path, frame):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"a/.*parquet in the lake cannot be written"):
        Lake(str(tmp_path / "file")).add_frame(frame, "a")


def test_an_unknown_scheme_is_named_without_the_url():
    with pytest.raises(StoreError, match="`nosuch` URL") as caught:
        Lake("nosuch://user:hunter2@host/x")
    assert "hunter2" not in str(caught.value)


def test_rows_that_are_filtered_out_leave_no_value_in_a_dictionary(tmp_path):
    lake = Lake(str(tmp_path))
    frame = pd.DataFrame({"who": pd.Categorical(["anna-secret", "bob"]), "shape": pd.Categorical(["k-secret", "k"])})
    file = lake.add_frame(frame, "x")
    kept = lake.add_filtered(file.path, [False, True])
    assert b"secret" not in b"".join(
        str(pq.read_table(tmp_path / kept.path)[name].chunk(0).dictionary.to_pylist()).encode() for name in frame
    )
    assert lake.read_frame(kept.path)["who"].tolist() == ["bob"]
