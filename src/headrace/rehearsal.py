"""A server for somebody's tests: everything as always, and it can be made as it was after its start.

A reset takes the server apart, puts its folder back as it was, and builds it anew, within the process and
behind the same port: nothing can be left over, and a start of Python is saved. Requests that come meanwhile
wait.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from starlette.concurrency import run_in_threadpool

from headrace.errors import LoadFailed, Overloaded
from headrace.faults import Faults
from headrace.loading import Loader
from headrace.model import Job
from headrace.telling import Telling

_KEPT = ("server.lock", "as-it-was", "temp")
_STOP_SECONDS = 60.0
_PATIENCE_SECONDS = 30.0
"""A reset waits so long for requests that are under way."""


class Serving(Protocol):
    """An application with what lives as long as it does; it can be ended and made anew."""

    def start(self) -> None: ...

    def hang_up(self) -> None: ...

    def stop(self, seconds: float, *, for_good: bool = True) -> None: ...

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


@dataclass
class DoomedLoader(Loader):
    """A loader some of whose jobs end in ERROR because somebody wished so."""

    faults: Faults = field(kw_only=True)

    def load(self, job: Job) -> None:
        fault = self.faults.of_load([target.name for target in job.spec.targets])
        if fault is None:
            super().load(job)
            return
        logs = fault.logs or (LoadFailed().message,)
        told = Telling(chunks=list(self.metadata.chunks.list(job.id)))
        kept = self._failed(job, fault.code, logs, told)
        self.clean_up(job, keep_chunks=kept)


class Rehearsal:
    """ASGI: the server as it is now. ``folder`` is all that it keeps."""

    def __init__(self, folder: Path, faults: Faults) -> None:
        self.faults = faults
        self._folder = folder
        self._as_it_was = folder / "as-it-was"
        self._build: Callable[[], Serving]
        self._serving: Serving
        self._under_way = 0
        self._closed = False
        self._changed = asyncio.Condition()
        self._one = asyncio.Lock()

    def begin(self, build: Callable[[], Serving]) -> None:
        """The server is built, and what it keeps by now is what a reset goes back to."""
        self._build = build
        self._serving = build()
        self._remember()

    def start(self) -> None:
        self._serving.start()

    def hang_up(self) -> None:
        self._serving.hang_up()

    def stop(self, seconds: float) -> None:
        self._serving.stop(seconds)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._enter()
        try:
            await self._serving(scope, receive, send)
        finally:
            await self._leave()

    async def mark(self) -> None:
        """What the server keeps now is what a reset goes back to."""
        async with self._alone():
            await run_in_threadpool(self._renew, self._remember)

    async def reset(self) -> None:
        """Everything is as it was after the start, or at the last mark; no fault is left."""
        self.faults.clear()
        async with self._alone():
            await run_in_threadpool(self._renew, self._go_back)

    # -- the folder ------------------------------------------------------------------------------------

    def _renew(self, between: Callable[[], None]) -> None:
        self._serving.stop(_STOP_SECONDS, for_good=False)
        between()
        self._serving = self._build()
        self._serving.start()

    def _remember(self) -> None:
        shutil.rmtree(self._as_it_was, ignore_errors=True)
        shutil.copytree(self._folder, self._as_it_was, ignore=_not_kept)

    def _go_back(self) -> None:
        for path in self._folder.iterdir():
            if path.name in _KEPT:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        shutil.copytree(self._as_it_was, self._folder, dirs_exist_ok=True)

    # -- requests --------------------------------------------------------------------------------------

    async def _enter(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._closed)
            self._under_way += 1

    async def _leave(self) -> None:
        async with self._changed:
            self._under_way -= 1
            self._changed.notify_all()

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """The request that asks for it is the only one. Raises Overloaded."""
        await self._leave()
        try:
            async with self._one, self._shut():
                yield
        finally:
            await self._enter()

    @asynccontextmanager
    async def _shut(self) -> AsyncIterator[None]:
        self._closed = True
        self.hang_up()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS), self._changed:
                await self._changed.wait_for(lambda: self._under_way == 0)
            yield
        except TimeoutError as error:
            raise Overloaded("Other requests are under way, and do not end.") from error
        finally:
            async with self._changed:
                self._closed = False
                self._changed.notify_all()


def _not_kept(_folder: str, names: list[str]) -> set[str]:
    """Sockets of the moment and what belongs to a process; a database's shared memory is made anew."""
    return {name for name in names if name in _KEPT or name.endswith("-shm")}
