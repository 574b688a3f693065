"""Tables that move from one engine to another, each as it is now: versions and undos stay behind.

Each is a load of the new engine, whose receipt tells that it was done: a move that was broken off goes on
with the next table. Then both are read, and compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

from headrace.durable import sync
from headrace.model import JobType, Table, fold, now
from headrace.tables import ExportFormat, Load, TableEngine

_SUM_BITS = 128


@dataclass(frozen=True)
class Content:
    """Rows of a table, and a checksum of them in any order."""

    rows: int
    sum: int


@dataclass(frozen=True)
class MoveTables:
    """``temp`` is a folder that both engines can read. ``told`` hears of each step."""

    old: TableEngine
    new: TableEngine
    temp: Path
    told: Callable[[str], None]

    def run(self, pool_ids: Sequence[str]) -> list[str]:
        """Copies and compares; answers what is not the same. May be repeated."""
        for pool_id in pool_ids:
            for table in self.old.tables(pool_id):
                self._copy(pool_id, table)
        return [line for pool_id in pool_ids for line in self._differences(pool_id)]

    def amounts(self, pool_ids: Sequence[str]) -> Iterator[tuple[str, int]]:
        """Each table, and its rows."""
        for pool_id in pool_ids:
            for table in self.old.tables(pool_id):
                counted = self.old.table(pool_id, table.ref)
                yield _called(pool_id, table), (counted.rows if counted else None) or 0

    def _copy(self, pool_id: str, table: Table) -> None:
        job_id = _job_of(pool_id, table)
        if self.new.receipt(pool_id, job_id):
            return
        self.new.open_pool(pool_id)
        file = self.temp / f"{job_id}.parquet"
        try:
            with file.open("wb") as out:
                for part in self.old.reader.export(pool_id, table, ExportFormat.PARQUET):
                    out.write(part)
            sync(file)
            counted = self.old.table(pool_id, table.ref)
            self.new.load(pool_id, _load(job_id, table, file, (counted.rows if counted else None) or 0))
        finally:
            file.unlink(missing_ok=True)
        self.told(f"{_called(pool_id, table)}: copied")

    def _differences(self, pool_id: str) -> Iterator[str]:
        here, there = (
            {table.ref.folded: table for table in engine.tables(pool_id)} for engine in (self.old, self.new)
        )
        for ref, table in here.items():
            other = there.get(ref)
            if other is None or (other.ref, other.columns) != (table.ref, table.columns):
                yield f"{_called(pool_id, table)}: {table} here, {other} there"
                continue
            contents = [_content(engine, pool_id, table) for engine in (self.old, self.new)]
            if contents[0] != contents[1]:
                yield f"{_called(pool_id, table)}: {contents[0]} here, {contents[1]} there"
            self.told(f"{_called(pool_id, table)}: {contents[0].rows} rows read on both sides")
        for ref in there.keys() - here.keys():
            yield f"{_called(pool_id, there[ref])}: it is there alone"


def _content(engine: TableEngine, pool_id: str, table: Table) -> Content:
    rows = total = 0
    for line in _lines(engine.reader.export(pool_id, table, ExportFormat.NDJSON)):
        rows += 1
        total += int.from_bytes(hashlib.sha256(line).digest()[: _SUM_BITS // 8])
    return Content(rows, total % (1 << _SUM_BITS))


def _lines(parts: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for part in parts:
        *whole, rest = (rest + part).split(b"\n")
        yield from whole
    if rest:
        yield rest


def _load(job_id: str, table: Table, file: Path, rows: int) -> Load:
    unique = set(table.unique_keys)
    return Load(
        job_id=job_id,
        fence=2,  # an earlier try may have come to its commit
        type=JobType.REPLACE,
        targets=(table.ref,),
        columns=table.columns,
        makes_table=True,
        upserts=(file,),
        upsert_rows=rows,
        deletes=(),
        delete_rows=0,
        keys=tuple(c.name for c in table.columns if fold(c.name) in unique),
        unique=bool(unique),
        strategy=None,
        duplicates=0,
        change_date=now(),
        still_mine=lambda: None,
        dated=True,
    )


def _job_of(pool_id: str, table: Table) -> str:
    return str(uuid5(NAMESPACE_OID, "\n".join((pool_id, table.ref.connection_id or "", table.ref.name))))


def _called(pool_id: str, table: Table) -> str:
    name = (
        table.ref.name if table.ref.connection_id is None else f"{table.ref.connection_id}.{table.ref.name}"
    )
    return f"table {name} of {pool_id}"
