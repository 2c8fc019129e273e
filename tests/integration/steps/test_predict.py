from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from poison_guard.cli import cli
from poison_guard.errors import DataError, NotFoundError
from poison_guard.guard import Guard
from tests.integration.steps.test_gate import CONTRACT, put, sessions

RECIPE = 'epochs = 2\nmembers = 3\nsqueeze = ["round"]\nescalate = 0.02\n'


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Guard:
    """A feed whose model has three members, squeezes and escalates."""
    folder = tmp_path_factory.mktemp("predict")
    file = folder / "pages.toml"
    file.write_text(CONTRACT.replace("epochs = 4\n", RECIPE))
    guard = Guard.open(file, home=folder / "home")
    guard.trust(sessions(900, 99, prefix="t"), by="reviewer-1", reason="labelled in the audit")
    put(guard.home, sessions(300, 1), "one.csv")
    guard.ingest()
    guard.seal()
    model = guard.retrain(measure_only=True)
    assert not list((guard.home / "training").glob("*"))
    assert {"right_answered", "wrong_answered", "escalated"} <= model.metrics.keys()
    return Guard.open(file, home=guard.home)


def test_a_stored_model_labels_inputs_and_leaves_to_people_what_it_is_not_sure_of(trained: Guard) -> None:
    (model,) = trained.models().models
    fresh = sessions(200, 7)
    answered = trained.predict(fresh.drop(columns="kind"), model_id=model.model_id)
    assert (answered.frame["label"] == fresh["kind"]).mean() > 0.9
    assert answered.frame["label"].isna().tolist() == answered.frame["escalated"].tolist()
    assert not answered.alarm
    between = pd.DataFrame({name: [1.4, 1.5, 1.6] * 20 for name in "abcd"})
    alarmed = trained.predict(between, model_id=model.model_id)
    assert alarmed.alarm == (alarmed.frame["escalated"].mean() > 0.2)
    assert alarmed.frame["example_id"].iloc[0] == "row 1"


def test_inspection_flags_few_clean_inputs_and_says_why_of_others(trained: Guard) -> None:
    (model,) = trained.models().models
    clean = trained.inspect(sessions(300, 8), model_id=model.model_id)
    assert clean.frame["flagged"].mean() < 0.05
    assert clean.rows >= 100
    odd = trained.inspect(pd.DataFrame({name: [1.2, 1.5, 1.8] for name in "abcd"}), model_id=model.model_id)
    assert (odd.frame["why"].str.len() > 0).tolist() == odd.frame["flagged"].tolist()


def test_commands_read_files_and_say_what_is_wrong_with_them(trained: Guard, tmp_path: Path) -> None:
    (model,) = trained.models().models
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    sessions(5, 3).to_csv(good, index=False)
    sessions(5, 3).drop(columns="c").to_csv(bad, index=False)
    common = ["--model", model.model_id, "--feed", str(trained.contract.path), "--home", str(trained.home)]
    predicted = CliRunner().invoke(cli, ["predict", str(good), *common])
    assert "inputs are left to people" in predicted.output
    assert predicted.exit_code == 0
    inspected = CliRunner().invoke(cli, ["inspect", str(good), *common])
    assert "of 5 inputs flagged" in inspected.output
    assert inspected.exit_code in (0, 1)
    with pytest.raises(DataError, match="the inputs have no column c; the model of pages reads a, b, c, d"):
        trained.predict(str(bad), model_id=model.model_id)
    with pytest.raises(NotFoundError, match="pages has no champion yet"):
        trained.predict(str(good))
