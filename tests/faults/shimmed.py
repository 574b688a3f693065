"""Servers whose system calls fail, and whose clock jumps, when a test says so (shim.c)."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO

import pytest

from harness import RunningServer

SOURCE = Path(__file__).with_name("shim.c")

needs_a_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")


class Shimmed(RunningServer):
    """The shim stands between the system and the server, and all of its children that are not confined."""

    @property
    def control(self) -> Path:
        return self.data_dir.parent / f"{self.data_dir.name}.shim"

    @property
    def failed(self) -> list[str]:
        """``CALL PATH`` of each call that has failed since the server began."""
        told = self.control.with_name(f"{self.control.name}.failed")
        return told.read_text().splitlines() if told.exists() else []

    @contextmanager
    def failing(self, call: str, pattern: str, number: int = errno.EIO) -> Iterator[None]:
        """Meanwhile ``fsync`` or ``write`` of paths below the data folder that match fails."""
        self.say(f"fail {call} {number} {self.data_dir}/{pattern}")
        try:
            yield
        finally:
            self.say()

    def jump(self, by: timedelta) -> None:
        """The clock shows so much more than the system's, or less."""
        self.say(f"clock {by.total_seconds():.0f}")

    def say(self, *lines: str) -> None:
        whole = self.control.with_suffix(".new")
        whole.write_text("".join(f"{line}\n" for line in lines))
        whole.replace(self.control)

    def _launch(self, arguments: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        library = self.data_dir.parent / "shim.so"
        if not library.exists():
            command = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(library), str(SOURCE)]
            subprocess.run([*command, "-ldl"], check=True)
            self.say()
        self.env |= {"LD_PRELOAD": str(library), "HEADRACE_SHIM": str(self.control)}
        command = [self.python, "-m", "headrace", *arguments]
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **self.env})
