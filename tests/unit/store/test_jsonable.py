"""Values of signals as JSON text."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pytest

from poison_guard.store.bulk import from_json, to_json


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ({"b": np.int64(3), "a": np.float32(0.5)}, {"a": 0.5, "b": 3}),
        ({"x": float("nan"), "y": float("inf")}, {"x": None, "y": None}),
        ({"t": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)}, {"t": "2026-01-01T00:00:00+00:00"}),
        ((1, {2}, np.array([3])), [1, [2], [3]]),
        ({1: True, None: None}, {"1": True, "None": None}),
        ("a\0b\ud800", "a\0b\ud800"),
    ],
)
def test_values_become_plain(value, kept):
    assert from_json(to_json(value)) == kept


def test_hostile_arguments_are_cut():
    deep: dict = {}
    inner = deep
    for _ in range(5000):
        inner["x"] = {}
        inner = inner["x"]
    assert len(to_json({"text": "x" * 10**6, "list": list(range(10**5)), "deep": deep})) < 5000


def test_what_is_ours_is_kept_whole():
    assert len(from_json(to_json(list(range(1000)), bounded=False))) == 1000


def test_the_text_holds_only_ascii():
    assert to_json({"a": "\u202e\0"}).isascii()
    assert json.loads(to_json("ü")) == "ü"
