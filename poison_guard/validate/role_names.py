"""Names that speak for a role, strongest first, and the values a column of that role may hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from poison_guard.validate.columns import Column

__all__ = ["HINTS", "ID", "ORDER", "THING", "Hint", "is_prose", "repeats"]


@dataclass(frozen=True, slots=True)
class Hint:
    """Patterns of whole names in snake case, strongest first, and whether a column's values allow the role."""

    role: str
    names: tuple[str, ...]
    allows: Callable[[Column], bool]


ID = "(_?id|_?uuid|_key|_hash|_code)"
THING = (
    "item|task|question|unit|hit|word|image|img|audio|clip|document|doc|post|tweet|note|pair|prompt|object|product|page|"
    "challenge|captcha|passage|conversation|thread|video|query|completion|message|comment"
)
_WHO = (
    "source|user|worker|annotator|rater|participant|labell?er|contributor|reviewer|account|player|voter|member|"
    "customer|subject|judge"
)
_EVENT = (
    "record|row|event|answer|rating|feedback|message|comment|review|log|request|response|vote|flag|interaction|"
    "annotation|judge?ment|submission|entry|report|tweet|note|example|sample|pair"
)
_REPLY = "(_(response|completion|output|answer|text))?"
_SINCE = "created|since|registered|joined|signup|registration"
_UNIT = "(_(ms|millis|utc|s))?"

ORDER = (
    "record_id", "source_id", "author_id", "item_id", "answer", "label", "rating", "prompt", "response", "chosen",
    "rejected", "text", "image", "group", "observed_at", "source_since",
)  # fmt: skip
"""Order in which a contract lists the roles."""


def is_prose(c: Column) -> bool:
    """Whether the cells are written text rather than a choice from a short list."""
    return c.kind == "list" or (c.kind == "text" and not c.few)


def repeats(c: Column) -> bool:
    """Whether the values can be names that several rows share."""
    return c.idlike and not c.unique


def _is_text(c: Column) -> bool:
    return c.kind in ("text", "list")


def _is_name(c: Column) -> bool:
    return c.idlike or c.kind == "text"


def _is_choice(c: Column) -> bool:
    return c.kind in ("text", "number", "bool") and not c.constant and not (c.kind == "number" and c.distinct > 100)


def _is_answer(c: Column) -> bool:
    return c.kind in ("text", "number", "bool") and not c.constant


def _is_grade(c: Column) -> bool:
    return c.kind == "number" and 2 <= c.distinct <= 101


def _is_time(c: Column) -> bool:
    return c.kind == "time" or (c.kind == "number" and c.epoch is not None)


def _is_picture(c: Column) -> bool:
    return c.kind in ("text", "binary") and not c.few


def _is_group(c: Column) -> bool:
    return c.few and c.kind in ("text", "number") and not c.constant


def _is_unique(c: Column) -> bool:
    """All but one in a hundred differ: a few repeated ids are deliveries made twice."""
    return c.idlike and c.rows > 0 and c.nulls == 0 and c.distinct >= 0.99 * c.rows


HINTS = (
    Hint("record_id", ("record_id|uuid|guid|id|_id|row_id", rf"(.*_)?({_EVENT}){ID}", rf".*{ID}"), _is_unique),
    Hint(
        "chosen",
        (
            "chosen",
            f"(chosen|preferred|accepted|better|winning){_REPLY}",
            "(response|completion|answer)_(chosen|preferred)|winner",
        ),
        is_prose,
    ),
    Hint(
        "rejected",
        (
            "rejected",
            f"(rejected|dispreferred|worse|losing){_REPLY}",
            "(response|completion|answer)_(rejected|dispreferred)|loser",
        ),
        is_prose,
    ),
    Hint(
        "source_id",
        (
            rf"({_WHO}){ID}",
            rf"({_WHO})(_?name|_key|_hash)?|(flagged|rated|submitted|labell?ed|created|reported)_by|flagger|reporter",
            rf"(.*_)?({_WHO}){ID}s?|(.*_)?(device|client|visitor|api){ID}",
            "session_id|session|ip|ip_address|device|client",
        ),
        _is_name,
    ),
    Hint(
        "author_id",
        (
            f"author{ID}|author",
            f"(.*_)?(author|sender|poster|writer|speaker)({ID}|_name)?|(posted|sent|written)_by|screen_name|handle",
        ),
        _is_name,
    ),
    Hint("item_id", (f"item{ID}?", f"({THING}){ID}", "task|unit|hit|question_no|orig_id"), lambda c: c.idlike),
    Hint(
        "source_since",
        (
            f"source_since|(account|user|author|worker|member|profile|source)_({_SINCE})(_(at|on|date|time|ms|millis))*",
            "member_since|joined(_at|_on)?|sign(ed_)?up(_at|_date|_time)|regist(ered|ration)(_at|_on|_date)",
        ),
        _is_time,
    ),
    Hint(
        "observed_at",
        (
            f"observed_at|(.*_)?(answered|submitted|rated|labell?ed|flagged|clicked|logged)_(at|on|time){_UNIT}",
            f"(event_)?(timestamp|ts|tstamp|datetime){_UNIT}|(event_)?time(_utc)?|created(_at|_on|_time)?{_UNIT}",
            f"date|(.*_)?(at|date|time|timestamp|datetime){_UNIT}",
        ),
        _is_time,
    ),
    Hint("prompt", ("prompt", "instruction|question|user_(message|input|prompt)|human|input|query|request"), _is_text),
    Hint(
        "response",
        (
            "response|completion",
            "output|reply|assistant|generation|generated(_text)?|(model|assistant|bot|ai)_(output|response|message|reply|answer)",
        ),
        is_prose,
    ),
    Hint(
        "answer",
        (
            "answer|judge?ment|annotation|transcript(ion)?|choice|vote|(given|user|worker)_(answer|response)",
            "selected(_option)?|selection|typed|solution|response|guess|winner|preference",
        ),
        _is_answer,
    ),
    Hint(
        "label",
        (
            "label",
            "class|category|classification|target|ground_truth|gold(_label)?|y|verdict",
            r"is_\w+|spam|toxic|flag|flagged|thumbs?(_up)?|feedback|income|challenge|(.*_)?(result|outcome|label)",
        ),
        _is_choice,
    ),
    Hint(
        "rating",
        (
            "rating|thumbs?|score|stars?",
            "thumbs?_(up|value|score)|rating_value|(user_|human_)?(rating|score|feedback)|grade|reward|liked?|upvoted?|"
            "helpful(ness)?|satisfaction|quality",
        ),
        _is_grade,
    ),
    Hint(
        "text",
        (
            "text|messages",
            "message|content|body|comment|tweet|sms|review|post|conversations?|dialog(ue)?|turns|chat",
            "summary|utterance|caption|statement|sentence|document|description|note|title",
        ),
        is_prose,
    ),
    Hint("image", ("image|image_(path|url|file|bytes)|img(_path)?|picture|photo", "file_?(name|path)"), _is_picture),
    Hint(
        "group",
        ("group|cohort|model_(version|name|id)|model|lang|language|locale", "variant|arm|experiment"),
        _is_group,
    ),
)
"""All roles with their names; where two roles claim a column with equal strength the first one here has it."""
