"""A hub that never answers, and names that mean local paths."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from typing import ClassVar

import pytest

from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.models.loading import locate
from spectrim.models.loading.load import load


def test_a_silent_hub_is_not_waited_for_without_end(tmp_path, monkeypatch):
    from huggingface_hub import constants

    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, and never answers
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        assert locate.HUB_TIMEOUT == 30
        monkeypatch.setattr(locate, "HUB_TIMEOUT", 0.2)
        with (
            pytest.warns(SpectrimNotice, match="asking the hub for owner/name"),
            pytest.raises(SpectrimError, match="could not be fetched from the hub: timed out"),
        ):
            load("owner/name")


class AnswersOnce(http.server.BaseHTTPRequestHandler):
    """Answers the first question, and never a later one."""

    questions: ClassVar[list[str]] = []
    is_over = threading.Event()

    def do_GET(self):
        self.questions.append(self.path)
        if len(self.questions) > 1:
            self.is_over.wait(30)
            return
        content = json.dumps({"id": "owner/name", "sha": "1" * 40, "siblings": []}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *words):
        pass


@pytest.mark.filterwarnings("ignore::spectrim.common.errors.SpectrimNotice")
def test_every_later_question_has_a_timeout_too(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(locate, "HUB_TIMEOUT", 0.2)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), AnswersOnce) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(SpectrimError, match="could not be fetched from the hub: timed out"):
                load("owner/name")
        finally:
            AnswersOnce.is_over.set()
            server.shutdown()
    assert len(AnswersOnce.questions) > 1


@pytest.mark.parametrize("name", ["runs/last", "somewhere/best", "here/model", "models/a"])
def test_a_path_is_not_looked_up_on_the_hub(tmp_path, monkeypatch, name):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(locate, "fetch", lambda name: pytest.fail("asked the hub"))
    with pytest.raises(SpectrimError, match="no such file or folder"):
        load(name)


@pytest.mark.parametrize("source", ["/dev/zero", "n" * 300, "~nosuchuser/m", None, 5, b"m"])
def test_sources_that_the_system_refuses(source):
    with pytest.raises(SpectrimError):
        load(source)
