"""Named locks of one process, and those of all that share a database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headrace.errors import Busy
from headrace.locks import Locks, LocksOfProcess
from headrace.metadata.advisory import AdvisoryLocks, LocksOfOneConnection
from headrace.tables.writer import Writer
from postgres import Postgres


@pytest.fixture
def locks(database: Path | str) -> Iterator[Locks]:
    made: Locks = LocksOfProcess() if isinstance(database, Path) else AdvisoryLocks(database)
    yield made
    made.close()


def test_one_has_it(locks: Locks) -> None:
    held = locks.take("lake", "p")
    assert held and locks.take("lake", "p") is None
    other = locks.take("lake", "q")
    assert other
    other.release()
    held.check()
    held.release()
    again = locks.take("lake", "p")
    assert again
    again.release()


def test_who_waits_gets_it(locks: Locks) -> None:
    held = locks.take("lake", "p")
    assert held and locks.take("lake", "p", seconds=0.01) is None
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(locks.take, "lake", "p", seconds=60)
        held.release()
        got = waiting.result()
    assert got
    got.release()


def test_a_writer_is_alone(locks: Locks) -> None:
    one, other, of_another = Writer(locks, "p"), Writer(locks, "p"), Writer(locks, "q")
    with one:
        one.check()
        assert not other.acquire(0.01)
        assert of_another.acquire(0.01)
        of_another.release()
    with other:
        assert not one.acquire(0.01)


def test_writers_take_turns(locks: Locks) -> None:
    writer_of = [Writer(locks, "p") for _ in range(4)]
    inside: list[int] = []

    def write(number: int) -> int:
        with writer_of[number]:
            inside.append(number)
            seen = len(inside)
            inside.remove(number)
            return seen

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(write, [0, 1, 2, 3])) == {1}


HOLDER = """
import sys
from headrace.metadata.advisory import AdvisoryLocks

assert AdvisoryLocks(sys.argv[1]).take("lake", "p")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_lock_goes_with_its_process(postgres: Postgres) -> None:
    url = postgres.schema()
    command = [sys.executable, "-c", HOLDER, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        locks = AdvisoryLocks(url)
        assert locks.take("lake", "p") is None
        os.kill(holder.pid, signal.SIGKILL)
        held = locks.take("lake", "p", seconds=60)
    assert held
    held.release()
    locks.close()


def test_a_lock_may_be_lost(postgres: Postgres) -> None:
    locks = AdvisoryLocks(postgres.schema())
    held = locks.take("lake", "lost")
    assert held
    holders = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
    for (pid,) in postgres.run(holders):
        postgres.run(f"SELECT pg_terminate_backend({pid})")
    with pytest.raises(Busy):
        held.check()
    held.release()
    again = locks.take("lake", "lost", seconds=60)
    assert again
    again.release()
    locks.close()


def test_locks_on_one_connection(postgres: Postgres) -> None:
    url = postgres.schema()
    one, other, alone = LocksOfOneConnection(url), LocksOfOneConnection(url), AdvisoryLocks(url)
    held = [one.take("upload", name) for name in "ab"]
    assert held[0] and held[1]
    for locks in (one, other, alone):
        assert locks.take("upload", "a") is None
    held[0].release()
    again = other.take("upload", "a")
    assert again and one.take("upload", "a") is None
    held[0].release()
    assert one.take("upload", "a") is None, "released once more it is nobody else's"
    holders = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
    for (pid,) in set(postgres.run(holders)):
        postgres.run(f"SELECT pg_terminate_backend({pid})")
    for lost in (held[1], again):
        with pytest.raises(Busy):
            lost.check()
    taken = one.take("upload", "b")
    assert taken
    held[1].release()
    taken.check()
    assert other.take("upload", "b") is None, "who lost it does not release what is somebody else's"
    for locks in (one, other, alone):
        locks.close()
