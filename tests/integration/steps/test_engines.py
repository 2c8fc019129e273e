"""Who scores the partitions of a run changes nothing of what is stored; what goes wrong ends in a sentence."""

import os
import signal

import pandas as pd
import pytest

from poison_guard import Guard
from poison_guard.errors import EngineError, MissingExtraError, UsageError
from poison_guard.steps import engines
from poison_guard.steps import run as run_steps
from poison_guard.steps.device import device_of, keep_device
from poison_guard.steps.handover import Handover, HandoverLostError, Pin, staging_folder
from poison_guard.steps.opening import open_feed
from poison_guard.steps.stages import stage_score
from poison_guard.store import list_runs
from tests.integration.steps.conftest import CONTRACT, NOW, answers, copied, put
from tests.integration.steps.test_run import stored, walk


def with_engine(guard: Guard, text: str) -> Guard:
    (guard.home / "settings.toml").write_text(text)
    return Guard.open(guard.contract.path, home=guard.home)


def lake_files(guard: Guard) -> dict[str, bytes]:
    """The files of the lake."""
    root = guard.home / "lake"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.parquet")}


def die(*_where: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_this_process(feed, run_id, partitions) -> None:
    """Score as the processes of an engine do, and each partition twice, the last first."""
    for part in [*reversed(partitions), *partitions]:
        engines._score(feed.contract, str(feed.settings.home), run_id, part)


@pytest.fixture
def plain(guard) -> Guard:
    """A feed without features, whose libraries take seconds to import in each process."""
    guard.contract.path.write_text(CONTRACT.replace('features = ["dwell", "speed"]', ""))
    guard.home.mkdir()
    return Guard.open(guard.contract.path, home=guard.home)


@pytest.fixture
def pooled(plain) -> Guard:
    return with_engine(plain, "workers = 2\n")


@pytest.fixture(autouse=True)
def _closed():
    yield
    engines._Opened.run_id = None
    engines._Opened.stack.close()


def ingested(guard: Guard, frame: pd.DataFrame):
    """Take a frame in at a fixed time: all that is written hangs on it, on the contract and on what was known."""
    with open_feed(guard.contract, guard.settings, writes=True) as feed:
        return run_steps.ingest(feed, frame, NOW.to_pydatetime())


def test_a_pool_of_processes_stores_the_same_bytes_as_one_process(pooled, tmp_path, monkeypatch):
    monkeypatch.setenv("POISON_GUARD_KEY", "ab" * 32)  # files of a home are named and ordered by its key
    alone, frame = Guard.open(pooled.contract.path, home=tmp_path / "alone"), answers(320, 11)
    both = [ingested(guard, frame) for guard in (pooled, alone)]
    assert both[0].counts == both[1].counts
    pd.testing.assert_frame_equal(stored(pooled), stored(alone))
    assert len(lake_files(pooled)) > 3
    assert lake_files(pooled) == lake_files(alone)
    cost = last_run(pooled).cost
    assert cost["engine"] == "local"
    assert cost["cpu_s"] >= cost["score"]["cpu_s"] > 0
    assert cost["peak_mb"] >= cost["score"]["peak_mb"] > 10


def last_run(guard: Guard):
    with open_feed(guard.contract, guard.settings) as feed:
        return list_runs(feed.store, feed.contract.name)[0]


def test_a_partition_that_is_scored_twice_and_out_of_order_counts_once(trusting, tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "_score_in_pool", in_this_process)
    frame = answers(320, 12)
    pooled, alone = (copied(trusting, tmp_path / name) for name in ("pooled", "alone"))
    pooled = with_engine(pooled, "workers = 2\n")
    for guard in (pooled, alone):
        assert ingested(guard, frame).counts["received"] == 320
    pd.testing.assert_frame_equal(stored(pooled), stored(alone))
    assert lake_files(pooled) == lake_files(alone)


def test_a_worker_that_is_lost_ends_the_run_in_a_sentence_and_the_next_run_finishes_it(pooled, monkeypatch):
    put(pooled.home, answers(320, 13), "a.csv")
    monkeypatch.setattr(engines, "_score", die)
    with pytest.raises(EngineError, match=r"a process that scored the run quiz-\w+ was lost.*nothing of the run was"):
        pooled.ingest()
    assert not len(stored(pooled))
    monkeypatch.undo()
    monkeypatch.setattr(engines, "_score_in_pool", in_this_process)
    assert pooled.ingest().counts["received"] == 320


def test_scores_that_went_to_another_lake_are_missed(pooled, monkeypatch):
    put(pooled.home, answers(320, 14), "a.csv")
    monkeypatch.setattr(engines, "_score_in_pool", lambda *_: None)
    with pytest.raises(EngineError, match=r"partition 0 .* its scores are not in the lake; give .* the same"):
        pooled.ingest()


@pytest.mark.parametrize("lost", ["records-00001", "scored-00001"])
def test_an_object_that_is_missing_at_commit_is_named_and_the_run_begins_again(plain, lost):
    put(plain.home, answers(160, 15), "a.csv")
    run_id = plain.stage_collect().run_id
    plain.stage_validate(run_id)
    for part in range(2):
        plain.stage_score(run_id, part)
    plain.stage_decide(run_id)
    (file,) = [
        f
        for f in (plain.home / "lake" / staging_folder(run_id)).iterdir()
        if f.name.startswith(lost) and ".frame" in f.name
    ]
    file.unlink()
    if not lost.startswith("scored"):  # scores are behind the decisions, and are not needed any more
        with pytest.raises(
            HandoverLostError, match=rf"{lost}.frame.*is missing from the lake; nothing of the run was stored"
        ):
            plain.stage_commit(run_id)
        assert not len(stored(plain))
    assert walk(plain)["received"] == len(stored(plain)) == 160


def test_a_partition_that_is_none_is_refused(plain):
    put(plain.home, answers(160, 16), "a.csv")
    run_id = plain.stage_collect().run_id
    with pytest.raises(UsageError, match="has the partitions 0 to 1, not 7"):
        plain.stage_score(run_id, 7)


def test_two_engines_on_one_run_store_it_once_and_the_second_says_so(pooled, monkeypatch):
    put(pooled.home, answers(320, 17), "a.csv")

    def overtaken(feed, run_id, partitions):
        in_this_process(feed, run_id, partitions[:1])
        walk(pooled)  # Airflow's tasks finish the run, and its commit removes what was handed over
        with open_feed(pooled.contract, pooled.settings, writes=True) as other:
            assert not stage_score(other, run_id, 1).done

    monkeypatch.setattr(engines, "_score_in_pool", overtaken)
    result = pooled.ingest()
    assert result.counts["received"] == len(stored(pooled)) == 320
    assert "finished by the engine airflow meanwhile" in " ".join(result.notes)


def test_where_airflow_takes_batches_in_a_command_does_not(plain):
    guard = with_engine(plain, 'engine = "airflow"\n')
    put(guard.home, answers(20, 18), "a.csv")
    with pytest.raises(UsageError, match="its DAG guard_quiz takes batches in; POISON_GUARD_ENGINE=local"):
        guard.ingest()
    assert walk(guard)["received"] == 20


def test_ray_that_is_not_installed_is_named_with_its_extra(plain, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    guard = with_engine(plain, 'engine = "ray"\n')
    put(guard.home, answers(320, 19), "a.csv")
    with pytest.raises(MissingExtraError, match=r"poison-guard\[ray\]"):
        guard.ingest()
    assert last_run(guard).status == "open"


def test_a_run_is_scored_on_one_class_of_device():
    handover, pin = Handover(), Pin(1, "rules")
    keep_device(handover, pin, "cuda:0")
    keep_device(handover, pin, "cuda:1")
    with pytest.raises(UsageError, match=r"scored on cuda, and this process computes on cpu.*POISON_GUARD_DEVICE=cpu"):
        keep_device(handover, pin, "cpu")
    keep_device(handover, Pin(1, "with another device"), "cpu")
    assert device_of(handover, pin) == "cuda"
