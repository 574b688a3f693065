"""One job: its figures, its life while it is looked at, its buttons."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import expect

from console.browser import Person
from console.door import inside, proof_of
from console.stage import ORDERS, WRONG_DATES, Stage, orders
from harness import add_chunk, create_job, create_pool, execute, held, own_job, run_job, sql, wait_for

ENDS = ("cancel", "retry", "undo")


def facts(admin: Person) -> dict[str, str]:
    page = admin.page
    return dict(
        zip(
            page.locator(".facts dt").all_inner_texts(),
            page.locator(".facts dd").all_inner_texts(),
            strict=True,
        )
    )


def test_what_it_did(admin: Person, stage: Stage) -> None:
    job = own_job(stage.api, stage.pool, stage.jobs["updated"])
    admin.open(stage.at(f"/jobs/{job['id']}"))
    shown = facts(admin)
    assert (shown["Rows in"], shown["Inserted"], shown["Updated"]) == ("300", "199", "101")
    assert admin.page.locator(".phases li span:first-child").all_inner_texts() == [
        "receiving",
        "waiting",
        "loading",
    ]
    chunk = admin.page.get_by_role("region", name="Chunks").locator("tbody tr").first
    expect(chunk).to_contain_text(job["chunks"][0]["sha256"][:16])
    expect(chunk).to_contain_text("300")
    assert admin.page.locator(".log li").all_inner_texts() == job["logs"]
    assert admin.page.locator("#staged").evaluate("bar => bar.value / bar.max") == 1


def test_the_exact_request_makes_the_same_job(admin: Person, stage: Stage) -> None:
    pool = create_pool(stage.api, "asked")
    csv = {
        "separatorSequence": ";",
        "dateFormat": "dd.MM.yyyy",
        "emptyIsFalse": False,
        "additionalColumnOptions": [{"columnName": "amount", "decimalSeparator": ","}],
    }
    asked = {
        "targetName": "orders",
        "type": "DELTA",
        "fileType": "CSV",
        "keys": ["id"],
        "tableSchema": {"tableName": "orders", "columns": [{"columnName": "id", "columnType": "INTEGER"}]},
        "csvParsingOptions": csv,
        "maxRejectedRows": 10,
        "inferTypes": True,
    }
    job = stage.api.post(f"/api/v1/pools/{pool}/jobs", json=asked).json()["id"]
    admin.open(stage.at(f"/jobs/{job}", pool))
    assert json.loads(admin.page.locator("#sent").text_content() or "") == {**asked, "dataPoolId": pool}


def test_the_command_pushes(admin: Person, stage: Stage, tmp_path: Path) -> None:
    pool = create_pool(stage.api, "by hand")
    delta = {"fileType": "CSV", "tableSchema": ORDERS, "type": "DELTA", "keys": ["id"]}
    job = run_job(stage.api, pool, "orders", [orders(1, 3)], **delta)["id"]
    admin.open(stage.at(f"/jobs/{job}", pool))
    (tmp_path / "FILE").write_bytes(orders(2000, 3))
    text = admin.page.locator("#curl").text_content() or ""
    env = {**os.environ, "HEADRACE_KEY": stage.server.admin_key, "no_proxy": "*"}
    command = ["bash", "-euo", "pipefail", "-c", text]
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    [job, *_] = stage.api.get(f"/api/v1/pools/{pool}/jobs").json()
    ended = wait_for(lambda: (j := own_job(stage.api, pool, job["id"]))["finishedAt"] and j)
    assert (ended["type"], ended["counts"]["inserted"]) == ("DELTA", 3)


def test_send_execute_and_look_on(admin: Person, stage: Stage, tmp_path: Path) -> None:
    """A new job gets its file from the page, and the page follows it to its end."""
    pool = create_pool(stage.api, "sent to")
    job = create_job(stage.api, pool, "sent", fileType="CSV", tableSchema=ORDERS)["id"]
    (tmp_path / "orders.csv").write_bytes(orders(1, 50))
    admin.open(stage.at(f"/jobs/{job}", pool))
    admin.page.get_by_label("Send a file").set_input_files(tmp_path / "orders.csv")
    admin.page.get_by_role("button", name="Send", exact=True).click()
    execute = admin.page.get_by_role("button", name="Execute")
    expect(execute).to_be_visible()
    expect(admin.page.get_by_role("region", name="Columns", exact=True)).to_contain_text("DECIMAL(18,2)")
    execute.click()
    expect(admin.page.get_by_role("status").locator(".state")).to_have_text("DONE")
    assert facts(admin)["Inserted"] == "50"
    assert admin.page.locator("[hx-trigger]").count() == 0


def test_a_file_that_is_none_is_told_where_it_was_sent(admin: Person, stage: Stage, tmp_path: Path) -> None:
    pool = create_pool(stage.api, "sent wrongly")
    job = create_job(stage.api, pool, "sent", fileType="CSV")["id"]
    (tmp_path / "book.xls").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600)
    admin.open(stage.at(f"/jobs/{job}", pool))
    admin.page.get_by_label("Send a file").set_input_files(tmp_path / "book.xls")
    admin.page.get_by_role("button", name="Send", exact=True).click()
    expect(admin.page.locator("#send-problem")).to_contain_text("an old Office file")


def test_clone_and_delete(admin: Person, stage: Stage) -> None:
    pool = create_pool(stage.api, "cloned")
    failed = run_job(stage.api, pool, "invoices", [WRONG_DATES], fileType="CSV", tableSchema=ORDERS)["id"]
    admin.open(stage.at(f"/jobs/{failed}", pool))
    admin.page.get_by_role("link", name="Clone", exact=True).click()
    admin.page.get_by_role("button", name="Make a NEW job").click()
    expect(admin.page.get_by_role("status").locator(".state")).to_have_text("NEW")
    clone = admin.page.url.rpartition("/")[2]
    assert own_job(stage.api, pool, clone)["targetName"] == "invoices"
    admin.page.once("dialog", lambda dialog: dialog.dismiss())
    admin.page.get_by_role("button", name="Delete").click()
    assert own_job(stage.api, pool, clone)["deletedAt"] is None
    admin.page.once("dialog", lambda dialog: dialog.accept())
    admin.page.get_by_role("button", name="Delete").click()
    expect(admin.page.get_by_role("status")).to_contain_text("deleted")
    asked = {"action": "delete-job", "job": clone}
    [entry] = wait_for(lambda: stage.api.get("/api/v1/audit", params=asked).json())
    assert (entry["name"], entry["pool"], entry["status"]) == ("admin", pool, 303)


@pytest.mark.parametrize("what", ["execute", "delete", "clone", "chunks", "rejects/replay", "types", *ENDS])
def test_a_reader_has_no_buttons_and_no_way_around(stage: Stage, what: str) -> None:
    at = stage.at(f"/jobs/{stage.jobs['new']}")
    with inside(stage.server, stage.reader) as client:
        page = client.get(at).text
        assert "Delete</button>" not in page
        assert "Send a file" not in page
        proof = proof_of(client, "/console")
        assert client.post(f"{at}/{what}", data={"csrf": proof}).status_code == 403
    assert own_job(stage.api, stage.pool, stage.jobs["new"])["status"] == "NEW"


def test_a_job_that_cannot_be_executed_says_so(stage: Stage) -> None:
    at = stage.at(f"/jobs/{stage.jobs['updated']}")
    with inside(stage.server, stage.pusher) as client:
        reply = client.post(f"{at}/execute", data={"csrf": proof_of(client, at)})
        assert reply.status_code == 409
        assert re.search(r'role="alert">\s*<h1>Only a NEW job can be executed', reply.text)


# -- called off, run again, taken back -----------------------------------------------------------------


def test_cancel(admin: Person, stage: Stage) -> None:
    pool = create_pool(stage.api, "called off")
    run_job(stage.api, pool, "t", [b"a\n1\n"], fileType="CSV")
    running, waiting = (create_job(stage.api, pool, "t", fileType="CSV")["id"] for _ in range(2))
    for job in (running, waiting):
        add_chunk(stage.api, pool, job, b"a\n2\n")
    with held(stage.server, pool):
        for job in (running, waiting):
            execute(stage.api, pool, job)
        admin.open(stage.at(f"/jobs/{waiting}", pool))
        admin.page.once("dialog", lambda dialog: dialog.accept())
        admin.page.get_by_role("button", name="Cancel").click()
        expect(admin.page.get_by_role("status")).to_contain_text("cancelled")
        expect(admin.page.get_by_role("button", name="Cancel")).to_have_count(0)
    [entry] = wait_for(
        lambda: stage.api.get("/api/v1/audit", params={"action": "cancel-job", "job": waiting}).json()
    )
    assert (entry["name"], entry["pool"], entry["status"]) == ("admin", pool, 303)
    admin.page.get_by_role("button", name="Retry").click()
    expect(admin.page.get_by_role("status").locator(".state")).to_have_text("DONE")
    assert admin.page.url.rpartition("/")[2] != waiting
    admin.open(stage.at(f"/jobs/{waiting}", pool))
    admin.page.get_by_role("link", name="it was run again").click()
    expect(admin.page.get_by_text(f"Runs the job {waiting} again.")).to_be_visible()


def test_undo_shows_first_what_it_does(admin: Person, stage: Stage) -> None:
    pool = create_pool(stage.api, "taken back")
    keyed = {"fileType": "CSV", "keys": ["k"]}
    run_job(stage.api, pool, "t", [b"k,v\n1,a\n"], **keyed)
    job = run_job(stage.api, pool, "t", [b"k,v\n1,A\n2,b\n"], type="DELTA", **keyed)["id"]
    admin.open(stage.at(f"/jobs/{job}", pool))
    admin.page.get_by_role("link", name="Undo").click()
    row = admin.page.get_by_role("region", name="Tables").locator("tbody tr")
    assert row.locator("th, td").all_inner_texts() == ["t", "as it was before this job", "2", "1", "1"]
    assert sql(stage.api, pool, "SELECT count(*) FROM t") == [[2]]
    admin.page.get_by_role("button", name="Undo it").click()
    expect(admin.page.get_by_role("status")).to_contain_text("undone")
    expect(admin.page.get_by_role("link", name="Undo")).to_have_count(0)
    assert sql(stage.api, pool, "SELECT k, v FROM t") == [["1", "a"]]
    admin.open(stage.at("/tables/t", pool))
    newest = admin.page.get_by_role("region", name="Versions").locator("tbody tr").first
    expect(newest).to_contain_text(f"undo of {job}")


def test_undo_needs_no_script_and_says_why_not(stage: Stage) -> None:
    at = stage.at(f"/jobs/{stage.jobs['replaced']}/undo")
    with inside(stage.server, stage.pusher) as client:
        reply = client.get(at)
        assert (reply.status_code, "not-undoable" in reply.text) == (409, True)
        last = stage.at(f"/jobs/{stage.jobs['updated']}/undo")
        assert f'<form method="post" action="{last}">' in client.get(last).text
    with inside(stage.server, stage.reader) as client:
        assert client.get(last).status_code == 403
    assert own_job(stage.api, stage.pool, stage.jobs["updated"])["undoneAt"] is None
