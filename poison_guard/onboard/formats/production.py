"""Known formats of running systems: thumbs, scores and evaluations of replies, and the documents of retrieval."""

from __future__ import annotations

from poison_guard.config import Kind
from poison_guard.onboard.formats.entry import FormatJoin, KnownFormat

__all__ = ["PRODUCTION"]

_THUMB = r"(?i)up|down|thumbs?_?(up|down)|like|dislike|good|bad|positive|negative|true|false|yes|no|👍|👎|-?1|0"
_RECORD = "resourceLogs[].scopeLogs[].logRecords[]"
_CHAT = "snapshot.chat.chat.history.messages"
_GEN_AI = "gen_ai.evaluation"


def _attribute(name: str) -> str:
    return f"{_RECORD}.attributes[key={name}].value.*"


PRODUCTION = (
    KnownFormat(
        name="langfuse-scores",
        title="Langfuse scores, with their observations",
        kind=Kind.PREFERENCES,
        has=("name", "value", "observation_id | observationId | trace_id | traceId", "data_type | dataType", "source"),
        join=FormatJoin("observation_id | observationId", "id", "observation", "prompts, replies and users"),
        revisions=True,
        roles={
            "record_id": "id",
            "source_id": "author_user_id | authorUserId | observation.user_id | observation.userId | trace.userId",
            "label": "string_value | stringValue | value",
            "prompt": "observation.input.messages[] | observation.input[] | observation.input",
            "response": "observation.output.content | observation.output[] | observation.output",
            "observed_at": "timestamp",
            "group": "name",
        },
        missing="Prompts, replies and users of API scores are in the observations: name that export with --join.",
    ),
    KnownFormat(
        name="langfuse-observations",
        title="Langfuse observations",
        kind=Kind.PREFERENCES,
        has=("trace_id | traceId", "type", "input", "output", "start_time | startTime"),
        roles={
            "record_id": "id",
            "source_id": "user_id | userId",
            "prompt": "input.messages[] | input[] | input",
            "response": "output.content | output[] | output",
            "observed_at": "start_time | startTime",
        },
        missing="Judgements are in the scores: make the feed of that export and name this one with --join.",
    ),
    KnownFormat(
        name="otel-evaluation",
        title="OpenTelemetry gen_ai.evaluation.result, a column an attribute",
        kind=Kind.PREFERENCES,
        has=(f"{_GEN_AI}.name", f"{_GEN_AI}.score.label | {_GEN_AI}.score.value"),
        roles={
            "source_id": "enduser.id | user.id | user_id | enduser.pseudo.id",
            "label": f"{_GEN_AI}.score.label | {_GEN_AI}.score.value",
            "prompt": "gen_ai.input.messages[] | gen_ai.input.messages | gen_ai.prompt",
            "response": "gen_ai.output.messages[] | gen_ai.output.messages | gen_ai.completion",
            "observed_at": "Timestamp | timestamp | time",
            "group": f"{_GEN_AI}.name",
        },
        missing="The replies are in the spans (gen_ai.response.id): what was said cannot be judged without them.",
    ),
    KnownFormat(
        name="otlp-evaluation",
        title="OTLP/JSON logs with gen_ai.evaluation.result: a record for each event",
        kind=Kind.PREFERENCES,
        has=(_attribute(f"{_GEN_AI}.name"),),
        explode=_RECORD,
        roles={
            "source_id": f"{_attribute('enduser.id')} | {_attribute('user.id')}",
            "label": f"{_attribute(f'{_GEN_AI}.score.label')} | {_attribute(f'{_GEN_AI}.score.value')}",
            "observed_at": f"{_RECORD}.timeUnixNano",
            "group": _attribute(f"{_GEN_AI}.name"),
        },
        missing="The replies are in the spans (gen_ai.response.id): what was said cannot be judged without them.",
    ),
    KnownFormat(
        name="open-webui",
        title="Open WebUI feedback export",
        kind=Kind.PREFERENCES,
        has=("user_id", "data.rating", "meta.message_id"),
        revisions=True,
        roles={
            "record_id": "id",
            "source_id": "user_id",
            "label": "data.rating",
            "prompt": f"{_CHAT}.({_CHAT}.(meta.message_id).parentId).content",
            "response": f"{_CHAT}.(meta.message_id).content",
            "observed_at": "updated_at | created_at",
            "group": "data.model_id | meta.model_id",
        },
        missing="Exports without snapshot hold no replies: what was said cannot be judged.",
    ),
    KnownFormat(
        name="thumbs-requests",
        title="Thumbs log with request and response",
        kind=Kind.PREFERENCES,
        has=("request.messages[].content", "response.choices[].message.content | response.content", "feedback.rating"),
        roles={
            "record_id": "id | message_id | request_id",
            "source_id": "user.id | user_id | user",
            "label": "feedback.rating",
            "prompt": "request.messages[]",
            "response": "response.choices[].message.content | response.content",
            "observed_at": "ts | timestamp | created_at | created",
            "source_since": "user.created_at | user_created_at",
        },
    ),
    KnownFormat(
        name="thumbs",
        title="Thumbs log: a verdict on a reply",
        kind=Kind.PREFERENCES,
        has=(
            "thumb | thumbs | thumbs_up | thumb_up | feedback | liked | upvoted | rating | label",
            "prompt | question | input | query",
            "completion | response | output | answer | reply",
            "user_id | user | account_id | customer_id | source_id",
        ),
        holds={"thumb | thumbs | thumbs_up | thumb_up | feedback | liked | upvoted | rating | label": _THUMB},
        roles={
            "record_id": "feedback_id | message_id | response_id | completion_id | event_id | record_id | id",
            "source_id": "user_id | user | account_id | customer_id | source_id",
            "label": "thumb | thumbs | thumbs_up | thumb_up | feedback | liked | upvoted | rating | label",
            "prompt": "prompt[] | prompt | question | input | query",
            "response": "completion[] | completion | response | output | answer | reply",
            "observed_at": "created_at | timestamp | ts | time | rated_at",
            "source_since": "user_created_at | account_created_at | source_since | signup_at",
            "group": "model | model_version | language",
        },
    ),
    KnownFormat(
        name="beir",
        title="BEIR corpus",
        kind=Kind.EXAMPLES,
        has=("_id", "text", "title"),
        roles={
            "record_id": "_id",
            "source_id": "metadata.author | metadata.source",
            "text": "title + text",
            "observed_at": "metadata.date | metadata.last_modified",
        },
        missing="Without metadata.author it does not say who wrote a document.",
        training=True,
    ),
    KnownFormat(
        name="langchain",
        title="LangChain documents",
        kind=Kind.EXAMPLES,
        has=("page_content | kwargs.page_content",),
        roles={
            "record_id": "id",
            "source_id": ("metadata.author | metadata.source | kwargs.metadata.author | kwargs.metadata.source"),
            "text": "page_content | kwargs.page_content",
            "observed_at": "metadata.last_modified | metadata.date | kwargs.metadata.last_modified",
        },
        missing="Without metadata.author or metadata.source it does not say who wrote a document.",
        training=True,
    ),
    KnownFormat(
        name="llamaindex",
        title="LlamaIndex nodes",
        kind=Kind.EXAMPLES,
        has=("id_ | id", "text | text_resource.text", "relationships | embedding", "metadata"),
        roles={
            "record_id": "id_ | id",
            "source_id": "metadata.author | metadata.source | metadata.file_name",
            "text": "text | text_resource.text",
            "observed_at": "metadata.last_modified_date | metadata.creation_date",
        },
        missing="Without metadata.author it does not say who wrote a document.",
        training=True,
    ),
)
