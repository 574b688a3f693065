"""Many clients that send a byte a second, in one event loop, and what the server does meanwhile.

They come in every kind there is: in the head, in JSON, in a chunk with a length, in one without, saying
nothing at all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import psutil

from harness import PUSH, RunningServer


@dataclass
class Seen:
    """Seconds after which each slow client was gone; milliseconds of each status call; megabytes."""

    gone: list[float] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    status_ms: list[float] = field(default_factory=list)
    pushes: int = 0
    before_mb: float = 0.0
    peak_mb: float = 0.0

    @property
    def grown_mb(self) -> float:
        return self.peak_mb - self.before_mb

    def percentile(self, share: float) -> float:
        return sorted(self.status_ms)[min(len(self.status_ms) - 1, int(len(self.status_ms) * share))]


def beginnings(authorization: str, pool: str, job: str) -> list[bytes]:
    key = f"Host: localhost\r\nAuthorization: {authorization}\r\n"
    chunk = f"POST {PUSH}/{pool}/jobs/{job}/chunks/upserted HTTP/1.1\r\n{key}Content-Type: text/csv\r\n"
    heads = (
        "",
        "GET /healthz HTTP/1.1\r\nX: ",
        f"POST {PUSH}/{pool}/jobs HTTP/1.1\r\n{key}Content-Length: 5000\r\n\r\n",
        f"{chunk}Content-Length: 100000\r\n\r\n",
        f"{chunk}Transfer-Encoding: chunked\r\n\r\nfffff\r\n",
    )
    return [head.encode() for head in heads]


async def drip(url: str, beginning: bytes, interval: float, seen: Seen) -> None:
    """One slow client, until the server has cut it off."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    start = time.monotonic()
    writer.write(beginning)

    async def send() -> None:
        with suppress(OSError):
            while not writer.is_closing():
                await asyncio.sleep(interval)
                if beginning:
                    writer.write(b"x")
                    await writer.drain()

    sending = asyncio.create_task(send())
    heard = b""
    with suppress(OSError):
        while data := await reader.read(4096):
            heard += data
    seen.gone.append(time.monotonic() - start)
    seen.answers.append(heard.partition(b"\r\n")[0])
    sending.cancel()
    writer.close()


async def watch_memory(pid: int, seen: Seen) -> None:
    process = psutil.Process(pid)
    seen.before_mb = seen.peak_mb = process.memory_info().rss / 1e6
    while True:
        await asyncio.sleep(0.2)
        seen.peak_mb = max(seen.peak_mb, process.memory_info().rss / 1e6)


async def ask(url: str, request: bytes) -> bytes:
    """One request over a connection of its own."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(request)
    heard = await reader.read()
    writer.close()
    return heard


async def normal_traffic(
    server: RunningServer, authorization: str, pool: str, job: str, seen: Seen, done: asyncio.Event
) -> None:
    """Status calls one after the other, a small chunk to every twentieth, until the slow ones are gone."""
    key = f"Host: localhost\r\nAuthorization: {authorization}\r\nConnection: close\r\n"
    status = f"GET {PUSH}/{pool}/jobs/{job} HTTP/1.1\r\n{key}\r\n".encode()
    chunk = f"POST {PUSH}/{pool}/jobs/{job}/chunks/upserted HTTP/1.1\r\n{key}Content-Type: text/csv\r\n"
    upload = f"{chunk}Content-Length: 6\r\n\r\na\n1\n2\n".encode()
    count = 0
    while not done.is_set():
        start = time.monotonic()
        heard = await ask(server.url, status)
        seen.status_ms.append((time.monotonic() - start) * 1000)
        assert heard.startswith(b"HTTP/1.1 200"), heard[:200]
        count += 1
        if count % 20 == 0:
            heard = await ask(server.url, upload)
            assert heard.startswith((b"HTTP/1.1 200", b"HTTP/1.1 503")), heard[:200]
            seen.pushes += heard.startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.05)


async def siege(
    server: RunningServer, clients: int, interval: float, authorization: str, pool: str, jobs: Sequence[str]
) -> Seen:
    """``clients`` slow ones at once beside normal traffic; answers when all of them are gone."""
    seen, done = Seen(), asyncio.Event()
    watching = asyncio.create_task(watch_memory(server.pid, seen))
    traffic = asyncio.create_task(normal_traffic(server, authorization, pool, jobs[0], seen, done))
    kinds = beginnings(authorization, pool, jobs[1])
    await asyncio.gather(*(drip(server.url, kinds[n % len(kinds)], interval, seen) for n in range(clients)))
    done.set()
    await traffic
    watching.cancel()
    return seen
