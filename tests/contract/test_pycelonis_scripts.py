"""Scripts on top of pycelonis: Python_datapush_Celonis, the OCEL uploaders, CelonisML and its like.

Peculiar: append tried before create, calls to data jobs whose failure they only log, many tables one after
another, ``pk_field`` in the column config, and ``table.data_source_id`` read after create.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pandas as pd
import pytest

from contract.pycelonis import EARLIER_BASE, NEW_BASE, PyCelonis, column
from contract.sending import json_200
from harness import RunningServer, sql


@pytest.fixture(params=[NEW_BASE, EARLIER_BASE], ids=["new", "earlier"])
def pycelonis(server: RunningServer, owner_key: str, request: pytest.FixtureRequest) -> Iterator[PyCelonis]:
    with PyCelonis(server, f"Bearer {owner_key}", request.param) as client:
        yield client


def test_python_datapush_appends_or_else_creates(pycelonis: PyCelonis, api: httpx.Client, pool: str) -> None:
    sales = pd.DataFrame({"Order No": ["0001", "0002"], "Net value": [10.5, 20.0]})
    assert pycelonis.tables(pool) == []
    pycelonis.create_table(pool, "Sales Orders 2024", sales)
    pycelonis.push(pool, "Sales Orders 2024", sales, type="DELTA")
    assert sql(api, pool, 'SELECT "Order No", "Net value" FROM "Sales Orders 2024" ORDER BY 1') == [
        ["0001", 10.5],
        ["0001", 10.5],
        ["0002", 20.0],
        ["0002", 20.0],
    ]


def test_python_datapush_survives_that_there_are_no_data_jobs(pycelonis: PyCelonis, pool: str) -> None:
    """It logs the failure and goes on to push; a redirect or a page of HTML would hide it."""
    reply = pycelonis.client.get(f"/integration/api/pools/{pool}/jobs", follow_redirects=False)
    if reply.status_code == 200:
        assert isinstance(json_200(reply), list)
    else:
        assert 400 <= reply.status_code < 500


def test_ocel_creates_many_tables_in_a_row(pycelonis: PyCelonis, api: httpx.Client, pool: str) -> None:
    tables = [f"TEMP_OBJECT_{kind}" for kind in ("Order", "Item", "Invoice")]
    tables += ["TEMP_EVT_Create Purchase Order", "TEMP_RELATIONSHIP_Create_Order"]
    for number, name in enumerate(tables):
        frame = pd.DataFrame({"ocel:oid": [f"o{number}"], "Time": [pd.Timestamp("2024-05-01 12:30:00")]})
        pycelonis.create_table(pool, name, frame)
    assert sorted(t["name"] for t in pycelonis.tables(pool)) == sorted(tables)
    assert sql(api, pool, 'SELECT "ocel:oid", "Time"::VARCHAR FROM "TEMP_EVT_Create Purchase Order"') == [
        ["o3", "2024-05-01 12:30:00"]
    ]


def test_ocel_drops_what_exists(pycelonis: PyCelonis, api: httpx.Client, pool: str) -> None:
    """``drop_if_exists=True, force=True``: a REPLACE with other columns and types."""
    pycelonis.create_table(pool, "EVENTS", pd.DataFrame({"A": [1, 2], "B": ["x", "y"]}))
    pycelonis.create_table(pool, "EVENTS", pd.DataFrame({"A": ["one"], "C": [True]}))
    assert sql(api, pool, 'SELECT "A", "C" FROM "EVENTS"') == [["one", True]]
    columns = pycelonis.get(f"/integration/api/pools/{pool}/columns", tableName="EVENTS")
    assert {"A", "C"} <= {c["name"] for c in columns}
    assert "B" not in {c["name"] for c in columns}


def test_celonis_ml_marks_keys_in_the_column_config(
    pycelonis: PyCelonis, api: httpx.Client, pool: str
) -> None:
    config = [
        column("GROUP_ID", "INTEGER", pkField=True),
        column("SCORE", "FLOAT", decimals=2),
        column("WHEN", "DATETIME"),
    ]
    first = pd.DataFrame(
        {"GROUP_ID": [1, 2], "SCORE": [0.5, 0.75], "WHEN": pd.to_datetime(["2024-01-01"] * 2)}
    )
    pycelonis.create_table(pool, "SCORES", first, columns=config)
    pycelonis.push(pool, "SCORES", first.assign(SCORE=[0.25, 1.0]), type="DELTA", columns=config)
    query = 'SELECT "GROUP_ID", "SCORE"::DOUBLE FROM "SCORES" ORDER BY 1'
    assert sql(api, pool, query) == [[1, 0.25], [2, 1.0]]


def test_a_dummy_table_tells_the_global_connection(pycelonis: PyCelonis, pool: str) -> None:
    table = pycelonis.create_table(pool, "DUMMY_CONNECTION_INIT", pd.DataFrame({"col": [1]}))
    assert table["dataSourceId"] is None
