"""Rows that a person has in memory: frames, tables, relations, iterators of them.

They become Parquet by way of Arrow, in steps of bounded size. Files are sent as they are (``files.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

ROWS_A_STEP = 100_000


class UnknownData(TypeError):
    """The data is nothing that can be pushed."""


def batches_of(data: Any) -> Iterator[pa.Table]:
    """The data as Arrow tables of at most ROWS_A_STEP rows. Raises UnknownData."""
    if isinstance(data, pa.RecordBatchReader):
        yield from _steps_of_reader(data)
    elif isinstance(data, pa.Table | pa.RecordBatch):
        table = data if isinstance(data, pa.Table) else pa.Table.from_batches([data])
        yield from (table.slice(at, ROWS_A_STEP) for at in _starts(table.num_rows))
    elif _is_of(data, "pandas", "DataFrame"):
        yield from (_from_pandas(data.iloc[at : at + ROWS_A_STEP]) for at in _starts(len(data)))
    elif _is_of(data, "polars", "LazyFrame"):
        yield from batches_of(data.collect())
    elif _is_of(data, "polars", "DataFrame"):
        yield from (data.slice(at, ROWS_A_STEP).to_arrow() for at in _starts(data.height))
    elif hasattr(data, "fetch_arrow_reader") or hasattr(data, "to_arrow_reader"):  # a relation of DuckDB
        yield from _steps_of_reader(_reader_of(data))
    elif isinstance(data, Iterable) and not isinstance(data, str | bytes | dict):
        for part in data:
            yield from batches_of(part)
    else:
        raise UnknownData(
            f"{type(data).__name__} cannot be pushed: give a path, a pandas, polars or pyarrow table, "
            "a relation of DuckDB, or an iterator of these."
        )


def is_rereadable(data: Any) -> bool:
    """Whether the data can be read twice: an iterator cannot."""
    return not isinstance(data, Iterator | pa.RecordBatchReader)


def _starts(rows: int) -> range:
    return range(0, rows, ROWS_A_STEP) if rows else range(1)  # no rows are a table, too


def _steps_of_reader(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    any_rows = False
    for batch in reader:
        any_rows = True
        yield from batches_of(pa.Table.from_batches([batch], reader.schema))
    if not any_rows:
        yield reader.schema.empty_table()


def _reader_of(relation: Any) -> Any:
    read = relation.to_arrow_reader if hasattr(relation, "to_arrow_reader") else relation.fetch_arrow_reader
    return read(ROWS_A_STEP)


def _from_pandas(frame: Any) -> pa.Table:
    return pa.Table.from_pandas(frame, preserve_index=False)


def _is_of(data: Any, library: str, name: str) -> bool:
    """Without importing a library that may not be there."""
    return any(c.__module__.partition(".")[0] == library and c.__name__ == name for c in type(data).__mro__)
