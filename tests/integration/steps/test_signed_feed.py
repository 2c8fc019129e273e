"""A feed whose senders sign: what is forged, replayed or unsigned, over several runs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from poison_guard import Guard
from tests.integration.steps.conftest import CONTRACT, answers

SIGNED = ["id", "user", "word", "said", "nonce", "sent"]
SECRET = b"0123456789abcdef0123456789abcdef"
TABLE = f"""signature = "sig"
nonce = "nonce"
sent_at = "sent"
[signature]
signed = {json.dumps(SIGNED)}
keys = "keys.toml"
"""


@pytest.fixture
def guard(tmp_path) -> Guard:
    file = tmp_path / "quiz.toml"
    file.write_text(CONTRACT.replace('features = ["dwell", "speed"]\n', TABLE))
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[keys.app]\nalg = "HS256"\nsecret = "{base64.urlsafe_b64encode(SECRET).decode()}"\n')
    keys.chmod(0o600)
    return Guard.open(file, home=tmp_path / "home")


def sign(frame: pd.DataFrame, secret: bytes = SECRET) -> pd.DataFrame:
    texts = [
        json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        for row in frame[SIGNED].to_dict("records")
    ]
    return frame.assign(sig=[f"app:{hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()}" for text in texts])


def sent(n: int, seed: int, prefix: str = "r") -> pd.DataFrame:
    frame = answers(n, seed, prefix=prefix).drop(columns=["dwell", "speed"])
    now = pd.Timestamp.now("UTC") - pd.Timedelta(minutes=1)
    times = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return frame.assign(nonce=[f"{prefix}{seed}-{i}" for i in range(n)], sent=times, at=times)


def reasons(decisions: pd.DataFrame) -> pd.Series:
    return decisions.set_index("record_id")["reasons"].astype(str)


def test_forged_and_replayed_records_are_held_over_runs_and_honest_ones_are_not(guard):
    first = sign(sent(300, 1))
    result = guard.ingest(first)
    assert result.counts["accepted"] > 290
    copies = first.head(30).assign(id=[f"copy-{i}" for i in range(30)])  # the id is signed: this is forged
    result = guard.ingest(pd.concat([sign(sent(200, 2)), copies, sign(sent(40, 3, "x"), b"x" * 32)]))
    held = reasons(result.decisions)
    assert held[held.str.contains("signature_invalid")].size == 70
    assert not held.filter(like="r").str.contains("signature").any()
    assert any("do not hold" in note for note in result.notes)
    again = guard.ingest(first.head(50))  # the same records, delivered again, are no replays
    assert again.counts["seen_before"] == 50


def test_a_nonce_of_an_earlier_run_is_known(guard, tmp_path):
    file = guard.contract.path
    file.write_text(file.read_text().replace(json.dumps(SIGNED), json.dumps(SIGNED[1:])))
    guard = Guard.open(file, home=tmp_path / "home")
    SIGNED.remove("id")
    try:
        first = sign(sent(200, 1))
        guard.ingest(first)
        result = guard.ingest(
            pd.concat([first.head(20).assign(id=[f"copy-{i}" for i in range(20)]), sign(sent(100, 2))])
        )
    finally:
        SIGNED.insert(0, "id")
    held = reasons(result.decisions)
    assert held.filter(like="copy").str.contains("signature_replayed").all()
    assert not held.filter(like="r").str.contains("signature").any()


def test_an_unproved_record_is_not_judged_by_what_its_name_did_and_does_it_no_harm(guard):
    rng = np.random.default_rng(0)
    honest = sent(900, 5)
    right = honest.assign(said="a" + ((honest["word"].str[1:].astype(int)) % 5).astype(str))
    liars = right[right["user"] == "u1"].assign(
        said=[f"a{k}" for k in rng.integers(0, 5, (right["user"] == "u1").sum())]
    )
    slander = liars.assign(id="s" + liars["id"], user="u2", sig=None)
    mine = right[~right["user"].isin(["u1"])]
    scanned = guard.scan(pd.concat([sign(mine), *[slander.assign(id=slander["id"] + str(k)) for k in range(5)]]))
    judged = scanned.sources.set_index("source_id")
    assert judged.loc["u2", "disagreed"] <= 2


def test_where_signatures_are_required_unsigned_records_are_held(guard, tmp_path):
    file: Path = guard.contract.path
    file.write_text(file.read_text() + '[policy]\nrequired = ["signature", "source"]\n')
    guard = Guard.open(file, home=tmp_path / "home")
    frame = sign(sent(300, 7))
    frame.loc[:9, "sig"] = None
    decisions = guard.scan(frame).decisions.set_index("record_id")
    unsigned = decisions.loc[frame["id"][:10]]
    assert (unsigned["action"] == "quarantine").all()
    assert (decisions.drop(index=unsigned.index)["action"] == "accept").mean() > 0.97
