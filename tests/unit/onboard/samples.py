"""Small made-up files of the kinds people bring: chat logs, preference pairs, votes, moderation, telemetry."""

from __future__ import annotations

import numpy as np
import pandas as pd

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "lazy", "dog", "and", "then", "some", "more"]
ROWS = 300


def make_samples():
    """Name -> frame, always the same."""
    rng = np.random.default_rng(0)
    users = [f"u{i}" for i in rng.integers(0, 40, ROWS)]
    minutes = pd.date_range("2026-01-01", periods=ROWS, freq="min")

    def say(n):
        return [" ".join(rng.choice(WORDS, n)) for _ in range(ROWS)]

    def turns(n):
        return [[{"role": "user", "content": a}, {"role": "assistant", "content": a}] for a in say(n)]

    return {
        "chat": pd.DataFrame(
            {
                "conversation_id": [f"c{i}" for i in range(ROWS)],
                "user_id": users,
                "model_version": rng.choice(["v1", "v2"], ROWS),
                "prompt": say(9),
                "response": say(30),
                "rating": rng.integers(1, 6, ROWS),
                "latency_ms": rng.gamma(2, 300, ROWS),
                "created_at": minutes.astype(str),
            }
        ),
        "trl": pd.DataFrame({"prompt": say(9), "chosen": say(20), "rejected": say(20)}),
        "trl_turns": pd.DataFrame({"chosen": turns(5), "rejected": turns(5), "score_chosen": rng.random(ROWS)}),
        "turns": pd.DataFrame(
            {
                "messages": turns(5),
                "user": users,
                "thumbs_up": rng.random(ROWS) < 0.7,
                "ts": 1_763_385_772 + np.arange(ROWS),
            }
        ),
        "thumb_text": pd.DataFrame({"user_id": users, "thumb": rng.choice(["up", "down"], ROWS)}),
        "thumb_number": pd.DataFrame({"user_id": users, "thumb": rng.choice([1, -1], ROWS)}),
        "captcha": pd.DataFrame(
            {
                "answer_id": [f"a{i}" for i in range(ROWS)],
                "user_id": users,
                "word_id": [f"w{i}" for i in rng.integers(0, 50, ROWS)],
                "answer": rng.integers(0, 10, ROWS),
                "answered_at": minutes.tz_localize("UTC"),
                "account_created_at": minutes.tz_localize("UTC") - pd.Timedelta(days=100),
                "dwell_ms": rng.gamma(2, 300, ROWS),
                "pointer_speed": rng.gamma(2, 0.5, ROWS),
            }
        ),
        "questions": pd.DataFrame(
            {
                "id": range(ROWS),
                "workerId": users,
                "question": say(8),
                "answer": say(12),
                "helpfulness": rng.integers(0, 2, ROWS),
            }
        ),
        "arena": pd.DataFrame(
            {
                "question_id": [f"q{i}" for i in rng.integers(0, 50, ROWS)],
                "judge": users,
                "model_a": rng.choice(["gpt", "llama"], ROWS),
                "winner": rng.choice(["model_a", "model_b", "tie"], ROWS),
                "tstamp": 1.68e9 + np.arange(ROWS),
            }
        ),
        "moderation": pd.DataFrame(
            {
                "message_id": [f"m{i}" for i in rng.integers(0, 100, ROWS)],
                "author": users,
                "flagger": users[::-1],
                "body": say(9),
                "flag": rng.choice(["ok", "abuse"], ROWS),
                "flagged_at": minutes.astype(str),
            }
        ),
        "sessions": pd.DataFrame(
            {
                "session_id": [f"s{i}" for i in range(ROWS)],
                "device_id": users,
                "started_at": minutes.astype(str),
                "pointer_speed": rng.random(ROWS),
                "dwell_ms": rng.random(ROWS),
                "touch": rng.random(ROWS) < 0.5,
                "challenge": rng.choice(["pass", "fail"], ROWS),
            }
        ),
    }


EXPECTED = {
    "chat": (
        "preferences",
        {
            "record_id": "conversation_id",
            "source_id": "user_id",
            "rating": "rating",
            "prompt": "prompt",
            "response": "response",
            "group": "model_version",
            "observed_at": "created_at",
        },
        ("latency_ms",),
    ),
    "trl": ("preferences", {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}, ()),
    "trl_turns": ("preferences", {"chosen": "chosen", "rejected": "rejected"}, ()),
    "turns": ("messages", {"source_id": "user", "label": "thumbs_up", "text": "messages", "observed_at": "ts"}, ()),
    "thumb_text": ("answers", {"source_id": "user_id", "label": "thumb"}, ()),
    "thumb_number": ("answers", {"source_id": "user_id", "rating": "thumb"}, ()),
    "captcha": (
        "answers",
        {
            "record_id": "answer_id",
            "source_id": "user_id",
            "item_id": "word_id",
            "answer": "answer",
            "observed_at": "answered_at",
            "source_since": "account_created_at",
        },
        ("dwell_ms", "pointer_speed"),
    ),
    "questions": (
        "preferences",
        {
            "record_id": "id",
            "source_id": "workerId",
            "rating": "helpfulness",
            "prompt": "question",
            "response": "answer",
        },
        (),
    ),
    "arena": (
        "answers",
        {"source_id": "judge", "item_id": "question_id", "answer": "winner", "observed_at": "tstamp"},
        (),
    ),
    "moderation": (
        "answers",
        {
            "source_id": "flagger",
            "author_id": "author",
            "item_id": "message_id",
            "label": "flag",
            "text": "body",
            "observed_at": "flagged_at",
        },
        (),
    ),
    "sessions": (
        "telemetry",
        {"record_id": "session_id", "source_id": "device_id", "label": "challenge", "observed_at": "started_at"},
        ("pointer_speed", "dwell_ms", "touch"),
    ),
}
"""Name -> kind, roles and features that a proposal must find."""
