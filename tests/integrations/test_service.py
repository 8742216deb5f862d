"""The service in docs/deploy.md: real requests, on this machine alone."""

from __future__ import annotations

import http.server
import json
import re
import threading
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

import spectrim

PAGE = Path(__file__).parents[2] / "docs" / "deploy.md"


def code():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return compile(next(b for b in blocks if "ThreadingHTTPServer" in b), str(PAGE), "exec")


@pytest.fixture(scope="module")
def runner(make):
    """A PyTorch model behind the interface of an exported file, whose export would take seconds."""
    from spectrim.deploy.by_length import torch_runner

    return torch_runner(make("ast", depth=2))


@pytest.fixture
def address(runner, monkeypatch):
    monkeypatch.setattr(spectrim, "load_onnx", lambda path: runner)
    names = {"__name__": "service"}
    exec(code(), names)
    names["Service"].log_message = lambda *arguments: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), names["Service"])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def post(address, content, **headers):
    request = urllib.request.Request(address, content, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_a_request_gets_the_rows_of_tag(address, runner, clips):
    for name in ("dog", "digit"):
        content = clips[name].read_bytes()
        status, rows = post(address, content)
        assert status == 200 and rows == spectrim.tag(runner, content)


@pytest.mark.parametrize(
    ("content", "headers", "message"),
    [
        (b"no sound", {}, "sound"),
        (b"", {}, "send 1 to 50000000 bytes"),
        (b"a", {"Content-Length": "50000001"}, "send 1 to 50000000 bytes"),
        (b"a", {"Content-Length": "many"}, "many"),
    ],
)
def test_a_bad_request_gets_a_sentence_and_the_next_one_an_answer(
    address, clips, content, headers, message
):
    status, answer = post(address, content, **headers)
    assert status == 400 and message in answer["error"]
    assert post(address, clips["digit"].read_bytes())[0] == 200


def test_it_listens_on_loopback_by_default(runner, monkeypatch):
    addresses = []
    monkeypatch.setattr(spectrim, "load_onnx", lambda path: runner)
    monkeypatch.setattr(
        http.server, "ThreadingHTTPServer",
        lambda address, service: addresses.append(address)
        or SimpleNamespace(serve_forever=lambda: None),
    )  # fmt: skip
    exec(code(), {"__name__": "__main__"})
    monkeypatch.setenv("HOST", "0.0.0.0")
    exec(code(), {"__name__": "__main__"})
    assert addresses == [("127.0.0.1", 8000), ("0.0.0.0", 8000)]
