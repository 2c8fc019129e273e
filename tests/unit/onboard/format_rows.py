"""A few rows of each known format, as its tool writes them, and what a record of the first of them must say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["EXAMPLES", "Example"]


@dataclass(frozen=True)
class Example:
    """Rows of a format; `first` are roles of the first record; `records` counts the records that the rows make."""

    rows: Sequence[Mapping[str, Any]]
    first: Mapping[str, Any]
    records: int = 0
    csv: bool = False
    joined: Sequence[Mapping[str, Any]] = ()
    absent: frozenset[str] = field(default_factory=frozenset)
    """Roles that the entry has and these rows cannot give."""


_ASKED = ["How tall is Everest?", "Name a prime.", "What is 2 + 2?", "Say hello."]
_GOOD = ["8,849 metres.", "Seven.", "Four.", "Hello!"]
_BAD = ["Very tall.", "Eight.", "Five.", "Go away."]
_N = range(len(_ASKED))


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _reply(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _talk(i: int, reply: str) -> list[dict[str, str]]:
    return [_user(_ASKED[i]), _reply(reply)]


def _human(i: int, reply: str) -> str:
    return f"\n\nHuman: {_ASKED[i]}\n\nAssistant: {reply}"


def _attribute(key: str, value: str | float) -> dict[str, Any]:
    return {"key": key, "value": {"doubleValue" if isinstance(value, float) else "stringValue": value}}


def _node(i: int, replies: list[Any], parent: str | None = None) -> dict[str, Any]:
    who = {"message_id": f"m{i}", "parent_id": parent, "user_id": f"u{i}", "text": _ASKED[i % 4], "lang": "en"}
    return {**who, "role": "prompter", "labels": {"quality": {"value": 0.5, "count": 3}}, "replies": replies}


_PAIR = {"prompt": _ASKED[0], "chosen": _GOOD[0], "rejected": _BAD[0]}
_ANSWERED = {"prompt": _ASKED[0], "response": _GOOD[0]}

EXAMPLES = {
    "hh-rlhf": Example(
        [{"chosen": _human(i, _GOOD[i]), "rejected": _human(i, _BAD[i])} for i in _N],
        {"chosen": _GOOD[0], "rejected": _BAD[0], "prompt": f"\n\nHuman: {_ASKED[0]}\n\nAssistant: "},
    ),
    "openai-dpo": Example(
        [
            {
                "input": {"messages": [_user(_ASKED[i])], "tools": [], "parallel_tool_calls": True},
                "preferred_output": [_reply(_GOOD[i])],
                "non_preferred_output": [_reply(_BAD[i])],
            }
            for i in _N
        ],
        _PAIR,
    ),
    "llama-factory-v1-preference": Example(
        [
            {
                side: [
                    {"role": m["role"], "content": [{"type": "text", "value": m["content"]}], "loss_weight": 1.0}
                    for m in _talk(i, texts[i])
                ]
                for side, texts in (("chosen_messages", _GOOD), ("rejected_messages", _BAD))
            }
            for i in _N
        ],
        _PAIR,
    ),
    "llama-factory-preference": Example(
        [
            {
                "conversations": [{"from": "human", "value": _ASKED[i]}],
                "chosen": {"from": "gpt", "value": _GOOD[i]},
                "rejected": {"from": "gpt", "value": _BAD[i]},
            }
            for i in _N
        ],
        _PAIR,
    ),
    "ultrafeedback-binarized": Example(
        [
            {
                "prompt": _ASKED[i],
                "prompt_id": f"p{i}",
                "chosen": _talk(i, _GOOD[i]),
                "rejected": _talk(i, _BAD[i]),
                "messages": _talk(i, _GOOD[i]),
                "score_chosen": 8.5,
                "score_rejected": 4.0,
            }
            for i in _N
        ],
        _PAIR,
    ),
    "trl-preference": Example(
        [{"prompt": [_user(_ASKED[i])], "chosen": [_reply(_GOOD[i])], "rejected": [_reply(_BAD[i])]} for i in _N],
        _PAIR,
    ),
    "trl-preference-implicit": Example(
        [{"chosen": _talk(i, _GOOD[i]), "rejected": _talk(i, _BAD[i])} for i in _N], _PAIR
    ),
    "trl-stepwise": Example(
        [{"prompt": _ASKED[i], "completions": [_GOOD[i], _BAD[i]], "labels": [True, False]} for i in _N],
        {**_ANSWERED, "label": "true"},
        records=8,
    ),
    "trl-unpaired": Example(
        [{"prompt": _ASKED[i], "completion": _GOOD[i], "label": i % 2 == 0} for i in _N],
        {**_ANSWERED, "label": "true"},
    ),
    "llama-factory-kto": Example(
        [{"messages": _talk(i, _GOOD[i]), "label": i % 2 == 0} for i in _N], {**_ANSWERED, "label": "true"}
    ),
    "openai-sft": Example(
        [{"system": "Be kind.", "messages": _talk(i, _GOOD[i]), "tools": [{"type": "function"}]} for i in _N],
        {"prompt": f"Be kind.\n\n{_ASKED[0]}", "response": _GOOD[0]},
    ),
    "sharegpt": Example(
        [
            {
                "id": f"identity_{i}",
                "conversations": [{"from": "human", "value": _ASKED[i]}, {"from": "gpt", "value": _GOOD[i]}],
            }
            for i in _N
        ],
        {**_ANSWERED, "record_id": "identity_0"},
    ),
    "alpaca-eval": Example(
        [
            {
                "instruction": _ASKED[i],
                "output_1": _BAD[i],
                "output_2": _GOOD[i],
                "preference": 2.0 - i % 2,
                "annotator": f"a{i % 2}",
            }
            for i in _N
        ],
        {**_PAIR, "source_id": "a0", "label": "2"},
    ),
    "alpaca": Example(
        [{"instruction": _ASKED[i], "input": "Be brief.", "output": _GOOD[i]} for i in _N],
        {"prompt": f"{_ASKED[0]}\n\nBe brief.", "response": _GOOD[0]},
    ),
    "trl-prompt-completion": Example(
        [{"prompt": [_user(_ASKED[i])], "completion": [_reply(_GOOD[i])]} for i in _N], _ANSWERED
    ),
    "trl-prompt-only": Example([{"prompt": _ASKED[i]} for i in _N], {"prompt": _ASKED[0]}),
    "trl-language-modeling": Example([{"text": _GOOD[i]} for i in _N], {"text": _GOOD[0]}),
    "ultrafeedback": Example(
        [
            {
                "source": "sharegpt",
                "instruction": _ASKED[i],
                "models": ["a", "b"],
                "completions": [
                    {"model": name, "response": text[i], "overall_score": score, "annotations": {}}
                    for name, text, score in (("a", _GOOD, 8.5), ("b", _BAD, 3.0))
                ],
            }
            for i in _N
        ],
        {**_ANSWERED, "rating": 8.5, "group": "a"},
        records=8,
    ),
    "label-studio": Example(
        [
            {
                "id": i + 1,
                "annotations": [
                    {
                        "id": 10 * i + k,
                        "completed_by": {"id": k, "email": f"{k}@x.org"},
                        "result": [{"value": {"choices": ["Positive"]}, "from_name": "c", "type": "choices"}],
                        "created_at": "2026-10-02T10:02:00Z",
                        "updated_at": "2026-10-02T10:03:00Z",
                        "lead_time": 3.5 + k,
                    }
                    for k in (1, 2)
                ],
                "data": {"text": _ASKED[i]},
            }
            for i in _N
        ],
        {"record_id": "1", "source_id": "1@x.org", "item_id": "1", "answer": "Positive", "text": _ASKED[0]},
        records=8,
    ),
    "label-studio-min": Example(
        [
            {
                "prompt": _ASKED[i],
                "text1": _GOOD[i],
                "text2": _BAD[i],
                "id": i + 1,
                "pw": json.dumps({"selected": "left"}),
                "annotator": f"{i}@x.org",
                "annotation_id": i + 10,
                "created_at": "2026-10-02T10:02:00Z",
                "updated_at": "2026-10-02T10:03:00Z",
                "lead_time": 3.5 + i,
            }
            for i in _N
        ],
        {"source_id": "0@x.org", "item_id": "1", "answer": "left", "chosen": _GOOD[0], "rejected": _BAD[0]},
        csv=True,
        absent=frozenset({"response"}),
    ),
    "argilla": Example(
        [
            {
                "id": f"r{i}",
                "fields": {"prompt": _ASKED[i], "reply": _GOOD[i]},
                "metadata": {},
                "responses": {"good": [{"value": "yes", "user_id": f"u{k}"} for k in (1, 2)]},
            }
            for i in _N
        ],
        {"source_id": "u1", "item_id": "r0:good", "answer": "yes", "text": f"{_ASKED[0]}\n\n{_GOOD[0]}"},
        records=8,
    ),
    "argilla-flat": Example(
        [
            {
                "id": f"r{i}",
                "text": _ASKED[i],
                "good.responses": ["yes", "no"],
                "good.responses.users": ["u1", "u2"],
                "good.responses.status": ["submitted", "submitted"],
            }
            for i in _N
        ],
        {"source_id": "u1", "item_id": "r0", "answer": "yes", "text": _ASKED[0], "record_id": "r0:u1"},
        records=8,
        absent=frozenset({"response"}),
    ),
    "argilla-v1": Example(
        [
            {
                "text": _ASKED[i],
                "good": [{"user_id": f"u{k}", "value": "yes", "status": "submitted"} for k in (1, 2)],
                "good-suggestion": "yes",
                "external_id": f"r{i}",
            }
            for i in _N
        ],
        {"source_id": "u1", "item_id": "r0", "answer": "yes", "text": _ASKED[0]},
        records=8,
        absent=frozenset({"response"}),
    ),
    "prodigy": Example(
        [
            {
                "text": _ASKED[i // 2],
                "_input_hash": 100 + i // 2,
                "_task_hash": 200 + i,
                "options": [{"id": "A"}, {"id": "B"}],
                "accept": ["A"],
                "answer": "accept",
                "_annotator_id": f"set-u{i % 2}",
                "_session_id": f"set-u{i % 2}",
                "_timestamp": 1_790_000_000 + i,
            }
            for i in _N
        ],
        {"source_id": "set-u0", "item_id": "100", "answer": "A", "text": _ASKED[0]},
    ),
    "doccano": Example(
        [{"id": i + 1, "text": _ASKED[i], "label": ["question"], "Comments": []} for i in _N],
        {"record_id": "1", "label": "question", "text": _ASKED[0]},
        absent=frozenset({"source_id"}),
    ),
    "mturk": Example(
        [
            {
                "HITId": f"h{i // 2}",
                "AssignmentId": f"a{i}",
                "WorkerId": f"w{i % 2}",
                "SubmitTime": "2026-11-03T04:55:58Z",
                "WorkTimeInSeconds": 10 + i,
                "Input.text": _ASKED[i // 2],
                "Answer.mood.label": "glad",
            }
            for i in _N
        ],
        {"record_id": "a0", "source_id": "w0", "item_id": "h0", "answer": "glad", "text": _ASKED[0]},
        csv=True,
    ),
    "annotator-columns": Example(
        [{"id": f"r{i}", "text": _ASKED[i], "annotator_1": "yes", "annotator_2": "no" if i else ""} for i in _N],
        {"source_id": "annotator_1", "item_id": "r0", "answer": "yes", "record_id": "r0:annotator_1"},
        records=7,
        csv=True,
    ),
    "lmsys-arena": Example(
        [
            {
                "question_id": f"q{i}",
                "model_a": "x",
                "model_b": "y",
                "winner": "model_b",
                "judge": f"u{i % 2}",
                "conversation_a": _talk(i, _BAD[i]),
                "conversation_b": _talk(i, _GOOD[i]),
                "language": ["English", "French"][i % 2],
                "tstamp": 1_682_351_651.13 + i,
            }
            for i in _N
        ],
        {**_PAIR, "record_id": "q0", "source_id": "u0", "label": "model_b"},
    ),
    "lmsys-battles": Example(
        [
            {"question_id": f"q{i}", "model_a": "x", "model_b": "y", "winner": "tie", "judge": "u", "tstamp": 1.6e9 + i}
            for i in _N
        ],
        {"record_id": "q0", "source_id": "u", "label": "tie"},
    ),
    "lmsys-55k": Example(
        [
            {
                "id": i + 1,
                "model_a": "x",
                "model_b": "y",
                "prompt": json.dumps([_ASKED[i]]),
                "response_a": json.dumps([_GOOD[i]]),
                "response_b": json.dumps([_BAD[i]]),
                "winner_model_a": int(i % 2 == 0),
                "winner_model_b": 0,
                "winner_tie": i % 2,
            }
            for i in _N
        ],
        {**_PAIR, "record_id": "1", "label": "model_a"},
        csv=True,
    ),
    "shp": Example(
        [
            {
                "post_id": f"p{i}",
                "history": _ASKED[i],
                "human_ref_A": _GOOD[i],
                "human_ref_B": _BAD[i],
                "labels": 1,
                "score_A": 9,
                "score_B": i,
            }
            for i in _N
        ],
        {**_PAIR, "item_id": "p0", "label": "1"},
    ),
    "summarize-feedback": Example(
        [
            {
                "info": {"id": f"t{i}", "post": _ASKED[i]},
                "summaries": [{"text": _BAD[i], "policy": "one"}, {"text": _GOOD[i], "policy": "two"}],
                "choice": 1,
                "worker": f"w{i}",
            }
            for i in _N
        ],
        {**_PAIR, "source_id": "w0", "label": "1"},
    ),
    "oasst-trees": Example(
        [
            {"message_tree_id": f"m{i}", "tree_state": "ready", "prompt": _node(i, [_node(i + 10, [], f"m{i}")])}
            for i in _N
        ],
        {"record_id": "m0", "source_id": "u0", "text": _ASKED[0], "rating": 0.5},
        records=8,
        absent=frozenset({"observed_at", "group"}),
    ),
    "oasst-flat": Example(
        [
            {
                "message_id": f"m{i}",
                "parent_id": None,
                "message_tree_id": f"m{i}",
                "user_id": f"u{i % 2}",
                "created_date": "2023-02-21T01:11:00+00:00",
                "text": _ASKED[i],
                "role": "prompter",
                "lang": ["en", "fr"][i % 2],
                "labels": {"name": ["spam", "quality"], "value": [0.0, 0.75], "count": [3, 3]},
            }
            for i in _N
        ],
        {"record_id": "m0", "source_id": "u0", "text": _ASKED[0], "rating": 0.75, "group": "en"},
    ),
    "oasst-seed": Example(
        [{"task_message_id": f"t{i}", "user_message_id": f"m{i}", "text": _ASKED[i], "role": "prompter"} for i in _N],
        {"record_id": "m0", "text": _ASKED[0]},
    ),
    "community-notes-ratings": Example(
        [
            {
                "noteId": 170_000 + i // 2,
                "raterParticipantId": f"ABC{i % 2}",
                "createdAtMillis": 1_611_852_295_002 + i,
                "helpful": 1,
                "helpfulnessLevel": "HELPFUL",
            }
            for i in _N
        ],
        {"source_id": "ABC0", "item_id": "170000", "answer": "HELPFUL"},
        csv=True,
    ),
    "community-notes": Example(
        [
            {
                "noteId": 170_000 + i,
                "noteAuthorParticipantId": f"ABC{i % 2}",
                "createdAtMillis": 1_611_852_295_002 + i,
                "classification": "NOT_MISLEADING",
                "summary": _ASKED[i],
            }
            for i in _N
        ],
        {"record_id": "170000", "author_id": "ABC0", "text": _ASKED[0], "label": "NOT_MISLEADING"},
        csv=True,
    ),
    "langfuse-scores": Example(
        [
            {
                "id": f"s{i}",
                "timestamp": "2026-11-01T00:00:00Z",
                "name": ["helpful", "correct"][i % 2],
                "value": 1.0,
                "source": "API",
                "data_type": "BOOLEAN",
                "string_value": "True",
                "trace_id": f"t{i}",
                "observation_id": f"o{i}",
                "author_user_id": None,
            }
            for i in _N
        ],
        {**_ANSWERED, "record_id": "s0", "source_id": "u0", "label": "true", "group": "helpful"},
        joined=[
            {
                "id": f"o{i}",
                "trace_id": f"t{i}",
                "type": "GENERATION",
                "start_time": "2026-11-01T00:00:00Z",
                "user_id": f"u{i}",
                "input": json.dumps([_user(_ASKED[i])]),
                "output": json.dumps(_reply(_GOOD[i])),
            }
            for i in _N
        ],
    ),
    "langfuse-observations": Example(
        [
            {
                "id": f"o{i}",
                "traceId": f"t{i}",
                "type": "GENERATION",
                "startTime": "2026-11-01T00:00:00Z",
                "userId": f"u{i % 2}",
                "input": {"messages": [_user(_ASKED[i])]},
                "output": _reply(_GOOD[i]),
            }
            for i in _N
        ],
        {**_ANSWERED, "record_id": "o0", "source_id": "u0"},
    ),
    "otel-evaluation": Example(
        [
            {
                "Timestamp": "2026-11-01T00:00:00Z",
                "TraceId": f"t{i}",
                "enduser.id": f"u{i % 2}",
                "event.name": "gen_ai.evaluation.result",
                "gen_ai.evaluation.name": ["Relevance", "Toxicity"][i % 2],
                "gen_ai.evaluation.score.value": 1.0,
                "gen_ai.evaluation.score.label": "pass",
                "gen_ai.response.id": f"c{i}",
            }
            for i in _N
        ],
        {"source_id": "u0", "label": "pass", "group": "Relevance"},
        absent=frozenset({"prompt", "response"}),
    ),
    "otlp-evaluation": Example(
        [
            {
                "resourceLogs": [
                    {
                        "resource": {"attributes": [_attribute("service.name", "chat")]},
                        "scopeLogs": [
                            {
                                "scope": {"name": "eval"},
                                "logRecords": [
                                    {
                                        "timeUnixNano": "1790000000000000000",
                                        "eventName": "gen_ai.evaluation.result",
                                        "attributes": [
                                            _attribute("gen_ai.evaluation.name", name),
                                            _attribute("gen_ai.evaluation.score.value", 1.0),
                                            _attribute("gen_ai.evaluation.score.label", "pass"),
                                            _attribute("enduser.id", f"u{i}"),
                                        ],
                                    }
                                    for name in ("Relevance", "Toxicity")
                                ],
                            }
                        ],
                    }
                ]
            }
            for i in _N
        ],
        {"source_id": "u0", "label": "pass", "group": "Relevance"},
        records=8,
    ),
    "open-webui": Example(
        [
            {
                "id": f"f{i}",
                "user_id": f"u{i % 2}",
                "version": 0,
                "type": "rating",
                "data": {"rating": -1, "model_id": "m", "sibling_model_ids": None, "reason": "", "comment": ""},
                "meta": {"chat_id": f"c{i}", "message_id": "b", "message_index": 2, "arena": False},
                "snapshot": {
                    "chat": {
                        "title": "t",
                        "chat": {
                            "history": {
                                "messages": {
                                    "a": {"id": "a", "parentId": None, "role": "user", "content": _ASKED[i]},
                                    "b": {"id": "b", "parentId": "a", "role": "assistant", "content": _GOOD[i]},
                                }
                            }
                        },
                    }
                },
                "created_at": 1_790_000_000 + i,
                "updated_at": 1_790_000_100 + i,
            }
            for i in _N
        ],
        {**_ANSWERED, "record_id": "f0", "source_id": "u0", "label": "-1"},
        absent=frozenset({"group"}),
    ),
    "thumbs-requests": Example(
        [
            {
                "id": f"f{i}",
                "user": {"id": f"u{i % 2}", "plan": "free"},
                "request": {"messages": [_user(_ASKED[i])]},
                "response": {"choices": [{"message": _reply(_GOOD[i])}]},
                "feedback": {"rating": 1 - 2 * (i % 2), "text": "ok"},
                "ts": 1_790_000_000 + i,
            }
            for i in _N
        ],
        {**_ANSWERED, "record_id": "f0", "source_id": "u0", "label": "1"},
        absent=frozenset({"source_since"}),
    ),
    "thumbs": Example(
        [
            {
                "message_id": f"m{i}",
                "user_id": f"u{i % 2}",
                "user_created_at": "2025-02-01T00:00:00Z",
                "prompt": _ASKED[i],
                "completion": _GOOD[i],
                "thumb": ["up", "down"][i % 2],
                "created_at": "2026-11-01T00:37:00Z",
            }
            for i in _N
        ],
        {**_ANSWERED, "record_id": "m0", "source_id": "u0", "label": "up"},
        absent=frozenset({"group"}),
    ),
    "beir": Example(
        [{"_id": f"d{i}", "title": "Questions", "text": _ASKED[i], "metadata": {"author": f"a{i % 2}"}} for i in _N],
        {"record_id": "d0", "source_id": "a0", "text": f"Questions\n\n{_ASKED[0]}"},
        absent=frozenset({"observed_at"}),
    ),
    "langchain": Example(
        [
            {"id": f"d{i}", "page_content": _ASKED[i], "metadata": {"source": f"s{i % 2}"}, "type": "Document"}
            for i in _N
        ],
        {"record_id": "d0", "source_id": "s0", "text": _ASKED[0]},
        absent=frozenset({"observed_at"}),
    ),
    "llamaindex": Example(
        [
            {
                "id_": f"n{i}",
                "embedding": [0.1, 0.2],
                "metadata": {"file_name": f"f{i % 2}.md", "last_modified_date": "2026-10-01"},
                "relationships": {"1": {"node_id": "d"}},
                "text": _ASKED[i],
                "class_name": "TextNode",
            }
            for i in _N
        ],
        {"record_id": "n0", "source_id": "f0.md", "text": _ASKED[0]},
    ),
}
