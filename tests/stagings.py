"""Staging of one chunk in this process, by an engine like that of a child."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb

from headrace.model import Column, CsvOptions, FileType, StageReport, fold
from headrace.staging import StageTask, story, writing
from headrace.staging import engine as child

READER = duckdb.connect(config={"threads": "1", "enable_external_file_cache": "false"})
READER.execute("SET TimeZone = 'UTC'")


@dataclass
class Staged:
    report: StageReport
    rows: list[tuple[Any, ...]]
    rejects: list[dict[str, Any]]

    @property
    def types(self) -> dict[str, str]:
        return {c.name: str(c.type) for c in self.report.columns}


@contextmanager
def staging_engine() -> Iterator[None]:
    with patch.object(child, "_memory_mb", 1024), patch.object(child, "_engine", None):
        child._new_engine()
        yield


def stage_task(folder: Path, kind: FileType, data: bytes, *wanted: Column, **more: Any) -> StageTask:
    source = folder / "chunk"
    source.write_bytes(data)
    return StageTask(
        source=source,
        target=folder / "staging" / "chunk.parquet",
        rejects=folder / "chunk.rejects.ndjson",
        file_type=kind,
        csv=more.pop("csv", CsvOptions()),
        wanted={fold(c.name): c for c in wanted},
        fixed=frozenset(),
        keys=frozenset(more.pop("keys", ())),
        string_length=more.pop("string_length", None),
    )


def stage(folder: Path, kind: FileType, data: bytes, *wanted: Column, **more: Any) -> Staged:
    """Staged twice, once by force on the careful way: there must be no difference."""
    usual = _staged(stage_task(folder, kind, data, *wanted, **more))
    with patch.object(writing, "_straight", lambda *_: None):
        careful = _staged(stage_task(folder, kind, data, *wanted, **more))
    assert repr(careful) == repr(usual)
    return usual


def _staged(task: StageTask) -> Staged:
    report = story.stage(task)
    assert [p.name for p in task.target.parent.iterdir()] == [task.target.name], "a scratch file is left"
    rows = READER.execute(f"FROM read_parquet('{task.target}', hive_partitioning = false)").fetchall()
    lines = task.rejects.read_bytes().splitlines() if task.rejects.exists() else []
    assert (report.rows, report.rejected) == (len(rows), len(lines))
    return Staged(report, rows, [json.loads(line) for line in lines])
