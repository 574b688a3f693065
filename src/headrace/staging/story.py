"""In the child: the story of one chunk, from raw bytes to checked, typed Parquet."""

from __future__ import annotations

import duckdb

from headrace.durable import sync
from headrace.errors import ChunkFailed, ChunkUnreadable
from headrace.model import FileType, StageReport
from headrace.staging.arrowfiles import stage_arrow
from headrace.staging.csvfiles import stage_csv
from headrace.staging.engine import first_line, renew_if_bloated
from headrace.staging.ndjsonfiles import stage_ndjson
from headrace.staging.parquetfiles import stage_parquet
from headrace.staging.tasks import StageTask, scratch_files

_STAGE = {
    FileType.CSV: stage_csv,
    FileType.PARQUET: stage_parquet,
    FileType.NDJSON: stage_ndjson,
    FileType.ARROW: stage_arrow,
}


def stage(task: StageTask) -> StageReport:
    """Stage one chunk; the target appears whole or not at all. Raises ChunkFailed."""
    with scratch_files(task.target) as scratch:
        try:
            report = _STAGE[task.file_type](task, scratch)
        except ChunkUnreadable as error:
            raise ChunkFailed(error.message) from error
        except duckdb.Error as error:
            raise ChunkFailed(first_line(error)) from error
        finally:
            renew_if_bloated()
        scratch.staged.rename(task.target)
        if scratch.rejects.exists():
            task.rejects.parent.mkdir(parents=True, exist_ok=True)
            scratch.rejects.rename(task.rejects)
            sync(task.rejects.parent)
        else:
            task.rejects.unlink(missing_ok=True)  # of an earlier try
        return report
