"""A short version of ``make faults``: a few kills of some verbs, a full disk, some fuzz cases of each input."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.faults import process
from tests.faults.dependencies import judged
from tests.faults.fuzz import TARGETS, fuzz
from tests.faults.short import PLAN


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> list[dict]:
    """What the short harness says; it is a process of its own, for it starts with the shim loaded."""
    folder = tmp_path_factory.mktemp("faults")
    try:
        process.build_shim(folder)
    except RuntimeError as error:
        pytest.skip(str(error))
    command = [sys.executable, "-m", "tests.faults.short", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ}, timeout=600)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_verbs_that_are_killed_and_run_again_end_as_if_they_never_were(told):
    reached = [row["kill"] for row in told if "kill" in row and row["kill"]["reached"]]
    assert len(reached) >= sum(kills for kills, _ in PLAN.values())
    assert [trial for trial in reached if trial["faults"]] == []


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_the_same_command_ends_well_when_there_is_room(told):
    rows = [row["disturbed"] for row in told if "disturbed" in row]
    assert any(row["code"] == 4 for row in rows)
    assert [row for row in rows if row["wrong"]] == []


def test_a_known_vulnerability_fails_and_no_answer_is_a_skip_with_its_reason():
    packages = [{"name": "a", "version": "1", "vulns": [{"id": "X-1", "fix_versions": ["2"]}]}]
    assert judged(json.dumps({"dependencies": packages}), "")[0] == 1
    code, (line,) = judged(json.dumps({"dependencies": [{"name": "a", "skip_reason": "not found"}]}), "")
    assert (code, line.split(":")[0]) == (0, "skipped")
    assert judged("", "ERROR no route")[1] == [
        "skipped: the database of vulnerabilities did not answer: ERROR no route"
    ]


@pytest.mark.parametrize("target", TARGETS)
def test_mutated_input_is_read_or_refused_with_a_sentence(target: str):
    told = fuzz(target, 150)
    assert told.cases == 150
    assert told.findings == []
