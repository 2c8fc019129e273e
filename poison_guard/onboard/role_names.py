"""The names of columns that a role has in the data of many tools, and what a column must hold to have the role."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from poison_guard.onboard.columns import ColumnProfile

__all__ = ["ID_SUFFIX", "ITEM_WORDS", "ROLE_HINTS", "ROLE_ORDER", "RoleHint", "is_grade", "is_prose"]


@dataclass(frozen=True, slots=True)
class RoleHint:
    """Patterns of whole names in snake case, strongest first, and whether a column's values allow the role."""

    role: str
    names: tuple[str, ...]
    allows: Callable[[ColumnProfile], bool]


ID_SUFFIX = "(_?id|_?uuid|_key|_hash|_code)"
ITEM_WORDS = (
    "item|task|question|unit|hit|word|image|img|audio|clip|document|doc|post|tweet|note|pair|prompt|object|product|page|"
    "challenge|captcha|passage|conversation|thread|video|query|completion|message|comment|movie|film|book|song|business|"
    "restaurant|app|seller|hotel|course|recipe"
)
_SOURCE_WORDS = (
    "source|user|worker|annotator|rater|trustor|participant|labell?er|contributor|reviewer|account|player|voter|member|"
    "customer|subject|judge|uploader"
)
_WHO = "who|nick(_?name)?|from_(user|name)"
"""A person of whom the name does not say whether they wrote or judged: the source where no other column is."""
_EVENT_WORDS = (
    "record|row|event|answer|rating|feedback|message|comment|review|log|request|response|vote|flag|interaction|"
    "annotation|judge?ment|submission|entry|report|tweet|note|example|sample|pair"
)
_RATED = (
    rf"(rated|ratee|trustee|target|item|product|movie|film|book|business|seller)({ID_SUFFIX}|_(user|name|account))?"
)
"""What a rating is of, where no id is named so: also a source, where sources rate each other."""
_REPLY = "(_(response|completion|output|answer|text))?"
_SINCE = "created|since|registered|joined|signup|registration"
_UNIT = "(_(ms|millis|utc|s))?"

ROLE_ORDER = (
    "record_id", "source_id", "author_id", "item_id", "answer", "label", "rating", "prompt", "response", "chosen",
    "rejected", "text", "image", "group", "observed_at", "source_since",
)  # fmt: skip
"""Order in which a contract lists the roles."""


def is_prose(c: ColumnProfile) -> bool:
    """Return whether the cells are written text, not a choice from a short list."""
    return c.kind == "list" or (c.kind == "text" and not c.is_closed_list)


def _is_text(c: ColumnProfile) -> bool:
    return c.kind in ("text", "list")


def _is_name(c: ColumnProfile) -> bool:
    return c.may_be_id or c.kind == "text"


def _is_choice(c: ColumnProfile) -> bool:
    return c.kind in ("text", "number", "bool") and not c.constant and not (c.kind == "number" and c.distinct > 100)


def _is_answer(c: ColumnProfile) -> bool:
    return c.kind in ("text", "number", "bool") and not c.constant


def is_grade(c: ColumnProfile) -> bool:
    """Return whether the values are a short scale of numbers."""
    return c.kind == "number" and 2 <= c.distinct <= 101


def _is_time(c: ColumnProfile) -> bool:
    return c.kind == "time" or (c.kind == "number" and c.epoch is not None)


def _is_picture(c: ColumnProfile) -> bool:
    return c.kind in ("text", "binary") and not c.is_closed_list


def _is_group(c: ColumnProfile) -> bool:
    return c.is_closed_list and c.kind in ("text", "number") and not c.constant


def _is_unique(c: ColumnProfile) -> bool:
    """Return whether at least 99 % of the values differ: some rows may have been delivered twice."""
    return c.may_be_id and c.rows > 0 and c.nulls == 0 and c.distinct >= 0.99 * c.rows


ROLE_HINTS = (
    RoleHint(
        "record_id",
        ("record_id|uuid|guid|id|_id|row_id", rf"(.*_)?({_EVENT_WORDS}){ID_SUFFIX}", rf".*{ID_SUFFIX}"),
        _is_unique,
    ),
    RoleHint(
        "chosen",
        (
            "chosen",
            f"(chosen|preferred|accepted|better|winning){_REPLY}",
            "(response|completion|answer)_(chosen|preferred)|winner",
        ),
        is_prose,
    ),
    RoleHint(
        "rejected",
        (
            "rejected",
            f"(rejected|dispreferred|worse|losing){_REPLY}",
            "(response|completion|answer)_(rejected|dispreferred)|loser",
        ),
        is_prose,
    ),
    RoleHint(
        "source_id",
        (
            rf"({_SOURCE_WORDS}){ID_SUFFIX}|(.*_)?uid",
            rf"({_SOURCE_WORDS})(_?name|_key|_hash)?|(flagged|rated|submitted|labell?ed|created|reported)_by|flagger|reporter",
            rf"(.*_)?({_SOURCE_WORDS}){ID_SUFFIX}s?|(.*_)?(device|client|visitor|api){ID_SUFFIX}|{_WHO}",
            "session_id|session|ip|ip_address|device|client|e_?mail(_address)?",
        ),
        _is_name,
    ),
    RoleHint(
        "author_id",
        (
            f"author{ID_SUFFIX}|author",
            f"(.*_)?(author|sender|poster|writer|speaker)({ID_SUFFIX}|_name)?|(posted|sent|written)_by|screen_name|handle",
            _WHO,
        ),
        _is_name,
    ),
    RoleHint(
        "item_id",
        (f"item{ID_SUFFIX}?", f"({ITEM_WORDS}){ID_SUFFIX}", "task|unit|hit|question_no|orig_id|asin|isbn", _RATED),
        lambda c: c.may_be_id,
    ),
    RoleHint(
        "source_since",
        (
            f"source_since|(account|user|author|worker|member|profile|source)_({_SINCE})(_(at|on|date|time|ms|millis))*",
            "member_since|joined(_at|_on)?|sign(ed_)?up(_at|_date|_time)|regist(ered|ration)(_at|_on|_date)",
        ),
        _is_time,
    ),
    RoleHint(
        "observed_at",
        (
            f"observed_at|(.*_)?(answered|submit(ted)?|completed|finished|rated|labell?ed|flagged|clicked|logged)_(at|on|time){_UNIT}",
            f"(event_)?(timestamp|ts|tstamp|datetime){_UNIT}|(event_)?time(_utc)?|created(_at|_on|_time)?{_UNIT}",
            f"date|(.*_)?(at|date|time|timestamp|datetime){_UNIT}|when|day|(first_|last_)?(seen|submitted|answered|updated)",
        ),
        _is_time,
    ),
    RoleHint(
        "prompt", ("prompt", "instruction|question|user_(message|input|prompt)|human|input|query|request"), _is_text
    ),
    RoleHint(
        "response",
        (
            "response|completion",
            "output|reply|assistant|generation|generated(_text)?|(model|assistant|bot|ai)_(output|response|message|reply|answer)",
        ),
        is_prose,
    ),
    RoleHint(
        "answer",
        (
            "answer|judge?ment|annotation|transcript(ion)?|choice|vote|(given|user|worker)_(answer|response)",
            "selected(_option)?|selection|typed|solution|response|guess|winner|preference",
        ),
        _is_answer,
    ),
    RoleHint(
        "label",
        (
            "label",
            "class|category|classification|target|ground_truth|gold(_label)?|y|verdict",
            r"is_\w+|spam|toxic|flag|flagged|(.*_)?thumbs?(_up)?|feedback|income|challenge|(.*_)?(result|outcome|label)",
        ),
        _is_choice,
    ),
    RoleHint(
        "rating",
        (
            "rating|thumbs?|score|stars?",
            "thumbs?_(up|value|score)|rating_value|(user_|human_)?(rating|score|feedback)|grade|reward|liked?|upvoted?|"
            "helpful(ness)?|satisfaction|quality",
        ),
        is_grade,
    ),
    RoleHint(
        "text",
        (
            "text|messages",
            "message|content|body|comment|tweet|sms|review|post|conversations?|dialog(ue)?|turns|chat",
            "summary|utterance|caption|statement|sentence|document|description|note|title",
        ),
        is_prose,
    ),
    RoleHint(
        "image", ("image|image_(path|url|file|bytes)|img(_path)?|picture|photo", "file_?(name|path)"), _is_picture
    ),
    RoleHint(
        "group",
        ("group|cohort|model_(version|name|id)|model|lang|language|locale", "variant|arm|experiment"),
        _is_group,
    ),
)
"""All roles with their names; where two roles claim a column with equal strength the first one here has it."""
