"""A feed of queries from records to decisions: what is judged, what waits, and what is held."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from poison_guard.config import parse_contract
from tests.unit.pipeline.conftest import NOW, decide, make_batch, make_state

FEATURES = ("a", "b", "c", "d")
TABLE = {
    "name": "asks",
    "kind": "queries",
    "columns": {
        "record_id": "id", "source_id": "user", "observed_at": "at", "answer": "said", "features": list(FEATURES),
    },
}  # fmt: skip


def log(rng, people, n=40, *, prefix="u", days=20):
    rows = []
    for person in range(people):
        things = 3 * np.eye(4)[rng.choice(4, 2, replace=False)]
        x = things[rng.integers(0, 2, n)] + 0.5 * rng.normal(size=(n, 4))
        at = np.sort(rng.uniform(0, days * 86400, n))
        rows.append(frame(x, at, f"{prefix}{person}"))
    return pd.concat(rows, ignore_index=True)


def frame(x, seconds, source):
    n = len(x)
    ids = [f"{source}-{i}" for i in range(n)]
    began = pd.Timestamp(NOW) - pd.Timedelta(days=25)
    cells = {
        "record_id": ids,
        "content_hash": ids,
        "object": "mem",
        "row": np.arange(n),
        "received_at": pd.Series([pd.Timestamp(NOW)] * n).astype("datetime64[us, UTC]"),
        "source_id": source,
        "answer": np.where(x.sum(axis=1) > 2, "yes", "no"),
        "observed_at": pd.Series(began + pd.to_timedelta(seconds, unit="s")).astype("datetime64[us, UTC]"),
    }
    return pd.DataFrame(cells | {f"feature.{name}": x[:, i] for i, name in enumerate(FEATURES)})


@pytest.fixture(scope="module")
def trusted():
    rows = log(np.random.default_rng(0), 40, prefix="t")
    return rows[::2].reset_index(drop=True), rows[1::2].reset_index(drop=True)


@pytest.fixture(scope="module")
def day():
    rng = np.random.default_rng(1)
    copied = frame(rng.uniform(-9, 9, (80, 4)), np.sort(rng.uniform(0, 9e5, 80)), "copier")
    return pd.concat([log(rng, 6), copied], ignore_index=True)


def decided(batch, state, **table):
    return decide(make_batch(batch), parse_contract(TABLE | table), state)


def test_who_copies_the_model_is_held_as_one_campaign_and_people_are_not(trusted, day):
    done = decided(day, make_state(*trusted))
    held = done.decisions[done.decisions["place"] == "quarantined"]
    assert len(held) == 80
    assert held["record_id"].str.startswith("copier").all()
    (campaign,) = done.campaigns
    assert campaign.kind.startswith("query_")
    assert set(done.decisions.loc[done.decisions["place"] != "quarantined", "place"]) == {"accepted"}


def test_a_query_without_a_time_waits_and_the_others_are_judged(trusted, day):
    without = day.assign(observed_at=day["observed_at"].where(day["record_id"] != "u0-3"))
    places = decided(without, make_state(*trusted)).decisions.set_index("record_id")["place"]
    assert places["u0-3"] == "staged"
    assert places["u0-4"] == "accepted"


@pytest.mark.parametrize("lacking", ["observed_at", "source_id"])
def test_queries_that_nobody_can_order_or_name_all_wait_with_the_reason(trusted, day, lacking):
    table = {"columns": {k: v for k, v in TABLE["columns"].items() if k != lacking}}
    done = decided(day.drop(columns=lacking), make_state(*trusted), **table)
    assert set(done.decisions["place"]) == {"staged"}
    assert len(done.decisions) == len(day)
    assert {"signal_missing", "unjudged"} & {note.code for note in done.notes}


def test_without_trusted_queries_all_wait(day):
    done = decided(day, make_state())
    assert set(done.decisions["place"]) == {"staged"}
    assert any("30 trusted sources" in str(note.args.get("why")) for note in done.notes)


def test_few_trusted_sources_say_how_many_are_needed(trusted, day):
    some = [part[part["source_id"].isin(["t1", "t2"])].reset_index(drop=True) for part in trusted]
    done = decided(day, make_state(*some))
    assert set(done.decisions["place"]) == {"staged"}
    assert any("30 trusted sources" in str(note.args.get("why")) for note in done.notes)


def test_texts_are_queries_too(trusted, day):
    words = {"a": "cats and how to feed them", "b": "trains to the sea", "c": "rent in winter", "d": "songs of old"}

    def as_text(rows):
        rng = np.random.default_rng(len(rows))
        most = rows[[f"feature.{name}" for name in FEATURES]].to_numpy().argmax(axis=1)
        texts = [f"{words['abcd'[k]]} {rng.integers(1000)} {'why' if rng.random() < 0.5 else 'when'}" for k in most]
        return rows.drop(columns=[f"feature.{name}" for name in FEATURES]).assign(prompt=texts)

    columns = {**{k: v for k, v in TABLE["columns"].items() if k != "features"}, "prompt": "asked"}
    letters = np.random.default_rng(5).choice(list("bcdfghjklmnp"), (80, 30))
    batch = as_text(day)
    batch.loc[batch["source_id"] == "copier", "prompt"] = [
        "".join(row[:14]) + " " + "".join(row[14:]) for row in letters
    ]
    done = decided(batch, make_state(*map(as_text, trusted)), columns=columns)
    held = done.decisions.loc[done.decisions["place"] == "quarantined", "record_id"]
    assert held.str.startswith("copier").sum() == 80
    assert (~held.str.startswith("copier")).sum() == 0
