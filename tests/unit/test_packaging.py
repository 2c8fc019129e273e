"""What the package imports is what it declares, and importing it costs nothing."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import poison_guard

ROOT = Path(poison_guard.__file__).parent
PROJECT = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
ROOMS_OF_EXTRA = {
    "airflow": {"airflow"},
    "content": {"signals/content"},
    "gx": {"contracts"},
    "lineage": {"steps", "airflow"},
    "image": {"pipeline"},
    "onnx": {"retrain"},
    "postgres": {"store"},
    "ray": {"steps"},
    "web": {"web", "airflow", "review"},  # the plugin mounts the pages; people have passwords
}
"""The rooms that may import what an extra brings."""
NAMED_OTHERWISE = {"openlineage": ["openlineage-python"]}
"""Distributions of packages that may not be installed, where their name is another."""


def names_of(requirements: list[str]) -> set[str]:
    return {re.sub(r"[-_.]+", "-", Requirement(line).name).lower() for line in requirements}


def imported(file: Path) -> Iterator[str]:
    """Yield the first part of every absolute import of a file, those for type checkers included."""
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Import():
                yield from (alias.name.partition(".")[0] for alias in node.names)
            case ast.ImportFrom(level=0, module=str(module)):
                yield module.partition(".")[0]


def test_every_import_is_declared_and_what_an_extra_brings_stays_in_its_room():
    core = names_of(PROJECT["dependencies"])
    distributions = packages_distributions()
    seen: set[str] = set()
    for file in sorted(ROOT.rglob("*.py")):
        room = str(file.relative_to(ROOT).parent)
        extras = {extra for extra, places in ROOMS_OF_EXTRA.items() if room in places}
        allowed = core.union(*(names_of(PROJECT["optional-dependencies"][extra]) for extra in extras))
        for name in {*imported(file)} - {*sys.stdlib_module_names, "poison_guard", "__future__"}:
            providers = {
                re.sub(r"[-_.]+", "-", each).lower()
                for each in distributions.get(name, NAMED_OTHERWISE.get(name, [name]))
            }
            assert providers & allowed, (
                f"{file.relative_to(ROOT)} imports {name}, which pyproject.toml does not declare"
            )
            seen |= providers & allowed
    assert core - seen == set(), "declared and never imported"


def test_all_and_dev_bring_every_extra():
    optional = PROJECT["optional-dependencies"]
    (everything,) = (Requirement(line) for line in optional["all"])
    assert everything.extras == set(optional) - {"all", "bench", "celery", "dev", "ray"}
    assert "poison-guard[all]" in optional["dev"]
    assert (ROOT / "py.typed").is_file()


def test_importing_the_package_imports_nothing_but_the_standard_library():
    code = "import poison_guard, sys; print(*sys.modules)"
    plain = subprocess.run([sys.executable, "-c", "import sys; print(*sys.modules)"], capture_output=True, check=True)
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    new = {name.split(".")[0] for name in child.stdout.decode().split()} - set(plain.stdout.decode().split())
    assert new <= {*sys.stdlib_module_names, "poison_guard"}
    assert len([name for name in child.stdout.decode().split() if name.startswith("poison_guard")]) == 1


def test_the_package_shows_what_it_offers():
    assert dir(poison_guard) == sorted(poison_guard.__all__)
    assert all(getattr(poison_guard, name) is not None for name in dir(poison_guard))
    with pytest.raises(AttributeError, match="no attribute 'Gard'"):
        _ = poison_guard.Gard
