"""The data an admission names: every way in which a folder can hold something else."""

from __future__ import annotations

import os

import pytest

from poison_guard.errors import ClosedError, TamperError
from tests.unit.gate.admitted import Home, make_home


@pytest.fixture
def home(tmp_path):
    return make_home(tmp_path / "home")


def _part(home: Home):
    return next(iter(sorted(home.data.rglob("*.parquet"))))


def test_the_data_of_another_home_is_closed(home, tmp_path):
    other = make_home(tmp_path / "other", content=b"else")
    with pytest.raises(ClosedError, match="is missing"):
        home.verify(data=other.data)


def test_changed_data_is_refused(home):
    _part(home).write_bytes(b"poison")
    with pytest.raises(TamperError, match="is not the file that was admitted"):
        home.verify()


def test_two_files_that_changed_places_are_refused(home):
    one, two = sorted(home.data.rglob("*.parquet"))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    with pytest.raises(TamperError):
        home.verify()


def test_missing_data_is_closed(home):
    _part(home).unlink()
    with pytest.raises(ClosedError, match="is missing"):
        home.verify()
    with pytest.raises(ClosedError, match="no data folder"):
        home.verify(data=home.path / "elsewhere")
    with pytest.raises(ClosedError, match="no data folder"):
        home.verify(data=home.manifest)


def test_a_link_a_folder_or_a_pipe_in_place_of_a_file_is_closed(home):
    part = _part(home)
    kept = part.rename(home.path / "kept")
    part.symlink_to(kept)
    with pytest.raises(ClosedError, match="behind a link"):
        home.verify()
    part.unlink()
    part.mkdir()
    with pytest.raises(ClosedError, match="not a file"):
        home.verify()
    part.rmdir()
    os.mkfifo(part)
    with pytest.raises(ClosedError, match="not a file"):
        home.verify()


def test_a_folder_that_is_a_link_is_closed(home):
    folder = home.data / "snapshots"
    kept = folder.rename(home.path / "kept")
    folder.symlink_to(kept, target_is_directory=True)
    with pytest.raises(ClosedError, match="behind a link"):
        home.verify()


@pytest.mark.parametrize("extra", ["more.parquet", ".hidden", "snapshots/chat/more.parquet"])
def test_data_that_the_manifest_does_not_name_is_closed_where_only_it_may_be_there(home, extra):
    (home.data / extra).write_bytes(b"poison")
    assert home.verify()
    with pytest.raises(ClosedError, match="which the manifest does not name"):
        home.verify(only=True)


def test_a_link_to_a_folder_counts_as_something_else_but_the_manifest_itself_does_not(home, tmp_path):
    copy = home.data / "manifest.json"
    copy.write_bytes(home.manifest.read_bytes())
    assert home.verify(manifest=copy, only=True)
    (home.data / "more").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(ClosedError, match="'more'"):
        home.verify(manifest=copy, only=True)


def test_no_reason_holds_control_characters_of_a_stranger(home):
    (home.data / "\x1b[2J\u202e").write_bytes(b"")
    with pytest.raises(ClosedError) as caught:
        home.verify(only=True)
    assert not {"\x1b", "\u202e"} & set(str(caught.value))
    assert str(caught.value).isprintable()
