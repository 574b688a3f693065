"""Several processes on one data folder and one database: an installation for tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import RunningServer, RunningWorker

LEASE_S = 2
"""A worker that was killed is missed after so long."""


@dataclass
class Installation:
    servers: list[RunningServer]
    workers: list[RunningWorker]

    @property
    def processes(self) -> list[RunningServer]:
        return [*self.servers, *self.workers]


@contextmanager
def installation(
    folder: Path, database: str, *, servers: int = 2, workers: int = 2, apart: bool = False, **more: str
) -> Iterator[Installation]:
    """They have started one after the other; servers take requests and leave the work to workers.

    ``apart``: each has a data folder of its own; the administrator's key is in that of the first server.
    """

    def at(name: str) -> Path:
        return folder / f"data-of-{name}" if apart else folder / "data"

    env = environment(database, **more)
    made = Installation(
        [
            RunningServer(at(f"server-{n}"), options=["--no-worker"], env=env, name=f"server-{n}")
            for n in range(servers)
        ],
        [RunningWorker(at(f"worker-{n}"), env=env, name=f"worker-{n}") for n in range(workers)],
    )
    with ExitStack() as stack:
        for process in made.processes:
            stack.enter_context(process)
        yield made


def environment(database: str, **more: str) -> Mapping[str, str]:
    quick = {"HEADRACE_LEASE_SECONDS": str(LEASE_S), "HEADRACE_STAGING_PROCESSES": "1"}
    few = {"HEADRACE_SQL_PROCESSES": "1", "HEADRACE_SQL_WARM_PROCESSES": "1"}
    return {"HEADRACE_DATABASE_URL": database, **quick, **few, **more}
