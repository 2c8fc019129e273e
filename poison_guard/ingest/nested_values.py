"""Values of nested cells, as paths compare, join and show them: lists, objects, JSON text, messages."""

from __future__ import annotations

import json
import re
from typing import Any

from poison_guard.text import number_text

__all__ = ["is_empty", "listed", "opened", "plain", "shared_beginning", "text_of", "word"]

_MAX_TEXT_DEPTH = 16
"""Containers inside one another of which the texts are taken."""
_MESSAGE_KEYS = ("content", "text", "value", "parts", "message")
"""Keys at which messages and their parts have their text: OpenAI, ShareGPT, LLaMA-Factory, OpenTelemetry."""
_CALLS = ("tool_calls", "function_call")
_TURN = re.compile(r"(?:^|\n)[ \t]*[A-Za-z][\w ]{0,30}:[ \t]?")
_TRUTH = {"true": "1", "false": "0"}


def opened(value: Any) -> Any:
    """Return a value, or what a text that is a JSON list or object holds; any other text as it is."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def listed(value: Any) -> list[Any]:
    """Return the elements of a list, or the rows of an object of equally long lists (as Hugging Face writes them)."""
    value = opened(value)
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, dict) and value and all(isinstance(v, list) for v in value.values()):
        columns = list(value.values())
        if len({len(column) for column in columns}) == 1:
            return [dict(zip(value, cells, strict=True)) for cells in zip(*columns, strict=True)]
    return []


def text_of(value: Any, depth: int = 0) -> str | None:
    r"""Return the text of a value: of messages and their parts what they say, of other objects all their texts.

    >>> text_of([{"role": "user", "content": "Hi"}, {"from": "gpt", "value": "Hello"}])
    'Hi\n\nHello'
    """
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, (dict, list, tuple)):
        return str(plain(value))
    if depth >= _MAX_TEXT_DEPTH:
        return None
    if isinstance(value, dict):
        key = next((k for k in _MESSAGE_KEYS if value.get(k) is not None), None)
        calls = [json.dumps(value[k], ensure_ascii=False) for k in _CALLS if value.get(k)]
        parts = [value[key], *calls] if key else calls or list(value.values())
    else:
        parts = list(value)
    texts = [text for part in parts if (text := text_of(part, depth + 1))]
    return "\n\n".join(texts) or None


def plain(value: Any) -> Any:
    """Return numbers and truth as they are written, lists and objects as JSON text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return number_text(value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True) if isinstance(value, (dict, list)) else value


def word(value: Any) -> str:
    """Return a value as it is compared with a case: true, True and 1 are one."""
    text = str(value).strip()
    return _TRUTH.get(text.lower(), text.removesuffix(".0"))


def is_empty(value: Any) -> bool:
    """Return whether a value is none: missing, or empty text, list or object."""
    return value is None or value in ("", [], {})


def shared_beginning(a: Any, b: Any) -> tuple[Any, Any]:
    """Return what two texts or lists both begin with, and the rest of the first."""
    a, b = opened(a), opened(b)
    if isinstance(a, list) and isinstance(b, list):
        n = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        return a[:n], a[n:]
    if not isinstance(a, str) or not isinstance(b, str):
        return None, a
    n = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    turns = [turn.end() for turn in _TURN.finditer(a, 0, n)]
    cut = turns[-1] if turns else max(a.rfind(" ", 0, n), a.rfind("\n", 0, n)) + 1 if n < max(len(a), len(b)) else n
    return a[:cut], a[cut:]
