"""The Spark engine over the catalogs that clusters have, JDBC and REST, beside the lake. As ``test_spark``.

Over REST the tables are in a store of objects, which no reader of ours reads: the test copies their files
into a folder for it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlparse

import pytest

from headrace.errors import Busy, QueryRefused
from headrace.model import INTEGER, STRING
from headrace.objects import Access, Objects
from headrace.tables import icebergmirror
from headrace.tables.iceberg import IcebergTable
from headrace.tables.spark import SparkTables
from icebergcatalogs import over_jdbc, over_rest
from objectstore import ObjectStore
from scale.test_spark import FOR_GOOD, A, Both, Push, as_load, both, lake, push_every_type, run_program
from sparkparts import ONLY_WITH_SPARK, spark_tables

pytestmark = ONLY_WITH_SPARK

PROGRAMS = int(os.environ.get("HEADRACE_SPARK_PROGRAMS", "4")) // 3 or 1
SEED = int(os.environ.get("HEADRACE_SPARK_SEED", "20261130"))

__all__ = ["both", "lake"]


@pytest.fixture(scope="module", params=["jdbc", "rest"])
def spark(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkTables]:
    """One after the other: a process has one Spark."""
    folder = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        if request.param == "jdbc":
            config = stack.enter_context(over_jdbc(folder))
        else:
            store = stack.enter_context(ObjectStore(catalog=True))
            config = stack.enter_context(over_rest(folder, store))
        yield stack.enter_context(spark_tables(folder, keep_days=FOR_GOOD, config=config))


@pytest.fixture
def copied(tmp_path: Path, spark: SparkTables, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files in a store are read from a folder, into which they are copied when a reader looks for them."""
    settings = spark._driver._config
    if f"{_STORE}endpoint" not in settings:
        return
    access = Access(*(settings[f"{_STORE}{name}"] for name in _ACCESS))
    listed = icebergmirror._data_files

    def copies(found: IcebergTable) -> list[str]:
        return [str(_copy(found.table.location(), path, access, tmp_path)) for path in listed(found)]

    monkeypatch.setattr(icebergmirror, "_data_files", copies)
    monkeypatch.setattr(icebergmirror, "_folder", lambda found: tmp_path if found else None)


_STORE = "spark.sql.catalog.lake.s3."
_ACCESS = ("endpoint", "access-key-id", "secret-access-key")


def _copy(location: str, path: str, access: Access, folder: Path) -> Path:
    bucket, name = urlparse(location).netloc, path.lstrip("/")
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        Objects(f"s3://{bucket}", access).fetch(name, target)
    return target


@pytest.mark.usefixtures("copied")
@pytest.mark.parametrize("number", range(PROGRAMS))
def test_programs_of_loads_and_undos_end_as_in_the_lake(both: Both, number: int) -> None:
    run_program(both, random.Random(f"{SEED}-{number}"))


@pytest.mark.usefixtures("copied")
def test_every_type(both: Both) -> None:
    push_every_type(both)


def test_a_load_that_lost_a_race_changes_nothing(spark: SparkTables, tmp_path: Path) -> None:
    """Another commit came between: it is tried again, on what is there then."""
    pool, columns = "race", {"k": INTEGER, "v": STRING}
    spark.load(pool, as_load(tmp_path, 1, Push(columns, [(1, "a")])))

    def outrun() -> None:
        with spark._opened() as iceberg:
            found = iceberg.find(pool, A)
            assert found
            iceberg.point(found, found.state)  # as whoever commits without our lock

    second = Push(columns, [(1, "b"), (2, "b")])
    with pytest.raises(Busy):
        spark.load(pool, as_load(tmp_path, 2, second, still_mine=outrun))
    assert spark.receipt(pool, "job-2") is None
    assert [v.job_id for v in spark.versions(pool, A)] == ["job-1"]
    receipt = spark.load(pool, as_load(tmp_path, 2, second, fence=2))
    assert (receipt.inserted, receipt.updated) == (1, 1)
    assert [v.job_id for v in spark.versions(pool, A)] == ["job-2", "job-1"]


@pytest.mark.parametrize("spark", ["rest"], indirect=True)
def test_tables_in_a_store_are_not_read_by_sql(spark: SparkTables, tmp_path: Path) -> None:
    pool = "refused"
    spark.load(pool, as_load(tmp_path, 1, Push({"k": INTEGER}, [(1,)])))
    with pytest.raises(QueryRefused, match="not in a folder of this machine"):
        spark.reader.query(pool, [A], "SELECT 1", max_rows=1, seconds=30)
    spark.drop_pool(pool)
    assert spark.tables(pool) == []
