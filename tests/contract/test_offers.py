"""An offer of HTTP/2 without TLS, as Java's HttpClient makes it: passed over, and the body is read."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from harness import RunningServer

OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
BODY = b'{"name": "offered"}'


@pytest.fixture
def line(server: RunningServer) -> Iterator[socket.socket]:
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname or "", where.port or 0), timeout=60) as connected:
        yield connected


def head(server: RunningServer, *lines: bytes) -> bytes:
    key = server.admin_key.encode()
    return b"\r\n".join(
        (b"POST /integration/api/pools HTTP/1.1", b"Host: x", b"Authorization: AppKey " + key, *lines, b"")
    )


def answer(line: socket.socket) -> tuple[bytes, bytes]:
    """Status line and body of the next answer."""
    read = line.makefile("rb")
    status, length = read.readline().strip(), 0
    while (header := read.readline().strip()) != b"":
        name, _, value = header.partition(b":")
        length = int(value) if name.lower() == b"content-length" else length
    return status, read.read(length)


@pytest.mark.parametrize(
    "cut", ["nowhere", "behind the head", "within the offer", "within the body", "byte by byte"]
)
@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "chunked"])
def test_the_body_is_read(server: RunningServer, line: socket.socket, cut: str, chunked: bool) -> None:
    size = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(BODY)
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY) if chunked else BODY
    request = head(server, size, b"Content-Type: application/json") + OFFER + b"\r\n" + body
    at = {
        "nowhere": [],
        "behind the head": [len(request) - len(body)],
        "within the offer": [request.index(b"rade: h2c")],
        "within the body": [len(request) - 7],
        "byte by byte": list(range(1, len(request))),
    }[cut]
    for start, end in zip([0, *at], [*at, len(request)], strict=True):
        line.sendall(request[start:end])
    status, got = answer(line)
    assert status.startswith(b"HTTP/1.1 200 ")
    assert b'"offered"' in got


def test_the_connection_goes_on(server: RunningServer, line: socket.socket) -> None:
    """The offer is made with the first request of a connection; those behind it come as they are."""
    first = head(server, b"Content-Length: %d" % len(BODY)) + OFFER + b"\r\n" + BODY
    for request in (first, first, head(server, b"Content-Length: %d" % len(BODY)) + b"\r\n" + BODY):
        line.sendall(request)
        assert answer(line)[0].startswith(b"HTTP/1.1 200 ")


def test_two_requests_in_a_row(server: RunningServer, line: socket.socket) -> None:
    first = head(server, b"Content-Length: %d" % len(BODY)) + OFFER + b"\r\n" + BODY
    line.sendall(first + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    read = b""
    while piece := line.recv(65536):
        read += piece
    assert read.count(b"HTTP/1.1 200 ") == 2


def test_a_web_socket_is_passed_over_too(server: RunningServer, line: socket.socket) -> None:
    line.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert answer(line)[0].startswith(b"HTTP/1.1 200 ")


def test_a_tunnel_is_refused(server: RunningServer, line: socket.socket) -> None:
    line.sendall(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n")
    assert answer(line)[0].split()[1] in (b"400", b"404", b"405")
