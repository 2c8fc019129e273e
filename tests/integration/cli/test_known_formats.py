"""Files of known formats from `init` to the export, as a person types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.conftest import Hand


def hand_with(folder: Path, **files: list[dict[str, Any]]) -> Hand:
    for name, rows in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Hand(folder)


def talk(i: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"What is {i} + {i}?"}, {"role": "assistant", "content": f"It is {2 * i}."}]


def whole_way(
    hand: Hand, name: str, *options: str | Path
) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """Return what `init`, `run` and `export` say of a file."""
    made = hand.json("init", hand.folder / f"{name}.jsonl", "--out", hand.folder, *options)
    ran = hand.json("run", "--feed", made["contract"])
    sealed = hand("seal", "--feed", made["contract"])
    assert sealed.exit_code == 0, sealed.stderr
    out = hand.folder / "out.jsonl"
    exported = hand("export", "--feed", made["contract"], "--out", out)
    assert exported.exit_code == 0, exported.stderr
    return made, ran, [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def test_thumbs_on_replies_that_nobody_else_rated_are_labelled_examples_and_seal(tmp_path: Path) -> None:
    thumbs = [
        {
            "message_id": f"m{i}",
            "user_id": f"u{i % 30}",
            "prompt": talk(i)[0]["content"],
            "completion": talk(i)[1]["content"],
            "thumb": "up" if i % 3 else "down",
            "created_at": f"2026-11-01T00:{i % 60:02d}:00Z",
        }
        for i in range(60)
    ]

    made, ran, _ = whole_way(hand_with(tmp_path, thumbs=thumbs), "thumbs")

    assert made["format"].startswith("thumbs (")
    assert ran["counts"]["accepted"] == 60


def test_annotations_inside_tasks_become_answers_of_people_about_items(tmp_path: Path) -> None:
    tasks = [
        {"id": i, "meta": {}, "data": {"text": talk(i)[1]["content"]}, "annotations": [
            {"id": 100 * i + k, "completed_by": k, "created_at": "2026-10-02T10:02:00Z", "lead_time": 3.0 + k,
             "result": [{"type": "choices", "value": {"choices": ["even" if i % 2 == 0 else "odd"]}}]}
            for k in range(5)]}
        for i in range(25)
    ]  # fmt: skip

    made, ran, rows = whole_way(hand_with(tmp_path, tasks=tasks), "tasks")

    assert made["format"].startswith("label-studio (")
    assert (ran["counts"]["received"], ran["counts"]["adopted_items"]) == (125, 25)
    assert rows == tasks


def test_scores_are_judged_with_the_prompts_and_replies_of_their_observations(tmp_path: Path) -> None:
    scores = [
        {"id": f"s{i}", "timestamp": "2026-11-01T00:00:00Z", "name": "helpful", "value": float(i % 2), "source": "API",
         "data_type": "BOOLEAN", "string_value": str(i % 2 == 1), "observation_id": f"o{i}", "author_user_id": None}
        for i in range(30)
    ]  # fmt: skip
    observations = [
        {"id": f"o{i}", "user_id": f"u{i % 20}", "input": json.dumps(talk(i)[:1]), "output": json.dumps(talk(i)[1])}
        for i in range(29)
    ]
    hand = hand_with(tmp_path, scores=scores, observations=observations)

    made, ran, _ = whole_way(hand, "scores", "--join", tmp_path / "observations.jsonl")

    assert made["format"].startswith("langfuse-scores (")
    assert ran["counts"]["received"] == 30
    assert any("1 of its rows have no partner" in note and "'o29'" in note for note in ran["notes"])


def test_a_format_that_the_file_is_not_a_contract_that_names_none_and_the_list(tmp_path: Path) -> None:
    hand = hand_with(tmp_path, pairs=[{"prompt": "a", "chosen": "b", "rejected": "c"}] * 3)

    other = hand("init", tmp_path / "pairs.jsonl", "--format", "alpaca", "--out", tmp_path)
    assert other.exit_code == 2
    assert (
        "is not alpaca (Alpaca instructions (LLaMA-Factory)): it has a column chosen; it looks like trl-preference"
        in (other.stderr)
    )

    made = hand.json("init", tmp_path / "pairs.jsonl", "--out", tmp_path)
    contract = Path(made["contract"])
    contract.write_text(contract.read_text().replace('"trl-preference"', '"trl-preferences"'))
    unknown = hand("scan", "--feed", contract)
    assert unknown.exit_code == 2
    assert "there is no known format 'trl-preferences'; did you mean trl-preference" in unknown.stderr

    listed = {entry["name"] for entry in hand.json("formats")["formats"]}
    assert {"hh-rlhf", "label-studio", "langfuse-scores", "open-webui"} <= listed


@pytest.mark.parametrize("options", [("--join", "x.jsonl")])
def test_a_join_for_a_file_of_no_known_format_says_where_to_write_it(tmp_path: Path, options: tuple[str, ...]) -> None:
    hand = hand_with(tmp_path, rows=[{"who": "u1", "speed_ms": 3.5}, {"who": "u2", "speed_ms": 4.5}])

    refused = hand("init", tmp_path / "rows.jsonl", "--out", tmp_path, *options)

    assert refused.exit_code == 2
    assert "of no known format, which --join needs; write [data.join] by hand" in refused.stderr
