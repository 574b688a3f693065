"""Which answers the client asks for again: from a server that says what it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from headrace.client.calls import Calls, Lost
from headrace.errors import HeadraceError, Internal, PoolFull


class Script(BaseHTTPRequestHandler):
    answers: ClassVar[list[tuple[int, str]]] = []
    asked: ClassVar[int] = 0

    def do_POST(self) -> None:
        type(self).asked += 1
        status, code = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        body = json.dumps({"code": code}).encode() if code else b"<html>"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Script)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def ask(url: str, *answers: tuple[int, str], patience: float = 30.0, repeatable: bool = False) -> int:
    """How often it asked until it had its answer."""
    Script.answers, Script.asked = list(answers), 0
    calls = Calls(url, "key", patience=patience)
    try:
        (calls.repeatable if repeatable else calls.once)("POST", "/")
    finally:
        calls.close()
    return Script.asked


@pytest.mark.parametrize("status", [500, 502, 504])
def test_what_may_have_had_its_effect_is_not_sent_again_unasked(url: str, status: int) -> None:
    with pytest.raises(Lost):
        ask(url, (status, ""), (200, ""))
    assert Script.asked == 1
    assert ask(url, (status, ""), (200, ""), repeatable=True) == 2


def test_a_refusal_for_now_is_asked_again(url: str) -> None:
    answers = [(429, "too-many-submissions"), (503, ""), (507, "disk-full"), (408, "too-slow"), (200, "")]
    assert ask(url, *answers) == 5


@pytest.mark.parametrize(("answer", "kind"), [((507, "pool-full"), PoolFull), ((418, ""), Internal)])
def test_a_refusal_for_good_is_not(url: str, answer: tuple[int, str], kind: type[HeadraceError]) -> None:
    with pytest.raises(kind):
        ask(url, answer, (200, ""), repeatable=True)
    assert Script.asked == 1


def test_at_the_end_of_the_patience_the_server_has_the_word(url: str) -> None:
    with pytest.raises(Internal, match="HTTP 502"):
        ask(url, (502, ""), patience=0.0, repeatable=True)
