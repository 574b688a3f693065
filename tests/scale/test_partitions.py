"""Workers on hosts of their own (network namespaces), cut off from the database while they commit.

Only root may make namespaces; it takes the minute after which the database misses a connection, so it is a
part of the long form (``HEADRACE_STORM_JOBS``).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO

import psutil
import pytest

from harness import (
    RunningServer,
    RunningWorker,
    add_chunk,
    create_job,
    create_pool,
    execute,
    sql,
    wait_for,
    wait_for_job,
)
from postgres import Postgres
from scale.installation import environment
from scale.test_storms import LONG


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Host:
    """A namespace whose only network is a cable to this machine.

    Each has a number of its own: a namespace that was deleted lives on while a socket in it does.
    """

    _numbers = count(1)

    def __init__(self) -> None:
        number = next(Host._numbers)
        self.name = f"hr{os.getpid()}-{number}"
        self.here, self.there = f"10.77.{number}.1", f"10.77.{number}.2"
        self._cable, plug = f"{self.name}a", f"{self.name}b"
        _ip("netns", "add", self.name)
        _ip("link", "add", self._cable, "type", "veth", "peer", "name", plug)
        _ip("link", "set", plug, "netns", self.name)
        _ip("addr", "add", f"{self.here}/24", "dev", self._cable)
        _ip("-n", self.name, "addr", "add", f"{self.there}/24", "dev", plug)
        _ip("link", "set", self._cable, "up")
        _ip("-n", self.name, "link", "set", plug, "up")

    def cut(self) -> None:
        _ip("link", "set", self._cable, "down")

    def mend(self) -> None:
        _ip("link", "set", self._cable, "up")

    def close(self) -> None:
        _ip("link", "delete", self._cable)
        _ip("netns", "delete", self.name)


class WorkerElsewhere(RunningWorker):
    """A worker on another host, with the same folder."""

    def __init__(self, host: Host, data_dir: Path, env: Mapping[str, str]) -> None:
        super().__init__(data_dir, env=env, name=f"worker-on-{host.name}")
        self._host = host

    def _launch(self, arguments: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        command = ["ip", "netns", "exec", self._host.name, self.python, "-m", "headrace", *arguments]
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **self.env})


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    with one_host() as one, one_host() as other:
        yield [one, other]


@contextmanager
def one_host() -> Iterator[Host]:
    made = Host()
    try:
        yield made
    finally:
        made.close()


def a_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make network namespaces")
@pytest.mark.skipif(not LONG, reason="it takes minutes: a part of make test-scale")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mended", ["before it is missed", "after another took over"])
def test_a_commit_that_the_network_kept_back(tmp_path: Path, hosts: list[Host], mended: str) -> None:
    """All was checked, the COMMIT is sent, and does not arrive: until later, or too late."""
    port, (cut, other) = a_port(), hosts
    with Postgres(port=port, addresses=[cut.here, other.here]) as database:
        url, folder = database.database(), tmp_path / "data"
        server = RunningServer(folder, options=["--no-worker"], env=environment(url))
        with server, server.client() as api:
            pool = create_pool(api)
            near, far = (database.url_at(host.here, url) for host in hosts)
            late = WorkerElsewhere(cut, folder, environment(near, HEADRACE_CRASH_AT="pause:committing"))
            early = WorkerElsewhere(other, folder, environment(far))
            with late:
                job = create_job(api, pool, "t", fileType="CSV", type="DELTA")["id"]
                add_chunk(api, pool, job, b"a\n1\n")
                execute(api, pool, job)
                wait_for(lambda: _stands_still(late), 120, "the commit")
                cut.cut()
                os.kill(late.pid, signal.SIGCONT)
                with early:
                    if mended == "before it is missed":
                        cut.mend()
                    assert wait_for_job(api, pool, job, timeout=300)["status"] == "DONE"
                    cut.mend()
                    again = create_job(api, pool, "t", fileType="CSV", type="DELTA")["id"]
                    add_chunk(api, pool, again, b"a\n2\n")
                    execute(api, pool, again)
                    assert wait_for_job(api, pool, again, timeout=300)["status"] == "DONE"
                    assert sql(api, pool, "SELECT a FROM t ORDER BY a") == [["1"], ["2"]]


def _stands_still(worker: RunningWorker) -> bool:
    return psutil.Process(worker.pid).status() == psutil.STATUS_STOPPED
