"""The steps by hand: the `poison-guard` command. Each command is a module that is imported only when it is called."""

from poison_guard.cli.root import cli

__all__ = ["cli"]
