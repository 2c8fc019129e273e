"""One feed from its trusted set to recall and report, by the commands a person types; the tests build on each other."""

from __future__ import annotations

import json
import sqlite3

import pandas as pd
import pytest

WHO = ("--by", "ann", "--reason", "looked at it")


@pytest.fixture(scope="module")
def trusted(hand):
    result = hand("trust", hand.folder / "vetted.csv", "--feed", hand.feed, *WHO)
    assert result.exit_code == 0, result.stderr
    assert "entered 900 records" in result.stdout
    return hand


@pytest.fixture(scope="module")
def ran(trusted):
    result = trusted("run", "--feed", trusted.feed)
    assert result.exit_code == 0, result.stderr
    assert "poison-guard review list" in result.stderr
    return trusted


@pytest.fixture(scope="module")
def held(ran) -> list[str]:
    return [e["record_id"] for e in ran.json("review", "list", "--feed", ran.feed)["entries"]]


def test_a_dry_trust_enters_nothing(hand):
    told = hand.json("trust", hand.folder / "vetted.csv", "--feed", hand.feed, *WHO, "--dry-run")
    assert (told["records"], told["flawed"], told["dry_run"]) == (900, 0, True)
    assert not (hand.folder / "home" / "store.db").exists()


def test_scan_finds_the_forged_sessions_and_stores_nothing(trusted):
    out = trusted.folder / "decisions.csv"
    result = trusted("scan", "--feed", trusted.feed, "--out", out)
    assert result.exit_code == 1
    assert "Why records are held" in result.stdout
    assert "pointer_speed" in result.stdout
    assert "wrote 412 decisions" in result.stderr
    decisions = pd.read_csv(out)
    named = ["record_id", "action", "risk", "campaign_id", "reasons", "object", "row", "why"]
    assert list(decisions.columns) == named
    assert decisions["row"].is_monotonic_increasing
    forged = decisions[decisions["record_id"] >= "day1-0400"]
    assert (forged["action"] == "quarantine").all()
    assert trusted.json("status")["runs"] == []


def test_a_clean_file_scans_to_exit_code_zero(trusted):
    clean = pd.read_csv(trusted.folder / "vetted.csv").head(30).assign(dwell_ms=650.0, pointer_speed=1.1)
    clean["session_id"] = [f"clean-{k}" for k in range(30)]
    clean["dwell_ms"] += pd.Series(range(30))
    clean.to_csv(trusted.folder / "clean.csv", index=False)
    document = trusted("scan", trusted.folder / "clean.csv", "--feed", trusted.feed, "--json")
    assert document.exit_code == 0, document.stdout
    assert json.loads(document.stdout)["schema_version"] == 1


def test_running_again_takes_nothing_in_twice(ran):
    again = ran.json("run", "--feed", ran.feed)
    assert again["counts"]["received"] == 0
    places = ran.json("status")["feeds"][0]["places"]
    assert sum(places.values()) == 412


def test_status_tells_phase_places_and_queue(ran, held):
    feed = ran.json("status", "--feed", ran.feed)["feeds"][0]
    assert feed["phase"] == "enforcing"
    assert feed["places"]["quarantined"] == len(held) == feed["open"]
    assert feed["vetted_records_missing"] == 0
    text = ran("status").stdout
    assert "sessions" in text
    assert "committed" in text


def test_explain_tells_payload_evidence_and_history(ran):
    result = ran("explain", "day1-0405")
    assert result.exit_code == 0
    for word in ("Payload", "feature.pointer_speed", "Evidence", "History", "run.committed"):
        assert word in result.stdout
    facts = ran.json("explain", "day1-0405", "--feed", "sessions")
    assert facts["evidence"][0]["sentence"].startswith("pointer_speed")


def test_release_undo_reject_and_recall_move_records_and_say_so(ran):
    assert (
        "would have released 1 record" in ran("review", "release", "day1-0400", *feed_of(ran), *WHO, "--dry-run").stdout
    )
    event = ran.json("review", "release", "day1-0400", *feed_of(ran), *WHO)["event"]
    assert ran.json("explain", "day1-0400")["record"]["place"] == "accepted"
    assert ran("review", "undo", str(event), *feed_of(ran), *WHO).exit_code == 0
    assert ran.json("explain", "day1-0400")["record"]["place"] == "quarantined"
    assert ran("review", "reject", "day1-0400", *feed_of(ran), *WHO).exit_code == 0
    assert ran("recall", "day1-0001", *feed_of(ran), *WHO).exit_code == 0
    assert ran.json("explain", "day1-0001")["record"]["place"] == "recalled"
    verbs = [e["verb"] for e in ran.json("review", "list", *feed_of(ran), "--decided")["entries"]]
    assert verbs[:4] == ["recall", "reject", "undo", "release"]


def test_a_decision_needs_exactly_one_way_to_choose(ran):
    result = ran("review", "release", "day1-0401", "--campaign", "c-1", *feed_of(ran), *WHO)
    assert result.exit_code == 2
    assert "exactly one" in result.stderr


def test_a_source_is_blocked_and_let_go(ran):
    assert ran("sources", *feed_of(ran), "--block", "u-001", *WHO).exit_code == 0
    assert [s["source_id"] for s in ran.json("sources", *feed_of(ran), "--blocked")["sources"]] == ["u-001"]
    assert ran("sources", *feed_of(ran), "--block", "u-001", *WHO).exit_code == 0, "as if the first had been killed"
    assert ran("sources", *feed_of(ran), "--block", "u-001", "--by", "bob", "--reason", "me too").exit_code == 2
    assert ran("sources", *feed_of(ran), "--unblock", "u-001", *WHO).exit_code == 0


def test_export_writes_what_may_be_learned_from(ran):
    out = ran.folder / "accepted.jsonl"
    accepted = ran.json("status")["feeds"][0]["places"]["accepted"]
    assert ran.json("export", *feed_of(ran), "--out", out)["records"] == accepted
    assert len(out.read_text().splitlines()) == accepted
    decisions = ran.folder / "held.parquet"
    ran.json("export", *feed_of(ran), "--place", "quarantined", "--decisions", "--out", decisions)
    assert set(pd.read_parquet(decisions)["action"]) == {"quarantine"}


def test_the_report_of_the_last_run_is_one_page(ran):
    out = ran.folder / "report.html"
    assert ran("report", "--out", out).exit_code == 0
    page = out.read_text()
    assert "412 records came in" in page
    assert "pointer_speed" in page
    assert "<script" not in page
    assert ran("report", "--run", "nope").exit_code == 2


def test_the_audit_chain_is_verified_and_tampering_is_found(ran):
    assert ran("audit", "verify").exit_code == 0
    copy = ran.folder / "tampered"
    copy.mkdir()
    for name in ("store.db", "key"):
        (copy / name).write_bytes((ran.folder / "home" / name).read_bytes())
    (copy / "key").chmod(0o600)
    with sqlite3.connect(copy / "store.db") as database:
        database.execute("UPDATE events SET actor = 'eve' WHERE actor = 'ann'")
    database.close()
    result = ran("audit", "verify", home="tampered")
    assert result.exit_code == 1
    assert "broken" in result.stdout


def feed_of(hand) -> tuple[str, str]:
    return ("--feed", str(hand.feed))
