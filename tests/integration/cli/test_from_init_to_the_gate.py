"""Messy files from `init` to the gate, one kind a test: as a data engineer types it, with what `init` wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from poison_guard import Guard
from poison_guard.cli import cli
from tests.integration.cli.conftest import Hand

WHO = ("--by", "reviewer-1", "--reason", "vetted for this test")
DAY = pd.Timestamp("2026-11-20", tz="UTC")


def moments(n: int, seed: int) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(DAY + pd.to_timedelta(np.random.default_rng(seed).integers(0, 4 * 86_400, n), unit="s"))


def forms(n: int, seed: int, prefix: str) -> pd.DataFrame:
    """Form telemetry with categories: bots are quick and never on a phone."""
    rng = np.random.default_rng(seed)
    bot = rng.random(n) < 0.4
    return pd.DataFrame(
        {
            "session_id": [f"{prefix}{k:05d}" for k in range(n)],
            "device": [f"d{k}" for k in rng.integers(0, 60, n)],
            "started_at": moments(n, seed).strftime("%Y-%m-%d %H:%M:%S"),
            "dwell": np.where(bot, rng.normal(200, 40, n), rng.normal(900, 200, n)).round(1),
            "keys": rng.poisson(np.where(bot, 3, 20)),
            "mobile": np.where(~bot & (rng.random(n) < 0.6), "yes", "no"),
            "country": rng.choice(["DE", "FR", "IT", "BR", "US"], n),
            "label": np.where(bot, "bot", "human"),
        }
    )


NAMES = np.array(["cat", "dog", "bird"])


def crowd(n: int, seed: int, prefix: str, *, wrong: float = 0.05) -> pd.DataFrame:
    """Answers of 40 aged accounts about 40 pictures, with how each was given."""
    rng = np.random.default_rng(seed)
    item = np.arange(n) % 40
    slip = rng.random(n) < wrong
    return pd.DataFrame(
        {
            "answer_id": [f"{prefix}{k:05d}" for k in range(n)],
            "user_id": [f"u{k:03d}" for k in rng.integers(0, 40, n)],
            "item_id": [f"img{k:03d}" for k in item],
            "answer": NAMES[(item + slip) % 3],
            "answered_at": moments(n, seed).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "account_created_at": "2025-01-01T00:00:00Z",
            "dwell_ms": rng.lognormal(7, 0.4, n).round(),
        }
    )


@pytest.fixture
def hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hand:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    return Hand(tmp_path)


def proposed(hand: Hand, frame: pd.DataFrame, name: str) -> Path:
    """Write a file, let `init` look at it, and return the contract that it wrote."""
    frame.to_csv(hand.folder / name, index=False)
    return hand.folder / hand.json("init", name)["contract"]


def test_categories_of_text_train_and_are_gated(hand: Hand) -> None:
    feed = proposed(hand, forms(300, 0, "s"), "forms.csv")
    forms(300, 1, "t").to_csv(hand.folder / "vetted.csv", index=False)
    hand.json("trust", "vetted.csv", "--feed", feed, *WHO)
    hand.json("run", "--feed", feed)
    hand.json("seal", "--feed", feed)
    verdict = hand.json("gate", "check", "--feed", feed)
    assert verdict["outcome"] in ("pass", "inconclusive"), "what a feed only observed is for a person"
    assert not [check for check in verdict["checks"] if check["outcome"] == "error"]
    asked = Guard.open(feed, home="home").candidate_inputs().frame
    assert set(asked["mobile"]) == {"yes", "no"}, "a candidate's user sees the cells themselves"
    feed.write_text(feed.read_text() + "\n[retrain]\nepochs = 3\n")
    measured = hand.json("retrain", "--measure-only", "--feed", feed)
    assert measured["metrics"]["accuracy"] > 0.9


def test_how_an_answer_was_given_is_not_what_its_item_is(hand: Hand) -> None:
    feed = proposed(hand, crowd(400, 0, "a"), "crowd.csv")
    assert "# [items]" in feed.read_text()
    crowd(400, 1, "v", wrong=0).to_csv(hand.folder / "vetted.csv", index=False)
    hand.json("trust", "vetted.csv", "--feed", feed, *WHO)
    adopted = hand.json("run", "--feed", feed)["counts"]["adopted_items"]
    sealed = hand.json("seal", "--feed", feed)
    assert sealed["counts"]["examples"] == adopted > 30
    assert sealed["labels_alone"]
    assert "[items] in the contract says what the items are" in hand("seal", "--feed", feed).stdout
    refused = hand("gate", "check", "--feed", feed)
    assert refused.exit_code == 2
    assert "does not say what its items are" in refused.stderr
    assert "[items]" in refused.stderr


def test_right_answers_that_show_their_item_with_a_full_stop_more_change_no_item(hand: Hand) -> None:
    frame = crowd(400, 0, "a").drop(columns="dwell_ms").assign(text=lambda f: "picture of item " + f["item_id"])
    frame.loc[::7, "text"] += " "
    feed = proposed(hand, frame, "crowd.csv")
    hand.json("run", "--feed", feed)
    before = hand.json("seal", "--feed", feed)
    assert before["counts"]["examples"] > 30
    assert before["left_out"] == 0
    raid = crowd(40, 9, "z", wrong=0).drop(columns="dwell_ms")
    raid = raid.assign(text=lambda f: "picture of item " + f["item_id"] + ".", user_id=[f"z{k % 5}" for k in range(40)])
    raid.to_csv(hand.folder / "next.csv", index=False)
    assert hand.json("run", "next.csv", "--feed", feed)["counts"]["accepted"] == 40
    hand.json("seal", "--feed", feed)
    guard = Guard.open(feed, home="home")
    parts = [pd.read_parquet(file) for file in (guard.home / "lake" / "snapshots").rglob("*.parquet")]
    shown = pd.concat(parts)
    assert len(shown) >= before["counts"]["examples"]
    assert set(shown["text"]) <= {f"picture of item img{k:03d}" for k in range(40)}


def test_items_without_content_are_counted_and_named(hand: Hand) -> None:
    frame = crowd(400, 0, "a").drop(columns="dwell_ms").assign(text=lambda f: "picture of item " + f["item_id"])
    frame.loc[frame["item_id"].isin(["img003", "img004"]), "text"] = None
    feed = proposed(hand, frame, "crowd.csv")
    hand.json("run", "--feed", feed)
    sealed = hand.json("seal", "--feed", feed)
    assert sealed["left_out_ids"] == ["img003", "img004"]
    assert "2 items with an adopted label whose content no accepted record shows: img003, img004" in (
        hand("seal", "--feed", feed).stdout
    )


@pytest.mark.parametrize("text", [True, False])
def test_thumbs_with_a_message_id_of_their_own_are_sealed(hand: Hand, text: bool) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"message_id": f"m{k}", "user_id": f"u{k % 30}", "thumb": int(rng.random() < 0.7), "ts": 1_763_600_000 + k * 60}
        | ({"prompt": f"how do I do {k}?", "response": f"like {k} is done"} if text else {})
        for k in range(200)
    ]
    (hand.folder / "thumbs-2026-11-20.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    hand.json("init", "thumbs-2026-11-20.jsonl")
    hand.json("run", "--feed", "thumbs")
    assert hand.json("seal", "--feed", "thumbs")["counts"]["examples"] > 190


def test_a_role_edited_by_hand_does_not_break_the_suite_and_refresh_writes_it_anew(hand: Hand) -> None:
    frame = crowd(200, 0, "a").drop(columns="dwell_ms").assign(is_gold=lambda f: f["item_id"] < "img004")
    feed = proposed(hand, frame.rename(columns={"answer": "said"}), "crowd.csv")
    assert 'label = "is_gold"' in feed.read_text(), "without an answer by that name a yes or no may be one"
    feed.write_text(feed.read_text().replace('label = "is_gold"', 'answer = "said"'))
    scanned = hand.json("scan", "--feed", feed)
    assert scanned["counts"].get("quarantined", 0) == 0
    assert "made for another role of it" in scanned["notes"][0]
    assert f"init --refresh {feed}" in scanned["notes"][0]
    result = hand("init", "--refresh", feed)
    assert result.exit_code == 0, result.stderr
    suite = json.loads((hand.folder / "expectations" / "crowd.json").read_text())
    sets = {
        r["kwargs"]["column"]: r["kwargs"]["value_set"] for r in suite["expectations"] if "value_set" in r["kwargs"]
    }
    assert sets == {"said": ["bird", "cat", "dog"]}
    (note,) = hand.json("scan", "--feed", feed)["notes"]
    assert note.startswith("no control or audit checks the promised error")


def test_init_says_which_rows_of_the_file_do_not_pass_and_why(hand: Hand) -> None:
    frame = crowd(200, 0, "a")
    frame.loc[[3, 7, 11], "user_id"] = None
    frame.to_csv(hand.folder / "crowd.csv", index=False)
    result = hand("init", "crowd.csv", "--dry-run")
    assert "rows of the file that fail: 3" in result.stdout
    assert "3 fail: user_id is empty (row 5, 9, 13)" in result.stdout
    assert 'anonymous = "anonymous" in [parse] takes in rows without a source' in result.stdout


def test_init_shows_each_odd_value_with_its_own_rows(hand: Hand) -> None:
    frame = crowd(200, 0, "a").astype({"answered_at": "str"})
    frame.loc[[3, 7, 11], "answered_at"] = ["tomorrow", "n.d.", "tomorrow"]
    frame.to_csv(hand.folder / "crowd.csv", index=False)
    result = hand("init", "crowd.csv", "--dry-run")
    said = "3 fail: answered_at 'tomorrow' is not a usable time (row 5, 13; 'n.d.' in row 9)"
    assert said in result.stdout


def test_rows_of_nobody_are_of_one_source_where_the_contract_says_so_and_held_where_not(hand: Hand) -> None:
    frame = crowd(200, 0, "a").drop(columns="dwell_ms")
    frame.loc[::4, "user_id"] = ["", "NULL"] * 25
    feed = proposed(hand, frame, "crowd.csv")
    feed.write_text(feed.read_text().replace('mode = "observe"', 'mode = "enforce"'))
    held = hand.json("scan", "--feed", feed)["counts"]
    assert held["quarantined"] == 50
    feed.write_text(feed.read_text().replace("\ncase = ", '\nanonymous = "nobody"\ncase = '))
    result = Guard.open(feed, home="home").scan()
    assert result.sources.set_index("source_id").loc["nobody", "n"] == 10, "one vote on each of the 10 items"
    assert not (result.decisions["action"] == "reject").any()
    assert result.counts.get("quarantined", 0) < 50


def test_a_proposed_feed_observes_and_bears_no_day_in_its_name(hand: Hand) -> None:
    crowd(200, 0, "a").to_csv(hand.folder / "votes_2026-11-20T0400.csv", index=False)
    hand.json("init", "votes_2026-11-20T0400.csv")
    text = (hand.folder / "feeds" / "votes.toml").read_text()
    assert 'mode = "observe"' in text
    assert '# path = "../votes_*.csv"  # takes in the files of other days too' in text


def test_votes_under_foreign_names_in_an_old_encoding_are_judged_and_come_back_as_they_went_in(hand: Hand) -> None:
    rows = crowd(400, 3, "a", wrong=0.1)
    names = {"user_id": "Nutzer", "item_id": "Aufgabe", "answer": "Antwort", "answered_at": "Zeitpunkt"}
    rows = rows.drop_duplicates(["user_id", "item_id"])[list(names)].rename(columns=names)
    rows["Antwort"] = rows["Antwort"].replace({"dog": "weiß nicht"})
    rows["Land"] = np.where(rows["Nutzer"] > "u020", "Österreich", "Schweiz")
    rows.to_csv("umfrage.csv", sep=";", index=False, encoding="cp1252")
    contract = hand("init", "umfrage.csv")
    assert contract.exit_code == 0, contract.stderr
    feed = hand.folder / "feeds" / "umfrage.toml"
    assert 'source_id = "Nutzer"  # guess by values' in feed.read_text(encoding="utf-8")
    assert hand.json("run", "--feed", feed)["counts"]["accepted"] == len(rows)
    assert hand.json("status")["feeds"][0]["phase"] == "observing", "its contract holds nothing back"
    assert 'mode = "enforce" in its contract' in hand("status").stdout
    assert hand("export", "--feed", feed, "--out", "again.csv").exit_code == 0
    pd.testing.assert_frame_equal(pd.read_csv("again.csv", sep=";"), rows.reset_index(drop=True))
    again = hand.json("scan", "--feed", feed, "again.csv")
    assert (again["counts"]["accepted"], again["reasons"]) == (len(rows), [])


def test_from_observe_to_enforce_is_one_path(hand: Hand) -> None:
    feed = proposed(hand, forms(500, 0, "s").drop(columns="label"), "forms.csv")  # one record signal: 396 vetted rows
    notes = hand.json("run", "--feed", feed)["notes"]
    draw = (
        "396 vetted ones are needed; `poison-guard trust --sample 396 --feed forms --out FILE.csv` draws records to vet"
    )
    assert any(draw in note for note in notes)
    assert "poison-guard trust --sample 396 --feed forms --out FILE.csv draws" in hand("status").stdout
    would = hand.json("review", "list", "--would-hold", "--feed", feed)
    assert would["total"] == 500
    assert would["entries"][0]["why"]
    listed = hand("review", "list", "--would-hold", "--feed", feed).stdout
    assert listed.count("too few trusted records to judge by") == 1, "what all share is said once"
    assert "of these 50: too few trusted records" in listed
    page = Path(hand("report", "--feed", feed).stdout.strip()).read_text(encoding="utf-8")
    assert "`poison-guard coverage --feed forms` measures from what size" in page
    drawn = hand("trust", "--sample", "420", "--feed", feed, "--out", "vet.csv")
    assert "wrote 420 of 500 records to vet.csv" in drawn.stdout
    assert "review release --trust --ids vet.csv" in drawn.stderr
    vet = pd.read_csv("vet.csv", dtype=str)
    assert {"record_id", "session_id", "mobile"} <= set(vet)
    vet.iloc[:400].to_csv("vet.csv", index=False)
    dry = hand("trust", "vet.csv", "--feed", feed, *WHO, "--dry-run")
    real = hand("trust", "vet.csv", "--feed", feed, *WHO)
    assert (dry.exit_code, real.exit_code) == (1, 2)
    for said in (dry.stdout, real.stderr):
        assert "400 of these records were already seen in the feed forms" in said
        assert "`poison-guard review release --trust`" in said
    entered = hand.json("review", "release", "--trust", "--ids", "vet.csv", "--feed", feed, *WHO)
    assert (entered["records"], entered["places"], entered["trusted"]["added"]) == (400, {"accepted": 400}, 400)
    again = hand.json("review", "release", "--trust", "--ids", "vet.csv", "--feed", feed, *WHO)
    assert (again["event"], again["trusted"]["already"]) == (entered["event"], 400)
    assert hand.json("trust", "--sample", "500", "--feed", feed)["total"] == 100
    feed.write_text(feed.read_text().replace('mode = "observe"', 'mode = "enforce"'))
    counts = hand.json("scan", "--feed", feed)["counts"]
    assert counts["accepted"] > 450
    assert counts.get("staged", 0) == 0
    assert hand("audit", "verify").exit_code == 0


def test_a_feed_is_known_by_name_in_every_folder_once_it_has_run(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    proposed(hand, forms(60, 0, "s"), "forms.csv")
    (hand.folder / "elsewhere").mkdir()
    monkeypatch.chdir(hand.folder / "elsewhere")
    home = str(hand.folder / "home")
    assert hand("scan", "--feed", "forms").exit_code == 2, "nobody has said yet where it is"
    monkeypatch.chdir(hand.folder)
    hand.json("run", "--feed", "forms")
    monkeypatch.chdir(hand.folder / "elsewhere")
    assert hand("review", "list", "--feed", "forms").exit_code == 0
    assert Guard.open("forms", home=home).contract_path == hand.folder / "feeds" / "forms.toml"
    assert "did you mean `forms`?" in hand("scan", "--feed", "fomrs").stderr
    assert "scanning" not in hand("scan", "--feed", "fomrs").stderr
    (hand.folder / "feeds" / "forms.toml").unlink()
    assert "there is no forms.toml" in hand("scan", "--feed", "forms").stderr


def test_an_accepted_record_is_not_released_again_and_that_is_the_users_mistake(hand: Hand) -> None:
    feed = proposed(hand, forms(60, 0, "s"), "forms.csv")
    hand.json("run", "--feed", feed)
    refused = hand("review", "release", "s00001", "--feed", feed, *WHO)
    assert refused.exit_code == 2
    assert "'s00001' is already accepted" in refused.stderr
    listed = hand.runner.invoke(
        cli, ["recall", "--ids", "-", "--feed", str(feed), *WHO, "--home", "home"], "s00001\n\ns00002\n"
    )
    assert "recalled 2 records" in listed.output
    empty = hand.runner.invoke(cli, ["recall", "--ids", "-", "--feed", str(feed), *WHO, "--home", "home"], "\n")
    assert empty.exit_code == 2
    assert "stdin holds no ids; give one per line, or a column record_id" in empty.output


def test_a_gate_without_a_trusted_set_says_that_it_is_missing(hand: Hand) -> None:
    feed = proposed(hand, forms(200, 0, "s"), "forms.csv")
    hand.json("run", "--feed", feed)
    hand.json("seal", "--feed", feed)
    checks = hand("gate", "check", "--feed", feed)
    assert checks.exit_code in (1, 3)
    assert "measuring failed" not in checks.stdout
    assert "label ''" not in checks.stdout
    assert "poison-guard trust" in checks.stdout
    unlabelled = forms(200, 3, "x").drop(columns="label")
    other = proposed(hand, unlabelled, "unlabelled.csv")
    hand.json("run", "--feed", other)
    hand.json("seal", "--feed", other)
    assert "label ''" not in hand("gate", "check", "--feed", other).stdout
