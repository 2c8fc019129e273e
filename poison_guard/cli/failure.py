"""How a command fails: one sentence on stderr and an exit code; the traceback only with `--debug`."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import click

from poison_guard.errors import GuardError
from poison_guard.web.visible import visible

__all__ = ["INTERNAL", "INTERRUPTED", "USAGE", "guarded"]

USAGE, INTERNAL, INTERRUPTED = 2, 4, 130


def guarded(call: Callable[[], Any], *, debug: bool) -> int:
    """Run `call` and return its exit code; every error becomes one sentence on stderr."""
    if not debug and not sys.warnoptions:
        warnings.simplefilter("ignore")
    try:
        code = call()
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return USAGE
    except click.ClickException as error:
        return _tell(_usage(error), USAGE)
    except (click.Abort, KeyboardInterrupt):
        return _tell("interrupted; run the same command again to go on", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read our output has stopped reading
        return 0
    except GuardError as error:
        return _tell(str(error), error.exit_code, debug=debug)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _tell(f"{where}{error.strerror or error}", INTERNAL, debug=debug)
    except Exception as error:  # noqa: BLE001  the edge of the process: nothing is swallowed, it ends with exit code 4
        hint = "" if debug else "; run again with --debug to see where"
        return _tell(f"internal error, {type(error).__name__}: {_first_line(error)}{hint}", INTERNAL, debug=debug)
    return code if isinstance(code, int) else 0


def _tell(text: str, code: int, *, debug: bool = False) -> int:
    if debug:
        traceback.print_exc(file=sys.stderr)
    click.echo(f"poison-guard: {visible(text, limit=1000)}", err=True)
    return code


def _usage(error: click.ClickException) -> str:
    """Return click's message as one sentence that says where the help is."""
    text = error.format_message().rstrip(".").replace("\n", " ")
    context = getattr(error, "ctx", None)
    return f"{text}; see `{context.command_path if context else 'poison-guard'} --help`"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or "no message"
