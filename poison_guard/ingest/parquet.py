"""Read Parquet objects through a child process with bounded memory: a small hostile file can unpack to all there is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from poison_guard.ingest.raw_table import BadRows, Limits, RawTable, Unreadable

__all__ = ["ParquetReader"]


class ParquetReader:
    """Reads files one after another in one child process, which is started at the first and again after a crash.

    Use it as a context manager; leaving it ends the child.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._child: subprocess.Popen[str] | None = None

    def __enter__(self) -> ParquetReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def read(self, path: Path) -> RawTable:
        """Return the rows of a local Parquet file; `Unreadable` says why it cannot be read, whatever it holds."""
        with tempfile.TemporaryDirectory(prefix="poison-guard-") as folder:
            out = Path(folder) / "table.arrow"
            answer = self._ask({"path": str(path), "out": str(out), **asdict(self._limits)})
            if "why" in answer:
                raise Unreadable(answer["why"])
            with pa.memory_map(str(out)) as source:
                table = pa.ipc.open_file(source).read_all()
        bad = BadRows()
        for row, why, raw in answer["bad"]:
            bad.add(row, why, raw)
        rows = np.arange(1, answer["rows"] + 1, dtype=np.int64)
        return RawTable(table, np.delete(rows, [b.row - 1 for b in bad.found]), tuple(bad.found))

    def _ask(self, request: dict[str, object]) -> dict[str, Any]:
        child = self._running()
        assert child.stdin is not None and child.stdout is not None  # noqa: S101, PT018  both are pipes
        late = threading.Timer(self._limits.seconds, child.kill)
        late.start()
        try:
            child.stdin.write(json.dumps(request) + "\n")
            child.stdin.flush()
            line = child.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            late.cancel()
        if line:
            return json.loads(line)
        code = child.wait()
        self._stop()
        return {"why": f"the process that read it died (exit status {code}), within {self._limits.seconds:.0f} s"}

    def _running(self) -> subprocess.Popen[str]:
        if self._child is None:
            package = str(Path(__file__).parents[2])
            self._child = subprocess.Popen(  # noqa: S603  our own interpreter and module, no shell
                [sys.executable, "-P", "-m", "poison_guard.ingest.child", str(self._limits.memory_bytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={
                    "PATH": os.defpath,
                    "PYTHONPATH": package,
                    "ARROW_DEFAULT_MEMORY_POOL": "system",
                    "OMP_NUM_THREADS": "1",
                    "OPENBLAS_NUM_THREADS": "1",
                },
            )
        return self._child

    def _stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None
