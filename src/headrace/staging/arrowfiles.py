"""Staging Arrow IPC, a stream or a file: batch by batch to Parquet, and on as that, by the same rules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from headrace.errors import ChunkUnreadable
from headrace.model import StageReport
from headrace.staging.arrowbatches import plain_schema, write_batches
from headrace.staging.engine import first_line
from headrace.staging.parquetfiles import stage_parquet
from headrace.staging.tasks import Scratch, StageTask

_FILE_MAGIC = b"ARROW1"


def stage_arrow(task: StageTask, scratch: Scratch) -> StageReport:
    with _opened(task.source) as batches:
        write_batches(batches.schema, batches, scratch.records)
    return stage_parquet(replace(task, source=scratch.records), scratch)


def arrow_columns(path: Path) -> list[str]:
    """The names as the file has them. Raises ChunkUnreadable, also for a type that no Parquet file takes."""
    with _opened(path) as batches:
        _refuse_types(batches.schema)
        return [name or f"column_{number}" for number, name in enumerate(batches.schema.names, 1)]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Its batches as a reader. Whatever Arrow finds wrong in here is the chunk's fault."""
    import pyarrow as pa  # noqa: PLC0415  36 MB, and most children never need it
    from pyarrow import ipc  # noqa: PLC0415

    try:
        with pa.memory_map(str(path)) as source:
            if source.read(len(_FILE_MAGIC)) == _FILE_MAGIC:
                file = ipc.open_file(source)
                batches = (file.get_batch(n) for n in range(file.num_record_batches))
                yield pa.RecordBatchReader.from_batches(file.schema, batches)
            else:
                source.seek(0)
                yield ipc.open_stream(source)
    except pa.ArrowMemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ChunkUnreadable(f"The Arrow data cannot be read: {first_line(error)}") from error


def _refuse_types(schema: Any) -> None:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    for field in schema:
        plain = plain_schema([field])
        try:
            pq.ParquetWriter(pa.BufferOutputStream(), plain).close()
        except (pa.ArrowException, ValueError) as error:
            raise ChunkUnreadable(
                f"The column {field.name} has the Arrow type {field.type}, which no table can store."
            ) from error
