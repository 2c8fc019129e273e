"""A first row that looks like the rows below it is noticed; names that look like values are not taken for one."""

from __future__ import annotations

import pyarrow as pa
import pytest

from poison_guard.onboard.columns import header_doubt


def doubt(text: str) -> str | None:
    first, *rows = [line.split(",") for line in text.split()]
    return header_doubt(first, pa.table({f"c{i}": [row[i] for row in rows] for i in range(len(first))}))


def test_a_record_in_the_first_row_is_noticed_with_its_evidence():
    found = doubt("15174,2020-07-30T23:17:36,add 15175,2020-07-30T23:18:00,view 15176,2020-07-31T00:00:00,add")
    assert found is not None
    assert "'15174' is a number like the cells below it" in found
    assert "'2020-07-30T23:17:36' is a time" in found
    assert "'add' stands in its column again" in found


@pytest.mark.parametrize(
    "text",
    [
        "id,at,what 1,2020-07-30,add 2,2020-07-31,view",
        "user,answer a,cat b,dog",
        "2019,2020,2021 5,6,7 7,8,9",
        "0,1,2 a,5,6 b,7,8",
        "user,answer a,cat user,answer b,dog",
        "cat,n cat,4 dog,5",
    ],
    ids=[
        "names",
        "text",
        "years",
        "names of pandas",
        "headers put together",
        "one name again, but numbers below another",
    ],
)
def test_names_are_names(text):
    assert doubt(text) is None
