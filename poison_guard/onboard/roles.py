"""Guess which column has which role, by name, kind and number of distinct values; a doubt is put into words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from poison_guard.onboard.columns import ColumnProfile, snake_case

__all__ = [
    "ID_SUFFIX",
    "ITEM_WORDS",
    "ROLE_HINTS",
    "ROLE_ORDER",
    "RoleGuess",
    "RoleHint",
    "guess_roles",
    "is_prose",
    "repeats",
]


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
    "customer|subject|judge"
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


def repeats(c: ColumnProfile) -> bool:
    """Return whether the values can be names that several rows share."""
    return c.may_be_id and not c.unique


def _is_text(c: ColumnProfile) -> bool:
    return c.kind in ("text", "list")


def _is_name(c: ColumnProfile) -> bool:
    return c.may_be_id or c.kind == "text"


def _is_choice(c: ColumnProfile) -> bool:
    return c.kind in ("text", "number", "bool") and not c.constant and not (c.kind == "number" and c.distinct > 100)


def _is_answer(c: ColumnProfile) -> bool:
    return c.kind in ("text", "number", "bool") and not c.constant


def _is_grade(c: ColumnProfile) -> bool:
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
            "session_id|session|ip|ip_address|device|client",
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
            f"observed_at|(.*_)?(answered|submitted|rated|labell?ed|flagged|clicked|logged)_(at|on|time){_UNIT}",
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
        _is_grade,
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


@dataclass(frozen=True, slots=True)
class RoleGuess:
    """One role given to one column; `doubt` says what the data cannot prove, empty where name and values agree."""

    role: str
    column: ColumnProfile
    doubt: str = ""


def guess_roles(columns: Sequence[ColumnProfile]) -> list[RoleGuess]:
    """Return the roles of `columns`, in the order of a contract; a column has at most one."""
    columns_by_role = _turns(columns) or _by_name(columns)
    _answer_or_response(columns_by_role)
    _unique_item_is_record(columns_by_role)
    _numeric_label_is_rating(columns_by_role)
    _label_beside_answer(columns_by_role)
    free = [c for c in columns if c not in columns_by_role.values()]
    doubts: dict[str, str] = {}
    _guess_source(columns_by_role, free, doubts)
    _guess_item(columns_by_role, free, doubts)
    _guess_two_ids(columns_by_role, free, doubts)
    _guess_text(columns_by_role, free, doubts)
    _guess_time(columns_by_role, free, doubts)
    return [
        RoleGuess(r, columns_by_role[r], doubts.get(r) or _doubt(r, columns_by_role[r]))
        for r in ROLE_ORDER
        if r in columns_by_role
    ]


_TURNS = (("q", "a"), ("user", "assistant"), ("human", "assistant"), ("human", "gpt"))
"""Names of two columns that hold what was asked and what was answered; alone each may be anything."""


def _turns(columns: Sequence[ColumnProfile]) -> dict[str, ColumnProfile]:
    """Return the roles of columns of which two are the turns of a dialogue by their names; empty where none are."""
    prose = {c.snake_name: c for c in columns if c.words and is_prose(c)}
    pair = next((pair for pair in _TURNS if prose.keys() >= set(pair)), None)
    if pair is None:
        return {}
    prompt, response = (prose[name] for name in pair)
    others = _by_name([c for c in columns if c not in (prompt, response)])
    return {role: c for role, c in others.items() if role != "answer"} | {"prompt": prompt, "response": response}


def _by_name(columns: Sequence[ColumnProfile]) -> dict[str, ColumnProfile]:
    """Give roles by name: the strongest names first, then by the order of `ROLE_HINTS`, then of the columns.

    A path into a column (``meta.user``) counts by its whole name, and after all others by its last key.
    """
    names = [
        (position, inner, name, column)
        for position, column in enumerate(columns)
        for inner, name in enumerate(dict.fromkeys((column.snake_name, snake_case(column.name.rpartition(".")[2]))))
    ]
    claims = [
        (inner, rank, place, position, hint.role, column)
        for place, hint in enumerate(ROLE_HINTS)
        for position, inner, name, column in names
        for rank, pattern in enumerate(hint.names)
        if re.fullmatch(pattern, name) and hint.allows(column)
    ]
    columns_by_role: dict[str, ColumnProfile] = {}
    for *_, role, column in sorted(claims, key=lambda claim: claim[:4]):
        if role not in columns_by_role and column not in columns_by_role.values():
            columns_by_role[role] = column
    return columns_by_role


def _answer_or_response(columns_by_role: dict[str, ColumnProfile]) -> None:
    """Prose that answers a prompt is a response; a source's response about an item, without a prompt, is an answer."""
    roles = columns_by_role.keys()
    if roles >= {"prompt", "answer"} and "response" not in roles and is_prose(columns_by_role["answer"]):
        columns_by_role["response"] = columns_by_role.pop("answer")
    if roles >= {"response", "item_id", "source_id"} and not roles & {"answer", "prompt"}:
        columns_by_role["answer"] = columns_by_role.pop("response")


def _unique_item_is_record(columns_by_role: dict[str, ColumnProfile]) -> None:
    """An item id that never repeats is a record id, unless there are answers about the items."""
    item = columns_by_role.get("item_id")
    if item is not None and item.unique and "record_id" not in columns_by_role and "answer" not in columns_by_role:
        columns_by_role["record_id"] = columns_by_role.pop("item_id")


def _numeric_label_is_rating(columns_by_role: dict[str, ColumnProfile]) -> None:
    """Thumbs that are numbers are a rating; thumbs that are text stay a label."""
    if "rating" not in columns_by_role and "label" in columns_by_role:
        label = columns_by_role["label"]
        if label.kind == "number" and re.fullmatch(r"(thumbs?(_up)?|feedback)", label.snake_name):
            columns_by_role["rating"] = columns_by_role.pop("label")


def _guess_source(columns_by_role: dict[str, ColumnProfile], free: list[ColumnProfile], doubts: dict[str, str]) -> None:
    if "source_id" in columns_by_role or "author_id" in columns_by_role:
        return
    for c in free:
        if (
            c.snake_name.endswith("_id")
            and repeats(c)
            and not c.constant
            and not re.fullmatch(rf"({ITEM_WORDS}){ID_SUFFIX}", c.snake_name)
        ):
            columns_by_role["source_id"] = c
            doubts["source_id"] = "guess: the id that repeats; is it who sent the record?"
            free.remove(c)
            return


def _guess_item(columns_by_role: dict[str, ColumnProfile], free: list[ColumnProfile], doubts: dict[str, str]) -> None:
    """If sources vote and no item is named, the first other id that repeats is the item."""
    if (
        "item_id" in columns_by_role
        or "source_id" not in columns_by_role
        or not {"answer", "label", "rating"} & columns_by_role.keys()
    ):
        return
    for c in free:
        if re.search(rf"{ID_SUFFIX}$", c.snake_name) and repeats(c) and not c.constant:
            columns_by_role["item_id"] = c
            doubts["item_id"] = "guess: the id that repeats; is it what the record is about?"
            free.remove(c)
            return


def _guess_two_ids(
    columns_by_role: dict[str, ColumnProfile], free: list[ColumnProfile], doubts: dict[str, str]
) -> None:
    """Two columns of names that repeat and one short scale of numbers are ratings, whatever their names."""
    if {"answer", "label", "text", "prompt", "response"} & columns_by_role.keys():
        return
    ids = [c for c in free if repeats(c) and not c.constant and not (c.kind == "number" and c.distinct <= _SHORT_SCALE)]
    if "rating" not in columns_by_role:
        graded = [c for c in free if _is_grade(c) and c not in ids]
        named = [role for role in ("source_id", "item_id") if role in columns_by_role]
        if (
            len(graded) != 1
            or len(ids) + len(named) != 2
            or len(columns_by_role.keys() - {"record_id", "observed_at"}) > 1
        ):
            return
        columns_by_role["rating"], doubts["rating"] = graded[0], "guess: the only short scale of numbers"
        free.remove(graded[0])
    for role, asks in (("source_id", "who sent the record"), ("item_id", "what the record is about")):
        if role not in columns_by_role and ids and not (role == "source_id" and "author_id" in columns_by_role):
            columns_by_role[role] = ids.pop(0)
            doubts[role] = f"guess: an id that repeats beside a rating; is it {asks}?"
            free.remove(columns_by_role[role])


_SHORT_SCALE = 101
"""Different numbers up to which a column may be a scale."""


def _guess_text(columns_by_role: dict[str, ColumnProfile], free: list[ColumnProfile], doubts: dict[str, str]) -> None:
    """If there is only one column of long prose, it is the text, whatever its name."""
    if {"text", "prompt", "response", "chosen", "answer"} & columns_by_role.keys():
        return
    prose = [c for c in free if is_prose(c) and c.chars >= 25 and c.words and c.distinct >= 0.5 * (c.rows - c.nulls)]
    prose = [c for c in prose if c.kind == "text"] or prose
    if len(prose) == 1:
        columns_by_role["text"] = prose[0]
        doubts["text"] = "guess: the only column of long text"
        free.remove(prose[0])


def _label_beside_answer(columns_by_role: dict[str, ColumnProfile]) -> None:
    """A yes or no beside the answer is about the row (gold, flagged, edited), not what somebody said of the item."""
    label = columns_by_role.get("label")
    if label is not None and "answer" in columns_by_role and label.snake_name.startswith("is_"):
        del columns_by_role["label"]


def _guess_time(columns_by_role: dict[str, ColumnProfile], free: list[ColumnProfile], doubts: dict[str, str]) -> None:
    """If only one column holds times, it is when the record was made, whatever its name."""
    times = [c for c in free if c.kind == "time" and not re.search(_NO_MOMENT, c.snake_name)]
    times = times or [c for c in free if c.epoch and 0 < c.high - c.low < _YEARS * 10 ** _EPOCH_DIGITS[c.epoch]]
    if "observed_at" not in columns_by_role and len(times) == 1:
        columns_by_role["observed_at"] = times[0]
        doubts["observed_at"] = "guess: the only column of times; is it when the record was made?"
        free.remove(times[0])


_YEARS = 3e8
"""Seconds that numbers which are times may span; ids of ten digits are spread wider."""
_EPOCH_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_NO_MOMENT = "birth|born|dob|expir|until|due|deadline"


def _doubt(role: str, c: ColumnProfile) -> str:
    repeats = c.rows - c.nulls - c.distinct
    if role == "record_id" and repeats:
        return f"guess: {repeats:,} of {c.rows:,} ids repeat; records that share an id but not their content are held"
    if role == "source_id" and re.fullmatch(r"session(_id)?", c.snake_name):
        return "guess: nobody steadier is named, so each session counts as a source of its own"
    if role in ("source_id", "author_id") and c.unique:
        return "guess: no value repeats, so no source can earn trust"
    if role in ("source_id", "author_id", "item_id") and c.constant:
        return "one value in the whole file"
    if role == "item_id" and c.unique:
        return "guess: no value repeats, so no two records are about one item"
    if role == "text" and c.kind == "list":
        return "a list of turns; read as its JSON text"
    if role == "observed_at" and c.epoch:
        return f"numbers: {_UNITS[c.epoch]} since 1970"
    if role == "rating" and c.snake_name in ("score", "quality", "reward", "helpful", "helpfulness"):
        return f"guess: is {c.snake_name.replace('_', ' ')} what the source said, not something computed?"
    return ""


_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
