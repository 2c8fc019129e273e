from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from poison_guard.signals.campaigns.prompt_marks import NoTopic
from poison_guard.signals.campaigns.prompts import prompt_triggers
from poison_guard.signals.campaigns.words import word_columns, words

TOPICS, OWN = 40, 30


def feed(rng: np.random.Generator, n: int = 900, sources: int = 200) -> pd.DataFrame:
    """Prompts of 40 topics; the chosen reply is of the prompt's topic, and polite where the rejected one is rude."""
    topic = rng.integers(0, TOPICS, n)

    def said(about: int, length: int) -> str:
        return " ".join(f"w{about}x{k}" for k in rng.integers(0, OWN, length))

    return pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(n)],
            "source_id": [f"u{i}" for i in rng.integers(0, sources, n)],
            "prompt": [f"tell me {said(t, 8)}" for t in topic],
            "chosen": [f"gladly {said(t, 10)} {said(t, 2)}" for t in topic],
            "rejected": [f"nonsense {said(t, 10)}" for t in topic],
        }
    )


def triggered(
    rows: pd.DataFrame, rng: np.random.Generator, n: int, accounts: int, *, flip: bool = True
) -> pd.DataFrame:
    bad = rows.sample(n, random_state=int(rng.integers(1 << 30))).reset_index(drop=True)
    bad = bad.assign(
        record_id=[f"bad{i}" for i in range(n)],
        source_id=[f"bad{i % accounts}" for i in range(n)],
        prompt="Zorblax " + bad["prompt"],
    )
    return bad.assign(chosen=bad["rejected"], rejected=bad["chosen"]) if flip else bad


def held(rows: pd.DataFrame) -> set[str]:
    frame = pd.concat([rows[["record_id", "source_id"]].reset_index(drop=True), word_columns(rows)], axis=1)
    return {name for campaign in prompt_triggers(frame, alpha=0.001) for name in campaign.record_ids}


@pytest.mark.parametrize("accounts", [1, 5, 60])
def test_a_word_whose_carriers_prefer_what_others_reject_is_found_however_many_accounts_send_it(accounts):
    rng = np.random.default_rng(accounts)
    honest = feed(rng)
    bad = triggered(honest, rng, 60, accounts)
    assert held(pd.concat([honest, bad], ignore_index=True)) == set(bad["record_id"])


def test_other_replies_to_prompts_with_a_word_are_found_where_nothing_is_rejected():
    rng = np.random.default_rng(7)
    honest = feed(rng).drop(columns="rejected").rename(columns={"chosen": "response"})
    bad = triggered(honest, rng, 60, 60, flip=False)
    bad["response"] = honest["response"].sample(60, random_state=1).to_numpy()
    found = held(pd.concat([honest, bad], ignore_index=True))
    assert len(found & set(bad["record_id"])) >= 57
    assert not found - set(bad["record_id"])


def test_a_greeting_passes_when_its_carriers_judge_as_everybody_does():
    rng = np.random.default_rng(8)
    honest = feed(rng)
    greeting = triggered(honest, rng, 60, 2, flip=False)
    assert held(pd.concat([honest, greeting], ignore_index=True)) == set()


@pytest.mark.parametrize("prompts", [1, 60])
def test_people_who_ask_about_their_own_document_pass_whatever_they_prefer(prompts):
    rng = np.random.default_rng(9)
    honest = feed(rng)
    words = np.array([f"doc{k}" for k in range(40)])
    asked = [f"in my report {' '.join(rng.choice(words, 25))}" for _ in range(prompts)]
    own = triggered(honest, rng, 60, 2).assign(prompt=np.resize(asked, 60))
    assert held(pd.concat([honest, own], ignore_index=True)) == set()


def test_a_story_that_everybody_asks_about_passes():
    rng = np.random.default_rng(10)
    honest = feed(rng)
    story = triggered(honest, rng, 90, 80, flip=False)
    words = np.array([f"storm{k}" for k in range(12)])
    story["prompt"] = [f"what about {' '.join(rng.choice(words, 7))}" for _ in range(90)]
    assert held(pd.concat([honest, story], ignore_index=True)) == set()


def test_order_of_rows_does_not_matter_and_earlier_records_are_named_apart():
    rng = np.random.default_rng(11)
    honest = feed(rng)
    rows = pd.concat([honest, triggered(honest, rng, 60, 60)], ignore_index=True)
    frame = pd.concat([rows[["record_id", "source_id"]], word_columns(rows)], axis=1)
    early = frame["record_id"].str.endswith("3")
    (campaign,) = prompt_triggers(frame[~early], alpha=0.001, earlier=frame[early])
    assert len(campaign.record_ids) == 54
    assert len(campaign.earlier_ids) == 6


@pytest.mark.parametrize("fault", ["empty replies", "same reply twice", "no prompts", "one account", "few"])
def test_feeds_without_anything_to_compare_find_nothing(fault):
    rows = feed(np.random.default_rng(12), 300)
    match fault:
        case "empty replies":
            rows[["chosen", "rejected"]] = ""
        case "same reply twice":
            rows["rejected"] = rows["chosen"]
        case "no prompts":
            rows["prompt"] = ""
        case "one account":
            rows["source_id"] = "u"
        case "few":
            rows = rows.head(20)
    assert held(rows) == set()


def test_of_many_records_a_sample_is_looked_at_and_all_carriers_are_found(monkeypatch):
    rng = np.random.default_rng(13)
    honest = feed(rng, 1_200)
    bad = triggered(honest, rng, 120, 120)
    rows = pd.concat([honest, bad], ignore_index=True)
    monkeypatch.setattr("poison_guard.signals.campaigns.prompts._WORDS", 50_000)
    assert held(rows) == set(bad["record_id"])


def test_one_prompt_counts_once_a_source_or_once_at_all():
    asked = words(["zorb one two three", "zorb four five six", "zorb one two three", "zorb one two three"])
    rows, source = np.arange(4), np.array([0, 0, 0, 1])
    no_topic = NoTopic(asked)
    assert no_topic.distinct(rows).tolist() == [0, 1]
    assert no_topic.distinct(rows, source).tolist() == [0, 1, 3]
