"""A key of single tables sees and changes these, in every place that names a table, and knows of no other."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from access.stage import CSV
from harness import PUSH, RunningServer, create_job, create_pool, run_job

POOLS = "/integration/api/pools"


@pytest.fixture(scope="module")
def pool(api: httpx.Client) -> str:
    """With one table of each kind, and one job that writes to both."""
    made = create_pool(api, "tables")
    for name in ("Sales_2024", "salaries"):
        run_job(api, made, name, [CSV], fileType="CSV")
    run_job(api, made, "sales_both", [CSV], fileType="CSV", mirrorTargetNames=["salaries"])
    return made


@pytest.fixture(scope="module")
def sales(server: RunningServer, api: httpx.Client, pool: str) -> Iterator[httpx.Client]:
    sent = {"name": "sales", "permissions": ["push"], "pools": [pool], "tables": ["SALES_*"]}
    reply = api.post("/api/v1/keys", json=sent)
    assert reply.json()["tables"] == ["SALES_*"]
    with server.client(f"AppKey {reply.json()['key']}") as client:
        yield client


def job_of(api: httpx.Client, pool: str, table: str) -> str:
    jobs = api.get(f"/api/v1/pools/{pool}/jobs").json()
    return str(next(j["id"] for j in jobs if j["targetName"] == table and j["status"] == "DONE"))


def assert_hidden(reply: httpx.Response) -> None:
    assert reply.status_code == 403, reply.text
    assert "bound to the tables SALES_*; salaries is none of them" in reply.text


def test_lists_of_tables(sales: httpx.Client, api: httpx.Client, pool: str) -> None:
    assert len(api.get(f"{POOLS}/{pool}/tables").json()) == 3
    for path in (f"{POOLS}/{pool}/tables", f"/api/v1/pools/{pool}/tables"):
        assert {t["name"] for t in sales.get(path).json()} == {"Sales_2024", "sales_both"}


def test_tables_of_a_connection(sales: httpx.Client, api: httpx.Client, pool: str) -> None:
    connection = api.post(f"{POOLS}/{pool}/data-sources", json={"name": "c"}).json()["id"]
    for name in ("sales_c", "hidden"):
        run_job(api, pool, name, [CSV], fileType="CSV", connectionId=connection)
    path = f"{POOLS}/{pool}/data-sources/{connection}/search-tables"
    assert [t["name"] for t in sales.get(path).json()["availableTables"]] == ["sales_c"]
    assert len(api.get(path).json()["availableTables"]) == 2
    assert sales.get(f"{POOLS}/{pool}/data-sources/{connection}").json()["name"] == "c"


def test_columns(sales: httpx.Client, pool: str) -> None:
    path = f"{POOLS}/{pool}/columns"
    assert sales.get(path, params={"tableName": "sales_2024"}).status_code == 200
    assert_hidden(sales.get(path, params={"tableName": "salaries"}))


def test_one_table_and_its_rows(sales: httpx.Client, pool: str) -> None:
    tables = f"/api/v1/pools/{pool}/tables"
    for end in ("", "/export"):
        assert sales.get(f"{tables}/sales_2024{end}").status_code == 200
        assert_hidden(sales.get(f"{tables}/salaries{end}"))
    absent = sales.get(f"{tables}/nothing")
    assert absent.status_code == 403, "whether a hidden table is there is hidden, too"
    assert sales.get(f"{tables}/sales_nothing").status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM salaries",
        'SELECT * FROM "SALARIES"',
        "SELECT * FROM main.salaries",
        "SELECT * FROM lake.main.salaries",
        "SELECT * FROM salaries AT (VERSION => 1)",
        "SELECT * FROM sales_2024 JOIN salaries USING (id)",
        "SELECT (SELECT max(v) FROM salaries)",
        "WITH s AS (FROM salaries) SELECT * FROM s",
        "SELECT table_name FROM duckdb_tables()",
        "SHOW TABLES",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM query_table('salaries')",
        "SELECT * FROM query('FROM salaries')",
    ],
)
def test_sql_knows_no_other_table(sales: httpx.Client, pool: str, query: str) -> None:
    reply = sales.post(f"/api/v1/pools/{pool}/sql", json={"sql": query})
    assert reply.status_code == 400, reply.text
    assert reply.json()["code"] == "query-refused"


def test_sql_knows_its_tables(sales: httpx.Client, api: httpx.Client, pool: str) -> None:
    sent = {"sql": "SELECT s.v FROM Sales_2024 s JOIN sales_both USING (id)"}
    assert sales.post(f"/api/v1/pools/{pool}/sql", json=sent).json()["rows"] == [["x"]]
    hidden = {"sql": "SELECT * FROM salaries"}
    assert api.post(f"/api/v1/pools/{pool}/sql", json=hidden).status_code == 200


def test_jobs_are_made_for_its_tables_only(sales: httpx.Client, pool: str) -> None:
    assert create_job(sales, pool, "sales_new", fileType="CSV")["status"] == "NEW"
    for target, mirrors in (
        ("salaries", []),
        ("sales_new", ["salaries"]),
        ("sales_new", ["sales_x", "salaries"]),
    ):
        sent = {"targetName": target, "mirrorTargetNames": mirrors, "fileType": "CSV"}
        assert_hidden(sales.post(f"{PUSH}/{pool}/jobs", json=sent))


def test_lists_of_jobs(sales: httpx.Client, api: httpx.Client, pool: str) -> None:
    """A job that writes to a hidden table, too, is hidden."""
    run_job(sales, pool, "sales_listed", [CSV], fileType="CSV")
    for path in (f"{PUSH}/{pool}/jobs", f"/api/v1/pools/{pool}/jobs"):
        seen = {job["targetName"] for job in sales.get(path).json()}
        assert {"Sales_2024", "sales_listed"} <= seen
        assert not seen & {"salaries", "sales_both"}
        assert {"salaries", "sales_both"} <= {job["targetName"] for job in api.get(path).json()}


def test_pages_of_jobs_are_counted_in_what_it_sees(sales: httpx.Client, pool: str) -> None:
    path = f"/api/v1/pools/{pool}/jobs"
    every = [job["id"] for job in sales.get(path).json()]
    paged = [sales.get(path, params={"limit": 1, "offset": n}).json()[0]["id"] for n in range(len(every))]
    assert paged == every
    assert sales.get(path, params={"limit": 1, "offset": len(every)}).json() == []


def test_jobs_of_other_tables_are_closed(sales: httpx.Client, api: httpx.Client, pool: str) -> None:
    for hidden in (job_of(api, pool, "salaries"), job_of(api, pool, "sales_both")):
        for path in (f"{PUSH}/{pool}/jobs/{hidden}", f"/api/v1/pools/{pool}/jobs/{hidden}"):
            assert_hidden(sales.get(path))
        assert_hidden(sales.get(f"{PUSH}/{pool}/jobs/{hidden}/chunks"))
        assert_hidden(sales.get(f"/api/v1/pools/{pool}/jobs/{hidden}/rejects"))
        assert_hidden(sales.delete(f"{PUSH}/{pool}/jobs/{hidden}"))
    waiting = create_job(api, pool, "salaries", fileType="CSV")["id"]
    assert_hidden(sales.post(f"{PUSH}/{pool}/jobs/{waiting}"))
    for kind in ("upserted", "deleted"):
        path = f"{PUSH}/{pool}/jobs/{waiting}/chunks/{kind}"
        assert_hidden(sales.post(path, content=CSV, headers={"Content-Type": "text/csv"}))
    assert sales.get(f"{PUSH}/{pool}/jobs/00000000-0000-0000-0000-000000000000").status_code == 404


def test_the_pool_itself_is_seen_and_not_changed(sales: httpx.Client, pool: str) -> None:
    assert [p["id"] for p in sales.get(POOLS).json()] == [pool]
    assert sales.get(f"{POOLS}/{pool}").status_code == 200
    assert sales.delete(f"{POOLS}/{pool}").status_code == 403
