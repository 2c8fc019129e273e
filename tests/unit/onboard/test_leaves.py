import random
import re
import tomllib

import numpy as np
import pandas as pd

from poison_guard.config import parse_contract
from poison_guard.onboard import draft_contract, propose_contract


def reviews(n: int = 200) -> pd.DataFrame:
    """Documents in objects, with what reviewers said of them in a list."""
    rng = random.Random(1)
    return pd.DataFrame(
        {
            "doc": [{"id": f"d{i}", "body": f"a text about the thing with number {i}"} for i in range(n)],
            "reviews": [
                [{"reviewer": f"r{k}", "verdict": rng.choice(["ok", "bad"])} for k in range(1 + i % 3)]
                for i in range(n)
            ],
        }
    )


def test_values_inside_objects_have_roles_by_their_paths() -> None:
    frame = pd.DataFrame(
        {
            "user": [{"id": f"u{i % 9}", "plan": "free"} for i in range(90)],
            "body": [f"a message with the number {i}" for i in range(90)],
            "meta": [{"client": {"sent_at": f"2026-11-01T10:{i % 60:02d}:00Z"}} for i in range(90)],
        }
    )

    columns = tomllib.loads(propose_contract(frame, name="x", data_path="x.jsonl"))["columns"]

    assert columns == {"source_id": "user.id", "text": "body", "observed_at": "meta.client.sent_at"}


def test_a_list_of_objects_that_look_like_judgements_is_written_as_comments_that_work_when_they_are_kept() -> None:
    text = propose_contract(reviews(), name="x", data_path="x.jsonl")
    assert tomllib.loads(text)["columns"] == {
        "record_id": "doc.id",
        "text": "doc.body",
    }

    kept = re.sub(r"^record_id = .*$", "", text, flags=re.MULTILINE)
    kept = kept.replace('path = "x.jsonl"', 'path = "x.jsonl"\nexplode = "reviews[]"')
    kept = re.sub(r'^# (\w+ = "(?!…).*")$', r"\1", kept, flags=re.MULTILINE)
    contract = parse_contract(tomllib.loads(kept))

    assert contract.columns["record_id"] == "doc.id + #"
    assert contract.columns["item_id"] == "doc.id"
    assert contract.columns["source_id"] == "reviews[].reviewer"
    assert contract.vote == "label"


def test_turns_of_a_conversation_are_no_judgements() -> None:
    frame = pd.DataFrame(
        {"id": range(50), "talk": [[{"role": "user", "content": f"hello number {i}"}] for i in range(50)]}
    )

    assert "explode" not in propose_contract(frame, name="x", data_path="x.jsonl")


def test_a_judgement_of_any_name_is_found_in_a_list_by_its_agreement_and_init_asks_for_the_list() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 60)
    rows = [
        {
            "doc": {"uri": f"s3://b/{i}.txt"},
            "urteile": [
                {"reviewer": f"r{rater}", "wahl": f"k{truth[i] if rng.random() < 0.8 else rng.integers(0, 3)}"}
                for rater in rng.choice(20, 6, replace=False)
            ],
        }
        for i in range(60)
    ]
    draft = draft_contract(pd.DataFrame(rows), name="x", data_path="x.jsonl")
    for line in ('item_id = "doc.uri"', 'source_id = "urteile[].reviewer"', 'answer = "urteile[].wahl"'):
        assert f"# {line}\n" in draft.text
    assert "urteile[] looks like a list of judgements" in draft.question
