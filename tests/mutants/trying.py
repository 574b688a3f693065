"""Mutants, tried: tests are collected once, with the module that has all of them; each try is a fork."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from types import ModuleType

import pytest
from _pytest.main import pytest_runtestloop
from mutmut.mutation.trampoline import set_mutant_under_test

from mutants.making import Mutated

_LOOK_S = 0.01
_WITHOUT = 10
"""The tests without a mutant may take so many times as long as with one."""

_OPTIONS = ("-x", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "not postgresql")
"""PostgreSQL is left out: its start costs more than all the rest."""


def survivors_of(module: str, of: Mutated, tests: Sequence[str], seconds: float) -> list[str]:
    """The mutants with which none of the tests fails, nor takes longer than so many seconds."""
    trial = _Trial(_Changed(module, of.source), list(of.changes), seconds)
    if pytest.main([*_OPTIONS, *tests], plugins=[trial]) != 0:
        sys.exit(f"The tests of {module} fail without any mutant.")
    return trial.survivors


def passes_alone(module: str, of: Mutated, tests: Sequence[str], name: str) -> bool:
    """With a mutant that is there from the start, as those must be that are called by an import."""
    set_mutant_under_test(f"{module}.{name}")
    return pytest.main([*_OPTIONS, *tests], plugins=[_Alone(_Changed(module, of.source))]) == 0


class _Alone:
    """A plugin of pytest that puts the module in its place."""

    def __init__(self, changed: _Changed) -> None:
        self._changed = changed

    def pytest_sessionstart(self) -> None:
        """Now: before that, pytest would come first, and look for asserts in the module itself."""
        assert self._changed.module not in sys.modules, "it would not be the mutant"
        sys.meta_path.insert(0, self._changed)


class _Trial(_Alone):
    """A plugin of pytest that runs the tests again and again, each time in a process of its own."""

    def __init__(self, changed: _Changed, names: Sequence[str], seconds: float) -> None:
        super().__init__(changed)
        self._names = names
        self._seconds = seconds
        self.survivors: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if not self._passes(session, "", _WITHOUT * self._seconds):
            raise session.Failed("without a mutant")
        for name in self._names:
            if self._passes(session, f"{self._changed.module}.{name}", self._seconds):
                self.survivors.append(name)
        return True

    def _passes(self, session: pytest.Session, mutant: str, seconds: float) -> bool:
        child = os.fork()
        if child == 0:
            os.setsid()  # what the tests start goes with them
            _be_silent()
            set_mutant_under_test(mutant)
            os._exit(_code_of(session))
        return _awaited(child, seconds) == 0


def _be_silent() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


def _code_of(session: pytest.Session) -> int:
    try:
        pytest_runtestloop(session)
    except BaseException:
        return 1
    return 1 if session.testsfailed else 0


def _awaited(child: int, seconds: float) -> int:
    for _ in _until(seconds):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGKILL


def _until(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(_LOOK_S)


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):
    """Finds one module, with another source."""

    def __init__(self, module: str, source: str) -> None:
        self.module = module
        self._source = source
        self._path = ""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self.module:
            return None
        found = importlib.machinery.PathFinder.find_spec(name, path, target)
        assert found is not None
        assert found.origin is not None
        self._path = found.origin
        return importlib.machinery.ModuleSpec(name, self, origin=found.origin)

    def get_filename(self, fullname: str) -> str:
        return self._path

    def get_data(self, path: str) -> bytes:
        return self._source.encode()

    def path_stats(self, path: str) -> dict[str, float]:
        raise OSError  # nothing of it is cached
