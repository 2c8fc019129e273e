import pandas as pd

from poison_guard.decide.next_looks import next_looks
from tests.unit.decide.test_adopt import COLUMNS, crowd, group, told


def test_the_most_useful_tasks_come_first_and_the_budget_is_kept():
    votes, _, controls = crowd(right=0.7, each=3)
    tasks = next_looks(told(votes, controls), frozenset(), 40)
    assert 0 < tasks["n"].sum() <= 40
    answers = tasks[tasks["ask"] == "answers"]
    assert (answers["labels"] / answers["n"]).is_monotonic_decreasing
    assert (answers["labels"] <= 1).all()
    more = next_looks(told(votes, controls), frozenset(), 400)
    assert more["labels"].sum() > tasks["labels"].sum()


def test_a_person_looks_first_where_the_same_sources_gave_the_most_labels_that_wait():
    votes, facts, controls = crowd(items=600)
    pushed = group(facts.index[100:200], facts, 7, established=True).drop(columns="campaign_id")
    tasks = next_looks(told(pd.concat([votes, pushed], ignore_index=True), controls), frozenset(), 20)
    assert set(tasks["ask"].head(10)) == {"look"}
    assert tasks["related"].iloc[0] >= 50
    assert set(tasks["item_id"].head(10)) <= set(facts.index[100:200])


def test_controls_go_to_sources_that_answered_none_and_were_never_verified():
    votes, _, controls = crowd(right=0.6, each=3)
    busy = votes[~votes["item_id"].isin(controls["item_id"])].drop_duplicates("item_id").head(80)
    new = busy.assign(source_id="new")[COLUMNS]
    both = pd.concat([votes, new], ignore_index=True)
    tasks = next_looks(told(both, controls), frozenset(), 5_000)
    assert tasks.loc[tasks["ask"] == "controls", "source_id"].iloc[0] == "new"
    assert "new" not in set(next_looks(told(both, controls), frozenset({"new"}), 5_000)["source_id"])


def test_where_no_label_waits_there_is_nothing_to_ask():
    votes, facts, _ = crowd(items=30)
    known = pd.DataFrame({"item_id": facts.index, "answer": facts.to_numpy()})
    assert next_looks(told(votes, known), frozenset(), 10).empty
