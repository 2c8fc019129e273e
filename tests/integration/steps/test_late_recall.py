"""A run that takes records back says so, renews the list of revoked snapshots, and hands it through its steps."""

import dataclasses

import pandas as pd
import pytest

from poison_guard import Guard
from poison_guard.gate.revocations import REVOCATIONS_FILE
from poison_guard.records import Campaign, Reason
from poison_guard.steps import run
from poison_guard.steps.handover import Handover, LakeHandover, pin_of, put_batch
from poison_guard.steps.opening import open_feed
from poison_guard.store import count_places
from poison_guard.store.waiting import missing_previews
from tests.integration.steps.conftest import CONTRACT, answers, put
from tests.integration.steps.test_run import walk

PLAIN = CONTRACT.replace('features = ["dwell", "speed"]\n', "")
FOUND = Campaign(
    "c-late", "lockstep", 1e-6, 0.9, (), ("u1",), None, None, Reason("lockstep", {}), ("r1-00000", "r1-00001")
)


def with_recalls(decided):
    taken = pd.DataFrame({"record_id": list(FOUND.earlier_ids), "campaign_id": "c-late"}).astype("str")
    return dataclasses.replace(decided, recalls=taken, campaigns=(*decided.campaigns, FOUND))


@pytest.fixture
def sealed(tmp_path, monkeypatch):
    """A guard whose first batch is accepted and sealed, and whose next run finds a campaign in it."""
    file = tmp_path / "quiz.toml"
    file.write_text(PLAIN)
    guard = Guard.open(file, home=tmp_path / "home")
    put(guard.home, answers(60, 1), "a.csv")
    guard.ingest()
    guard.seal()
    decide = run.decide_batch
    monkeypatch.setattr(run, "decide_batch", lambda *args: with_recalls(decide(*args)))
    put(guard.home, answers(60, 2), "b.csv")
    return guard


def places(guard):
    with open_feed(guard.contract_path, guard.home) as feed:
        return count_places(feed.store, "quiz")


def test_the_result_says_what_was_taken_back_and_the_run_again_says_the_same(sealed):
    result = sealed.ingest()
    assert result.counts["recalled"] == places(sealed)["recalled"] == 2
    assert any("c-late" in note for note in result.notes)
    assert (sealed.home / REVOCATIONS_FILE).is_file()
    with open_feed(sealed.contract_path, sealed.home) as feed:
        from poison_guard.steps.results import stored_result

        again = stored_result(feed.store, result.run_id)
    assert again.notes == result.notes
    assert again.counts["recalled"] == 2


def test_scheduled_steps_take_the_same_records_back(sealed):
    assert walk(sealed)["recalled"] == 2
    assert places(sealed)["recalled"] == 2
    assert (sealed.home / REVOCATIONS_FILE).is_file()


@pytest.mark.parametrize("again", [Guard.ingest, Guard.stage_collect], ids=["direct", "scheduled"])
def test_what_a_run_killed_after_its_commit_left_out_of_the_queue_is_shown_by_one_that_finds_nothing_new(
    sealed, monkeypatch, again
):
    def die(feed):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run, "look_after", die)
        with pytest.raises(KeyboardInterrupt):
            sealed.ingest()
    with open_feed(sealed.contract_path, sealed.home) as feed:
        assert sorted(missing_previews(feed.store, "quiz")) == list(FOUND.earlier_ids)
    again(sealed)
    with open_feed(sealed.contract_path, sealed.home) as feed:
        assert missing_previews(feed.store, "quiz") == []


def test_recalls_and_memory_pass_between_tasks_as_they_were(sealed):
    with open_feed(sealed.contract_path, sealed.home) as feed:
        from poison_guard.steps.collect import collect_batch, head_version

        batch, controls = collect_batch(feed, None, pd.Timestamp.now("UTC").to_pydatetime())
        memory, lake = Handover(), LakeHandover(feed.store.lake, "x")
        put_batch(memory, batch, controls, partition_rows=len(batch.records))
        decided = run.judge(feed, memory, pin_of(feed, head_version(feed)))
        lake.put("decided@1", decided)
        back = lake.get("decided@1")
    pd.testing.assert_frame_equal(back.recalls, decided.recalls, check_dtype=False)
    pd.testing.assert_frame_equal(back.memory, decided.memory, check_dtype=False)
    assert back.campaigns == decided.campaigns
