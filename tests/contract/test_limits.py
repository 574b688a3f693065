"""What is too large, too deep, too many, too slow. Over real sockets: no client library would send it."""

from __future__ import annotations

import json
import resource
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from contract.test_errors import assert_reference, assert_validation
from harness import (
    PUSH,
    RunningServer,
    add_chunk,
    create_job,
    create_pool,
    execute,
    own_job,
    run_job,
    wait_for,
)

ENV = {
    "HEADRACE_MAX_CHUNK_BYTES": "10000",
    "HEADRACE_MAX_JOB_BYTES": "15000",
    "HEADRACE_MAX_HEADER_BYTES": "8192",
    "HEADRACE_MAX_HEADERS": "30",
    "HEADRACE_MAX_JSON_BYTES": "20000",
    "HEADRACE_MAX_JSON_DEPTH": "10",
    "HEADRACE_MAX_UPLOADS": "2",
    "HEADRACE_MAX_CONNECTIONS": "40",
    "HEADRACE_SLOW_SECONDS": "2",
    "HEADRACE_KEEP_ALIVE_SECONDS": "60",
}


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(tmp_path_factory.mktemp("tight") / "data", env=ENV) as server:
        yield server


@pytest.fixture(scope="module")
def small(tight: RunningServer) -> Iterator[httpx.Client]:
    with tight.client() as client:
        yield client


@pytest.fixture
def bucket(small: httpx.Client) -> str:
    return create_pool(small)


class Socket:
    """A client that writes what it likes."""

    def __init__(self, server: RunningServer) -> None:
        where = urlsplit(server.url)
        self.socket = socket.create_connection((where.hostname or "", where.port or 0), timeout=30)

    def send(self, data: bytes) -> Socket:
        self.socket.sendall(data)
        return self

    def answer(self) -> tuple[int, bytes]:
        """Status and everything until the server closes; (0, b'') if it says nothing."""
        heard = self.until_closed()
        return (int(heard.split(b" ", 2)[1]) if heard else 0), heard

    def until_closed(self) -> bytes:
        heard = b""
        try:
            while data := self.socket.recv(65536):
                heard += data
        except ConnectionResetError:
            pass
        return heard

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()


def head(server: RunningServer, method: str, path: str, *lines: str) -> bytes:
    first = (f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: AppKey {server.admin_key}")
    return "\r\n".join((*first, *lines, "", "")).encode()


def body_of(heard: bytes) -> Any:
    return json.loads(heard.partition(b"\r\n\r\n")[2])


# -- chunks and jobs -----------------------------------------------------------------------------------


def chunk_path(small: httpx.Client, bucket: str) -> tuple[str, str]:
    job = create_job(small, bucket, "T", type="REPLACE", fileType="CSV")["id"]
    return job, f"{PUSH}/{bucket}/jobs/{job}/chunks/upserted"


def test_too_large_is_said_before_the_body_is_sent(
    tight: RunningServer, small: httpx.Client, bucket: str
) -> None:
    """413 from the length alone; nobody asks for the rest with 100 Continue."""
    _, path = chunk_path(small, bucket)
    with Socket(tight) as client:
        lines = ("Content-Length: 1000000", "Expect: 100-continue", "Content-Type: text/csv")
        client.send(head(tight, "POST", path, *lines, "Connection: close"))
        status, heard = client.answer()
    assert status == 413
    assert b"100 Continue" not in heard


def test_who_asks_before_sending_is_asked_to_go_on(
    tight: RunningServer, small: httpx.Client, bucket: str
) -> None:
    job, path = chunk_path(small, bucket)
    with Socket(tight) as client:
        lines = ("Content-Length: 4", "Expect: 100-continue", "Content-Type: text/csv", "Connection: close")
        client.send(head(tight, "POST", path, *lines))
        assert client.socket.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        status, _ = client.send(b"A\n1\n").answer()
    assert status == 200
    assert own_job(small, bucket, job)["chunks"][0]["bytes"] == 4


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


def test_too_large_without_a_length(tight: RunningServer, small: httpx.Client, bucket: str) -> None:
    """The last chunk of the transfer is never sent: the answer comes as soon as it is too much."""
    job, path = chunk_path(small, bucket)
    with Socket(tight) as client:
        lines = ("Transfer-Encoding: chunked", "Content-Type: text/csv", "Connection: close")
        client.send(head(tight, "POST", path, *lines)).send(chunked(b"A\n", *[b"1\n" * 500] * 11))
        status, _ = client.answer()
    assert status == 413
    assert own_job(small, bucket, job)["chunks"] == []


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: -1",),
        ("Content-Length: 1e3",),
        ("Content-Length: 4", "Content-Length: 5"),
        ("Content-Length: 4", "Transfer-Encoding: chunked"),
        ("Content-Length: 99999999999999999999999999",),
    ],
    ids=["negative", "no number", "two", "and chunked", "beyond 64 bits"],
)
def test_a_length_that_is_none(
    tight: RunningServer, small: httpx.Client, bucket: str, lines: tuple[str, ...]
) -> None:
    job, path = chunk_path(small, bucket)
    with Socket(tight) as client:
        status, _ = client.send(
            head(tight, "POST", path, *lines, "Content-Type: text/csv") + b"A\n1\n"
        ).answer()
    assert status == 400
    assert own_job(small, bucket, job)["chunks"] == []


def test_less_than_was_said_is_no_chunk(tight: RunningServer, small: httpx.Client, bucket: str) -> None:
    job, path = chunk_path(small, bucket)
    with Socket(tight) as client:
        client.send(head(tight, "POST", path, "Content-Length: 4000", "Content-Type: text/csv") + b"A\n1\n")
        client.socket.shutdown(socket.SHUT_WR)
        client.until_closed()
    assert own_job(small, bucket, job)["chunks"] == []
    wait_for(lambda: not list((tight.data_dir / "chunks" / job).glob("*")), what="the end of the part")


def test_more_than_was_said_is_another_request(
    tight: RunningServer, small: httpx.Client, bucket: str
) -> None:
    """The chunk came whole, and that is the answer; what follows it is no request, and ends it all."""
    job, path = chunk_path(small, bucket)
    with Socket(tight) as client:
        client.send(
            head(tight, "POST", path, "Content-Length: 4", "Content-Type: text/csv") + b"A\n1\n2\n3\n"
        )
        status, heard = client.answer()
    assert (status, heard.count(b"HTTP/1.1")) == (200, 1)
    assert [c["bytes"] for c in own_job(small, bucket, job)["chunks"]] == [4]


def test_half_a_request_is_none(tight: RunningServer, small: httpx.Client) -> None:
    """It would be good JSON; but more was said to come, and did not."""
    before = len(small.get("/integration/api/pools").json())
    with Socket(tight) as client:
        client.send(
            head(tight, "POST", "/integration/api/pools", "Content-Length: 40") + b'{"name": "half"}   '
        )
        client.socket.shutdown(socket.SHUT_WR)
        client.until_closed()
    assert len(small.get("/integration/api/pools").json()) == before


def test_a_job_has_a_limit_too(small: httpx.Client, bucket: str) -> None:
    job = create_job(small, bucket, "T", type="REPLACE", fileType="CSV")["id"]
    rows = b"A\n" + b"1\n" * 4000
    assert add_chunk(small, bucket, job, rows).status_code == 200
    body = assert_reference(add_chunk(small, bucket, job, rows), 413)
    assert "15000" in body["message"]
    assert add_chunk(small, bucket, job, rows[:6000]).status_code == 200
    assert sum(c["bytes"] for c in own_job(small, bucket, job)["chunks"]) == 14002


def test_chunks_that_come_at_once_do_not_pass_the_limit_of_their_job(
    small: httpx.Client, bucket: str
) -> None:
    job = create_job(small, bucket, "T", type="REPLACE", fileType="CSV")["id"]
    with ThreadPoolExecutor(2) as threads:
        for _ in range(5):
            list(threads.map(lambda _: add_chunk(small, bucket, job, b"A\n" + b"1\n" * 1999), range(2)))
    assert sum(c["bytes"] for c in own_job(small, bucket, job)["chunks"]) == 12000


def test_what_stands_beside_the_chunk_is_small(small: httpx.Client, bucket: str) -> None:
    """A field of a form that nobody reads, sent without a length."""
    job, path = chunk_path(small, bucket)
    part = b'--x\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
    form = part % (b"note", b"", b"n" * 200_000) + part % (b"file", b'; filename="f"', b"A\n1") + b"--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    reply = small.post(path, content=iter([form]), headers=headers)
    assert_validation(reply)
    assert own_job(small, bucket, job)["chunks"] == []


def test_uploads_are_numbered(tight: RunningServer, small: httpx.Client, bucket: str) -> None:
    job, path = chunk_path(small, bucket)
    begun = head(tight, "POST", path, "Content-Length: 4", "Content-Type: text/csv", "Connection: close")
    with Socket(tight) as one, Socket(tight) as two:
        for client in (one, two):
            client.send(begun)
        wait_for(lambda: len(list((tight.data_dir / "chunks" / job).glob("*.part"))) == 2)
        reply = add_chunk(small, bucket, job, b"A\n1\n")
        assert_reference(reply, 503)
        assert int(reply.headers["retry-after"]) > 0
        assert small.get(f"{PUSH}/{bucket}/jobs/{job}").status_code == 200
        for client in (one, two):
            assert client.send(b"A\n1\n").answer()[0] == 200
    assert add_chunk(small, bucket, job, b"A\n1\n").status_code == 200


# -- JSON ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/integration/api/pools", "/api/v1/keys"])
def test_json_that_is_too_large(small: httpx.Client, path: str) -> None:
    body = b'{"name": "' + b"n" * 20_000 + b'"}'
    for content in (body, iter([body])):
        reply = small.post(path, content=content, headers={"Content-Type": "application/json"})
        assert reply.status_code == 413
        assert "20000" in reply.text


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('["]", ', "]")])
def test_json_that_is_too_deep(small: httpx.Client, opening: str, closing: str) -> None:
    def post(levels: int) -> httpx.Response:
        nested = opening * levels + "1" + closing * levels
        content = f'{{"name": "p", "metadata": {nested}}}'
        return small.post(
            "/integration/api/pools", content=content, headers={"Content-Type": "application/json"}
        )

    assert post(9).status_code == 200
    assert "10 levels" in assert_validation(post(10))[0]["error"]
    assert_validation(post(1200))


def test_brackets_in_text_are_not_levels(small: httpx.Client) -> None:
    assert small.post("/integration/api/pools", json={"name": "[" * 50 + '"\\{{' * 20}).status_code == 200


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e999", "9" * 400 + ".0"])
def test_what_is_no_number_is_not_kept(small: httpx.Client, bucket: str, number: str) -> None:
    """It would be answered to everybody who lists the connections, and no client could read that."""
    path = f"/integration/api/pools/{bucket}/data-sources"
    content = f'{{"name": "c", "metadata": {{"n": {number}}}}}'
    assert_validation(small.post(path, content=content, headers={"Content-Type": "application/json"}))
    assert small.get(path).json() == []


# -- heads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        [f"X: {'v' * 9000}"],
        [f"X{'n' * 9000}: v"],
        [f"X-{n}: {'v' * 1000}" for n in range(9)],
        [f"X-{n}: v" for n in range(40)],
    ],
    ids=["a long value", "a long name", "many", "very many"],
)
def test_a_head_that_is_too_large(tight: RunningServer, lines: list[str]) -> None:
    with Socket(tight) as client:
        status, heard = client.send(head(tight, "GET", "/integration/api/pools", *lines)).answer()
    assert status == 431
    assert body_of(heard)["shortMessage"] == "headers-too-large"


@pytest.mark.parametrize("begin", ["GET /", "GET / HTTP/1.1\r\nX: "], ids=["line", "header"])
def test_a_head_that_never_ends(tight: RunningServer, begin: str) -> None:
    with Socket(tight) as client:
        status, _ = client.send(begin.encode() + b"v" * 9000).answer()
    assert status in (400, 431)


def test_a_trailer_that_never_ends(tight: RunningServer) -> None:
    with Socket(tight) as client:
        begun = head(tight, "POST", "/integration/api/pools", "Transfer-Encoding: chunked")
        status, _ = client.send(begun + b"0\r\nX: " + b"v" * 9000).answer()
    assert status == 431


def test_what_is_no_http(tight: RunningServer) -> None:
    with Socket(tight) as client:
        status, heard = client.send(b"\x16\x03\x01 hello\r\n\r\n").answer()
    assert status == 400
    assert b"x-content-type-options: nosniff" in heard
    assert body_of(heard)["errors"]


def test_a_head_of_the_common_size(tight: RunningServer) -> None:
    with Socket(tight) as client:
        lines = [f"X-{n}: {'v' * 300}" for n in range(20)]
        status, _ = client.send(head(tight, "GET", "/api/team", *lines, "Connection: close")).answer()
    assert status == 200


# -- slow clients --------------------------------------------------------------------------------------


def slowly(client: Socket, data: bytes) -> tuple[int, bytes]:
    """A byte every tenth of a second until the server has enough of it."""
    stop = threading.Event()

    def drip() -> None:
        for byte in data:
            if stop.wait(0.1):
                return
            try:
                client.send(bytes([byte]))
            except OSError:
                return

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        return client.answer()
    finally:
        stop.set()
        dripping.join()


def test_a_client_that_says_nothing(tight: RunningServer) -> None:
    with Socket(tight) as client:
        status, heard = client.answer()
    assert status == 408
    assert body_of(heard)["shortMessage"] == "too-slow"


def test_a_slow_head(tight: RunningServer) -> None:
    with Socket(tight) as client:
        assert slowly(client, b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 1000)[0] == 408


def test_slow_json(tight: RunningServer) -> None:
    with Socket(tight) as client:
        client.send(head(tight, "POST", "/api/v1/keys", "Content-Length: 1000"))
        status, heard = slowly(client, b"{" * 1000)
    assert status == 408
    assert body_of(heard)["code"] == "too-slow"


def test_a_slow_chunk_leaves_nothing(tight: RunningServer, small: httpx.Client, bucket: str) -> None:
    job, path = chunk_path(small, bucket)
    with Socket(tight) as client:
        client.send(head(tight, "POST", path, "Content-Length: 9000", "Content-Type: text/csv"))
        assert slowly(client, b"A\n1\n" * 1000)[0] == 408
    assert own_job(small, bucket, job)["chunks"] == []
    wait_for(lambda: not list((tight.data_dir / "chunks" / job).glob("*")), what="the end of the part")


def test_a_body_that_goes_on_slowly_after_its_answer(tight: RunningServer, bucket: str) -> None:
    """The answer is 404 at once; what the client still sends must not keep the connection for ever."""
    with Socket(tight) as client:
        path = f"{PUSH}/{bucket}/jobs/none/chunks/upserted"
        client.send(head(tight, "POST", path, "Content-Length: 9000", "Content-Type: text/csv"))
        status, heard = slowly(client, b"A\n1\n" * 1000)
    assert status == 404
    assert heard.count(b"HTTP/1.1") == 2
    assert b"HTTP/1.1 408" in heard


def test_who_does_not_read_the_answer(tight: RunningServer, small: httpx.Client, bucket: str) -> None:
    rows = b"A\n" + b"x" * 9000 + b"\n"
    assert run_job(small, bucket, "T", [rows], fileType="CSV")["status"] == "DONE"
    for _ in range(8):
        rename = {"type": "DELTA", "fileType": "CSV"}
        assert run_job(small, bucket, "T", [rows], **rename)["status"] == "DONE"
    with Socket(tight) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(200):
            client.send(head(tight, "GET", f"/api/v1/pools/{bucket}/tables/T/export"))

        def gone() -> bool:
            mine = client.socket.getsockname()[1]
            connections = psutil.Process(tight.pid).net_connections("tcp")
            return not any(c.raddr and c.raddr.port == mine for c in connections)

        wait_for(gone, 30, "the end of the connection")


def test_a_connection_may_rest_between_requests(tight: RunningServer) -> None:
    """Longer than the window for slow ones: it is not slow, it has nothing to say."""
    with Socket(tight) as client:
        for _ in range(2):
            client.send(head(tight, "GET", "/healthz"))
            heard = b""
            while not heard.endswith(b'{"status":"ok"}'):
                heard += client.socket.recv(65536)
            client.socket.settimeout(3)
            with pytest.raises(TimeoutError):
                client.socket.recv(1)


def test_connections_are_numbered(tight: RunningServer, small: httpx.Client) -> None:
    small.get("/healthz")
    clients = [Socket(tight) for _ in range(45)]
    try:
        statuses = [client.answer()[0] for client in clients]
    finally:
        for client in clients:
            client.socket.close()
    assert statuses.count(503) >= 5
    assert set(statuses) == {503, 408}
    assert small.get("/healthz").status_code == 200


# -- executes ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def celonis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    env = {"HEADRACE_EXECUTE_LIMITS": "celonis", "HEADRACE_MAX_POOL_BYTES": "200000"}
    folder = tmp_path_factory.mktemp("celonis") / "data"
    with RunningServer(folder, env=env) as server, server.client() as client:
        yield client


def test_the_team_tells_its_limits(celonis: httpx.Client, api: httpx.Client) -> None:
    told = celonis.get("/api/team").json()
    assert told["unlimitedDataPushJobSubmissions"] is False
    assert told["dataPushJobSubmissionLimitPerSec"] == 10
    assert told["dataPushJobSubmissionLimitPerHour"] == 250
    assert api.get("/api/team").json()["unlimitedDataPushJobSubmissions"] is True


def test_more_than_ten_in_a_second(celonis: httpx.Client) -> None:
    """Some of 60 that come as fast as they can are refused, are NEW still, and can be executed later."""
    pool = create_pool(celonis)
    jobs = [create_job(celonis, pool, "T", type="DELTA")["id"] for _ in range(60)]
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda job: execute(celonis, pool, job), jobs))
    refused = [(job, reply) for job, reply in zip(jobs, replies, strict=True) if reply.status_code != 200]
    assert 10 <= len(replies) - len(refused) < 60
    for _, reply in refused:
        assert_reference(reply, 429)
        assert reply.headers["retry-after"] == "1"
    job = refused[0][0]
    assert celonis.get(f"{PUSH}/{pool}/jobs/{job}").json()["status"] == "NEW"
    wait_for(lambda: execute(celonis, pool, job).status_code == 200, what="the next second", every=0.2)


def test_a_pool_that_is_full(celonis: httpx.Client) -> None:
    pool, other = create_pool(celonis), create_pool(celonis)
    waiting = create_job(celonis, pool, "T", fileType="CSV")["id"]
    for _ in range(3):
        reply = add_chunk(celonis, pool, waiting, b"A\n" + b"1\n" * 25_000)
        if reply.status_code != 200:
            break
    assert_reference(reply, 507)
    assert reply.json()["shortMessage"] == "pool-full"
    assert create_job(celonis, pool, "T")["status"] == "NEW"
    assert celonis.get(f"{PUSH}/{pool}/jobs").status_code == 200
    assert run_job(celonis, other, "T", [b"A\n1\n"], fileType="CSV")["status"] == "DONE"
    assert celonis.delete(f"{PUSH}/{pool}/jobs/{waiting}").status_code == 200
    job = create_job(celonis, pool, "T", fileType="CSV")["id"]
    assert wait_for(lambda: add_chunk(celonis, pool, job, b"A\n1\n").status_code == 200, every=0.5)


def test_more_files_may_be_open_than_a_shell_allows(tmp_path: Path) -> None:
    def with_few() -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with_few()
    try:
        with RunningServer(tmp_path / "data") as server:
            allowed, _ = psutil.Process(server.pid).rlimit(psutil.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert allowed == min(before[1], 1000 + 256 + 512)
