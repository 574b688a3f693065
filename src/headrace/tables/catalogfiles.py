"""Which files a lake's catalog names, and how it is told that they lie elsewhere.

For copies of a lake that no engine has open: SQLite reads and writes them here, and two libraries of it in
one process take each other's locks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

_BUSY_SECONDS = 20.0


@dataclass(frozen=True)
class NamedFile:
    """A Parquet file of a lake: where its catalog says that it lies, and how large it is."""

    path: Path
    bytes: int


def files_named(catalog: Path) -> list[NamedFile]:
    """Every file that some version of some table needs."""
    with closing(_opened(catalog)) as books:
        return list(_files(books))


def data_folder(catalog: Path) -> Path:
    """Where the catalog believes its data to be."""
    with closing(_opened(catalog)) as books:
        return _data(books)


def forget_what_goes(catalog: Path) -> None:
    """Files that wait for their deletion are not part of a copy."""
    with closing(_opened(catalog)) as books, books:
        books.execute("DELETE FROM ducklake_files_scheduled_for_deletion")


def move(catalog: Path, data: Path | str) -> None:
    """From now on its files lie below ``data``: a folder, or a place in a store that ends with a slash."""
    with closing(_opened(catalog)) as books, books:
        old, new = _place(books), f"{data}/" if isinstance(data, Path) else data
        books.execute("UPDATE ducklake_metadata SET value = ? WHERE key = 'data_path'", [new])
        for table in ("ducklake_data_file", "ducklake_delete_file"):
            books.execute(
                f"UPDATE {table} SET path = ? || substr(path, ?) "
                "WHERE NOT path_is_relative AND substr(path, 1, ?) = ?",
                [new, len(old) + 1, len(old), old],
            )


def _opened(catalog: Path) -> sqlite3.Connection:
    there = f"file:{quote(str(catalog))}?mode=rw"
    return sqlite3.connect(there, uri=True, timeout=_BUSY_SECONDS)


def _data(books: sqlite3.Connection) -> Path:
    return Path(_place(books))


def _place(books: sqlite3.Connection) -> str:
    [(path,)] = books.execute("SELECT value FROM ducklake_metadata WHERE key = 'data_path'")
    return f"{str(path).rstrip('/')}/"


def _files(books: sqlite3.Connection) -> Iterator[NamedFile]:
    folders = dict(_table_folders(books))
    for kind in ("ducklake_data_file", "ducklake_delete_file"):
        found = books.execute(f"SELECT table_id, path, path_is_relative, file_size_bytes FROM {kind}")
        for table, path, relative, size in found:
            yield NamedFile(folders[table] / path if relative else Path(path), size)


def _table_folders(books: sqlite3.Connection) -> Iterator[tuple[int, Path]]:
    data = _data(books)
    tables = books.execute(
        "SELECT t.table_id, t.path, t.path_is_relative, s.path, s.path_is_relative "
        "FROM ducklake_table t JOIN ducklake_schema s USING (schema_id)"
    )
    for table, path, relative, schema_path, schema_relative in tables:
        schema = data / schema_path if schema_relative else Path(schema_path)
        yield table, schema / path if relative else Path(path)
