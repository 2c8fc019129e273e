"""`poison-guard tune` tries thresholds on the trusted records of a feed and changes nothing."""

from __future__ import annotations

import pandas as pd
import pytest


@pytest.fixture(scope="module")
def told(hand):
    """The document of a feed with 900 vetted sessions, of which some 180 are its holdout."""
    vetted = hand.folder / "vetted.csv"
    assert hand("trust", vetted, "--feed", hand.feed, "--by", "ann", "--reason", "audit").exit_code == 0
    before = sorted((file, file.stat().st_mtime_ns) for file in (hand.folder / "home").rglob("*.parquet"))
    document = hand.json("tune", "--feed", hand.feed, "--rates", "0.001,0.1", "--alphas", "0.01", "--per-day", "5000")
    assert before == sorted((file, file.stat().st_mtime_ns) for file in (hand.folder / "home").rglob("*.parquet"))
    return document


def test_the_feeds_own_thresholds_are_among_the_lines(told):
    assert [line["rate"] for line in told["lines"]] == [0.001, 0.01, 0.1, 0.01]
    assert [line["present"] for line in told["lines"]] == [False, True, False, False]
    assert [line["campaign_alpha"] for line in told["lines"]] == [0.001, 0.001, 0.001, 0.01]


def test_a_larger_rate_loses_more_honest_records_and_misses_fewer_attacks(told):
    low, high = told["lines"][1], told["lines"][2]
    assert low["honest"] == told["holdout"] > 100
    assert low["share"] < high["share"] < 0.2
    assert high["lost_low"] <= high["share"] <= high["lost_high"]
    assert set(told["attacks"]) == {"mixtures", "moved", "replays"}
    assert high["missed"]["moved"] < low["missed"]["moved"]
    assert high["lost_by"]["record"] / high["honest"] == pytest.approx(high["share"], abs=0.03)


def test_hours_are_what_is_held_and_audited_a_day(told):
    line = told["lines"][2]
    assert told["per_day_from"] == "given"
    assert line["held_a_day"] == pytest.approx(5000 * line["share"])  # this feed draws no audits
    assert line["hours_a_day"] == pytest.approx(line["held_a_day"] / 60)


def test_a_rate_too_small_for_the_calibration_split_is_said(told):
    assert "only" in told["lines"][0]["unjudged"]
    assert told["lines"][0]["lost_by"]["record"] == 0
    assert told["lines"][1]["unjudged"] is None


def test_the_table_shows_what_is_now_and_what_was_assumed(hand, told):
    shown = hand("tune", "--feed", hand.feed, "--rates", "0.01", "--alphas", "")
    assert shown.exit_code == 0, shown.stderr
    assert "now" in shown.stdout
    assert "1,000 records a day (assumed; give --per-day)" in shown.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--rates", "0.01,many"), "--rates takes numbers with commas between, got 'many'"),
        (("--rates", "0.7"), "rates takes numbers in (0, 0.5], got 0.7"),
        (("--alphas", "0"), "alphas takes numbers in (0, 0.1], got 0"),
        (("--rates", ",".join(["0.01"] * 21)), "rates takes at most 20 numbers, got 21"),
        (("--minutes", "nan"), "minutes must be a positive number, got nan"),
        (("--per-day", "inf"), "per_day must be a positive number, got inf"),
    ],
)
def test_what_is_no_threshold_is_one_sentence(hand, words, sentence):
    result = hand("tune", "--feed", hand.feed, *words)
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_a_home_that_is_none_is_refused_and_not_made(hand):
    result = hand("tune", "--feed", hand.feed, home="nowhere")
    assert result.exit_code == 2
    assert "there is no store in" in result.stderr
    assert not (hand.folder / "nowhere").exists()


def test_without_a_trusted_set_it_says_what_to_do(fresh):
    assert fresh("run", "--feed", fresh.feed).exit_code == 0
    result = fresh("tune", "--feed", fresh.feed)
    assert result.exit_code == 2
    assert "enter vetted records with `poison-guard trust`" in result.stderr


def test_trusted_records_that_have_parted_are_told_and_the_numbers_are_in_the_document(fresh):
    vetted = pd.read_csv(fresh.folder / "vetted.csv")
    for name, frame in (("one", vetted), ("two", vetted.assign(pointer_speed=vetted["pointer_speed"] * 3))):
        frame.assign(session_id=name + vetted["session_id"]).to_csv(fresh.folder / f"{name}.csv", index=False)
        words = ("trust", fresh.folder / f"{name}.csv", "--feed", fresh.feed, "--by", "ann", "--reason", "audit")
        assert fresh(*words).exit_code == 0
    watch = fresh.json("tune", "--feed", fresh.feed, "--rates", "0.01", "--alphas", "")["watch"]
    assert set(watch) == {"holdout", "anchor", "entered"}
    assert watch["entered"]["parted"]
    assert not watch["holdout"]["parted"]
    shown = fresh("tune", "--feed", fresh.feed, "--rates", "0.01", "--alphas", "")
    assert "what was entered since, by a model of the first:" in shown.stdout


def test_a_run_that_held_more_than_chance_is_named(fresh):
    vetted = fresh.folder / "vetted.csv"
    assert fresh("trust", vetted, "--feed", fresh.feed, "--by", "ann", "--reason", "audit").exit_code == 0
    day = pd.read_csv(fresh.folder / "home" / "inbox" / "day1.csv")
    day.loc[:99, "pointer_speed"] = 60.0 + day.index[:100]  # a hundred of 412 sessions that no person makes
    day.to_csv(fresh.folder / "home" / "inbox" / "day1.csv", index=False)
    assert fresh("run", "--feed", fresh.feed).exit_code in (0, 1)
    words = ("tune", "--feed", fresh.feed, "--rates", "0.01", "--alphas", "")
    (run,) = fresh.json(*words)["runs"]
    assert run["raised"]
    assert run["held"] >= 100
    assert run["false_share"] < 0.05
    assert f"run {run['run_id']} held" in fresh(*words).stdout
