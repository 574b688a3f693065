"""Real child processes: they answer, fail, hang and die. Their tasks are Python given as text.

A task that must wait reads a named pipe, which a test lets go of when it likes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness import wait_for
from headrace.children import ChildDied, ProcessPool, limit_this_process, process_pool
from headrace.errors import ChunkFailed, ChunkUnreadable

PATIENCE = 30


@dataclass
class Children:
    pool: ProcessPool
    folder: Path

    def do(self, python: str, timeout: float | None = None) -> Future[Any]:
        return self.pool.schedule(eval, (python,), timeout=timeout)

    def get(self, python: str, timeout: float | None = None) -> Any:
        return self.do(python, timeout).result(PATIENCE)

    def waiting(self, timeout: float | None = None) -> tuple[Future[str], Callable[[], None]]:
        """A task that waits, begun, and what lets it go."""
        path = self.folder / str(len(list(self.folder.iterdir())))
        os.mkfifo(path)
        future = self.do(f"open({str(path)!r}).read()", timeout)
        handle = os.open(path, os.O_WRONLY)  # returns when the child has opened it

        def go_on() -> None:
            os.write(handle, b"went on")
            os.close(handle)

        return future, go_on


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Children]]:
    pools: list[ProcessPool] = []

    def start(
        processes: int, initializer: Callable[..., object] = limit_this_process, *args: Any
    ) -> Children:
        pools.append(process_pool(processes, initializer, args or (256,)))
        return Children(pools[-1], tmp_path)

    yield start
    for pool in pools:
        pool.stop()
        pool.join()


@pytest.fixture
def one(started: Callable[..., Children]) -> Children:
    return started(1)


# -- answers -------------------------------------------------------------------------------------------


def test_a_task_is_run_in_a_warm_child(one: Children) -> None:
    pids = {one.get("__import__('os').getpid()") for _ in range(3)}
    assert pids == set(one.pool.pids())
    assert os.getpid() not in pids


def test_answers_are_never_mixed_up(started: Callable[..., Children]) -> None:
    children = started(2)
    expected: list[object] = []
    futures = []
    for number in range(120):
        if number % 40 == 7:
            futures.append(children.do("__import__('os')._exit(9)"))
            expected.append(ChildDied)
        elif number % 10 == 3:
            futures.append(children.do(f"int('no {number}')"))
            expected.append(f"invalid literal for int() with base 10: 'no {number}'")
        else:
            futures.append(children.do(f"({number}, 'x' * {number} * 1000)"))
            expected.append((number, "x" * number * 1000))
    found = [f.exception(PATIENCE) or f.result() for f in futures]
    assert [_told(f) for f in found] == expected


def _told(found: object) -> object:
    if isinstance(found, ChildDied):
        return ChildDied
    return str(found) if isinstance(found, Exception) else found


def test_an_answer_may_be_large(one: Children) -> None:
    assert len(one.get("b'x' * (20 << 20)")) == 20 << 20


def test_errors_come_back_as_they_are(one: Children) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        one.get("1 // 0")
    assert 'File "<string>", line 1' in caught.value.__notes__[0]
    code = "(_ for _ in ()).throw(__import__('headrace.errors').errors.{})"
    with pytest.raises(ChunkUnreadable) as unreadable:
        one.get(code.format("ChunkUnreadable('why', attribute='keys')"))
    assert (unreadable.value.message, unreadable.value.attribute) == ("why", "keys")
    with pytest.raises(ChunkFailed) as failed:
        one.get(code.format("ChunkFailed('why', logs=['a', 'b'])"))
    assert (failed.value.message, failed.value.logs) == ("why", ("a", "b"))


def test_what_cannot_be_sent_fails_its_task_only(one: Children) -> None:
    with pytest.raises(Exception, match="pickle"):
        one.pool.schedule(eval, (lambda: 0,)).result(PATIENCE)
    assert one.get("1") == 1
    with pytest.raises(ChildDied):  # the answer cannot be sent either
        one.get("lambda: 0")
    assert one.get("2") == 2


def test_an_answer_that_cannot_be_read_buries_its_child(one: Children) -> None:
    with pytest.raises(ChildDied):
        one.get("type('X', (), {'__reduce__': lambda _: (int, ('x',))})()")  # int('x') when it is read
    assert one.get("1") == 1


# -- deaths --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("death", "code"), [("__import__('os')._exit(3)", 3), ("__import__('os').abort()", -signal.SIGABRT)]
)
def test_a_child_that_dies_ends_its_task_only(one: Children, death: str, code: int) -> None:
    first, after = one.do(death), one.do("'alive'")
    error = first.exception(PATIENCE)
    assert isinstance(error, ChildDied)
    assert (error.code, error.pid > 0) == (code, True)
    assert after.result(PATIENCE) == "alive"


def test_a_child_that_is_killed_from_outside(one: Children) -> None:
    busy, _ = one.waiting()
    (pid,) = one.pool.pids()
    os.kill(pid, signal.SIGKILL)
    error = busy.exception(PATIENCE)
    assert isinstance(error, ChildDied) and (error.code, error.pid) == (-signal.SIGKILL, pid)
    assert one.get("1") == 1


def test_an_idle_child_that_is_killed_is_replaced(one: Children) -> None:
    first = one.get("__import__('os').getpid()")
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(first) or one.pool.pids() == [])
    assert one.get("__import__('os').getpid()") != first


def test_a_child_that_cannot_start_fails_every_task(started: Callable[..., Children]) -> None:
    broken = started(1, os._exit, 4)
    for _ in range(2):
        error = broken.do("1").exception(PATIENCE)
        assert isinstance(error, ChildDied) and error.code == 4


def test_memory_is_bounded(one: Children) -> None:
    with pytest.raises(MemoryError):
        one.get("bytearray(4 << 30)")
    assert one.get("len(bytearray(4 << 20))") == 4 << 20


# -- time ----------------------------------------------------------------------------------------------


def test_a_task_that_takes_too_long_is_killed_with_its_child(one: Children) -> None:
    one.get("1")
    (pid,) = one.pool.pids()
    slow, _ = one.waiting(timeout=0.1)
    with pytest.raises(TimeoutError):
        slow.result(PATIENCE)
    assert not psutil.pid_exists(pid)
    assert one.get("2") == 2


def test_time_counts_from_the_start_of_a_task(one: Children) -> None:
    one.get("1")
    before, _ = one.waiting(timeout=0.6)
    after = one.do("'in time'", timeout=0.5)  # waits for longer than that
    assert isinstance(before.exception(PATIENCE), TimeoutError)
    assert after.result(PATIENCE) == "in time"


def test_the_start_of_a_child_takes_no_time_from_its_task(one: Children) -> None:
    assert one.get("'in time'", timeout=0.05) == "in time"


# -- the end -------------------------------------------------------------------------------------------


def test_a_task_that_waits_can_be_cancelled(one: Children) -> None:
    busy, go_on = one.waiting()
    late, after = one.do("1"), one.do("2")
    assert late.cancel()
    assert not busy.cancel()
    go_on()
    assert (busy.result(PATIENCE), after.result(PATIENCE)) == ("went on", 2)


def test_stop_ends_everything(started: Callable[..., Children]) -> None:
    children = started(2)
    busy = [children.waiting()[0] for _ in range(2)]
    late = [children.do("1") for _ in range(3)]
    pids = children.pool.pids()
    children.pool.stop()
    children.pool.join()
    assert all(isinstance(future.exception(PATIENCE), ChildDied) for future in busy)
    for future in late:
        with pytest.raises(CancelledError):
            future.result()
    assert (children.pool.pids(), [p for p in pids if psutil.pid_exists(p)]) == ([], [])
    with pytest.raises(RuntimeError, match="closed"):
        children.do("1")
    children.pool.stop()


def test_who_waits_for_a_task_hears_of_the_stop(one: Children) -> None:
    one.waiting()
    late = one.do("1")
    one.pool.stop()
    assert wait([late], timeout=0.5).done == {late}


def test_children_start_when_they_are_needed_or_at_once(one: Children) -> None:
    assert one.pool.pids() == []
    eager = process_pool(2, limit_this_process, (256,), at_once=True)
    wait_for(lambda: len(eager.pids()) == 2)
    eager.stop()
    eager.join()


SERVER = """
import os
from headrace.children import limit_this_process, process_pool
pool = process_pool(1, limit_this_process, (256,))
print(pool.schedule(os.getpid).result(), flush=True)
pool.schedule(eval, ("__import__('time').sleep(60)",))
input()
"""


def test_a_child_does_not_outlive_its_server(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(f"if __name__ == '__main__':\n    exec({SERVER!r})")
    with subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout
        child = int(server.stdout.readline())
        assert psutil.pid_exists(child)
        server.kill()
    wait_for(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)
