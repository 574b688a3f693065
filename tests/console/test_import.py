"""Import: from a file that is dropped to rows that are loaded, with every correction on the way."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest
from playwright.sync_api import expect

from console.browser import Person
from console.door import inside, proof_of
from console.stage import Stage
from harness import create_pool, parquet, sql

GERMAN = "Nr;Kunde;Betrag;Tag\n1;Müller;1.204,50;31.01.2024\n2;Groß;7,25;28.02.2024\n3;Ö;9,99;24.12.2023\n"


def choose(admin: Person, stage: Stage, pool: str, path: Path) -> None:
    admin.open(stage.at("/import", pool))
    admin.page.get_by_label("File").set_input_files(path)
    expect(admin.page.get_by_role("button", name="Try it")).to_be_visible()


def test_a_german_file_needs_no_word(admin: Person, stage: Stage, tmp_path: Path) -> None:
    """Separator, charset, decimals and dates are guessed, the types from all values; then it is loaded."""
    pool = create_pool(stage.api, "imported")
    (tmp_path / "Umsätze 2024.csv").write_bytes(GERMAN.encode("windows-1252"))
    choose(admin, stage, pool, tmp_path / "Umsätze 2024.csv")
    page = admin.page
    expect(page.get_by_label("Table", exact=True)).to_have_value("Umsätze_2024")
    expect(page.get_by_label("Separator")).to_have_value(";")
    expect(page.get_by_label("Charset")).to_have_value("windows-1252")
    expect(page.get_by_role("cell", name="Müller")).to_be_visible()
    page.get_by_label("Table", exact=True).fill("sales")
    page.get_by_role("button", name="Try it").click()
    expect(page.get_by_role("heading", name="Table sales: created")).to_be_visible()
    assert stage.api.get(f"/api/v1/pools/{pool}/tables").json() == []
    page.get_by_role("button", name="Load").click()
    expect(page.get_by_role("status").locator(".state")).to_have_text("DONE")
    rows = sql(
        stage.api,
        pool,
        "SELECT Nr, Kunde, CAST(Betrag AS VARCHAR), CAST(Tag AS VARCHAR) FROM sales ORDER BY Nr",
    )
    assert rows[0] == [1, "Müller", "1204.50", "2024-01-31"]
    assert len(rows) == 3


def test_a_wrong_format_is_fixed_with_one_click(admin: Person, stage: Stage, tmp_path: Path) -> None:
    """The first rows say one thing and the others another: the dry run tells, and a click corrects it."""
    pool = create_pool(stage.api, "corrected")
    (tmp_path / "t.csv").write_text("id,day\n1,31.01.2024\n2,28.02.2024\n")
    choose(admin, stage, pool, tmp_path / "t.csv")
    page = admin.page
    page.get_by_label("Dates as").nth(1).fill("")
    page.get_by_role("button", name="Try it").click()
    page.get_by_text("Correct the types").click()
    page.get_by_label("day").last.select_option("DATE")
    page.get_by_role("button", name="Look again").click()
    expect(page.locator("#trial .state")).to_have_text("ERROR")
    page.get_by_role("button", name="Read day as dd.MM.yyyy").click()
    expect(page.locator("#trial .state")).to_have_text("DONE")
    page.get_by_role("button", name="Load").click()
    expect(page.get_by_role("status").locator(".state")).to_have_text("DONE")
    assert sql(stage.api, pool, "SELECT CAST(max(day) AS VARCHAR) FROM t") == [["2024-02-28"]]


def test_keys_update_a_table(admin: Person, stage: Stage, tmp_path: Path) -> None:
    pool = create_pool(stage.api, "updated")
    page = admin.page
    for text in ("id,v\n1,a\n2,b\n", "id,v\n2,c\n3,d\n"):
        (tmp_path / "t.csv").write_text(text)
        choose(admin, stage, pool, tmp_path / "t.csv")
        page.locator("[name=type]").select_option("DELTA")
        page.get_by_label("key", exact=True).first.check()
        page.get_by_role("button", name="Try it").click()
        page.get_by_role("button", name="Load").click()
        expect(page.get_by_role("status").locator(".state")).to_have_text("DONE")
    assert sql(stage.api, pool, "SELECT id, v FROM t ORDER BY id") == [[1, "a"], [2, "c"], [3, "d"]]


def test_parquet_says_itself_what_it_is(admin: Person, stage: Stage, tmp_path: Path) -> None:
    pool = create_pool(stage.api, "columns")
    (tmp_path / "p.parquet").write_bytes(parquet({"a": [1, 2], "b": ["x", None]}))
    choose(admin, stage, pool, tmp_path / "p.parquet")
    expect(admin.page.get_by_role("heading", name="The file is PARQUET")).to_be_visible()
    admin.page.get_by_role("button", name="Try it").click()
    admin.page.get_by_role("button", name="Load").click()
    expect(admin.page.get_by_role("status").locator(".state")).to_have_text("DONE")
    assert sql(stage.api, pool, "SELECT count(*) FROM p") == [[2]]


def test_what_is_only_tried_leaves_no_job(admin: Person, stage: Stage, tmp_path: Path) -> None:
    pool = create_pool(stage.api, "tried")
    (tmp_path / "t.csv").write_text("id\n1\n")
    choose(admin, stage, pool, tmp_path / "t.csv")
    for _ in range(2):
        admin.page.get_by_role("button", name="Try it").click()
        expect(admin.page.locator("#trial .state")).to_have_text("DONE")
        expect(admin.page.get_by_role("button", name="Try it")).to_be_enabled()
    jobs = stage.api.get(f"/api/v1/pools/{pool}/jobs").json()
    assert [job["deletedAt"] is None for job in jobs] == [True, False]


def test_what_cannot_be_read_is_told(admin: Person, stage: Stage, tmp_path: Path) -> None:
    pool = create_pool(stage.api, "refused")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and no more than that PAR1")
    choose(admin, stage, pool, tmp_path / "t.parquet")
    admin.page.get_by_role("button", name="Try it").click()
    expect(admin.page.locator("#problem")).to_contain_text("Parquet")


def test_a_sample_may_look_like_anything(stage: Stage) -> None:
    """Brackets in it are no JSON, and bytes no text."""
    with inside(stage.server, stage.pusher) as client:
        proof = proof_of(client, stage.at("/import"))
        for sample in (b"[{" * 30_000, bytes(range(256)) * 250, b""):
            form = {"csrf": proof, "sample": b64encode(sample).decode()}
            assert client.post(stage.at("/import/look"), data=form).status_code == 200
        assert client.post(stage.at("/import/look"), data={"csrf": proof, "sample": "é"}).status_code == 400


@pytest.mark.parametrize("who", ["reader", "stranger"])
def test_who_may_not_push_has_no_import(stage: Stage, who: str) -> None:
    with inside(stage.server, getattr(stage, who)) as client:
        assert client.get(stage.at("/import")).status_code == 403
        form = {"csrf": proof_of(client, "/console"), "table": "t"}
        assert client.post(stage.at("/import"), data=form).status_code == 403
