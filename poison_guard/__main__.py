"""The door of the command line: ``poison-guard`` and ``python -m poison_guard``."""

from __future__ import annotations

from poison_guard.cli import cli

__all__ = ["main"]


def main() -> None:
    """Run the command line with the arguments of the process; ends the process with the command's exit code."""
    cli.main(prog_name="poison-guard")


if __name__ == "__main__":
    main()
