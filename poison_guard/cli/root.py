"""The root command: names and help lines of all commands, imported when called; the exit code of each failure."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import click

from poison_guard.errors import GuardError
from poison_guard.text import nearest, visible

__all__ = ["INTERNAL", "INTERRUPTED", "USAGE", "cli", "exit_code_of"]


USAGE, INTERNAL, INTERRUPTED = 2, 4, 130


def exit_code_of(call: Callable[[], Any], *, debug: bool) -> int:
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
        return _print_failure(_usage_sentence(error), USAGE)
    except (click.Abort, KeyboardInterrupt):
        return _print_failure("interrupted; run the same command again to go on", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read our output has stopped reading
        return 0
    except GuardError as error:
        return _print_failure(str(error), error.exit_code, debug=debug)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _print_failure(f"{where}{error.strerror or error}", INTERNAL, debug=debug)
    except Exception as error:  # noqa: BLE001  the edge of the process: nothing is swallowed, it ends with exit code 4
        return _print_failure(_internal_sentence(error, debug=debug), INTERNAL, debug=debug)
    return code if isinstance(code, int) else 0


def _print_failure(text: str, code: int, *, debug: bool = False) -> int:
    if debug:
        traceback.print_exc(file=sys.stderr)
    from poison_guard.cli.output import logs_are_json, print_event

    if logs_are_json():
        print_event("failed", level="error", message=visible(text, limit=1000), exit_code=code)
    else:
        click.echo(f"poison-guard: {visible(text, limit=1000)}", err=True)
    return code


def _internal_sentence(error: Exception, *, debug: bool) -> str:
    if isinstance(error, MemoryError):
        return "the machine has no memory left for this; free some, or give smaller files, and run the command again"
    hint = "" if debug else "; run again with --debug to see where"
    return f"internal error, {type(error).__name__}: {_first_line(error)}{hint}"


def _usage_sentence(error: click.ClickException) -> str:
    """Return click's message as one sentence that says where the help is."""
    text = error.format_message().rstrip(".").replace("\n", " ")
    context = getattr(error, "ctx", None)
    return f"{text}; see `{context.command_path if context else 'poison-guard'} --help`"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or "no message"


COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("setup", "Write three feeds with attacks inside, to try the guard on."),
    "init": ("setup", "Propose a contract and expectations for a data file."),
    "formats": ("setup", "List the known formats that init finds on sight."),
    "trust": ("trust", "Enter vetted records into a feed's trusted set."),
    "scan": ("run", "Decide records without storing anything."),
    "run": ("run", "Take new records in, decide them and store the result."),
    "status": ("status", "Show feeds, phases, what is where and what waits."),
    "sources": ("sources", "Show the sources and their reliability; block or unblock one."),
    "ask": ("sources", "Name the answers and looks that would settle the most labels."),
    "scores": ("sources", "Score items by accepted ratings, so that no brigade lifts any."),
    "review": ("review", "Work through the queue: list, show, next, release, reject, bulk, undo."),
    "users": ("people", "Manage who may sign in: add, list, role, disable, enable, password."),
    "login": ("people", "Sign in: commands act in that name."),
    "logout": ("people", "Sign out."),
    "explain": ("review", "Show all that is known of one record."),
    "serve": ("serve", "Show queue, records, gate and models as pages."),
    "seal": ("gate", "Seal what was accepted into a snapshot."),
    "gate": ("gate", "Judge a snapshot before training: check, approve, show."),
    "verify": ("gate", "Verify the manifest of an admission, offline."),
    "retrain": ("models", "Train on what was admitted; promote the model or refuse it."),
    "models": ("models", "List the models of a feed and which one is the champion."),
    "recall": ("recall", "Take accepted records back; name the models trained on them."),
    "erase": ("recall", "Destroy what a source sent; name the models trained on it."),
    "evaluate": ("models", "Attack a model as hard as may be, and say what it withstands."),
    "predict": ("models", "Label inputs with a model; leave to people what it is not sure of."),
    "inspect": ("models", "Flag inputs that look made to mislead a model."),
    "rollback": ("models", "Make an earlier champion the champion again."),
    "coverage": ("measure", "Measure which attacks on the feed are held, and from what size."),
    "tune": ("measure", "Show what each threshold costs and misses, on the feed's own trusted records."),
    "drill": ("measure", "Attack the guard with simulated poison and show the result."),
    "export": ("records", "Write records of a feed to a file."),
    "report": ("records", "Write one run's report as a self-contained page."),
    "audit": ("status", "Recompute what training rests on; print the head of the audit chain."),
    "doctor": ("setup", "Check this installation and home, and say what to fix."),
}
"""Command name to its module in this package (which holds a command of the same name) and its line in the help."""


_GROUPS = ("review", "gate", "audit", "users")
"""Commands whose second word says what they do."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, and whose failures end as one sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order people need them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command and return it; None for a name that is not one."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"poison_guard.cli.{COMMANDS[cmd_name][0]}")
        return getattr(module, f"{cmd_name}_command")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was named; a name that is none is refused with the nearest one."""
        near = None if args[0] in COMMANDS else nearest(args[0], COMMANDS)
        if near:
            raise click.UsageError(f"No such command '{args[0]}'. Did you mean '{near}'?", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands' one-line helps without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def main(  # type: ignore[override]  # it always exits, where click's may return
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run a command line and exit: 0 fine, 1 findings or closed, 2 usage, 3 inconclusive, 4 store or internal."""
        argv = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        call = super().main
        from poison_guard.cli.output import announced

        words = argv[next((at for at, word in enumerate(argv) if word in COMMANDS), 0) :]
        name = " ".join(words[: 2 if words[:1] and words[0] in _GROUPS else 1]) or "poison-guard"

        def told() -> Any:
            with announced(name):
                return call(argv, prog_name or "poison-guard", **extra)

        sys.exit(exit_code_of(told, debug="--debug" in argv))


@click.group(
    cls=LazyGroup,
    name="poison-guard",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 fine, 1 findings or closed, 2 usage or configuration, 3 inconclusive, 4 store or internal.",
)
@click.version_option(package_name="poison-guard", prog_name="poison-guard")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
@click.option(
    "--log",
    type=click.Choice(["text", "json"]),
    default="text",
    envvar="POISON_GUARD_LOG",
    help="Write what goes to stderr as text, or as lines of JSON.",
)
def cli(log: str) -> None:
    """The checkpoint between collected and learned: each record is accepted, quarantined or rejected, with evidence."""
    if log == "json":
        from poison_guard.cli.output import log_as_json

        log_as_json()
