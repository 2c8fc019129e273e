"""A short version of ``make faults``: a few kills of some verbs, a full disk, some fuzz cases of each input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import process
from tests.faults.dependencies import judged
from tests.faults.fuzz import TARGETS, fuzz

KNOWN: dict[str, set[str]] = {}
"""Holes that are known and not mended yet, by verb; what is mended is taken out here."""


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    try:
        process.build_shim(folder)
    except RuntimeError as error:
        pytest.skip(str(error))
    return folder


def run_module(work: Path, module: str, *arguments: str, results: str) -> list[dict]:
    """Run a module of the harness in a process of its own, for it starts with the shim loaded."""
    command = [sys.executable, "-m", f"tests.faults.{module}", "--work", str(work), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ}, timeout=600)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (work / results).read_text().splitlines()]


@pytest.mark.slow
def test_verbs_that_are_killed_and_run_again_end_as_if_they_never_were(work: Path):
    verbs = ("run, later", "trust", "seal", "gate check, first", "gate approve, two of two", "recall")
    arguments = ("--only", ";".join(verbs), "--limit", "4", "--backends", "sqlite")
    trials = run_module(work, "kills", *arguments, results="kills.jsonl")
    reached = [trial for trial in trials if trial.get("reached")]
    assert len(reached) >= 4 * len(verbs)
    wrong = [trial for trial in reached if set(trial["faults"]) - KNOWN.get(trial["scenario"], set())]
    assert wrong == []


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_the_same_command_ends_well_when_there_is_room(work: Path):
    arguments = ("--only", "run, later", "--fault", "disk full", "--n", "3")
    told = run_module(work, "disturb", *arguments, results="disturbed.jsonl")
    assert any(row["code"] == 4 for row in told)
    assert [row for row in told if row["wrong"]] == []


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
