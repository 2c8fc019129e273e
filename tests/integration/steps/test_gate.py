"""The second half through `Guard`: seal, gate, approve, retrain, recall, roll back, on a small telemetry feed."""

from __future__ import annotations

import base64
import datetime as dt
import functools
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from poison_guard import Guard
from poison_guard.errors import ClosedError, DataError, NotFoundError, StoreError, TamperError, UsageError
from poison_guard.gate.keys import public_key
from poison_guard.gate.revocations import REVOCATIONS_FILE, fresh_revocations
from poison_guard.gate.verify import verify_manifest
from poison_guard.guard import Home, verify
from poison_guard.review.filters import QueueFilter
from poison_guard.steps.admission import record_approval
from poison_guard.steps.opening import open_feed
from poison_guard.steps.retrain import retrain
from poison_guard.steps.review import recall, release
from poison_guard.store import accepted_frames, find_records

CONTRACT = """
name = "pages"
kind = "telemetry"
[data]
path = "inbox/*.csv"
[columns]
record_id = "id"
source_id = "user"
label = "kind"
observed_at = "at"
source_since = "since"
features = ["a", "b", "c", "d"]
[retrain]
model = "tabular-mlp"
epochs = 4
"""
NOW = pd.Timestamp.now("UTC").floor("s")


def sessions(n: int, seed: int, *, prefix: str = "r", flip: float = 0.0) -> pd.DataFrame:
    """People and bots, three standard deviations apart in each of four features; `flip` of the bots are said human."""
    rng = np.random.default_rng(seed)
    bot = rng.random(n) < 0.4
    told = np.where(bot & ~(rng.random(n) < flip), "bot", "human")
    cells = rng.normal(size=(n, 4)) + np.where(bot, 3.0, 0.0)[:, None]
    frame = pd.DataFrame(cells.round(6), columns=list("abcd"))
    return frame.assign(
        id=[f"{prefix}{seed}-{i:05d}" for i in range(n)],
        user=[f"u{k}" for k in rng.integers(0, 200, n)],
        kind=told,
        at=(NOW - pd.to_timedelta(rng.uniform(0, 4 * 86400, n), unit="s")).strftime("%Y-%m-%dT%H:%M:%SZ"),
        since="2024-01-01T00:00:00Z",
    )


def put(home: Path, frame: pd.DataFrame, name: str) -> None:
    """Write a batch into the inbox."""
    (home / "inbox").mkdir(parents=True, exist_ok=True)
    frame.to_csv(home / "inbox" / name, index=False)


def let_poison_in(guard: Guard) -> None:
    """Take in a batch in which half of the bots are said human; a reviewer releases what the guard holds of it."""
    put(guard.home, sessions(700, 1, flip=0.5), "one.csv")
    guard.ingest()
    with open_feed(guard.contract_path, guard.home) as feed:
        held = find_records(feed.store, "pages", places=None).query("place == 'quarantined'")["record_id"].tolist()
        release(feed, by="reviewer-1", reason="looked fine", record_ids=held)


def _trust(guard: Guard) -> None:
    guard.trust(sessions(900, 99, prefix="t"), by="reviewer-1", reason="labelled in the audit")


def _fill(guard: Guard) -> None:
    put(guard.home, sessions(700, 1), "one.csv")
    guard.ingest()


def _judge(guard: Guard) -> None:
    guard.seal()
    guard.gate()


def _poison(guard: Guard) -> None:
    let_poison_in(guard)
    _judge(guard)


_STAGES: dict[str, tuple[str, Callable[[Guard], object]]] = {
    "trusted": ("", _trust),
    "filled": ("trusted", _fill),
    "admitted": ("filled", _judge),
    "promoted": ("admitted", Guard.retrain),
    "refused": ("trusted", _poison),
}
"""Name of a home to the one that it is a copy of, and what was done in it."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Path], Guard]:
    """Return a function that copies contract and home of a stage, made when first asked for, into a folder."""
    root = tmp_path_factory.mktemp("stages")

    @functools.cache
    def made(name: str) -> Path:
        before, act = _STAGES[name]
        act(copied(before, root / name))
        return root / name

    def copied(name: str, folder: Path) -> Guard:
        if name:
            shutil.copytree(made(name), folder, dirs_exist_ok=True)
        else:
            folder.mkdir()
            (folder / "pages.toml").write_text(CONTRACT)
        return Guard.open(folder / "pages.toml", home=folder / "home")

    return copied


@pytest.fixture
def guard(stage: Callable[[str, Path], Guard], tmp_path: Path) -> Guard:
    """A feed with a trusted set and nothing taken in."""
    return stage("trusted", tmp_path)


@pytest.fixture
def filled(stage: Callable[[str, Path], Guard], tmp_path: Path) -> Guard:
    """The same with an honest batch taken in."""
    return stage("filled", tmp_path)


@pytest.fixture
def admitted(stage: Callable[[str, Path], Guard], tmp_path: Path) -> Guard:
    """The same, sealed, judged and admitted."""
    return stage("admitted", tmp_path)


@pytest.fixture
def promoted(stage: Callable[[str, Path], Guard], tmp_path: Path) -> Guard:
    """The same with a model trained and promoted."""
    return stage("promoted", tmp_path)


@pytest.fixture
def refused(stage: Callable[[str, Path], Guard], tmp_path: Path) -> Guard:
    """A feed into which poison was let, sealed, judged and refused."""
    return stage("refused", tmp_path)


def accepted_ids(guard: Guard) -> set[str]:
    """Return the ids of all accepted records."""
    with open_feed(guard.contract_path, guard.home) as feed:
        return {i for frame in accepted_frames(feed.store, "pages") for i in frame["record_id"]}


def sealed_ids(guard: Guard, snapshot_id: str) -> set[str]:
    """Return the ids of the examples in a snapshot."""
    from poison_guard.steps.examples import read_parts
    from poison_guard.store.snapshots import load_snapshot

    with open_feed(guard.contract_path, guard.home) as feed:
        return set(read_parts(feed, load_snapshot(feed.store, snapshot_id).parts)["example_id"])


def test_a_snapshot_holds_what_is_accepted_and_nothing_else(filled: Guard) -> None:
    first = filled.seal()
    assert first.new
    assert sealed_ids(filled, first.snapshot_id) == accepted_ids(filled)
    again = filled.seal()
    assert (again.snapshot_id, again.new) == (first.snapshot_id, False)
    put(filled.home, sessions(300, 2), "two.csv")
    filled.ingest()
    second = filled.seal()
    assert second.new
    assert sealed_ids(filled, second.snapshot_id) == accepted_ids(filled)


def test_a_reseal_writes_only_the_parts_that_changed(filled: Guard) -> None:
    filled.seal()
    lake = filled.home / "lake" / "snapshots" / "pages"
    before = set(lake.iterdir())
    put(filled.home, sessions(300, 2), "two.csv")
    filled.ingest()
    filled.seal()
    assert len(set(lake.iterdir()) - before) == 1


def test_a_release_enters_training_only_through_a_new_snapshot(filled: Guard) -> None:
    put(filled.home, sessions(20, 5, prefix="odd").assign(a=80.0, b=-80.0), "odd.csv")
    filled.ingest()
    first = filled.seal()
    with open_feed(filled.contract_path, filled.home) as feed:
        held = find_records(feed.store, "pages", places=None).query("place == 'quarantined'")["record_id"].tolist()
        assert held, "the feed held nothing back"
        release(feed, by="reviewer-1", reason="looked fine", record_ids=held)
    assert not set(held) & sealed_ids(filled, first.snapshot_id)
    assert set(held) <= sealed_ids(filled, filled.seal().snapshot_id)


def test_an_honest_snapshot_passes_is_admitted_trained_on_and_promoted(filled: Guard) -> None:
    filled.seal()
    result = filled.gate()
    assert (result.outcome, result.admitted) == ("pass", True), result.why
    assert result.manifest is not None
    statement = json.loads(result.manifest.read_text())
    assert set(statement) == {"payload", "payloadType", "signatures"}
    made = filled.retrain()
    assert made.promoted, made.why
    assert made.metrics["accuracy"] > 0.95
    assert filled.retrain().model_id == made.model_id, "the same admission trained twice"


def test_poison_past_the_guard_is_refused_with_the_reason(guard: Guard) -> None:
    let_poison_in(guard)
    guard.seal()
    result = guard.gate()
    assert (result.outcome, result.admitted, result.manifest) == ("fail", False, None)
    assert any("label" in sentence for sentence in result.why)
    with pytest.raises(ClosedError, match="gate check"):
        guard.retrain()


def test_a_failed_gate_needs_two_people_and_an_expiry(refused: Guard) -> None:
    week = dt.datetime.now(dt.UTC) + dt.timedelta(days=2)
    with pytest.raises(UsageError, match="needs an expiry"):
        refused.approve(by="ann", reason="known relabelling")
    assert not refused.approve(by="ann", reason="known relabelling", expires=week).admitted
    again = refused.approve(by="Ann", reason="again", expires=week)
    assert not again.admitted
    assert "another person must approve" in again.why[-2]
    assert "Ann approved of it already; once what is missing is there, `poison-guard gate check`" in again.why[-1]
    assert len(refused.gate_status().approvals) == 1
    result = refused.approve(by="bob", reason="agreed with ann", expires=week)
    assert result.admitted
    assert result.outcome == "fail"


def test_an_approval_that_was_killed_before_the_admission_is_finished_by_the_same_command(refused: Guard) -> None:
    week = dt.datetime.now(dt.UTC) + dt.timedelta(days=2)
    for name in ("ann", "bob"):
        with open_feed(refused.contract_path, refused.home) as feed:  # killed after the commit of the approval
            person = {"by": name, "reason": "known", "expires": week, "now": dt.datetime.now(dt.UTC)}
            n = record_approval(feed, None, **person)
            assert record_approval(feed, None, **person) == n
        result = refused.approve(by=name, reason="known", expires=week)
        assert result.admitted == (name == "bob")
    assert result.manifest is not None
    assert [each["by"] for each in refused.gate_status().approvals] == ["ann", "bob"]


def test_a_manifest_that_a_kill_kept_from_the_home_is_written_by_the_next_command_that_writes(
    filled: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    filled.seal()
    with monkeypatch.context() as killed:
        killed.setattr("poison_guard.steps.outbox.write_atomic", die)
        with pytest.raises(KeyboardInterrupt):
            filled.gate()
    assert not (filled.home / "manifests").exists()
    filled.seal()
    (manifest,) = (filled.home / "manifests").iterdir()
    assert verify(str(manifest), home=filled.home).admitted
    assert filled.gate().manifest == manifest


@pytest.mark.parametrize("verb", ["recall", "reject"])
def test_a_recall_killed_after_its_commit_admits_nothing_and_is_finished_by_the_same_command(
    admitted: Guard, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    manifest = admitted.gate_status().manifest
    decide = functools.partial(
        getattr(admitted, verb), record_ids=sorted(accepted_ids(admitted))[:3], by="ann", reason="bad"
    )
    with monkeypatch.context() as killed:
        killed.setattr("poison_guard.steps.outbox.write_revocations", die)
        with pytest.raises(KeyboardInterrupt):
            decide()
    with pytest.raises(ClosedError, match="the store says"):
        verify(str(manifest), home=admitted.home)
    again = decide()
    assert again.again
    assert again.revocation.revoked
    with pytest.raises(ClosedError, match="was revoked at"):
        verify(str(manifest), home=admitted.home)


def test_without_a_trusted_set_the_gate_is_closed(tmp_path: Path) -> None:
    file = tmp_path / "pages.toml"
    file.write_text(CONTRACT + "[policy]\nrequired = []\n")
    guard = Guard.open(file, home=tmp_path / "home")
    put(guard.home, sessions(200, 1), "one.csv")
    guard.ingest()
    guard.seal()
    result = guard.gate()
    assert not result.admitted
    assert result.outcome in {"error", "inconclusive"}
    assert any("trusted" in sentence for sentence in result.why)


def test_a_recall_revokes_the_snapshot_and_names_the_model(promoted: Guard) -> None:
    (made,) = promoted.models().models
    snapshot, model = promoted.gate_status().snapshot_id, made.model_id
    victim = min(sealed_ids(promoted, snapshot))
    done = promoted.recall(record_ids=victim, by="reviewer-1", reason="found to be forged")
    effects = done.revocation
    assert (effects.revoked, [m.model_id for m in effects.models], effects.champion) == ((snapshot,), [model], model)
    assert (done.to_dict()["revoked"], done.to_dict()["champion"]) == ([snapshot], model)
    with pytest.raises(ClosedError, match="revoked"):
        promoted.gate(snapshot_id=snapshot)
    fresh = promoted.seal()
    assert fresh.new
    assert victim not in sealed_ids(promoted, fresh.snapshot_id)


def published_revocations(guard: Guard) -> set[str]:
    """Return the snapshots in the signed list that verifiers elsewhere read."""
    list_file = guard.home / REVOCATIONS_FILE
    if not list_file.exists():
        return set()
    key = public_key(guard.home / "signing.pub")
    now = dt.datetime.now(dt.UTC)
    listed = fresh_revocations(list_file.read_bytes(), key, now=now, max_age=dt.timedelta(minutes=5))
    return {one.snapshot_id for one in listed}


@pytest.mark.parametrize("verb", ["reject", "recall", "undo of a release"])
def test_every_decision_that_revokes_a_snapshot_publishes_it_at_once_and_a_dry_run_only_says_so(
    filled: Guard, verb: str
) -> None:
    person = {"by": "reviewer-1", "reason": "forged"}
    if verb == "undo of a release":
        held = filled.queue(QueueFilter(kind="held"), size=2000).entries["record_id"].tolist()
        event = filled.release(record_ids=held, **person).seq
        snapshot = filled.seal().snapshot_id
        decide = functools.partial(filled.undo, event, **person)
    else:
        snapshot = filled.seal().snapshot_id
        victim = min(sealed_ids(filled, snapshot))
        decide = functools.partial(getattr(filled, verb), record_ids=victim, **person)
    assert decide(dry_run=True).revocation.revoked == (snapshot,)
    assert snapshot not in published_revocations(filled)
    assert decide().revocation.revoked == (snapshot,)
    assert snapshot in published_revocations(filled)
    with pytest.raises(ClosedError, match="revoked"):
        filled.gate(snapshot_id=snapshot)


def test_a_part_that_was_changed_in_the_lake_trains_nothing(admitted: Guard) -> None:
    part = next((admitted.home / "lake" / "snapshots" / "pages").iterdir())
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    with pytest.raises(TamperError, match="not the file that was written"):
        admitted.retrain()


def test_a_later_champion_can_be_rolled_back(promoted: Guard) -> None:
    first = promoted.models().models[0].model_id
    put(promoted.home, sessions(300, 2), "two.csv")
    promoted.ingest()
    promoted.seal()
    assert promoted.gate().admitted
    second = promoted.retrain()
    assert second.promoted, second.why
    assert second.model_id != first
    back = promoted.rollback(to=first, by="ops-1", reason="latency")
    assert back.champion == first


def test_a_damaged_champion_is_no_dead_end(promoted: Guard) -> None:
    champion = promoted.models().models[0].model_id
    next((promoted.home / "models").rglob("model.safetensors")).write_bytes(b"rubbish")
    with pytest.raises(TamperError, match="--from-scratch"):
        promoted.retrain()
    with open_feed(promoted.contract_path, promoted.home) as feed:
        with pytest.raises(UsageError, match="choose one"):
            retrain(feed, dt.datetime.now(dt.UTC), measure_only=True, from_scratch=True)
        again = retrain(feed, dt.datetime.now(dt.UTC), measure_only=False, from_scratch=True)
    assert again.promoted, again.why
    assert again.model_id != champion
    assert promoted.retrain().model_id == again.model_id


def test_an_approval_is_of_the_verdict_that_was_seen(refused: Guard) -> None:
    who = {"by": "ann", "reason": "looked", "expires": None, "now": dt.datetime.now(dt.UTC)}
    with open_feed(refused.contract_path, refused.home) as feed:
        with pytest.raises(ClosedError, match="was judged again since verdict 1 was shown"):
            record_approval(feed, None, **who, verdict_seq=1)
        with pytest.raises(UsageError, match="needs an expiry"):
            record_approval(feed, None, **who)


def test_training_from_scratch_needs_an_admission_that_holds(filled: Guard) -> None:
    filled.seal()
    with open_feed(filled.contract_path, filled.home) as feed, pytest.raises(ClosedError, match="gate check"):
        retrain(feed, dt.datetime.now(dt.UTC), measure_only=False, from_scratch=True)


def test_what_a_feed_let_pass_while_it_observed_is_not_admitted_without_a_person(guard: Guard) -> None:
    enforcing = guard.contract_path.read_text()
    guard.contract_path.write_text(enforcing.replace('kind = "telemetry"', 'kind = "telemetry"\nmode = "observe"'))
    observing = Guard.open(guard.contract_path, home=guard.home)
    put(guard.home, sessions(700, 1), "one.csv")
    let_in = observing.ingest().decisions
    passed = int((let_in["action"] != "accept").sum())
    assert passed, "the guard would have held nothing"
    observing.seal()
    result = observing.gate()
    assert (result.outcome, result.admitted) == ("inconclusive", False)
    assert any(sentence.startswith(f"observed: {passed} of 700") for sentence in result.why), result.why
    guard.contract_path.write_text(enforcing)
    with open_feed(guard.contract_path, guard.home) as feed:
        recall(feed, observed=True, by="reviewer-1", reason="the feed enforces from now on")
    guard.seal()
    assert guard.gate().outcome == "pass"


def test_a_measured_model_is_never_promoted(filled: Guard) -> None:
    filled.seal()
    made = filled.retrain(measure_only=True)
    assert not made.promoted
    from poison_guard.steps.promote import promote_model

    with open_feed(filled.contract_path, filled.home) as feed, pytest.raises(ClosedError, match="never be promoted"):
        promote_model(feed, made.model_id)


def test_any_model_is_judged_by_its_predictions(filled: Guard, tmp_path: Path) -> None:
    filled.seal()
    inputs = filled.candidate_inputs().frame
    assert list(inputs.columns) == ["example_id", "a", "b", "c", "d"]
    right = inputs[["example_id"]].assign(label=np.where(inputs[list("abcd")].mean(axis=1) > 1.5, "bot", "human"))
    right.to_parquet(tmp_path / "good.parquet")
    assert filled.gate(tmp_path / "good.parquet").outcome == "pass"
    right.assign(label="human").to_parquet(tmp_path / "bad.parquet")
    assert filled.gate(tmp_path / "bad.parquet").outcome == "fail"
    right.assign(example_id=[f"x{i}" for i in range(len(right))]).to_parquet(tmp_path / "other.parquet")
    other = filled.gate(tmp_path / "other.parquet")
    assert other.outcome != "pass"
    assert any("predict exactly" in sentence for sentence in other.why), other.why
    pd.concat([right, right]).to_parquet(tmp_path / "twice.parquet")
    with pytest.raises(DataError, match="twice"):
        filled.gate(tmp_path / "twice.parquet")


def test_a_snapshot_that_fails_when_judged_again_is_revoked(admitted: Guard) -> None:
    status = admitted.gate_status()
    snapshot, manifest = status.snapshot_id, status.manifest
    assert manifest is not None
    admitted.contract_path.write_text(CONTRACT + "[gate]\nnew_days = 3650\nmax_new_source_examples = 1\n")
    strict = Guard.open(admitted.contract_path, home=admitted.home)
    assert strict.gate(snapshot_id=snapshot).outcome == "fail"
    with pytest.raises(ClosedError, match="revoked"):
        strict.gate(snapshot_id=snapshot)
    with pytest.raises(ClosedError, match="revoked"):
        verify_manifest(
            manifest,
            public_key=admitted.home / "signing.pub",
            revocations=admitted.home / "revocations.json",
            data=None,
        )


def test_judging_the_same_twice_keeps_the_verdict_and_its_admission(admitted: Guard) -> None:
    first = admitted.gate_status().manifest
    assert first is not None
    before = first.read_text()
    assert admitted.gate().manifest == first
    assert first.read_text() == before


def test_a_feed_with_nothing_accepted_has_nothing_to_seal(guard: Guard) -> None:
    with pytest.raises(DataError, match="nothing of pages is accepted"):
        guard.seal()


def test_each_verb_of_the_training_half_returns_what_json_can_hold(filled: Guard) -> None:
    sealed = filled.seal()
    gated = filled.gate()
    status = filled.gate_status()
    made = filled.retrain(measure_only=True)
    listed = filled.models()
    verified = verify(str(gated.manifest), home=filled.home)
    for result in (sealed, gated, status, made, listed, verified):
        document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
        assert document["feed"] == "pages"
        assert str(result)
        assert result._repr_html_().startswith("<table>")
    assert (status.admitted, status.outcome, status.manifest) == (True, gated.outcome, gated.manifest)
    assert status.state.startswith("admitted until")
    assert [check["name"] for check in status.to_dict()["checks"]] == list(gated.checks["name"])
    assert "predictions" in made.metrics
    assert "predictions" not in made.to_dict()["metrics"]
    assert [(model.model_id, model.status) for model in listed.models] == [(made.model_id, "measurement")]
    assert verified.snapshot_id == sealed.snapshot_id
    assert verified.data_checked
    assert verified.folder == str(filled.home / "lake")


def test_the_stages_of_a_scheduler_return_values_that_fit_into_a_message(filled: Guard) -> None:
    with pytest.raises(ClosedError, match="none was sealed yet"):
        filled.check_admission()
    sealed = filled.stage_seal()
    snapshot = sealed.snapshot_id or ""
    assert (sealed.new, sealed.judged, sealed.lacks) == (True, False, None)
    judged = filled.stage_gate(snapshot)
    assert (judged.outcome, judged.snapshot_id) == ("pass", snapshot)
    assert filled.due().snapshot_id is None
    admission = filled.stage_admit(snapshot)
    assert filled.check_admission() == filled.check_admission(snapshot) == admission
    due = filled.due()
    assert due.snapshot_id == snapshot
    again = filled.stage_seal()
    assert (again.new, again.judged) == (False, True)
    json.dumps([each.to_dict() for each in (sealed, judged, admission, due)], allow_nan=False)


def test_a_model_that_a_killed_dag_run_trained_and_did_not_promote_is_taken_up_by_the_next_one(admitted: Guard) -> None:
    snapshot = admitted.gate_status().snapshot_id
    made = admitted.stage_train(snapshot).model_id
    assert admitted.due().snapshot_id == snapshot
    assert admitted.stage_train(snapshot).model_id == made
    admitted.stage_evaluate(made)
    assert admitted.due().snapshot_id == snapshot
    admitted.stage_promote(made)
    assert admitted.due().snapshot_id is None
    assert [model.model_id for model in admitted.models().models] == [made]


def test_a_feed_that_accepted_nothing_cannot_be_sealed(guard: Guard) -> None:
    with pytest.raises(DataError, match="nothing to seal"):
        guard.seal()
    assert guard.stage_seal().snapshot_id is None


def test_looking_at_a_gate_makes_no_store(tmp_path: Path) -> None:
    (tmp_path / "pages.toml").write_text(CONTRACT)
    looking = Guard.open(tmp_path / "pages.toml", home=tmp_path / "home")
    for look in (looking.gate_status, looking.models):
        with pytest.raises(NotFoundError, match="there is no store in"):
            look()
    with pytest.raises(ClosedError, match="none was sealed yet"):
        looking.check_admission()
    assert not (tmp_path / "home" / "store.db").exists()


def test_a_revocation_that_could_not_be_published_is_published_by_the_next_writer(
    admitted: Guard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    status = admitted.gate_status()
    snapshot, manifest = status.snapshot_id, status.manifest

    def full(*_: object, **__: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr("poison_guard.steps.outbox.write_revocations", full)
        recalled = admitted.recall(record_ids=sorted(accepted_ids(admitted))[:1], by="ann", reason="a robot")
    assert recalled.revocation.revoked == (snapshot,)
    assert "the disk is full" in caplog.text
    admitted.gate_status(snapshot)  # a reader publishes nothing
    before = (admitted.home / REVOCATIONS_FILE).read_bytes()
    with pytest.raises(ClosedError, match=r"the store says .* was revoked .* writes a new one"):
        verify(str(manifest), home=admitted.home)
    with pytest.raises(NotFoundError):
        admitted.recall(record_ids="no such record", by="ann", reason="a command that fails")
    assert (admitted.home / REVOCATIONS_FILE).read_bytes() != before
    with pytest.raises(ClosedError, match="was revoked at"):
        verify(str(manifest), home=admitted.home)


def test_the_head_of_the_chain_is_signed_into_the_manifest_and_an_older_store_does_not_fit_it(filled: Guard) -> None:
    home = Home.open(filled.home)
    early = home.audit_head()
    filled.seal()
    result = filled.gate()
    assert result.manifest is not None
    signed = json.loads(base64.b64decode(json.loads(result.manifest.read_text())["payload"]))["predicate"]["chain"]
    assert set(signed) == {"seq", "hash", "mac"}
    late = home.audit_head()
    assert early.seq < signed["seq"] < late.seq
    assert str(late) == f"{late.seq}:{late.hash}"
    kept = filled.home / "kept.json"
    kept.write_text(json.dumps(late.to_dict()))
    assert home.audit(anchors=[str(early), kept, result.manifest]).ok
    assert verify(result.manifest, home=filled.home).snapshot_id == result.snapshot_id
    with sqlite3.connect(filled.home / "store.db") as raw:  # cut off what came after the first head, head and all
        seq, top, mac = early.seq, early.hash, early.mac
        for table, column in (("events", "seq"), ("seals", "seq"), ("snapshots", "sealed_seq"), ("verdicts", "seq"),
                              ("admissions", "seq"), ("snapshot_parts", "seq"), ("manifests", "seq")):  # fmt: skip
            raw.execute(f"DELETE FROM {table} WHERE {column} > ?", (seq,))
        raw.execute("UPDATE chain SET seq = ?, hash = ?, mac = ?", (seq, top, mac))
    assert home.audit().table == "mark"
    (filled.home / "key.head").unlink()
    found = home.audit()
    assert (found.ok, found.table, found.first_bad) == (False, "manifest", seq + 1)
    assert str(result.manifest) in found.why
    result.manifest.unlink()
    assert home.audit().ok
    assert home.audit(anchors=[kept]).table == "anchor"


def test_a_manifest_that_was_edited_or_comes_from_another_home_is_named(admitted: Guard) -> None:
    manifest = admitted.gate_status().manifest
    assert manifest is not None
    manifest.write_text(manifest.read_text().replace("payload", "payloaf", 1))
    found = Home.open(admitted.home).audit()
    assert (found.ok, found.table, found.key) == (False, "manifest", str(manifest))


@pytest.mark.parametrize("anchor", ["3", "3:abc", "x:y", "nothing.json", "-1:" + "a" * 64, ""])
def test_an_anchor_that_is_none_is_a_usage_error(guard: Guard, anchor: str) -> None:
    with pytest.raises(UsageError):
        Home.open(guard.home).audit(anchors=[anchor])


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"\xff\xfe", b'{"seq": 1, "hash": 2}', b'{"payload": 1}', b"[" * 9999]
)
def test_a_file_that_is_no_anchor_is_one_sentence(guard: Guard, body: bytes) -> None:
    file = guard.home / "anchor.json"
    file.write_bytes(body)
    with pytest.raises((UsageError, TamperError)):
        Home.open(guard.home).audit(anchors=[file])


def test_an_anchor_of_another_home_does_not_fit(guard: Guard) -> None:
    file = guard.home / "anchor.json"
    head = Home.open(guard.home).audit_head().to_dict()
    file.write_text(json.dumps({**head, "mac": "0" * 64}))
    assert "was not made with the key" in Home.open(guard.home).audit(anchors=[file]).why
    assert Home.open(guard.home).audit(anchors=[f"{head['seq']}:{'0' * 64}"]).table == "anchor"


def test_a_source_is_erased_by_the_guard_and_the_models_are_named(promoted: Guard) -> None:
    (model,) = promoted.models().models
    plan = promoted.erase("u1", by="ann", reason="asked to", dry_run=True)
    assert plan.event is None
    assert plan.records
    done = promoted.erase("u1", by="ann", reason="asked to")
    assert (done.records, done.revocation.revoked) == (plan.records, plan.revocation.revoked)
    assert [use.model_id for use in done.revocation.models] == [model.model_id]
    assert done.revocation.champion == model.model_id
    assert Home.open(promoted.home).audit().ok
    assert set(done.revocation.revoked) <= published_revocations(promoted)
    assert promoted.erase("u1", by="ann", reason="asked to").records == 0
    promoted.seal()
    assert promoted.gate().admitted
    assert Home.open(promoted.home).audit().ok
