"""Ask a model that was not trained here: an ONNX file, run in a bounded process, or a prediction endpoint."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import numpy as np

from poison_guard.errors import DataError, MissingExtraError
from poison_guard.records import Examples
from poison_guard.text import shown_url, visible

__all__ = ["MAX_BYTES", "Endpoint", "OnnxModel"]

MAX_BYTES = 512 << 20
"""Size of an ONNX file that is read."""
_ANSWER_SECONDS = 60
_TOTAL_SECONDS = 900
_ROWS = 256  # examples of one question to an endpoint
_ANSWER_BYTES = 1 << 20


class OnnxModel:
    """A model in a process without environment, with bounded memory and time; use it as a context.

    It takes float32 ``(n, channels, height, width)`` in [0, 1], or ``(n, columns)`` as the guard numbers a table, or
    strings ``(n,)``; its first output is a label for each, or scores ``(n, k)`` of the trusted labels, sorted, or of
    those that the file's metadata ``classes`` lists as JSON.
    """

    def __init__(self, path: Path, classes: list[str]) -> None:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path} has {size >> 20:,} MiB; an ONNX model may have {MAX_BYTES >> 20}")
        self._path, self._classes = path, classes
        self._begun = time.monotonic()

    def __enter__(self) -> Self:
        self._folder = TemporaryDirectory(prefix="poison-guard-onnx-")
        command = [sys.executable, "-P", "-m", "poison_guard.retrain.onnx_child"]
        pipe = subprocess.PIPE
        self._child = subprocess.Popen(  # noqa: S603  our own module, and no shell
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=_environment(), text=True
        )
        try:
            self._request({"model": str(self._path), "classes": self._classes})
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._child.kill()
        self._child.communicate()
        self._folder.cleanup()

    def __call__(self, examples: Examples) -> np.ndarray:
        """Return the label of each example, ``(n,)`` object of str; `DataError` for anything else."""
        if examples.kind == "text":
            question: dict[str, Any] = {"texts": [str(text) for text in examples.inputs]}
        else:
            file = Path(self._folder.name) / "inputs.npy"
            np.save(file, np.ascontiguousarray(examples.inputs, dtype=np.float32))
            question = {"inputs": str(file)}
        return _labels(self._request(question).get("labels"), len(examples), str(self._path))

    def _request(self, request: dict[str, Any]) -> dict[str, Any]:
        left = min(_ANSWER_SECONDS, _TOTAL_SECONDS - (time.monotonic() - self._begun))
        stdin, stdout = self._child.stdin, self._child.stdout
        if stdin is None or stdout is None:
            raise DataError(f"{self._path} could not be run")
        try:
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
            with selectors.DefaultSelector() as ready:
                ready.register(stdout, selectors.EVENT_READ)
                if left <= 0 or not ready.select(left):
                    raise DataError(f"{self._path} takes more than {_ANSWER_SECONDS} seconds for an answer")
            line = stdout.readline()
        except (BrokenPipeError, OSError) as error:
            raise DataError(f"{self._path} could not be run ({error})") from error
        if not line:
            raise DataError(f"{self._path} takes more memory or computing than a model may, or ended the process")
        answer: dict[str, Any] = json.loads(line)
        if answer.get("missing"):
            raise MissingExtraError.of("onnxruntime", "onnx")
        if "refusal" in answer:
            raise DataError(f"{self._path} cannot be asked: {visible(str(answer['refusal']), limit=300)}")
        return answer


def _environment() -> dict[str, str]:
    """Return what the child needs to find this package, and nothing else."""
    return {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow nothing: the address that a person named is the only one that is asked."""


class Endpoint:
    """A service that answers ``POST {"inputs": […]}`` with ``{"labels": […]}``, one label an input.

    Images are sent as nested lists of [0, 1], channels first, rows of a table as the guard numbers them (null where a
    cell is missing), texts as they are.
    """

    def __init__(self, url: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise DataError(f"a prediction endpoint is an http or https URL, got {shown_url(url)}")
        self._url, self._begun = url, time.monotonic()
        self._open = urllib.request.build_opener(_NoRedirect).open

    def __call__(self, examples: Examples) -> np.ndarray:
        """Return the label of each example, ``(n,)`` object of str; `DataError` for anything else, or too late."""
        parts = [self._ask(examples.inputs[at : at + _ROWS]) for at in range(0, len(examples), _ROWS)]
        return np.concatenate([np.empty(0, dtype=object), *parts])

    def _ask(self, inputs: np.ndarray) -> np.ndarray:
        name = shown_url(self._url)
        if time.monotonic() - self._begun > _TOTAL_SECONDS:
            raise DataError(f"{name} takes more than {_TOTAL_SECONDS} seconds for all questions")
        values = (
            [None if isinstance(v, float) and v != v else v for v in inputs.tolist()]
            if inputs.ndim == 1
            else [_plain(row) for row in inputs]
        )
        body = json.dumps({"inputs": values}).encode()
        request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"})  # noqa: S310  checked
        try:
            with self._open(request, timeout=_ANSWER_SECONDS) as answer:
                raw = answer.read(_ANSWER_BYTES + 1)
        except (urllib.error.URLError, OSError, ValueError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            raise DataError(f"{name} does not answer ({visible(str(error), limit=200)})") from error
        if len(raw) > _ANSWER_BYTES:
            raise DataError(f"{name} answers with more than {_ANSWER_BYTES >> 20} MiB")
        try:
            labels = json.loads(raw)["labels"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f'{name} does not answer {{"labels": […]}}') from error
        return _labels(labels, len(inputs), name)


def _plain(row: Any) -> Any:
    cells = np.asarray(row)
    if cells.ndim == 1 and cells.dtype.kind == "f":
        return [float(cell) if np.isfinite(cell) else None for cell in cells]
    return cells.tolist()


def _labels(labels: Any, n: int, name: str) -> np.ndarray:
    if not isinstance(labels, list) or len(labels) != n or not all(isinstance(one, str | int) for one in labels):
        raise DataError(f"{name} must answer one label for each of {n} examples, as a list of texts")
    out = np.empty(n, dtype=object)
    out[:] = [str(one)[:500] for one in labels]
    return out
