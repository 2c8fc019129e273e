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


def test_a_file_that_is_no_model_and_one_with_operators_of_its_own_are_refused_with_the_reason(tmp_path):
    pytest.importorskip("onnxruntime")
    file = tmp_path / "not.onnx"
    file.write_bytes(b"not a model")
    with pytest.raises(DataError, match="cannot be asked"), OnnxModel(file, ["a", "b"]):
        pass
    file.write_bytes(_onnx("Mystery", "of.somebody"))
    with pytest.raises(DataError, match="cannot be asked"), OnnxModel(file, ["a", "b"]):
        pass


def test_a_model_is_asked_in_a_process_of_its_own(tmp_path):
    pytest.importorskip("onnxruntime")
    file = tmp_path / "identity.onnx"
    file.write_bytes(_onnx("Identity", ""))
    some = rows()
    some.inputs[0, 1] = -1.0
    with OnnxModel(file, ["a", "b"]) as ask:
        assert ask(some).tolist() == ["a", "b", "b", "b", "b"]
    with OnnxModel(file, ["a", "b", "c"]) as ask, pytest.raises(DataError, match="one score for each of 3 labels"):
        ask(some)


def _onnx(operator: str, domain: str) -> bytes:
    helper = pytest.importorskip("onnx.helper")
    shape = ["n", 2]
    node = helper.make_node(operator, ["x"], ["scores"], domain=domain)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", 1, shape)], [helper.make_tensor_value_info("scores", 1, shape)]
    )
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
