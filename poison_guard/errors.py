"""The error tree: every deliberate error derives from `GuardError` and carries the exit code it ends a command with."""

from __future__ import annotations

__all__ = [
    "BusyError",
    "ClosedError",
    "ConfigError",
    "DataError",
    "EngineError",
    "GuardError",
    "InconclusiveError",
    "MissingExtraError",
    "NotFoundError",
    "ReadError",
    "SignInError",
    "SignalError",
    "StaleDecisionError",
    "StaleStateError",
    "StoreError",
    "TamperError",
    "UsageError",
]


class GuardError(Exception):
    """Base of all deliberate errors; the message is one sentence that says what to do next."""

    exit_code = 4


class UsageError(GuardError):
    """A command or call was given arguments that cannot be right."""

    exit_code = 2


class ConfigError(UsageError):
    """A contract, suite, policy or setting is wrong; names the file and the key."""


class MissingExtraError(UsageError):
    """A package that comes with an extra is not installed; the message names the extra."""

    @classmethod
    def of(cls, package: str, extra: str) -> MissingExtraError:
        """Return the error for a `package`, by the name people know, and the extra that brings it."""
        return cls(f"{package} is not installed: pip install 'poison-guard[{extra}]'")


class DataError(UsageError):
    """A whole input cannot be used: missing, empty of records, unreadable, or past its bounds."""


class NotFoundError(UsageError):
    """A record, run, campaign or feed that was asked for does not exist in the store."""


class ReadError(GuardError):
    """An object could not be read for a fault that is not its own: the machine, the disk, the network; try again."""

    @classmethod
    def of(cls, uri: str, fault: str) -> ReadError:
        """Return the error for an object and what failed while it was read."""
        return cls(
            f"{uri} could not be read: {fault.rstrip('. ')}; nothing of this batch was stored, the next run tries again"
        )


class StoreError(GuardError):
    """The store or the lake cannot be reached, read or written."""


class EngineError(GuardError):
    """A process that scored a part of a run was lost, or an engine cannot be reached; nothing of the run was stored."""


class StaleStateError(StoreError):
    """Another run was committed since this one pinned its state; score again and retry."""


class BusyError(GuardError):
    """Somebody else decided, moved or claimed what this command names: look again, wait, or overrule."""

    exit_code = 2


class StaleDecisionError(BusyError):
    """A record was decided or moved after it was shown to whoever decides now; nothing was overwritten."""


class SignInError(GuardError):
    """Name, password, session or role do not allow this."""

    exit_code = 2


class TamperError(GuardError):
    """A hash chain, manifest or file does not match what was written."""

    exit_code = 1


class ClosedError(GuardError):
    """The gate is closed: there is no valid admission for this snapshot, or a manifest does not hold."""

    exit_code = 1


class InconclusiveError(ClosedError):
    """The gate is closed because a check could not be judged; a named person may approve."""

    exit_code = 3


class SignalError(Exception):
    """A signal lacks what it judges by; `signals.isolation` makes it a `SignalFailure`, which holds the records."""
