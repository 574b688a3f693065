"""``rejects`` in users' SQL: the rows of all jobs of a pool that could not be stored.

A view over the files beside the lake, made anew in the transaction of each query that names it, and gone with
it. It is bare of the pool's own tables: one that is called so comes first.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import duckdb

from headrace.conversion import literal, quoted
from headrace.model import TableRef

NAME = TableRef("rejects")

_COLUMNS = {
    "line": "BIGINT",
    "byte_offset": "BIGINT",
    "column": "VARCHAR",
    "value": "VARCHAR",
    "expected": "VARCHAR",
    "code": "VARCHAR",
    "raw": "VARCHAR",
}
_LONGEST_LINE = 16 << 20
"""A row may have a mebibyte, and JSON within JSON makes it longer."""


def is_free(tables: Collection[TableRef]) -> bool:
    """Whether no table of the pool is called so."""
    return all(table.folded != NAME.folded for table in tables)


def is_named(sql: str) -> bool:
    return NAME.name in sql.casefold()


def show(engine: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Make the view, for the transaction that is open; ``folder`` has ``job_id=<jobId>/<number>.ndjson``."""
    engine.execute(f"CREATE TEMP VIEW {NAME.name} AS {_rows(folder) if _any(folder) else _no_rows()}")


def _any(folder: Path) -> bool:
    return next(folder.glob("*/*.ndjson"), None) is not None


def _rows(folder: Path) -> str:
    listed = ", ".join(f"{quoted(name)}: {literal(type)}" for name, type in _COLUMNS.items())
    # the job is a part of the path, so that a query of one job reads its files alone
    return (
        "SELECT job_id, parse_filename(filename, true)::BIGINT AS chunk, * EXCLUDE (job_id, filename) "
        f"FROM read_json({literal(str(folder / '*' / '*.ndjson'))}, format='newline_delimited', "
        f"columns={{{listed}}}, hive_partitioning=true, hive_types={{job_id: VARCHAR}}, filename=true, "
        f"maximum_object_size={_LONGEST_LINE})"
    )


def _no_rows() -> str:
    """The same columns: a pool without rejects is no error."""
    columns = {"job_id": "VARCHAR", "chunk": "BIGINT", **_COLUMNS}
    nothing = ", ".join(f"NULL::{type} AS {quoted(name)}" for name, type in columns.items())
    return f"SELECT {nothing} WHERE false"
