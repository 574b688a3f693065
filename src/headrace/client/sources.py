"""Whatever a person has: files, frames, tables, relations, iterators of them. As parts of a push.

A CSV or Parquet file is sent as it is, so that what it says is read by the server's rules and not twice.
Everything else becomes Parquet by way of Arrow, in steps of bounded size.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

ROWS_A_STEP = 100_000

_PARQUET = (".parquet", ".pq")


class UnknownData(TypeError):
    """The data is nothing that can be pushed."""


def files_of(data: Any) -> Sequence[Path] | None:
    """The files of a path or a glob, or of several; None if the data is no path. Raises FileNotFoundError."""
    several = data if isinstance(data, list | tuple) else [data]
    if not several or not all(isinstance(one, str | os.PathLike) for one in several):
        return None
    return [path for one in several for path in _matching(os.fspath(one))]


def _matching(spelled: str) -> Sequence[Path]:
    if Path(spelled).is_file():
        return [Path(spelled)]
    names = glob.glob(spelled, recursive=True)  # noqa: PTH207  absolute patterns, too
    found = sorted(Path(name) for name in names if Path(name).is_file())
    if not found:
        raise FileNotFoundError(f"There is no file {spelled}.")
    return found


def is_parquet(path: Path) -> bool:
    """By its first bytes, whatever its name is."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


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
