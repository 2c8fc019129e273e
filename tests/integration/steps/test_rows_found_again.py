"""An export that grows stores each row once, repetition is told, and each decision names the row that it is about."""

from __future__ import annotations

import datetime as dt
import json
import random

import pandas as pd
import pytest

from poison_guard.config import open_settings, parse_contract
from poison_guard.guard import Guard
from poison_guard.review.filters import QueueFilter

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
COLUMNS = {"source_id": "user", "item_id": "item", "answer": "answer"}


def guard_of(tmp_path, **data):
    contract = parse_contract({"name": "votes", "kind": "answers", "columns": COLUMNS, "data": data})
    return Guard(contract, open_settings(tmp_path / "home"))


def votes(n: int, seed: int = 1) -> pd.DataFrame:
    rng = random.Random(seed)
    rows = [(f"u{rng.randrange(40)}", f"w{rng.randrange(50)}", rng.choice(["cat", "dog"])) for _ in range(n)]
    return pd.DataFrame(rows, columns=["user", "item", "answer"])


def write(path, frame):
    frame.to_csv(path, index=False)
    return str(path)


def test_a_cumulative_export_under_new_names_stores_each_row_once(tmp_path):
    guard, rows = guard_of(tmp_path), votes(300)
    first = guard.ingest(write(tmp_path / "a.csv", rows[:150]))
    grown = guard.ingest(write(tmp_path / "b.csv", rows))
    moved = guard.ingest(write(tmp_path / "c.csv", rows[100:]))
    assert [r.counts["seen_before"] for r in (first, grown, moved)] == [0, 150, 200]
    assert sum(r.counts["received"] - r.counts["seen_before"] for r in (first, grown, moved)) == 300
    assert any("b.csv continues" in note and "150 rows" in note for note in grown.notes)
    again = guard.scan(str(tmp_path / "c.csv"))
    assert set(again.decisions["record_id"]) <= {i for r in (first, grown) for i in r.decisions["record_id"]}


def test_other_repetition_is_told_with_the_key(tmp_path):
    guard, rows = guard_of(tmp_path), votes(200)
    guard.ingest(write(tmp_path / "a.csv", rows))
    told = guard.ingest(write(tmp_path / "b.csv", rows.sample(60, random_state=1)))
    assert told.counts["seen_before"] == 0
    assert any(
        "60 rows of 60 have the content of another record" in n and 'identity = "content"' in n for n in told.notes
    )
    one = guard_of(tmp_path / "content", identity="content")
    one.ingest(str(tmp_path / "a.csv"))
    told = one.ingest(str(tmp_path / "b.csv"))
    assert told.counts["seen_before"] == 60
    assert not any("content of another" in note for note in told.notes)


def test_one_file_by_two_paths_is_one_object(tmp_path):
    guard, rows, file = guard_of(tmp_path), votes(90), tmp_path / "x.csv"
    (tmp_path / "feeds").mkdir()
    guard.ingest(write(tmp_path / "feeds" / ".." / "x.csv", rows[:50]))
    write(file, rows)
    (tmp_path / "link.csv").symlink_to(file)
    assert guard.ingest(str(tmp_path / "link.csv")).counts["seen_before"] == 50


@pytest.mark.parametrize("way", ["scan", "ingest", "stored"])
def test_decisions_name_object_row_and_sentences_in_the_order_of_the_input(tmp_path, way):
    guard, rows = guard_of(tmp_path), votes(80)
    rows.loc[7, "user"] = None
    file = tmp_path / "a.csv"
    file.write_text(rows.to_csv(index=False) + "only,two\n")
    if way == "scan":
        result = guard.scan(str(file))
    else:
        result = guard.ingest(str(file))
        result = guard.ingest(str(file)) if way == "stored" else result
        if way == "stored":
            from poison_guard.steps.opening import open_feed
            from poison_guard.steps.results import stored_result
            from poison_guard.store import list_runs

            with open_feed(guard.contract, guard.settings) as feed:
                result = stored_result(feed.store, list_runs(feed.store)[0].run_id)
    decisions = result.decisions
    assert decisions["row"].tolist() == list(range(2, 83))
    assert set(decisions["object"]) == {str(file)}
    held = decisions[decisions["row"] == 9].iloc[0]
    assert held["reasons"] == ["missing_id"] or "user" in held["why"]
    assert "user is empty" in held["why"]
    assert "has 2 fields where the header has 3" in decisions.iloc[-1]["why"]
    evidence = result.evidence
    assert evidence["row"].is_monotonic_increasing
    assert set(evidence.loc[evidence["row"] == 9, "why"]) >= {"user is empty"}


def test_a_trusted_set_that_cannot_be_read_says_why(tmp_path):
    guard = guard_of(tmp_path, max_columns=3)
    wide = write(tmp_path / "wide.csv", votes(20).assign(a=1, b=2))
    from poison_guard.errors import DataError

    with pytest.raises(DataError, match=r"wide.csv: .*5 columns, more than max_columns = 3"):
        guard.trust(wide, by="reviewer", reason="vetted")


@pytest.mark.parametrize("twins", [False, True])
def test_a_file_without_a_header_is_proposed_as_one_and_loses_no_row(tmp_path, twins):
    from poison_guard.guard import propose

    rows = votes(120).assign(ms=range(100, 220), at="2026-02-01T10:00:00Z")
    rows = rows.assign(more=rows["ms"]) if twins else rows  # its first row cannot be a header: a name is there twice
    file = tmp_path / "bare.csv"
    rows.to_csv(file, index=False, header=False)
    proposal = propose(str(file), home=tmp_path / "home", out=tmp_path)
    assert "header = false  # the first row is a record: " in proposal.toml
    guard = Guard.open(proposal.contract, tmp_path / "home")
    assert guard.scan().decisions["row"].tolist() == list(range(1, 121))


def test_a_line_that_cannot_be_read_is_one_entry_wherever_it_comes_again_and_none_once_it_is_mended(tmp_path):
    guard, file, lost = guard_of(tmp_path), tmp_path / "a.csv", QueueFilter(reason="unreadable_row")
    head, *rows = [line.encode() for line in votes(60).to_csv(index=False).splitlines(keepends=True)]
    broken, waits = "u1,w1,caf\xe9\n".encode("latin-1"), []
    grown = (("a.csv", [*rows[:30], broken]), ("a.csv", [broken, *rows[:40], broken]), ("b.csv", [*rows, broken]))
    for name, lines in grown:
        (tmp_path / name).write_bytes(b"".join([head, *lines]))
        guard.ingest(str(tmp_path / name))
        waits.append(guard.queue(lost).total)
    assert waits == [1, 2, 2], "a line that moved or came under another name is known; the same line twice is two"
    guard.ingest(write(file, votes(50, seed=9)))
    assert guard.queue(lost).total == 2, "other rows under the same name are no mended file"
    file.write_bytes(b"".join([head, "u1,w1,café\n".encode(), *rows[:40]]))
    mended = guard.ingest(str(file))
    assert (guard.queue(lost).total, mended.counts["unreadable"]) == (0, 0)
    assert guard.queue(lost).expired == 2, "they stay counted"


def test_a_score_is_judged_with_the_trace_that_comes_later(tmp_path):
    traces, scores = tmp_path / "traces.jsonl", tmp_path / "scores.jsonl"
    columns = {"record_id": "id", "source_id": "trace.user", "prompt": "trace.input", "label": "value"}
    join = {"path": str(traces), "key": "trace_id", "to": "id", "name": "trace"}
    table = {
        "name": "x",
        "kind": "preferences",
        "mode": "observe",
        "columns": columns,
        "data": {"revisions": True, "join": join},
    }
    guard = Guard(parse_contract(table), open_settings(tmp_path / "home"))
    known = [{"id": f"t{i}", "user": f"u{i % 9}", "input": f"What is {i}?"} for i in range(30)]
    scores.write_text(
        "".join(json.dumps({"id": f"s{i}", "trace_id": f"t{i}", "value": "up"}) + "\n" for i in range(30))
    )
    counts, lost = [], QueueFilter(reason="missing_id")
    for n in (20, 25, 25, 30):
        traces.write_text("".join(json.dumps(trace) + "\n" for trace in known[:n]))
        result = guard.ingest(str(scores))
        counts.append((result.counts["received"], result.counts["seen_before"], result.counts.get("revised", 0)))
    assert counts == [(30, 0, 0), (30, 25, 5), (0, 0, 0), (30, 25, 5)]
    guard.export(tmp_path / "out.parquet", decisions=True)
    assert pd.read_parquet(tmp_path / "out.parquet")["source_id"].notna().all()
    assert guard.queue(lost).total == 0
    assert guard.ingest(str(scores)).counts["received"] == 0, "what found all its partners is read no more"
