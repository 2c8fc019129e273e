"""What hides in text is shown."""

from __future__ import annotations

import unicodedata

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.text import (
    character_name,
    holds_password,
    nearest,
    number_text,
    shown_url,
    to_jsonable,
    visible,
    visible_pieces,
    without_secrets,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ä 漢字 🙂", "plain ä 漢字 🙂"),
        ("a\u202etxt.exe", "a<U+202E>txt.exe"),
        ("\x1b[31mred", "<U+001B>[31mred"),
        ("zero\u200bwidth", "zero<U+200B>width"),
        ("two\nlines", "two<U+000A>lines"),
        ("tag\U000e0041", "tag<U+E0041>"),
        ("filler\u3164", "filler<U+3164>"),
        ("half\ud800", "half<U+D800>"),
    ],
)
def test_hidden_characters_are_shown_as_their_code_points(text, shown):
    assert visible(text) == shown


def test_line_breaks_are_kept_when_asked_for():
    assert visible("two\nlines\r", lines=True) == "two\nlines<U+000D>"


def test_long_text_is_cut_and_the_cut_is_said():
    assert visible("x" * 1300, limit=300) == "x" * 300 + "… (1,000 more characters)"


def test_text_is_not_cut_where_saying_so_takes_more_room():
    assert visible("x" * 106, limit=100) == "x" * 106


def test_a_code_point_has_a_name():
    assert character_name("U+202E") == "right-to-left override"
    assert character_name("U+0007") == "control character"


@given(st.text(max_size=80))
def test_nothing_that_hides_is_left_and_nothing_that_shows_is_lost(text):
    shown = visible(text)
    assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in shown)
    kept = "".join(part for hidden, part in visible_pieces(text) if not hidden)
    assert kept == "".join(c for c in text if c in kept)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (float("nan"), None),
        (np.float32(0.5), 0.5),
        (np.array([1, 2]), [1, 2]),
        (pd.NA, None),
        (pd.Timestamp("2026-01-02T03:04Z"), "2026-01-02T03:04:00+00:00"),
        ({"b", "a"}, ["a", "b"]),
        ({1: (True, b"xyz")}, {"1": [True, "3 bytes"]}),
    ],
)
def test_any_value_becomes_what_json_can_hold(value, plain):
    assert to_jsonable(value) == plain


def test_bounds_cut_long_texts_long_lists_and_deep_nesting():
    assert to_jsonable("abcd", max_text=2) == "ab…"
    assert to_jsonable([1, 2, 3], max_items=2) == [1, 2]
    assert to_jsonable([[[1]]], max_depth=2) == [["…"]]


@given(st.floats(allow_nan=False))
def test_a_number_reads_back_from_its_text(value):
    assert float(number_text(value)) == value


@pytest.mark.parametrize(("value", "text"), [(2.0**53 - 1, "9007199254740991"), (2.0**53, "9007199254740992.0")])
def test_a_number_has_the_text_that_ids_were_made_of(value, text):
    assert number_text(value) == text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:hush@db:5432/guard", "postgresql://…@db:5432/guard"),
        ("postgresql://ann@db/guard?password=hush&sslmode=require", "postgresql://…@db/guard?…"),
        ("https://host/day.csv?sig=hush#hush", "https://host/day.csv?…"),
        ("postgresql://ann:hu/sh?a#b@db/guard", "postgresql://…@db/guard"),
        ("simplecache::s3://hush:hush@bucket/x", "simplecache::s3://…@bucket/x"),
        ("s3://bucket/ann@home/day.csv", "s3://bucket/ann@home/day.csv"),
        ("sqlite:////home/guard/store.db", "sqlite:////home/guard/store.db"),
        ("inbox/day?.csv", "inbox/day?.csv"),
    ],
)
def test_a_url_is_shown_without_what_may_be_a_secret(url, shown):
    assert shown_url(url) == shown


words = st.text("abcxyz0189%-_.~", min_size=4, max_size=12)


@given(words, words, words, words)
def test_no_part_of_a_url_that_may_be_secret_is_shown_or_left_in_a_message(user, password, token, fragment):
    url = f"https://{user}U:{password}P@host/day.csv?sig={token}T&expires=12#{fragment}F"
    message = without_secrets(f"cannot open {url}: wrong {password}P, {token}T or {fragment}F", url)
    for part in (f"{password}P", f"{token}T", f"{fragment}F"):
        assert part not in shown_url(url)
        assert part not in message
    assert f"{user}U" not in shown_url(url)
    assert holds_password(url)


@pytest.mark.parametrize("url", ["postgresql://u@h/d?password=x", "postgresql://u:x@h/d", "s3://b/x?AWSSecretKey=1"])
def test_a_password_is_seen_wherever_a_url_holds_it(url):
    assert holds_password(url)


@pytest.mark.parametrize("url", ["postgresql://u@h/d?sslmode=require", "s3://bucket/x", "/home/guard/lake", ""])
def test_a_url_without_a_password_holds_none(url):
    assert not holds_password(url)


@pytest.mark.parametrize(("name", "known", "near"), [("satus", ["scan", "status"], "status"), ("x", ["status"], None)])
def test_a_wrong_name_is_answered_with_the_nearest_known_one(name, known, near):
    assert nearest(name, known) == near
