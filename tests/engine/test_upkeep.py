"""Upkeep of real lakes: small files become one, and no row changes by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.locks import LocksOfProcess
from headrace.model import (
    CHANGE_DATE,
    DATETIME,
    FLOAT,
    INTEGER,
    STRING,
    Column,
    ColumnType,
    JobType,
    Table,
    TableRef,
    UpsertStrategy,
)
from headrace.tables import Load
from headrace.tables.catalog import table_name
from headrace.tables.ducklake import DuckLakeTables
from headrace.tables.lakedata import LakeData
from headrace.tables.sandbox import Sandbox
from headrace.tables.upkeep import _small
from lakes import PLACES, files_of, place, place_settings

START = datetime(2024, 2, 29, 12, tzinfo=UTC)
ARROW = {STRING: pa.string(), INTEGER: pa.int64(), FLOAT: pa.float64(), DATETIME: pa.timestamp("us")}
Columns = dict[str, ColumnType]


def arrow_type(type: ColumnType) -> pa.DataType:
    return ARROW[type] if type in ARROW else pa.decimal128(type.precision, type.scale)


Rows = Sequence[tuple[Any, ...]]

KB, MB = 1 << 10, 1 << 20
K_V: Columns = {"k": INTEGER, "v": STRING}


@dataclass
class Lake:
    """A pool, and loads into one table of it."""

    tables: DuckLakeTables
    folder: Path
    pool: str
    ref: TableRef
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def push(
        self,
        columns: Columns,
        upserts: Rows = (),
        deletes: Rows = (),
        *,
        keys: tuple[str, ...] = (),
        type: JobType = JobType.DELTA,
        strategy: UpsertStrategy | None = None,
    ) -> datetime:
        """Commits one job; answers its change date."""
        number = next(self.numbers)
        change_date = START + timedelta(hours=number)
        self.tables.load(
            self.pool,
            Load(
                job_id=f"job-{number}",
                fence=1,
                type=type,
                targets=(self.ref,),
                columns=tuple(Column(name, type) for name, type in columns.items()),
                makes_table=True,
                upserts=self._staged(f"{number}-upserts", columns, upserts),
                upsert_rows=len(upserts),
                deletes=self._staged(f"{number}-deletes", columns, deletes),
                delete_rows=len(deletes),
                keys=keys,
                unique=bool(keys),
                strategy=strategy,
                duplicates=0,
                change_date=change_date,
                still_mine=lambda: None,
            ),
        )
        return change_date.replace(tzinfo=None)

    def _staged(self, name: str, columns: Columns, rows: Rows) -> tuple[Path, ...]:
        if not rows:
            return ()
        path = self.folder / f"{name}.parquet"
        arrays = [
            pa.array(v, arrow_type(t)) for v, t in zip(zip(*rows, strict=True), columns.values(), strict=True)
        ]
        pq.write_table(pa.Table.from_arrays(arrays, list(columns)), path)
        return (path,)

    def maintain(self) -> None:
        self.tables.maintain(self.pool, self.ref)
        self.tables.expire(self.pool)

    @property
    def data(self) -> LakeData:
        return self.tables.files(self.pool).data

    @property
    def due(self) -> bool:
        return self.ref in self.tables.chores(self.pool).tables

    def rows(self, version: int | None = None) -> list[tuple[Any, ...]]:
        """All rows, the change date last, in the order of their keys."""
        at = f" AT (VERSION => {version})" if version is not None else ""
        table = self.tables.find(self.pool, self.ref)  # its rows are counted here
        assert table
        columns = ", ".join(f'"{c.name}"' for c in table.columns)
        with self.tables._cursor(self.pool) as (cursor, lake):
            name = table_name(lake, table.ref)
            found = cursor.execute(f'SELECT {columns}, "{CHANGE_DATE}" FROM {name}{at}').fetchall()
        return sorted(found, key=repr)

    def table(self) -> Table:
        found = self.tables.table(self.pool, self.ref)
        assert found
        return found

    def files(self) -> int:
        """Of the table as it is now."""
        with self.tables._cursor(self.pool) as (cursor, lake):
            schema = self.ref.connection_id or "main"
            query = "SELECT count(*) FROM ducklake_list_files(?, ?, schema => ?)"
            return int(cursor.execute(query, [lake.alias, self.ref.name, schema]).fetchall()[0][0])

    def versions(self) -> list[int]:
        return [v.version for v in self.tables.versions(self.pool, self.ref)]


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """In memory where that is possible: a lake syncs a lot, and none of these tests is about that."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None, prefix="headrace-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module", params=PLACES)
def engines(disk: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[float, int], DuckLakeTables]]:
    """One engine for each way to keep house."""
    sandbox = Sandbox(processes=1, memory_mb=128, temp=disk)  # no test asks it
    opened: dict[tuple[float, int], DuckLakeTables] = {}
    folder = disk / request.param

    def engine(keep_days: float, loads: int) -> DuckLakeTables:
        if (keep_days, loads) not in opened:
            root = folder / f"{len(opened)}"
            catalogs, data = place(place_settings(request.param, request), root / "pools")
            opened[keep_days, loads] = DuckLakeTables(
                root / "pools",
                memory_mb=256,
                temp=root / "temp",
                locks=LocksOfProcess(),
                catalogs=catalogs,
                data=data,
                sandbox=sandbox,
                keep_versions_days=keep_days,
                upkeep_loads=loads,
            )
        return opened[keep_days, loads]

    yield engine
    for tables in opened.values():
        tables.close()
    sandbox.close()


NewLake = Callable[..., Lake]
pools = (f"pool-{number}" for number in count())


@pytest.fixture
def new_lake(engines: Callable[[float, int], DuckLakeTables], disk: Path) -> NewLake:
    def make(ref: TableRef = TableRef("t"), *, keep_days: float = 7.0, loads: int = 1) -> Lake:
        pool = next(pools)
        folder = disk / "staged" / pool
        folder.mkdir(parents=True)
        return Lake(engines(keep_days, loads), folder, pool, ref)

    return make


@pytest.fixture
def lake(new_lake: NewLake) -> Lake:
    return new_lake()


def some_pushes(lake: Lake, pushes: int = 5) -> dict[int, tuple[Any, ...]]:
    """Upserts and deletes that overlap; answers what must be there, by key."""
    expected: dict[int, tuple[Any, ...]] = {}
    for number in range(pushes):
        upserts = [(k, f"{number}-{k}") for k in range(number * 10, number * 10 + 20)]
        deletes = [(k, None) for k in range(number * 10 - 5, number * 10 - 2)]
        at = lake.push(K_V, upserts, deletes, keys=("k",))
        for k, _ in deletes:
            expected.pop(k, None)
        expected |= {k: (k, v, at) for k, v in upserts}
    return expected


def in_order(expected: dict[int, tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted(expected.values(), key=repr)


# -- nothing changes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ref", [TableRef("t"), TableRef('a/b.c "q" é', "connection-1")], ids=["main", "odd"])
def test_small_files_become_one_and_nothing_else_changes(new_lake: NewLake, ref: TableRef) -> None:
    lake = new_lake(ref)
    expected = some_pushes(lake)
    before, receipt = lake.table(), lake.tables.receipt(lake.pool, "job-2")
    assert lake.rows() == in_order(expected)
    assert lake.files() == 5
    lake.maintain()
    assert lake.rows() == in_order(expected)
    assert lake.table() == before
    assert lake.tables.receipt(lake.pool, "job-2") == receipt is not None
    assert before.unique_keys == ("k",)
    assert lake.files() == 1


def test_pushes_go_on_after_it(lake: Lake) -> None:
    expected = some_pushes(lake, 3)
    for number in range(3):
        lake.maintain()
        k, gone = number * 3, number * 3 + 1
        at = lake.push(K_V, [(k, "again"), (1000 + number, "new")], [(gone, None)], keys=("k",))
        expected |= {k: (k, "again", at), 1000 + number: (1000 + number, "new", at)}
        expected.pop(gone, None)
        assert lake.rows() == in_order(expected)
    lake.maintain()
    assert (lake.rows(), lake.files()) == (in_order(expected), 1)


def test_equal_rows_are_all_kept(lake: Lake) -> None:
    dates = [lake.push(K_V, [(1, "same"), (1, "same"), (None, None)]) for _ in range(3)]
    expected = sorted(
        [row for at in dates for row in [(1, "same", at), (1, "same", at), (None, None, at)]], key=repr
    )
    lake.maintain()
    assert (lake.rows(), lake.files()) == (expected, 1)
    assert lake.table().unique_keys == ()


def test_columns_that_came_later(lake: Lake) -> None:
    first = lake.push({"k": INTEGER}, [(1,), (2,)], keys=("k",))
    second = lake.push(
        {"k": INTEGER, "x": FLOAT, "at": DATETIME}, [(3, 0.5, datetime(2024, 1, 1))], keys=("k",)
    )
    expected = [(1, None, None, first), (2, None, None, first), (3, 0.5, datetime(2024, 1, 1), second)]
    lake.maintain()
    assert lake.rows() == expected
    assert [c.name for c in lake.table().columns] == ["k", "x", "at"]


def test_a_column_called_filename(lake: Lake) -> None:
    columns: Columns = {"filename": STRING, "n": INTEGER}
    dates = [lake.push(columns, [(f"{n}", n)], keys=("filename",)) for n in range(4)]
    lake.push(columns, (), [("1", None)], keys=("filename",))
    lake.maintain()
    assert lake.rows() == [(f"{n}", n, dates[n]) for n in (0, 2, 3)]
    assert lake.files() == 1


def test_columns_called_as_the_engines_own(lake: Lake) -> None:
    names = ["rowid", "file_row_number", "snapshot_id", "K v"]
    columns: Columns = {**dict.fromkeys(names, STRING), "n": INTEGER}
    dates = [lake.push(columns, [(*names, n)], keys=("n",)) for n in range(3)]
    lake.maintain()
    assert lake.rows() == [(*names, n, at) for n, at in enumerate(dates)]
    assert lake.files() == 1


def test_a_table_whose_rows_are_all_gone(lake: Lake) -> None:
    for n in range(2):
        lake.push(K_V, [(n, "x")], keys=("k",))
    lake.push(K_V, (), [(n, None) for n in range(2)], keys=("k",))
    lake.maintain()
    assert (lake.rows(), lake.files()) == ([], 0)
    at = lake.push(K_V, [(1, "back")], keys=("k",))
    assert lake.rows() == [(1, "back", at)]


def test_deleted_rows_of_a_large_file_are_taken_out(lake: Lake) -> None:
    rows = [(k, f"{k * 7919 % 1_000_003:>40}") for k in range(100_000)]
    at = lake.push(K_V, rows, keys=("k",))
    lake.push(K_V, (), [(k, None) for k in range(0, 100_000, 2)], keys=("k",))
    lake.maintain()
    assert lake.rows() == sorted([(k, v, at) for k, v in rows if k % 2], key=repr)
    with lake.tables._cursor(lake.pool) as (cursor, attached):
        files = cursor.execute(f"FROM ducklake_list_files('{attached.alias}', 't')").fetchall()
        assert cursor.execute(f"SELECT count(*) FROM read_parquet('{files[0][0]}')").fetchall() == [(50_000,)]


def test_rows_without_a_key_stay_in_the_order_of_their_arrival(lake: Lake) -> None:
    """Of a key that was appended twice, the newest row passes its values on."""
    rows = count()
    for _ in range(8):
        for _ in range(4):
            lake.push({"n": INTEGER}, [(next(rows),) for _ in range(3000)])
        lake.maintain()
    with lake.tables._cursor(lake.pool) as (cursor, attached):
        name = table_name(attached, lake.ref)
        before = f"SELECT n, lag(n) OVER (ORDER BY rowid) AS previous FROM {name}"
        assert cursor.execute(f"SELECT count(*) FROM ({before}) WHERE previous > n").fetchall() == [(0,)]


def test_of_a_key_that_was_appended_twice_the_newest_row_goes_on(lake: Lake) -> None:
    """A later push without its column keeps the value of the newest row."""
    for n in range(4):
        lake.push({"k": INTEGER, "v": STRING, "w": INTEGER}, [(k, f"{n}", n) for k in range(50)])
    at = lake.push({"k": INTEGER, "w": INTEGER}, [(k, -1) for k in range(50)], keys=("k",))
    assert lake.rows() == sorted([(k, "3", -1, at) for k in range(50)], key=repr)


def test_only_the_table_itself_is_touched(new_lake: NewLake) -> None:
    lake = new_lake()
    other = Lake(lake.tables, lake.folder, lake.pool, TableRef("other"), lake.numbers)
    expected, others = some_pushes(lake, 2), some_pushes(other, 2)
    lake.maintain()
    assert (lake.files(), other.files()) == (1, 2)
    assert (lake.rows(), other.rows()) == (in_order(expected), in_order(others))


# -- versions ------------------------------------------------------------------------------------------


def test_old_versions_stay_readable_when_they_are_kept(new_lake: NewLake) -> None:
    lake = new_lake(keep_days=1)
    seen: dict[int, list[tuple[Any, ...]]] = {}
    for n in range(4):
        lake.push(K_V, [(n, "new"), (n + 1, "new")], [(n - 2, None)], keys=("k",))
        seen[lake.versions()[0]] = lake.rows()
    lake.maintain()
    assert seen.keys() <= set(lake.versions())
    assert {version: lake.rows(version) for version in seen} == seen


def test_old_versions_go_when_they_are_not_kept(new_lake: NewLake) -> None:
    lake = new_lake(keep_days=0)
    expected = some_pushes(lake, 3)
    old = lake.versions()
    lake.maintain()
    assert lake.rows() == in_order(expected)
    assert not set(old) & set(lake.versions())
    with pytest.raises(Exception, match=r"[Nn]o snapshot"):
        lake.rows(old[0])


@pytest.mark.parametrize(("keep_days", "kept"), [(0.02, True), (0.5, True), (0, False)])
def test_versions_are_kept_to_the_minute_and_files_for_an_hour(
    new_lake: NewLake, keep_days: float, kept: bool
) -> None:
    """Also when the hour before and now are on one day, which is when the engine would take all for past."""
    lake = new_lake(keep_days=keep_days, loads=100)
    for value in "abc":
        lake.push(K_V, [(n, value) for n in range(2000)], type=JobType.REPLACE)
    versions = [v.version for v in lake.tables.versions(lake.pool, lake.ref)]
    before = files_of(lake.data)
    lake.tables.expire(lake.pool)
    left = [v.version for v in lake.tables.versions(lake.pool, lake.ref)]
    assert left == (versions if kept else versions[:1])
    assert files_of(lake.data) == before


def test_nothing_that_is_needed_leaves_the_disk(new_lake: NewLake) -> None:
    lake = new_lake(keep_days=0)
    expected: dict[int, tuple[Any, ...]] = {}
    for n in range(3):
        at = lake.push(K_V, [(n, "x"), (n + 1, "y")], keys=("k",))
        expected |= {n: (n, "x", at), n + 1: (n + 1, "y", at)}
        lake.maintain()
        lake.maintain()
        assert lake.rows() == in_order(expected)


# -- when ----------------------------------------------------------------------------------------------


def test_it_is_due_once_in_so_many_loads(new_lake: NewLake) -> None:
    lake = new_lake(loads=3)
    files = []
    for n in range(7):
        lake.push(K_V, [(n, "x")], keys=("k",))
        if lake.due:
            lake.maintain()
            assert not lake.due
        files.append(lake.files())
    assert files == [1, 2, 1, 2, 1, 2, 1]


def test_a_restart_forgets_no_load(new_lake: NewLake) -> None:
    lake = new_lake(loads=3)
    for n in range(3):
        assert not lake.due
        lake.push(K_V, [(n, "x")], keys=("k",))
        lake.tables.forget_all()
    assert lake.due


def test_deletions_of_a_large_file_make_it_due(new_lake: NewLake) -> None:
    lake = new_lake(loads=3)
    lake.push(K_V, [(k, f"{k * 7919 % 1_000_003:>40}") for k in range(100_000)], keys=("k",))
    for n in range(3):
        assert not lake.due
        lake.push(K_V, (), [(n, None)], keys=("k",))
    assert lake.due
    lake.maintain()
    assert not lake.due
    assert (len(lake.rows()), lake.files()) == (99_997, 1)


def test_a_large_file_of_which_much_is_deleted_is_due_at_once(new_lake: NewLake) -> None:
    lake = new_lake(loads=100)
    lake.push(K_V, [(k, f"{k * 7919 % 1_000_003:>40}") for k in range(100_000)], keys=("k",))
    lake.push(K_V, (), [(k, None) for k in range(15_000)], keys=("k",))
    assert not lake.due
    lake.push(K_V, (), [(k, None) for k in range(15_000, 30_000)], keys=("k",))
    assert lake.due
    lake.maintain()
    assert not lake.due
    assert len(lake.rows()) == 70_000


@pytest.mark.parametrize(
    ("sizes", "small"),
    [
        ([], 0),
        ([1], 1),
        ([KB, 2 * KB, 256 * KB], 3),
        ([KB, 2 * KB, 257 * KB], 2),
        ([200 * KB, 200 * KB, 400 * KB], 3),
        ([200 * KB, 200 * KB, 401 * KB, 401 * KB], 2),
        ([5 * MB] * 4, 4),
        ([5 * MB, 6 * MB], 1),
        ([17 * MB] * 4, 0),
        ([16 * MB, 16 * MB, 17 * MB], 2),
    ],
)
def test_files_of_one_size_are_made_one(sizes: list[int], small: int) -> None:
    assert _small(sizes) == small


def test_versions_that_are_old_are_due_when_they_are_many(new_lake: NewLake) -> None:
    for keep_days, due in ((7.0, [False] * 5), (0.0, [False] * 3 + [True] * 2)):
        lake, seen = new_lake(loads=6, keep_days=keep_days), []
        for n in range(5):
            lake.push(K_V, [(n, "x")], type=JobType.REPLACE)
            seen.append(lake.tables.chores(lake.pool).old_versions)
        assert seen == due
        lake.tables.expire(lake.pool)
        assert not lake.tables.chores(lake.pool).old_versions


def test_receipts_do_not_become_ever_more_files(new_lake: NewLake) -> None:
    lake = new_lake(loads=2)
    for n in range(6):
        lake.push(K_V, [(n, "x")], keys=("k",))
        lake.maintain()
    of_receipts = [path for path in files_of(lake.data) if path.startswith(f"{lake.data.place}headrace/")]
    with lake.tables._cursor(lake.pool) as (cursor, attached):
        found = cursor.execute(f"FROM ducklake_list_files('{attached.alias}', 'loads', schema => 'headrace')")
        assert len(found.fetchall()) < 3 < len(of_receipts)
    assert all(lake.tables.receipt(lake.pool, f"job-{n}") for n in range(1, 7))
    assert lake.tables.forget_jobs(lake.pool, ["job-1", "job-2", "no such job"]) == 2
    known = [bool(lake.tables.receipt(lake.pool, f"job-{n}")) for n in range(1, 7)]
    assert known == [False, False, True, True, True, True]


def test_the_versions_that_are_kept_name_their_jobs(new_lake: NewLake) -> None:
    for keep_days, named in ((7.0, {"job-1", "job-2", "job-3"}), (0.0, {"job-3"})):
        lake = new_lake(keep_days=keep_days)
        for n in range(3):
            lake.push(K_V, [(n, "x")], keys=("k",))
        lake.tables.expire(lake.pool)
        assert set(lake.tables.named_jobs(lake.pool)) == named


def test_a_pool_that_rests_is_let_go_of_and_comes_back(new_lake: NewLake) -> None:
    lake = new_lake()
    lake.push(K_V, [(1, "x")], keys=("k",))
    lake.tables.rest(3600)
    assert lake.pool in lake.tables._lakes
    with lake.tables._cursor(lake.pool):
        lake.tables.rest(0)
        assert lake.pool in lake.tables._lakes, "it is in use"
    lake.tables.rest(0)
    assert lake.pool not in lake.tables._lakes
    assert len(lake.rows()) == 1


def test_a_table_that_is_not_there_needs_none(lake: Lake) -> None:
    lake.tables.open_pool(lake.pool)
    lake.maintain()
    assert lake.tables.table(lake.pool, lake.ref) is None
