"""A file is the old one or the new one, never half of one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from poison_guard.files import create_atomic, write_atomic


def test_a_file_is_replaced_whole_and_readable_by_its_owner_alone(tmp_path):
    path = tmp_path / "deep" / "list.json"
    write_atomic(path, "old")
    write_atomic(path, b"new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["list.json"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "list.json"
    write_atomic(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["list.json"]


def test_what_a_killed_writer_left_of_the_same_file_is_removed_when_it_is_old(tmp_path):
    names = (
        ".list-0123abcd.json",
        ".list-ffffffff.json",
        ".lists-0123abcd.json",
        ".list-0123abcd.txt",
        ".list-mine.json",
    )
    old, young, *others = (tmp_path / name for name in names)
    for file in (old, young, *others):
        file.write_text("half")
        os.utime(file, (1e9, 1e9) if file != young else None)
    write_atomic(tmp_path / "list.json", "new")
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "list.json", young, *others])


def test_the_first_of_two_that_create_a_file_wins(tmp_path):
    path = tmp_path / "key"
    assert create_atomic(path, b"first")
    assert not create_atomic(path, b"second")
    assert path.read_bytes() == b"first"
    assert [file.name for file in tmp_path.iterdir()] == ["key"]
