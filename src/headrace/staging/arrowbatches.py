"""Rows of Arrow as a plain Parquet file for the engine, which has no reader for all of its types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headrace.errors import ChunkFailed
from headrace.staging.engine import first_line

_ROWS_A_GROUP = 100_000
_ROWS_A_BATCH = 20_000


def write_batches(schema: Any, batches: Any, path: Path) -> None:
    """Batch by batch, so that memory stays bounded."""
    import pyarrow as pa  # noqa: PLC0415  36 MB, and most children never need it
    import pyarrow.parquet as pq  # noqa: PLC0415

    plain = plain_schema(schema)
    options: dict[str, Any] = {"compression": "lz4", "use_dictionary": False, "write_statistics": False}
    with pq.ParquetWriter(path, plain, **options) as out:
        for batch in batches:
            batch.validate(full=True)  # what does not hold together must not be read
            out.write_table(_as_plain(pa.Table.from_batches([batch]), plain), row_group_size=_ROWS_A_GROUP)


def rewrite_parquet(source: Path, path: Path) -> None:
    """The same rows, by Arrow's reader and without any rare encoding. Raises ChunkFailed."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(source) as file:
            batches = file.iter_batches(batch_size=_ROWS_A_BATCH, use_threads=False)
            write_batches(file.schema_arrow, batches, path)
    except pa.ArrowMemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ChunkFailed(f"The Parquet file cannot be read: {first_line(error)}") from error


def plain_schema(schema: Any) -> Any:
    """The types without the way in which their values are packed."""
    import pyarrow as pa  # noqa: PLC0415

    return pa.schema(
        [
            field.with_type(field.type.value_type) if pa.types.is_run_end_encoded(field.type) else field
            for field in schema
        ]
    )


def _as_plain(table: Any, schema: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow.compute import call_function  # noqa: PLC0415

    columns = [
        call_function("run_end_decode", [column]) if pa.types.is_run_end_encoded(column.type) else column
        for column in table.columns
    ]
    return pa.Table.from_arrays(columns, schema=schema)
