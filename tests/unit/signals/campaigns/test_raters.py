import numpy as np
import pandas as pd

from poison_guard.signals.campaigns.raters import patient_raters, pseudo_items, rater_profiles
from poison_guard.signals.campaigns.words import word_columns, words
from tests.unit.signals.campaigns.test_claims import chatter, crowd, feed, held

ALPHA = 0.0001


def test_replies_in_nearly_the_same_words_are_one_pseudo_item_over_both_columns():
    rng = np.random.default_rng(0)
    one, two, three = chatter(rng, 3)
    first, second = (
        pd.Series(words(t), dtype=object) for t in ([one, two, "", f"{one} indeed"], [two, three, one, ""])
    )
    left, right = pseudo_items([first, second])
    assert left[0] == left[3] == right[2]
    assert left[1] == right[0]
    assert len({left[0], left[1], right[1]}) == 3
    assert left[2] == right[3] == -1


def test_no_texts_are_no_pseudo_items():
    empty = pd.Series([], dtype=object)
    assert [len(codes) for codes in pseudo_items([empty, empty])] == [0, 0]


def test_a_rater_who_always_endorses_the_same_reply_is_found_though_all_its_words_are_common():
    rng = np.random.default_rng(1)
    line = chatter(rng, 1)[0]
    frame = pd.concat([crowd(), feed([line] * 40, ["x"] * 40, prefix="x")], ignore_index=True)
    (found,) = patient_raters(frame, alpha=ALPHA)
    assert set(found.record_ids) == {f"x{k}" for k in range(40)}
    assert found.reason.code == "patient_rater"
    assert found.reason.args["n_records"] == found.reason.args["of"] == 40
    assert found.reason.args["entropy"] == 0
    assert found.strength == 1


def test_a_user_who_asks_ten_times_about_one_document_passes():
    rng = np.random.default_rng(2)
    frame = pd.concat([crowd(), feed(chatter(rng, 1) * 10, ["x"] * 10, prefix="x")], ignore_index=True)
    assert patient_raters(frame, alpha=ALPHA) == []
    assert not held(crowd(3), patient_raters(crowd(3), alpha=ALPHA)).any()


def test_a_reply_turned_down_as_often_as_endorsed_is_no_favourite():
    rng = np.random.default_rng(3)
    line, others = chatter(rng, 1)[0], chatter(rng, 60)
    chosen, rejected = [line, others[0]] * 30, [others[1], line] * 30
    frame = pd.concat([crowd(), feed(chosen, ["x"] * 60, prefix="x", rejected=rejected)], ignore_index=True)
    assert all("x0" not in c.record_ids for c in patient_raters(frame, alpha=ALPHA))


def test_earlier_records_make_a_patient_rater_show():
    line = chatter(np.random.default_rng(4), 1)[0]
    own = feed([line] * 40, ["x"] * 40, prefix="x")
    batch, earlier = pd.concat([crowd(), own[:8]], ignore_index=True), own[8:].reset_index(drop=True)
    assert patient_raters(batch, alpha=ALPHA) == []
    (found,) = patient_raters(batch, alpha=ALPHA, earlier=earlier)
    assert len(found.record_ids) == 8
    assert len(found.earlier_ids) == 32


def test_a_profile_tells_rate_entropy_and_favourite_share():
    at = pd.Timestamp("2025-06-01", tz="UTC") + pd.to_timedelta([0, 10, 50, 500, 0], unit="min")
    frame = pd.DataFrame({"source_id": ["a"] * 4 + ["b"], "observed_at": at})
    table = rater_profiles(frame, np.array([0, 0, 1, 1, -1]))
    assert table.to_dict("records") == [
        {"source_id": "a", "records": 4, "items": 2, "entropy": 1.0, "top_share": 0.5, "busiest_hour": 3}
    ]


def test_nothing_to_look_at_is_no_campaign():
    assert patient_raters(crowd().iloc[:0], alpha=ALPHA) == []
    assert patient_raters(pd.DataFrame({"source_id": ["a"]}), alpha=ALPHA) == []
    assert len(word_columns(pd.DataFrame({"response": []}))) == 0
