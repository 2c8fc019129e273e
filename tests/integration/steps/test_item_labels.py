"""Adopted labels against trusted items: one they deny waits for a person, who has the last word."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from poison_guard import Guard
from poison_guard.review.filters import QueueFilter
from poison_guard.steps.examples import read_parts
from poison_guard.steps.opening import open_feed
from poison_guard.steps.queue import list_queue
from poison_guard.store.audit import verify
from poison_guard.store.snapshots import load_snapshot

CONTRACT = """
name = "sorted"
kind = "answers"
[data]
path = "inbox/*.csv"
[columns]
record_id = "id"
source_id = "user"
item_id = "thing"
answer = "said"
source_since = "since"
[items]
path = "items.parquet"
features = ["size", "weight"]
[controls]
path = "controls.csv"
[policy]
required = []
"""
N, TRUSTED = 40, 460
WRONG = ("t1", "t2", "t3")
"""Items of which all votes say the same wrong thing."""


def truth(number: int) -> str:
    return ("small", "large")[number % 2]


def votes(numbers: range, prefix: str, each: int = 3) -> pd.DataFrame:
    """Votes about things, all right but for those of `WRONG`."""
    rows = [
        (f"{prefix}{t}-{k}", f"{prefix}u{(t + k) % 25}", f"t{t}", truth(t + (f"t{t}" in WRONG and prefix == "r")))
        for t in numbers
        for k in range(each)
    ]
    return pd.DataFrame(rows, columns=["id", "user", "thing", "said"]).assign(since="2020-01-01T00:00:00Z")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the home of a feed whose trusted items know small things from large ones, with one batch taken in."""
    home = tmp_path_factory.mktemp("made") / "home"
    (home / "inbox").mkdir(parents=True)
    (home.parent / "feed.toml").write_text(CONTRACT)
    numbers = np.arange(N + TRUSTED)
    sizes = np.random.default_rng(0).standard_normal((len(numbers), 2)) + 6 * (numbers % 2)[:, None]
    names = [f"t{t}" for t in numbers]
    pd.DataFrame({"item_id": names, "size": sizes[:, 0], "weight": sizes[:, 1]}).to_parquet(home / "items.parquet")
    pd.DataFrame({"item_id": ["t0"], "answer": [truth(0)]}).to_csv(home / "controls.csv", index=False)
    votes(range(N), "r").to_csv(home / "inbox" / "one.csv", index=False)
    guard = Guard.open(home.parent / "feed.toml", home=home)
    guard.trust(votes(range(N, N + TRUSTED), "v", each=1), by="reviewer-1", reason="measured by us")
    guard.ingest()
    return home


@pytest.fixture
def guard(made: Path, tmp_path: Path) -> Guard:
    shutil.copytree(made, tmp_path / "home")
    shutil.copy(made.parent / "feed.toml", tmp_path / "feed.toml")
    return Guard.open(tmp_path / "feed.toml", home=tmp_path / "home")


def sealed_items(guard: Guard, snapshot_id: str) -> set[str]:
    with open_feed(guard.contract_path, guard.home) as feed:
        return set(read_parts(feed, load_snapshot(feed.store, snapshot_id).parts)["example_id"])


def asked(guard: Guard) -> pd.DataFrame:
    with open_feed(guard.contract_path, guard.home) as feed:
        return list_queue(feed, QueueFilter(kind="item")).entries.sort_values("item_id", ignore_index=True)


def test_an_adopted_label_that_trusted_items_deny_is_no_example_and_waits_with_its_sentence(guard: Guard) -> None:
    sealed = guard.seal()
    entries = asked(guard)
    assert not sealed_items(guard, sealed.snapshot_id) & set(WRONG)
    assert sealed.counts["examples"] == N - len(entries) >= N - 5
    assert sealed.denied == len(entries)
    assert "poison-guard review list --kind item" in str(sealed)
    assert set(WRONG) <= set(entries["item_id"])
    why = entries.set_index("item_id")["why"]
    assert why["t1"] == "trusted neighbours say large 10 of 10 times, not small"
    assert set(entries["place"]) == {"accepted"}, "a veto is no vote: the answers stay accepted"
    looks = guard.ask(budget=5).tasks.set_index("item_id")
    assert set(looks.loc[list(WRONG), "ask"]) == {"look"}
    assert looks.loc["t1", "sentence"].startswith("trusted items deny its label")
    assert not guard.seal().new
    assert len(asked(guard)) == len(entries)
    with open_feed(guard.contract_path, guard.home) as feed:
        assert verify(feed.store).ok


def test_what_a_person_says_of_a_vote_settles_its_item(guard: Guard) -> None:
    guard.seal()
    entries = asked(guard).set_index("item_id")
    guard.release(record_ids=entries.loc["t1", "record_id"], by="ann", reason="it is small")
    guard.reject(record_ids=entries.loc["t2", "record_id"], by="ann", reason="it is small, not large")
    second = guard.seal()
    assert second.new
    assert "t1" in sealed_items(guard, second.snapshot_id)
    assert "t2" not in sealed_items(guard, second.snapshot_id)
    assert "t2" not in set(asked(guard)["item_id"]), "a person said that it is wrong: nobody is asked again"
    assert not guard.seal().new


def test_a_known_answer_outweighs_the_trusted_items(guard: Guard) -> None:
    guard.seal()
    pd.DataFrame({"item_id": ["t3"], "answer": [truth(4)]}).to_csv(guard.home / "controls.csv", index=False)
    assert "t3" in sealed_items(guard, guard.seal().snapshot_id)


def test_another_trusted_set_judges_every_label_again_and_trusted_items_keep_theirs(guard: Guard) -> None:
    vetted = votes(range(1, 4), "w", each=1).assign(said=[truth(t + 1) for t in range(1, 4)])
    before = guard.seal()
    guard.trust(vetted, by="reviewer-2", reason="odd things, measured again")
    after = guard.seal()
    assert before.denied >= len(WRONG)
    assert after.denied == before.denied - len(WRONG)
    assert set(WRONG) <= sealed_items(guard, after.snapshot_id)


def test_without_trusted_items_every_adopted_label_is_sealed_and_a_note_says_so(tmp_path: Path, made: Path) -> None:
    home = tmp_path / "home"
    (home / "inbox").mkdir(parents=True)
    for name in ("items.parquet", "controls.csv"):
        shutil.copy(made / name, home / name)
    (tmp_path / "feed.toml").write_text(CONTRACT)
    votes(range(N), "r").to_csv(home / "inbox" / "one.csv", index=False)
    guard = Guard.open(tmp_path / "feed.toml", home=home)
    guard.ingest()
    sealed = guard.seal()
    assert sealed.counts["examples"] == N
    assert "were compared with no trusted items" in str(sealed)
    guard.trust(votes(range(N, N + 40), "v", each=1), by="reviewer-1", reason="measured by us")
    assert "only 11 calibration records; 99 are needed" in guard.seal().not_compared


def test_a_feed_that_only_observes_keeps_denied_labels_and_says_how_many(guard: Guard) -> None:
    text = guard.contract_path.read_text().replace('kind = "answers"', 'kind = "answers"\nmode = "observe"')
    guard.contract_path.write_text(text)
    observing = Guard.open(guard.contract_path, home=guard.home)
    sealed = observing.seal()
    assert sealed.counts["examples"] == N
    assert "a feed that only observes keeps them" in str(sealed)
