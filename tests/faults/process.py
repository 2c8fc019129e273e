"""Run a command of the guard in a forked child that is struck at its k-th write: killed, torn, or failed with an errno.

Or it is stopped there, looked at, and goes on, so that one run shows what a kill at each of many writes would leave.

The process that forks has everything imported and holds no connection, so a trial costs what the command costs. Its
clock stands still, so that two runs of one command write the same bytes.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime as dt
import gc
import importlib
import json
import os
import pkgutil
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Event", "Look", "Outcome", "Strike", "build_shim", "call", "has_shim", "reexec_with_shim", "warm_up"]

KILL_BEFORE, KILL_TORN, KILL_AFTER, FAIL_ONCE, FAIL_ON, SLOW, STOP = 1, 2, 3, 4, 5, 6, 7
MODES = {"before": KILL_BEFORE, "torn": KILL_TORN, "after": KILL_AFTER, "fail once": FAIL_ONCE, "fail on": FAIL_ON}
MODES |= {"slow": SLOW}
_SOURCE = Path(__file__).with_name("shim.c")
_POINT = ("before", "torn", "after")
"""Of an event: where a process can be stopped or killed, in this order."""
_HANGS_S = 900.0
"""Wall time after which a command hangs: on a busy machine one of three CPU seconds took more than three minutes."""


@dataclass(frozen=True)
class Strike:
    """What happens to the process, and at which event (from 1)."""

    at: int
    how: str
    """One of `MODES`."""
    error: int = 0
    """An errno; of ``slow``, the milliseconds that each message to the database takes from then on."""


@dataclass(frozen=True)
class Look:
    """Where a process is stopped, and what is done each time, before it goes on."""

    strikes: Sequence[Strike]
    then: Callable[[Sequence[Strike]], None]
    """Gets the strikes that a kill now would be: one, or more where threads stop together."""


@dataclass(frozen=True)
class Event:
    """One change of a file, or one message to the database."""

    kind: str
    size: int
    path: str


@dataclass
class Outcome:
    """How a child ended."""

    code: int | None
    """Exit code; None where it was killed or ran too long."""
    killed: bool = False
    hung: bool = False
    out: str = ""
    err: str = ""
    seconds: float = 0.0
    cpu: float = 0.0
    rss_mb: float = 0.0
    events: list[Event] = field(default_factory=list)


def build_shim(folder: Path) -> Path:
    """Compile the shim into `folder` unless it is there; raises `RuntimeError` with the reason where that fails."""
    target = folder / f"shim-{_SOURCE.stat().st_mtime_ns}.so"
    if target.exists():
        return target
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None or not sys.platform.startswith("linux"):
        raise RuntimeError("the shim needs Linux and a C compiler")
    folder.mkdir(parents=True, exist_ok=True)
    building = target.with_suffix(f".{os.getpid()}")
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(building), str(_SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the shim does not compile here: {done.stderr.strip().splitlines()[-1:]}")
    building.replace(target)
    return target


def has_shim() -> bool:
    """Whether this process was started with the shim."""
    return hasattr(ctypes.CDLL(None), "faults_arm")


def reexec_with_shim(shim: Path, module: str, arguments: Sequence[str]) -> None:
    """Start this Python again as ``-m module`` with the shim loaded, one thread a library and a fixed key."""
    env = {**os.environ, "LD_PRELOAD": str(shim), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    os.execve(sys.executable, [sys.executable, "-m", module, *arguments], env)


def warm_up(*, training: bool = True) -> None:
    """Import the guard and what it imports when it is used (and trains), so that a forked child starts at once."""
    import poison_guard

    heavy = ("pandas", "pyarrow.parquet", "pyarrow.csv", "sqlalchemy.dialects.sqlite", "torch", "sklearn.ensemble")
    heavy += ("torch._dynamo",) if training else ()  # what the first optimizer imports, three CPU seconds
    for name in (*heavy, "safetensors.torch", "alembic.command", "cryptography.hazmat.primitives.asymmetric.ed25519"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    with contextlib.suppress(ImportError):
        importlib.import_module("psycopg")
    for found in pkgutil.walk_packages(poison_guard.__path__, "poison_guard."):
        if not {"airflow", "__main__", "versions", "env"} & set(found.name.split(".")):
            importlib.import_module(found.name)
    gc.collect()
    gc.freeze()


def call(
    task: Callable[[], Any],
    *,
    root: Path,
    logs: Path,
    clock: dt.datetime | None = None,
    strike: Strike | None = None,
    env: Mapping[str, str] | None = None,
    survey: bool = False,
    sockets: bool = False,
    limits: Mapping[int, int] | None = None,
    look: Look | None = None,
    timeout_s: float = _HANGS_S,
) -> Outcome:
    """Run `task` in a child whose events below `root` are counted, and return how it ended.

    `task` returns an exit code (None: 0); what it prints is in the outcome. `limits` are soft limits of
    `resource`; of memory and open files they are what is allowed beyond what is in use.
    """
    logs.mkdir(parents=True, exist_ok=True)
    out, err, journal = logs / "out", logs / "err", logs / "journal"
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _in_child(task, root, (out, err, journal), clock, strike, env or {}, survey, sockets, limits or {}, look)
    killed, code, hung, usage = _wait(pid, started + timeout_s, journal, look)
    return Outcome(
        code,
        killed=killed and not hung,
        hung=hung,
        out=out.read_text(errors="replace"),
        err=err.read_text(errors="replace"),
        seconds=time.monotonic() - started,
        cpu=usage.ru_utime + usage.ru_stime,
        rss_mb=usage.ru_maxrss / 1024,
        events=_read_journal(journal) if survey else [],
    )


def _wait(pid: int, deadline: float, journal: Path, look: Look | None) -> tuple[bool, int | None, bool, Any]:
    hung, pause, seen = False, 0.002, 0
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG | os.WUNTRACED)
        if done and os.WIFSTOPPED(status):
            stopped = [Strike(point // 4, _POINT[point % 4]) for point in map(int, journal.read_text().split())]
            if look is not None:
                look.then(stopped[seen:])
            seen, pause = len(stopped), 0.001
            os.kill(pid, signal.SIGCONT)
        elif done:
            killed = os.WIFSIGNALED(status)
            return killed, None if killed else os.WEXITSTATUS(status), hung, usage
        if time.monotonic() > deadline:
            hung = True
            os.kill(pid, signal.SIGKILL)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def _in_child(
    task: Callable[[], Any],
    root: Path,
    files: tuple[Path, Path, Path],
    clock: dt.datetime | None,
    strike: Strike | None,
    env: Mapping[str, str],
    survey: bool,
    sockets: bool,
    limits: Mapping[int, int],
    look: Look | None,
) -> None:
    """Arm the shim, do the task and end the process, whatever happens."""
    code = 97
    try:
        for path, fd in zip(files[:2], (1, 2), strict=True):
            opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(opened, fd)
            os.close(opened)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        os.environ.update(env)
        tempfile.tempdir = None  # TMPDIR is another one now
        if "FAULTS_CHILD" in env:
            _strike_grandchildren(env["FAULTS_CHILD"])
        if clock is not None:
            set_clock(clock)
        journal = os.open(files[2], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600) if survey or look else -1
        for what, soft in limits.items():
            resource.setrlimit(what, (soft + _used(what), resource.getrlimit(what)[1]))
        library = ctypes.CDLL(None)
        if look is not None:
            points = [4 * each.at + _POINT.index(each.how) for each in look.strikes]
            library.faults_stop_at((ctypes.c_long * len(points))(*points), len(points))
            library.faults_arm(os.fsencode(root), ctypes.c_long(0), STOP, 0, journal, int(sockets))
        elif strike or survey:
            at, mode = (strike.at, MODES[strike.how]) if strike else (0, 0)
            error = strike.error if strike else 0
            library.faults_arm(os.fsencode(root), ctypes.c_long(at), mode, error, journal, int(sockets))
        code = task() or 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001  the edge of the process
        traceback.print_exc()
        code = 98
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _strike_grandchildren(said: str) -> None:
    """Let processes that the guard starts load the shim too; it gives them an environment of their own."""
    start = subprocess.Popen.__init__

    def with_shim(self: Any, *args: Any, **more: Any) -> None:
        env = {**(more.get("env") or os.environ), "LD_PRELOAD": os.environ["LD_PRELOAD"], "FAULTS_CHILD": said}
        start(self, *args, **{**more, "env": env})

    subprocess.Popen.__init__ = with_shim  # type: ignore[method-assign]


def _used(what: int) -> int:
    """Return how much of a limited resource this process has in use already."""
    if what == resource.RLIMIT_AS:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    if what == resource.RLIMIT_NOFILE:
        return max(int(path.name) for path in Path("/proc/self/fd").iterdir()) + 1
    return 0


def _read_journal(path: Path) -> list[Event]:
    rows = (line.split("\t", 3) for line in path.read_text(errors="replace").splitlines())
    return [Event(kind, int(size), where) for _, kind, size, where in rows]


def set_clock(at: dt.datetime) -> None:
    """Let `datetime.now` of this process say `at` from now on; `datetime` is C, so its table of methods is changed."""

    def now(cls: type[dt.datetime], tz: dt.tzinfo | None = None) -> dt.datetime:
        there = at.astimezone(tz)
        return cls(*there.timetuple()[:6], there.microsecond, tzinfo=tz)

    methods = gc.get_referents(dt.datetime.__dict__)[0]
    methods["now"] = classmethod(now)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(dt.datetime))
    from poison_guard import guard, home, stages

    if any(each._now() != at for each in (guard, home, stages)):
        raise RuntimeError("the guard asks a clock that the harness does not set")


def command(arguments: Sequence[str]) -> Callable[[], int]:
    """Return the task that does what ``poison-guard ARGUMENTS`` does."""

    def task() -> int:
        from poison_guard.cli import cli

        try:
            cli.main(list(arguments), prog_name="poison-guard")
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else 0
        return 0

    return task


def stage(contract: Path, home: Path, name: str, arguments: Sequence[Any]) -> Callable[[], int]:
    """Return the task that calls a stage of the guard as a scheduler does, and prints its result as JSON."""

    def task() -> int:
        from poison_guard import Guard
        from poison_guard.errors import GuardError

        try:
            print(json.dumps(getattr(Guard.open(contract, home), name)(*arguments).to_dict()))
        except GuardError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return error.exit_code
        return 0

    return task
