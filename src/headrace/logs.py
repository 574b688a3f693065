"""The log: how a line looks, and which of the things worth telling become one.

Lines go to stderr, as JSON or as text for people. Each has its moment, its level and what happened; what is
known of it, too: ``request`` (the id that its answer has as X-Request-Id), ``pool``, ``job``, ``chunk``. No
line has a secret: headers, bodies and queries are never told, and neither are values of rows.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog

from headrace.observing import (
    Answered,
    Ended,
    LeaseLost,
    Maintained,
    NotStaged,
    Observation,
    Postponed,
    Received,
    Recovered,
    Staged,
    Undone,
)
from headrace.settings import LogFormat, LogLevel

Line = MutableMapping[str, Any]
Fields = Mapping[str, Any]

log = structlog.get_logger()


def configure(format: LogFormat, level: LogLevel) -> None:
    """For the whole process, before the first line."""
    as_json = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            as_json if format is LogFormat.JSON else _as_text,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_NUMBERS[level]),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Stderr())),
    )


_NUMBERS = {level: logging.getLevelNamesMapping()[level.upper()] for level in LogLevel}


class _Stderr:
    """Where the log goes. That it cannot be written, on a full disk say, must not stop the work."""

    def write(self, text: str) -> None:
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()


# -- text ----------------------------------------------------------------------------------------------


def _as_text(_logger: object, _method: str, line: Line) -> str:
    """One line, and the traceback below it; what a client sent can neither end it nor steer a terminal."""
    at, level, event = line.pop("timestamp"), line.pop("level"), str(line.pop("event"))
    trace = line.pop("exception", "")
    told = [f"{name}={_shown(str(value))}" for name, value in line.items() if value is not None]
    first = " ".join([at, f"{level:<7}", _printable(event), *told])
    return "\n".join([first, *(f"    {_printable(row)}" for row in trace.splitlines())])


def _shown(value: str) -> str:
    plain = value and value.isprintable() and not set(value) & set(' "=')
    return value if plain else json.dumps(value, ensure_ascii=not value.isprintable())


def _printable(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)[1:-1]


# -- what becomes of an observation --------------------------------------------------------------------


class Logbook:
    """Listens, and writes down what its table says, from a level on."""

    def __init__(self, level: LogLevel) -> None:
        self._least = _NUMBERS[level]

    def observe(self, seen: Observation) -> None:
        level, event, fields = LINES[type(seen)]
        number = _NUMBERS[level]
        if number >= self._least:
            log.log(number, event, **fields(seen))


def _of_request(seen: Answered) -> Fields:
    return {
        "method": seen.method,
        "route": seen.route or None,
        "status": seen.status,
        "seconds": round(seen.seconds, 6),
        "pool": seen.pool_id,
        "job": seen.job_id,
        "key": seen.key_id,
    }


def _of_chunk(seen: Received | Staged | NotStaged) -> Fields:
    chunk = seen.chunk
    return {"pool": chunk.pool_id, "job": chunk.job_id, "chunk": chunk.id, "bytes": chunk.bytes}


def _of_staged(seen: Staged) -> Fields:
    rows = {"rows": seen.report.rows, "rejected": seen.report.rejected}
    return {**_of_chunk(seen), **rows, "seconds": round(seen.seconds, 3)}


def _of_job(seen: LeaseLost | Postponed) -> Fields:
    return {"pool": seen.job.pool_id, "job": seen.job.id}


def _of_end(seen: Ended) -> Fields:
    job, counts = seen.job, {name: rows for name, rows in vars(seen.counts).items() if rows}
    return {
        "pool": job.pool_id,
        "job": job.id,
        "status": seen.status,
        "code": seen.error_code,
        "type": job.spec.type,
        "tables": [target.name for target in job.spec.targets],
        **counts,
        "seconds": round(seen.seconds, 3),
        "phases": {phase.name: round(phase.seconds, 3) for phase in seen.phases},
    }


LINES: dict[type[Observation], tuple[LogLevel, str, Callable[[Any], Fields]]] = {
    Answered: (LogLevel.DEBUG, "a request was answered", _of_request),
    Received: (LogLevel.DEBUG, "a chunk was received", _of_chunk),
    Staged: (LogLevel.DEBUG, "a chunk was staged", _of_staged),
    NotStaged: (LogLevel.INFO, "a chunk cannot be read", _of_chunk),
    Ended: (LogLevel.INFO, "a job has ended", _of_end),
    Undone: (LogLevel.INFO, "a job was undone", lambda seen: {"pool": seen.pool_id, "job": seen.job_id}),
    LeaseLost: (LogLevel.WARNING, "another worker has taken the job over", _of_job),
    Postponed: (LogLevel.WARNING, "the pool's catalog is held by another process; the job waits", _of_job),
    Maintained: (
        LogLevel.INFO,
        "a table was looked after",
        lambda seen: {
            "pool": seen.pool_id,
            "table": seen.ref.name,
            "seconds": round(seen.seconds, 3),
        },
    ),
    Recovered: (
        LogLevel.INFO,
        "recovered",
        lambda seen: {"jobs_loaded_again": seen.jobs, "chunks_staged_again": seen.chunks},
    ),
}
"""From which level on each is written down, in which words, with what."""
