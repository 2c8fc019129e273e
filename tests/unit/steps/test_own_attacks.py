from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from poison_guard.config import Contract, Data, Kind
from poison_guard.signals.campaigns.hidden_text import hidden_cells
from poison_guard.steps.own_attacks import attack_of, attack_sizes, own_attacks


def honest(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    at = pd.Timestamp("2026-11-01", tz="UTC") + pd.to_timedelta(np.arange(n), unit="min")
    return pd.DataFrame(
        {
            "record_id": [f"r{k}" for k in range(n)],
            "content_hash": [f"h{k}" for k in range(n)],
            "source_id": [f"u{k % 7}" for k in range(n)],
            "item_id": [f"i{k % 30}" for k in range(n)],
            "answer": rng.choice(["cat", "dog", "fox"], n),
            "text": [f"word{k} and word{k + 1} or {k % 5}" for k in range(n)],
            "observed_at": at,
            "source_since": pd.Timestamp("2024-01-01", tz="UTC"),
            "feature.dwell": rng.lognormal(size=n),
            "feature.speed": pd.array([None, *rng.gamma(2, size=n - 1)], dtype="Float64"),
            "feature.agent": rng.choice(["a", "b"], n),
        }
    ).astype({"record_id": "str", "source_id": "str", "answer": "str", "text": "str", "feature.agent": "str"})


def contract(*roles: str, features: tuple[str, ...] = ()) -> Contract:
    return Contract("f", Kind("answers"), Data(), {role: role for role in ("record_id", *roles)}, features)


WHOLE = contract("source_id", "item_id", "answer", "text", "observed_at", features=("dwell", "speed", "agent"))


def test_only_attacks_that_the_columns_allow_are_made():
    assert set(own_attacks(WHOLE, honest())) == {"mixtures", "moved", "replays", "copies", "agreed"}
    assert set(own_attacks(contract("source_id", features=("dwell",)), honest())) == {"moved", "replays"}
    assert set(own_attacks(contract("source_id", "text"), honest())) == {"copies"}
    assert own_attacks(contract("source_id"), honest()) == {}


def test_the_same_seed_gives_the_same_attacks_and_leaves_the_honest_records_alone():
    records = honest()
    once, twice = own_attacks(WHOLE, records, seed=3), own_attacks(WHOLE, records, seed=3)
    for name in once:
        pd.testing.assert_frame_equal(once[name], twice[name])
    pd.testing.assert_frame_equal(records, honest())


@pytest.mark.parametrize("name", ["mixtures", "moved", "replays", "copies", "agreed"])
def test_attack_records_have_the_columns_of_honest_ones_and_ids_and_sources_of_their_own(name):
    records = honest()
    frame = own_attacks(WHOLE, records)[name]
    assert set(frame) == set(records)
    assert frame["record_id"].is_unique
    assert not set(frame["record_id"]) & set(records["record_id"])
    assert not set(frame["source_id"]) & set(records["source_id"])
    assert (frame["observed_at"] - frame["source_since"]).between("1D", "1D1h").all()
    assert len(frame[["source_id", "source_since"]].drop_duplicates()) == len(frame["source_id"].unique())
    assert not frame["feature.dwell"].isna().any()


def test_a_mixture_has_only_values_of_honest_records_but_not_together():
    records = honest()
    frame = own_attacks(WHOLE, records)["mixtures"]
    assert frame["feature.dwell"].isin(records["feature.dwell"]).all()
    pairs = set(zip(records["feature.dwell"], records["feature.speed"], strict=True))
    known = [pair in pairs for pair in zip(frame["feature.dwell"], frame["feature.speed"], strict=True)]
    assert np.mean(known) < 0.2


def test_replays_are_near_the_sessions_they_repeat_and_moved_ones_are_not():
    records, found = honest(), own_attacks(WHOLE, honest())
    spread = np.subtract(*np.quantile(records["feature.dwell"], (0.75, 0.25)))

    def nearest(frame):
        return np.abs(frame["feature.dwell"].to_numpy()[:, None] - records["feature.dwell"].to_numpy()).min(axis=1)

    assert nearest(found["replays"]).max() < 0.3 * spread
    assert len(np.unique(found["replays"]["feature.dwell"].round(1))) < 60
    assert nearest(found["moved"]).mean() > 5 * nearest(found["replays"]).mean()


def test_agreed_votes_are_one_wrong_vote_an_item_by_eight_voices():
    records, frame = honest(), own_attacks(WHOLE, honest())["agreed"]
    assert len(frame[["item_id", "answer"]].drop_duplicates()) == 20
    assert len(frame[["item_id", "source_id"]].drop_duplicates()) == len(frame) == 160
    usual = records.groupby("item_id")["answer"].agg(lambda said: said.mode().iloc[0])
    assert (frame["answer"] != frame["item_id"].map(usual)).all()


def test_two_records_and_constant_columns_are_enough():
    records = honest(2).assign(**{"feature.dwell": 1.0}, answer="cat")
    found = own_attacks(WHOLE, records)
    assert set(found) == {"mixtures", "moved", "replays", "copies"}


def test_hidden_text_is_put_into_documents_alone_and_is_looked_for():
    records = honest()
    documents = contract("source_id", "text")
    assert (25, 5) in attack_sizes(documents, "hidden text", records)
    assert attack_sizes(contract("source_id", "prompt", "text"), "hidden text", records) == []
    attack = attack_of(documents, records, "hidden text", (25, 5), seed=1)
    clean = hidden_cells([""])[0]
    assert attack["source_id"].nunique() == 5
    assert all(cell != clean for cell in hidden_cells(attack["text"].tolist()))


def test_turned_preferences_are_of_the_longer_reply():
    texts = [f"reply {'x' * (k % 9)}" for k in range(60)]
    pairs = honest().assign(chosen=texts, rejected=texts[::-1]).astype({"chosen": "str", "rejected": "str"})
    feed = contract("source_id", "chosen", "rejected")
    attack = attack_of(feed, pairs, "turned preferences", (25, 5), seed=1)
    assert (attack["chosen"].str.len() >= attack["rejected"].str.len()).all()
    assert attack_sizes(contract("source_id", "text"), "turned preferences", pairs) == []
