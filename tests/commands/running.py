"""``headrace`` as a person types it, in this process: a new one for each of hundreds of calls costs minutes.

What belongs to the process itself (signals, pipes, a terminal) is tested with real ones, by ``started``.
"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from headrace.cli import app


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def headrace(*words: str, stdin: bytes = b"") -> Ended:
    """Runs a command to its end. Neither of its outputs is a terminal."""
    out, err, source = (io.TextIOWrapper(io.BytesIO(data), encoding="utf-8") for data in (b"", b"", stdin))
    umask = os.umask(0o022)
    argv, stdin_before = patch.object(sys, "argv", ["headrace", *words]), patch.object(sys, "stdin", source)
    try:
        with argv, stdin_before, redirect_stdout(out), redirect_stderr(err):
            code = _run(words)
    finally:
        os.umask(umask)
    return Ended(code, _text(out), _text(err))


def _run(words: tuple[str, ...]) -> int:
    try:
        app(list(words), prog_name="headrace")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()


def done(*words: str, stdin: bytes = b"", code: int = 0) -> Ended:
    """The same; it must end with this code, and what goes wrong must be told in words."""
    ended = headrace(*words, stdin=stdin)
    assert ended.code == code, f"{words} ended with {ended.code}:\n{ended.out}\n{ended.err}"
    assert "Traceback" not in ended.err
    return ended


def started(*words: str, **options: Any) -> subprocess.Popen[bytes]:
    """A process of its own."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([sys.executable, "-m", "headrace", *words], **options)


def cells(text: str) -> list[list[str]]:
    """The rows of a CSV."""
    return list(csv.reader(io.StringIO(text)))


def next_of(ended: Ended) -> str:
    """The command that the failure told to go on with."""
    return ended.err.rstrip().splitlines()[-1].removeprefix("Next: headrace ")
