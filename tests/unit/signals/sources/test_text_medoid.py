import numpy as np
import pandas as pd
import pytest

from poison_guard.signals.sources import consensus
from poison_guard.signals.sources.text_medoid import MAX_CANDIDATES, edit_distances, split_words

VOCABULARY = [f"word{k}" for k in range(300)]


def transcripts(seed, items=60, people=12, each=5, careless=0.3):
    """Every person mishears words at a rate of their own; `careless` of them often."""
    r = np.random.default_rng(seed)
    truth = {f"i{k:03d}": r.choice(VOCABULARY, r.integers(8, 20)) for k in range(items)}
    rate = np.where(np.arange(people) < careless * people, 0.35, 0.06)
    rows = []
    for name, text in truth.items():
        for who in r.choice(people, each, replace=False):
            heard = [w if r.random() > rate[who] else str(r.choice(VOCABULARY)) for w in text]
            rows.append((name, f"p{who:02d}", " ".join(heard)))
    frame = pd.DataFrame(rows, columns=["item_id", "source_id", "answer"])
    return frame, pd.Series({name: " ".join(text) for name, text in truth.items()})


def errors(chosen, truth):
    codes = {}
    texts = [np.array([codes.setdefault(w, len(codes)) for w in split_words(t)], np.int32) for t in [*chosen, *truth]]
    return edit_distances(texts, np.arange(len(truth)), np.arange(len(truth)) + len(truth)).mean()


def test_auto_takes_long_text_for_what_it_is_and_short_words_not():
    frame, _ = transcripts(0)
    assert consensus(frame).model == "closest"
    assert consensus(frame.assign(answer=frame["answer"].str.split().str[0])).model == "one_coin"
    known, truth = transcripts(0)
    said = (
        known["item_id"].map(truth).where(np.arange(len(known)) % 5 > 0, known["answer"])
    )  # phrases typed as they are
    assert consensus(known.assign(answer=said)).model == "one_coin"


def test_many_accounts_that_repeat_texts_word_by_word_do_not_make_labels_of_them():
    frame, truth = transcripts(0)
    for some in (truth.iloc[:24], frame.drop_duplicates("item_id").set_index("item_id")["answer"].iloc[:24]):
        sybils = pd.DataFrame(
            {"item_id": np.repeat(some.index, 500), "source_id": [f"z{k}" for k in range(500)] * 24,
             "answer": np.repeat(some.to_numpy(), 500)}
        )  # fmt: skip
        assert consensus(pd.concat([frame, sybils], ignore_index=True)).model == "closest"


@pytest.mark.parametrize("seed", range(3))
def test_the_closest_answer_has_fewer_errors_than_the_most_frequent_one(seed):
    frame, truth = transcripts(seed)
    chosen, most = (consensus(frame, model=m).items.set_index("item_id")["answer"] for m in ("closest", "majority"))
    assert errors(chosen[truth.index], truth) < 0.5 * errors(most[truth.index], truth)
    pairs = set(zip(frame["item_id"], frame["answer"], strict=True))
    assert set(zip(chosen.index, chosen, strict=True)) <= pairs


def test_careless_people_are_known_by_their_distance():
    frame, _ = transcripts(1)
    worth = consensus(frame).sources.set_index("source_id")["reliability"]
    assert worth[[f"p{k:02d}" for k in range(3)]].max() < worth[[f"p{k:02d}" for k in range(4, 12)]].min()


def test_case_and_punctuation_make_no_second_answer():
    rows = [("w", s, t) for s, t in zip("abcd", ["The cat sat.", "the cat sat", "THE CAT SAT", "a dog"], strict=True)]
    items = consensus(pd.DataFrame(rows, columns=["item_id", "source_id", "answer"]), model="closest").items
    assert items.loc[0, "answer"].lower().startswith("the cat")
    assert not items.loc[0, "disputed"]


def test_two_camps_dispute_an_item():
    rows = [("w", s, "the old man went home") for s in "abc"] + [("w", s, "buy cheap pills right now") for s in "de"]
    items = consensus(pd.DataFrame(rows, columns=["item_id", "source_id", "answer"]), model="closest").items
    assert items.loc[0, "answer"] == "the old man went home"
    assert items.loc[0, "disputed"]


def test_a_control_is_taken_as_true():
    frame, truth = transcripts(2)
    controls = pd.DataFrame({"item_id": truth.index[:5], "answer": truth.iloc[:5]})
    items = consensus(frame, controls, "closest").items.set_index("item_id").loc[truth.index[:5]]
    assert (items["answer"] == truth.iloc[:5]).all()
    assert (items["probability"] == 1).all()


def test_row_order_changes_nothing():
    frame, _ = transcripts(3)
    once, again = consensus(frame), consensus(frame.sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(once.items, again.items, check_exact=True)
    pd.testing.assert_frame_equal(once.sources, again.sources, check_exact=True)


def test_an_item_with_very_many_long_answers_costs_bounded_time():
    r = np.random.default_rng(0)
    text = [" ".join(r.choice(VOCABULARY[:30], 12)) for _ in range(3000)]
    text[:20] = ["one two three four five six"] * 10 + ["one two three four five seven"] * 10
    text[-1] = "x" * 1_000_000
    frame = pd.DataFrame({"item_id": "w", "source_id": [f"s{k}" for k in range(3000)], "answer": text})
    items = consensus(frame, model="closest").items
    assert items.loc[0, "answer"].startswith("one two three four five")
    assert MAX_CANDIDATES < 3000
