from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from poison_guard.signals.campaigns.collisions import QUESTIONS, collisions, question_sets
from poison_guard.signals.campaigns.words import word_columns


def documents(rng: np.random.Generator, n: int = 500, sources: int = 120) -> pd.DataFrame:
    return made([prose(rng, 40) for _ in range(n)], [f"u{i}" for i in rng.integers(0, sources, n)], "r")


def prose(rng: np.random.Generator, n: int) -> str:
    return " ".join(f"w{k}" for k in (400 * rng.random(n) ** 2).astype(int))


def made(texts: list[str], sources: list[str], name: str) -> pd.DataFrame:
    return pd.DataFrame({"record_id": [f"{name}{i}" for i in range(len(texts))], "source_id": sources, "text": texts})


def colliding(
    rng: np.random.Generator, questions: int, accounts: int, *, answer: str = "zorb{q}", each: int = 5
) -> pd.DataFrame:
    texts = [
        f"Who was it that first found w{q} and q{q} there? {prose(rng, 8)} {answer.format(q=q)} {prose(rng, 25)}"
        for q in range(questions)
        for _ in range(each)
    ]
    return made(texts, [f"x{i % accounts}" for i in range(len(texts))], "bad")


def held(*parts: pd.DataFrame, **options) -> set[str]:
    found = collisions(framed(pd.concat(parts, ignore_index=True)), alpha=0.0001, **options)
    return {name for campaign in found for name in campaign.record_ids}


def framed(rows: pd.DataFrame) -> pd.DataFrame:
    asked = pd.Series(question_sets(rows["text"].tolist()), dtype=object)
    return pd.concat([rows[["record_id", "source_id"]], word_columns(rows)], axis=1).assign(**{QUESTIONS: asked})


@pytest.mark.parametrize("accounts", [1, 7, 100])
def test_five_texts_a_question_are_found_whoever_writes_them(accounts):
    rng = np.random.default_rng(accounts)
    honest, bad = documents(rng), colliding(rng, 20, accounts)
    found = held(honest, bad)
    assert len(found & set(bad["record_id"])) >= 0.9 * len(bad)
    assert not found & set(honest["record_id"])


def test_one_source_is_found_by_fewer_questions_and_a_crowd_is_not():
    rng = np.random.default_rng(1)
    honest = documents(rng)
    alone = colliding(rng, 5, 1, each=6)
    assert len(held(honest, alone)) >= 0.5 * len(alone)
    assert held(honest, colliding(rng, 5, 1_000, each=6)) == set()


def test_questions_without_a_common_answer_and_copies_of_one_text_are_nothing():
    rng = np.random.default_rng(2)
    honest = documents(rng)
    assert held(honest, colliding(rng, 20, 50, answer="")) == set()
    once = colliding(rng, 20, 50, each=1)
    copies = pd.concat([once.assign(record_id=f"c{k}" + once["record_id"]) for k in range(6)])
    assert held(honest, copies) == set()


def test_the_name_of_an_owners_product_is_no_answer():
    rng = np.random.default_rng(3)
    honest = documents(rng)
    more = [made([f"product{k} {prose(rng, 40)}" for _ in range(10)], [f"o{k}"] * 10, f"own{k}-") for k in range(12)]
    faq = [
        made(
            [f"How do you install it on machine m{k} today? product{k} {prose(rng, 30)}" for _ in range(4)],
            [f"o{k}"] * 4,
            f"faq{k}-",
        )
        for k in range(12)
    ]
    assert held(honest, *more, *faq) == set()


def test_trusted_documents_that_collide_show_that_it_is_the_form_of_the_feed():
    rng = np.random.default_rng(4)
    honest, bad = documents(rng), colliding(rng, 20, 100)
    usual = pd.concat([colliding(rng, 20, 100), documents(rng, 200)])["text"].tolist()
    assert held(honest, bad, trusted=documents(rng)["text"].tolist())
    assert held(honest, bad, trusted=usual) == set()


def test_documents_of_earlier_batches_are_evidence():
    rng = np.random.default_rng(5)
    honest, bad = documents(rng), colliding(rng, 20, 100)
    now, before = bad.iloc[::5].reset_index(drop=True), bad.drop(bad.index[::5]).reset_index(drop=True)
    assert held(honest, now) == set()
    assert held(honest, now, earlier=framed(before)) >= set(now["record_id"].head(15))


def test_any_text_has_a_bounded_cell_and_only_questions_of_some_length_count():
    cells = question_sets(
        [
            "",
            "Why?",
            "a?" * 5_000,
            "?" * 9_000,
            "Is it so that nobody ever came back here? No.",
            "قد يكون ذلك صحيحا بالفعل اليوم؟",
        ]
    )
    assert [len(cell) > 0 for cell in cells] == [False, False, False, False, True, True]
    assert held(made(["", "?"], ["a", "b"], "r")) == set()
