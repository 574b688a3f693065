"""The one streaming edge: what arrives is written at once, in this thread; all else runs beside it."""

from __future__ import annotations

from functools import partial

from anyio import CapacityLimiter, to_thread
from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from headrace.arriving import LONGEST_ENVELOPE, UNPACK_AT_ONCE, Arrival, unpacking
from headrace.errors import ChunkUnreadable, InvalidRequest
from headrace.model import Chunk, ChunkType, Label
from headrace.unpacking import Packing, Unpacker
from headrace.web.context import the_services
from headrace.web.multipart import Body, body_of

UNPACKING = CapacityLimiter(4)
"""Unpacking takes threads of its own number: it must not stand in the way of what is not packed."""

_ENCODINGS = {"": None, "identity": None, "gzip": Packing.GZIP, "x-gzip": Packing.GZIP, "zstd": Packing.ZSTD}


async def receive(
    pool_id: str, job_id: str, type: ChunkType, request: Request, idempotency_key: str | None
) -> Chunk:
    pushes = the_services(request).pushes
    length = request.headers.get("content-length")
    encoding = encoding_of(request.headers.get("content-encoding", ""))
    arrival = await run_in_threadpool(
        pushes.begin_chunk, pool_id, job_id, type, int(length) if length else None, encoding, idempotency_key
    )
    try:
        label = await _read_body(request, arrival)
    except BaseException:
        await run_in_threadpool(arrival.incoming.discard)
        raise
    return await run_in_threadpool(partial(pushes.add_chunk, arrival, label))


def encoding_of(header: str) -> Packing | None:
    """How the whole body is packed, if it is. Raises ChunkUnreadable."""
    try:
        return _ENCODINGS[header.strip().lower()]
    except KeyError as error:
        raise ChunkUnreadable(
            f"The request has the Content-Encoding '{header}'; gzip and zstd are understood.",
            attribute="Content-Encoding",
        ) from error


async def _read_body(request: Request, arrival: Arrival) -> Label:
    """Answers what the client calls the chunk."""
    body = body_of(request.headers.get("content-type", ""), arrival.write)
    encoded = EncodedBody(arrival, body) if arrival.encoding else None
    try:
        async for data in request.stream():
            if encoded:
                await to_thread.run_sync(encoded.feed, data, limiter=UNPACKING)
                continue
            body.feed(data)
            if arrival.waiting >= UNPACK_AT_ONCE:
                await to_thread.run_sync(arrival.unpack, limiter=UNPACKING)
    except ClientDisconnect as error:
        raise InvalidRequest("The client went away in the middle of the chunk.") from error
    if encoded:
        encoded.end()
    body.end()
    return body.label


class EncodedBody:
    """A body that is packed as a whole: its envelope, if it has one, and the chunk in it."""

    def __init__(self, arrival: Arrival, body: Body) -> None:
        assert arrival.encoding
        self._arrival = arrival
        self._body = body
        self._unpacker = Unpacker(arrival.encoding)
        self._sent = 0
        self._unpacked = 0

    def feed(self, data: bytes) -> None:
        self._sent += len(data)
        if self._sent > self._arrival.room.bytes + LONGEST_ENVELOPE:
            raise self._arrival.room.refusal
        with unpacking():
            for unpacked in self._unpacker.feed(data):
                self._take(unpacked)

    def _take(self, data: bytes) -> None:
        self._unpacked += len(data)
        if self._unpacked > self._arrival.unpacked_room.bytes + LONGEST_ENVELOPE:
            raise self._arrival.unpacked_room.refusal
        self._body.feed(data)
        self._arrival.unpack()

    def end(self) -> None:
        with unpacking():
            self._unpacker.end()
