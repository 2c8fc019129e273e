"""Whoever knows or guesses ids takes nothing out that was settled: the newcomer is held, the first keeps its place."""

from __future__ import annotations

import pandas as pd
import pytest

from poison_guard import Guard
from poison_guard.review.filters import QueueFilter
from poison_guard.steps.opening import open_feed
from poison_guard.store import last_snapshot, load_sources
from tests.integration.steps.conftest import CONTRACT, NOW, answers, put
from tests.integration.steps.test_run import stored

PERSON = {"by": "reviewer-1", "reason": "looked at it"}
YOUNG = (NOW - pd.Timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def records(guard: Guard) -> pd.DataFrame:
    rows = stored(guard).set_index("record_id")
    return rows.assign(campaign_id=rows["campaign_id"].astype(object).where(rows["campaign_id"].notna(), None))


def newcomers_of(guard: Guard, record_id: str) -> pd.DataFrame:
    rows = records(guard)
    return rows[rows.index.str.startswith(f"{record_id}~")]


def other_content(frame: pd.DataFrame, *, user: str = "throwaway", since: str = YOUNG) -> pd.DataFrame:
    """The same ids, from one source, with other answers."""
    return frame.assign(user=user, since=since, said="a-other")


def waiting(guard: Guard) -> pd.DataFrame:
    return guard.queue(size=2000).entries


@pytest.fixture
def plain_guard(tmp_path) -> Guard:
    """A guard of answers without features: they are sealed as they are."""
    file = tmp_path / "quiz.toml"
    file.write_text(CONTRACT.replace('features = ["dwell", "speed"]\n', ""))
    return Guard.open(file, home=tmp_path / "home")


def test_the_ids_of_all_accepted_records_from_one_throwaway_source_take_none_of_them_out(plain_guard):
    frame = answers(600, 41)
    plain_guard.ingest(frame)
    before, queue = records(plain_guard), waiting(plain_guard)
    accepted = before.index[before["place"] == "accepted"]
    snapshot = plain_guard.seal()
    ledger = sources(plain_guard)
    counts = plain_guard.ingest(other_content(frame[frame["id"].isin(accepted)])).counts
    assert (counts["accepted"], counts["recalled"]) == (0, 0)
    assert counts["quarantined"] == len(accepted) > 500
    pd.testing.assert_frame_equal(records(plain_guard).loc[before.index], before)
    assert len(waiting(plain_guard)) == len(queue) + 1
    with open_feed(plain_guard.contract.path, plain_guard.home) as feed:
        assert last_snapshot(feed.store, "quiz").snapshot_id == snapshot.snapshot_id
    assert not plain_guard.seal().new
    pd.testing.assert_frame_equal(sources(plain_guard).loc[ledger.index], ledger)

    (group,) = set(waiting(plain_guard)["campaign_id"].dropna()) - set(queue["campaign_id"].dropna())
    done = plain_guard.reject(campaign_id=group, **PERSON)
    assert len(done.record_ids) == len(accepted)
    assert len(waiting(plain_guard)) == len(queue)
    mine = sources(plain_guard).loc["throwaway"]
    assert mine[["controls_wrong", "outcomes_wrong", "disagreed"]].sum() == 0  # nothing proves who sent them


def sources(guard: Guard) -> pd.DataFrame:
    with open_feed(guard.contract.path, guard.home) as feed:
        return load_sources(feed.store, feed.contract).set_index("source_id").sort_index()


def test_who_decides_one_record_of_a_group_is_asked_about_the_next(trusted_guard):
    frame = answers(100, 42)
    trusted_guard.ingest(frame)
    queue = len(waiting(trusted_guard))
    trusted_guard.ingest(other_content(frame.head(30)))
    asked = waiting(trusted_guard)
    (first,) = asked.loc[asked["record_id"].str.contains("~"), "record_id"]
    done = trusted_guard.reject(record_ids=[first], **PERSON)
    (second,) = set(waiting(trusted_guard)["record_id"]) - set(asked["record_id"])
    assert "~" in second != first
    trusted_guard.undo(done.seq, **PERSON)
    trusted_guard.reject(campaign_id=records(trusted_guard).loc[first, "campaign_id"], **PERSON)
    assert len(waiting(trusted_guard)) == queue


def test_a_few_conflicts_are_reviewed_one_by_one(trusted_guard):
    frame = answers(100, 43)
    trusted_guard.ingest(frame)
    queue = len(waiting(trusted_guard))
    trusted_guard.ingest(other_content(frame.head(20)))
    assert len(waiting(trusted_guard)) == queue + 20


def test_what_a_person_released_keeps_its_place_and_verdict_whatever_comes_under_its_id(trusted_guard):
    frame = answers(60, 44).assign(user="young", since=YOUNG)
    trusted_guard.ingest(frame)
    name = frame["id"].iloc[0]
    place = records(trusted_guard).loc[name, "place"]
    getattr(trusted_guard, "release" if place != "accepted" else "recall")(record_ids=[name], **PERSON)
    if place == "accepted":
        trusted_guard.release(record_ids=[name], **PERSON)
    before = records(trusted_guard).loc[name]
    trusted_guard.ingest(other_content(frame.head(1), user="u1", since="2024-01-01T00:00:00Z"))
    pd.testing.assert_series_equal(records(trusted_guard).loc[name], before)
    assert newcomers_of(trusted_guard, name)["place"].tolist() == ["quarantined"]


@pytest.mark.parametrize(
    ("first_since", "second_since", "place"),
    [
        (YOUNG, "2024-01-01T00:00:00Z", "recalled"),
        (YOUNG, YOUNG, "accepted"),
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z", "accepted"),
    ],
    ids=["new then established", "new then new", "established twice"],
)
def test_an_id_that_a_new_source_claimed_before_an_established_one_came_is_held_twice(
    trusted_guard, first_since, second_since, place
):
    frame = answers(200, 45)
    claim = answers(1, 46).assign(user="claimer", since=first_since)
    trusted_guard.ingest(pd.concat([frame, claim], ignore_index=True))
    (name,) = claim["id"]
    assert records(trusted_guard).loc[name, "place"] == "accepted"
    trusted_guard.ingest(other_content(claim, user="owner", since=second_since))
    assert records(trusted_guard).loc[name, "place"] == place
    assert newcomers_of(trusted_guard, name)["place"].tolist() == ["quarantined"]
    asked = trusted_guard.queue(QueueFilter(kind="recalled")).entries["record_id"].tolist()
    assert asked == ([name] if place == "recalled" else [])


def test_two_contents_of_one_id_in_one_batch_are_both_held(trusted_guard):
    frame = answers(100, 47)
    trusted_guard.ingest(pd.concat([frame, other_content(frame.head(1))], ignore_index=True))
    rows = records(trusted_guard)
    mine = rows[rows.index.str.startswith(frame["id"].iloc[0])]
    assert mine["place"].tolist() == ["quarantined", "quarantined"]


def test_one_of_two_contents_that_is_stored_already_stays_and_the_other_is_held_once(trusted_guard):
    frame = answers(100, 48)
    trusted_guard.ingest(frame)
    before = records(trusted_guard)
    both = pd.concat([frame, other_content(frame.head(3))], ignore_index=True)
    first = trusted_guard.ingest(both).counts
    assert (first["seen_before"], first["quarantined"]) == (100, 3)
    one_more = pd.concat([both, answers(1, 480)]).sample(frac=1, random_state=1)
    again = trusted_guard.ingest(one_more).counts
    assert (again["seen_before"], again["received"]) == (103, 104)
    pd.testing.assert_frame_equal(records(trusted_guard).loc[before.index], before)
    assert len(records(trusted_guard)) == 104


def test_a_run_that_another_one_overtook_names_its_newcomers_anew(trusted_guard):
    frame = answers(100, 49)
    put(trusted_guard.home, frame, "a.csv")
    batch = trusted_guard.stage_collect()
    trusted_guard.stage_validate(batch.run_id)
    for part in batch.partitions:
        trusted_guard.stage_score(batch.run_id, part)
    trusted_guard.stage_decide(batch.run_id)
    other = other_content(frame.head(2), user="u1", since="2024-01-01T00:00:00Z")
    trusted_guard.ingest(other)
    first = records(trusted_guard)
    trusted_guard.stage_commit(batch.run_id)
    rows = records(trusted_guard)
    assert len(rows) == 102
    pd.testing.assert_frame_equal(rows.loc[first.index], first)
    for name in other["id"]:
        assert newcomers_of(trusted_guard, name)["place"].tolist() == ["quarantined"]


def test_a_revision_of_what_a_person_decided_is_held_and_any_other_revision_is_one(trusted_guard, contract):
    contract.write_text(CONTRACT.replace("[columns]", "revisions = true\n[columns]"))
    guard = Guard.open(contract, home=trusted_guard.home)
    frame = answers(100, 50)
    guard.ingest(frame)
    rows = records(guard)
    decided, free = rows.index[rows["place"] == "accepted"][:2]
    guard.reject(record_ids=[decided], **PERSON)
    before = records(guard).loc[decided]
    changed = frame[frame["id"].isin([decided, free])]
    counts = guard.ingest(changed.assign(said=[f"a{(int(word[1:])) % 5}x" for word in changed["word"]])).counts
    assert counts["revised"] == 1
    pd.testing.assert_series_equal(records(guard).loc[decided], before)
    assert newcomers_of(guard, decided)["place"].tolist() == ["quarantined"]
    assert newcomers_of(guard, free).empty


def test_a_name_that_somebody_took_before_is_not_given_to_a_newcomer(trusted_guard):
    frame = answers(100, 51)
    trusted_guard.ingest(frame)
    other = other_content(frame.head(1))
    scanned = trusted_guard.scan(other).decisions
    (name,) = scanned["record_id"]
    trusted_guard.ingest(answers(1, 52).assign(id=name))
    both = pd.concat([other, other.assign(id=name, user="u2")], ignore_index=True)
    counts = trusted_guard.ingest(both).counts
    assert counts["received"] == counts["quarantined"] == 2
    assert len(newcomers_of(trusted_guard, frame["id"].iloc[0])) == 3


def test_a_batch_of_known_ids_with_other_texts_is_held_and_no_signal_fails(tmp_path):
    file = tmp_path / "notes.toml"
    file.write_text(
        'name = "notes"\nkind = "messages"\n[data]\npath = "inbox/*.csv"\n'
        '[columns]\nrecord_id = "id"\nsource_id = "user"\ntext = "text"\n'
    )
    guard = Guard.open(file, home=tmp_path / "home")
    frame = pd.DataFrame({"id": [f"n{k}" for k in range(30)], "user": [f"u{k % 9}" for k in range(30)]})
    guard.ingest(frame.assign(text=[f"how is it done in case {k}?" for k in range(30)]))
    result = guard.ingest(frame.assign(text="other"))
    assert result.counts["accepted"] == 0
    assert not [note for note in result.notes if "could not judge" in note and "Error" in note]
