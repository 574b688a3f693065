"""Signing in and out, and how a session ends."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect

from console.browser import Person, person
from console.door import door, proof_of, sign_in
from console.stage import Stage
from harness import RunningServer, new_key, wait_for

SESSION, DOOR = "headrace_session", "headrace_door"


def test_the_address_of_the_server_leads_to_the_door_and_on(guest: Person, stage: Stage) -> None:
    guest.open("/")
    expect(guest.page).to_have_title("Sign in · Headrace")
    guest.page.get_by_label("Key").fill(stage.server.admin_key)
    guest.page.keyboard.press("Enter")
    expect(guest.page.get_by_role("heading", level=1)).to_have_text("Push tables to this server")


def test_one_goes_where_one_wanted_to(guest: Person, stage: Stage) -> None:
    guest.open(stage.at("/tables"))
    guest.page.get_by_label("Key").fill(stage.server.admin_key)
    guest.page.keyboard.press("Enter")
    expect(guest.page).to_have_url(stage.server.url + stage.at("/tables"))


@pytest.mark.parametrize("next", ["https://evil.example/", "//evil.example", "/console\\evil", "/docs"])
def test_one_never_goes_elsewhere(stage: Stage, next: str) -> None:
    with door(stage.server) as client:
        reply = sign_in(client, stage.server.admin_key, next=next)
        assert (reply.status_code, reply.headers["location"]) == (303, "/console")


def test_a_wrong_key_is_told_and_written_down(guest: Person, stage: Stage) -> None:
    guest.open("/console/sign-in")
    guest.page.get_by_label("Key").fill("hr_app_" + "x" * 43)
    guest.page.keyboard.press("Enter")
    expect(guest.page.get_by_role("alert")).to_have_text("This key is not known here.")
    asked = {"action": "sign-in", "status": 401, "limit": 1}
    [entry] = wait_for(lambda: stage.api.get("/api/v1/audit", params=asked).json())
    assert (entry["key"], entry["code"]) == (None, "unauthorized")


def test_the_secret_of_a_client_does_not_open(stage: Stage) -> None:
    made = stage.api.post("/api/v1/clients", json={"name": "c", "permissions": ["read"]}).json()
    with door(stage.server) as client:
        assert sign_in(client, made["clientSecret"]).status_code == 401


def test_the_cookie_is_closed_and_holds_no_key(stage: Stage) -> None:
    with door(stage.server) as client:
        reply = sign_in(client, stage.server.admin_key)
        [cookie] = [c for c in reply.headers.get_list("set-cookie") if c.startswith(SESSION)]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert "Path=/console" in cookie
        assert "Secure" not in cookie
        assert stage.server.admin_key not in cookie
        assert client.cookies.get(DOOR) is None


def test_under_tls_the_cookie_goes_nowhere_else(tls_server: RunningServer) -> None:
    with door(tls_server) as client:
        reply = sign_in(client, tls_server.admin_key)
        assert reply.status_code == 303
        assert all("Secure" in c for c in reply.headers.get_list("set-cookie") if SESSION in c)


@pytest.mark.parametrize("end", ["revoke", "disable", "rotate"])
def test_a_session_ends_at_once_with_its_key(stage: Stage, end: str) -> None:
    secret = new_key(stage.api, permissions=["read"], name=f"to {end}")
    key = next(k for k in stage.api.get("/api/v1/keys").json() if k["name"] == f"to {end}")["id"]
    with door(stage.server) as client:
        sign_in(client, secret)
        assert client.get("/console").status_code == 200
        path = f"/api/v1/keys/{key}"
        reply = stage.api.delete(path) if end == "revoke" else stage.api.post(f"{path}/{end}")
        assert reply.status_code in (200, 204)
        reply = client.get("/console")
        assert (reply.status_code, urlsplit(reply.headers["location"]).path) == (303, "/console/sign-in")


def test_who_looks_on_is_led_to_the_door_when_the_session_ends(browser: Browser, stage: Stage) -> None:
    secret = new_key(stage.api, permissions=["read"], name="looks on")
    with person(browser, stage.server.url) as somebody:
        somebody.sign_in(secret)
        somebody.open(stage.at("/jobs"))
        key = next(k for k in stage.api.get("/api/v1/keys").json() if k["name"] == "looks on")["id"]
        stage.api.delete(f"/api/v1/keys/{key}")
        expect(somebody.page).to_have_title("Sign in · Headrace")


def test_the_api_takes_no_session_and_the_console_no_header(stage: Stage) -> None:
    with door(stage.server) as client:
        sign_in(client, stage.server.admin_key)
        assert client.get("/api/v1/keys").status_code == 401
        token = client.cookies[SESSION]
        assert client.get("/api/v1/keys", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert stage.api.get("/console/keys").status_code == 303


def test_a_token_of_a_client_is_no_session(stage: Stage) -> None:
    made = stage.api.post("/api/v1/clients", json={"name": "c", "permissions": ["admin"]}).json()
    form = {"grant_type": "client_credentials"}
    auth = (made["clientId"], made["clientSecret"])
    with door(stage.server) as client:
        token = client.post("/oauth2/token", data=form, auth=auth).json()["access_token"]
        client.cookies.set(SESSION, token, path="/console")
        assert client.get("/console").status_code == 303


def test_signing_out(browser: Browser, stage: Stage) -> None:
    with person(browser, stage.server.url) as somebody:
        somebody.sign_in(stage.reader)
        somebody.page.get_by_role("button", name="Sign out").click()
        expect(somebody.page).to_have_title("Sign in · Headrace")
        somebody.open("/console")
        expect(somebody.page).to_have_title("Sign in · Headrace")
        somebody.assert_at_peace()


@pytest.mark.parametrize("forged", ["nothing", "another", "elsewhere", "origin"])
def test_a_form_of_somebody_else_does_nothing(stage: Stage, forged: str) -> None:
    with door(stage.server) as client:
        sign_in(client, stage.server.admin_key)
        proof = proof_of(client, "/console/keys")
        headers = {
            "elsewhere": {"Sec-Fetch-Site": "cross-site"},
            "origin": {"Origin": "https://evil.example"},
        }
        form = {"name": "forged", "csrf": {"nothing": "", "another": "0" * 64}.get(forged, proof)}
        reply = client.post("/console/keys", data=form, headers=headers.get(forged, {}))
        assert reply.status_code == 403
        assert "forged" not in {k["name"] for k in stage.api.get("/api/v1/keys").json()}
        assert client.post("/console/keys", data={**form, "csrf": proof, "name": "fine"}).status_code == 200


def test_nobody_is_signed_in_by_somebody_elses_form(stage: Stage) -> None:
    with stage.server.client("") as client:
        assert client.post("/console/sign-in", data={"key": stage.stranger}).status_code == 403
