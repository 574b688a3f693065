"""Earlier pycelonis 2.x: the ``/integration`` base, three more fields, tables found by exact name."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pandas as pd
import pytest

from contract.pycelonis import EARLIER_BASE, PyCelonis, column
from harness import RunningServer, sql

ROWS = pd.DataFrame({"ID": ["aa", "bb", "cc"], "TEST_COLUMN": [1, 2, 3]})


@pytest.fixture
def pycelonis(server: RunningServer, user_key: str) -> Iterator[PyCelonis]:
    with PyCelonis(server, f"Bearer {user_key}", EARLIER_BASE) as client:
        yield client


def test_create_table_lists_the_name_exactly_as_given(
    pycelonis: PyCelonis, api: httpx.Client, pool: str
) -> None:
    pycelonis.create_table(pool, "TeSt_Table", ROWS)
    assert [t["name"] for t in pycelonis.tables(pool)] == ["TeSt_Table"]
    assert sql(api, pool, 'SELECT "ID", "TEST_COLUMN" FROM "TeSt_Table" ORDER BY 1') == ROWS.values.tolist()


def test_replace_under_another_case_keeps_one_table(
    pycelonis: PyCelonis, api: httpx.Client, pool: str
) -> None:
    pycelonis.create_table(pool, "TEST_TABLE", ROWS)
    pycelonis.push(pool, "test_table", ROWS.iloc[:1], type="REPLACE")
    assert len(pycelonis.tables(pool)) == 1
    assert sql(api, pool, 'SELECT count(*) FROM "TEST_TABLE"') == [[1]]


def test_upsert_with_column_config(pycelonis: PyCelonis, api: httpx.Client, pool: str) -> None:
    config = [column("ID", "STRING", fieldLength=100), column("TEST_COLUMN", "INTEGER")]
    pycelonis.create_table(pool, "T", ROWS, columns=config)
    pycelonis.push(pool, "T", ROWS.assign(TEST_COLUMN=[9, 9, 9]), type="DELTA", keys=["ID"], columns=config)
    assert sql(api, pool, 'SELECT "ID", "TEST_COLUMN" FROM "T" ORDER BY 1') == [
        ["aa", 9],
        ["bb", 9],
        ["cc", 9],
    ]


def test_the_status_is_never_anything_else_than_its_enum_knows(pycelonis: PyCelonis, pool: str) -> None:
    job = pycelonis.create_job(pool, "T", type="REPLACE")
    shown = pycelonis.get(f"{EARLIER_BASE}/{pool}/jobs/")
    assert [(j["id"], j["status"]) for j in shown] == [(job, "NEW")]
    pycelonis.delete_job(pool, job)
    assert pycelonis.get(f"{EARLIER_BASE}/{pool}/jobs/") == []
