"""Transcripts through the whole line: honest ones become a label, a group is found pasting and rewording."""

import numpy as np
import pandas as pd
import pytest

from poison_guard.config import parse_contract
from poison_guard.store.ground_truth import control_verdicts
from tests.unit.pipeline.conftest import NOW, decide, make_batch, make_state

CONTRACT = parse_contract(
    {
        "name": "speech",
        "kind": "answers",
        "columns": {
            "record_id": "id",
            "source_id": "user",
            "item_id": "clip",
            "answer": "heard",
            "observed_at": "at",
            "source_since": "since",
        },
    }
)
WORDS = np.array([f"word{k}" for k in range(400)])


def transcripts(seed, *, clips=120, attackers=0, varied=False):
    """Six of forty people write down each clip and miss one word in twenty; attackers lie about a fifth of them."""
    r = np.random.default_rng(seed)
    truth = {f"c{k:03d}": r.choice(WORDS, 14) for k in range(clips)}
    rows = [
        (clip, f"p{who:02d}", " ".join(np.where(r.random(14) < 0.05, r.choice(WORDS, 14), text)), r.uniform(0, 20), 900)
        for clip, text in truth.items()
        for who in r.choice(40, 6, replace=False)
    ]
    for clip in list(truth)[::5] if attackers else []:
        lie, at = r.choice(WORDS, 14), r.uniform(0, 19)
        for who in range(attackers):
            own = lie.copy()
            own[r.integers(14)] = f"own{who}" if varied else own[0]
            rows.append((clip, f"z{who:02d}", " ".join(own if varied else lie), at + r.random() / 24, 3))
    frame = pd.DataFrame(rows, columns=["item_id", "source_id", "answer", "day", "age"])
    ids = [f"r{k:05d}" for k in range(len(frame))]
    at = pd.Timestamp(NOW) - pd.to_timedelta(21 - frame["day"], unit="D")
    return truth, frame[["item_id", "source_id", "answer"]].assign(
        record_id=ids,
        content_hash=ids,
        observed_at=at.astype("datetime64[us, UTC]"),
        received_at=pd.Series(pd.Timestamp(NOW), index=frame.index).astype("datetime64[us, UTC]"),
        source_since=(at - pd.to_timedelta(frame["age"], unit="D")).astype("datetime64[us, UTC]"),
    )


def decided(records, **state):
    return decide(make_batch(records), CONTRACT, make_state(**state))


def test_honest_transcripts_are_adopted_though_hardly_two_are_the_same():
    truth, records = transcripts(0)
    items = decided(records).items.set_index("item_id")
    assert items["adopted"].mean() >= 0.9
    said = items.loc[items["adopted"], "label"]
    errors = [(np.array(text.split()) != truth[clip]).mean() for clip, text in said.items()]
    assert np.mean(errors) <= 0.05
    assert np.max(errors) <= 0.3


@pytest.mark.parametrize("varied", [False, True])
def test_a_group_is_found_whether_it_pastes_its_text_or_rewords_it(varied):
    truth, records = transcripts(1, attackers=10, varied=varied)
    found = decided(records)
    held = found.decisions.set_index("record_id")["action"].ne("accept").reindex(records["record_id"]).to_numpy()
    pushed = records["source_id"].str.startswith("z").to_numpy()
    assert held[pushed].mean() >= 0.9
    assert held[~pushed].mean() <= 0.02
    items = found.items.set_index("item_id")
    right = [
        (np.array(text.split()) == truth[clip]).mean() > 0.5
        for clip, text in items.loc[items["adopted"], "label"].items()
    ]
    assert all(right)
    assert len(right) >= 0.9 * len(truth)


def test_a_transcript_of_a_control_that_misses_a_word_is_right_in_the_run_and_in_the_store():
    truth, records = transcripts(2)
    known = {clip: " ".join(text) for clip, text in list(truth.items())[:30]}
    controls = pd.DataFrame({"item_id": list(known), "answer": list(known.values())})
    found = decided(records, controls=controls)
    asked = records[records["item_id"].isin(controls["item_id"])]
    assert found.sources["controls_right"].sum() >= 0.95 * len(asked)
    rows = asked.assign(place="accepted", given_at=pd.NaT)
    exact = control_verdicts(rows, controls, found.near_controls.iloc[:0])["verdict"]
    assert (exact > 0).mean() <= 0.7
    near = control_verdicts(rows, controls, found.near_controls)["verdict"]
    assert (near > 0).sum() == found.sources["controls_right"].sum()
