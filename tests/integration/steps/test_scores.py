"""Scores of items by accepted ratings."""

import numpy as np
import pandas as pd
import pytest

from poison_guard import Guard
from poison_guard.errors import UsageError

FEED = """name = "stars"
kind = "ratings"
mode = "observe"
[data]
path = "stars.csv"
[columns]
source_id = "user"
item_id = "film"
rating = "stars"
"""


@pytest.fixture
def guard(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        (f"u{u}", f"f{i}", int(np.clip(np.rint(5 - i / 5 + rng.normal(0, 0.5)), 1, 5)))
        for u in range(40)
        for i in rng.choice(20, 10, replace=False)
    ]
    rows += [(f"bot{k}", "f19", 5) for k in range(60)]
    pd.DataFrame(rows, columns=["user", "film", "stars"]).to_csv(tmp_path / "stars.csv", index=False)
    (tmp_path / "stars.toml").write_text(FEED)
    return Guard.open(tmp_path / "stars.toml", home=tmp_path / "home")


def test_a_brigade_lifts_the_mean_of_an_item_and_not_its_score(guard, tmp_path):
    guard.ingest()
    found = guard.scores(tmp_path / "scores.csv")
    item = found.items.set_index("item_id").loc["f19"]
    assert item["rated"] > 3.5
    assert item["score"] < 2.5
    assert found.items["item_id"].iloc[0] in ("f0", "f1", "f2")
    assert len(pd.read_csv(tmp_path / "scores.csv")) == 20
    assert "20 items" in found.message


def test_before_the_first_run_a_sentence_says_what_to_do(guard):
    with pytest.raises(UsageError, match="poison-guard run"):
        guard.scores()


def test_an_ending_that_nobody_writes_is_refused(guard, tmp_path):
    guard.ingest()
    with pytest.raises(UsageError, match=r"\.jsonl, \.json or \.csv"):
        guard.scores(tmp_path / "scores.xlsx")
