"""A guard whose answers the test chooses, so that what is around it is tested alone."""

from __future__ import annotations

from typing import Any

import pytest

from poison_guard.guard import Guard


class Double:
    """Stands in for an open `Guard`; a test sets the verbs it needs, and no others than a guard has."""

    def __init__(self) -> None:
        self.__dict__["opened"] = []

    def __setattr__(self, name: str, value: Any) -> None:
        assert hasattr(Guard, name), f"a guard has no {name}"
        self.__dict__[name] = value


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the guard that every contract opens; `opened` notes contract and home of each time."""
    double = Double()
    monkeypatch.setattr(Guard, "open", lambda contract, home: double.opened.append((contract, home)) or double)
    return double
