"""One feed from its first seal over gate, approvals, a candidate and two models to recall and rollback, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from poison_guard.config import open_settings
from poison_guard.store import open_store
from poison_guard.store.admissions import list_admissions
from poison_guard.store.models import add_model, promote, set_metrics
from tests.integration.cli.conftest import CONTRACT, Hand, sessions

WHO = ("--by", "ann", "--reason", "looked at it")


def labelled(n: int, *, seed: int, name: str, flipped: float = 0.0) -> pd.DataFrame:
    """Return sessions of people and bots; a share of the bots is sent as people, by a farm of ten accounts."""
    rng = np.random.default_rng(seed)
    frame = sessions(n, seed=seed, name=name)
    bot = rng.random(n) < 0.4
    frame["kind"] = np.where(bot, "bot", "human")
    frame.loc[bot, "dwell_ms"] *= 0.4
    frame.loc[bot, "pointer_speed"] *= 2
    farm = rng.permutation(frame.index[bot])[: round(flipped * bot.sum())]
    frame.loc[farm, "kind"] = "human"
    frame.loc[farm, "user_id"] = [f"farm-{k % 10}" for k in range(len(farm))]
    return frame


@pytest.fixture(scope="module")
def hand(tmp_path_factory) -> Hand:
    folder = tmp_path_factory.mktemp("learning")
    (folder / "feeds").mkdir()
    (folder / "home" / "inbox").mkdir(parents=True)
    table = CONTRACT.replace("features =", 'label = "kind"\nfeatures =')
    (folder / "feeds" / "sessions.toml").write_text(table)
    labelled(900, seed=1, name="vetted").to_csv(folder / "vetted.csv", index=False)
    hand = Hand(folder)
    assert hand("trust", folder / "vetted.csv", *feed_of(hand), *WHO).exit_code == 0
    return hand


def feed_of(hand: Hand) -> tuple[str, str]:
    return ("--feed", str(hand.feed))


def take_in(hand: Hand, name: str, **how) -> None:
    labelled(500, name=name, **how).to_csv(hand.folder / "home" / "inbox" / f"{name}.csv", index=False)
    assert hand("run", *feed_of(hand)).exit_code == 0


@pytest.fixture(scope="module")
def sealed(hand) -> str:
    assert hand("gate", "show", *feed_of(hand)).exit_code == 2
    take_in(hand, "day1", seed=2)
    return hand.json("seal", *feed_of(hand))["snapshot_id"]


@pytest.fixture(scope="module")
def admitted(hand, sealed) -> dict:
    result = hand("gate", "check", *feed_of(hand), "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def entered(hand: Hand, snapshot_id: str, accuracy: float) -> str:
    """Enter a model as a training on an admitted snapshot would, make it champion and return its id."""
    metrics = {"accuracy": accuracy, "n": 437, "per_class": {"bot": {"n": 180, "right": 160}}, "predictions": {}}
    with open_store(open_settings(hand.folder / "home")) as store:
        admission = list_admissions(store, "sessions")[0]
        assert admission["snapshot_id"] == snapshot_id
        model = add_model(
            store,
            "sessions",
            snapshot_id=snapshot_id,
            admission_seq=admission["seq"],
            path="models/none",
            sha256="0" * 64,
            config={},
        )
        set_metrics(store, model.model_id, metrics)
        promote(store, model.model_id, why="nothing was lost")
    return model.model_id


@pytest.fixture(scope="module")
def champion(hand, sealed, admitted) -> str:
    return entered(hand, sealed, 0.91)


@pytest.fixture(scope="module")
def poisoned(hand, champion) -> str:
    """Return a second snapshot, half of whose new bots are called human."""
    take_in(hand, "day2", seed=3, flipped=0.5)
    held = hand.json("review", "list", *feed_of(hand), "--limit", "500")["entries"]  # and a reviewer lets them in
    (hand.folder / "held.txt").write_text("\n".join(entry["record_id"] for entry in held))
    assert hand("review", "release", "--ids", hand.folder / "held.txt", *feed_of(hand), *WHO).exit_code == 0
    return hand.json("seal", *feed_of(hand))["snapshot_id"]


@pytest.fixture(scope="module")
def approved(hand, poisoned) -> dict:
    """Return what two people made of it."""
    assert hand("gate", "check", *feed_of(hand)).exit_code == 1
    one = hand("gate", "approve", *feed_of(hand), *WHO, "--expires", "2")
    assert one.exit_code == 1
    assert "another person" in one.stdout
    two = hand("gate", "approve", *feed_of(hand), "--by", "bob", "--reason", "known wave", "--expires", "2", "--json")
    assert two.exit_code == 0, two.output
    return json.loads(two.stdout)


@pytest.fixture(scope="module")
def second(hand, poisoned, approved) -> str:
    return entered(hand, poisoned, 0.88)


def test_sealing_again_gives_the_same_snapshot(hand, sealed):
    again = hand.json("seal", *feed_of(hand))
    assert (again["snapshot_id"], again["new"]) == (sealed, False)
    assert again["counts"]["examples"] > 450


def test_an_honest_snapshot_is_admitted_and_its_manifest_verifies(hand, admitted):
    assert (admitted["outcome"], admitted["admitted"]) == ("pass", True)
    assert hand("verify", admitted["manifest"]).exit_code == 0
    shown = hand("gate", "show", *feed_of(hand))
    assert shown.exit_code == 0
    assert "admitted until" in shown.stdout
    assert hand("gate", "approve", *feed_of(hand), *WHO).exit_code == 2


def test_the_admitted_rows_come_out_as_they_came_in_with_the_digest_of_their_manifest(hand, admitted):
    out = hand.folder / "admitted.csv"
    told = hand.json("export", *feed_of(hand), "--snapshot", "admitted", "--as", "csv", "--out", out)
    assert told["manifest"] == hand.json("verify", admitted["manifest"])["digest"]
    assert json.loads(Path(f"{out}.manifest.json").read_text())["manifest_sha256"] == told["manifest"]
    inbox = [
        line
        for file in sorted((hand.folder / "home" / "inbox").glob("*.csv"))
        for line in file.read_text().splitlines()
    ]
    assert set(out.read_text().splitlines()) <= set(inbox), "no cell is altered"


def test_status_tells_snapshot_verdict_admission_and_champion(hand, sealed, champion):
    training = hand.json("status")["feeds"][0]["training"]
    assert (training["snapshot_id"], training["outcome"]) == (sealed, "pass")
    assert training["admitted"] is True
    assert training["champion"] == champion
    assert "admitted until" in hand("status").stdout


def test_a_candidate_is_judged_by_its_predictions_for_exactly_the_questions(hand, champion):
    questions = hand.folder / "questions.csv"
    assert hand("export", "--trusted", "holdout", *feed_of(hand), "--out", questions).exit_code == 0
    asked = pd.read_csv(questions)
    assert "kind" not in asked
    assert "label" not in asked
    truth = pd.read_csv(hand.folder / "vetted.csv").set_index("session_id")["kind"]
    right = pd.DataFrame({"example_id": asked["example_id"], "label": asked["example_id"].map(truth)})
    for told, code in ((right, 0), (right.assign(label="human"), 1), (right.head(9), 1)):
        told.to_csv(hand.folder / "predictions.csv", index=False)
        result = hand("gate", "check", "--candidate", hand.folder / "predictions.csv", *feed_of(hand))
        assert result.exit_code == code, result.output
    assert "428 trusted examples have no prediction" in " ".join(result.stdout.split())


def test_poison_closes_the_gate_and_two_people_open_it(hand, poisoned, approved):
    assert (approved["outcome"], approved["admitted"]) == ("fail", True)
    shown = hand.json("gate", "show", poisoned, *feed_of(hand))
    assert [a["by"] for a in shown["approvals"]] == ["ann", "bob"]
    assert shown["admitted"] is True
    assert any(sentence.startswith("label_neighbours: ") for sentence in shown["why"])


def test_a_recall_says_beforehand_what_it_would_revoke(hand, poisoned, second):
    told = hand.json("recall", "--source", "farm-1", *feed_of(hand), *WHO, "--dry-run")
    assert told["revoked"] == [poisoned]
    assert [model["model_id"] for model in told["models"]] == [second]
    assert hand.json("gate", "show", *feed_of(hand))["admitted"] is True


def test_a_recall_revokes_the_snapshot_names_the_model_and_the_rollback(hand, approved, poisoned, second, champion):
    assert hand("verify", approved["manifest"]).exit_code == 0
    result = hand("recall", "--source", "farm-1", *feed_of(hand), *WHO)
    assert result.exit_code == 0, result.output
    assert f"revoked: {poisoned}" in result.stdout
    assert second in result.stdout
    assert f"rollback --feed {hand.feed} --to {champion}" in result.stderr
    refused = hand("verify", approved["manifest"])
    assert refused.exit_code == 1
    assert "revoked" in refused.stderr
    shown = hand("gate", "show", *feed_of(hand))
    assert shown.exit_code == 1
    assert "poison-guard seal" in shown.stderr


def test_models_are_listed_with_status_figures_and_why(hand, second, champion):
    listed = hand.json("models", *feed_of(hand))["models"]
    assert [(m["model_id"], m["status"], m["snapshot_revoked"]) for m in listed] == [
        (second, "champion", True),
        (champion, "retired", False),
    ]
    assert "predictions" not in listed[0]["metrics"]
    told = hand("models", *feed_of(hand)).stdout
    assert "champion, snapshot revoked" in " ".join(told.split())
    assert f"{champion}, retired: nothing was lost" in told


def test_a_rollback_goes_to_earlier_champions_whose_snapshot_stands(hand, second, champion, monkeypatch):
    monkeypatch.setattr("poison_guard.steps.promote.load_trained", lambda feed, model: None)
    unknown = hand("rollback", "--to", "nobody", *feed_of(hand), *WHO)
    assert unknown.exit_code == 2
    assert "poison-guard models" in unknown.stderr
    already = hand("rollback", "--to", second, *feed_of(hand), *WHO)
    assert already.exit_code == 2
    assert "is champion" in already.stderr
    assert hand.json("rollback", "--to", champion, *feed_of(hand), *WHO, "--dry-run")["before"] == second
    assert hand.json("status")["feeds"][0]["training"]["champion"] == second
    assert hand("rollback", "--to", champion, *feed_of(hand), *WHO).exit_code == 0
    training = hand.json("status")["feeds"][0]["training"]
    assert (training["champion"], training["champion_revoked"]) == (champion, False)
    back = hand("rollback", "--to", second, *feed_of(hand), *WHO)
    assert back.exit_code == 1
    assert "revoked" in back.stderr
    assert hand("rollback", "--to", second, "--force", *feed_of(hand), *WHO).exit_code == 0


def test_the_chain_is_whole_after_all_of_it(hand, second):
    assert hand("audit", "verify").exit_code == 0
