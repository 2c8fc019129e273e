"""The queue on the command line: walk, bulk, undo and a file of decisions, on a feed with rows that cannot be read."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest

CONTRACT = """
name = "sessions"
kind = "messages"
[data]
path = "in.jsonl"
[columns]
record_id = "id"
source_id = "user"
item_id = "about"
label = "says"
text = "text"
[policy]
required = ["validation"]
"""
PERSON = ("--by", "ann", "--reason", "looked at it")


@pytest.fixture
def queue(fresh):
    """A feed of 13 records that wait: 12 that were taken back, and a line that is no JSON."""
    home = fresh.folder / "home"
    rows = [
        json.dumps(
            {"id": f"r{k:02d}", "user": f"u{k % 3}", "about": "i1", "says": "yes", "text": f"hello {k} \u202e =1"}
        )
        for k in range(12)
    ]
    (home / "in.jsonl").write_text("\n".join([*rows, "{broken"]) + "\n")
    fresh.feed.write_text(CONTRACT)
    assert fresh("run", "--feed", fresh.feed).exit_code in (0, 3)
    ids = [f"r{k:02d}" for k in range(12)]
    assert fresh("recall", *ids, "--feed", fresh.feed, *PERSON).exit_code == 0

    def say(*words: str, stdin: str | None = None, code: int = 0) -> str:
        from poison_guard.cli import cli

        arguments = ["review", *map(str, words), "--feed", str(fresh.feed), "--home", str(home)]
        done = fresh.runner.invoke(cli, arguments, input=stdin)
        assert done.exit_code == code, done.output
        return done.output

    return say


def test_a_walk_decides_takes_back_and_says_which_key_does_nothing(queue):
    said = queue("next", "--by", "ann", stdin="u\nz\nr\nx\nu\nj\nr\nq\n")
    assert "there is nothing to undo in this walk" in said
    assert "there is no key 'z'" in said
    assert "could not be read, so there is nothing to release" in said
    assert "rejected 1 record" in said
    assert "1 record back as before" in said
    assert "claimed" not in queue("list", "--state", "claimed").replace("claimed by", "")
    assert len(re.findall("released 1 record|rejected 1 record", said)) == 2


def test_a_bulk_decision_has_a_reason_and_a_filter_by_code_and_is_undone_as_one(queue):
    assert "would release 4 records" in queue("bulk", "release", "--source", "u1", *PERSON, "--dry-run")
    done = queue("bulk", "release", "--source", "u1", *PERSON)
    job = re.search(r"job-[0-9a-f]+", done).group()
    assert f"{job}: release done, 4 of 4 decided" in done
    assert "looked at it" in queue("list", "--decided")
    assert "undone, 4 of 4" in queue("jobs", job, "--undo", *PERSON)
    assert "no entry of the queue" in queue("bulk", "reject", "--code", "nonsense", *PERSON, code=2)


def test_a_page_past_the_end_is_said_and_the_last_one_promises_no_more(queue):
    assert "there is no page 9: 13 entries fill 3" in queue("list", "--limit", "5", "--page", "9")
    assert "--page" not in queue("list", "--limit", "5", "--page", "3")


def test_a_file_of_decisions_is_made_once_and_leaves_what_cannot_be(queue, tmp_path):
    file = tmp_path / "view.csv"
    queue("export", "--out", str(file))
    rows = pd.read_csv(file, dtype=str, keep_default_na=False)
    rows["decision"] = "release"
    rows.to_csv(file, index=False)
    assert "12 decided, 0 decided so before" in queue("import", str(file), *PERSON, code=1)
    assert "0 decided, 12 decided so before" in queue("import", str(file), *PERSON, code=1)
