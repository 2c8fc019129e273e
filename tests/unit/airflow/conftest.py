"""A guard whose answers the test chooses, so that what is around it is tested alone."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

import poison_guard


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Stand in for `poison_guard.steps`; a test sets the functions it needs."""
    module = ModuleType("poison_guard.steps")
    monkeypatch.setitem(sys.modules, "poison_guard.steps", module)
    monkeypatch.setattr(poison_guard, "steps", module, raising=False)
    return module
