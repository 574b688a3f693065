"""The Spark engine beside the lake, on the same loads.

Only where ``HEADRACE_SPARK`` is set (make test-spark): it takes minutes and gigabytes.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.errors import NotUndoable, QueryRefused, SchemaMismatch
from headrace.locks import LocksOfProcess
from headrace.model import (
    BOOLEAN,
    CHANGE_DATE,
    DATE,
    DATETIME,
    FLOAT,
    INTEGER,
    STRING,
    TIME,
    Column,
    ColumnKind,
    ColumnType,
    JobType,
    Receipt,
    TableRef,
    Undoing,
    UpsertStrategy,
    decimal,
)
from headrace.tables import ExportFormat, Load, Preview, TableEngine
from headrace.tables.datafolders import DataFolders
from headrace.tables.ducklake import DuckLakeTables
from headrace.tables.icebergstate import ROW
from headrace.tables.sandbox import Sandbox
from headrace.tables.spark import SparkTables
from headrace.tables.sqlitecatalogs import SqliteCatalogs
from sparkparts import ONLY_WITH_SPARK, spark_tables

pytestmark = ONLY_WITH_SPARK

PROGRAMS = int(os.environ.get("HEADRACE_SPARK_PROGRAMS", "4"))
SEED = int(os.environ.get("HEADRACE_SPARK_SEED", "20261130"))

POOL = "pool-1"
START = datetime(2024, 2, 29, 12, tzinfo=UTC)
A, B = TableRef('a "é"/b.c'), TableRef("b", "connection-1")
TYPES: dict[str, ColumnType] = {
    "k": INTEGER,
    "k 2": STRING,
    "v": STRING,
    "f": FLOAT,
    "d.e": decimal(12, 2),
    "day": DATE,
    "clock": TIME,
    "at": DATETIME,
    "_x": BOOLEAN,
}
ARROW = {
    ColumnKind.STRING: pa.string(),
    ColumnKind.INTEGER: pa.int64(),
    ColumnKind.FLOAT: pa.float64(),
    ColumnKind.BOOLEAN: pa.bool_(),
    ColumnKind.DATE: pa.date32(),
    ColumnKind.TIME: pa.time64("us"),
    ColumnKind.DATETIME: pa.timestamp("us"),
}
VALUES: dict[str, Sequence[Any]] = {
    "k": (None, *range(12)),
    "k 2": (None, "", "a", "ä"),
    "v": (None, "", "x;\"'\n", "ß", "long" * 50),
    "f": (None, 0.0, -0.5, 1e300, 5e-324),
    "d.e": (None, Decimal("0.00"), Decimal("-9999999999.99"), Decimal("1.50")),
    "day": (None, date(1, 1, 1), date(1582, 10, 4), date(9999, 12, 31)),
    "clock": (None, time(0), time(23, 59, 59, 999999)),
    "at": (
        None,
        datetime(1, 1, 1),
        datetime(1969, 12, 31, 23, 59, 59, 999999),
        datetime(2024, 2, 29, 1, 2, 3),
    ),
    "_x": (None, True, False),
}


# -- the same loads to both engines --------------------------------------------------------------------


@dataclass
class Push:
    columns: dict[str, ColumnType]
    upserts: list[tuple[Any, ...]]
    deletes: list[tuple[Any, ...]] = field(default_factory=list)
    keys: tuple[str, ...] = ("k",)
    type: JobType = JobType.DELTA
    strategy: UpsertStrategy | None = None
    targets: tuple[TableRef, ...] = (A,)
    unique: bool = True


class Both:
    """Gives each load to the lake and to Spark, and compares all that they tell of it."""

    def __init__(self, folder: Path, lake: TableEngine, spark: TableEngine, pool: str) -> None:
        self._folder = folder
        self.lake, self.spark = lake, spark
        self.numbers = count(1)
        self.pool = pool

    def load(self, push: Push) -> str:
        number = next(self.numbers)
        load = as_load(self._folder, number, push)
        foreseen = [told(engine.preview, self.pool, load) for engine in (self.lake, self.spark)]
        assert without_rows(foreseen[0]) == without_rows(foreseen[1])
        done: list[Receipt] = [told(engine.load, self.pool, load) for engine in (self.lake, self.spark)]
        assert done[0] == done[1]
        if isinstance(done[0], Receipt):
            assert self.spark.receipt(self.pool, load.job_id) == done[0]
        self.compare()
        return load.job_id

    def undo(self, job: str, *targets: TableRef) -> None:
        found = [told(engine.undo, self.pool, job, targets or (A,)) for engine in (self.lake, self.spark)]
        assert without_moment(found[0]) == without_moment(found[1])
        if isinstance(found[1], Undoing):
            assert self.spark.undoing(self.pool, job) == found[1]
        self.compare()

    def compare(self) -> None:
        lake, spark = (
            {t.ref.folded: t for t in engine.tables(self.pool)} for engine in (self.lake, self.spark)
        )
        assert {ref: (t.ref, t.columns, t.unique_keys) for ref, t in lake.items()} == {
            ref: (t.ref, t.columns, t.unique_keys) for ref, t in spark.items()
        }
        for table in lake.values():
            rows = [sorted(exported(engine, self.pool, table.ref)) for engine in (self.lake, self.spark)]
            assert rows[0] == rows[1]
            counted = self.spark.table(self.pool, table.ref)
            assert counted and counted.rows == len(rows[0])


def told(ask: Any, *about: Any) -> Any:
    """What it answers, or how it refuses."""
    try:
        return ask(*about)
    except (SchemaMismatch, NotUndoable) as error:
        return type(error), str(error)


def without_rows(found: Any) -> Any:
    """A lake knows of the table before no more than a guess at its rows."""
    if not isinstance(found, Preview):
        return found
    tables = [replace(d, before=d.before and replace(d.before, rows=None)) for d in found.tables]
    return found.receipt, tables


def without_moment(found: Any) -> Any:
    """``rebuilt`` says how the lake does it: Spark moves a pointer."""
    if not isinstance(found, Undoing):
        return found
    return [(t.ref, t.dropped, t.removed, t.restored, t.rows) for t in found.tables]


def exported(engine: TableEngine, pool: str, ref: TableRef) -> list[bytes]:
    table = engine.find(pool, ref)
    assert table
    return b"".join(engine.reader.export(pool, table, ExportFormat.NDJSON)).splitlines()


def as_load(folder: Path, number: int, push: Push, fence: int = 1, **more: Any) -> Load:
    def staged(name: str, rows: list[tuple[Any, ...]]) -> tuple[Path, ...]:
        if not rows:
            return ()
        path = folder / f"{number}-{name}.parquet"
        arrays = [
            pa.array(values, arrow_type(type))
            for values, type in zip(zip(*rows, strict=True), push.columns.values(), strict=True)
        ]
        pq.write_table(pa.Table.from_arrays(arrays, list(push.columns)), path)
        return (path,)

    half = len(push.upserts) // 2
    return Load(
        job_id=f"job-{number}",
        fence=fence,
        type=push.type,
        targets=push.targets,
        columns=tuple(Column(name, type) for name, type in push.columns.items()),
        makes_table=True,
        upserts=(*staged("1", push.upserts[:half]), *staged("2", push.upserts[half:])),
        upsert_rows=len(push.upserts),
        deletes=staged("d", push.deletes),
        delete_rows=len(push.deletes),
        keys=push.keys,
        unique=push.unique and bool(push.keys),
        strategy=push.strategy,
        duplicates=0,
        change_date=START + timedelta(hours=number),
        still_mine=more.get("still_mine", lambda: None),
    )


def arrow_type(type: ColumnType) -> pa.DataType:
    return ARROW.get(type.kind) or pa.decimal128(type.precision, type.scale)


WIDTHS = (decimal(12, 2), decimal(15, 2), decimal(20, 6))
"""A load never declares a DECIMAL narrower than the table's: they grow while a program goes on."""


def a_push(chance: random.Random, width: ColumnType) -> Push:
    keys = chance.choice([("k",), ("k",), ("k",), ("k", "k 2"), ()])
    others = [name for name in TYPES if name not in keys]
    names = [*keys, *chance.sample(others, chance.randrange(1, 5))]
    columns = {name: TYPES[name] for name in names}
    if "d.e" in columns:
        columns["d.e"] = width
    type = chance.choice([JobType.DELTA] * 3 + [JobType.REPLACE])
    unique = chance.random() < 0.7
    rows = [tuple(chance.choice(VALUES[name]) for name in names) for _ in range(chance.choice([0, 1, 4, 12]))]
    deletes = []
    if keys and type is JobType.DELTA:
        deletes = [tuple(chance.choice(VALUES[name]) for name in names) for _ in range(chance.choice([0, 3]))]
    key = slice(0, len(keys))
    if keys and unique:
        rows = list({row[key]: row for row in rows}.values())
    deletes = list({row[key]: row for row in deletes if row[key] not in {r[key] for r in rows}}.values())
    strategy = chance.choice([None, None, *UpsertStrategy])
    targets = chance.choice([(A,), (A,), (B,), (A, B)])
    return Push(columns, rows, deletes, keys, type, strategy, targets, unique)


FOR_GOOD = 36_500.0
"""The loads of these tests have the dates of years ago, and the lake beside them lets nothing go."""


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkTables]:
    with spark_tables(tmp_path_factory.mktemp("spark"), keep_days=FOR_GOOD) as tables:
        yield tables


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckLakeTables]:
    folder = tmp_path_factory.mktemp("lake")
    sandbox = Sandbox(processes=1, memory_mb=256, temp=folder)
    tables = DuckLakeTables(
        folder / "pools",
        memory_mb=256,
        temp=folder / "temp",
        locks=LocksOfProcess(),
        catalogs=SqliteCatalogs(folder / "pools"),
        data=DataFolders(folder / "pools"),
        sandbox=sandbox,
        keep_versions_days=7.0,
        upkeep_loads=25,
    )
    yield tables
    tables.close()
    sandbox.close()


pools = (f"pool-{number}" for number in count(1))


@pytest.fixture
def both(lake: DuckLakeTables, spark: SparkTables, tmp_path: Path) -> Both:
    return Both(tmp_path, lake, spark, next(pools))


@pytest.mark.parametrize("number", range(PROGRAMS))
def test_programs_of_loads_and_undos_end_as_in_the_lake(both: Both, number: int) -> None:
    run_program(both, random.Random(f"{SEED}-{number}"))


def run_program(both: Both, chance: random.Random) -> None:
    """Eight loads, undos and rounds of upkeep; all that both tell is compared after each."""
    done: list[tuple[str, tuple[TableRef, ...]]] = []
    for step in range(8):
        if done and chance.random() < 0.25:
            job, targets = done[-1] if chance.random() < 0.8 else chance.choice(done)
            both.undo(job, *targets)
        elif chance.random() < 0.1:
            both.spark.maintain(both.pool, A)
            both.spark.expire(both.pool)
            both.compare()
        else:
            push = a_push(chance, WIDTHS[step // 3])
            done.append((both.load(push), push.targets))


def test_every_type_comes_back_as_it_was_sent(both: Both) -> None:
    push_every_type(both)


def push_every_type(both: Both) -> None:
    longest = max(map(len, VALUES.values()))
    rows = [
        (number, *(VALUES[name][number % len(VALUES[name])] for name in TYPES if name != "k"))
        for number in range(longest)
    ]
    both.load(Push(TYPES, rows, type=JobType.REPLACE))
    both.load(Push(TYPES, rows[:3], rows[3:5]))


def test_a_decimal_is_widened(both: Both) -> None:
    for precision, scale in ((10, 2), (12, 2), (20, 6)):
        both.load(Push({"k": INTEGER, "d": decimal(precision, scale)}, [(precision, Decimal("1.25"))]))


def test_columns_called_as_the_engines_own(both: Both) -> None:
    odd = ("_file", "_pos", "_deleted", "_x_deletes", "_x_file", ROW, "row_index", "t", "s", "`", "filename")
    columns = {"k": INTEGER, **dict.fromkeys(odd, STRING)}
    both.load(Push(columns, [(1, *odd), (2, *odd)]))
    both.load(Push({"k": INTEGER, "_file": STRING}, [(1, "new")], [(2, None)]))


def test_versions_are_those_of_the_jobs_and_undos(both: Both) -> None:
    jobs = [both.load(Push({"k": INTEGER, "v": STRING}, [(k, "v")])) for k in range(3)]
    both.undo(jobs[-1])
    found = both.spark.versions(both.pool, A)
    assert [(v.job_id, v.undo) for v in found] == [
        (jobs[2], True),
        *((job, False) for job in reversed(jobs)),
    ]
    assert both.spark.named_jobs(both.pool) == set(jobs)


def test_a_table_that_its_job_had_made_is_gone_and_may_come_again(both: Both) -> None:
    job = both.load(Push({"k": INTEGER}, [(1,)]))
    both.undo(job)
    assert both.spark.find(both.pool, A) is None
    both.load(Push({"v": STRING}, [("a",)], keys=()))


def test_older_versions_are_refused_in_words(both: Both) -> None:
    both.load(Push({"k": INTEGER}, [(1,)], targets=(TableRef("plain"),)))
    ask = {"max_rows": 1, "seconds": 30.0}
    with pytest.raises(QueryRefused):
        both.spark.reader.query(
            both.pool, [TableRef("plain")], "SELECT * FROM plain AT (VERSION => 1)", **ask
        )


def test_what_is_no_longer_his_is_not_committed(spark: SparkTables, tmp_path: Path) -> None:
    class Lost(Exception):
        pass

    def lost() -> None:
        raise Lost

    pool = next(pools)
    push = Push({"k": INTEGER, "v": STRING}, [(1, "a")])
    spark.load(pool, as_load(tmp_path, 1, push))
    before = spark.find(pool, A), exported(spark, pool, A)
    more = Push({"k": INTEGER, "w": STRING}, [(1, "a"), (2, "b")])
    with pytest.raises(Lost):
        spark.load(pool, as_load(tmp_path, 2, more, still_mine=lost))
    assert (spark.find(pool, A), exported(spark, pool, A)) == before
    assert spark.receipt(pool, "job-2") is None


def test_several_tables_at_once(spark: SparkTables, tmp_path: Path) -> None:
    pool, tables = next(pools), [TableRef(f"t{n}") for n in range(4)]
    push = {"columns": {"k": INTEGER, "v": STRING}, "upserts": [(k, "a") for k in range(100)]}
    for round in range(2):
        loads = [
            as_load(tmp_path, round * 10 + n, Push(**push, targets=(ref,))) for n, ref in enumerate(tables)
        ]
        threads = [threading.Thread(target=spark.load, args=(pool, load)) for load in loads]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [len(exported(spark, pool, ref)) for ref in tables] == [100] * 4
    assert [len(spark.versions(pool, ref)) for ref in tables] == [2] * 4


def test_the_change_date_is_the_last_column(spark: SparkTables, tmp_path: Path) -> None:
    pool, ref = next(pools), TableRef("plain")
    spark.load(pool, as_load(tmp_path, 1, Push({"k": INTEGER}, [(1,)], targets=(ref,))))
    spark.load(pool, as_load(tmp_path, 2, Push({"k": INTEGER, "v": STRING}, [(2, "a")], targets=(ref,))))
    answer = spark.reader.query(pool, [ref], "SELECT * FROM plain ORDER BY k", max_rows=9, seconds=30)
    assert [name for name, _ in answer.columns] == ["k", "v", CHANGE_DATE]
    assert answer.rows[1] == [2, "a", "2024-02-29T14:00:00"]
