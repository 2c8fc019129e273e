import datetime as dt

import numpy as np
import pandas as pd
import pytest

from poison_guard.config import open_settings, parse_contract
from poison_guard.frames import empty_frame
from poison_guard.records import Batch, State
from poison_guard.steps.handover import Handover, pin_of, put_batch
from poison_guard.steps.opening import Feed
from poison_guard.steps.run import judge

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
NO_ISSUES = pd.DataFrame({k: pd.Series(dtype=object) for k in ("record_id", "code", "args")})
NO_UNREADABLE = pd.DataFrame({k: pd.Series(dtype="str") for k in ("record_id", "object", "row", "code", "args", "raw")})
LEDGER = (
    "source_id", "controls_right", "controls_wrong", "agreed", "disagreed", "outcomes_right", "outcomes_wrong", "n",
)  # fmt: skip


def decide(batch, contract, state, *, suite=None):
    """Decide a batch by a given state through the stages of a run; no store is asked."""
    settings = open_settings("nowhere", environ={"POISON_GUARD_DEVICE": "cpu"})
    feed, handover = Feed(contract, settings, None, suite), Handover()
    pin = pin_of(feed, 0)
    put_batch(handover, batch, state.controls, partition_rows=contract.data.partition_rows)
    handover.put(f"newcomers@{pin}", empty_frame("newcomers"))
    handover.cache[f"state@{pin}"] = state
    return judge(feed, handover, pin)


def sessions(n, rng, *, prefix="r", shift=0.0):
    """Records of an answers feed with two log-normal features; `shift` makes them strange."""
    base = rng.normal(size=(n, 1))
    x = np.exp(0.5 * base + 0.3 * rng.normal(size=(n, 2)) + shift)
    at = pd.Timestamp(NOW) - pd.to_timedelta(rng.uniform(0, 5 * 86400, n), unit="s")
    item = rng.integers(0, max(2, n // 5), n)
    ids = [f"{prefix}{i:05d}" for i in range(n)]
    return pd.DataFrame(
        {
            "record_id": ids,
            "content_hash": [f"{prefix}{i:030x}" for i in range(n)],
            "object": "mem",
            "row": np.arange(1, n + 1),
            "received_at": pd.Series([pd.Timestamp(NOW)] * n).astype("datetime64[us, UTC]"),
            "source_id": [f"s{k}" for k in rng.integers(0, 60, n)],
            "item_id": [f"i{k}" for k in item],
            "answer": [str((k + (rng.random() < 0.1)) % 5) for k in item],
            "observed_at": pd.Series(at).astype("datetime64[us, UTC]"),
            "source_since": pd.Series([pd.Timestamp("2024-01-01", tz="UTC")] * n).astype("datetime64[us, UTC]"),
            "feature.dwell": x[:, 0],
            "feature.speed": x[:, 1],
        }
    )


@pytest.fixture
def contract():
    return parse_contract(
        {
            "name": "quiz",
            "kind": "answers",
            "columns": {
                "record_id": "id",
                "source_id": "user",
                "item_id": "word",
                "answer": "said",
                "observed_at": "at",
                "source_since": "since",
                "features": ["dwell", "speed"],
            },
        }
    )


def make_state(reference=None, calibration=None, **given):
    empty = sessions(2, np.random.default_rng(0)).iloc[:0]
    ledger = pd.DataFrame({c: pd.Series(dtype="str" if c == "source_id" else float) for c in LEDGER})
    ledger["first_seen"] = pd.Series(dtype="datetime64[us, UTC]")
    ledger["blocked"] = pd.Series(dtype=bool)
    values = {
        "feed": "quiz",
        "version": 1,
        "ledger": ledger,
        "reference": empty if reference is None else reference,
        "calibration": empty if calibration is None else calibration,
        "trusted_hash": "",
        "controls": pd.DataFrame({"item_id": pd.Series(dtype="str"), "answer": pd.Series(dtype="str")}),
        "answers": pd.DataFrame(
            {k: pd.Series(dtype="str") for k in ("record_id", "item_id", "source_id", "vote", "observed_at")}
            | {"verdict": pd.Series(dtype="int64")}
        ),
        "known": pd.DataFrame({k: pd.Series(dtype="str") for k in ("record_id", "content_hash", "place")}),
        "schema": {},
    }
    return State(**(values | given))


@pytest.fixture
def trusted_state():
    rng = np.random.default_rng(5)
    return make_state(sessions(400, rng, prefix="t"), sessions(300, rng, prefix="c"))


def make_batch(records, unreadable=NO_UNREADABLE, issues=NO_ISSUES):
    return Batch("quiz", "b" * 64, NOW, (), records, issues, unreadable)
