"""Rows in are rows accounted for, whatever the encoding, delimiter, kind, nesting or damage of a file."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings

from tests.faults.files import check_file, files
from tests.thorough import examples


@settings(max_examples=examples(40), deadline=None, suppress_health_check=list(HealthCheck))
@given(files())
def test_each_row_of_a_generated_file_is_a_record_a_repetition_or_unreadable_with_a_reason(tmp_path_factory, file):
    check_file(file, tmp_path_factory.mktemp("file"))
