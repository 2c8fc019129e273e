"""Schema drift: what passes, what is held, and that hashes see content, not order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from poison_guard.contracts.check import schema_drift, schema_hash

KINDS = st.sampled_from(["text", "number", "time", "bool", "binary", "list"])
SCHEMAS = st.dictionaries(st.text(min_size=1, max_size=8), KINDS, max_size=6)


@given(SCHEMAS)
def test_a_schema_never_drifts_from_itself(schema):
    assert schema_drift(schema, schema) is None


@given(SCHEMAS, SCHEMAS)
def test_added_columns_alone_pass(old, more):
    assert schema_drift(old, {**more, **old}) is None


@given(SCHEMAS.filter(bool), st.data())
def test_a_column_that_is_gone_is_held(old, data):
    gone = data.draw(st.sampled_from(sorted(old)))
    reason = schema_drift(old, {k: v for k, v in old.items() if k != gone})
    assert reason is not None
    assert reason.code == "schema_drift"
    assert reason.args["removed"] == [gone]


def test_a_column_of_another_kind_is_held_and_named_with_both_kinds():
    reason = schema_drift({"a": "number", "b": "text"}, {"a": "text", "b": "text", "c": "time"})
    assert reason.args == {"added": ["c"], "removed": [], "changed": ["a (number to text)"]}


def test_a_column_without_a_single_value_fits_every_kind():
    assert schema_drift({"a": "number"}, {"a": "empty"}) is None
    assert schema_drift({"a": "empty"}, {"a": "time"}) is None


def test_on_the_first_run_everything_passes():
    assert schema_drift({}, {"a": "text"}) is None


@given(SCHEMAS)
def test_the_hash_does_not_depend_on_the_order_of_columns(schema):
    assert schema_hash(schema) == schema_hash(dict(reversed(schema.items())))


@given(SCHEMAS, SCHEMAS)
def test_different_schemas_have_different_hashes(one, other):
    assert (schema_hash(one) == schema_hash(other)) == (one == other)


def test_a_column_that_json_rows_may_lack_may_be_gone_but_not_of_another_kind():
    assert schema_drift({"a": "text?", "b": "number?"}, {"a": "text?"}) is None
    assert schema_drift({"a": "text?"}, {"a": "text"}) is None
    assert schema_drift({"a": "text?"}, {"a": "list?"}).args["changed"] == ["a (text to list)"]
