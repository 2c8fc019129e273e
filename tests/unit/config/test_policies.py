from __future__ import annotations

import pytest

from poison_guard.config.policies import GatePolicy
from poison_guard.config.tables import parse
from poison_guard.errors import ConfigError


def parse_gate(table):
    return parse(GatePolicy, table, where="[gate]", file="f.toml")


def test_an_empty_table_is_the_default_policy_and_its_hash_is_stable():
    assert parse_gate({}) == GatePolicy()
    assert GatePolicy().hash == "eac7d0a8bb97edebbaa4cefbf35961e07e64569007cfe9f54efd9f70da8250eb"


def test_any_changed_limit_changes_the_hash():
    assert parse_gate({"max_drop": 0.04}).hash != GatePolicy().hash


@pytest.mark.parametrize(
    ("key", "value"),
    [("false_alarm_rate", 0), ("false_alarm_rate", 0.5), ("max_drop", "0.1"), ("min_trusted", 1.5), ("seed", True)],
)
def test_a_value_outside_its_range_names_key_and_file(key, value):
    with pytest.raises(ConfigError, match=rf"{key}.*f\.toml"):
        parse_gate({key: value})


def test_an_unknown_key_names_the_nearest_known_one():
    with pytest.raises(ConfigError, match="max_drop"):
        parse_gate({"max_dorp": 0.1})
