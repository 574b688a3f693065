"""pycelonis 2.14.1 (and what calls itself 2.20.1): HTTPS only, ``/data-ingestion``, all fields sent as null.

It parses every reply with strict types, polls until DONE or ERROR, always deletes its job and then expects
the table in the pool's list.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pandas as pd
import pytest

from contract.pycelonis import PyCelonis, assert_fits, chunk, column
from contract.sending import json_200
from harness import RunningServer, create_pool, new_key, sql

CASES = pd.DataFrame(
    {
        "_CASE_KEY": ["a", "b", "c"],
        "AMOUNT": [1.5, 2.25, None],
        "ITEMS": [1, 2, 3],
        "OPEN": [True, False, True],
        "AT": [datetime(2024, 1, 31, 23, 59, 59, 123000), datetime(2024, 2, 29), None],
    }
)


@pytest.fixture(scope="module")
def admin(tls_server: RunningServer) -> Iterator[httpx.Client]:
    with tls_server.client() as client:
        yield client


@pytest.fixture
def pool(admin: httpx.Client) -> str:
    return create_pool(admin)


@pytest.fixture
def pycelonis(tls_server: RunningServer, admin: httpx.Client, pool: str) -> Iterator[PyCelonis]:
    """With an application key that may do no more than push to this pool."""
    key = new_key(admin, "application", ["push"], pools=[pool])
    with PyCelonis(tls_server, f"AppKey {key}") as client:
        yield client


@pytest.mark.parametrize("kind", ["application", "personal"])
def test_get_celonis_finds_out_the_kind_of_its_key(
    tls_server: RunningServer, admin: httpx.Client, kind: str
) -> None:
    key = new_key(admin, kind, ["push", "read"])
    with tls_server.client("") as client:
        as_app_key = client.get("/api/cloud", headers={"authorization": f"AppKey {key}"})
        as_user_key = client.get("/api/cloud", headers={"authorization": f"Bearer {key}"})
    right, wrong = (as_app_key, as_user_key) if kind == "application" else (as_user_key, as_app_key)
    assert isinstance(json_200(right), dict)
    assert wrong.status_code in (401, 403)


def test_get_celonis_reads_permissions_and_team(pycelonis: PyCelonis) -> None:
    assert_fits("user", pycelonis.get("/api/cloud"))
    assert_fits("team", pycelonis.get("/api/team"))
    for entry in pycelonis.get("/api/cloud/permissions"):
        assert isinstance(entry["serviceName"], str)
        assert all(isinstance(permission, str) for permission in entry["permissions"])


def test_every_reply_fits_its_transport(pycelonis: PyCelonis, admin: httpx.Client, pool: str) -> None:
    source = json_200(admin.post(f"/integration/api/pools/{pool}/data-sources/", json={"name": "SAP"}))["id"]
    pycelonis.create_table(pool, "CASES", CASES, connectionId=source)
    url = f"/integration/api/pools/{pool}"
    replies = {
        "pool": [pycelonis.get(url), *pycelonis.get("/integration/api/pools")],
        "source": [pycelonis.get(f"{url}/data-sources/{source}"), *pycelonis.get(f"{url}/data-sources/")],
        "table": pycelonis.get(f"{url}/tables"),
        "column": pycelonis.get(f"{url}/columns", tableName="CASES", schemaName=source),
    }
    for transport, shown in replies.items():
        assert shown
        for reply in shown:
            assert_fits(transport, reply)


def test_create_pool_with_all_fields_null(tls_server: RunningServer, admin: httpx.Client) -> None:
    with PyCelonis(tls_server, admin.headers["authorization"]) as client:
        pool = client.create_pool("made by pycelonis")
        shown = client.get(f"/integration/api/pools/{pool['id']}")
        assert (shown["id"], shown["name"]) == (pool["id"], "made by pycelonis")
        assert pool["id"] in [p["id"] for p in client.get("/integration/api/pools")]


def test_create_table_finds_the_table_under_its_name(
    pycelonis: PyCelonis, admin: httpx.Client, pool: str
) -> None:
    table = pycelonis.create_table(pool, "Cases", CASES)

    assert (table["name"], table["dataSourceId"], table["type"]) == ("Cases", None, "TABLE")
    rows = sql(
        admin, pool, 'SELECT "_CASE_KEY", "AMOUNT", "ITEMS", "OPEN", "AT"::VARCHAR FROM "Cases" ORDER BY 1'
    )
    assert rows == [
        ["a", 1.5, 1, True, "2024-01-31 23:59:59.123"],
        ["b", 2.25, 2, False, "2024-02-29 00:00:00"],
        ["c", None, 3, True, None],
    ]


def test_create_table_in_chunks_keeps_every_row(pycelonis: PyCelonis, admin: httpx.Client, pool: str) -> None:
    numbers = pd.DataFrame({"N": range(2_500), "TEXT": [f"row {n}" for n in range(2_500)]})
    pycelonis.create_table(pool, "NUMBERS", numbers, rows_per_chunk=1_000)
    assert sql(admin, pool, 'SELECT count(*), sum("N"), count(DISTINCT "TEXT") FROM "NUMBERS"') == [
        [2_500, 3_123_750, 2_500]
    ]


def test_a_column_of_nothing_in_one_chunk_and_text_in_the_next(
    pycelonis: PyCelonis, admin: httpx.Client, pool: str
) -> None:
    frame = pd.DataFrame({"ID": [1, 2, 3, 4], "NOTE": pd.Series([None, None, "x", None], dtype="object")})
    pycelonis.create_table(pool, "NOTES", frame, rows_per_chunk=2)
    assert sql(admin, pool, 'SELECT "ID", "NOTE" FROM "NOTES" ORDER BY 1') == [
        [1, None],
        [2, None],
        [3, "x"],
        [4, None],
    ]


def test_column_config_may_list_one_column_of_five(
    pycelonis: PyCelonis, admin: httpx.Client, pool: str
) -> None:
    pycelonis.create_table(pool, "CASES", CASES, columns=[column("_CASE_KEY", "STRING", fieldLength=20)])

    shown = pycelonis.get(f"/integration/api/pools/{pool}/columns", tableName="CASES")
    lengths = {c["name"]: c["length"] for c in shown}
    assert lengths["_CASE_KEY"] == 80, "four times the declared length"
    assert {"AMOUNT", "ITEMS", "OPEN", "AT"} <= set(lengths)
    assert sql(admin, pool, 'SELECT sum("ITEMS") FROM "CASES"') == [[6]]


def test_append_sends_delta_without_keys(pycelonis: PyCelonis, admin: httpx.Client, pool: str) -> None:
    pycelonis.create_table(pool, "CASES", CASES)
    pycelonis.push(pool, "CASES", CASES, type="DELTA", keys=None)
    assert sql(admin, pool, 'SELECT count(*) FROM "CASES"') == [[6]]


def test_upsert_replaces_by_key(pycelonis: PyCelonis, admin: httpx.Client, pool: str) -> None:
    pycelonis.create_table(pool, "CASES", CASES)
    changed = CASES.iloc[1:].assign(ITEMS=[20, 30])
    new = CASES.iloc[:1].assign(_CASE_KEY="d", ITEMS=4)
    pycelonis.push(pool, "CASES", pd.concat([changed, new]), type="DELTA", keys=["_CASE_KEY"])
    assert sql(admin, pool, 'SELECT "_CASE_KEY", "ITEMS" FROM "CASES" ORDER BY 1') == [
        ["a", 1],
        ["b", 20],
        ["c", 30],
        ["d", 4],
    ]


def test_delete_data_frame_may_hold_more_than_the_keys(
    pycelonis: PyCelonis, admin: httpx.Client, pool: str
) -> None:
    pycelonis.create_table(pool, "CASES", CASES)
    job = pycelonis.create_job(pool, "CASES", type="DELTA", keys=["_CASE_KEY"])
    gone = pd.DataFrame({"_CASE_KEY": ["a", "c", "no such"], "TEST_COLUMN": [1, 2, 3]})
    assert pycelonis.add_chunk(pool, job, chunk(gone), "deleted").status_code == 200
    assert pycelonis.execute(pool, job)["status"] == "DONE"
    assert sql(admin, pool, 'SELECT "_CASE_KEY" FROM "CASES"') == [["b"]]


def test_get_chunks(pycelonis: PyCelonis, pool: str) -> None:
    job = pycelonis.create_job(pool, "CASES", type="DELTA", keys=["_CASE_KEY"])
    pycelonis.add_chunk(pool, job, chunk(CASES))
    pycelonis.add_chunk(pool, job, chunk(CASES), "deleted")

    chunks = pycelonis.get(f"{pycelonis.base}/{pool}/jobs/{job}/chunks")

    assert [c["type"] for c in chunks] == ["UPSERT", "DELETE"]
    for shown in chunks:
        assert_fits("chunk", shown)
        assert shown["pushJobId"] == job


def test_add_file_chunk_of_csv(pycelonis: PyCelonis, admin: httpx.Client, pool: str) -> None:
    """CSV comes only from users who give file_type and bytes of their own."""
    job = pycelonis.create_job(pool, "CSV", type="REPLACE", fileType="CSV")
    assert pycelonis.add_chunk(pool, job, b"ID,NAME\n007,Bond\n").status_code == 200
    assert pycelonis.execute(pool, job)["status"] == "DONE"
    assert sql(admin, pool, 'SELECT "ID", "NAME" FROM "CSV"') == [["007", "Bond"]]


def test_a_failed_push_says_why_and_leaves_the_table(
    pycelonis: PyCelonis, admin: httpx.Client, pool: str
) -> None:
    """It joins the logs into the text of PyCelonisDataPushExecutionFailedError."""
    pycelonis.create_table(pool, "CASES", CASES)
    job = pycelonis.create_job(
        pool, "CASES", type="REPLACE", fileType="CSV", columns=[column("ITEMS", "INTEGER")]
    )
    pycelonis.add_chunk(pool, job, b"ITEMS\n1\nnot a number\n")

    ended = pycelonis.execute(pool, job)

    assert ended["status"] == "ERROR"
    assert "not a number" in "\n".join(ended["logs"])
    assert sql(admin, pool, 'SELECT count(*) FROM "CASES"') == [[3]]


@pytest.mark.parametrize(
    "broken",
    [
        chunk(CASES)[:-9],
        chunk(CASES)[:200],
        chunk(CASES)[4:],
        bytes(range(256)) * 4,
        b"junk",
        b"<html><body>502 Bad Gateway</body></html>\n",
    ],
    ids=["no footer", "cut off early", "no head", "anything", "a word", "a page of a proxy"],
)
def test_a_broken_file_never_passes_for_csv(
    pycelonis: PyCelonis, admin: httpx.Client, pool: str, broken: bytes
) -> None:
    """It sends no fileType: what is no Parquet must not replace a table by its first line."""
    pycelonis.create_table(pool, "CASES", CASES)
    job = pycelonis.create_job(pool, "CASES", type="REPLACE")
    assert pycelonis.add_chunk(pool, job, broken).status_code == 400


def test_keys_that_the_file_lacks_are_told_at_once(pycelonis: PyCelonis, pool: str) -> None:
    """It shows the text of the reply and adds 'Ensure provided keys exist in the table.'"""
    job = pycelonis.create_job(pool, "CASES", type="DELTA", keys=["NO_SUCH_KEY"])
    reply = pycelonis.add_chunk(pool, job, chunk(CASES))
    assert reply.status_code == 400
    assert "NO_SUCH_KEY" in reply.text


def test_tables_of_a_connection_are_apart(pycelonis: PyCelonis, admin: httpx.Client, pool: str) -> None:
    source = json_200(admin.post(f"/integration/api/pools/{pool}/data-sources/", json={"name": "SAP"}))
    pycelonis.create_table(pool, "CASES", CASES)
    table = pycelonis.create_table(pool, "CASES", CASES.iloc[:1], connectionId=source["id"])

    assert table["dataSourceId"] == source["id"]
    assert table["schemaName"] == f"{pool}_{source['id']}"
    columns: list[dict[str, Any]] = pycelonis.get(
        f"/integration/api/pools/{pool}/columns", tableName="CASES", schemaName=source["id"]
    )
    assert "_CASE_KEY" in [c["name"] for c in columns]
    assert sql(admin, pool, 'SELECT count(*) FROM "CASES"') == [[3]]


def test_update_of_a_pool_gives_the_pool_back(
    tls_server: RunningServer, admin: httpx.Client, pool: str
) -> None:
    with PyCelonis(tls_server, admin.headers["authorization"]) as client:
        shown = client.get(f"/integration/api/pools/{pool}")
        reply = client.client.put(f"/integration/api/pools/{pool}", json={**shown, "name": "NEW_NAME"})
        assert json_200(reply)["name"] == "NEW_NAME"
