"""Servers that are born warm: forked from a process that has imported everything, instead of started anew.

What runs in them is ``headrace serve`` from its first line on. Only the second or two that a new interpreter
takes to import is saved, which is most of what a start costs; and their engines have one thread each. Their
own children are spawned as ever, unless ``warm_children``: then these, too, are forked, from a copy of the
server that was made before its first thread.
"""

from __future__ import annotations

import atexit
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from multiprocessing import forkserver, util
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import IO, Any, NoReturn

from harness import RunningServer

# -- in the tests --------------------------------------------------------------------------------------


class Nursery:
    """The warm process; it answers one request after the other, each a line of JSON."""

    def __init__(self) -> None:
        here = Path(__file__).parent
        paths = [str(here), str(here.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._asking = Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-c", "import born; born.nurse()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )

    def ask(self, **what: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        with self._asking:
            self._process.stdin.write(json.dumps(what).encode() + b"\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """Whoever was born here and still lives is killed."""
        self._process.communicate()


@contextmanager
def nursery() -> Iterator[Nursery]:
    warm = Nursery()
    try:
        yield warm
    finally:
        warm.close()


class BornProcess:
    """As much of ``subprocess.Popen`` as the tests need, for a process that is a child of the nursery."""

    def __init__(self, warm: Nursery, pid: int) -> None:
        self._nursery = warm
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._nursery.ask(ended=self.pid)
        return self.returncode

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("headrace serve", timeout)
            time.sleep(0.005)
        return code

    def send_signal(self, how: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, how)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class BornServer(RunningServer):
    def __init__(self, warm: Nursery, data_dir: Path, *, warm_children: bool = False, **options: Any) -> None:
        super().__init__(data_dir, **options)
        self._nursery = warm
        self._warm_children = warm_children

    def _launch(self, arguments: Sequence[str], log: IO[bytes]) -> Any:
        asked = {"arguments": arguments, "log": str(self.log_file), "env": self.env}
        return BornProcess(self._nursery, self._nursery.ask(**asked, warm_children=self._warm_children))


# -- in the nursery ------------------------------------------------------------------------------------


def nurse() -> None:
    """Bear servers until nobody can ask any more."""
    _warm_up()
    born: set[int] = set()
    for line in sys.stdin:
        asked = json.loads(line)
        if "ended" in asked:
            answer = _ended(asked["ended"])
        elif answer := os.fork():
            born.add(answer)
        else:
            _become(asked["log"], asked["env"])
            if asked["warm_children"]:
                _fork_children()
            _run(asked["arguments"])
        print(json.dumps(answer), flush=True)
    for pid in born:
        if _ended(pid) is None:
            os.kill(pid, signal.SIGKILL)


def _warm_up() -> None:
    """Import all, and make the routes: they serve one server after the other, as after a reset."""
    import duckdb  # noqa: PLC0415

    from headrace import server  # noqa: PLC0415
    from headrace.settings import Settings  # noqa: PLC0415
    from headrace.web.limits import RequestLimits  # noqa: PLC0415

    limits = Settings()
    app = server.application(
        SimpleNamespace(rehearsal=None),  # type: ignore[arg-type]
        RequestLimits(limits.max_json_bytes, limits.max_json_depth, limits.max_uploads),
        server.add_pages,
    )
    server.application = lambda services, limits, pages: app
    duckdb.default_connection().close()  # it came with the import, and has a thread
    connect = duckdb.connect  # on small tables a second thread doubles the CPU, and gains nothing
    duckdb.connect = lambda *of, config={}, **more: connect(*of, config={"threads": "1"} | config, **more)


def _ended(pid: int) -> int | None:
    """The exit code, None while it runs; of one that is forgotten 0."""
    try:
        gone, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0
    return os.waitstatus_to_exitcode(status) if gone else None


def _become(log: str, env: Mapping[str, str]) -> None:
    """What a shell does before a program runs."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.environ.update(env)


def _fork_children() -> None:
    """The server forked by ``multiprocessing`` from which children are, is a fork itself, not a new start."""
    from headrace import children  # noqa: PLC0415

    started = util.spawnv_passfds
    util.spawnv_passfds = _forked
    forkserver.ensure_running()
    util.spawnv_passfds = started
    children._SPAWN = multiprocessing.get_context("forkserver")  # type: ignore[assignment]


def _forked(_path: bytes, args: Sequence[str], handles: Sequence[int]) -> int:
    """Runs what an interpreter was to be started for: ``-c``, and then its code."""
    if pid := os.fork():
        return pid
    try:
        for first, behind in pairwise([2, *sorted(handles), os.sysconf("SC_OPEN_MAX")]):
            os.closerange(first + 1, behind)  # by the end of a pipe it sees that the server is gone
        exec(args[-1])
    finally:
        os._exit(0)


def _run(arguments: Sequence[str]) -> NoReturn:
    """To the end of the process. Of libraries that had threads before the fork no destructor may run."""
    from headrace.cli import app  # noqa: PLC0415

    try:
        app(arguments, prog_name="headrace")
    except SystemExit as end:
        atexit._run_exitfuncs()
        os._exit(end.code if isinstance(end.code, int) else 1)
