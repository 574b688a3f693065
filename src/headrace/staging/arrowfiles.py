"""Staging Arrow IPC, a stream or a file: batch by batch to Parquet, and on as that, by the same rules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from headrace.errors import ChunkFailed, ChunkUnreadable
from headrace.model import StageReport
from headrace.staging.engine import first_line
from headrace.staging.parquetfiles import stage_parquet
from headrace.staging.tasks import Scratch, StageTask

_FILE_MAGIC = b"ARROW1"
_ROWS_A_GROUP = 100_000


def stage_arrow(task: StageTask, scratch: Scratch) -> StageReport:
    try:
        with _opened(task.source) as batches:
            write_batches(batches.schema, batches, scratch.records)
    except ChunkUnreadable as error:
        raise ChunkFailed(error.message) from error
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


def write_batches(schema: Any, batches: Any, path: Path) -> None:
    """Rows of Arrow as a Parquet file for the engine, which has no reader for all of its types."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    plain = pa.schema([field.with_type(_plain(field.type)) for field in schema])
    with pq.ParquetWriter(
        path, plain, compression="lz4", use_dictionary=False, write_statistics=False
    ) as out:
        for batch in batches:
            batch.validate(full=True)  # what does not hold together must not be read
            out.write_table(_as_plain(pa.Table.from_batches([batch]), plain), row_group_size=_ROWS_A_GROUP)


def _plain(type: Any) -> Any:
    """The type without the way in which its values are packed."""
    import pyarrow as pa  # noqa: PLC0415

    return type.value_type if pa.types.is_run_end_encoded(type) else type


def _as_plain(table: Any, schema: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow.compute import call_function  # noqa: PLC0415

    columns = [
        call_function("run_end_decode", [column]) if pa.types.is_run_end_encoded(column.type) else column
        for column in table.columns
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _refuse_types(schema: Any) -> None:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    for field in schema:
        plain = pa.schema([field.with_type(_plain(field.type))])
        try:
            pq.ParquetWriter(pa.BufferOutputStream(), plain).close()
        except (pa.ArrowException, ValueError) as error:
            raise ChunkUnreadable(
                f"The column {field.name} has the Arrow type {field.type}, which no table can store."
            ) from error
