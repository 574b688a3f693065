"""Keys, settings and the audit: for administrators of the whole server alone."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.sync_api import expect

from console.browser import Person
from console.door import inside
from console.stage import Stage
from harness import new_key, wait_for
from headrace.settings import Settings


def test_a_key_is_made_shown_once_and_works(admin: Person, stage: Stage) -> None:
    admin.open("/console/keys")
    admin.page.get_by_role("textbox", name="Name").fill("from a page")
    admin.page.get_by_role("combobox", name="May").select_option("read")
    admin.page.get_by_role("textbox", name="Tables").fill("ord*, inv*")
    admin.page.get_by_role("checkbox", name="Order to cash", exact=True).check()
    admin.page.get_by_role("spinbutton", name="Days until it ends").fill("30")
    admin.page.get_by_role("button", name="Make the key").click()
    secret = admin.page.locator("#secret").inner_text()
    [key] = [k for k in stage.api.get("/api/v1/keys").json() if k["name"] == "from a page"]
    assert (key["permissions"], key["pools"], key["tables"]) == (["read"], [stage.pool], ["inv*", "ord*"])
    assert key["expiresAt"] is not None
    with stage.server.client(f"AppKey {secret}") as client:
        assert client.get(f"/api/v1/pools/{stage.pool}/tables/orders").status_code == 200
    admin.open("/console/keys")
    assert secret not in admin.page.content()
    asked = {"action": "create-key", "subject": key["id"]}
    assert stage.api.get("/api/v1/audit", params=asked).json()


def test_a_client_is_shown_with_its_id(admin: Person, stage: Stage) -> None:
    admin.open("/console/keys")
    admin.page.get_by_role("textbox", name="Name").fill("a program")
    admin.page.get_by_role("combobox", name="Kind").select_option("client")
    admin.page.get_by_role("button", name="Make the key").click()
    who = admin.page.locator("#client").inner_text(), admin.page.locator("#secret").inner_text()
    form = {"grant_type": "client_credentials"}
    reply = httpx.post(f"{stage.server.url}/oauth2/token", data=form, auth=who, trust_env=False)
    assert reply.status_code == 200


def test_disable_enable_revoke(admin: Person, stage: Stage) -> None:
    secret = new_key(stage.api, permissions=["read"], name="to and fro")
    admin.open("/console/keys")
    row = admin.page.get_by_role("row", name="to and fro")
    with stage.server.client(f"AppKey {secret}") as client:
        for button, state, status in (("Disable", "disabled", 401), ("Enable", "good", 200)):
            row.get_by_role("button", name=button).click()
            expect(row.locator(".state")).to_have_text(state)
            assert client.get("/api/team").status_code == status
        admin.page.once("dialog", lambda dialog: dialog.accept())
        row.get_by_role("button", name="Revoke").click()
        expect(row.locator(".state")).to_have_text("revoked")
        assert client.get("/api/team").status_code == 401


def test_settings_are_those_in_force(admin: Person, stage: Stage) -> None:
    admin.open("/console/settings")
    rows = admin.page.get_by_role("region", name="The list of settings").locator("tbody tr")
    shown = {row.locator("th").inner_text(): row.locator("td").first.inner_text() for row in rows.all()}
    assert list(shown) == list(Settings.model_fields)
    assert shown["port"] == "0 changed"
    assert shown["session_hours"] == "12.0"


def test_the_audit_is_read_and_filtered(admin: Person, stage: Stage) -> None:
    wait_for(lambda: stage.api.get("/api/v1/audit", params={"action": "execute-job"}).json())
    admin.open("/console/audit")
    admin.page.get_by_role("searchbox", name="Action").fill("execute-job")
    admin.page.get_by_role("combobox", name="Pool").select_option(label="Order to cash")
    admin.page.get_by_role("button", name="Filter").click()
    expect(admin.page).to_have_url(re.compile("action=execute-job"))
    actions = admin.page.locator("tbody th").all_inner_texts()
    assert len(actions) >= 5
    assert set(actions) == {"execute-job"}
    admin.page.get_by_role("link", name="job").first.click()
    expect(admin.page.get_by_role("heading", name="Chunks")).to_be_visible()


def test_older_entries(stage: Stage) -> None:
    for n in range(101):
        stage.api.post("/api/v1/keys", json={"name": f"k{n}", "permissions": ["read"]})
    with inside(stage.server, stage.server.admin_key) as client:
        page = client.get("/console/audit?action=create-key").text
        assert page.count("<tr>") == 101
        older = page.partition('<a class="button" href="')[2].partition('"')[0].replace("&amp;", "&")
        assert "create-pool" not in client.get("/console/audit" + older).text


@pytest.mark.parametrize("page", ["keys", "settings", "audit"])
@pytest.mark.parametrize("who", ["stranger", "reader", "pusher"])
def test_nobody_else_gets_in(stage: Stage, who: str, page: str) -> None:
    with inside(stage.server, getattr(stage, who)) as client:
        assert client.get(f"/console/{page}").status_code == 403
        assert f"/console/{page}" not in client.get("/console").text
