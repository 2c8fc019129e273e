"""Spellings of labels fold onto the one declared label that is meant; where none is, `case` decides."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.config import Contract, parse_contract
from poison_guard.contracts.suite import parse_suite
from poison_guard.decide.reasons import sentence
from poison_guard.frames import empty_frame
from poison_guard.pipeline.labels import choose_spellings, declared_labels, fold_labels, fold_votes, label_notes

NOBODY = empty_frame("controls")


def contract_of(case: str | None = None, **columns: str) -> Contract:
    roles = {"source_id": "user", "item_id": "item", "answer": "answer", **columns}
    parse = {} if case is None else {"case": case}
    return parse_contract({"name": "words", "kind": "answers", "columns": roles, "parse": parse})


def spelled(words, declared, *, case=None, established=None, stored=(), role="answer") -> list[str]:
    records = pd.DataFrame({role: pd.Series(words, dtype="str")})
    contract = contract_of(case, **({} if role == "answer" else {role: role}))
    trusty = np.zeros(len(words), bool) if established is None else np.array(established)
    chosen = choose_spellings(records, contract, {role: declared}, established=lambda: trusty, stored=lambda: stored)
    return fold_labels(records, chosen)[role].tolist()


@pytest.mark.parametrize(
    ("word", "declared", "label"),
    [
        ("Cat", ("cat", "dog"), "cat"),
        ("CAT", ("Cat", "dog"), "Cat"),
        ("CAT", ("Cat", "cat"), "CAT"),  # two could be meant
        ("cat", ("Cat", "cat"), "cat"),
        ("yes", ("true", "false"), "true"),
        ("True", ("yes", "no"), "yes"),
        ("0", ("false", "true", "unsure"), "false"),
        ("1.0", ("1", "2"), "1"),
        ("01", ("1", "2"), "1"),
        ("bird", ("cat", "dog"), "bird"),
        ("STRASSE", ("straße",), "straße"),
    ],
)
def test_a_spelling_folds_onto_the_one_declared_label_that_it_means(word, declared, label):
    assert spelled([word], declared) == [label]


def test_without_a_declared_label_and_without_the_key_spellings_stay():
    assert spelled(["Cat", "cat"], ()) == ["Cat", "cat"]
    assert spelled(["Cat", "cat"], (), case="keep") == ["Cat", "cat"]


def test_folded_labels_are_spelled_as_most_established_sources_write_them():
    words = ["cat", "cat", "cat", "Cat", "CAT"]
    assert spelled(words, (), case="fold") == ["cat"] * 5
    assert spelled(words, (), case="fold", established=[False, False, False, True, False]) == ["Cat"] * 5
    assert spelled(["cat", "Cat"], (), case="fold") == ["Cat"] * 2, "ties by code point"


def test_a_spelling_that_the_store_has_stays_whatever_a_later_batch_writes():
    assert spelled(["CAT"] * 50, (), case="fold", stored=("Cat", "dog")) == ["Cat"] * 50


def test_labels_that_are_no_votes_are_lower_case_where_nothing_declares_them():
    assert spelled(["Cat", "cat"], (), case="fold", role="label") == ["cat", "cat"]


@given(st.lists(st.sampled_from(["Cat", "cat", "CAT", "yes", "True", "1", "x"]), min_size=1), st.randoms())
def test_spellings_do_not_depend_on_the_order_of_rows_and_fold_once(words, random):
    declared = ("cat", "true", "false")
    mixed = words.copy()
    random.shuffle(mixed)
    once = dict(zip(words, spelled(words, declared, case="fold"), strict=True))
    assert once == dict(zip(mixed, spelled(mixed, declared, case="fold"), strict=True))
    assert spelled(list(once.values()), declared, case="fold") == list(once.values())


def test_votes_stored_before_their_label_was_declared_are_spelled_as_the_batch_s():
    records = pd.DataFrame({"answer": ["Cat", "dog"]})
    nobody = np.zeros(2, bool)
    chosen = choose_spellings(
        records,
        contract_of(),
        {"answer": ("Cat", "Dog")},
        established=lambda: nobody,
        stored=tuple,
        earlier=["cat", "x"],
    )
    assert chosen == {"answer": {"dog": "Dog", "cat": "Cat"}}
    before = pd.DataFrame({"item_id": ["i", "j"], "vote": ["cat", "x"]})
    assert fold_votes(before, chosen, "answer")["vote"].tolist() == ["Cat", "x"]
    assert fold_votes(before, {}, "answer") is before


def test_what_was_written_stays_beside_the_label():
    records = pd.DataFrame({"answer": ["Cat", "cat"], "given.answer": [" Cat", None]}).astype("str")
    folded = fold_labels(records, {"answer": {"Cat": "cat"}})
    assert folded["answer"].tolist() == ["cat", "cat"]
    assert folded["given.answer"].iloc[0] == " Cat"
    assert (
        fold_labels(records.drop(columns="given.answer"), {"answer": {"Cat": "cat"}})["given.answer"].iloc[0] == "Cat"
    )


def test_suite_controls_and_trusted_set_declare_labels():
    rule = {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "answer", "value_set": ["cat", True, 4]}}
    suite = parse_suite({"name": "words", "expectations": [rule]})
    controls = pd.DataFrame({"item_id": list("abcd"), "answer": ["dog", "dog", "cat", "cat"]})
    trusted = pd.DataFrame({"item_id": list("efgh"), "answer": ["bird", "bird", "cat", None]})
    assert declared_labels(contract_of(), suite, controls, [trusted])["answer"] == {"cat", "true", "4", "dog", "bird"}


def test_a_control_that_is_spelled_otherwise_than_the_suite_declares_no_second_label():
    rule = {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "answer", "value_set": ["cat", "dog"]}}
    suite = parse_suite({"name": "words", "expectations": [rule]})
    controls = pd.DataFrame({"item_id": list("abcd"), "answer": ["Cat", "Cat", "dog", "dog"]})
    assert declared_labels(contract_of(), suite, controls, [])["answer"] == {"cat", "dog"}
    assert fold_votes(controls, {"answer": {"Cat": "cat"}}, "answer", "answer")["answer"].tolist()[0] == "cat"


def test_free_text_declares_nothing():
    words = pd.DataFrame({"item_id": list("abcd"), "answer": ["Apple", "apple pie", "pear", "plum"]})
    assert declared_labels(contract_of(), None, words, [])["answer"] == frozenset()
    assert declared_labels(contract_of(), None, NOBODY, [])["answer"] == frozenset()


def test_a_thousand_labels_after_folding_are_told_with_the_key():
    records = pd.DataFrame({"answer": [f"w{k}" for k in range(1_001)]})
    (note,) = label_notes(records, contract_of("fold"))
    said = sentence(note.code, note.args)
    assert "1001 different labels" in said.replace(",", "")
    assert 'case = "keep"' in said
    assert not label_notes(records, contract_of("keep"))
