"""Proposed suites pass on the data they were made from, hold what is absurd, and fit what ingest hands on."""

from __future__ import annotations

import copy
import datetime as dt
import json
import os
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from poison_guard.config import load_contract, parse_contract
from poison_guard.contracts.check import check_batch, failing_rows, raw_view
from poison_guard.contracts.suite import parse_suite
from poison_guard.errors import DataError
from poison_guard.ingest.collect import collect_frames
from poison_guard.ingest.read import read_raw
from poison_guard.onboard import propose_contract, propose_suite
from tests.unit.onboard.samples import EXPECTED, make_samples

SAMPLES = make_samples()
RECEIVED = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)
DATA = Path(os.environ.get("POISON_GUARD_DATA", "no-such-folder"))
PUBLIC = (
    *(f"crowd/{name}/answers.csv" for name in ("duck", "product", "rte", "speech-dev-clean")),
    *(f"crowd/birdwatch-{name}.csv.gz" for name in ("notes", "ratings")),
    *(f"messages/{name}.csv" for name in ("sms-spam", "tweets-davidson", "youtube-spam")),
    "tabular/adult.csv",
    *(f"telemetry/{name}.csv" for name in ("bot_behavior", "human_session_1", "human_session_2")),
)


def proposed(frame):
    contract = parse_contract(tomllib.loads(propose_contract(frame, name="feed", data_path="x.csv")))
    return contract, propose_suite(frame, contract)


def check_through_ingest(path, folder):
    """What `init` promises: contract and suite proposed from a file hold for the records read from that file."""
    raw = read_raw([str(path)])
    toml = folder / "feed.toml"
    toml.write_text(propose_contract(raw, name="feed", data_path=str(path)), encoding="utf-8")
    contract = load_contract(toml)
    suite = parse_suite(json.loads(json.dumps(propose_suite(raw, contract), allow_nan=False)))
    batch = collect_frames(contract, [str(path)], home=folder, received_at=RECEIVED)
    view = raw_view(batch.records, contract)
    report = check_batch(view, suite)
    assert (report.failed, report.warnings) == ((), ())
    assert failing_rows(view, suite).empty
    return batch


@pytest.mark.parametrize("sample", sorted(EXPECTED))
def test_records_read_from_a_jsonl_file_pass_what_was_proposed_from_it(sample, tmp_path):
    path = tmp_path / "data.jsonl"
    SAMPLES[sample].to_json(path, orient="records", lines=True, date_format="iso")
    assert check_through_ingest(path, tmp_path).issues.empty


@pytest.mark.parametrize("sample", ["chat", "captcha", "sessions", "thumb_text"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_records_read_from_csv_and_parquet_pass_what_was_proposed_from_them(sample, suffix, tmp_path):
    path = tmp_path / f"data.{suffix}"
    frame = SAMPLES[sample]
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    assert check_through_ingest(path, tmp_path).issues.empty


@pytest.mark.parametrize("name", PUBLIC)
def test_records_of_a_public_file_pass_what_was_proposed_from_it(name, tmp_path):
    if not (DATA / name).exists():
        pytest.skip("set POISON_GUARD_DATA to a folder with the public data sets")
    batch = check_through_ingest(DATA / name, tmp_path)
    assert len(batch.records) > 0
    assert batch.unreadable.empty


def test_a_typed_view_gets_the_same_suite_as_the_raw_file(tmp_path):
    path = tmp_path / "data.csv"
    SAMPLES["captcha"].to_csv(path, index=False)
    raw = read_raw([str(path)])
    contract, suite = proposed(raw)
    batch = collect_frames(contract, [str(path)], home=tmp_path, received_at=RECEIVED)
    assert propose_suite(raw_view(batch.records, contract), contract) == suite


def test_what_is_absurd_fails_and_what_is_merely_new_does_not():
    frame = SAMPLES["chat"]
    contract, suite = proposed(frame)
    row = frame.iloc[0].to_dict()
    rows = pd.DataFrame(
        [
            row,
            row | {"rating": 11},
            row | {"prompt": "x" * 50_000},
            row | {"latency_ms": -5.0},
            row | {"latency_ms": 1e9},
            row | {"user_id": "u" * 4000},
            row | {"model_version": "v3"},
            row | {"latency_ms": row["latency_ms"] * 2},
            row | {"latency_ms": np.nan},
        ]
    )
    failing = failing_rows(rows, parse_suite(suite))
    assert failing["position"].tolist() == [1, 2, 3, 4, 5]
    assert contract.columns["group"] == "model_version"


def test_a_batch_keeps_the_contract_while_nineteen_rows_in_twenty_do():
    frame = SAMPLES["captcha"]
    _, suite = proposed(frame)
    parsed = parse_suite(suite)
    few, many = frame.copy(), frame.copy()
    few.loc[:5, "answer"] = 77
    many.loc[:100, "answer"] = 77
    assert check_batch(few, parsed).success
    assert not check_batch(many, parsed).success


def test_nulls_seen_in_a_column_stay_allowed():
    frame = SAMPLES["captcha"].copy()
    frame.loc[3, ["dwell_ms", "answer"]] = np.nan
    _, suite = proposed(frame)
    told = [r["kwargs"]["column"] for r in suite["expectations"] if r["type"].endswith("not_be_null")]
    assert "answer" not in told
    assert "dwell_ms" not in told
    assert "word_id" in told


def test_infinite_and_extreme_numbers_give_no_rule_that_the_file_itself_breaks():
    frame = SAMPLES["sessions"].assign(dwell_ms=[np.inf, -1e300, *np.full(298, 1e-12)], pointer_speed=np.nan)
    proposed(frame)


def test_a_proposal_is_plain_json():
    _, suite = proposed(SAMPLES["sessions"])
    assert json.loads(json.dumps(suite, allow_nan=False)) == copy.deepcopy(suite)


def test_data_that_lack_a_mapped_column_are_refused_in_one_sentence():
    contract, _ = proposed(SAMPLES["captcha"])
    with pytest.raises(DataError, match="has no column answer, word_id"):
        propose_suite(SAMPLES["captcha"].drop(columns=["answer", "word_id"]), contract)
    with pytest.raises(DataError, match="has no records"):
        propose_suite(SAMPLES["captcha"].head(0), contract)
