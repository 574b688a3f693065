"""The tables of a pool: their columns, what stands in them, their first rows, their versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Response

from headrace.model import CHANGE_DATE, Connection, Pool, Table, Version
from headrace.profiles import ColumnProfile, FirstRows
from headrace.tables import ExportFormat
from headrace.web.api import export_table as export
from headrace.web.context import Asking, Use

_FIRST = 20


@dataclass(frozen=True)
class TablesPage:
    pool: Pool
    tables: Sequence[Table]
    connections: dict[str, Connection]


@dataclass(frozen=True)
class TablePage:
    pool: Pool
    table: Table
    versions: Sequence[Version]
    first: FirstRows
    connection: str | None
    formats: Sequence[ExportFormat]
    change_date: str = CHANGE_DATE


@dataclass(frozen=True)
class ProfilePage:
    """A part of a page; it is asked for when the rest is there already."""

    table: Table
    columns: Sequence[ColumnProfile]


def list_tables(pool_id: str, use: Use, key: Asking) -> TablesPage:
    tables = sorted(use.pools.all_tables(pool_id, key), key=lambda table: table.ref.name.casefold())
    return TablesPage(use.pools.get(pool_id), tables, {c.id: c for c in use.pools.connections(pool_id)})


def get_table(pool_id: str, name: str, use: Use, key: Asking, connection: str | None = None) -> TablePage:
    table, versions = use.pools.table(pool_id, name, connection)
    first = use.profiles.first_rows(pool_id, name, connection, key, limit=_FIRST)
    return TablePage(use.pools.get(pool_id), table, versions, first, connection, tuple(ExportFormat))


def get_profile(pool_id: str, name: str, use: Use, key: Asking, connection: str | None = None) -> ProfilePage:
    table = use.pools.find_table(pool_id, name, connection)
    return ProfilePage(table, use.profiles.of(pool_id, name, connection, key))


async def export_table(
    pool_id: str, name: str, use: Use, connection: str | None = None, format: ExportFormat = ExportFormat.CSV
) -> Response:
    answer = await export(pool_id, name, use, connection, format)
    safe = "".join(char if char.isalnum() or char in "._-" else "_" for char in name)[:100]
    safe = safe.encode("ascii", "replace").decode().replace("?", "_")
    answer.headers["Content-Disposition"] = f'attachment; filename="{safe}.{format}"'
    return answer
