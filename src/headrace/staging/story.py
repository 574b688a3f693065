"""In the child: the story of one chunk, from raw bytes to checked, typed Parquet."""

from __future__ import annotations

import duckdb

from headrace.children import Last, Spoiled
from headrace.durable import sync
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
    with scratch_files(task.target) as scratch:
        report = _written(task, scratch)
        scratch.staged.rename(task.target)
        if scratch.rejects.exists():
            task.rejects.parent.mkdir(parents=True, exist_ok=True)
            scratch.rejects.rename(task.rejects)
            sync(task.rejects.parent)
        else:
            task.rejects.unlink(missing_ok=True)  # of an earlier try
        return report


def _written(task: StageTask, scratch: Scratch) -> StageReport:
    try:
        return _STAGE[task.file_type](task, scratch)
    except ChunkUnreadable as error:
        raise ChunkFailed(error.message) from error
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        raise ChunkFailed(first_line(error)) from error
