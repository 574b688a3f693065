"""How a command ends: its exit code, what it says when it fails, and the command to go on with."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from json import JSONDecodeError
from typing import Any, NoReturn

from typer.core import TyperGroup

from headrace.commands.output import plain
from headrace.errors import (
    HeadraceError,
    LoadFailed,
    NotFound,
    RowsRejected,
    Unauthorized,
)


class Code(IntEnum):
    """The exit codes of all commands."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REJECTS = 3  # done, but some rows were rejected
    INTERRUPTED = 130
    CLOSED = 141  # who reads our output has gone


class Stop(Exception):
    """The command cannot go on. ``then`` is the command that helps, as a person would type it."""

    def __init__(self, message: str, *, code: Code = Code.FAILED, then: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.then = then


class Commands(TyperGroup):
    """The group of all commands. Whatever goes wrong in one of them is told here, in words."""

    def invoke(self, ctx: Any) -> Any:
        with told():
            return super().invoke(ctx)


@contextmanager
def told() -> Iterator[None]:
    """Ends the process with a sentence and a code where a traceback would stand."""
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        _end(Code.INTERRUPTED, "interrupted.", this_command())
    except BrokenPipeError:
        _close_quietly()
    except Stop as stop:
        _end(stop.code, stop.message, stop.then)
    except Exception as error:
        if (code := _code_of(error)) is None:
            raise
        _end(code, _sentence(error), next_command(error))


def _code_of(error: Exception) -> Code | None:
    """None: a fault of ours, whose traceback says more than a sentence."""
    from headrace.client.calls import Lost  # noqa: PLC0415  slow to import
    from headrace.client.profiles import NoProfile  # noqa: PLC0415

    if isinstance(error, NoProfile):
        return Code.USAGE
    if isinstance(error, HeadraceError | Lost | OSError | JSONDecodeError) or _is_of_httpx(error):
        return Code.FAILED
    return None


def _is_of_httpx(error: Exception) -> bool:
    import httpx  # noqa: PLC0415

    return isinstance(error, httpx.HTTPError | httpx.InvalidURL)


def _sentence(error: Exception) -> str:
    if isinstance(error, LoadFailed):
        return "\n".join(["the job ended in ERROR:", *(f"  {line}" for line in error.logs)])
    if isinstance(error, HeadraceError):
        return error.message + (f" Likely: {error.hint}." if error.hint else "")
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}."
    if isinstance(error, JSONDecodeError):
        return "what answers is no Headrace server: look at the URL."
    if _is_of_httpx(error):
        return f"the server cannot be reached: {error or type(error).__name__}"
    return str(error)


def next_command(error: Exception) -> str | None:
    """What to type now, for errors that have one answer."""
    from headrace.client.calls import Lost  # noqa: PLC0415
    from headrace.client.profiles import NoProfile  # noqa: PLC0415

    if isinstance(error, LoadFailed):
        return _look_at(error)
    if isinstance(error, NotFound):
        return _list_of(error.message)
    if isinstance(error, NoProfile | Unauthorized):
        return "headrace login <URL of the server>"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "headrace login <URL of the server> --certificate <its tls-cert.pem>"
    passes = (
        error.retry if isinstance(error, HeadraceError) else isinstance(error, Lost) or _is_of_httpx(error)
    )
    return this_command() if passes else None


def _look_at(error: LoadFailed) -> str | None:
    if error.job_id is None:
        return None
    if isinstance(error, RowsRejected):
        return rejects_of(error.job_id)
    return f"headrace jobs show {error.job_id}{_pool()}"


def rejects_of(job_id: str) -> str:
    """The command that shows them."""
    return f"headrace rejects show {job_id}{_pool()}"


def _list_of(message: str) -> str | None:
    """Where the names stand of which one was not found."""
    for word in ("pool", "job", "table"):
        if f" {word} " in message or f" {word}s " in message:
            return f"headrace {word}s ls{'' if word == 'pool' else _pool()}"
    return None


def this_command() -> str:
    """The command that runs, to be typed again. No secret is ever an argument."""
    return shlex.join(["headrace", *sys.argv[1:]])


def _pool() -> str:
    """The options of this command that say which server and which pool."""
    words = sys.argv[1:]
    said = ""
    for option in ("--pool", "--profile"):
        for at, word in enumerate(words):
            if word == option and at + 1 < len(words):
                said += f" {option} {shlex.quote(words[at + 1])}"
            elif word.startswith(f"{option}="):
                said += f" {option} {shlex.quote(word.partition('=')[2])}"
    return said


def warn(message: str, then: str | None = None) -> None:
    """To stderr: what is asked for stands on stdout alone."""
    for line in f"headrace: {message}".splitlines():
        print(plain(line), file=sys.stderr)
    if then:
        print(f"Next: {then}", file=sys.stderr)


def _end(code: Code, message: str, then: str | None) -> NoReturn:
    warn(message, then)
    raise SystemExit(code)


def _close_quietly() -> NoReturn:
    """The interpreter would try to write the rest once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(Code.CLOSED)


def rejected(job_id: str, rows: int) -> NoReturn:
    """The end of a job that is DONE, though not with all of its rows."""
    warn(f"rejected rows: {rows}.", rejects_of(job_id))
    raise SystemExit(Code.REJECTS)
