"""In the child: the story of one chunk, from raw bytes to checked, typed Parquet."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import duckdb

from headrace.children import Last, Spoiled
from headrace.durable import checksum, sha256_of, sync
from headrace.errors import ChunkFailed, ChunkUnreadable
from headrace.model import FileType, StageReport
from headrace.staging.arrowfiles import stage_arrow
from headrace.staging.csvfiles import stage_csv
from headrace.staging.engine import first_line, worn_out
from headrace.staging.ndjsonfiles import stage_ndjson
from headrace.staging.parquetfiles import stage_parquet
from headrace.staging.tasks import Scratch, StageTask, scratch_files

_STAGE = {
    FileType.CSV: stage_csv,
    FileType.PARQUET: stage_parquet,
    FileType.NDJSON: stage_ndjson,
    FileType.ARROW: stage_arrow,
}


_FRESH_SECONDS = 60
"""Bytes that came less long ago are in memory still, and a tenth of the time of staging is saved."""


def stage_in_child(task: StageTask) -> StageReport | Last[StageReport]:
    """``stage`` by a child that ends if the next chunk could suffer from this one.

    Raises ChunkFailed when the chunk is at fault, OSError when the disk is, MemoryError for want of memory.
    """
    try:
        report = stage(task)
    except ChunkFailed as error:
        if worn_out():
            raise Spoiled(error) from error
        raise
    except OSError:
        raise
    except (duckdb.OutOfMemoryException, MemoryError) as error:
        raise Spoiled(MemoryError()) from error
    except Exception as error:  # nobody foresaw it: who knows what it has left behind
        raise Spoiled(error) from error
    return Last(report) if worn_out() else report


def stage(task: StageTask) -> StageReport:
    """Stage one chunk; the target appears whole or not at all. Raises ChunkFailed for its faults."""
    if task.sha256 and not _is_fresh(task.source):
        _refuse_other_bytes(task.source, task.sha256)
    with scratch_files(task.target) as scratch:
        report = replace(_written(task, scratch), checksum=checksum(scratch.staged))
        scratch.staged.rename(task.target)
        if scratch.rejects.exists():
            task.rejects.parent.mkdir(parents=True, exist_ok=True)
            scratch.rejects.rename(task.rejects)
            for folder in (task.rejects.parent, task.rejects.parent.parent):
                sync(folder)
        else:
            task.rejects.unlink(missing_ok=True)  # of an earlier try
        return report


def _is_fresh(path: Path) -> bool:
    return 0 <= time.time() - path.stat().st_mtime < _FRESH_SECONDS


def _refuse_other_bytes(path: Path, sha256: str) -> None:
    if sha256_of(path) != sha256:
        raise ChunkFailed("Its bytes are no longer those that came: the disk has changed them.")


def _written(task: StageTask, scratch: Scratch) -> StageReport:
    try:
        return _STAGE[task.file_type](task, scratch)
    except ChunkUnreadable as error:
        raise ChunkFailed(error.message) from error
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        raise ChunkFailed(first_line(error)) from error
