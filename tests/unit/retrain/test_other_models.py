from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pandas as pd
import pytest

from poison_guard.errors import DataError
from poison_guard.records import Examples
from poison_guard.retrain import other_models
from poison_guard.retrain.other_models import Endpoint, OnnxModel


def rows(n: int = 5) -> Examples:
    frame = pd.DataFrame({"example_id": [f"e{i}" for i in range(n)], "label": "a", "slice": "", "is_new": True})
    inputs = np.arange(2.0 * n).reshape(n, 2)
    inputs[0, 1] = np.nan
    return Examples("table", frame, inputs, ("x", "y"))


@pytest.fixture
def service():
    """A prediction endpoint whose answer a test sets."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["inputs"]
            self.server.asked.append(asked)
            status, answer = self.server.answer(asked)
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()
            self.wfile.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

        def log_message(self, *_) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.answer = [], lambda asked: (200, {"labels": ["a"] * len(asked)})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def url(service: HTTPServer) -> str:
    return f"http://127.0.0.1:{service.server_address[1]}/predict"


def test_an_endpoint_is_asked_in_parts_and_a_missing_cell_is_null(service, monkeypatch):
    monkeypatch.setattr(other_models, "_ROWS", 3)
    service.answer = lambda asked: (200, {"labels": [str(row[0]) for row in asked]})
    assert Endpoint(url(service))(rows()).tolist() == ["0.0", "2.0", "4.0", "6.0", "8.0"]
    assert [len(asked) for asked in service.asked] == [3, 2]
    assert service.asked[0][0] == [0.0, None]


@pytest.mark.parametrize(
    ("status", "answer", "says"),
    [
        (200, {"labels": ["a"]}, "one label for each of 5"),
        (200, {"labels": [1.5] * 5}, "one label for each of 5"),
        (200, {"scores": []}, "does not answer"),
        (200, b"\xff nonsense", "does not answer"),
        (200, b"[" * 100_000, "does not answer"),
        (200, b" " * (2 << 20), "more than 1 MiB"),
        (500, {}, "does not answer"),
        (302, {}, "does not answer"),
    ],
)
def test_an_endpoint_that_answers_nonsense_is_an_error_that_names_it(service, status, answer, says):
    service.answer = lambda _: (status, answer)
    with pytest.raises(DataError, match=says) as error:
        Endpoint(url(service))(rows())
    assert "127.0.0.1" in str(error.value)


def test_only_web_addresses_are_asked():
    with pytest.raises(DataError, match="http or https"):
        Endpoint("file:///etc/passwd")


def test_a_model_beyond_the_size_is_refused_unread(tmp_path, monkeypatch):
    file = tmp_path / "large.onnx"
    file.write_bytes(b"0" * 2048)
    monkeypatch.setattr(other_models, "MAX_BYTES", 1024)
    with pytest.raises(DataError, match="may have"):
        OnnxModel(file, ["a", "b"])


def test_a_file_of_2_gb_is_refused_unread(tmp_path):
    file = tmp_path / "huge.onnx"
    with file.open("wb") as out:
        out.truncate(2 << 30)  # sparse: it takes no room
    with pytest.raises(DataError, match="has 2,048 MiB; an ONNX model may have 512"):
        OnnxModel(file, ["a", "b"])


def test_an_endpoint_that_is_slow_is_an_error_that_names_it(service, monkeypatch):
    done = threading.Event()
    service.answer = lambda _: (200, {"labels": ["a"] * 5} if done.wait(60) else {})
    monkeypatch.setattr(other_models, "_ANSWER_SECONDS", 0.05)
    with pytest.raises(DataError, match=r"127\.0\.0\.1.* does not answer \(.*timed out"):
        Endpoint(url(service))(rows())
    done.set()
    asked = Endpoint(url(service))
    monkeypatch.setattr(other_models, "_TOTAL_SECONDS", -1)
    with pytest.raises(DataError, match="seconds for all questions"):
        asked(rows())


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"not a model", "protobuf parsing failed"),
        (b"", "cannot be asked"),
        ("Mystery of.somebody", "of.somebody:Mystery"),
        ("ReadFile com.microsoft", "cannot be asked"),
    ],
)
def test_a_file_that_is_no_model_and_one_with_operators_of_its_own_are_refused_with_the_reason(tmp_path, data, says):
    pytest.importorskip("onnxruntime")
    file = tmp_path / "not.onnx"
    file.write_bytes(data if isinstance(data, bytes) else onnx_model(*data.split()))
    with pytest.raises(DataError, match=says), OnnxModel(file, ["a", "b"]):
        pass


def test_a_model_is_asked_in_a_process_of_its_own(tmp_path):
    pytest.importorskip("onnxruntime")
    file = tmp_path / "identity.onnx"
    file.write_bytes(onnx_model("Identity"))
    some = rows()
    some.inputs[0, 1] = -1.0
    with OnnxModel(file, ["a", "b"]) as ask:
        assert ask(some).tolist() == ["a", "b", "b", "b", "b"]
    with OnnxModel(file, ["a", "b", "c"]) as ask, pytest.raises(DataError, match="one score for each of 3 labels"):
        ask(some)


def test_a_model_names_its_own_labels_and_scores_that_are_no_numbers_are_refused(tmp_path):
    pytest.importorskip("onnxruntime")
    file = tmp_path / "named.onnx"
    file.write_bytes(onnx_model("Identity", classes=["no", "yes"]))
    some = rows()
    with OnnxModel(file, ["a", "b", "c"]) as ask:
        with pytest.raises(DataError, match="its scores are no numbers"):
            ask(some)  # its first row misses a cell
        some.inputs[0, 1] = 0.0
        assert ask(some).tolist() == ["no", "yes", "yes", "yes", "yes"]


def test_a_model_that_takes_other_inputs_is_refused_with_what_it_takes(tmp_path):
    pytest.importorskip("onnxruntime")
    file = tmp_path / "other.onnx"
    file.write_bytes(onnx_model("Identity", columns=3))
    with OnnxModel(file, ["a", "b"]) as ask, pytest.raises(DataError, match="Expected: 3"):
        ask(rows())
    file.write_bytes(onnx_model("Add", inputs=("x", "more")))
    with pytest.raises(DataError, match="it takes 2 inputs; a model of examples takes one"), OnnxModel(file, ["a"]):
        pass


def test_a_model_that_is_slow_is_stopped(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    file = tmp_path / "slow.onnx"
    file.write_bytes(onnx_model("Identity"))
    with OnnxModel(file, ["a", "b"]) as ask:
        monkeypatch.setattr(other_models, "_ANSWER_SECONDS", 0)
        with pytest.raises(DataError, match="seconds for an answer"):
            ask(rows())
    assert ask._child.returncode is not None, "the process is gone"


def onnx_model(
    operator: str,
    domain: str = "",
    *,
    columns: int = 2,
    inputs: tuple[str, ...] = ("x",),
    classes: list[str] | None = None,
) -> bytes:
    """Return an ONNX file of one operator over ``(n, columns)`` float32, written without the package onnx.

    The numbers are those of the fields in ONNX's onnx.proto.
    """
    dimensions = field(1, field(2, b"n")) + field(1, field(1, columns))
    tensor = field(2, field(1, field(1, 1) + field(2, dimensions)))
    node = b"".join(field(1, name.encode()) for name in inputs) + field(2, b"scores") + field(4, operator.encode())
    node += field(7, domain.encode()) if domain else b""
    graph = field(1, node) + field(2, b"g") + field(12, field(1, b"scores") + tensor)
    graph += b"".join(field(11, field(1, name.encode()) + tensor) for name in inputs)
    model = field(1, 8) + field(7, graph) + field(8, field(2, 17))
    model += field(8, field(1, domain.encode()) + field(2, 1)) if domain else b""
    return model + (field(14, field(1, b"classes") + field(2, json.dumps(classes).encode())) if classes else b"")


def field(number: int, value: int | bytes) -> bytes:
    """Return a field of a protocol buffer: a number, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
