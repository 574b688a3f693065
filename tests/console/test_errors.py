"""Why rows could not be stored, and the one click that sends them again."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from playwright.sync_api import expect

from console.browser import Person
from console.door import inside, proof_of
from console.stage import ORDERS, WRONG_DATES, Stage
from harness import RunningServer, create_pool, own_job, run_job, sql, wait_for


def test_reasons_are_counted_and_cells_marked(admin: Person, stage: Stage) -> None:
    admin.open(stage.at(f"/jobs/{stage.jobs['rejects']}/rejects"))
    expect(admin.page.get_by_role("heading", level=2).first).to_have_text("Why 5 rows could not be stored")
    reasons = admin.page.get_by_role("region", name="Reasons").locator("tbody tr")
    told = [row.locator("th, td").all_inner_texts()[:4] for row in reasons.all()]
    assert told[0] == ["value-does-not-fit", "day", "3", "DATE as yyyy-MM-dd"]
    assert {row[0] for row in told} == {"value-does-not-fit", "too-few-fields"}
    assert admin.page.locator("mark").all_inner_texts() == [
        "31.01.2024",
        "28.02.2024",
        "24.12.2023",
        "1.204,50",
    ]
    expect(admin.page.locator("tbody tr", has_text="31.01.2024")).to_contain_text("1,Ada,12.50,31.01.2024")


def test_rows_of_one_reason(admin: Person, stage: Stage) -> None:
    admin.open(stage.at(f"/jobs/{stage.jobs['rejects']}/rejects"))
    admin.page.get_by_role("row", name="amount").get_by_role("link").click()
    expect(admin.page.locator("#rows")).to_have_text("Rows with value-does-not-fit in amount")
    assert admin.page.locator("mark").all_inner_texts() == ["1.204,50"]
    admin.page.get_by_role("link", name="Show all").click()
    expect(admin.page.locator("mark")).to_have_count(4)


def test_one_click_sends_them_again(admin: Person, stage: Stage) -> None:
    pool = create_pool(stage.api, "replayed")
    spec = {"fileType": "CSV", "tableSchema": ORDERS, "maxRejectedRows": 5}
    good = b"9,Tony,1.00,2024-01-01\n"
    job = run_job(stage.api, pool, "orders", [WRONG_DATES + good], **spec)["id"]
    admin.open(stage.at(f"/jobs/{job}/rejects", pool))
    admin.page.get_by_role("button", name="Read day as dd.MM.yyyy").click()
    expect(admin.page.get_by_role("status").locator(".state")).to_have_text("DONE")
    days = sql(stage.api, pool, "SELECT id, CAST(day AS VARCHAR) FROM orders ORDER BY id")
    assert days == [[1, "2024-01-31"], [2, "2024-02-28"], [3, "2023-12-24"], [9, "2024-01-01"]]
    admin.open(stage.at(f"/jobs/{job}/rejects", pool))
    expect(admin.page.get_by_text("These rows were sent again")).to_be_visible()
    assert admin.page.locator("main button").count() == 0


def test_as_they_are(stage: Stage) -> None:
    """Without a fix they are bad again, and as many may be."""
    pool = create_pool(stage.api, "again")
    spec = {"fileType": "CSV", "tableSchema": ORDERS, "maxRejectedRows": 5}
    job = run_job(stage.api, pool, "orders", [WRONG_DATES], **spec)["id"]
    at = stage.at(f"/jobs/{job}/rejects", pool)
    with inside(stage.server, stage.server.admin_key) as client:
        reply = client.post(f"{at}/replay", data={"csrf": proof_of(client, at)})
        assert reply.status_code == 303
        again = reply.headers["location"].rpartition("/")[2]
        ended = wait_for(lambda: (j := own_job(stage.api, pool, again))["finishedAt"] and j)
        assert (ended["status"], ended["counts"]["rejected"]) == ("DONE", 3)
        assert client.post(f"{at}/replay", data={"csrf": proof_of(client, at)}).status_code == 409


def test_a_job_in_error_runs_again_with_one_click(admin: Person, stage: Stage) -> None:
    pool = create_pool(stage.api, "run again")
    failed = run_job(stage.api, pool, "invoices", [WRONG_DATES], fileType="CSV", tableSchema=ORDERS)["id"]
    admin.open(stage.at(f"/jobs/{failed}/rejects", pool))
    expect(admin.page.get_by_text("Nothing of this job was loaded")).to_contain_text("the chunks that were")
    admin.page.get_by_role("button", name="Read day as dd.MM.yyyy").click()
    expect(admin.page.get_by_role("status").locator(".state")).to_have_text("DONE")
    days = sql(stage.api, pool, "SELECT id, CAST(day AS VARCHAR) FROM invoices ORDER BY id")
    assert days == [[1, "2024-01-31"], [2, "2024-02-28"], [3, "2023-12-24"]]
    assert own_job(stage.api, pool, failed)["retriedBy"] == admin.page.url.rpartition("/")[2]
    admin.open(stage.at(f"/jobs/{failed}/rejects", pool))
    expect(admin.page.get_by_text("These rows were sent again")).to_be_visible()
    assert admin.page.locator("main button").count() == 0


def test_of_a_job_whose_chunks_are_gone_a_new_one_asks_for_it(stage: Stage, tmp_path: Path) -> None:
    data, env = tmp_path / "data", {"HEADRACE_KEEP_FAILED_HOURS": "0"}
    with RunningServer(data, env=env) as server, server.client() as api:
        pool = create_pool(api, "asked anew")
        failed = run_job(api, pool, "invoices", [WRONG_DATES], fileType="CSV", tableSchema=ORDERS)["id"]
        with inside(server, server.admin_key) as client:
            at = stage.at(f"/jobs/{failed}/rejects", pool)
            assert "send the file to it again" in client.get(at).text
            form = {"csrf": proof_of(client, at), "code": "value-does-not-fit", "column": "day"}
            reply = client.post(f"{at}/replay", data=form)
            assert reply.status_code == 303
            assert "Retry</button>" not in client.get(stage.at(f"/jobs/{failed}", pool)).text
        job = own_job(api, pool, reply.headers["location"].rpartition("/")[2])
    [column] = job["csvParsingOptions"]["additionalColumnOptions"]
    assert (column["columnName"], column["dateFormat"]) == ("day", "dd.MM.yyyy")
    assert (job["targetName"], job["status"]) == ("invoices", "NEW")


def test_all_of_them_as_a_file(admin: Person, stage: Stage) -> None:
    admin.open(stage.at(f"/jobs/{stage.jobs['rejects']}/rejects"))
    with admin.page.expect_download() as download:
        admin.page.get_by_role("link", name="Download as CSV").click()
    text = download.value.path().read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["_code"] for row in rows].count("value-does-not-fit") == 4
    assert len(rows) == 5


def test_a_job_without_any(admin: Person, stage: Stage) -> None:
    admin.open(stage.at(f"/jobs/{stage.jobs['updated']}/rejects"))
    expect(admin.page.get_by_text("Every row could be stored")).to_be_visible()


def test_a_fix_that_is_none(stage: Stage) -> None:
    at = stage.at(f"/jobs/{stage.jobs['rejects']}/rejects")
    with inside(stage.server, stage.server.admin_key) as client:
        form = {"csrf": proof_of(client, at), "code": "value-does-not-fit", "column": "day", "fix": "7"}
        assert client.post(f"{at}/replay", data=form).status_code == 404
