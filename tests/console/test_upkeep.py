"""What pools take on the disk, and the buttons that look after them."""

from __future__ import annotations

import sqlite3

import pytest
from playwright.sync_api import Locator, expect

from console.browser import Person
from console.door import inside, proof_of
from console.stage import LONG, Stage
from harness import create_job, create_pool, new_key, run_job, wait_for


@pytest.fixture
def pool(stage: Stage) -> str:
    """Two tables of several files each."""
    pool = create_pool(stage.api, "looked after")
    for n in range(3):
        for table in ("t", "a/b ü"):
            run_job(stage.api, pool, table, [f"a\n{n}\n".encode()], fileType="CSV", type="DELTA")
    return pool


def row_of(admin: Person, name: str) -> Locator:
    head = admin.page.get_by_role("rowheader", name=name, exact=True)
    return admin.page.get_by_role("row").filter(has=head)


def figures(admin: Person, name: str) -> dict[str, str]:
    heads = admin.page.locator("main thead th").all_inner_texts()
    cells = row_of(admin, name).locator("th, td").all_inner_texts()
    return dict(zip(heads, cells, strict=True))


def test_of_a_whole_pool(admin: Person, stage: Stage, pool: str) -> None:
    admin.open("/console/upkeep")
    before = figures(admin, "looked after")
    assert (before["Tables"], before["Files"], before["Last upkeep (UTC)"]) == ("2", "6", "–")
    admin.page.get_by_role("button", name="Run upkeep of looked after").click()
    expect(admin.page.get_by_role("heading", level=1)).to_have_text("Upkeep")
    for table in ("t", "a/b ü"):
        after = figures(admin, table)
        assert after["Files"] == "1"
        assert after["Last upkeep (UTC)"] != "–"
    [entry] = wait_for(
        lambda: stage.api.get("/api/v1/audit", params={"action": "maintain-pool", "pool": pool}).json()
    )
    assert (entry["name"], entry["status"]) == ("admin", 303)


def test_of_one_table(admin: Person, stage: Stage, pool: str) -> None:
    admin.open(stage.at("/tables", pool))
    admin.page.locator("main").get_by_role("link", name="Upkeep").click()
    admin.page.get_by_role("button", name="Run upkeep of a/b ü").click()
    expect(row_of(admin, "a/b ü").locator("td").nth(1)).to_have_text("1")
    assert figures(admin, "t")["Files"] == "3"
    admin.page.get_by_role("button", name="Run upkeep of all tables").click()
    expect(row_of(admin, "t").locator("td").nth(1)).to_have_text("1")


def test_who_may(stage: Stage, pool: str) -> None:
    """An administrator of one pool looks after that one; who may only read or push has no such page."""
    own = new_key(stage.api, permissions=["admin"], pools=[pool], name="of one pool")
    with inside(stage.server, own) as client:
        assert client.get("/console/upkeep").status_code == 403
        assert client.get(stage.at("/upkeep", pool)).status_code == 200
        assert client.get(stage.at("/upkeep")).status_code == 403
    with inside(stage.server, stage.reader) as client:
        proof = {"csrf": proof_of(client, "/console")}
        assert "/upkeep" not in client.get(stage.at("/tables")).text
        for path in (stage.at("/upkeep"), stage.at(f"/tables/{LONG}/upkeep")):
            assert client.post(path, data=proof).status_code == 403


def test_what_is_old_goes(admin: Person, stage: Stage) -> None:
    admin.open("/console/upkeep")
    expect(admin.page.get_by_text("Nothing is old enough to go")).to_be_visible()
    pool = create_pool(stage.api, "aged")
    for _ in range(2):
        create_job(stage.api, pool, "t")
    with sqlite3.connect(stage.server.data_dir / "metadata.sqlite") as db:
        old = "2020-01-01 00:00:00.000000"
        db.execute("UPDATE jobs SET created_at = ?, modified_at = ? WHERE pool_id = ?", (old, old, pool))
    admin.page.reload()
    row = row_of(admin, "jobs to which nobody has pushed anything")
    expect(row.locator("td")).to_have_text("2")
    admin.page.once("dialog", lambda dialog: dialog.accept())
    admin.page.get_by_role("button", name="Let go of it now").click()
    expect(admin.page.get_by_text("Nothing is old enough to go")).to_be_visible()
    assert stage.api.get(f"/api/v1/pools/{pool}/jobs").json() == []


def test_many_pools_have_pages(stage: Stage) -> None:
    with inside(stage.server, stage.server.admin_key) as client:
        first = client.get("/console/upkeep?offset=0").text
        for n in range(26 - first.count(">Run upkeep<")):
            create_pool(stage.api, f"one of many {n}")
        first, second = (client.get(f"/console/upkeep?offset={n}").text for n in (0, 25))
        assert first.count(">Run upkeep<") == 25
        assert 'href="?offset=25"' in first
        assert second.count(">Run upkeep<") >= 1
        assert 'href="?offset=0"' in second
