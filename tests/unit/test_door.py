"""Command line, Airflow and pages call the guard and nothing below it."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import poison_guard
from poison_guard import guard
from poison_guard.results import Result
from poison_guard.reviewing import Reviewing
from poison_guard.stages import Stages

ROOT = Path(poison_guard.__file__).parent
SHELLS = sorted(file for shell in ("airflow", "cli", "web") for file in (ROOT / shell).rglob("*.py"))
MAY_IMPORT = {"airflow", "cli", "config", "drills", "errors", "files", "guard", "records", "results", "text", "web"}


def rooms_imported(file: Path) -> Iterator[str]:
    """Yield the room of each import of ours in a file, those in functions and for type checkers included."""
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom(level=0, module="poison_guard"):
                names = [f"poison_guard.{alias.name}" for alias in node.names]
            case ast.ImportFrom(level=0, module=str(module)):
                names = [module]
            case _:
                continue
        yield from (name.split(".")[1] for name in names if name.startswith("poison_guard."))


@pytest.mark.parametrize("file", SHELLS, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_shell_imports_nothing_below_the_guard(file):
    public = {*poison_guard.__all__}
    assert {*rooms_imported(file)} - MAY_IMPORT - public == set()


def test_the_types_of_results_can_be_imported_from_the_guard():
    for name in guard._RESULTS:
        assert isinstance(getattr(guard, name), type)
    with pytest.raises(AttributeError, match="no attribute 'ScanResutl'"):
        _ = guard.ScanResutl


VERBS = {
    (owner, name): method
    for owner in (guard.Guard, Reviewing, Stages, guard.Home)
    for name, method in vars(owner).items()
    if inspect.isfunction(method) and not name.startswith("_")
}


@pytest.mark.parametrize(("owner", "verb"), VERBS, ids=lambda part: getattr(part, "__name__", part))
def test_every_verb_returns_a_frozen_result(owner, verb):
    returned = getattr(guard, VERBS[owner, verb].__annotations__["return"])
    assert issubclass(returned, Result)
    assert dataclasses.is_dataclass(returned)
    assert returned.__dataclass_params__.frozen
