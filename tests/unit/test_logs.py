"""A line of the log: what becomes one, how it looks, and that nobody can write into it what is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args

import pytest
import structlog
from structlog.testing import capture_logs

from headrace.logs import LINES, Logbook, configure
from headrace.model import (
    Chunk,
    ChunkType,
    Counts,
    FileType,
    Job,
    JobStatus,
    PushSpec,
    RejectCount,
    StageReport,
    TableRef,
    now,
)
from headrace.observing import (
    Answered,
    Ended,
    LeaseLost,
    Maintained,
    NotStaged,
    Observation,
    Phase,
    Recovered,
    Staged,
    Undone,
)
from headrace.settings import LogFormat, LogLevel

AT = now()
JOB = Job("j", "p", PushSpec("orders"), JobStatus.RUNNING, AT, AT)
CHUNK = Chunk("c", "j", "p", 1, ChunkType.UPSERT, 70, "", FileType.CSV, AT)
ENDED = Ended(
    JOB,
    JobStatus.DONE,
    AT + timedelta(seconds=3),
    2.00049,
    Counts(rows_in=9, inserted=9),
    (RejectCount("a-code", "a", 1),),
    [Phase("commit", 1.0, 0.5)],
    None,
)


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def told(seen: Observation, level: LogLevel = LogLevel.DEBUG) -> list[Any]:
    with capture_logs() as lines:
        Logbook(level).observe(seen)
    return lines


def test_everything_worth_telling_has_its_line() -> None:
    assert set(LINES) == set(get_args(Observation))


def test_what_a_line_says() -> None:
    [line] = told(replace(ENDED, status=JobStatus.ERROR, error_code="rows-rejected"))
    assert line == {
        "log_level": "info",
        "event": "a job has ended",
        "pool": "p",
        "job": "j",
        "status": "ERROR",
        "code": "rows-rejected",
        "type": "REPLACE",
        "tables": ["orders"],
        "rows_in": 9,
        "inserted": 9,
        "seconds": 2.0,
        "phases": {"commit": 0.5},
    }
    [line] = told(Answered("GET", "", 404, 0.1234567, "p", "j", "k"))
    assert (line["pool"], line["job"], line["key"], line["seconds"]) == ("p", "j", "k", 0.123457)
    [line] = told(Staged(CHUNK, StageReport(5, 1, ()), 0.3))
    assert (line["chunk"], line["job"], line["rows"], line["rejected"]) == ("c", "j", 5, 1)
    [line] = told(NotStaged(CHUNK, "a value of a row", 0.3))
    assert (line["chunk"], "a value of a row" in str(line)) == ("c", False)


@pytest.mark.parametrize(
    ("level", "events"),
    [
        (LogLevel.DEBUG, 6),
        (LogLevel.INFO, 5),
        (LogLevel.WARNING, 1),
        (LogLevel.ERROR, 0),
    ],
)
def test_lines_begin_at_a_level(level: LogLevel, events: int) -> None:
    seen: list[Observation] = [
        Answered("GET", "/healthz", 200, 0.1),
        ENDED,
        Undone("p", "j"),
        Maintained("p", TableRef("t"), 1.0),
        Recovered(1, 2),
        LeaseLost(JOB),
    ]
    assert sum(len(told(one, level)) for one in seen) == events


# -- how it looks --------------------------------------------------------------------------------------


def test_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogFormat.JSON, LogLevel.INFO)
    log = structlog.get_logger()
    structlog.contextvars.bind_contextvars(request="an-id")
    log.debug("too quiet")
    log.info("an event\nwith a line", job="j")
    [line] = capsys.readouterr().err.splitlines()
    read = json.loads(line)
    assert read.pop("timestamp").endswith("Z")
    assert read == {"event": "an event\nwith a line", "job": "j", "level": "info", "request": "an-id"}


def test_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogFormat.TEXT, LogLevel.WARNING)
    log = structlog.get_logger()
    log.info("too quiet")
    log.warning("an event", job="j", table="a table", path="é=", empty="", code=None)
    [line] = capsys.readouterr().err.splitlines()
    assert line.partition(" ")[2] == 'warning an event job=j table="a table" path="é=" empty=""'


@pytest.mark.parametrize("harm", ["a\nline", "a\rline", "\x1b[2J", "\x9b2J", "\u2028", "\x00", "\u202e"])
def test_nobody_writes_lines_of_his_own(harm: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogFormat.TEXT, LogLevel.INFO)
    log = structlog.get_logger()
    log.info(f"event {harm}", table=harm)
    try:
        raise ValueError(harm)
    except ValueError:
        log.exception("a fault")
    written = capsys.readouterr().err
    first, second, *trace = written.split("\n")
    assert first.split(" ", 1)[1].startswith("info    event ")
    assert second.endswith("error   a fault")
    assert all(not row or row.startswith("    ") for row in trace)
    assert "".join(written.split("\n")).isprintable()
