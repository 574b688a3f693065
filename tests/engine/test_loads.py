"""Loads into a real lake: each rule by example, then whole programs of jobs against a plain model.

Everything but HTTP is real: the parts of the server as ``server.build`` wires them, with their threads and
children. ``HEADRACE_LOAD_PROGRAMS`` says how many programs to run (200).
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st

from engine import model_of_loads as model
from engine.model_of_loads import FLOAT, INTEGER, STRING, UNKNOWN, Chunk, Model, Unspecified
from harness import parquet, wait_for
from headrace.errors import InvalidRequest
from headrace.model import (
    CHANGE_DATE,
    ChunkType,
    ColumnKind,
    Counts,
    DeclaredColumn,
    Job,
    JobStatus,
    JobType,
    KeyKind,
    Permission,
    PushSpec,
    Table,
    UpsertStrategy,
)
from headrace.server import Parts, build
from headrace.settings import Settings

PROGRAMS = int(os.environ.get("HEADRACE_LOAD_PROGRAMS", "200"))
SEED = int(os.environ.get("HEADRACE_LOAD_SEED", "0")) or time.time_ns() % 1_000_000_000

UPSERT, DELETE = ChunkType.UPSERT, ChunkType.DELETE
UNCHANGED = UpsertStrategy.UPSERT_WITH_UNCHANGED_METADATA
NULLIFICATION = UpsertStrategy.UPSERT_WITH_NULLIFICATION
ARROW = {STRING: pa.string(), INTEGER: pa.int64(), FLOAT: pa.float64(), UNKNOWN: pa.null()}


# -- the server's parts, without HTTP ------------------------------------------------------------------


class Loads:
    """Runs jobs in a pool and looks at its tables."""

    def __init__(self, parts: Parts) -> None:
        services = parts.services
        self._pushes, self._pools = services.pushes, services.pools
        found = services.access.list()
        name = ("admin", KeyKind.APPLICATION, [Permission.ADMIN], None)
        self._key = found[0] if found else services.access.create(*name)[0]
        self.pool = self._pools.create("a pool", None, {}).id

    def run(self, job: model.Job, accepts: Sequence[bool] | None = None) -> Job:
        """Create, send, execute, and wait for the end; ``accepts``: which chunks must be taken."""
        sent = self._pushes.create(self.pool, job.spec, self._key)
        for chunk, good in zip(job.chunks, accepts or [True] * len(job.chunks), strict=True):
            if good:
                self._send(sent, chunk)
            else:
                with pytest.raises(InvalidRequest):
                    self._send(sent, chunk)
        self._pushes.execute(self.pool, sent.id, job.order)
        return wait_for(lambda: self._final(sent), every=0.002)

    def _send(self, job: Job, chunk: Chunk) -> None:
        data = as_csv(chunk) if chunk.csv else as_parquet(chunk)
        arrival = self._pushes.begin_chunk(self.pool, job.id, chunk.type, len(data))
        arrival.write(data)
        self._pushes.add_chunk(arrival)

    def _final(self, job: Job) -> Job | None:
        shown = self._pushes.get(self.pool, job.id)
        return shown if shown.status.final else None

    def tables(self) -> dict[str, Table]:
        return {t.ref.name.casefold(): t for t in self._pools.all_tables(self.pool)}

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._pools.query(self.pool, sql, None, None).rows]

    # -- for the rules -----------------------------------------------------------------------------

    def replace(self, table: str, *chunks: Chunk, **more: Any) -> Job:
        return self._push(JobType.REPLACE, table, chunks, **more)

    def delta(self, table: str, *chunks: Chunk, **more: Any) -> Job:
        return self._push(JobType.DELTA, table, chunks, **more)

    def _push(
        self,
        type: JobType,
        table: str,
        chunks: Sequence[Chunk],
        *,
        keys: str = "",
        order: str | None = None,
        **more: Any,
    ) -> Job:
        spec = PushSpec(table, type, keys=tuple(keys.split()), **more)
        return self.run(model.Job(spec, chunks, order))

    def columns(self, table: str) -> list[str]:
        return [c.name for c in self.tables()[table.casefold()].columns]

    def content(self, table: str, columns: str = "") -> list[tuple[Any, ...]]:
        """The rows of a table without their change date, sorted."""
        names = ", ".join(f'"{name}"' for name in columns.split() or self.columns(table))
        return sorted(self.query(f'SELECT {names} FROM "{table}"'), key=_sortable)


def _sortable(row: Sequence[Any]) -> list[tuple[bool, str, Any]]:
    return [(value is not None, type(value).__name__, value) for value in row]


def text(header: str, *lines: str, type: ChunkType = UPSERT) -> Chunk:
    """A CSV chunk, every column a STRING; ``-`` is NULL, ``''`` the empty string."""
    nulls: dict[str, model.Value] = {"-": None, "''": ""}
    rows = tuple(tuple(nulls.get(v, v) for v in line.split()) for line in lines)
    return Chunk(type, tuple((name, STRING) for name in header.split()), rows, csv=True)


def typed(type: ChunkType = UPSERT, **columns: Sequence[model.Value]) -> Chunk:
    """A Parquet chunk, a column as its values are."""
    kinds = {str: STRING, int: INTEGER, float: FLOAT}
    named = tuple(
        (name, next((kinds[v.__class__] for v in values if v is not None), UNKNOWN))
        for name, values in columns.items()
    )
    return Chunk(type, named, tuple(zip(*columns.values(), strict=True)))


def as_csv(chunk: Chunk) -> bytes:
    lines = ([name for name, _ in chunk.columns], *chunk.rows)
    return "".join(",".join(map(_field, line)) + "\n" for line in lines).encode()


def _field(value: model.Value) -> str:
    """NULL is nothing at all, the empty string is ``""``."""
    return "" if value is None else str(value) if str(value).isalnum() else f'"{value}"'


def as_parquet(chunk: Chunk) -> bytes:
    columns = [
        pa.array([row[n] for row in chunk.rows], type=ARROW[kind]) for n, (_, kind) in enumerate(chunk.columns)
    ]
    return parquet(pa.Table.from_arrays(columns, names=[name for name, _ in chunk.columns]))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    folder = tmp_path_factory.mktemp("loads")
    built = build(Settings(data_dir=folder, upkeep_loads=3, sql_processes=1), folder)
    built.worker.start()
    yield built
    built.stop(30)


@pytest.fixture
def loads(parts: Parts) -> Loads:
    return Loads(parts)
