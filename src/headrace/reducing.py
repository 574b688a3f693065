"""One action per key: which of a job's rows count.

Chunks count in the order of their arrival, rows in the order of their file; the last action on a key
wins, be it an upsert or a delete. With an order column the largest value wins instead (NULL is the
smallest), ties by that order. With duplicates allowed, every upsert after the last delete of its key
counts.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from headrace.conversion import literal, quoted, sql_type
from headrace.errors import TooHungry
from headrace.model import ChunkType, Column
from headrace.thrift import Thrift


@dataclass(frozen=True)
class StagedFile:
    """A staged chunk as the load sees it: ``columns`` are those of the file that count."""

    path: Path
    number: int
    type: ChunkType
    rows: int
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Reduced:
    """What is left of the actions, each key once if ``unique``; ``dropped`` rows did not count."""

    upserts: tuple[Path, ...]
    upsert_rows: int
    deletes: tuple[Path, ...]
    delete_rows: int
    unique: bool
    dropped: int


_LOOKING_MB = 128
_LOOKING_MB_A_CORE = 16
"""So much is as quick as any more: what does not fit goes to the disk in pieces that fit the cache."""


class Reducer:
    """Looks for keys that repeat with one engine, which needs little; joins and sorts with another."""

    def __init__(self, *, memory_mb: int, temp: Path) -> None:
        """``memory_mb``: what joining and sorting may take, and no more than that to look."""
        little = _LOOKING_MB + _LOOKING_MB_A_CORE * (os.cpu_count() or 1)
        self._looking, self._looking_thrift = _engine(
            min(little, memory_mb), temp.with_name(f"{temp.name}-looking")
        )
        self._engine, self._thrift = _engine(memory_mb, temp)

    def close(self) -> None:
        self._looking.close()
        self._engine.close()

    def reduce(
        self,
        files: Sequence[StagedFile],
        columns: Sequence[Column],
        keys: Sequence[str],
        *,
        order: str | None,
        allow_duplicate: bool,
        folder: Path,
    ) -> Reduced:
        """Reduce ``files`` (each with a part of ``columns``) by ``keys``; new files go to ``folder``.

        Raises TooHungry.
        """
        files = [f for f in files if f.rows]
        if not keys:
            return _untouched(files, unique=False)
        if not self._may_repeat(files, columns, keys):
            return _untouched(files, unique=True)
        return self._thrift.run(lambda: self._winners(files, columns, keys, order, allow_duplicate, folder))

    def _may_repeat(
        self, files: Sequence[StagedFile], columns: Sequence[Column], keys: Sequence[str]
    ) -> bool:
        """False if no key stands twice; True says no more than that one may: of so many hashes two are alike.

        Hashes are a third of the work that the keys themselves would be. What is equal has the same one.
        """
        if sum(f.rows for f in files) < 2:
            return False
        wanted = [c for c in columns if c.name in keys]
        read = " UNION ALL ".join(f"SELECT {_cells(f, wanted)} FROM {_read(f)}" for f in files)
        hashes = f"SELECT hash({', '.join(f'c{n}' for n in range(len(wanted)))}) AS h FROM ({read})"
        alike = f"SELECT 1 FROM ({hashes}) GROUP BY h HAVING count(*) > 1 LIMIT 1"
        try:
            with self._looking.cursor() as cursor:
                return bool(self._looking_thrift.run(lambda: cursor.execute(alike).fetchall()))
        except TooHungry:
            return True

    def _winners(
        self,
        files: Sequence[StagedFile],
        columns: Sequence[Column],
        keys: Sequence[str],
        order: str | None,
        allow_duplicate: bool,
        folder: Path,
    ) -> Reduced:
        names = ", ".join(f"c{n} AS {quoted(c.name)}" for n, c in enumerate(columns))
        ranked = _ranked(files, columns, keys, order, allow_duplicate)
        upserts, deletes = folder / "upserts.parquet", folder / "deletes.parquet"
        with self._engine.cursor() as cursor:
            upsert_rows = _copy(cursor, f"SELECT {names} FROM ({ranked}) WHERE NOT _deletes", upserts)
            delete_rows = _copy(cursor, f"SELECT {names} FROM ({ranked}) WHERE _deletes", deletes)
        dropped = sum(f.rows for f in files) - upsert_rows - delete_rows
        return Reduced(
            (upserts,) if upsert_rows else (),
            upsert_rows,
            (deletes,) if delete_rows else (),
            delete_rows,
            unique=not allow_duplicate,
            dropped=dropped,
        )


def _engine(memory_mb: int, temp: Path) -> tuple[duckdb.DuckDBPyConnection, Thrift]:
    engine = duckdb.connect()
    engine.execute(f"SET memory_limit='{memory_mb}MB'; SET enable_progress_bar=false")
    engine.execute(f"SET temp_directory={literal(str(temp))}")
    return engine, Thrift(engine)


def _untouched(files: Sequence[StagedFile], *, unique: bool) -> Reduced:
    upserts = [f for f in files if f.type is ChunkType.UPSERT]
    deletes = [f for f in files if f.type is ChunkType.DELETE]
    return Reduced(
        tuple(f.path for f in upserts),
        sum(f.rows for f in upserts),
        tuple(f.path for f in deletes),
        sum(f.rows for f in deletes),
        unique,
        dropped=0,
    )


def _read(file: StagedFile) -> str:
    return f"read_parquet({literal(str(file.path))}, hive_partitioning=false)"


def _cells(file: StagedFile, columns: Sequence[Column]) -> str:
    """The columns as ``c0``, ``c1`` …, whatever their names are; what the file lacks is NULL."""
    present = {c.name for c in file.columns}
    return ", ".join(
        f"{quoted(c.name) if c.name in present else f'NULL::{sql_type(c.type)}'} AS c{n}"
        for n, c in enumerate(columns)
    )


def _rows(files: Sequence[StagedFile], columns: Sequence[Column]) -> str:
    """All rows with where they stand: ``_chunk``, ``_row``, ``_deletes``."""
    return " UNION ALL ".join(
        f"SELECT {_cells(f, columns)}, {f.number} AS _chunk, row_number() OVER () AS _row, "
        f"{f.type is ChunkType.DELETE} AS _deletes FROM {_read(f)}"
        for f in files
    )


def _ranked(
    files: Sequence[StagedFile],
    columns: Sequence[Column],
    keys: Sequence[str],
    order: str | None,
    allow_duplicate: bool,
) -> str:
    place = {c.name: f"c{n}" for n, c in enumerate(columns)}
    by = ", ".join(place[key] for key in keys)
    last_first = "_chunk DESC, _row DESC"
    if order:
        last_first = f"{place[order]} DESC NULLS LAST, {last_first}"
    rows = _rows(files, columns)
    if not allow_duplicate:
        rank = f"row_number() OVER (PARTITION BY {by} ORDER BY {last_first})"
        return f"SELECT * FROM ({rows}) QUALIFY {rank} = 1"
    # from the last action back to the last delete: the upserts of that stretch, or that delete alone
    return (
        f"SELECT * FROM (SELECT *, row_number() OVER w AS _back, "
        f"sum(_deletes::INT) OVER (w ROWS UNBOUNDED PRECEDING) AS _seen FROM ({rows}) "
        f"WINDOW w AS (PARTITION BY {by} ORDER BY {last_first})) "
        f"WHERE _seen = 0 OR (_deletes AND _back = 1)"
    )


def _copy(cursor: duckdb.DuckDBPyConnection, query: str, path: Path) -> int:
    """Write a query's rows; answers their number and leaves no file where there are none."""
    count = int(
        cursor.execute(
            f"COPY ({query}) TO {literal(str(path))} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
        ).fetchall()[0][0]
    )
    if not count:
        path.unlink(missing_ok=True)
    return count
