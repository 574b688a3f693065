"""What a load costs over Spark, beside the lake, on the same staged files: ``make bench-spark``.

A master and two workers of a core each run here as processes; CPU seconds are those of all of them and of the
driver. Every load is run once, after small ones that warm the engine.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import psutil

from headrace.locks import LocksOfProcess
from headrace.model import DATETIME, INTEGER, STRING, Column, JobType, TableRef, decimal
from headrace.tables import Load, TableEngine
from headrace.tables.datafolders import DataFolders
from headrace.tables.ducklake import DuckLakeTables
from headrace.tables.sandbox import Sandbox
from headrace.tables.sqlitecatalogs import SqliteCatalogs
from sparkparts import cluster, spark_tables

SIZES = (100_000, 1_000_000, 5_000_000)
COLUMNS = (
    *(Column("id", INTEGER), Column("k2", INTEGER), Column("v", STRING)),
    *(Column("amount", decimal(12, 2)), Column("at", DATETIME)),
)
POOL = "pool-1"
Seconds = Callable[[], float]
numbers = count(1)


def main() -> None:
    sizes = tuple(map(int, sys.argv[1:])) or SIZES
    print("| rows | load | lake s | lake CPU s | Spark s | Spark CPU s |")
    print("|---|---|---|---|---|---|")
    with TemporaryDirectory() as name:
        folder = Path(name)
        with _lake(folder) as (lake, cpu):
            figures = {"lake": _run(lake, cpu, folder, sizes)}
        with _spark(folder) as (spark, cpu):
            figures["spark"] = _run(spark, cpu, folder, sizes)
    for step, lakes in figures["lake"].items():
        cells = [f"{value:.1f}" for value in (*lakes, *figures["spark"][step])]
        print(f"| {step[0]:,} | {step[1]} | {' | '.join(cells)} |")


@contextmanager
def _lake(folder: Path) -> Iterator[tuple[TableEngine, Seconds]]:
    sandbox = Sandbox(processes=1, memory_mb=256, temp=folder)
    tables = DuckLakeTables(
        folder / "lake" / "pools",
        memory_mb=1024,
        temp=folder / "temp",
        locks=LocksOfProcess(),
        catalogs=SqliteCatalogs(folder / "lake" / "pools"),
        data=DataFolders(folder / "lake" / "pools"),
        sandbox=sandbox,
        keep_versions_days=7,
        upkeep_loads=25,
    )
    yield tables, time.process_time
    tables.close()
    sandbox.close()


@contextmanager
def _spark(folder: Path) -> Iterator[tuple[TableEngine, Seconds]]:
    home = folder / "spark"
    home.mkdir()
    more = {"spark__executor__memory": "800m", "spark__sql__shuffle__partitions": "8"}
    with cluster(home) as parts, spark_tables(home, parts.url, **more) as tables:

        def cpu() -> float:
            driver = psutil.Process().children(recursive=True)
            known = {p.pid: p for p in (*parts.processes(), *driver)}
            return sum(sum(p.cpu_times()[:2]) for p in known.values()) + time.process_time()

        yield tables, cpu


def _run(
    tables: TableEngine, cpu: Seconds, folder: Path, sizes: tuple[int, ...]
) -> dict[tuple[int, str], tuple[float, float]]:
    _load(tables, folder, "warm", JobType.REPLACE, 0, 1000)
    _load(tables, folder, "warm", JobType.DELTA, 500, 1000)
    figures = {}
    for rows in sizes:
        steps = {
            "REPLACE": (JobType.REPLACE, 0, rows),
            "DELTA of a fifth": (JobType.DELTA, rows - rows // 10, rows // 5),
            "DELTA of 1,000 rows": (JobType.DELTA, rows // 2, 1000),
        }
        for step, (type, first, number) in steps.items():
            began, burnt = time.monotonic(), cpu()
            _load(tables, folder, f"t{rows}", type, first, number)
            figures[rows, step] = time.monotonic() - began, cpu() - burnt
            print(type_name(tables), rows, step, *(f"{f:.1f}" for f in figures[rows, step]), file=sys.stderr)
    return figures


def type_name(tables: TableEngine) -> str:
    return type(tables).__name__


def _load(tables: TableEngine, folder: Path, table: str, type: JobType, first: int, rows: int) -> None:
    path = folder / f"{first}-{rows}.parquet"
    if not path.exists():
        duckdb.sql(
            "COPY (SELECT i AS id, i % 7 AS k2, 'name; \"ü\" ' || i AS v, "
            "(i % 1000000 / 100)::DECIMAL(12,2) AS amount, "
            "TIMESTAMP '2024-01-01' + to_seconds(i % 1000000) AS at "
            f"FROM range({first}, {first + rows}) t(i)) "
            f"TO '{path}' (FORMAT parquet, PARQUET_VERSION V2, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
        )
    usual: dict[str, Any] = {"fence": 1, "makes_table": True, "strategy": None, "duplicates": 0}
    tables.load(
        POOL,
        Load(
            job_id=f"job-{next(numbers)}",
            type=type,
            targets=(TableRef(table),),
            columns=COLUMNS,
            upserts=(path,),
            upsert_rows=rows,
            deletes=(),
            delete_rows=0,
            keys=("id", "k2"),
            unique=True,
            change_date=datetime.now(UTC),
            still_mine=lambda: None,
            **usual,
        ),
    )


if __name__ == "__main__":
    main()
