"""``rejects`` in users' SQL, in real children: the rows of this pool, never in the way of its tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from duckdb_extensions import import_extension

from engine.test_sandbox import Lake, new_lake
from headrace.errors import QueryRefused
from headrace.model import Reject, TableRef
from headrace.tables.sandbox import Sandbox

ORDERS = TableRef("orders")


@pytest.fixture(scope="module", autouse=True)
def extensions() -> None:
    for extension in ("ducklake", "sqlite_scanner"):
        import_extension(extension)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    made = Sandbox(processes=1, memory_mb=256)
    yield made
    made.close()


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    other = new_lake(tmp_path / "other")
    other.writer.close()
    write(tmp_path / "other", "theirs", 1, Reject(1, None, "secret", "", "x"))
    made = new_lake(tmp_path / "mine")
    made.write("CREATE TABLE orders AS SELECT 1 AS id")
    (tmp_path / "mine" / "rejects").mkdir()  # the writer makes it with the pool
    yield made
    made.writer.close()


def write(pool: Path, job: str, chunk: int, *rejects: Reject) -> None:
    path = pool / "rejects" / f"job_id={job}" / f"{chunk}.ndjson"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(vars(r), ensure_ascii=False) + "\n" for r in rejects))


def ask(sandbox: Sandbox, lake: Lake, sql: str, *tables: TableRef) -> list[list[Any]]:
    return sandbox.query(lake.files, [ORDERS, *tables], sql, max_rows=100, seconds=20, rejects=True).rows


def fill(lake: Lake) -> None:
    pool = lake.files.rejects.parent
    write(pool, "job-1", 1, Reject(2, "a", "x", "INTEGER", "value-does-not-fit", '{"a":"x"}', 10))
    write(pool, "job-1", 12, Reject(3, "a", None, "INTEGER", "value-does-not-fit", '{"a":"y"}'))
    write(pool, "1", 1, Reject(2, None, None, "1 fields instead of 2", "too-few-fields", "z\né"))


def test_rows_of_all_jobs(sandbox: Sandbox, lake: Lake) -> None:
    assert ask(sandbox, lake, "SELECT * FROM rejects") == []
    fill(lake)
    assert ask(sandbox, lake, "SELECT * FROM Rejects ORDER BY job_id, chunk") == [
        ["1", 1, 2, None, None, None, "1 fields instead of 2", "too-few-fields", "z\né"],
        ["job-1", 1, 2, 10, "a", "x", "INTEGER", "value-does-not-fit", '{"a":"x"}'],
        ["job-1", 12, 3, None, "a", None, "INTEGER", "value-does-not-fit", '{"a":"y"}'],
    ]
    assert ask(sandbox, lake, "SELECT raw->>'a' FROM rejects WHERE job_id = 'job-1' AND chunk = 12") == [
        ["y"]
    ]


def test_a_row_of_a_mebibyte(sandbox: Sandbox, lake: Lake) -> None:
    """Quotes within quotes within JSON are the longest it can get."""
    raw = json.dumps({"a": '"\\' * (1 << 18)})
    write(lake.files.rejects.parent, "job", 1, Reject(2, "a", "x", "", "value-does-not-fit", raw))
    assert ask(sandbox, lake, "SELECT length(raw) FROM rejects") == [[len(raw)]]


def test_a_table_of_the_pool_comes_first(sandbox: Sandbox, lake: Lake) -> None:
    fill(lake)
    assert len(ask(sandbox, lake, "FROM rejects")) == 3
    lake.write("CREATE TABLE Rejects AS SELECT 'mine' AS whose")
    assert ask(sandbox, lake, "SELECT whose FROM rejects", TableRef("Rejects")) == [["mine"]]


def test_other_things_may_be_called_so(sandbox: Sandbox, lake: Lake) -> None:
    fill(lake)
    assert ask(sandbox, lake, "WITH rejects AS (SELECT 7 AS n) FROM rejects") == [[7]]
    lake.write('CREATE SCHEMA "conn-1"; CREATE TABLE "conn-1".rejects AS SELECT 8 AS n')
    table = TableRef("rejects", "conn-1")
    assert ask(sandbox, lake, 'SELECT n FROM "conn-1".rejects', table) == [[8]]
    assert ask(sandbox, lake, "SELECT count(*) FROM rejects", table) == [[3]]
    assert ask(sandbox, lake, "SELECT id AS rejects FROM orders") == [[1]]


@pytest.mark.parametrize("sql", ["FROM lake.rejects", "FROM temp.rejects", "FROM headrace.rejects"])
def test_it_has_no_other_name(sandbox: Sandbox, lake: Lake, sql: str) -> None:
    with pytest.raises(QueryRefused):
        ask(sandbox, lake, sql)


def test_in_main_it_is_the_same(sandbox: Sandbox, lake: Lake) -> None:
    fill(lake)
    assert ask(sandbox, lake, "SELECT count(*) FROM main.rejects") == [[3]]
