"""A job like another one: what the form shows, what it changes, and that it changes nothing else."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import expect

from console.browser import Person
from console.door import inside, proof_of
from console.stage import ORDERS, WRONG_DATES, Stage
from harness import create_pool, own_job, run_job, sql

ASKED = {
    "targetName": "orders",
    "type": "DELTA",
    "fileType": "CSV",
    "keys": ["id", "a, b"],
    "tableSchema": {
        "tableName": "orders",
        "columns": [
            {"columnName": "id", "columnType": "INTEGER"},
            {"columnName": "amount", "columnType": "FLOAT", "decimals": 2},
            {"columnName": "name", "columnType": "STRING", "fieldLength": 80},
        ],
    },
    "csvParsingOptions": {
        "separatorSequence": ";",
        "charSet": "windows-1252",
        "dateFormat": "dd.MM.yyyy",
        "emptyIsFalse": False,
        "additionalColumnOptions": [{"columnName": "AMOUNT", "decimalSeparator": ","}],
    },
    "maxRejectedRows": 10,
    "upsertStrategy": "UPSERT_WITH_NULLIFICATION",
}


def request_of(admin: Person) -> dict[str, Any]:
    return dict(admin.page.evaluate("JSON.parse(document.getElementById('sent').textContent)"))


def open_clone(admin: Person, stage: Stage, asked: dict[str, Any]) -> None:
    pool = create_pool(stage.api, "like another")
    job = stage.api.post(f"/api/v1/pools/{pool}/jobs", json=asked).json()["id"]
    admin.open(stage.at(f"/jobs/{job}", pool))
    admin.page.get_by_role("link", name="Clone", exact=True).click()


def make(admin: Person) -> None:
    admin.page.get_by_role("button", name="Make a NEW job").click()
    expect(admin.page.get_by_role("status").locator(".state")).to_have_text("NEW")


def test_what_nobody_changes_stays(admin: Person, stage: Stage) -> None:
    open_clone(admin, stage, ASKED)
    make(admin)
    made = request_of(admin)
    assert made == {**ASKED, "dataPoolId": made["dataPoolId"]}


def test_what_is_changed_is_asked_for(admin: Person, stage: Stage) -> None:
    open_clone(admin, stage, ASKED)
    page = admin.page
    page.get_by_label("Table", exact=True).fill("sales")
    page.get_by_role("combobox", name="Type", exact=True).select_option("REPLACE")
    page.get_by_label("Key columns").fill("id\n\n")
    page.get_by_label("Separator").select_option("tab")
    page.get_by_label("Charset").fill("")
    page.get_by_label("Type of amount").select_option("")
    page.get_by_label("Length of name").fill("200")
    page.get_by_label("Type of id").select_option("DATE")
    page.get_by_label("Dates of id").fill("yyyyMMdd")
    make(admin)
    made = request_of(admin)
    assert (made["targetName"], made["type"], made["keys"]) == ("sales", "REPLACE", ["id"])
    assert made["tableSchema"]["columns"] == [
        {"columnName": "id", "columnType": "DATE"},
        {"columnName": "name", "columnType": "STRING", "fieldLength": 200},
    ]
    assert made["csvParsingOptions"] == {
        "separatorSequence": "\t",
        "dateFormat": "dd.MM.yyyy",
        "emptyIsFalse": False,
        "additionalColumnOptions": [
            {"columnName": "AMOUNT", "decimalSeparator": ","},
            {"columnName": "id", "dateFormat": "yyyyMMdd"},
        ],
    }
    assert made["maxRejectedRows"] == 10


def test_a_failed_job_runs_again_as_it_was_changed(admin: Person, stage: Stage) -> None:
    """With the chunks that it keeps: nothing is sent again."""
    pool = create_pool(stage.api, "run again, changed")
    job = run_job(stage.api, pool, "invoices", [WRONG_DATES], fileType="CSV", tableSchema=ORDERS)["id"]
    admin.open(stage.at(f"/jobs/{job}/clone", pool))
    admin.page.get_by_label("Table", exact=True).fill("bills")
    admin.page.get_by_label("Dates as", exact=True).fill("dd.MM.yyyy")
    admin.page.get_by_role("button", name="Run again with its chunks").click()
    expect(admin.page.get_by_role("status").locator(".state")).to_have_text("DONE")
    assert sql(stage.api, pool, "SELECT count(*), max(day)::VARCHAR FROM bills") == [[3, "2024-02-28"]]
    again = admin.page.url.rpartition("/")[2]
    assert own_job(stage.api, pool, job)["retriedBy"] == again
    admin.open(stage.at(f"/jobs/{job}/clone", pool))
    expect(admin.page.get_by_role("button", name="Run again with its chunks")).to_have_count(0)


def test_columns_that_nobody_declared_are_offered(admin: Person, stage: Stage) -> None:
    pool = create_pool(stage.api, "undeclared")
    job = run_job(stage.api, pool, "t", [b"first,last name\n1,x\n"], fileType="CSV")["id"]
    admin.open(stage.at(f"/jobs/{job}/clone", pool))
    admin.page.get_by_label("Type of first").select_option("INTEGER")
    make(admin)
    [column] = request_of(admin)["tableSchema"]["columns"]
    assert column == {"columnName": "first", "columnType": "INTEGER"}


def test_nonsense_is_refused(stage: Stage) -> None:
    at = stage.at(f"/jobs/{stage.jobs['failed']}/clone")
    with inside(stage.server, stage.pusher) as client:
        form = {"csrf": proof_of(client, at), "said": "true"}
        column = {"column": "a", "kind": "", "length": "-1", "date_format": ""}
        half = {"table": "t", "column": "a"}
        for wrong in ({"table": " "}, {"table": "t", **column}, {"table": "t", "type": "MERGE"}, half):
            assert client.post(at, data={**form, **wrong}).status_code == 400, wrong


def test_of_very_many_columns_the_others_stay(stage: Stage) -> None:
    pool = create_pool(stage.api, "wide and cloned")
    columns = [{"columnName": f"c{n}", "columnType": "STRING"} for n in range(250)]
    asked = {"targetName": "t", "fileType": "CSV", "tableSchema": {"tableName": "t", "columns": columns}}
    job = stage.api.post(f"/api/v1/pools/{pool}/jobs", json=asked).json()["id"]
    at = stage.at(f"/jobs/{job}/clone", pool)
    with inside(stage.server, stage.server.admin_key) as client:
        page = client.get(at).text
        assert "the first 200; the others stay as they are" in page
        form = {"csrf": proof_of(client, at), "said": "true", "table": "t"}
        assert client.post(at, data=form).status_code == 303
    [clone] = [j for j in stage.api.get(f"/api/v1/pools/{pool}/jobs").json() if j["id"] != job]
    assert len(clone["tableSchema"]["columns"]) == 250
