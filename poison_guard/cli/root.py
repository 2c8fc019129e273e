"""The root command: names and one-line helps of all commands, loaded lazily so that `--help` imports nothing heavy."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from poison_guard.cli.failure import guarded

__all__ = ["cli"]

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "Write three feeds with attacks inside, to try the guard on."),
    "init": ("init", "Propose a contract and expectations for a data file."),
    "trust": ("trust", "Enter vetted records into a feed's trusted set."),
    "scan": ("scan", "Decide records without storing anything."),
    "run": ("run", "Take new records in, decide them and store the result."),
    "status": ("status", "Show feeds, phases, what is where and what waits."),
    "sources": ("sources", "Show who speaks and how reliable they are; block or unblock."),
    "review": ("review", "Work through the queue: list, show, release, reject, undo."),
    "explain": ("explain", "Tell all that is known of one record."),
    "seal": ("seal", "Seal what was accepted into a snapshot."),
    "gate": ("gate", "Judge a snapshot before training: check, approve, show."),
    "verify": ("verify", "Verify the manifest of an admission, offline."),
    "retrain": ("retrain", "Train on what was admitted; promote the model or refuse it."),
    "models": ("models", "List the models of a feed and which one is the champion."),
    "recall": ("recall", "Take accepted records back; name the models they reached."),
    "rollback": ("rollback", "Make an earlier champion the champion again."),
    "tune": ("tune", "Show what each threshold costs and misses, on the feed's own trusted records."),
    "drill": ("drill", "Attack the guard with simulated poison and show what came of it."),
    "export": ("export", "Write records of a feed to a file."),
    "report": ("report", "Write one run's report as a self-contained page."),
    "audit": ("audit", "Verify the chain of audit events."),
    "doctor": ("doctor", "Check this installation and home, and say what to mend."),
}
"""Command name to its module in this package (which holds a command of the same name) and its line in the help."""


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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands' one-line helps without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, told) for name, (_, told) in COMMANDS.items()])

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        """Run a command line and exit: 0 fine, 1 findings or closed, 2 usage, 3 inconclusive, 4 store or internal."""
        argv = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        call = super().main
        sys.exit(guarded(lambda: call(argv, prog_name or "poison-guard", **extra), debug="--debug" in argv))


@click.group(
    cls=LazyGroup,
    name="poison-guard",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 fine, 1 findings or closed, 2 usage or configuration, 3 inconclusive, 4 store or internal.",
)
@click.version_option(package_name="poison-guard", prog_name="poison-guard")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def cli() -> None:
    """The checkpoint between collected and learned: each record is accepted, quarantined or rejected, with evidence."""
