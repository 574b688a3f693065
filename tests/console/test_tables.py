"""Tables: their columns with what stands in them, first rows, versions, exports."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import NoReturn

import pytest
from playwright.sync_api import Locator, expect

from console.browser import Person
from console.door import inside
from console.stage import LONG, Stage
from harness import create_pool, new_key, parquet, run_job, sql
from headrace.console.charts import spread_path
from headrace.console.rendering import _TEMPLATES
from headrace.console.tables import VERSIONS, _profile
from headrace.errors import QueryTooLong
from headrace.model import STRING, Column, Key, KeyKind, Permission, Table, TableRef, now

ADMIN = Key("k", "k", KeyKind.APPLICATION, "", frozenset({Permission.ADMIN}), None, now())
ODD = 'od"d; DROP %/🦆'


def test_the_list(admin: Person, stage: Stage) -> None:
    admin.open(stage.at("/tables"))
    rows = admin.page.locator("tbody tr")
    assert [row.locator("th").inner_text() for row in rows.all()] == [LONG, "invoices", "orders"]
    admin.page.get_by_role("link", name="orders", exact=True).click()
    expect(admin.page.get_by_role("heading", level=1)).to_have_text("orders")


def test_what_stands_in_the_columns(admin: Person, stage: Stage) -> None:
    admin.open(stage.at("/tables/orders"))
    shown = admin.page.locator("#profile tbody tr")
    expect(admin.page.get_by_role("columnheader", name="Most frequent")).to_be_visible()
    rows = {row.locator("th").inner_text(): row.locator("td").all_inner_texts() for row in shown.all()}
    assert rows["id"] == ["INTEGER", "–", "–", "0 %", "899", "1", "", "899", "–"]
    assert rows["customer"][:8] == ["STRING", "80", "7", "0 %", "5", "Ada", "", "Grace"]
    assert "Donald 180" in rows["customer"][8]
    [[distinct]] = sql(stage.api, stage.pool, "SELECT approx_count_distinct(amount) FROM orders")
    assert rows["amount"][4] == str(min(899, distinct))


def spread(admin: Person) -> dict[str, list[int]]:
    """What the drawings of the columns say to who does not see them."""
    expect(admin.page.get_by_role("columnheader", name="Most frequent")).to_be_visible()
    found = {}
    for row in admin.page.locator("#profile tbody tr").all():
        if (drawn := row.get_by_role("img")).count():
            told = drawn.get_attribute("aria-label") or ""
            found[row.locator("th").inner_text()] = [int(n) for n in told.rpartition(":")[2].split(",")]
    return found


def test_how_values_are_spread(admin: Person, stage: Stage) -> None:
    pool = create_pool(stage.api, "spread")
    steps = [5, 1, 0, 9, 2, 2, 0, 0, 1, 3, 0, 4]
    values = [step for step, rows in enumerate(steps) for _ in range(rows)]
    days = [date(2024, 1, 1 + v) for v in values]
    columns: dict[str, list[object]] = {
        "v": [v - 6 for v in values],
        "l": [Decimal(v) / 4 for v in values],
        "h": [(v - 6) * 1e300 for v in values],
        "too far": [(v - 6) * 2.5e307 for v in values],
        "day": days,
        "at": [datetime(2024, 1, 1) + timedelta(hours=v) for v in values],
        "text": [str(v) for v in values],
        "two": [v % 2 for v in values],
        "same": [7 for _ in values],
    }
    beyond = {name: [None, None] for name in columns} | {"h": [math.inf, math.nan]}
    rows = {name: [*column, *beyond[name]] for name, column in columns.items()}
    run_job(stage.api, pool, "t", [parquet(rows)])
    admin.open(stage.at("/tables/t", pool))
    found = spread(admin)
    assert set(found) == {"v", "l", "h", "day", "at"}
    assert all(drawn == steps for drawn in found.values())


def test_what_is_drawn_is_as_high_as_it_is_frequent() -> None:
    assert spread_path((4, 0, 2, 1000)) == "M0 24v-1h23v1zM48 24v-1h23v1zM72 24v-24h23v24z"
    assert spread_path((1, 1)) == "M0 24v-24h47v24zM48 24v-24h47v24z"


def test_nulls_and_empty_texts(admin: Person, stage: Stage) -> None:
    pool = create_pool(stage.api, "nulls")
    lines = b'a,b\n1,\n2,""\n3,""\n,x\n'
    run_job(stage.api, pool, "t", [lines], fileType="CSV", inferTypes=True)
    admin.open(stage.at("/tables/t", pool))
    expect(admin.page.get_by_role("columnheader", name="Most frequent")).to_be_visible()
    [a, b] = (row.locator("td").all_inner_texts() for row in admin.page.locator("#profile tbody tr").all())
    assert (a[3], b[3]) == ("25 %", "25 %")
    assert b[8] == "(empty) 2"
    expect(admin.page.locator(".null")).to_have_text(["NULL", "NULL"])


def test_columns_with_the_names_that_the_profile_gives(admin: Person, stage: Stage) -> None:
    pool = create_pool(stage.api, "named alike")
    run_job(stage.api, pool, "t", [b"k,v,N,place\n1,a,7,x\n2,a,7,y\n3,b,7,y\n"], fileType="CSV")
    admin.open(stage.at("/tables/t", pool))
    expect(admin.page.get_by_role("columnheader", name="Most frequent")).to_be_visible()
    rows = [row.locator("td").all_inner_texts() for row in admin.page.locator("#profile tbody tr").all()]
    assert [row[8] for row in rows] == ["–", "a 2", "7 3", "y 2"]


@pytest.mark.parametrize("name", [ODD, "a b", "SELECT"])
def test_any_name(admin: Person, stage: Stage, name: str) -> None:
    pool = create_pool(stage.api, "names")
    columns = ",".join(f'"{n}"' for n in ('c""1', "naïve ☃", "order"))
    run_job(stage.api, pool, name, [f"{columns}\n1,2,3\n1,2,4\n".encode()], fileType="CSV")
    admin.open(stage.at("/tables", pool))
    admin.page.get_by_role("row").get_by_role("link", name=name, exact=True).click()
    expect(admin.page.get_by_role("heading", level=1)).to_have_text(name)
    expect(admin.page.get_by_role("columnheader", name="Most frequent")).to_be_visible()
    expect(admin.page.locator("#profile tbody tr").first).to_contain_text('c"1')
    expect(admin.page.locator("#profile tbody tr").first).to_contain_text("1 2")
    admin.page.get_by_role("link", name="Query").click()
    admin.page.get_by_role("button", name="Run").click()
    expect(admin.page.locator("#said")).to_contain_text("2 rows")


def test_many_columns_with_long_names(stage: Stage) -> None:
    pool = create_pool(stage.api, "wide")
    names = [f"c{n}_" + "ä" * 200 for n in range(30)]
    data = ",".join(names) + "\n" + ",".join("x" for _ in names) + "\n"
    run_job(stage.api, pool, "wide", [data.encode()], fileType="CSV")
    with inside(stage.server, stage.server.admin_key) as client:
        reply = client.get(stage.at("/tables/wide/profile", pool))
        assert (reply.status_code, reply.text.count("<tr>")) == (200, 31)


def test_a_table_of_a_thousand_columns_stays_light(stage: Stage) -> None:
    pool = create_pool(stage.api, "very wide")
    header = ",".join(f"column_{n}" for n in range(1000))
    run_job(stage.api, pool, "t", [f"{header}\n{','.join('1' * 1000)}\n".encode()], fileType="CSV")
    with inside(stage.server, stage.server.admin_key) as client:
        reply = client.get(stage.at("/tables/t", pool))
        assert "the first 240; the API has all" in reply.text
        assert "of the first columns" in reply.text
        assert len(reply.content) < 120_000


def test_what_cannot_be_counted_in_time_shows_its_columns() -> None:
    table = Table(TableRef("t"), (Column("a", STRING, 80),))

    def too_long(*asked: object) -> NoReturn:
        raise QueryTooLong("It took longer than a moment.")

    use = SimpleNamespace(
        pools=SimpleNamespace(find_table=lambda *asked: table), profiles=SimpleNamespace(of=too_long)
    )
    page = _profile(use, "pool", "t", None, ADMIN)
    told = _TEMPLATES.get_template("profile.html").render(page=page, frame=None)
    assert "Not counted: It took longer than a moment." in told
    assert ">a</th>" in told


def test_versions_lead_to_their_jobs(admin: Person, stage: Stage) -> None:
    admin.open(stage.at("/tables/orders"))
    versions = versions_of(admin)
    told = [row.locator("td").all_inner_texts() for row in versions.all()]
    known = stage.api.get(f"/api/v1/pools/{stage.pool}/tables/orders").json()["versions"]
    assert [[row[0], row[-1]] for row in told] == [[str(v["version"]), v["job"]] for v in known]
    versions.first.get_by_role("link").click()
    expect(admin.page.get_by_role("status").locator(".state")).to_have_text("DONE")


def versions_of(admin: Person) -> Locator:
    expect(admin.page.get_by_role("columnheader", name="Rows before")).to_be_visible()
    return admin.page.get_by_role("region", name="Versions").locator("tbody tr")


def test_each_version_beside_the_one_before(admin: Person, stage: Stage) -> None:
    pool, delta = create_pool(stage.api, "versions"), {"fileType": "CSV", "type": "DELTA", "keys": ["k"]}
    run_job(stage.api, pool, "t", [b"k,v\n1,a\n2,a\n3,a\n"], fileType="CSV")
    changed = [("upserted", b"k,v\n1,b\n4,b\n5,b\n"), ("deleted", b"k\n2\n")]
    run_job(stage.api, pool, "t", changed, **delta)
    stage.api.post(f"/api/v1/pools/{pool}/upkeep")
    last = run_job(stage.api, pool, "t", [b"k,v\n1,c\n"], fileType="CSV")["id"]
    assert stage.api.post(f"/api/v1/pools/{pool}/jobs/{last}/undo").status_code == 200
    admin.open(stage.at("/tables/t", pool))
    told = [row.locator("td").all_inner_texts()[2:8] for row in versions_of(admin).all()]
    assert told[0] == ["UNDO", "1", "4", "–", "–", "–"]
    assert told[1] == ["REPLACE", "4", "1", "1", "0", told[1][5]]
    assert {tuple(row) for row in told[2:-2]} == {("upkeep", "4", "4", "–", "–", "–")}
    assert told[-2:] == [["DELTA", "3", "4", "2", "1", "1"], ["REPLACE", "–", "3", "3", "0", "0"]]


def test_versions_without_a_table_in_between(admin: Person, stage: Stage) -> None:
    pool = create_pool(stage.api, "made twice")
    first = run_job(stage.api, pool, "t", [b"k\n1\n"], fileType="CSV")["id"]
    assert stage.api.post(f"/api/v1/pools/{pool}/jobs/{first}/undo").status_code == 200
    run_job(stage.api, pool, "t", [b"k\n1\n2\n"], fileType="CSV")
    admin.open(stage.at("/tables/t", pool))
    told = [row.locator("td").all_inner_texts()[2:5] for row in versions_of(admin).all()]
    assert told == [["REPLACE", "0", "2"], ["UNDO", "1", "0"], ["REPLACE", "–", "1"]]


def test_of_many_versions_the_newest_are_shown(stage: Stage) -> None:
    pool = create_pool(stage.api, "often")
    for n in range(VERSIONS + 2):
        run_job(stage.api, pool, "t" * 500, [f"k\n{n}\n".encode()], fileType="CSV", type="DELTA")
    with inside(stage.server, stage.server.admin_key) as client:
        page = client.get(stage.at(f"/tables/{'t' * 500}", pool)).text
        assert f"the newest {VERSIONS}; the API has all" in page
        part = client.get(stage.at(f"/tables/{'t' * 500}/versions", pool)).text
        assert part.count("<tr>") == VERSIONS + 1
        assert "Rows are not counted" not in part
        assert f'<td class="num">{VERSIONS + 2}</td>' in part


def test_of_a_data_connection(admin: Person, stage: Stage) -> None:
    pool = create_pool(stage.api, "connected")
    reply = stage.api.post(f"/integration/api/pools/{pool}/data-sources", json={"name": "SAP"})
    connection = reply.json()["id"]
    run_job(stage.api, pool, "t", [b"a\n1\n"], fileType="CSV", connectionId=connection)
    admin.open(stage.at("/tables", pool))
    expect(admin.page.locator("tbody tr")).to_contain_text("SAP")
    admin.page.get_by_role("link", name="t", exact=True).click()
    expect(admin.page.get_by_role("columnheader", name="Most frequent")).to_be_visible()
    assert admin.page.locator(".facts dd").first.inner_text() == "1"


@pytest.mark.parametrize(("format", "begins"), [("csv", b"id,customer,amount"), ("parquet", b"PAR1")])
def test_export(admin: Person, stage: Stage, format: str, begins: bytes) -> None:
    admin.open(stage.at("/tables/orders"))
    admin.page.get_by_label("Format").select_option(format)
    with admin.page.expect_download() as download:
        admin.page.get_by_role("button", name="Export").click()
    assert download.value.suggested_filename == f"orders.{format}"
    assert download.value.path().read_bytes().startswith(begins)


def test_a_key_of_single_tables_sees_only_those(stage: Stage) -> None:
    key = new_key(stage.api, permissions=["read"], tables=["ord*"], pools=[stage.pool])
    with inside(stage.server, key) as client:
        page = client.get(stage.at("/tables")).text
        assert ">orders</a>" in page
        assert "invoices" not in page
        assert client.get(stage.at("/tables/invoices")).status_code == 403
        assert client.get(stage.at("/tables/invoices/profile")).status_code == 403
        assert "invoices" not in client.get(stage.at("/jobs")).text
        assert "invoices" not in client.get(stage.at("/sql")).text
        assert client.get(stage.at(f"/jobs/{stage.jobs['failed']}")).status_code == 403


def test_without_a_script_the_columns_are_there(stage: Stage) -> None:
    with inside(stage.server, stage.reader) as client:
        page = client.get(stage.at("/tables/orders")).text
        assert "DECIMAL(18,2)" in page
        assert "2024-02-02" in page
