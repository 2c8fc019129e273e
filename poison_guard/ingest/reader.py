"""Read objects in a child process with bounded memory, and tell the object's fault from a fault around it.

A small hostile file can unpack to any size or crash a parser; it costs the child, never the process that decides.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from poison_guard.ingest.blocks import read_blocks
from poison_guard.ingest.nested import Shape
from poison_guard.ingest.raw_table import Limits, NotRead, RawTable, Unreadable

__all__ = ["ChildReader", "free_memory", "read_in_child"]

_WITHOUT_PANDAS = (
    "import sys, types; sys.modules['pandas'] = types.SimpleNamespace(__version__='0'); "
    "from poison_guard.ingest.child import main; main()"
)
"""Arrow imports pandas, half a second, to learn whether a list is one of its; one of version 0 it leaves alone."""
_COMMAND = (sys.executable, "-P", "-c", _WITHOUT_PANDAS)
_CRASHES = frozenset((signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE))
"""Signals by which a process ends itself; any other comes from outside."""


@dataclass
class ChildReader:
    """Reads files one after another in one child process, started at the first read and again after it ended.

    What the object did is `Unreadable`: a refusal, more memory or computing than is allowed, a crash of two fresh
    processes. Everything else is `NotRead`: a process killed from outside, one that takes too long without computing, a
    full disk, no memory or file handle left.
    """

    _child: subprocess.Popen[str] | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def read(
        self,
        path: Path,
        format_: str,
        limits: Limits,
        columns: Sequence[str] = (),
        *,
        shape: Shape | None = None,
        beside: Sequence[tuple[Path, str]] = (),
    ) -> RawTable:
        """Return the rows of a local file of a format; `columns` are kept in a JSON object with too many keys.

        With a `shape` they are the records that it makes of the rows, joined to those of the files `beside`.
        """
        try:
            with (
                self._lock,
                tempfile.TemporaryDirectory(prefix="poison-guard-", ignore_cleanup_errors=True) as folder,
            ):
                out = str(Path(folder) / "blocks.arrow")
                request: dict[str, Any] = {
                    "format": format_,
                    "path": str(path.absolute()),
                    "out": out,
                    "columns": list(columns),
                }
                if shape is not None:
                    request |= {"shape": shape.sent(), "beside": [(str(p.absolute()), kind) for p, kind in beside]}
                answer = self._ask({**request, "limits": asdict(limits)}, limits)
                if "refusal" in answer:
                    raise Unreadable(answer["refusal"])
                if "fault" in answer:
                    raise NotRead(answer["fault"])
                return read_blocks(out, answer, limits)
        except MemoryError:
            raise NotRead("there is no memory left for it") from None
        except OSError as error:
            raise NotRead(error.strerror or str(error)) from None

    def _ask(self, request: dict[str, Any], limits: Limits) -> dict[str, Any]:
        """Return the child's answer; what a used process could not do, or one that crashed, a fresh one tries again."""
        crashed = False
        while True:
            fresh = self._child is None
            child = self._child = self._child or _start()
            try:
                line = _exchange(child, json.dumps(request), limits.seconds)
            except NotRead:
                self.close()
                raise
            if line.endswith("\n"):
                answer: dict[str, Any] = json.loads(line)
                if fresh and answer.get("memory") and free_memory() < limits.memory_bytes:
                    raise NotRead("the machine has not enough memory left")
                if fresh or not answer.get("memory"):
                    return answer
                self.close()
                continue
            code = child.wait()
            self.close()
            refusal = _ending_of_child(code, limits, fresh=fresh, again=crashed)
            if refusal is not None:
                return {"refusal": refusal}
            crashed = crashed or code != 0

    def close(self) -> None:
        """End the child process."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.communicate()

    def forget(self) -> None:
        """Leave the child to the process that this one was forked from."""
        self._child, self._lock = None, threading.Lock()


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603  our own interpreter and module, no shell
        _COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={
            "PATH": os.defpath,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "ARROW_DEFAULT_MEMORY_POOL": "system",
            "MALLOC_ARENA_MAX": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        },
    )


def _exchange(child: subprocess.Popen[str], request: str, seconds: float) -> str:
    """Return the line that answers a request; "" if the child ended. One that takes too long is ended."""
    assert child.stdin is not None and child.stdout is not None  # noqa: S101, PT018  both are pipes
    try:
        child.stdin.write(request + "\n")
        child.stdin.flush()
    except BrokenPipeError:
        return ""
    ready = select.poll()
    ready.register(child.stdout, select.POLLIN)
    if not ready.poll(seconds * 1000):
        raise NotRead(f"it was not read within {seconds:,.0f} s, which its process spent waiting; the machine is busy")
    return child.stdout.readline()


def _ending_of_child(code: int, limits: Limits, *, fresh: bool, again: bool) -> str | None:
    """Return why an object cannot be read whose process ended with `code`; None if it is to be tried again.

    A process that was not fresh may have ended in peace for lack of requests.
    """
    if -code == signal.SIGXCPU:
        return f"reading it takes more than {limits.cpu_seconds:,.0f} s of computing"
    if -code in _CRASHES:
        return f"the process that read it crashed twice ({signal.Signals(-code).name})" if again else None
    if code or fresh:
        ending = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        raise NotRead(f"the process that read it was ended from outside ({ending})")
    return None


def free_memory() -> int:
    """Return the bytes of memory that machine and container can still give; more than any need where neither says."""
    free = [sys.maxsize]
    with contextlib.suppress(OSError, StopIteration, ValueError):
        facts = Path("/proc/meminfo").read_text(encoding="ascii")
        free.append(next(int(line.split()[1]) << 10 for line in facts.splitlines() if line.startswith("MemAvailable:")))
    with contextlib.suppress(OSError, ValueError):  # a container without a limit says "max", which is no number
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / f"memory.{name}").read_text(encoding="ascii")) for name in ("max", "current"))
        free.append(max(0, limit - used))
    return min(free)


_READER = ChildReader()
os.register_at_fork(after_in_child=_READER.forget)

read_in_child = _READER.read
"""Return the rows of a local file, read in the one child that this process has for all its files."""
