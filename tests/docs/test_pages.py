"""What the pages for people name is there: links, files, modules, tests; and the pages keep their size."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.reference import ROOT

REPOSITORY = ROOT.parent
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md"), *REPOSITORY.glob("[bd]*/README.md")])
FILE = re.compile(r"[\w.-]+(?:/[\w.-]+)*\.(?:py|md|toml|json|yaml|csv|css|j2|mako|sql)|[\w.-]+(?:/[\w.-]+)*/")
MADE_BY_USERS = re.compile(
    r"[A-Z]{4,}"  # a placeholder: feeds/NAME.toml
    r"|^(inbox|thumbs|guard-home|dist|staging|outcomes|lake)\b|^(settings|items|thumbs|train|predict|make_data)\."
    r"|^(manifest|revocations|admission|vetted|controls|monday|tuesday|decisions|drills)\.|^feeds/(thumbs|sessions|chat)\b"
    r"|^expectations/sessions\b|^crowd/|/(logfmt|length|repeats)\.py$"  # the last: rehearsed, and thrown away
)


def ids(file: Path) -> str:
    return str(file.relative_to(REPOSITORY))


@functools.cache
def known_files() -> tuple[str, ...]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
        text=True,
    )
    return tuple(listed.stdout.split())


def anchors(page: Path) -> set[str]:
    """Return the anchors that headings make, as GitHub names them."""
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_relative_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target or target.startswith("mailto:"):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), f"{ids(page)} links to {target}"
        if anchor:
            assert anchor in anchors(there), f"{ids(page)} links to {target}, and {ids(there)} has no such heading"


def mentions(page: Path) -> Iterator[str]:
    """Yield what stands between single backticks."""
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    yield from re.findall(r"`([^`\n]+)`", prose)


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_file_and_folder_that_is_mentioned_is_there(page):
    for mention in mentions(page):
        file = mention.partition("::")[0]
        if FILE.fullmatch(file) and not MADE_BY_USERS.search(file):
            end = file.rstrip("/")
            inside = any(f"/{each}".endswith(f"/{end}") or f"/{end}/" in f"/{each}" for each in known_files())
            assert inside, f"{ids(page)} mentions {mention}"


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_module_and_name_of_the_package_that_is_mentioned_is_there(page):
    for mention in {*mentions(page)}:
        if not re.fullmatch(r"poison_guard(\.\w+)+", mention):
            continue
        parts = mention.split(".")
        modules = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
        module = next(each for each in reversed(modules) if is_module(each))
        value = importlib.import_module(module)
        for name in parts[module.count(".") + 1 :]:
            assert hasattr(value, name), f"{ids(page)} mentions {mention}"
            value = getattr(value, name)


def is_module(name: str) -> bool:
    path = REPOSITORY.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_test_that_is_named_exists(page):
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text(encoding="utf-8")):
        tree = ast.parse((REPOSITORY / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, f"{file}::{name}"


def test_every_row_of_the_security_page_names_a_test():
    page = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
    (header, *rows) = re.findall(r"^\| (.+?) \| (.+) \|$", page, flags=re.MULTILINE)
    assert header == ("risk", "control")
    assert len(rows) > 15
    assert [risk for risk, control in rows if not re.search(r"tests/[\w/]+\.py", control)] == []


def test_every_law_has_tests():
    laws = (REPOSITORY / "docs" / "laws.md").read_text(encoding="utf-8").split("\n**")[1:]
    assert [int(law.split(".")[0]) for law in laws] == list(range(1, len(laws) + 1))
    assert all(re.search(r"`tests/[\w/]+\.py::test_\w+`", law) for law in laws)


def test_a_law_that_a_docstring_names_is_on_the_page():
    known = set(re.findall(r"^\*\*(\d+)\.", (REPOSITORY / "docs" / "laws.md").read_text("utf-8"), flags=re.MULTILINE))
    for file in ROOT.rglob("*.py"):
        assert set(re.findall(r"\blaws? (\d+)", file.read_text(encoding="utf-8"))) <= known, file


def test_the_glossary_has_at_most_thirty_words_each_once():
    rows = re.findall(r"^\| ([^|]+) \|", (REPOSITORY / "docs" / "words.md").read_text("utf-8"), flags=re.MULTILINE)[1:]
    words = [word for row in rows for word in row.split(", ")]
    assert len(rows) <= 30
    assert len(words) == len(set(words))


def test_the_readme_is_short_and_names_every_page():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert text.count("\n") <= 150
    for page in (REPOSITORY / "docs").glob("*.md"):
        assert f"docs/{page.name}" in text, f"README.md does not name docs/{page.name}"
