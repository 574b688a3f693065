"""What pools take on the disk, their upkeep, and what is old enough to go: for administrators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from anyio import to_thread
from fastapi import Response

from headrace.console.rendering import see
from headrace.console.sessions import ROOT
from headrace.console.showing import segment
from headrace.model import Key, Pool
from headrace.retention import Kind
from headrace.tables import Stored
from headrace.web.api import READING, UPKEEP
from headrace.web.context import Asking, Offset, Services, Use

_PAGE = 25
"""Pools at once: each of them has a catalog to be opened."""


@dataclass(frozen=True)
class PoolLine:
    pool: Pool
    stored: Stored

    @property
    def files(self) -> int:
        return sum(table.files for table in self.stored.tables)

    @property
    def bytes(self) -> int:
        return sum(table.bytes for table in self.stored.tables)

    @property
    def old_bytes(self) -> int:
        return sum(table.old_bytes for table in self.stored.tables)

    @property
    def upkeep_at(self) -> datetime | None:
        return max((table.upkeep_at for table in self.stored.tables if table.upkeep_at), default=None)


@dataclass(frozen=True)
class UpkeepPage:
    """``every``: so many loads of a table lie between two rounds that the server makes by itself."""

    every: object
    lines: Sequence[PoolLine]
    before: int | None
    after: int | None


async def list_stored(use: Use, key: Asking, offset: Offset = 0) -> UpkeepPage:
    return await to_thread.run_sync(partial(_stored, use, key, offset), limiter=READING)


def _stored(use: Services, key: Key, offset: int) -> UpkeepPage:
    pools = use.pools.list(key)
    return UpkeepPage(
        use.settings["upkeep_loads"],
        [_line(use, pool) for pool in pools[offset : offset + _PAGE]],
        max(0, offset - _PAGE) if offset else None,
        offset + _PAGE if offset + _PAGE < len(pools) else None,
    )


async def get_stored(pool_id: str, use: Use) -> PoolLine:
    """One pool, table by table."""
    return await to_thread.run_sync(lambda: _line(use, use.pools.get(pool_id)), limiter=READING)


def _line(use: Services, pool: Pool) -> PoolLine:
    return PoolLine(pool, use.pools.stored(pool.id))


async def maintain_pool(pool_id: str, use: Use) -> Response:
    """The answer comes when all is done, as it does from the API."""
    await to_thread.run_sync(use.pools.maintain, pool_id, limiter=UPKEEP)
    return _see(pool_id)


async def maintain_table(pool_id: str, name: str, use: Use, connection: str | None = None) -> Response:
    await to_thread.run_sync(use.pools.maintain_table, pool_id, name, connection, limiter=UPKEEP)
    return _see(pool_id)


def _see(pool_id: str) -> Response:
    return see(f"{ROOT}/pools/{segment(pool_id)}/upkeep")


# -- what is old ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OldPage:
    """A part of a page that comes later: it looks into many pools. Only what there is."""

    found: Mapping[Kind, int]


async def foresee_retention(use: Use) -> OldPage:
    found = await to_thread.run_sync(use.retention.foreseen, limiter=UPKEEP)
    return OldPage({kind: count for kind, count in found.items() if count})


async def run_retention(use: Use) -> Response:
    """Let go of it now, as the server does by itself every hour."""
    await to_thread.run_sync(use.retention.sweep, limiter=UPKEEP)
    return see(f"{ROOT}/upkeep")
