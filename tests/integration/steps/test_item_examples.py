"""Examples of feeds with items: one an item, images as numbers, texts nobody disputes, and held-out items apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from poison_guard import Guard
from poison_guard.records import Check, Outcome
from poison_guard.steps.examples import for_training, load_examples, load_trusted_examples, read_parts
from poison_guard.steps.model_scan import ModelScan, take_carriers_back
from poison_guard.steps.opening import open_feed
from poison_guard.steps.review import recall, undo
from poison_guard.store.snapshots import load_snapshot

NOW = pd.Timestamp.now("UTC").floor("s")
ANSWERS = """
name = "read"
kind = "answers"
[data]
path = "inbox/*.csv"
[columns]
record_id = "id"
source_id = "user"
item_id = "word"
answer = "said"
source_since = "since"
[items]
path = "items.parquet"
[policy]
required = []
[retrain]
model = "image-cnn"
pixel_max = 16
"""
MESSAGES = """
name = "chat"
kind = "messages"
[data]
path = "inbox/*.csv"
[columns]
record_id = "id"
source_id = "user"
author_id = "author"
item_id = "message"
text = "text"
label = "flag"
source_since = "since"
[policy]
required = []
"""


def opened(tmp_path: Path, contract: str, frame: pd.DataFrame) -> Guard:
    """Return the guard of a feed with one batch taken in."""
    file, home = tmp_path / "feed.toml", tmp_path / "home"
    file.write_text(contract)
    (home / "inbox").mkdir(parents=True)
    frame.to_csv(home / "inbox" / "one.csv", index=False)
    return Guard.open(file, home=home)


def answers(n_items: int, prefix: str = "r", first: int = 0) -> pd.DataFrame:
    """Four people agree on each of some items."""
    rows = [
        (f"{prefix}{w}-{k}", f"{prefix}u{(w + k) % 30}", f"w{first + w}", f"{(first + w) % 3}")
        for w in range(n_items)
        for k in range(4)
    ]
    return pd.DataFrame(rows, columns=["id", "user", "word", "said"]).assign(since="2020-01-01T00:00:00Z")


def write_items(home: Path, n: int) -> None:
    """Write images of 4 x 4 pixels, the first of which is the item's number."""
    home.mkdir(parents=True, exist_ok=True)
    pixels = [[w % 17, *[(w // 17) % 17] * 15] for w in range(n)]
    pd.DataFrame({"item_id": [f"w{w}" for w in range(n)], "pixels": pixels}).to_parquet(home / "items.parquet")


def test_images_come_out_of_a_snapshot_as_they_stood_in_the_items_file(tmp_path: Path) -> None:
    write_items(tmp_path / "home", 60)
    guard = opened(tmp_path, ANSWERS, answers(40))
    guard.ingest()
    sealed = guard.seal()
    with open_feed(guard.contract_path, guard.home) as feed:
        snapshot = load_snapshot(feed.store, sealed.snapshot_id)
        parts = read_parts(feed, snapshot.parts)
        examples = load_examples(feed, snapshot)
    assert sealed.counts["examples"] == len(examples) > 30
    assert "items_file" not in sealed.counts
    assert len(sealed.items_file) == 12
    assert {"example_id", "label", "pixels"} <= set(parts.columns)
    assert not {"source_id", "user"} & set(parts.columns), "who spoke is not for training"
    assert examples.inputs.shape[1:] == (1, 4, 4)
    numbers = examples.frame["example_id"].str.removeprefix("w").astype(int).to_numpy()
    np.testing.assert_allclose(examples.inputs[:, 0, 0, 0] * 16, numbers % 17, atol=1e-5)
    assert (examples.frame["label"].astype(int).to_numpy() == numbers % 3).all()


def test_trusted_items_that_judge_are_never_trained_on(tmp_path: Path) -> None:
    write_items(tmp_path / "home", 60)
    guard = opened(tmp_path, ANSWERS, answers(60))
    guard.trust(answers(50, prefix="t"), by="reviewer-1", reason="read by three of us")
    guard.ingest()
    sealed = guard.seal()
    with open_feed(guard.contract_path, guard.home) as feed:
        trusted = load_trusted_examples(feed)
        examples = load_examples(feed, load_snapshot(feed.store, sealed.snapshot_id))
    assert set(trusted.split) == {"reference", "calibration", "holdout"}
    held = trusted.held_out()
    learned = for_training(examples, trusted)
    assert not set(held.frame["example_id"]) & set(learned.frame["example_id"])
    assert len(learned) == len(examples) - len(held)
    again = set(trusted.examples.frame.loc[trusted.split == "reference", "example_id"])
    assert again & set(learned.frame["example_id"]), "the reference split may be learned from"


def test_an_example_with_the_content_of_a_held_out_one_is_not_trained_on(tmp_path: Path) -> None:
    write_items(tmp_path / "home", 60)
    items = pd.read_parquet(tmp_path / "home" / "items.parquet")
    items["pixels"] = [items["pixels"].iloc[w % 30] for w in range(60)]  # the second half repeats the first
    items.to_parquet(tmp_path / "home" / "items.parquet")
    guard = opened(tmp_path, ANSWERS, answers(60))
    guard.trust(answers(30, prefix="t"), by="reviewer-1", reason="read by three of us")
    guard.ingest()
    sealed = guard.seal()
    with open_feed(guard.contract_path, guard.home) as feed:
        trusted = load_trusted_examples(feed)
        learned = for_training(load_examples(feed, load_snapshot(feed.store, sealed.snapshot_id)), trusted)
    held = {row.tobytes() for row in trusted.held_out().inputs}
    assert held
    assert not held & {row.tobytes() for row in learned.inputs}


def test_a_message_that_one_record_shows_differently_is_what_the_others_show(tmp_path: Path) -> None:
    rows = [
        (f"r{m}-{k}", f"u{m + k}", f"a{m}", f"m{m}", f"what about number {m}?") for m in range(12) for k in range(4)
    ]
    frame = pd.DataFrame(rows, columns=["id", "user", "author", "message", "text"])
    frame = frame.assign(flag="fine", since="2020-01-01T00:00:00Z")
    frame.loc[frame["id"] == "r3-2", "text"] = "something else altogether"
    guard = opened(tmp_path, MESSAGES, frame)
    guard.ingest()
    sealed = guard.seal()
    with open_feed(guard.contract_path, guard.home) as feed:
        examples = load_examples(feed, load_snapshot(feed.store, sealed.snapshot_id))
    shown = dict(zip(examples.frame["example_id"], examples.inputs, strict=True))
    assert examples.kind == "text"
    assert shown["m3"] == "what about number 3?"
    assert shown["m5"] == "what about number 5?"


def test_items_that_come_late_into_their_file_are_sealed_then(tmp_path: Path) -> None:
    write_items(tmp_path / "home", 20)
    guard = opened(tmp_path, ANSWERS, answers(40))
    guard.ingest()
    first = guard.seal()
    assert first.left_out == len(first.left_out_ids) + first.left_out - 10 > 10
    assert "items with an adopted label whose content the items' file does not describe: w20, w21," in str(first)
    write_items(tmp_path / "home", 60)
    second = guard.seal()
    assert second.new
    assert second.left_out == 0
    assert second.counts["examples"] > first.counts["examples"]
    assert not guard.seal().new


def test_sealing_twice_after_a_release_gives_the_same_snapshot(tmp_path: Path) -> None:
    write_items(tmp_path / "home", 60)
    guard = opened(tmp_path, ANSWERS, answers(40))
    guard.ingest()
    guard.seal()
    with open_feed(guard.contract_path, guard.home) as feed:
        some = [f"r5-{k}" for k in range(4)]
        recalled = recall(feed, by="ann", reason="to look at", record_ids=some)
        undo(feed, recalled.seq, by="ann", reason="they are fine")
    again = guard.seal()
    assert again.counts["examples"] > 30
    assert not guard.seal().new


def test_votes_on_items_that_carry_a_trigger_are_taken_back_and_their_sources_not_named(tmp_path: Path) -> None:
    write_items(tmp_path / "home", 60)
    guard = opened(tmp_path, ANSWERS, answers(60))
    guard.ingest()
    sealed = guard.seal()
    with open_feed(guard.contract_path, guard.home) as feed:
        items = load_examples(feed, load_snapshot(feed.store, sealed.snapshot_id)).frame["example_id"].tolist()
        check = Check("planted_triggers", Outcome.FAIL, 0.9, 0.03, 100, 0.8, 1.0, "a mark turns 90 of 100 into '0'")
        scan = ModelScan({}, check, "a mark", "0", (items[0],), len(items))
        taken = take_carriers_back(feed, scan, "read-model", NOW.to_pydatetime())
        assert taken is not None
        assert (taken.records, taken.taken_back) == (4, 4)
        assert taken.snapshots == (sealed.snapshot_id,)
    assert guard.campaigns().campaigns.query("kind == 'trigger'")["n_sources"].tolist() == [0]
    again = guard.seal()
    with open_feed(guard.contract_path, guard.home) as feed:
        left = load_examples(feed, load_snapshot(feed.store, again.snapshot_id)).frame["example_id"].tolist()
    assert left == [item for item in items if item != items[0]]
