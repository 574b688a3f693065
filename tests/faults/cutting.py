"""A proxy that cuts connections: the server hears the request and answers, the client never hears it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from urllib.parse import urlsplit


class Cutting:
    """Listens at ``url``; of the answers of ``target`` a share is lost, and the connection with it."""

    def __init__(self, target: str, seed: int, share: float) -> None:
        self._target = urlsplit(target)
        self._chance = random.Random(seed)
        self._share = share
        self._loop = asyncio.new_event_loop()
        self.cut = 0

    @contextmanager
    def running(self) -> Iterator[str]:
        thread = Thread(target=self._loop.run_forever)
        thread.start()
        listening = asyncio.run_coroutine_threadsafe(self._listen(), self._loop)
        try:
            yield f"http://127.0.0.1:{listening.result(30)}"
        finally:
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(30)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # what was closed is let go of in the next turn

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection(self._target.hostname, self._target.port)
        asked = asyncio.Event()
        sending = asyncio.create_task(self._send(reader, ours, asked))
        try:
            with suppress(OSError):
                await self._answer(theirs, writer, asked)
        finally:
            sending.cancel()
            writer.close()
            ours.close()

    async def _send(
        self, reader: asyncio.StreamReader, ours: asyncio.StreamWriter, asked: asyncio.Event
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                asked.set()
                ours.write(data)
                await ours.drain()
        ours.close()

    async def _answer(
        self, theirs: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: asyncio.Event
    ) -> None:
        """Of the first bytes of each answer it is decided whether the client shall hear it."""
        while data := await theirs.read(1 << 16):
            if asked.is_set() and self._chance.random() < self._share:
                self.cut += 1
                return
            asked.clear()
            writer.write(data)
            await writer.drain()
