"""The Spark engine through crashes, its upkeep, and a cluster that loses parts: each with its own Spark.

As ``test_spark``. The cluster merges into a table of ``HEADRACE_SPARK_ROWS`` rows (5,000,000).
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import duckdb
import pytest

from harness import wait_for
from headrace.errors import Busy, NotUndoable
from headrace.model import DATETIME, INTEGER, STRING, Column, JobType, Receipt, TableRef, decimal
from headrace.tables import Load
from headrace.tables.spark import SparkTables
from scale.test_spark import POOL, START, A, B, Push, as_load, exported
from sparkparts import ONLY_WITH_SPARK, cluster, spark_tables

pytestmark = ONLY_WITH_SPARK

ROWS = int(os.environ.get("HEADRACE_SPARK_ROWS", "5000000"))


def test_upkeep_makes_one_file_and_drops_old_versions(tmp_path: Path) -> None:
    with spark_tables(tmp_path, keep_days=0, loads=3) as tables:
        for number in range(1, 5):
            push = Push({"k": INTEGER, "v": STRING}, [(number, "a"), (number + 10, "b")], keys=())
            tables.load(POOL, as_load(tmp_path, number, push))
        rows = sorted(exported(tables, POOL, A))
        assert tables.chores(POOL).tables == (A,)
        assert tables.chores(POOL).old_versions
        before = tables.stored(POOL).tables[0]
        tables.maintain(POOL, A)
        tables.expire(POOL)
        after = tables.stored(POOL).tables[0]
        assert (before.files > 1, after.files, after.old_bytes) == (True, 1, 0)
        assert sorted(exported(tables, POOL, A)) == rows
        assert tables.chores(POOL).tables == ()
        assert tables.receipt(POOL, "job-1")
        with pytest.raises(NotUndoable):
            tables.undo(POOL, "job-4", (A,))


def test_a_table_without_rows_keeps_no_old_file(tmp_path: Path) -> None:
    with spark_tables(tmp_path, keep_days=0) as tables:
        tables.load(POOL, as_load(tmp_path, 1, Push({"k": INTEGER}, [(1,)])))
        tables.load(POOL, as_load(tmp_path, 2, Push({"k": INTEGER}, [], type=JobType.REPLACE)))
        tables.expire(POOL)
        [stored] = tables.stored(POOL).tables
        assert (stored.files, stored.old_bytes) == (0, 0)
        assert list((tmp_path / "pools").rglob("*.parquet")) == []
        assert [v.job_id for v in tables.versions(POOL, A)] == ["job-2"]


# -- crashes -------------------------------------------------------------------------------------------

_LOADS = """
import pickle, sys
from pathlib import Path
from headrace import crashpoints
from headrace.tables import Load
from sparkparts import spark_tables

if __name__ == "__main__":
    folder, point = Path(sys.argv[1]), sys.argv[2]
    with spark_tables(folder) as tables:
        crashpoints.arm(point)
        fields = pickle.loads((folder / "load").read_bytes())
        tables.load("pool-1", Load(**fields, still_mine=lambda: None))
"""


@pytest.mark.parametrize("point", ["before-commit", "committing", "committed"])
def test_a_load_that_is_killed_is_done_once(tmp_path: Path, point: str) -> None:
    with spark_tables(tmp_path) as tables:
        first = Push({"k": INTEGER, "v": STRING}, [(k, "a") for k in range(9)], targets=(A, B))
        tables.load(POOL, as_load(tmp_path, 1, first))
    second = Push({"k": INTEGER, "w": STRING}, [(k, "b") for k in range(5, 20)], [(0, None)], targets=(A, B))
    load = as_load(tmp_path, 2, second)
    run_and_die(tmp_path, load, point)
    with spark_tables(tmp_path) as tables:
        known = tables.receipt(POOL, "job-2")
        assert (known is not None) is (point == "committed")
        receipt = tables.load(POOL, as_load(tmp_path, 2, second, fence=2))
        assert (receipt.inserted, receipt.updated, receipt.deleted) == (11, 4, 1)
        for ref in (A, B):
            assert len(exported(tables, POOL, ref)) == 19
            assert [v.job_id for v in tables.versions(POOL, ref)] == ["job-2", "job-1"]


def run_and_die(folder: Path, load: Load, point: str) -> None:
    fields = {name: value for name, value in vars(load).items() if name != "still_mine"}
    (folder / "load").write_bytes(pickle.dumps(fields))
    (folder / "loads.py").write_text(_LOADS)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, str(folder / "loads.py"), str(folder), point]
    assert subprocess.run(command, env=env, check=False).returncode == -signal.SIGKILL


def test_a_driver_that_was_killed_is_started_anew(tmp_path: Path) -> None:
    with spark_tables(tmp_path) as tables:
        tables.load(POOL, as_load(tmp_path, 1, Push({"k": INTEGER}, [(1,)])))
        kill_driver(tables)
        tables.load(POOL, as_load(tmp_path, 2, Push({"k": INTEGER}, [(2,)])))
        third = Push({"k": INTEGER, "v": STRING}, [(2, "a"), (3, "a")])
        with pytest.raises(Busy):
            tables.load(POOL, as_load(tmp_path, 3, third, still_mine=lambda: kill_driver(tables)))
        assert tables.receipt(POOL, "job-3") is None
        assert len(exported(tables, POOL, A)) == 2
        tables.load(POOL, as_load(tmp_path, 3, third, fence=2))
        assert len(exported(tables, POOL, A)) == 3


def kill_driver(tables: SparkTables) -> None:
    process = tables._driver._session.sparkContext._gateway.proc
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


# -- a cluster -----------------------------------------------------------------------------------------


def test_a_merge_outlives_an_executor_and_a_worker(tmp_path: Path) -> None:
    base, change = tmp_path / "base.parquet", tmp_path / "change.parquet"
    made_rows(base, 0, ROWS)
    made_rows(change, ROWS - ROWS // 10, ROWS // 5, factor=2)
    columns = ("id", INTEGER), ("k2", INTEGER), ("v", STRING), ("amount", decimal(12, 2)), ("at", DATETIME)
    usual: dict[str, Any] = {
        "columns": tuple(Column(name, type) for name, type in columns),
        "targets": (TableRef("big"),),
        "makes_table": True,
        "keys": ("id", "k2"),
        "unique": True,
        "deletes": (),
        "delete_rows": 0,
        "strategy": None,
        "duplicates": 0,
        "change_date": START,
        "still_mine": lambda: None,
        "fence": 1,
    }
    small = {"spark__executor__memory": "800m", "spark__sql__shuffle__partitions": "8"}
    with cluster(tmp_path) as parts, spark_tables(tmp_path, parts.url, **small) as tables:
        replace = {"type": JobType.REPLACE, "upserts": (base,), "upsert_rows": ROWS}
        tables.load(POOL, Load(job_id="job-1", **usual, **replace))
        delta = {"type": JobType.DELTA, "upserts": (change,), "upsert_rows": ROWS // 5}
        receipts: list[Receipt] = []
        merging = threading.Thread(
            target=lambda: receipts.append(tables.load(POOL, Load(job_id="job-2", **usual, **delta)))
        )
        merging.start()
        busy_executor(tables, merging)
        wait_for(lambda: parts.executors(0), 120, "an executor on the first worker")
        parts.executors(0)[0].kill()
        busy_executor(tables, merging)
        for executor in parts.executors(1):
            executor.kill()
        parts.workers[1].kill()
        assert merging.is_alive()
        merging.join()
        assert [(r.inserted, r.updated, r.deleted) for r in receipts] == [(ROWS // 10, ROWS // 10, 0)]
        assert [v.job_id for v in tables.versions(POOL, TableRef("big"))] == ["job-2", "job-1"]
        asked = "SELECT count(*), count(DISTINCT id), sum(amount)::VARCHAR FROM big"
        answer = tables.reader.query(POOL, [TableRef("big")], asked, max_rows=1, seconds=300)
    whole = f"SELECT count(*), count(*), sum(amount)::VARCHAR FROM (SELECT * FROM '{base}' WHERE id < "
    expected = duckdb.sql(f"{whole} {ROWS - ROWS // 10} UNION ALL SELECT * FROM '{change}')").fetchall()
    assert answer.rows == [list(expected[0])]
    assert answer.rows[0][0] == ROWS + ROWS // 10


def made_rows(path: Path, first: int, rows: int, factor: int = 1) -> None:
    duckdb.sql(
        f"COPY (SELECT i AS id, i % 7 AS k2, 'name; \"ü\" ' || i AS v, ((i * {factor}) % 1000000 / 100)::"
        "DECIMAL(12,2) AS amount, TIMESTAMP '2024-01-01' + to_seconds(i % 1000000) AS at "
        f"FROM range({first}, {first + rows}) t(i)) TO '{path}' (FORMAT parquet, PARQUET_VERSION V2)"
    )


def busy_executor(tables: SparkTables, merging: threading.Thread) -> None:
    """Waits until tasks run."""
    context = tables._driver._session.sparkContext
    tracker = context.statusTracker()

    def running() -> bool:
        assert merging.is_alive(), "the merge has ended"
        infos = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
        return any(info and info.numActiveTasks for info in infos)

    wait_for(running, timeout=600, what="running tasks", every=0.05)
