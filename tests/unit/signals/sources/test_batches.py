import numpy as np
import pandas as pd
import pytest

from poison_guard.errors import UsageError
from poison_guard.signals.sources import consensus
from poison_guard.signals.sources.batches import Statistics, consensus_of, update


def split(frame, parts, seed=0):
    """Return batches in which all answers of an item come together."""
    names = np.sort(frame["item_id"].unique())
    part = dict(zip(names, np.random.default_rng(seed).permutation(len(names)) * parts // len(names), strict=True))
    at = frame["item_id"].map(part).to_numpy()
    return [frame[at == k] for k in range(parts)]


def through(batches, **options):
    stats, settled = Statistics(), []
    controls = options.get("controls")
    for batch in batches:
        stats = update(stats, batch, **options)
        settled.append(stats.settled)
    result = consensus_of(stats, controls=controls)
    return stats, pd.concat([*settled, result.items], ignore_index=True), result


def test_with_nothing_settled_batches_give_exactly_what_one_pass_gives(crowd):
    world = crowd(0)
    frame = world.frame.sample(frac=1, random_state=1)  # an item's answers are spread over all batches
    batches = [frame.iloc[k::7] for k in range(7)]
    _, items, result = through(batches, controls=world.controls, keep=None)
    whole = consensus(world.frame, world.controls)
    pd.testing.assert_frame_equal(items, whole.items)
    pd.testing.assert_frame_equal(result.sources, whole.sources)


@pytest.mark.parametrize("keep", [3000, 1000])
def test_settled_items_and_sources_are_within_tolerance_of_one_pass(crowd, keep):
    world = crowd(1)
    stats, items, result = through(split(world.frame, 10), controls=world.controls, keep=keep)
    whole = consensus(world.frame, world.controls)
    assert len(stats.open) <= keep
    assert not items["item_id"].duplicated().any()
    answer = items.set_index("item_id")["answer"]
    said = whole.items.set_index("item_id")["answer"]
    assert (answer.reindex(said.index) == said).mean() > 0.985
    assert (answer.reindex(world.truth.index) == world.truth).mean() > (said == world.truth[said.index]).mean() - 0.01
    pd.testing.assert_series_equal(result.sources["source_id"], whole.sources["source_id"])
    assert (result.sources["n"] == whole.sources["n"]).all()
    apart = (result.sources["reliability"] - whole.sources["reliability"]).abs()
    assert apart.max() < 0.1
    assert apart.mean() < 0.01


@pytest.mark.parametrize("name", ["rte", "product"])
def test_real_crowds_lose_nothing_that_shows_when_they_come_in_batches(public_data, name):
    frame = pd.read_csv(public_data / "crowd" / name / "answers.csv", dtype=str)
    frame.columns = ["item_id", "source_id", "answer"]
    truth = pd.read_csv(public_data / "crowd" / name / "truth.csv", dtype=str).set_index("item")["truth"]
    _, items, _ = through(split(frame, 10), keep=len(frame) // 5)
    batched = (items.set_index("item_id")["answer"].reindex(truth.index) == truth).mean()
    whole = (consensus(frame).items.set_index("item_id")["answer"].reindex(truth.index) == truth).mean()
    assert batched > whole - 0.005


def test_what_a_source_said_of_settled_items_counts_for_the_next():
    old = pd.DataFrame(
        [(f"i{k}", s, "1") for k in range(40) for s in "abc"], columns=["item_id", "source_id", "answer"]
    )
    stats = update(Statistics(), old, keep=0)
    assert stats.open.empty
    assert len(stats.settled) == 40
    new = pd.DataFrame({"item_id": ["w", "w"], "source_id": ["a", "stranger"], "answer": ["1", "2"]})
    fresh = update(stats, new)
    assert fresh.settled.empty
    assert consensus_of(fresh).items.loc[0, "answer"] == "1"
    worth = consensus_of(fresh).sources.set_index("source_id")
    assert worth.loc["b", "n"] == 40
    assert worth.loc["b", "lower_bound"] > worth.loc["stranger", "lower_bound"]


def test_forgetting_lets_a_source_change():
    def world(answer_of_c, start):
        rows = [(f"i{start}-{k}", s, "1" if s != "c" else answer_of_c) for k in range(30) for s in "abcde"]
        return pd.DataFrame(rows, columns=["item_id", "source_id", "answer"])

    def worth(half_life):
        stats = Statistics()
        for k in range(20):
            stats = update(stats, world("1" if k < 15 else "2", k), keep=0, half_life=half_life)
        return consensus_of(stats).sources.set_index("source_id").loc["c", "reliability"]

    assert worth(None) == pytest.approx(0.75, abs=0.05)
    assert worth(2.0) < 0.3


def test_a_repeated_answer_counts_once_over_batches_and_is_reported():
    batch = pd.DataFrame({"item_id": ["w", "w"], "source_id": ["a", "b"], "answer": ["1", "2"]})
    stats = update(update(Statistics(), batch), batch.head(1))
    assert stats.repeated == 1
    assert len(stats.open) == 2
    assert consensus_of(stats).sources.set_index("source_id").loc["a", "n"] == 1


def test_an_answer_set_that_opens_gives_up_confusion_and_goes_on():
    rows = [(f"i{k}", s, str(k % 2)) for k in range(60) for s in "abc"]
    stats = update(Statistics(), pd.DataFrame(rows, columns=["item_id", "source_id", "answer"]), keep=0)
    assert stats.settled_counts.cells is not None
    rows = [(f"j{k}", s, f"word{k}") for k in range(60) for s in "abc"]
    stats = update(stats, pd.DataFrame(rows, columns=["item_id", "source_id", "answer"]), keep=0)
    assert stats.settled_counts.cells is None
    assert (stats.settled["answer"].str[4:] == stats.settled["item_id"].str[1:]).all()
    assert consensus_of(stats).sources["n"].eq(120).all()


def test_no_answers_at_all_and_bad_options():
    empty = pd.DataFrame({"item_id": [], "source_id": [], "answer": []})
    assert consensus_of(update(Statistics(), empty, keep=0)).items.empty
    with pytest.raises(UsageError, match="keep must be 0 or more"):
        update(Statistics(), empty, keep=-1)
    with pytest.raises(UsageError, match="half_life positive"):
        update(Statistics(), empty, half_life=0.0)


def test_memory_does_not_grow_with_the_items_that_have_passed():
    r = np.random.default_rng(0)
    stats, sizes = Statistics(), []
    for k in range(8):
        item = np.repeat(np.arange(2000), 5) + 2000 * k
        batch = pd.DataFrame({"item_id": item, "source_id": r.integers(0, 200, len(item)), "answer": item % 3})
        stats = update(stats, batch, keep=5000)
        sizes.append(len(stats.open) + stats.settled_counts.n.size + stats.settled_counts.cells.size)
    assert max(sizes[1:]) - min(sizes[1:]) <= 400
