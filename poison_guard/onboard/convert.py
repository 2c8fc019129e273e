"""Write examples as trainers read them: TRL's and OpenAI's rows, made of what the roles of a contract find in a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from poison_guard.config import Contract
from poison_guard.errors import DataError, UsageError
from poison_guard.ingest.nested_values import is_empty, text_of
from poison_guard.ingest.paths import Expression, PathError, parse_path

__all__ = ["TRAINERS", "Converter", "Counted"]

TRAINERS = ("trl", "openai")
"""What `Converter` writes."""
_WRITERS = {"human": "user", "gpt": "assistant", "bot": "assistant", "chatgpt": "assistant", "prompter": "user",
            "observation": "tool", "function_response": "tool"}  # fmt: skip
"""Names of a message's writer in other formats, to those of OpenAI's."""
_GOOD = frozenset(("true", "1", "1.0", "yes", "up", "good", "like", "positive", "thumbs_up", "👍", "+1", "correct"))
_BAD = frozenset(("false", "0", "0.0", "-1", "-1.0", "no", "down", "bad", "dislike", "negative", "thumbs_down", "👎",
                  "incorrect"))  # fmt: skip


@dataclass(slots=True)
class Counted:
    """What a conversion left out."""

    rated_bad: int = 0
    """Replies that are rated bad, for a format that has only good ones."""


@dataclass(frozen=True, slots=True)
class Converter:
    """Turns a feed's own rows into those of a trainer; `UsageError` where the roles do not say what it needs."""

    contract: Contract
    trainer: str
    counted: Counted = field(default_factory=Counted)

    def __post_init__(self) -> None:
        """Check that there is something to write."""
        roles = self.contract
        if self.same or roles.has("chosen", "rejected") or roles.has("response"):
            return
        if roles.has("text") and self.trainer == "trl":
            return
        needed = "chosen and rejected, or prompt and response" + (", or text" if self.trainer == "trl" else "")
        raise UsageError(
            f"examples for {self.trainer} are made of {needed}; [columns] of {roles.name} maps "
            f"{', '.join(roles.columns) or 'none'}. `--as jsonl` writes the rows as they came"
        )

    @property
    def same(self) -> bool:
        """Whether the feed's rows are in a format of the trainer already, and are written as they came."""
        return (self.contract.data.format or "").startswith(f"{self.trainer}-")

    def _is_own(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is written as it came; other tools' conversations have a system text beside the messages."""
        return self.same and (self.trainer == "trl" or "system" not in row)

    def rows(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the rows of the trainer's format."""
        make = self._trl if self.trainer == "trl" else self._openai
        for row in rows:
            made = dict(row) if self._is_own(row) else make(row)
            if made is not None:
                yield made

    def _trl(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        found = {role: self._value(role, row) for role in ("prompt", "response", "chosen", "rejected", "text")}
        tools = {"tools": row["tools"]} if row.get("tools") else {}
        if self.contract.has("chosen", "rejected"):
            names = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
        elif self.contract.has("response"):
            names = {"prompt": "prompt", "response": "completion"}
        else:
            value = found["text"]
            return {"text": value, **tools} if not _is_chat(value) else {"messages": _messages(value, "user"), **tools}
        given = {role: found[role] for role in names if self.contract.has(role)}
        if any(map(_is_chat, given.values())):
            spoken = {role: "user" if role == "prompt" else "assistant" for role in given}
            given = {role: _messages(value, spoken[role]) for role, value in given.items()}
        made = {names[role]: value for role, value in given.items()}
        if "response" in given and self.contract.has("label"):
            made["label"] = self._is_good(row)
        return {**made, **tools}

    def _openai(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        prompt = _messages(self._value("prompt", row), "user")
        tools = {"tools": row["tools"]} if row.get("tools") else {}
        if self.contract.has("chosen", "rejected"):
            replies = {role: _messages(self._value(role, row), "assistant") for role in ("chosen", "rejected")}
            asked = {"messages": prompt, **tools}
            return {"input": asked, "preferred_output": replies["chosen"], "non_preferred_output": replies["rejected"]}
        if self.contract.has("label") and not self._is_good(row):
            self.counted.rated_bad += 1
            return None
        return {"messages": [*prompt, *_messages(self._value("response", row), "assistant")], **tools}

    def _is_good(self, row: Mapping[str, Any]) -> bool:
        value = self._value("label", row)
        word = str(value).strip().lower()
        if word not in _GOOD | _BAD:
            raise DataError(
                f"{self.trainer} takes labels that are good or bad, and {value!r} is neither; `--as jsonl` writes the "
                "rows as they came"
            )
        return word in _GOOD

    def _value(self, role: str, row: Mapping[str, Any]) -> Any:
        name = self.contract.columns.get(role)
        if name is None:
            return None
        try:
            expression = parse_path(name)
        except PathError:
            return row.get(name)
        return _found(expression, row)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row as paths look at it."""

    names: Mapping[str, Any]
    position: int = 1

    def cell(self, name: str) -> Any:
        return self.names.get(name)


def _found(expression: Expression, row: Mapping[str, Any]) -> Any:
    """Return what a path finds; of values written one after the other (``system + messages[]``) the messages."""
    if expression.op != "+":
        return expression.value(_Row(row))
    parts = [value for part in expression.parts if not is_empty(value := part.value(_Row(row)))]
    if not any(map(_is_chat, parts)):
        return "\n\n".join(text for part in parts if (text := text_of(part))) or None
    first = "system" if len(parts) > 1 and isinstance(parts[0], str) else "user"
    return [message for i, part in enumerate(parts) for message in _messages(part, first if i == 0 else "user")]


def _is_chat(value: Any) -> bool:
    """Whether a value is a message, or a list of some."""
    several = value if isinstance(value, (list, tuple)) else [value]
    return bool(several) and all(isinstance(each, Mapping) for each in several)


def _messages(value: Any, writer: str) -> list[dict[str, Any]]:
    """Return a value as messages; text is one of `writer`."""
    if is_empty(value):
        return []
    if not _is_chat(value):
        return [{"role": writer, "content": value if isinstance(value, str) else text_of(value) or ""}]
    several = value if isinstance(value, (list, tuple)) else [value]
    return [_message(each, writer) for each in several]


def _message(message: Mapping[str, Any], writer: str) -> dict[str, Any]:
    said = {key: value for key, value in message.items() if key not in ("from", "value") and value is not None}
    named = str(message.get("role") or message.get("from") or writer)
    said["role"] = _WRITERS.get(named, named)
    if "content" not in said and "value" in message:
        said["content"] = message["value"]
    return {"role": said.pop("role"), **said}
