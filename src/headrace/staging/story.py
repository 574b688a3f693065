"""In the child: the story of one chunk, from raw bytes to checked, typed Parquet."""

from __future__ import annotations

import duckdb

from headrace.durable import sync
from headrace.errors import ChunkFailed
from headrace.model import FileType, StageReport
from headrace.staging.csvfiles import stage_csv
from headrace.staging.engine import first_line, renew_if_bloated
from headrace.staging.parquetfiles import stage_parquet
from headrace.staging.tasks import StageTask, scratch_files


def stage(task: StageTask) -> StageReport:
    """Stage one chunk; the target appears whole or not at all. Raises ChunkFailed."""
    with scratch_files(task.target) as scratch:
        try:
            report = (
                stage_csv(task, scratch) if task.file_type is FileType.CSV else stage_parquet(task, scratch)
            )
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
