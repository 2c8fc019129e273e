"""Ids in a file: one per line, a column of CSV as the guard writes it, or JSON Lines; all else is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.cli.options import ids_in_file
from poison_guard.errors import UsageError
from poison_guard.files import write_frame


def test_ids_come_one_a_line_or_as_a_column_and_each_once(tmp_path: Path) -> None:
    file = tmp_path / "ids"
    file.write_text("b\n\n a \nb\n")
    assert ids_in_file(str(file)) == ("b", "a")
    file.write_text('\ufeffplace,record_id\nheld,"x,1"\nheld,y\n', encoding="utf-8")
    assert ids_in_file(str(file)) == ("x,1", "y")
    file.write_text("".join(json.dumps({"record_id": name}) + "\n" for name in ("p", "q")))
    assert ids_in_file(str(file)) == ("p", "q")


@given(st.lists(st.text("=+-@ab", min_size=1), min_size=1, unique=True))
def test_ids_that_were_made_safe_for_a_spreadsheet_are_themselves_again(ids: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ids.csv"
        write_frame(pd.DataFrame({"record_id": pd.Series(ids, dtype="str"), "n": 1}), file)
        assert ids_in_file(str(file)) == tuple(ids)


@pytest.mark.parametrize("text", ["", "\n \n", "record_id\n", '{"id": 1}\n'])
def test_a_file_without_ids_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "ids"
    file.write_text(text)
    with pytest.raises(UsageError, match="holds no ids; give one per line, or a column record_id"):
        ids_in_file(str(file))
    with pytest.raises(UsageError, match="no ids can be read from nowhere"):
        ids_in_file("nowhere")
