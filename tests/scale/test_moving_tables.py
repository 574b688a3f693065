"""From the lake to Spark: each table as it is, broken off after any of them, and equal at the end.

Only where ``HEADRACE_SPARK`` is set (make test-spark).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness import RunningServer, create_pool, run_job, sql
from headrace import house, wiring
from headrace.folders import CannotStart
from headrace.moving import Different
from headrace.settings import Engine, Settings
from scale.test_moving import Broken, broken_off
from sparkparts import ONLY_WITH_SPARK, SMALL

pytestmark = ONLY_WITH_SPARK

SCHEMA = {
    "tableName": "typed",
    "columns": [
        {"columnName": "i d", "columnType": "INTEGER"},
        {"columnName": "f", "columnType": "FLOAT"},
        {"columnName": "m", "columnType": "FLOAT", "decimals": 2},
        {"columnName": "b", "columnType": "BOOLEAN"},
        {"columnName": "day", "columnType": "DATE"},
        {"columnName": "clock", "columnType": "TIME"},
        {"columnName": "at", "columnType": "DATETIME"},
    ],
}
TYPED = b"i d,f,m,b,day,clock,at\n1,1.5,2.25,true,2024-02-29,10:00:01,2024-02-29 10:00:00.123456\n2,,,,,,\n"


def seen(api: Any, pool: str) -> dict[str, list[str]]:
    """All rows with their change dates."""
    names = [table["name"] for table in api.get(f"/api/v1/pools/{pool}/tables").json()]
    return {name: sorted(map(str, sql(api, pool, f'SELECT * FROM "{name}"'))) for name in names}


def settings_of(folder: Path) -> Settings:
    config = folder.parent / "spark.conf"
    config.write_text("".join(f"{name} {value}\n" for name, value in SMALL.items()))
    return Settings(
        data_dir=folder, engine=Engine.SPARK, spark_url="local[2]", spark_config=config, load_memory_mb=1024
    )


def environment(settings: Settings) -> dict[str, str]:
    return {
        "HEADRACE_ENGINE": "spark",
        "HEADRACE_SPARK_URL": settings.spark_url,
        "HEADRACE_SPARK_CONFIG": str(settings.spark_config),
        "HEADRACE_LOAD_MEMORY_MB": str(settings.load_memory_mb),
    }


def test_tables_move(tmp_path: Path) -> None:
    server = RunningServer(tmp_path / "data")
    with server, server.client() as api:
        pool, other = create_pool(api), create_pool(api, "other")
        rows = "".join(f"{n},{n % 7}\n" for n in range(5_000))
        for data in (f"k,v\n{rows}".encode(), b"k,v\n1,new\n7000,more\n"):
            job = run_job(api, pool, "t", [data], fileType="CSV", type="DELTA", keys=["k"])
        assert run_job(api, other, "typed", [TYPED], fileType="CSV", tableSchema=SCHEMA)["status"] == "DONE"
        run_job(api, other, "twice", [b"a\n1\n1\n"], fileType="CSV", type="DELTA")
        before = {p: seen(api, p) for p in (pool, other)}
    settings, told = settings_of(server.data_dir), set[str]()
    amounts = {(amount.what, amount.count) for amount in house.foreseen(settings)}
    assert (f"rows of table t of {pool}", 5001) in amounts
    for _ in range(3):  # what is said first, then two tables
        with pytest.raises(Broken):
            house.move(settings, broken_off(told))
    with pytest.raises(CannotStart, match="go on with 'headrace migrate'"):
        wiring.refuse_other_engine(settings, server.data_dir)
    house.move(settings, print)
    with pytest.raises(CannotStart, match="have moved to Iceberg"):
        wiring.refuse_other_engine(Settings(data_dir=server.data_dir), server.data_dir)
    moved = RunningServer(server.data_dir, env=environment(settings), name="moved")
    with moved, moved.client() as api:
        assert {p: seen(api, p) for p in (pool, other)} == before
        undone = api.post(f"/api/v1/pools/{pool}/jobs/{job['id']}/undo")
        assert undone.status_code == 409
        run_job(api, pool, "t", [b"k,v\n1,newest\n"], fileType="CSV", type="DELTA", keys=["k"])
        assert sql(api, pool, "SELECT count(*), min(v) FILTER (k = '1') FROM t") == [[5001, "newest"]]


def test_what_was_pushed_meanwhile_is_found(tmp_path: Path) -> None:
    server = RunningServer(tmp_path / "data")
    with server, server.client() as api:
        pool = create_pool(api)
        run_job(api, pool, "t", [b"a\n1\n"], fileType="CSV")
    settings, told = settings_of(server.data_dir), set[str]()
    for _ in range(2):
        with pytest.raises(Broken):
            house.move(settings, broken_off(told))
    with server, server.client() as api:
        run_job(api, pool, "t", [b"a\n2\n"], fileType="CSV")
    with pytest.raises(Different, match="table t of"):
        house.move(settings, print)
