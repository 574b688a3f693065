"""The list of jobs: what it shows, what it finds, and that it goes on by itself."""

from __future__ import annotations

import re
import sqlite3
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from console.browser import Person
from console.door import inside
from console.stage import LONG, Stage
from harness import create_job, create_pool, execute, run_job, wait_for_job


def rows(admin: Person) -> list[list[str]]:
    lines = admin.page.locator("tbody tr")
    return [line.locator("th, td").all_inner_texts() for line in lines.all()]


def test_each_job_has_its_figures(admin: Person, stage: Stage) -> None:
    admin.open(stage.at("/jobs?status=DONE&table=orders"))
    newest = rows(admin)[0]
    assert newest[:8] == ["DONE", "orders", "DELTA", "300", "199", "101", "0", "0"]
    assert re.fullmatch(r"[\d.]+ kB", newest[8])
    assert re.fullmatch(r"[\d.]+ (ms|s)", newest[9])
    assert newest[10] == "admin"
    admin.page.get_by_role("link", name="orders").first.click()
    expect(admin.page.get_by_role("heading", level=1)).to_have_text("orders")


@pytest.mark.parametrize(
    ("query", "states", "tables"),
    [
        ("status=ERROR", {"ERROR"}, {"invoices"}),
        ("status=NEW", {"NEW"}, {"customers"}),
        ("table=INVOICE", {"DONE", "ERROR"}, {"invoices"}),
        ("table=whose_name", {"DONE"}, {LONG}),
        ("since=1h&table=invoices&status=DONE", {"DONE"}, {"invoices"}),
    ],
)
def test_filters(stage: Stage, admin: Person, query: str, states: set[str], tables: set[str]) -> None:
    admin.open(stage.at(f"/jobs?{query}"))
    found = rows(admin)
    assert {row[0] for row in found} == states
    assert {row[1] for row in found} == tables


def test_by_key_and_by_hand(admin: Person, stage: Stage) -> None:
    admin.open(stage.at("/jobs"))
    admin.page.get_by_role("combobox", name="By key").select_option(label="a pusher")
    admin.page.get_by_role("searchbox", name="Table").fill("orders")
    admin.page.keyboard.press("Enter")
    expect(admin.page.get_by_text("No job matches")).to_be_visible()
    admin.page.get_by_role("link", name="Clear").click()
    expect(admin.page.locator("tbody tr").first).to_be_visible()


def test_nonsense_is_refused_as_a_page(admin: Person, stage: Stage) -> None:
    assert admin.open(stage.at("/jobs?since=never")).status == 400
    expect(admin.page.get_by_role("alert")).to_contain_text("since")
    assert admin.open(stage.at("/jobs?offset=-1")).status == 400


def test_it_goes_on_without_reloading(admin: Person, stage: Stage) -> None:
    pool = create_pool(stage.api, "live")
    admin.open(stage.at("/jobs", pool))
    expect(admin.page.get_by_text("No jobs yet")).to_be_visible()
    admin.page.evaluate("window.mine = true")
    job = create_job(stage.api, pool, "t", fileType="CSV")["id"]
    expect(admin.page.locator(".state")).to_have_text("NEW")
    execute(stage.api, pool, job)
    wait_for_job(stage.api, pool, job)
    expect(admin.page.locator(".state")).to_have_text(re.compile("DONE|ERROR"))
    assert admin.page.evaluate("window.mine") is True


def test_what_is_as_it_was_is_not_drawn_again(stage: Stage) -> None:
    with inside(stage.server, stage.reader) as client:
        page = client.get(stage.at("/jobs?status=DONE")).text
        again = page.partition('hx-get="')[2].partition('"')[0].replace("&amp;", "&")
        live = {"HX-Request": "true"}
        assert client.get(again, headers=live).status_code == 204
        other = client.get(again.replace("status=DONE", "status=ERROR"), headers=live)
        assert other.status_code == 200
        assert "<html" not in other.text
        assert "status=ERROR" in other.text


def test_a_deleted_job_stays_in_the_ledger(admin: Person, stage: Stage) -> None:
    pool = create_pool(stage.api, "deleted")
    job = run_job(stage.api, pool, "t", [b"a\n1\n"], fileType="CSV")["id"]
    stage.api.delete(f"/integration/api/v1/data-push/{pool}/jobs/{job}")
    admin.open(stage.at("/jobs", pool))
    expect(admin.page.locator("tbody tr")).to_contain_text("deleted")


def test_pages_of_ten_thousand_jobs(stage: Stage) -> None:
    """The page is made from fifty of them: what it costs does not grow with the others."""
    pool = create_pool(stage.api, "many")
    some = run_job(stage.api, pool, "t", [b"a\n1\n"], fileType="CSV")["id"]
    with sqlite3.connect(stage.server.data_dir / "metadata.sqlite") as db:
        names = [row[1] for row in db.execute("PRAGMA table_info(jobs)")]
        copied = ", ".join("?" if name in ("id", "created_at") else name for name in names)
        sql = f"INSERT INTO jobs ({', '.join(names)}) SELECT {copied} FROM jobs WHERE id = ?"
        order = [name for name in names if name in ("id", "created_at")]
        made = [
            {
                "id": str(uuid4()),
                "created_at": f"2024-01-01 {n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}.000000",
            }
            for n in range(10_000)
        ]
        db.executemany(sql, [(*(one[name] for name in order), some) for one in made])
    with inside(stage.server, stage.server.admin_key) as client:
        client.get(stage.at("/jobs", pool))
        page = client.get(stage.at("/jobs", pool))
        assert page.text.count("<tr>") == 51
        assert len(page.content) < 100_000
        older = client.get(stage.at("/jobs?offset=9960", pool)).text
        assert older.count("<tr>") == 42
        assert "Older" not in older
        assert "Newer" in older
