import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from poison_guard import Guard
from poison_guard.cli.root import cli
from poison_guard.errors import UsageError

CONTRACT = """
name = "words"
kind = "answers"
mode = "observe"
[data]
path = "answers.csv"
[columns]
source_id = "who"
item_id = "item"
answer = "answer"
"""


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A feed of answers of which some wait, with items whose names a spreadsheet would run."""
    folder, r = tmp_path_factory.mktemp("ask"), np.random.default_rng(0)
    item = np.repeat(np.arange(80), 3)
    said = np.where(r.random(240) < 0.7, item % 3, r.integers(0, 3, 240))
    names = pd.Series(item).map(lambda i: f"=cmd{i}")
    who = [f"p{k}" for k in (np.arange(240) % 7)]
    pd.DataFrame({"who": who, "item": names, "answer": said}).to_csv(folder / "answers.csv", index=False)
    (folder / "words.toml").write_text(CONTRACT)
    guard = Guard.open(folder / "words.toml", home=folder / "home")
    guard.ingest()
    return folder, guard


def test_tasks_are_written_for_a_labelling_tool_and_nothing_is_stored(asked):
    folder, guard = asked
    before = guard.ask(30).to_dict()
    assert 0 < before["spent"] <= 30
    assert before["waiting"] > 0
    assert all(task["sentence"] for task in before["tasks"])
    out = CliRunner().invoke(
        cli,
        [
            "ask",
            "--feed",
            str(folder / "words.toml"),
            "--home",
            str(folder / "home"),
            "--budget",
            "30",
            "--out",
            str(folder / "t.jsonl"),
        ],
    )
    assert out.exit_code == 0, out.output
    assert "may settle" in out.stderr
    rows = [json.loads(line) for line in (folder / "t.jsonl").read_text().splitlines()]
    assert [row["item_id"] for row in rows] == [task["item_id"] for task in before["tasks"]]
    assert guard.ask(30).to_dict() == before


def test_a_file_of_tasks_is_safe_in_a_spreadsheet(asked):
    folder, guard = asked
    guard.ask(30, folder / "t.csv")
    assert "'=cmd" in (folder / "t.csv").read_text()


def test_bad_budgets_and_endings_are_refused_in_one_sentence(asked):
    folder, guard = asked
    with pytest.raises(UsageError, match="at least 1"):
        guard.ask(0)
    with pytest.raises(UsageError, match=r"must end with \.jsonl, \.json or \.csv"):
        guard.ask(5, folder / "t.xml")
