"""The tables of a pool: their columns, what stands in them, their first rows, their versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from anyio import to_thread
from fastapi import Response

from headrace.console.charts import spread_path
from headrace.errors import Conflict, QueryTooLong
from headrace.histories import Step
from headrace.model import Column, Connection, Key, Pool, Table, Version
from headrace.profiles import MOST_COLUMNS, ColumnProfile, FirstRows
from headrace.tables import ExportFormat
from headrace.web.api import READING
from headrace.web.api import export_table as export
from headrace.web.context import Asking, Services, Use

_FIRST = 20
VERSIONS = 30
"""The newest; a table that is pushed to every minute has thousands."""


@dataclass(frozen=True)
class TablesPage:
    pool: Pool
    tables: Sequence[Table]
    connections: dict[str, Connection]


@dataclass(frozen=True)
class TablePage:
    pool: Pool
    table: Table
    columns: Sequence[Column]
    versions: Sequence[Version]
    """The newest of them."""
    kept: int
    first: FirstRows
    connection: str | None
    formats: Sequence[ExportFormat]


@dataclass(frozen=True)
class ProfilePage:
    """A part of a page; it is asked for when the rest is there already."""

    table: Table
    columns: Sequence[Column]
    profiles: Sequence[ColumnProfile]
    problem: str = ""

    def path(self, profile: ColumnProfile) -> str:
        """Its spread, drawn."""
        return spread_path(profile.spread)


@dataclass(frozen=True)
class VersionsPage:
    """As above, a part that comes later."""

    pool: Pool
    steps: Sequence[Step]
    problem: str = ""


def list_tables(pool_id: str, use: Use, key: Asking) -> TablesPage:
    tables = sorted(use.pools.all_tables(pool_id, key), key=lambda table: table.ref.name.casefold())
    return TablesPage(use.pools.get(pool_id), tables, {c.id: c for c in use.pools.connections(pool_id)})


async def get_table(
    pool_id: str, name: str, use: Use, key: Asking, connection: str | None = None
) -> TablePage:
    look = partial(_table, use, pool_id, name, connection, key)
    return await to_thread.run_sync(look, limiter=READING)


def _table(use: Services, pool_id: str, name: str, connection: str | None, key: Key) -> TablePage:
    table, versions = use.pools.table(pool_id, name, connection)
    first = use.profiles.first_rows(pool_id, name, connection, key, limit=_FIRST)
    return TablePage(
        use.pools.get(pool_id),
        table,
        table.columns[:MOST_COLUMNS],
        versions[:VERSIONS],
        len(versions),
        first,
        connection,
        tuple(ExportFormat),
    )


async def get_profile(
    pool_id: str, name: str, use: Use, key: Asking, connection: str | None = None
) -> ProfilePage:
    look = partial(_profile, use, pool_id, name, connection, key)
    return await to_thread.run_sync(look, limiter=READING)


def _profile(use: Services, pool_id: str, name: str, connection: str | None, key: Key) -> ProfilePage:
    """A table that cannot be counted in time still shows its columns."""
    table = use.pools.find_table(pool_id, name, connection)
    shown = table.columns[:MOST_COLUMNS]
    try:
        return ProfilePage(table, shown, use.profiles.of(pool_id, name, connection, key))
    except (QueryTooLong, Conflict) as error:
        return ProfilePage(table, shown, (), error.message)


async def get_versions(
    pool_id: str, name: str, use: Use, key: Asking, connection: str | None = None
) -> VersionsPage:
    look = partial(_versions, use, pool_id, name, connection, key)
    return await to_thread.run_sync(look, limiter=READING)


def _versions(use: Services, pool_id: str, name: str, connection: str | None, key: Key) -> VersionsPage:
    pool, (table, versions) = use.pools.get(pool_id), use.pools.table(pool_id, name, connection)
    try:
        return VersionsPage(pool, use.histories.of(pool_id, table.ref, versions, key, limit=VERSIONS))
    except (QueryTooLong, Conflict) as error:
        return VersionsPage(pool, [Step(v, None, None, None) for v in versions[:VERSIONS]], error.message)


async def export_table(
    pool_id: str, name: str, use: Use, connection: str | None = None, format: ExportFormat = ExportFormat.CSV
) -> Response:
    answer = await export(pool_id, name, use, connection, format)
    safe = "".join(char if char.isalnum() or char in "._-" else "_" for char in name)[:100]
    safe = safe.encode("ascii", "replace").decode().replace("?", "_")
    answer.headers["Content-Disposition"] = f'attachment; filename="{safe}.{format}"'
    return answer
