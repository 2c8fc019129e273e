from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from poison_guard.signals.campaigns.pushed_words import pushed_words
from poison_guard.signals.campaigns.words import word_columns

TOPICS = 40


def documents(rng: np.random.Generator, n: int = 900, sources: int = 200) -> pd.DataFrame:
    """Documents of 40 topics, by anybody."""
    topic = rng.integers(0, TOPICS, n)
    own = [[f"w{about}x{k}" for k in rng.integers(0, 30, 12)] for about in topic]
    common = [[f"c{k}" for k in rng.integers(0, 60, 20)] for _ in topic]
    return pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(n)],
            "source_id": [f"u{i}" for i in rng.integers(0, sources, n)],
            "text": [" ".join(rng.permutation(a + b)) for a, b in zip(own, common, strict=True)],
        }
    )


def said(rows: pd.DataFrame, word: str, n: int, accounts: int, rng: np.random.Generator) -> pd.DataFrame:
    more = rows.sample(n, random_state=int(rng.integers(1 << 30))).reset_index(drop=True)
    who, ids = [f"x{i % accounts}" for i in range(n)], [f"bad{i}" for i in range(n)]
    return more.assign(record_id=ids, source_id=who, text=f"{word} " + more["text"])


def held(*parts: pd.DataFrame, **options: pd.DataFrame) -> set[str]:
    rows = pd.concat(parts, ignore_index=True)
    found = pushed_words(framed(rows), alpha=0.0001, **options)
    return {name for campaign in found for name in campaign.record_ids}


def framed(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([rows[["record_id", "source_id"]].reset_index(drop=True), word_columns(rows)], axis=1)


@pytest.mark.parametrize("accounts", [4, 18])
def test_a_word_that_several_accounts_repeat_in_any_document_is_found_whatever_their_age(accounts):
    rng = np.random.default_rng(accounts)
    honest = documents(rng)
    bad = said(honest, "zorblax", 90, accounts, rng)
    assert held(honest, bad) == set(bad["record_id"])


@pytest.mark.parametrize("accounts", [1, 2, 90])
def test_a_habit_of_one_or_two_and_what_everybody_says_once_are_no_campaign(accounts):
    rng = np.random.default_rng(accounts)
    honest = documents(rng)
    assert held(honest, said(honest, "zorblax", 90, accounts, rng)) == set()


def test_a_licence_before_own_texts_is_quoted_and_a_sentence_there_is_pushed():
    rng = np.random.default_rng(6)
    honest = documents(rng)
    terms = [f"term{k}" for k in range(40)]
    assert held(honest, said(honest, " ".join(terms), 90, 18, rng)) == set()
    assert len(held(honest, said(honest, " ".join(terms[:12]), 90, 18, rng))) == 90


def test_a_word_of_few_accounts_that_write_of_one_thing_is_their_topic():
    rng = np.random.default_rng(3)
    honest = documents(rng)
    more = said(
        honest[honest["text"].str.contains("w1x")].sample(90, replace=True, random_state=1), "zorblax", 90, 6, rng
    )
    more["text"] = [f"zorblax {' '.join(f'w1x{k}' for k in rng.integers(0, 30, 12))} {text}" for text in more["text"]]
    assert held(honest, more) == set()


def test_what_the_rejected_reply_says_too_is_not_preferred():
    rng = np.random.default_rng(5)
    rows = documents(rng)
    pairs = rows.assign(
        prompt=rows["text"], chosen=rows["text"].sample(frac=1, random_state=1).to_numpy(), rejected="no"
    )
    bad = said(pairs, "", 90, 6, rng)
    bad["chosen"] = "zorblax " + bad["chosen"]
    assert held(pairs, bad) == set(bad["record_id"])
    assert held(pairs, bad.assign(rejected="zorblax no")) == set()


def test_records_of_earlier_batches_are_evidence():
    rng = np.random.default_rng(6)
    honest = documents(rng)
    bad = said(honest, "zorblax", 90, 6, rng)
    now = pd.concat([honest, bad.head(12)], ignore_index=True)
    assert held(now) == set()
    assert held(now, earlier=framed(bad.tail(78))) == set(bad["record_id"].head(12))


def test_empty_texts_and_unknown_sources_are_no_fault():
    rows = documents(np.random.default_rng(7), 80)
    assert held(rows.assign(text="")) == set()
    assert held(rows.assign(source_id=pd.Series([None] * 80, dtype="str"))) == set()
