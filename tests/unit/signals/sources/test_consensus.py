import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poison_guard.errors import DataError, UsageError
from poison_guard.signals.sources import MODELS, consensus

ANSWERS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 6), st.sampled_from(["a", "b", "ü", ""])), min_size=1, max_size=40
)


def votes(*triples):
    return pd.DataFrame(triples, columns=["item_id", "source_id", "answer"])


def accuracy(result, truth):
    given_ = result.items.set_index("item_id")["answer"]
    return float((given_.reindex(truth.index) == truth).mean())


@pytest.mark.parametrize(
    ("name", "model", "least"),
    [("duck", "dawid_skene", 0.879), ("duck", "auto", 0.888), ("product", "dawid_skene", 0.936),
     ("product", "auto", 0.937), ("product", "majority", 0.896), ("rte", "one_coin", 0.920), ("rte", "auto", 0.9275)],
)  # fmt: skip
def test_real_crowds_reach_the_published_accuracy(public_data, name, model, least):
    answers = pd.read_csv(public_data / "crowd" / name / "answers.csv")
    answers.columns = ["item_id", "source_id", "answer"]
    truth = pd.read_csv(public_data / "crowd" / name / "truth.csv").set_index("item")["truth"].astype(str)
    assert accuracy(consensus(answers, model=model), truth) >= least


def test_an_honest_crowd_is_right_and_its_sources_are_ranked_by_accuracy(crowd):
    world = crowd(0, weak=0.2)
    result = consensus(world.frame, world.controls)
    assert accuracy(result, world.truth) > 0.95
    weak = result.sources["source_id"].str[1:].astype(int) < 60
    assert result.sources.loc[weak, "reliability"].mean() < result.sources.loc[~weak, "reliability"].mean() - 0.1
    assert (result.sources["lower_bound"] < result.sources["reliability"]).all()


def test_light_newcomers_do_not_outvote_the_established(crowd):
    world = crowd(1, share=0.6, attackers=200, window=None)
    new = world.frame["source_id"].str[1:].astype(int) >= 300
    targets = world.truth[sorted(world.targets)]
    light = consensus(world.frame, world.controls, "one_coin", weights=np.where(new, 0.1, 1.0))
    assert accuracy(light, targets) > 0.8
    assert accuracy(consensus(world.frame, world.controls, "one_coin"), targets) < 0.2


def test_history_breaks_a_tie_for_the_source_that_has_it():
    answers = votes(("w", "a", "1"), ("w", "b", "2"))
    for best, answer in (("a", "1"), ("b", "2")):
        for model in ("one_coin", "dawid_skene"):
            items = consensus(answers, model=model, prior={best: (60.0, 2.0)}).items
            assert items.loc[0, "answer"] == answer


@pytest.mark.parametrize("model", ["majority", "one_coin", "dawid_skene", "blend"])
def test_an_item_under_attack_is_disputed_rather_than_decided(crowd, model):
    world = crowd(2, share=0.5, window=None)
    items = consensus(world.frame, world.controls, model).items.set_index("item_id")
    targeted = items.loc[sorted(world.targets)]
    wrong = targeted["answer"] != world.truth[targeted.index]
    assert (wrong & ~targeted["disputed"]).mean() < 0.15
    assert targeted["disputed"].mean() > 3 * items.drop(targeted.index)["disputed"].mean()


def test_controls_are_taken_as_true_even_against_everybody():
    answers = votes(("w", "a", "1"), ("w", "b", "1"), ("w", "c", "1"), ("v", "a", "2"))
    controls = pd.DataFrame({"item_id": ["w"], "answer": ["7"]})
    row = consensus(answers, controls).items.set_index("item_id").loc["w"]
    assert (row["answer"], row["probability"], bool(row["disputed"])) == ("7", 1.0, False)


def test_controls_that_contradict_themselves_are_an_error():
    controls = pd.DataFrame({"item_id": ["w", "w"], "answer": ["7", "8"]})
    with pytest.raises(DataError, match="two answers for item 'w'"):
        consensus(votes(("w", "a", "1")), controls)


def test_a_source_that_answers_twice_has_one_vote():
    repeated = votes(("w", "a", "1"), ("w", "a", "1"), ("w", "a", "1"), ("w", "b", "2"), ("w", "c", "2"))
    result = consensus(repeated, model="majority")
    assert result.items.loc[0, "answer"] == "2"
    assert result.repeated == 2
    stuffed = votes(("w", "a", "1"), ("w", "a", "2"), ("w", "a", "3"), ("w", "b", "3"))
    result = consensus(stuffed, model="majority")
    assert result.contradictory == 1
    assert result.items.loc[0, "probability"] == pytest.approx(2 / 3)
    assert result.sources.set_index("source_id").loc["a", "n"] == 1


def test_rows_that_miss_something_are_counted_and_left_out():
    answers = votes(("w", "a", "1"), (None, "b", "1"), ("w", None, "1"), ("w", "c", None))
    result = consensus(answers)
    assert result.missing == 3
    assert list(result.sources["source_id"]) == ["a"]


def test_whole_numbers_and_their_text_are_one_answer():
    answers = pd.DataFrame({"item_id": [1, 1], "source_id": ["a", "b"], "answer": [4.0, 4.0]})
    items = consensus(answers, pd.DataFrame({"item_id": ["1"], "answer": ["4"]})).items
    assert items.loc[0, "answer"] == "4"
    assert items.loc[0, "item_id"] == 1


@pytest.mark.parametrize("model", ["auto", *MODELS])
def test_nothing_to_agree_on_gives_empty_tables(model):
    result = consensus(votes(), model=model)
    assert result.items.empty
    assert result.sources.empty
    assert list(result.items.columns) == ["item_id", "answer", "probability", "disputed"]
    assert list(result.sources.columns) == ["source_id", "reliability", "lower_bound", "n"]


@pytest.mark.parametrize("model", ["auto", *MODELS])
def test_one_source_alone_is_believed_with_less_than_certainty(model):
    items = consensus(votes(*[(f"w{k}", "a", str(k % 3)) for k in range(6)]), model=model).items
    assert list(items["answer"]) == ["0", "1", "2", "0", "1", "2"]
    assert not items["disputed"].any()


def test_too_many_answers_for_full_confusion_are_an_error_that_names_the_way_out():
    answers = votes(*[(f"w{k}", "a", str(k)) for k in range(7000)])
    with pytest.raises(UsageError, match="use one_coin or auto"):
        consensus(answers, model="dawid_skene")


def test_an_unknown_model_a_missing_column_and_bad_weights_are_errors():
    with pytest.raises(UsageError, match="model must be auto, majority"):
        consensus(votes(("w", "a", "1")), model="mace")
    with pytest.raises(UsageError, match="need one column `answer`"):
        consensus(votes(("w", "a", "1")).drop(columns="answer"))
    with pytest.raises(UsageError, match="weights must be 1 finite"):
        consensus(votes(("w", "a", "1")), weights=np.array([-1.0]))
    with pytest.raises(UsageError, match="prior must be two positive"):
        consensus(votes(("w", "a", "1")), prior={"a": (0.0, 1.0)})


def test_a_vote_of_no_weight_counts_for_nothing():
    answers = votes(("w", "a", "1"), ("w", "b", "1"), ("w", "c", "2"))
    items = consensus(answers, model="majority", weights=np.array([0.0, 0.0, 1.0])).items
    assert items.loc[0, "answer"] == "2"


@pytest.mark.parametrize("model", ["auto", *MODELS])
@settings(max_examples=25, deadline=None)
@given(triples=ANSWERS, seed=st.integers(0, 99))
def test_row_order_changes_nothing_and_probabilities_are_probabilities(model, triples, seed):
    answers = votes(*triples)
    once = consensus(answers, model=model)
    again = consensus(answers.sample(frac=1, random_state=seed), model=model)
    pd.testing.assert_frame_equal(once.items, again.items, check_exact=True)
    pd.testing.assert_frame_equal(once.sources, again.sources, check_exact=True)
    assert once.items["probability"].between(0, 1).all()
    assert set(once.items["item_id"]) == {item for item, _, _ in triples}
    assert once.sources["reliability"].between(0, 1, inclusive="neither").all()


@pytest.mark.parametrize(
    ("name", "answers", "model"), [("rte", None, "blend"), ("duck", 2, "one_coin"), ("product", 1, "blend")]
)
def test_auto_takes_confusion_matrices_only_where_sources_have_answered_enough(public_data, name, answers, model):
    frame = pd.read_csv(public_data / "crowd" / name / "answers.csv")
    frame.columns = ["item_id", "source_id", "answer"]
    if answers is not None:
        frame = frame.sample(frac=1, random_state=0)
        frame = frame[frame.groupby("item_id").cumcount() < answers]
    assert consensus(frame).model == model


def test_an_open_set_of_answers_is_judged_item_by_item():
    answers = votes(*[(f"w{k}", s, f"word{k}" if s != "d" else f"else{k}") for k in range(30) for s in "abcd"])
    result = consensus(answers)
    assert result.model == "one_coin"
    assert list(result.items["answer"].str[:4].unique()) == ["word"]
    worth = result.sources.set_index("source_id")["reliability"]
    assert worth["d"] < 0.2 < 0.9 < worth["a"]


def test_ids_that_read_alike_are_reported_and_kept_apart():
    answers = votes(("w", "Ann", "1"), ("w", "ann", "1"), ("w", "a\u200bnn", "2"), ("w", "bob", "1"), ("W", "bob", "1"))
    result = consensus(answers)
    assert result.lookalike == 3 + 2
    assert len(result.sources) == 4
    assert len(result.items) == 2


def test_a_control_is_known_however_the_type_of_its_id_differs():
    answers = pd.DataFrame({"item_id": [1, 1, 1, 2], "source_id": list("abcd"), "answer": ["x", "y", "y", "x"]})
    for ids in (answers["item_id"], answers["item_id"].astype(float), answers["item_id"].astype(object)):
        for known in (1, 1.0, "1"):
            controls = pd.DataFrame({"item_id": [known], "answer": ["x"]})
            items = consensus(answers.assign(item_id=ids), controls=controls).items
            assert items.loc[items["item_id"].astype("str").isin(["1", "1.0"]), "answer"].tolist() == ["x"]


def test_ids_of_mixed_types_are_one_item_where_they_read_alike_whatever_their_order():
    ids = pd.Series([1, "1", 1.0, True, b"1", None, float("nan"), pd.NaT], dtype=object)
    answers = pd.DataFrame({"item_id": ids, "source_id": list("abcdefgh"), "answer": ["x", "y", "y", *"xxxxx"]})
    found = consensus(answers)
    assert found.items["item_id"].tolist() == ["1", "True"]
    assert found.missing == 3
    pd.testing.assert_frame_equal(found.items, consensus(answers.iloc[::-1]).items)


def test_controls_without_their_columns_or_with_broken_text_are_errors_that_say_so():
    with pytest.raises(UsageError, match="controls need one column `item_id`"):
        consensus(votes(("w", "a", "1")), controls=pd.DataFrame({"item": ["w"], "answer": ["1"]}))
    broken = pd.DataFrame({"item_id": ["w"], "answer": pd.Series(["\ud800"], dtype=object)})
    with pytest.raises(DataError, match="half a character"):
        consensus(votes(("w", "a", "1")), controls=broken)
    twice = pd.concat([votes(("w", "a", "1"))] * 2, axis=1)
    with pytest.raises(UsageError, match="need one column `item_id`"):
        consensus(twice)


@pytest.mark.parametrize("prior", [("x", 1), (1,), (1, 2, 3), None, (float("nan"), 1)])
def test_a_prior_that_is_no_pair_of_positive_numbers_is_an_error(prior):
    with pytest.raises(UsageError, match="two positive finite numbers"):
        consensus(votes(("w", "a", "1")), prior={"a": prior})
