"""Read Parquet objects in a child process with bounded memory: a small hostile file can unpack to any size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from poison_guard.ingest.raw_table import BadRows, Limits, RawTable, Unreadable

__all__ = ["ParquetReader"]


@dataclass
class ParquetReader:
    """Reads files one after another in one child process, started at the first read and again after a crash.

    Use it with ``contextlib.closing``.
    """

    limits: Limits
    _child: subprocess.Popen[str] | None = field(default=None, init=False)

    def read(self, path: Path) -> RawTable:
        """Return the rows of a local Parquet file; raise `Unreadable` with the reason if it cannot be read."""
        with tempfile.TemporaryDirectory(prefix="poison-guard-") as folder:
            out = Path(folder) / "table.arrow"
            answer = self._ask({"path": str(path), "out": str(out), **asdict(self.limits)})
            if "refusal" in answer:
                raise Unreadable(answer["refusal"])
            with pa.memory_map(str(out)) as source:
                table = pa.ipc.open_file(source).read_all()
        bad = BadRows()
        for row, reason, text in answer["bad"]:
            bad.add(row, reason, text)
        ordinals = np.arange(1, answer["rows"] + 1, dtype=np.int64)
        return RawTable(table, np.delete(ordinals, [b.row - 1 for b in bad.rows]), tuple(bad.rows))

    def _ask(self, request: dict[str, object]) -> dict[str, Any]:
        """Return the child's answer; if it dies or takes too long, a refusal."""
        if self._child is None:
            self._child = subprocess.Popen(  # noqa: S603  our own interpreter and module, no shell
                [sys.executable, "-P", "-m", "poison_guard.ingest.child", str(self.limits.memory_bytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={
                    "PATH": os.defpath,
                    "PYTHONPATH": str(Path(__file__).parents[2]),
                    "ARROW_DEFAULT_MEMORY_POOL": "system",
                    "OMP_NUM_THREADS": "1",
                    "OPENBLAS_NUM_THREADS": "1",
                },
            )
        child = self._child
        assert child.stdin is not None and child.stdout is not None  # noqa: S101, PT018  both are pipes
        timeout = threading.Timer(self.limits.seconds, child.kill)
        timeout.start()
        try:
            child.stdin.write(json.dumps(request) + "\n")
            child.stdin.flush()
            line = child.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timeout.cancel()
        if line:
            return json.loads(line)
        code = child.wait()
        self.close()
        return {"refusal": f"the process that read it died (exit status {code}), within {self.limits.seconds:.0f} s"}

    def close(self) -> None:
        """End the child process."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None
