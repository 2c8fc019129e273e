import dataclasses

import pandas as pd

from poison_guard.config import parse_contract
from poison_guard.pipeline import find_batch_evidence, prepare, score_partition
from tests.unit.pipeline.conftest import NOW, make_state

CONTRACT = parse_contract(
    {
        "name": "quiz",
        "kind": "answers",
        "columns": {"record_id": "id", "source_id": "user", "item_id": "word", "answer": "said", "observed_at": "at"},
    }
)


def said(rows, prefix, at):
    """Answers ``(source, item, answer)`` given at `at`, as records."""
    frame = pd.DataFrame(rows, columns=["source_id", "item_id", "answer"])
    return frame.assign(
        record_id=[f"{prefix}{k:04d}" for k in range(len(frame))],
        content_hash=[f"{prefix}{k:04d}" for k in range(len(frame))],
        observed_at=pd.Series(at, index=frame.index).astype("datetime64[us, UTC]"),
        received_at=pd.Series(pd.Timestamp(NOW), index=frame.index).astype("datetime64[us, UTC]"),
    )


def found(records, earlier=None):
    state = make_state()
    if earlier is not None:
        state = dataclasses.replace(
            state, answers=earlier.rename(columns={"answer": "vote"}).assign(verdict=0)[list(state.answers.columns)]
        )
    prepared = prepare(CONTRACT, state, records)
    return find_batch_evidence(score_partition(records, CONTRACT, prepared), CONTRACT, state, prepared)


def test_a_raid_that_fills_its_batch_is_held_against_what_was_accepted_before():
    items = [f"w{k}" for k in range(30)]
    raid = said([(f"z{k}", w, "9") for w in items for k in range(6)], "z", pd.Timestamp(NOW) - pd.Timedelta(hours=1))
    before = said([(f"h{k}", w, "4") for w in items for k in range(6)], "h", pd.Timestamp(NOW) - pd.Timedelta(days=3))
    assert found(raid).campaigns == ()
    together = found(raid, before)
    assert {r for c in together.campaigns for r in c.record_ids} == set(raid["record_id"])
    assert together.conflicts.empty  # a campaign is one voice, and one voice contradicts nobody


def test_answers_delivered_again_do_not_contradict_themselves():
    records = said([(f"h{k}", "w", "4") for k in range(3)], "h", pd.Timestamp(NOW) - pd.Timedelta(days=3))
    assert found(records, records.assign(answer="9")).conflicts.empty
