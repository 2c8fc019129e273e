"""The steps against a real store: direct and scheduled agree, twice equals once, and a killed run is finished later."""

import json

import pandas as pd
import pytest
import sqlalchemy as sa

from poison_guard import Guard
from poison_guard.errors import DataError, NotFoundError, TamperError, UsageError
from poison_guard.home import Home
from poison_guard.steps import run as run_steps
from poison_guard.steps.opening import open_feed
from poison_guard.store import load_run, repin, tables
from poison_guard.store.reading import load_sources
from tests.integration.steps.conftest import CONTRACT, answers, put


def stored(guard: Guard) -> pd.DataFrame:
    """What the store says of every record, without what names the run."""
    with open_feed(guard.contract.path, guard.home) as feed, feed.store.read() as conn:
        c = tables.records.c
        rows = conn.execute(
            sa.select(c.record_id, c.content_hash, c.place, c.action, c.campaign_id, c.risk).order_by(c.record_id)
        ).all()
    return pd.DataFrame(rows, columns=["record_id", "content_hash", "place", "action", "campaign_id", "risk"])


def walk(guard: Guard) -> dict:
    """Every scheduled step in order, as the DAG calls them."""
    told = guard.stage_collect()
    if told.run_id is None:
        return {}
    guard.stage_validate(told.run_id)
    for partition in told.partitions:
        guard.stage_score(told.run_id, partition)
    guard.stage_decide(told.run_id)
    return dict(guard.stage_commit(told.run_id).counts)


def twin(guard: Guard, folder) -> Guard:
    other = Guard.open(guard.contract.path, home=folder)
    other.trust(answers(900, 99, prefix="t"), by="reviewer-1", reason="labelled in the audit")
    return other


def test_direct_and_scheduled_runs_store_the_same(trusted_guard, tmp_path):
    frame = answers(400, 1)
    other = twin(trusted_guard, tmp_path / "other")
    put(trusted_guard.home, frame, "a.csv")
    put(other.home, frame, "a.csv")
    result = trusted_guard.ingest()
    counts = walk(other)
    assert counts["received"] == result.counts["received"] == 400
    pd.testing.assert_frame_equal(stored(trusted_guard), stored(other))


def test_running_twice_equals_running_once(trusted_guard):
    put(trusted_guard.home, answers(300, 2), "a.csv")
    assert trusted_guard.ingest().counts["received"] == 300
    once = stored(trusted_guard)
    again = trusted_guard.ingest()
    assert again.counts["received"] == 0
    assert "nothing new" in again.notes[0]
    assert walk(trusted_guard) == {}
    pd.testing.assert_frame_equal(stored(trusted_guard), once)


def test_a_frame_given_twice_gives_what_it_gave_before(trusted_guard):
    frame = answers(300, 3)
    first = trusted_guard.ingest(frame)
    second = trusted_guard.ingest(frame.sample(frac=1, random_state=0))
    assert second.counts["received"] == 0 or second.run_id == first.run_id
    assert len(stored(trusted_guard)) == 300


@pytest.mark.parametrize("dies_in", ["score", "store"])
def test_a_run_killed_between_steps_is_finished_by_the_next_one(trusted_guard, tmp_path, dies_in):
    frame = answers(320, 4)
    whole = twin(trusted_guard, tmp_path / "whole")
    put(whole.home, frame, "a.csv")
    put(trusted_guard.home, frame, "a.csv")
    walk(whole)
    told = trusted_guard.stage_collect()
    order = {"validate": 0, "score": 1, "decide": 2, "store": 3}[dies_in]
    if order > 0:
        trusted_guard.stage_validate(told.run_id)
    if order > 1:
        trusted_guard.stage_score(told.run_id, 0)
        trusted_guard.stage_score(told.run_id, 1)
        trusted_guard.stage_score(told.run_id, 2)
    if order > 2:
        trusted_guard.stage_decide(told.run_id)
    walk(trusted_guard)
    pd.testing.assert_frame_equal(stored(trusted_guard), stored(whole))


def test_clearing_a_finished_run_changes_nothing(trusted_guard):
    put(trusted_guard.home, answers(200, 5), "a.csv")
    run_id = trusted_guard.stage_collect().run_id
    trusted_guard.stage_validate(run_id)
    for partition in (0, 1):
        trusted_guard.stage_score(run_id, partition)
    trusted_guard.stage_decide(run_id)
    counts = trusted_guard.stage_commit(run_id).counts
    before = stored(trusted_guard)
    assert not trusted_guard.stage_validate(run_id).done
    assert not trusted_guard.stage_score(run_id, 0).done
    assert not trusted_guard.stage_decide(run_id).done
    assert trusted_guard.stage_commit(run_id).counts == counts
    pd.testing.assert_frame_equal(stored(trusted_guard), before)


@pytest.mark.thorough
def test_a_run_that_another_one_overtook_is_validated_again(trusted_guard, tmp_path):
    """The run that came first brought a column more: the batch without it has drifted, whoever finishes it."""
    wide = answers(100, 7).assign(extra="x")
    direct = twin(trusted_guard, tmp_path / "direct")
    for guard in (trusted_guard, direct):
        guard.ingest(answers(100, 5))
        put(guard.home, answers(200, 6), "a.csv")
    run_id = trusted_guard.stage_collect().run_id
    trusted_guard.stage_validate(run_id)
    for partition in (0, 1):
        trusted_guard.stage_score(run_id, partition)
    trusted_guard.stage_decide(run_id)
    trusted_guard.ingest(wide)
    counts = trusted_guard.stage_commit(run_id).counts
    direct.ingest(wide)
    result = direct.ingest()
    assert counts["accepted"] == 0
    assert counts["staged"] == result.counts["staged"] > 190
    pd.testing.assert_frame_equal(stored(trusted_guard), stored(direct))


def test_a_run_that_another_one_overtook_is_scored_again(trusted_guard):
    put(trusted_guard.home, answers(200, 6), "a.csv")
    run_id = trusted_guard.stage_collect().run_id
    trusted_guard.stage_validate(run_id)
    for partition in (0, 1):
        trusted_guard.stage_score(run_id, partition)
    trusted_guard.stage_decide(run_id)
    trusted_guard.ingest(answers(100, 7))  # overtakes
    counts = trusted_guard.stage_commit(run_id).counts
    assert counts["received"] == 200
    assert len(stored(trusted_guard)) == 300


def test_a_clock_that_goes_back_loses_nothing_stores_nothing_twice_and_breaks_no_audit(trusted_guard):
    clocks = ["2026-12-01", "2026-09-01", "1990-01-01", "2026-12-01"]
    for k, day in enumerate(clocks):
        put(trusted_guard.home, answers(100, 60 + k), f"{k}.csv")
        with open_feed(trusted_guard.contract, trusted_guard.settings, writes=True) as feed:
            told = run_steps.ingest(feed, None, pd.Timestamp(day, tz="UTC").to_pydatetime())
        assert told.counts["received"] == 100
        assert sum(told.counts[place] for place in ("staged", "accepted", "quarantined", "rejected")) == 100
    with open_feed(trusted_guard.contract, trusted_guard.settings) as feed:
        again = run_steps.ingest(feed, None, pd.Timestamp("1980-01-01", tz="UTC").to_pydatetime())
    assert again.run_id is None
    assert len(stored(trusted_guard)) == 400
    assert Home.open(trusted_guard.home).audit().ok


def test_scan_stores_nothing_and_makes_no_home(guard, tmp_path):
    result = guard.scan(answers(120, 8))
    assert len(result.decisions) == 120
    assert list(result.decisions.columns) == [
        *("record_id", "action", "risk", "campaign_id", "reasons"),
        *("object", "row", "why"),
    ]
    assert not (tmp_path / "home").exists()


def test_a_cold_feed_stages_its_records_and_decides_them_once_there_is_a_trusted_set(guard):
    put(guard.home, answers(300, 9), "a.csv")
    cold = guard.ingest()
    assert cold.counts["staged"] > 250
    assert any("too few trusted records" in note for note in cold.notes)
    assert guard.ingest().counts["received"] == 0 or set(stored(guard)["place"]) <= {"staged", "quarantined"}
    guard.trust(answers(900, 99, prefix="t"), by="reviewer-1", reason="labelled in the audit")
    guard.ingest()
    places = stored(guard)["place"].value_counts()
    assert places.get("staged", 0) == 0
    assert places["accepted"] > 250
    assert places.sum() == 300


def test_the_counts_add_up_with_unreadable_rows_and_repeats(trusted_guard):
    file = put(trusted_guard.home, answers(100, 10), "a.csv")
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, "too,few,cells", lines[1]]) + "\n")
    counts = trusted_guard.ingest().counts
    parts = sum(counts[p] for p in ("staged", "accepted", "quarantined", "rejected", "seen_before"))
    assert counts["received"] == parts == 102
    assert counts["unreadable"] == 1
    assert counts["seen_before"] == 1


def test_a_trusted_set_must_be_clean_and_signed_for(guard):
    bad = answers(50, 11).astype({"dwell": object})
    bad.loc[7, "dwell"] = "fast"
    with pytest.raises(DataError, match="a trusted set is clean"):
        guard.trust(bad, by="reviewer-1", reason="x")
    with pytest.raises(UsageError):
        guard.trust(answers(50, 11), by="", reason="x")


def test_records_seen_in_the_feed_cannot_be_trusted_past_the_review(trusted_guard):
    frame = answers(60, 12)
    trusted_guard.ingest(frame)
    with pytest.raises(UsageError, match="review"):
        trusted_guard.trust(frame, by="mallory", reason="looks fine to me")


def test_a_drifted_payload_is_held_whole_and_says_what_changed(trusted_guard):
    trusted_guard.ingest(answers(200, 13))
    drifted = answers(200, 14).assign(dwell=lambda f: "t" + f["dwell"].astype(str))
    result = trusted_guard.ingest(drifted)
    assert result.counts["accepted"] == 0
    assert any("columns changed" in note for note in result.notes)


def test_a_cold_feed_warms_up_through_the_review(guard):
    from poison_guard.steps.look import bootstrap
    from poison_guard.steps.review import release, trust_released

    guard.ingest(answers(900, 20))
    with open_feed(guard.contract.path, guard.home) as feed:
        drawn = bootstrap(feed, 450).entries
        ids = drawn["record_id"].tolist()
        per_source = drawn["source_id"].value_counts()
        assert per_source.max() - per_source.min() <= 3, "every source is asked about alike"
        with pytest.raises(UsageError, match="release it"):
            trust_released(feed, ids, by="reviewer-1", reason="vetted one by one")
        release(feed, record_ids=ids, by="reviewer-1", reason="vetted one by one")
        added = trust_released(feed, ids, by="reviewer-1", reason="vetted one by one")
    assert added.added == 450
    assert added.calibration >= 99
    guard.ingest()
    assert (stored(guard)["place"] == "staged").sum() == 0


def test_a_query_feed_takes_in_what_lies_above_its_watermark(tmp_path, monkeypatch):
    warehouse = sa.create_engine(f"sqlite:///{tmp_path / 'warehouse.db'}")
    frame = answers(200, 21).assign(n=range(200))
    frame.iloc[:120].to_sql("answers", warehouse, index=False)
    text = CONTRACT.replace('path = "inbox/quiz/*.csv"', 'query = "select * from answers"\nwatermark = "n"')
    (tmp_path / "quiz.toml").write_text(text)
    monkeypatch.setenv("POISON_GUARD_SOURCE_URL", f"sqlite:///{tmp_path / 'warehouse.db'}")
    guard = Guard.open(tmp_path / "quiz.toml", home=tmp_path / "home")
    guard.trust(answers(900, 99, prefix="t").assign(n=0), by="reviewer-1", reason="labelled in the audit")
    assert guard.ingest().counts["received"] == 120
    assert guard.ingest().counts["received"] == 0
    frame.iloc[120:].to_sql("answers", warehouse, index=False, if_exists="append")
    assert guard.ingest().counts["received"] == 80
    assert len(stored(guard)) == 200


def test_a_feature_that_no_trusted_record_has_stages_the_batch_and_says_so(trusted_guard, contract):
    contract.write_text(CONTRACT.replace('["dwell", "speed"]', '["dwell", "speed", "pressure"]'))
    guard = Guard.open(contract, home=trusted_guard.home)
    result = guard.ingest(answers(100, 22).assign(pressure=1.5))
    assert result.counts["accepted"] == 0
    assert any("no trusted record has pressure" in note for note in result.notes)


def ledger(guard: Guard) -> pd.DataFrame:
    with open_feed(guard.contract.path, guard.home) as feed:
        return load_sources(feed.store, feed.contract).set_index("source_id").sort_index()


def test_what_is_delivered_again_counts_no_second_time(trusted_guard):
    frame = answers(300, 23)
    trusted_guard.ingest(frame)
    once = ledger(trusted_guard)
    more = trusted_guard.ingest(pd.concat([frame, answers(1, 24)]))
    assert more.counts["seen_before"] == 300
    twice = ledger(trusted_guard)
    changed = twice[["agreed", "disagreed"]].sub(once[["agreed", "disagreed"]], fill_value=0).abs().sum().sum()
    assert changed <= 1


def test_staged_votes_count_once_they_are_decided_and_not_before(guard):
    guard.ingest(answers(400, 25))
    assert ledger(guard)[["agreed", "disagreed"]].sum().sum() == 0
    guard.trust(answers(900, 99, prefix="t"), by="reviewer-1", reason="labelled in the audit")
    guard.ingest()
    assert ledger(guard)["agreed"].sum() > 100


def test_stored_counts_include_what_the_batch_repeated(trusted_guard):
    frame = answers(80, 26)
    told = trusted_guard.ingest(pd.concat([frame, frame.iloc[:5]]))
    with open_feed(trusted_guard.contract.path, trusted_guard.home) as feed:
        kept = load_run(feed.store, told.run_id).counts
    assert kept["received"] == told.counts["received"] == 85
    assert kept["seen_before"] == told.counts["seen_before"] == 5


def test_a_trusted_id_that_comes_with_other_content_is_held_and_with_the_same_it_is_not(trusted_guard):
    vetted = answers(900, 99, prefix="t").head(2)
    forged = vetted.assign(said=["a-other", vetted["said"].iloc[1]])
    frame = pd.concat([answers(100, 5), forged], ignore_index=True)
    put(trusted_guard.home, frame, "a.csv")
    made = trusted_guard.ingest().decisions.set_index("record_id")
    (name,) = [name for name in made.index if name.startswith(f"{vetted['id'].iloc[0]}~")]
    assert vetted["id"].iloc[0] not in made.index
    assert made.loc[name, "action"] == "quarantine"
    assert "id_conflict" in made.loc[name, "reasons"]
    assert "id_conflict" not in made.loc[vetted["id"].iloc[1], "reasons"]


def test_an_id_with_other_content_is_held_as_a_conflict_by_scan_and_ingest_alike(trusted_guard):
    frame = answers(100, 27)
    trusted_guard.ingest(frame)
    changed = frame.assign(said=["a9", *frame["said"].iloc[1:]])
    scanned, taken_in = trusted_guard.scan(changed), trusted_guard.ingest(changed)
    names = []
    for result in (scanned, taken_in):
        mine = result.decisions["record_id"].str.startswith(f"{frame['id'].iloc[0]}~")
        (held,) = result.decisions[mine].to_dict("records")
        assert held["action"] == "quarantine"
        assert "id_conflict" in held["reasons"]
        names.append(held["record_id"])
    assert names[0] == names[1]
    assert stored(trusted_guard).set_index("record_id").loc[frame["id"].iloc[0], "place"] == "accepted"


def test_a_batch_held_for_its_schema_waits_for_a_reviewer_and_not_for_the_next_batch(trusted_guard):
    trusted_guard.ingest(answers(200, 13))
    drifted = trusted_guard.ingest(answers(60, 14).assign(dwell=lambda f: "t" + f["dwell"].astype(str)))
    trusted_guard.ingest(answers(80, 15))
    ids = drifted.decisions["record_id"]
    rows = stored(trusted_guard).set_index("record_id")
    assert not rows.loc[ids, "place"].isin(["accepted"]).any()
    assert (rows["place"] == "accepted").sum() > 250


def test_json_rows_may_lack_a_column_that_earlier_ones_had(trusted_guard, contract):
    contract.write_text(CONTRACT.replace("*.csv", "*.jsonl"))
    guard = Guard.open(contract, home=trusted_guard.home)
    folder = put(guard.home, answers(1, 0), "unused.csv").parent
    for k, frame in enumerate((answers(60, 28).assign(comment="fine"), answers(60, 29))):
        frame.to_json(folder / f"{k}.jsonl", orient="records", lines=True)
        assert guard.ingest().counts["accepted"] > 50


def test_a_run_killed_after_it_was_pinned_anew_is_judged_by_what_it_is_pinned_to(trusted_guard, monkeypatch):
    put(trusted_guard.home, answers(200, 6), "a.csv")
    run_id = trusted_guard.stage_collect().run_id
    trusted_guard.stage_validate(run_id)
    for partition in (0, 1):
        trusted_guard.stage_score(run_id, partition)
    trusted_guard.stage_decide(run_id)
    trusted_guard.ingest(answers(100, 7))  # overtakes
    judged = []
    decide = run_steps.decide
    monkeypatch.setattr(run_steps, "decide", lambda *args: judged.append(1) or decide(*args))
    with open_feed(trusted_guard.contract_path, trusted_guard.home) as feed:
        repin(feed.store, load_run(feed.store, run_id))  # and then it was killed
    assert trusted_guard.stage_commit(run_id).counts["received"] == 200
    assert judged


def test_a_scan_of_nothing_says_so(guard):
    result = guard.scan(None)
    assert result.counts["received"] == 0
    assert result.notes == ("nothing to scan: no record is there",)


def test_one_id_given_as_text_is_one_id(trusted_guard):
    result = trusted_guard.ingest(answers(60, 30))
    name = result.decisions.loc[result.decisions["action"] == "accept", "record_id"].iloc[0]
    assert trusted_guard.recall(record_ids=name, by="reviewer-1", reason="wrong").record_ids == (name,)


def test_another_key_than_the_stores_own_is_refused(trusted_guard):
    (trusted_guard.home / "key").write_text("ab" * 32 + "\n")
    with pytest.raises(TamperError, match="restore the key"):
        trusted_guard.ingest(answers(20, 27))


def test_a_batch_that_broke_its_suite_waits_for_a_reviewer_and_is_not_diluted(trusted_guard, contract):
    rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1, "max_value": 150}}
    (contract.parent / "expectations").mkdir()
    suite = {"name": "quiz", "expectations": [rule | {"meta": {}, "severity": "critical"}]}
    (contract.parent / "expectations" / "quiz.json").write_text(json.dumps(suite))
    assert trusted_guard.ingest(answers(160, 28)).counts["staged"] > 140
    trusted_guard.ingest(answers(100, 29))
    assert (stored(trusted_guard)["place"] == "staged").sum() > 140


@pytest.mark.parametrize("source", [5, {"a": 1}, [3]])
def test_what_is_no_source_is_refused_in_a_sentence(guard, source):
    with pytest.raises(UsageError, match="a DataFrame, a path, or a list of paths"):
        guard.scan(source)


def test_a_share_of_the_accepted_is_put_before_a_reviewer(trusted_guard, contract):
    from poison_guard.review.filters import QueueFilter
    from poison_guard.steps.queue import list_queue

    contract.write_text(CONTRACT + "[policy]\naudit_rate = 0.2\n")
    guard = Guard.open(contract, home=trusted_guard.home)
    guard.ingest(answers(300, 30))
    with open_feed(contract, guard.home) as feed:
        drawn = list_queue(feed, QueueFilter(kind="audit")).entries
    places = stored(guard).set_index("record_id")["place"]
    assert 30 <= len(drawn) <= 90
    assert (places[drawn["record_id"]] == "accepted").all()


def test_a_stored_result_reads_back_as_it_was_returned(trusted_guard):
    """Held records, unreadable rows, audits and notes: the same batch given again gives what it gave."""
    folder = put(trusted_guard.home, answers(300, 40), "a.csv").parent
    (folder / "b.csv").write_text(
        (folder / "a.csv").read_text().replace("r40", "r41") + "one,cell,too,many,in,this,row,of,it,all\n"
    )
    (folder / "c.csv").write_bytes(b"\x00\xff\xfe")
    first = trusted_guard.ingest()
    with open_feed(trusted_guard.contract_path, trusted_guard.home) as feed:
        again = run_steps.stored_result(feed.store, first.run_id)
    for name in ("decisions", "items", "sources", "campaigns", "evidence"):
        pd.testing.assert_frame_equal(getattr(first, name), getattr(again, name))
    assert (first.counts, first.notes, first.run_id) == (again.counts, again.notes, again.run_id)
    assert {"quarantine"} == set(first.decisions.loc[first.decisions["risk"] >= 0.5, "action"]) - {"reject"}


def test_what_is_stored_is_what_a_scan_decides(trusted_guard):
    frame = answers(300, 42)
    frame.loc[:9, "said"] = "zzz"
    scanned, stored_ = trusted_guard.scan(frame), trusted_guard.ingest(frame)
    pd.testing.assert_frame_equal(scanned.decisions.sort_values("record_id", ignore_index=True), stored_.decisions)
    pd.testing.assert_frame_equal(scanned.items.sort_values("item_id", ignore_index=True), stored_.items)


def test_a_result_has_the_same_columns_and_dtypes_whichever_way_it_was_made(trusted_guard):
    file = put(trusted_guard.home, answers(300, 5), "a.csv")
    scanned, stored_, nothing = trusted_guard.scan(file), trusted_guard.ingest(), trusted_guard.ingest()
    known = trusted_guard.scan(file)
    assert [len(result.sources) > 0 for result in (scanned, stored_, nothing, known)] == [True, True, False, False]
    for name in ("decisions", "items", "sources", "campaigns", "evidence"):
        shapes = [getattr(result, name).dtypes.to_dict() for result in (scanned, stored_, nothing, known)]
        assert shapes[1:] == shapes[:-1], name

    pd.testing.assert_frame_equal(
        scanned.decisions.sort_values("record_id", ignore_index=True), stored_.decisions, check_dtype=False
    )
    pd.testing.assert_frame_equal(
        scanned.items.sort_values("item_id", ignore_index=True), stored_.items, check_dtype=False
    )


def test_a_contract_edited_between_stages_decides_anew_and_the_run_names_its_policy(trusted_guard, contract):
    put(trusted_guard.home, answers(200, 60), "a.csv")
    run_id = trusted_guard.stage_collect().run_id
    trusted_guard.stage_validate(run_id)
    for partition in (0, 1):
        trusted_guard.stage_score(run_id, partition)
    trusted_guard.stage_decide(run_id)
    contract.write_text('mode = "observe"\n' + CONTRACT + "[policy]\nfalse_quarantine_rate = 0.3\n")
    edited = Guard.open(contract, home=trusted_guard.home)
    edited.stage_commit(run_id)
    with open_feed(contract, edited.home) as feed:
        run = load_run(feed.store, run_id)
        decided = run_steps.stored_result(feed.store, run_id).decisions
    assert run.policy_hash == edited.contract.policy_hash != trusted_guard.contract.policy_hash
    assert (decided["action"] != "accept").sum() > 20  # by the rate of 30 %
    assert set(stored(edited)["place"]) == {"accepted"}  # observing


def test_a_run_of_another_feed_is_not_taken(trusted_guard, tmp_path):
    put(trusted_guard.home, answers(50, 61), "a.csv")
    run_id = trusted_guard.stage_collect().run_id
    other = tmp_path / "other.toml"
    other.write_text(CONTRACT.replace('name = "quiz"', 'name = "other"'))
    guard = Guard.open(other, home=trusted_guard.home)
    for verb, *more in ((guard.stage_validate,), (guard.stage_score, 0), (guard.stage_decide,), (guard.stage_commit,)):
        with pytest.raises(NotFoundError, match="is of the feed quiz, not of other"):
            verb(run_id, *more)
