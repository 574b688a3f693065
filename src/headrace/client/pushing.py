"""The story of one push: a job, its chunks, and how it ended.

Every step can be taken again, and neither a lost answer nor an interrupted push stores rows twice: a chunk
whose hash the server lists is not sent, and what is sent again has the same idempotency key.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from threading import Event
from typing import Any, BinaryIO
from uuid import uuid4

from headrace.client.calls import Calls, Lost, pause
from headrace.client.journal import Journal
from headrace.client.parts import Part
from headrace.errors import JobNotNew, LoadFailed, NotFound, known_errors

_FINAL = ("DONE", "ERROR")
_POLLS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


class Stopped(Exception):
    """Another part has failed, or somebody has interrupted the push."""


@dataclass(frozen=True)
class Pushed:
    """A job that is DONE. ``counts`` as the server tells them; empty on the original service."""

    job_id: str
    table: str
    counts: dict[str, int] = field(default_factory=dict)
    logs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wish:
    """What the push is to do: the pool, the fields of the job, how its chunks count."""

    pool_id: str
    spec: dict[str, Any]
    kind: str = "upserted"
    order_column: str | None = None

    @property
    def in_order(self) -> bool:
        """With keys the last action on a key wins, so that chunks must arrive in their order."""
        return bool(self.spec.get("keys")) and not self.order_column

    @property
    def jobs(self) -> str:
        return f"/integration/api/v1/data-push/{self.pool_id}/jobs"


class Push:
    """One try of a push. ``told`` hears of each part: how many bytes have arrived."""

    def __init__(
        self, calls: Calls, wish: Wish, journal: Journal, *, at_once: int, told: Callable[[int], None]
    ) -> None:
        self._calls = calls
        self._wish = wish
        self._journal = journal
        self._at_once = 1 if wish.in_order else at_once
        self._told = told
        self._stopping = Event()
        """Set when one part has failed or somebody has interrupted: what the others do is in vain."""

    def run(self, parts: Callable[[], Iterator[Part]]) -> Pushed:
        """Send, execute, wait. Raises LoadFailed, or what the server refuses."""
        job = self._job()
        if job["status"] == "NEW" and not self._send_all(job["id"], parts):
            job = self._fresh_job()  # the data has changed since that try
            self._send_all(job["id"], parts)
        self._execute(job["id"])
        ended = self._ended(job["id"])
        self._journal.forget()
        return ended

    def rehearse(self, parts: Callable[[], Iterator[Part]]) -> dict[str, Any]:
        """Send all and ask what executing it would do; then the job goes. Only Headrace can tell."""
        job = self._new_job()
        try:
            self._send_all(job["id"], parts)
            path = f"/api/v1/pools/{self._wish.pool_id}/jobs/{job['id']}/execute"
            foreseen = self._calls.repeatable("POST", path, params={**self._order(), "dryRun": "true"})
        finally:
            self._calls.repeatable("DELETE", f"{self._wish.jobs}/{job['id']}")
            self._journal.forget()
        outlook: dict[str, Any] = foreseen.json()
        return outlook

    # -- the job ---------------------------------------------------------------------------------------

    def _job(self) -> dict[str, Any]:
        """The job of an interrupted try, or a new one."""
        known = self._journal.job()
        try:
            job = self._shown(known) if known else None
        except NotFound:
            job = None
        return job if job and job["status"] != "ERROR" else self._new_job()

    def _new_job(self) -> dict[str, Any]:
        named = {"Idempotency-Key": str(uuid4())}
        reply = self._calls.repeatable("POST", self._wish.jobs, json=self._wish.spec, headers=named)
        job: dict[str, Any] = reply.json()
        self._journal.remember(job["id"])
        return job

    def _fresh_job(self) -> dict[str, Any]:
        if known := self._journal.job():
            self._calls.repeatable("DELETE", f"{self._wish.jobs}/{known}")
        return self._new_job()

    def _shown(self, job_id: str) -> dict[str, Any]:
        shown: dict[str, Any] = self._calls.get(f"{self._wish.jobs}/{job_id}")
        return shown

    # -- chunks ----------------------------------------------------------------------------------------

    def _send_all(self, job_id: str, parts: Callable[[], Iterator[Part]]) -> bool:
        """Send what the server lacks; False if it has something that is no part of this push."""
        there, ours = self._stored(job_id), Counter[str]()
        with ThreadPoolExecutor(self._at_once) as threads, self._stopping_all():
            under_way: set[Future[None]] = set()
            for part in parts():
                ours[part.sha256] += 1
                if ours[part.sha256] <= there[part.sha256]:
                    self._arrived(part)
                    continue
                under_way.add(threads.submit(self._send, job_id, part, ours[part.sha256]))
                if len(under_way) > self._at_once:
                    under_way = _settled(under_way, FIRST_COMPLETED)
            _settled(under_way, ALL_COMPLETED)
        return not self._stored(job_id) - ours

    @contextmanager
    def _stopping_all(self) -> Iterator[None]:
        """Threads that send are waited for when this ends, and shall not try on meanwhile."""
        self._stopping.clear()
        try:
            yield
        except BaseException:
            self._stopping.set()
            raise

    def _send(self, job_id: str, part: Part, copy: int) -> None:
        """Send a part until it is there. ``copy``: it is so many times in the push with the same bytes."""
        deadline = time.monotonic() + self._calls.patience
        for attempt in count():
            try:
                self._send_once(job_id, part, copy)
                break
            except Lost as error:
                pause(attempt, deadline, error, stopping=self._stopping)
                if self._stored(job_id)[part.sha256] >= copy:
                    break  # only its answer was lost
        self._arrived(part)

    def _send_once(self, job_id: str, part: Part, copy: int) -> None:
        # the key makes the server know it again, even while it is still busy with the first sending
        named = {"Idempotency-Key": f"{part.sha256}-{copy}"}
        with part.path.open("rb") as file:
            sent = {"file": (part.path.name, _Ending(file, self._stopping))}
            chunks = self._chunks(job_id)
            self._calls.once("POST", chunks, files=sent, headers=named, stopping=self._stopping)

    def _chunks(self, job_id: str) -> str:
        return f"{self._wish.jobs}/{job_id}/chunks/{self._wish.kind}"

    def _stored(self, job_id: str) -> Counter[str]:
        chunks = self._calls.get(f"{self._wish.jobs}/{job_id}/chunks")
        return Counter(c["checksum"] for c in chunks if c.get("checksum"))

    def _arrived(self, part: Part) -> None:
        self._told(part.bytes)
        part.forget()

    # -- the end ---------------------------------------------------------------------------------------

    def _execute(self, job_id: str) -> None:
        with suppress(JobNotNew):  # an earlier try has done it
            self._calls.repeatable("POST", f"{self._wish.jobs}/{job_id}", params=self._order())

    def _order(self) -> dict[str, str]:
        return {"duplicateRemovalColumn": self._wish.order_column} if self._wish.order_column else {}

    def _ended(self, job_id: str) -> Pushed:
        *_, job = polled(lambda: self._shown(job_id))
        logs = tuple(job.get("logs") or ())
        if job["status"] == "DONE":
            return Pushed(
                job_id, self._wish.spec["targetName"], self._told_by_us(job_id, "counts") or {}, logs
            )
        self._journal.forget()
        raise failure(self._told_by_us(job_id, "errorCode"), logs, job_id)

    def _told_by_us(self, job_id: str, field: str) -> Any:
        """What only a Headrace server tells of a job."""
        try:
            return self._calls.get(f"/api/v1/pools/{self._wish.pool_id}/jobs/{job_id}").get(field)
        except tuple(known_errors()):
            return None


class _Ending:
    """A file that is sent until all is in vain."""

    def __init__(self, file: BinaryIO, stopping: Event) -> None:
        self._file = file
        self._stopping = stopping
        self.fileno, self.seek, self.tell = file.fileno, file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if self._stopping.is_set():
            raise Stopped
        return self._file.read(size)


def polled(look: Callable[[], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The job as it is seen each time that it is looked at, the last time DONE or ERROR."""
    for poll in _polls():
        job = look()
        yield job
        if job["status"] in _FINAL:
            return
        time.sleep(poll)


def failure(code: str | None, logs: Sequence[str], job_id: str) -> LoadFailed:
    """The error by which the load ended, as far as a server of ours tells it."""
    kinds = (kind for kind in known_errors() if issubclass(kind, LoadFailed) and kind.code == code)
    return next(kinds, LoadFailed)("\n".join(logs), logs=logs, job_id=job_id)


def _settled(under_way: set[Future[None]], when: str) -> set[Future[None]]:
    done, rest = wait(under_way, return_when=when)
    for future in done:
        future.result()
    return rest


def _polls() -> Iterator[float]:
    yield from _POLLS
    while True:
        yield _POLLS[-1]
