"""Child processes: what may crash or overrun its memory runs in one, never in the server.

Children are spawned, not forked (the server has threads), stay warm between tasks, and never outlive the
server, however it ends. Each has a pipe of its own and shares no lock with another, so that one that is
killed in the middle of anything takes nothing else with it.
"""

from __future__ import annotations

import builtins
import io
import multiprocessing
import os
import pickle  # answers are read against a list of classes  # nosec B403
import resource
import select
import signal
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, Generic, TypeVar

import psutil

from headrace.errors import HeadraceError

T = TypeVar("T")

ENGINE_MB = 2048
"""Address space that the engine needs beside its memory: with less even starting a thread fails."""

START_SECONDS = 60
"""A child that is not ready by then never will be."""

_SPAWN = multiprocessing.get_context("spawn")


LARGEST_ANSWER_BYTES = 1 << 30


class Spoiled(Exception):
    """Raised in a child around an error, its one argument: the error counts, and the child must end."""


@dataclass(frozen=True)
class Last(Generic[T]):
    """Answered in a child around a result: the result counts, and the child must end."""

    result: T


class ChildDied(Exception):
    """The child ended in the middle of its task, by itself or by the system; ``code`` as of ``waitpid``."""

    def __init__(self, message: str, *, code: int = 0, pid: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.pid = pid


# -- in the server -------------------------------------------------------------------------------------


def process_pool(
    processes: int,
    initializer: Callable[..., object],
    initargs: tuple[Any, ...] = (),
    *,
    at_once: bool = False,
) -> ProcessPool:
    """A pool of warm children; ``initializer`` runs first in each of them and should limit it.

    ``at_once``: they start now, not with their first task.
    """
    return ProcessPool(processes, initializer, initargs, at_once)


class ProcessPool:
    """Runs tasks in children, first come, first served."""

    def __init__(
        self, processes: int, initializer: Callable[..., object], initargs: tuple[Any, ...], at_once: bool
    ) -> None:
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._slots = [_Slot(self._tasks, initializer, initargs, at_once) for _ in range(processes)]
        self._stopped = False
        self._lock = Lock()  # no task may come after stop() has looked for them

    def schedule(
        self, function: Callable[..., T | Last[T]], args: Iterable[Any] = (), *, timeout: float | None = None
    ) -> Future[T]:
        """Run ``function(*args)`` in a child, both importable and picklable.

        ``timeout`` counts in seconds from the task's start, not from its place in the queue. The future
        raises what the function raised; TimeoutError when the child was killed for its time; ChildDied when
        it died of something else. Cancelling it works as long as the task waits.
        """
        task = _Task(function, tuple(args), timeout)
        with self._lock:
            if self._stopped:
                raise RuntimeError("The pool of children is closed.")
            self._tasks.put(task)
        return task.future

    def pids(self) -> list[int]:
        """The children that live now."""
        return [slot.child.pid for slot in self._slots if slot.child and slot.child.alive]

    def stop(self) -> None:
        """Kill all children; their tasks fail with ChildDied, those that wait are cancelled."""
        with self._lock:
            self._stopped = True
        for task in _drained(self._tasks):
            task.future.cancel()
            task.future.set_running_or_notify_cancel()  # else those in wait() would wait on
        for slot in self._slots:
            slot.stop()
            self._tasks.put(None)

    def join(self) -> None:
        for slot in self._slots:
            slot.thread.join()


class _Task:
    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], timeout: float | None) -> None:
        self.function = function
        self.args = args
        self.timeout = timeout
        self.future: Future[Any] = Future()

    def run(self, child: Child) -> None:
        try:
            result = child.run(self.function, self.args, self.timeout)
        except Exception as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


def _drained(tasks: SimpleQueue[_Task | None]) -> Iterable[_Task]:
    try:
        while True:
            if task := tasks.get_nowait():
                yield task
    except Empty:
        return


class _Slot:
    """One child after the other, and the thread that gives them their tasks."""

    def __init__(
        self,
        tasks: SimpleQueue[_Task | None],
        initializer: Callable[..., object],
        initargs: tuple[Any, ...],
        at_once: bool,
    ) -> None:
        self._tasks = tasks
        self._start = initializer, initargs
        self._at_once = at_once
        self._stopped = False
        self._lock = Lock()  # no child may start after stop() has looked for one
        self.child: Child | None = None
        self.thread = Thread(target=self._work, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self.child:
                self.child.kill()

    def _work(self) -> None:
        if self._at_once:
            self._living_child()
        while (task := self._tasks.get()) is not None:
            if not task.future.set_running_or_notify_cancel():
                continue
            if child := self._living_child(task):
                task.run(child)
                if not child.alive:
                    self._living_child()  # the next task finds it warm

    def _living_child(self, task: _Task | None = None) -> Child | None:
        """The child of this slot, a new one if need be; if there can be none, the task has failed."""
        try:
            with self._lock:
                if self._stopped:
                    raise ChildDied("The pool of children is closed.")
                if not (self.child and self.child.alive):
                    self.child = Child(*self._start)
                return self.child
        except Exception as error:
            if task:
                task.future.set_exception(error)
            return None


class Child:
    """One child process, in which ``initializer`` runs first; it does one task at a time.

    ``answers``: the classes that its answers may be made of besides plain values; of None: any. What a child
    says is unpickled here, so one that may fall into other hands must have its classes named.
    """

    def __init__(
        self,
        initializer: Callable[..., object],
        initargs: tuple[Any, ...],
        answers: frozenset[type] | None = None,
    ) -> None:
        self._ready = False
        self._answers = answers
        self._task = 0
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs, initializer, initargs), daemon=True)
        try:
            self._process.start()
        finally:
            theirs.close()  # or the child's end would never be seen

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def alive(self) -> bool:
        return not self._pipe.closed and self._process.is_alive()

    def run(self, function: Callable[..., Any], args: tuple[Any, ...], timeout: float | None) -> Any:
        """What the function answers or raises. TimeoutError and ChildDied as in ``ProcessPool.schedule``."""
        try:
            self._await_ready()
            self._task += 1
            self._pipe.send((self._task, function, args))
            in_time = self._pipe.poll(timeout)
            late = TimeoutError("Task timeout", timeout)
            good, result, last = self._answer() if in_time else (False, late, True)
        except (EOFError, OSError) as error:
            self._bury()
            code = self._process.exitcode or 0
            raise ChildDied("The child process died.", code=code, pid=self.pid) from error
        if last:
            self._bury()
        if good:
            return result
        raise result

    def _answer(self) -> tuple[bool, Any, bool]:
        """What the child says of this task; an answer to another would be somebody else's data."""
        said = io.BytesIO(self._pipe.recv_bytes(LARGEST_ANSWER_BYTES))
        try:
            task, good, result, last = _Unpickler(said, self._answers).load()
        except Exception as error:  # of whatever kind: the child may be in other hands
            raise EOFError("The child's answer cannot be read.") from error
        if task != self._task:
            raise EOFError("The child answers another task.")
        return good, result, last

    def _await_ready(self) -> None:
        """The start of a child takes no time from its first task."""
        if not self._ready:
            if not self._pipe.poll(START_SECONDS):
                raise EOFError("The child does not start.")
            self._ready = self._pipe.recv()

    def kill(self) -> None:
        """Returns when it is dead; whoever waits for its answer hears so."""
        self._process.kill()
        self._process.join()

    def _bury(self) -> None:
        self.kill()
        self._pipe.close()


class _Unpickler(pickle.Unpickler):
    """Makes objects of the given classes alone, if there are any given."""

    def __init__(self, file: io.BytesIO, classes: frozenset[type] | None) -> None:
        super().__init__(file)
        self._any = classes is None
        self._known = {(c.__module__, c.__qualname__): c for c in (*_ERRORS, *(classes or ()))}

    def find_class(self, module: str, name: str, /) -> Any:
        if self._any:
            return super().find_class(module, name)
        if (module, name) not in self._known:
            raise pickle.UnpicklingError(f"An answer may not hold {module}.{name}.")
        return self._known[module, name]


_ERRORS: list[type] = [c for c in vars(builtins).values() if isinstance(c, type) and issubclass(c, Exception)]


# -- in the child --------------------------------------------------------------------------------------


def limit_this_process(memory_mb: int) -> None:
    """Bound the memory of this child, let it die at once when told, and never outlive the server."""
    limit_memory(memory_mb)
    die_with_parent()


def limit_memory(memory_mb: int) -> None:
    """The same but the last: no thread is started, and a child that waits for a task hears it anyway."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then ends us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a handler would wait for the engine to come back
    limit = (memory_mb + ENGINE_MB) << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def address_space() -> int:
    """The bytes of address space that this process has, as ``limit_memory`` counts them."""
    return int(psutil.Process().memory_info().vms)


def die_with_parent() -> None:
    # Not PR_SET_PDEATHSIG: that fires when the *thread* that started us ends, and it is Linux's alone.
    parent = parent_process()
    if parent is not None:
        Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(parent_end: int) -> None:
    """The pipe's other end is open only in the parent: it becomes readable when the parent is gone."""
    poll = select.poll()
    poll.register(parent_end, select.POLLIN)
    poll.poll()
    os._exit(1)  # no signal: a confined child may send none


def _serve(pipe: Connection, initializer: Callable[..., object], initargs: tuple[Any, ...]) -> None:
    initializer(*initargs)
    pipe.send(True)
    while True:
        try:
            task, function, args = pipe.recv()
        except EOFError:
            return
        pipe.send((task, *_outcome(function, args)))


def _outcome(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[bool, Any, bool]:
    """Whether it went well, its result or error, and whether the child must end."""
    try:
        result = function(*args)
        return (True, result.result, True) if isinstance(result, Last) else (True, result, False)
    except HeadraceError as error:
        return False, error, False
    except Spoiled as error:
        return False, _traced(error.args[0]), True
    except Exception as error:
        return False, _traced(error), False


def _traced(error: Exception) -> Exception:
    if not isinstance(error, HeadraceError):
        error.add_note(traceback.format_exc())  # the only part of a traceback that a pipe carries
    return error
