"""SQL: completion, running, cancelling, a grid that draws what is seen, history, a link."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from console.browser import Person, faults_for_some_people
from console.door import inside, proof_of
from console.stage import Stage
from harness import wait_for


def run(admin: Person, text: str) -> None:
    admin.page.get_by_label("One SELECT").fill(text)
    admin.page.keyboard.press("Escape")
    admin.page.get_by_role("button", name="Run").click()


def test_rows_and_time(admin: Person, stage: Stage) -> None:
    admin.open(stage.at("/sql"))
    run(admin, "SELECT customer, count(*) AS n, NULL AS nothing FROM orders GROUP BY ALL ORDER BY customer")
    expect(admin.page.locator("#said")).to_have_text(re.compile(r"^5 rows in \d+ ms$"))
    first = admin.page.locator("#result tbody tr:not(.pad)").first
    assert first.locator("td").all_inner_texts() == ["1", "Ada", "179", "NULL"]
    assert admin.page.locator("#result thead th").all_inner_texts() == ["#", "customer", "n", "nothing"]


def test_names_complete_by_the_keyboard_alone(admin: Person, stage: Stage) -> None:
    admin.open(stage.at("/sql"))
    editor = admin.page.get_by_label("One SELECT")
    expect(editor).to_be_focused()
    admin.page.keyboard.type("SELECT max(i) FROM ord")
    expect(admin.page.get_by_role("option").first).to_have_text(re.compile("orders"))
    admin.page.keyboard.press("Tab")
    expect(editor).to_have_value("SELECT max(i) FROM orders")
    expect(admin.page.get_by_role("listbox")).to_be_hidden()
    for _ in range(len(") FROM orders")):
        admin.page.keyboard.press("ArrowLeft")
    admin.page.keyboard.type("d")
    admin.page.keyboard.press("Backspace")
    expect(admin.page.get_by_role("option", name=re.compile("^id"))).to_be_visible()
    admin.page.keyboard.press("Enter")
    expect(editor).to_have_value("SELECT max(id) FROM orders")
    admin.page.keyboard.press("Control+Enter")
    expect(admin.page.locator("#said")).to_contain_text("1 row in")


def test_a_mistake_is_told(admin: Person, stage: Stage) -> None:
    admin.open(stage.at("/sql"))
    run(admin, "SELECT nothing FROM orders")
    expect(admin.page.locator("#said")).to_contain_text('"nothing" not found')
    run(admin, "DROP TABLE orders")
    expect(admin.page.locator("#said")).to_contain_text("SELECT")
    expect(admin.page.locator("#result table")).to_have_count(0)


def test_cancel(admin: Person, stage: Stage) -> None:
    admin.open(stage.at("/sql"))
    run(admin, "SELECT sum(sin(a.range * b.range)) FROM range(1000000) a, range(1000000) b")
    admin.page.get_by_role("button", name="Cancel").click()
    expect(admin.page.locator("#said")).to_have_text("Cancelled.")
    run(admin, "SELECT 42 AS answer")
    expect(admin.page.locator("#said")).to_contain_text("1 row in")


def test_many_rows_are_drawn_as_they_are_seen(admin: Person, stage: Stage) -> None:
    admin.open(stage.at("/sql"))
    run(admin, "SELECT range AS n, 'row ' || range AS text FROM range(50000)")
    expect(admin.page.locator("#said")).to_contain_text("10,000 rows (there are more)")
    drawn = admin.page.locator("#result tbody tr:not(.pad)")
    assert drawn.count() < 100
    grid = admin.page.get_by_role("region", name="Rows")
    grid.evaluate("grid => { grid.scrollTop = grid.scrollHeight; }")
    expect(drawn.last).to_contain_text("row 9999")
    assert drawn.count() < 100
    assert grid.locator("table").get_attribute("aria-rowcount") == "10001"


def test_the_grid_holds_a_hundred_thousand_rows(admin: Person, stage: Stage) -> None:
    """More than this server answers: what is drawn does not grow with what there is."""
    admin.open(stage.at("/sql"))
    rows = "[" + ",".join(f"[{n}]" for n in range(100_000)) + "]"
    told = (
        '{"columns": [{"name": "n", "type": "BIGINT"}], "rows": '
        + rows
        + ', "truncated": false, "milliseconds": 1}'
    )
    admin.page.route("**/sql/run", lambda route: route.fulfill(body=told, content_type="application/json"))
    run(admin, "SELECT 1")
    expect(admin.page.locator("#said")).to_contain_text("100,000 rows")
    drawn = admin.page.locator("#result tbody tr:not(.pad)")
    for share in (0.5, 0.99, 0):
        admin.page.get_by_role("region", name="Rows").evaluate(
            f"g => {{ g.scrollTop = g.scrollHeight * {share}; }}"
        )
        expect(
            drawn.locator("td:nth-child(2)", has_text=re.compile(f"^{int(100_000 * share)}$"))
        ).to_be_visible()
        assert drawn.count() < 100


def test_export_history_and_a_link(admin: Person, stage: Stage) -> None:
    admin.open(stage.at("/sql"))
    text = "SELECT 'a,\"b' AS x, '' AS empty, NULL AS nothing, 1.50 AS n"
    run(admin, text)
    with admin.page.expect_download() as download:
        admin.page.get_by_role("button", name="Export as CSV").click()
    assert download.value.path().read_bytes() == b'x,empty,nothing,n\r\n"a,""b","",,1.50\r\n'
    admin.open(stage.at("/sql"))
    admin.page.locator("#history").get_by_role("button").first.click()
    expect(admin.page.get_by_label("One SELECT")).to_have_value(text)
    admin.page.get_by_role("button", name="Copy a link").click()
    expect(admin.page.locator("#shared")).not_to_be_empty()
    link = admin.page.url
    admin.open("/console")
    admin.page.goto(link)
    expect(admin.page.get_by_label("One SELECT")).to_have_value(text)


def test_a_category_has_bars_and_a_time_a_line(admin: Person, stage: Stage) -> None:
    admin.open(stage.at("/sql"))
    run(admin, 'SELECT customer AS "<b>who", count(*) AS n FROM orders GROUP BY 1 ORDER BY 1')
    bars = admin.page.get_by_role("figure", name="n by <b>who")
    expect(bars.get_by_role("listitem")).to_have_count(5)
    expect(bars.get_by_role("listitem").first).to_contain_text("Ada")
    run(admin, "SELECT day, sum(amount) AS amount FROM orders GROUP BY 1 ORDER BY 1")
    line = admin.page.get_by_role("figure", name="amount over day")
    expect(line.get_by_role("img")).to_have_attribute(
        "aria-label", re.compile("^From 2024-01-01 to 2024-12-")
    )
    assert faults_for_some_people(admin.page) == []
    run(admin, "SELECT 1")
    expect(admin.page.locator("#plot")).to_be_hidden()
    run(admin, "SELECT range::VARCHAR AS name, range AS n FROM range(50)")
    expect(admin.page.locator("#plot figcaption")).to_contain_text("20 rows are not drawn")
    run(admin, "SELECT nonsense FROM orders")
    expect(admin.page.locator("#plot")).to_be_hidden()


def test_it_runs_without_a_script(stage: Stage) -> None:
    at = stage.at("/sql")
    with inside(stage.server, stage.reader) as client:
        form = {"csrf": proof_of(client, at), "sql": "SELECT max(id) AS top FROM orders"}
        assert '<td class="num">899</td>' in client.post(at, data=form).text
        reply = client.post(at, data={**form, "sql": "SELECT * FROM payroll"})
        assert 'role="alert"' in reply.text


def test_a_query_is_no_change_and_a_stranger_has_none(stage: Stage) -> None:
    with inside(stage.server, stage.stranger) as client:
        proof = proof_of(client, "/console")
        form = {"csrf": proof, "sql": "SELECT 1"}
        assert client.post(stage.at("/sql/run"), data=form).status_code == 403
        assert client.post(stage.at("/sql"), data=form).status_code == 403
    refused = {"action": "run-query", "status": 403}
    assert wait_for(lambda: stage.api.get("/api/v1/audit", params=refused).json())


def test_the_name_of_a_table_is_no_program(stage: Stage) -> None:
    with inside(stage.server, stage.reader) as client:
        page = client.get(stage.at("/sql?table=</textarea><script>alert(1)</script>")).text
        assert "<script>alert" not in page
