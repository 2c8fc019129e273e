"""The process that runs an ONNX model of somebody else: bounded memory and computing, no files but the model's bytes.

It answers each line of JSON on stdin with one on stdout, ``{"labels": […]}`` or ``{"refusal": why}``.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["main"]

_MEMORY = 4 << 30  # bytes of address space above what the process began with
_SECONDS = 900  # of computing


def main() -> None:
    """Answer requests until stdin ends."""
    _bound()
    model: Any = None
    for line in sys.stdin:
        try:
            request = json.loads(line)
            if "model" in request:
                model = _Model(Path(request["model"]).read_bytes(), request["classes"])
                answer: dict[str, Any] = {"ready": True}
            else:
                answer = {"labels": model.labels(request)}
        except ImportError:
            answer = {"missing": True}
        except MemoryError:
            answer = {"refusal": "it takes more memory than a model may"}
        except Exception as error:  # noqa: BLE001  whatever a strange model dies of, the gate says it and stays closed
            answer = {"refusal": (" ".join(str(error).split()) or type(error).__name__)[:300]}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _bound() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        pages = 0
    most = pages * resource.getpagesize() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


class _Model:
    """A session on the CPU. From bytes: a model that refers to other files is refused."""

    def __init__(self, data: bytes, classes: list[str]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self.session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        named = self.session.get_modelmeta().custom_metadata_map.get("classes")
        self.classes = [str(one) for one in (json.loads(named) if named else classes)]
        inputs = self.session.get_inputs()
        if len(inputs) != 1:
            raise ValueError(f"it takes {len(inputs)} inputs; a model of examples takes one")
        self.input = inputs[0]

    def labels(self, request: dict[str, Any]) -> list[str]:
        values = np.array(request["texts"], dtype=object) if "texts" in request else np.load(request["inputs"])
        if "texts" in request and len(self.input.shape) == 2:
            values = values[:, None]
        first = np.asarray(self.session.run([self.session.get_outputs()[0].name], {self.input.name: values})[0])
        if first.shape[:1] != values.shape[:1]:
            raise ValueError(f"it answers {first.shape[:1]} rows for {len(values)} examples")
        if first.dtype.kind in "iuOUS" and first.ndim <= 2 and first.size == len(values):
            return [str(one) for one in first.ravel().tolist()]
        if first.ndim != 2 or first.shape[1] != len(self.classes):
            raise ValueError(
                f"its output has the shape {first.shape}, not one score for each of {len(self.classes)} labels"
            )
        if not np.isfinite(first).all():
            raise ValueError("its scores are no numbers for some examples")
        return [self.classes[at] for at in first.argmax(axis=1)]


if __name__ == "__main__":
    main()
