"""The shell of every command: exit codes, one-sentence errors, a help that imports nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from poison_guard.cli import cli
from poison_guard.cli.root import COMMANDS, exit_code_of
from poison_guard.errors import BusyError, ConfigError, StoreError, TamperError

_HEAVY = {
    "torch",
    "pandas",
    "numpy",
    "sqlalchemy",
    "great_expectations",
    "airflow",
    "rich",
    "jinja2",
    "pyarrow",
    "fsspec",
    "cryptography",
    "scipy",
    "sklearn",
    "safetensors",
}


def _fail(error: BaseException):
    def call():
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (ConfigError("x in feeds/chat.toml is wrong"), 2, "x in feeds/chat.toml is wrong"),
        (StoreError("the store cannot be reached"), 4, "the store cannot be reached"),
        (BusyError("somebody else holds it"), 2, "somebody else holds it"),
        (TamperError("event 4 was changed"), 1, "event 4 was changed"),
        (OSError(28, "No space left on device", "guard-home/x"), 4, "guard-home/x: No space left on device"),
        (click.UsageError("no such option"), 2, "no such option"),
        (KeyboardInterrupt(), 130, "interrupted; run the same command again to go on"),
        (MemoryError(), 4, "the machine has no memory left for this"),
        (ZeroDivisionError("by zero\nsecond line"), 4, "internal error, ZeroDivisionError: by zero; run again with"),
        (ConfigError("\x1b[2J and \u202e"), 2, "<U+001B>[2J and <U+202E>"),
    ],
)
def test_every_failure_is_one_sentence_and_an_exit_code(error, code, sentence, capsys):
    assert exit_code_of(_fail(error), debug=False) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 1
    assert sentence in told.err


def test_debug_shows_the_traceback(capsys):
    assert exit_code_of(_fail(ConfigError("wrong")), debug=True) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_command_s_number_is_its_exit_code_and_nothing_else_is():
    assert exit_code_of(lambda: 3, debug=False) == 3
    assert exit_code_of(lambda: None, debug=False) == 0


@pytest.mark.parametrize(
    "arguments",
    [["nope"], ["scan"], ["scan", "--feed"], ["run", "--unknown"], ["review", "nope"], ["audit", "verify", "--home"]],
)
def test_wrong_usage_ends_with_two_and_says_where_the_help_is(arguments):
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "--help" in result.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_in_the_list_is_there_and_explains_itself(name):
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage: poison-guard" in result.output


def test_importing_every_command_imports_nothing_heavy():
    loaded = _imported("; ".join(f"import poison_guard.cli.{module}" for module, _ in COMMANDS.values()))
    assert not _HEAVY & loaded


def test_help_lists_the_commands_and_imports_nothing_heavy():
    code = "from poison_guard.cli import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass"
    loaded = _imported(code)
    assert not _HEAVY & loaded
    assert "poison_guard.cli.run" not in loaded
    assert all(name in CliRunner().invoke(cli, ["--help"]).output for name in COMMANDS)


def test_the_version_is_told():
    assert "poison-guard, version" in CliRunner().invoke(cli, ["--version"]).output


def _imported(code: str) -> set[str]:
    program = f"{code}\nimport sys\nprint('\\n'.join(sys.modules), file=sys.stderr)"
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(child.stderr.split())


def test_a_command_that_is_none_is_refused_with_the_nearest_one():
    result = CliRunner().invoke(cli, ["satus"])
    assert result.exit_code == 2
    assert "'satus'. Did you mean 'status'?" in result.output


def test_what_goes_to_stderr_is_json_where_that_is_asked_for():
    """A process of its own: how it logs is set for all of it."""
    script = (
        "import logging, sys; from poison_guard.cli.root import cli; sys.argv[0] = 'x'\n"
        "from poison_guard.cli import output; output.log_as_json(); output.print_progress('a\\nb')\n"
        "logging.getLogger('poison_guard.x').warning('bad \\u202e text'); logging.getLogger('other').info('chatter')\n"
        "cli.main(['--log', 'json', 'scan', 'no.csv', '--feed', 'nowhere.toml'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    progress, warning, failed = map(json.loads, done.stderr.splitlines())
    assert progress["message"] == "a\nb"
    assert (warning["level"], warning["logger"]) == ("warning", "poison_guard.x")
    assert "\u202e" not in warning["message"]
    assert (failed["event"], failed["level"], failed["command"]) == ("failed", "error", "scan")
    assert failed["exit_code"] == done.returncode == 2
