"""Every command of the tutorial runs, ends with the exit code that the page says, and shows what the page shows."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from poison_guard.cli import cli
from tests.docs.reference import ROOT

PAGE = ROOT.parent / "docs" / "tutorial.md"


def blocks() -> list[tuple[str, str]]:
    """Return language and text of each fenced block, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def commands(block: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of a console block with the lines that it shows."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *shown = part.splitlines()
        yield command, shown


def write(block: str) -> None:
    """Write a file whose name is the block's first line, or replace one line of a file that is there."""
    head, body = block.split("\n", 1)
    if head.startswith("# in "):
        file, key = Path(head.removeprefix("# in ")), body.split("=")[0]
        text, n = re.subn(rf"^{key}=.*$", body.strip(), file.read_text(), flags=re.MULTILINE)
        assert n == 1
        file.write_text(text)
    else:
        Path(head.removeprefix("# ")).write_text(block)


def run(command: str) -> str:
    """Run a command as a shell would; check its exit code and return what it wrote."""
    words = shlex.split(command, comments=True)
    words = [name for word in words for name in (map(str, sorted(Path().glob(word))) if "*" in word else [word])]
    expected = int(match[1]) if (match := re.search(r"# exit code (\d)", command)) else 0
    if words[0] == "poison-guard":
        result = CliRunner().invoke(cli, words[1:])
        code, output = result.exit_code, result.output
    else:
        words[0] = sys.executable if words[0] == "python" else words[0]
        done = subprocess.run(words, capture_output=True, check=False, text=True)
        code, output = done.returncode, done.stdout + done.stderr
    assert code == expected, f"{command}\n{output}"
    return output


def plain(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.slow
def test_the_tutorial_does_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("POISON_GUARD_HOME", raising=False)
    shown_lines = 0
    for language, block in blocks():
        if language != "console":
            write(block)
            continue
        for command, shown in commands(block):
            output = plain(run(command))
            for line in shown:
                assert plain(line) in output, f"{command}\n{output}"
            shown_lines += len(shown)
    assert shown_lines > 20
