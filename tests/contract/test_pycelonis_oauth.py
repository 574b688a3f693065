"""pycelonis with OAuth2 client credentials: a token by Basic or by the form, then a Bearer (contract 1d)."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pandas as pd
import pytest

from contract.pycelonis import PyCelonis
from contract.sending import Wire, json_200
from harness import RunningServer, create_pool, sql
from headrace.settings import Settings

PUSHING, EVERYTHING = "integration.data-pools:data_push", "integration.data-pools"


def new_client(api: httpx.Client, *permissions: str, **more: Any) -> tuple[str, str]:
    """Its id and its secret."""
    sent = {"name": "pycelonis", "permissions": permissions or ["push"], **more}
    reply = api.post("/api/v1/clients", json=sent)
    assert reply.status_code == 201, reply.text
    return reply.json()["clientId"], reply.json()["clientSecret"]


def ask(wire: Wire, id: str, secret: str, method: str = "BASIC", **form: str) -> httpx.Response:
    """As ``oauth2()`` does: the credentials by Basic, or with OAUTH_METHOD=POST in the form."""
    sent = {"grant_type": "client_credentials", "scope": PUSHING, **form}
    if method == "POST":
        return wire("POST", "/oauth2/token", data={**sent, "client_id": id, "client_secret": secret})
    return wire("POST", "/oauth2/token", data=sent, auth=(id, secret))


def assert_refused(reply: httpx.Response, status: int, error: str) -> None:
    """RFC 6749, section 5.2."""
    assert (reply.status_code, reply.json()["error"]) == (status, error), reply.text
    assert reply.json().keys() == {"error", "error_description"}
    assert reply.headers["content-type"].startswith("application/json")
    assert reply.headers["cache-control"] == "no-store"
    assert ("www-authenticate" in reply.headers) == (status == 401)


def test_the_longest_token_ends_within_the_calendar() -> None:
    """pycelonis takes the seconds for days; a sum beyond the year 9999 would be an OverflowError."""
    [hours] = [m.le for m in Settings.model_fields["token_hours"].metadata if hasattr(m, "le")]
    assert datetime.now() + timedelta(days=hours * 3600)


@pytest.fixture
def client(api: httpx.Client) -> tuple[str, str]:
    return new_client(api)


# -- the way of pycelonis ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["BASIC", "POST"])
@pytest.mark.parametrize("scope", [PUSHING, EVERYTHING, f"{PUSHING} {EVERYTHING}"])
def test_a_push_with_a_token(
    server: RunningServer, wire: Wire, api: httpx.Client, pool: str, method: str, scope: str
) -> None:
    reply = ask(wire, *new_client(api, pools=[pool]), method, scope=scope)
    token = json_200(reply)
    assert token["token_type"] == "Bearer"
    assert token["expires_in"] >= 24 * 3600
    assert token["scope"] == scope
    assert reply.headers["cache-control"] == "no-store"

    with PyCelonis(server, f"Bearer {token['access_token']}") as pycelonis:
        assert pycelonis.get("/api/cloud")["name"] == "pycelonis"
        assert "USE_DATA_PUSH_API" in str(pycelonis.get("/api/cloud/permissions"))
        assert [p["id"] for p in pycelonis.get("/integration/api/pools")] == [pool]
        pycelonis.create_table(pool, "t", pd.DataFrame({"A": [1, 2]}))
    assert sql(api, pool, 'SELECT sum("A") FROM t') == [[3]]


def test_a_token_is_probed_as_an_application_key_first(wire: Wire, client: tuple[str, str]) -> None:
    token = json_200(ask(wire, *client))["access_token"]
    for scheme, status in (("AppKey", 401), ("Bearer", 200)):
        assert wire("GET", "/api/cloud", headers={"authorization": f"{scheme} {token}"}).status_code == status


def test_a_token_may_what_its_scope_says(wire: Wire, api: httpx.Client) -> None:
    admin = new_client(api, "admin")
    for scope, status in ((PUSHING, 403), (EVERYTHING, 200)):
        token = json_200(ask(wire, *admin, scope=scope))["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        reply = wire("POST", "/integration/api/pools", json={"name": "by a token"}, headers=headers)
        assert reply.status_code == status, reply.text


def test_without_a_scope_the_token_has_all_that_the_client_may(wire: Wire, api: httpx.Client) -> None:
    assert json_200(ask(wire, *new_client(api), scope=""))["scope"] == f"{PUSHING} {EVERYTHING}"
    assert json_200(ask(wire, *new_client(api, "read"), scope=""))["scope"] == EVERYTHING


def test_a_client_of_other_pools(wire: Wire, api: httpx.Client, pool: str) -> None:
    token = json_200(ask(wire, *new_client(api, pools=[create_pool(api)])))["access_token"]
    reply = wire(
        "GET", f"/integration/api/v1/data-push/{pool}/jobs", headers={"Authorization": f"Bearer {token}"}
    )
    assert reply.status_code == 403


def test_revoking_a_client_ends_its_tokens_at_once(wire: Wire, api: httpx.Client) -> None:
    id, secret = new_client(api)
    headers = {"Authorization": f"Bearer {json_200(ask(wire, id, secret))['access_token']}"}
    assert wire("GET", "/api/cloud", headers=headers).status_code == 200
    assert api.delete(f"/api/v1/clients/{id}").status_code == 204
    assert wire("GET", "/api/cloud", headers=headers).status_code == 401
    assert_refused(ask(wire, id, secret), 401, "invalid_client")


# -- what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["BASIC", "POST"])
def test_a_client_that_is_not_known(wire: Wire, client: tuple[str, str], method: str) -> None:
    id, secret = client
    for wrong in ((id, secret + "x"), (id, ""), ("nobody", secret), ("", ""), (secret, id)):
        assert_refused(ask(wire, *wrong, method), 401, "invalid_client")


@pytest.mark.parametrize("scope", ["team.admin", PUSHING.upper(), f"{PUSHING},{EVERYTHING}", f"{PUSHING} x"])
def test_a_scope_that_is_not_known(wire: Wire, client: tuple[str, str], scope: str) -> None:
    assert_refused(ask(wire, *client, scope=scope), 400, "invalid_scope")


def test_a_scope_that_the_client_may_not_have(wire: Wire, api: httpx.Client) -> None:
    assert_refused(ask(wire, *new_client(api, "read")), 400, "invalid_scope")


@pytest.mark.parametrize("grant", ["authorization_code", "password", "refresh_token", "CLIENT_CREDENTIALS"])
def test_another_grant(wire: Wire, client: tuple[str, str], grant: str) -> None:
    assert_refused(ask(wire, *client, grant_type=grant), 400, "unsupported_grant_type")


def basic(id: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{id}:{secret}".encode()).decode()}


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        ("", FORM),
        ("scope=x", FORM),
        ("grant_type=", FORM),
        ("grant_type=client_credentials&grant_type=client_credentials", FORM),
        ("grant_type=client_credentials&client_secret=x", FORM),
        ("grant_type=client_credentials&client_id=another", FORM),
        ("&".join(f"f{n}=" for n in range(30)), FORM),
        ("grant_type=client_credentials", "text/plain"),
        (json.dumps({"grant_type": "client_credentials"}), "application/json"),
    ],
    ids=range(9),
)
def test_what_is_no_request_for_a_token(
    wire: Wire, client: tuple[str, str], content: str, content_type: str
) -> None:
    headers = {**basic(*client), "Content-Type": content_type}
    assert_refused(wire("POST", "/oauth2/token", content=content, headers=headers), 400, "invalid_request")


@pytest.mark.parametrize("header", ["Basic", "Basic !", "Basic /w==", "Bearer x", "AppKey x", "x"])
def test_a_header_that_is_no_client(wire: Wire, header: str) -> None:
    reply = wire(
        "POST",
        "/oauth2/token",
        data={"grant_type": "client_credentials"},
        headers={"Authorization": header},
    )
    assert_refused(reply, 401, "invalid_client")


def test_two_headers(wire: Wire, client: tuple[str, str]) -> None:
    header = ("Authorization", basic(*client)["Authorization"])
    sent = {"grant_type": "client_credentials"}
    reply = wire("POST", "/oauth2/token", data=sent, headers=[header, header])
    assert_refused(reply, 400, "invalid_request")


def test_a_secret_in_the_url_is_none(wire: Wire, client: tuple[str, str]) -> None:
    id, secret = client
    query = f"?grant_type=client_credentials&client_id={id}&client_secret={secret}"
    reply = wire("POST", f"/oauth2/token{query}", data={"grant_type": "client_credentials"})
    assert reply.status_code == 400
    assert "does not belong into a URL" in reply.text
    assert wire("GET", f"/oauth2/token{query}").status_code == 400


def test_a_key_is_no_client(wire: Wire, api: httpx.Client, app_key: str) -> None:
    [key] = [k for k in api.get("/api/v1/keys").json() if k["prefix"] == app_key[:12]][:1]
    assert_refused(ask(wire, key["id"], app_key), 401, "invalid_client")


def test_the_header_may_be_encoded_as_a_form_is(wire: Wire, client: tuple[str, str]) -> None:
    """RFC 6749, section 2.3.1: some clients encode, and for these ids and secrets it is the same."""
    encoded = [quote(word, safe="").replace("-", "%2D") for word in client]
    sent = {"grant_type": "client_credentials"}
    json_200(wire("POST", "/oauth2/token", data=sent, headers=basic(*encoded)))


# -- where it is said ----------------------------------------------------------------------------------


def test_where_tokens_are(wire: Wire, client: tuple[str, str]) -> None:
    found = json_200(wire("GET", "/.well-known/oauth-authorization-server"))
    assert found["token_endpoint"] == f"{wire.url}/oauth2/token"
    assert found["grant_types_supported"] == ["client_credentials"]
    assert set(found["scopes_supported"]) == {PUSHING, EVERYTHING}
    token = json_200(ask(wire, *client))["access_token"]
    padded = token.split(".")[0] + "=="
    kid = json.loads(base64.urlsafe_b64decode(padded))["kid"]
    keys = json_200(wire("GET", found["jwks_uri"].removeprefix(wire.url)))["keys"]
    assert kid in [key["kid"] for key in keys]
    assert not any("d" in key for key in keys), "the private half stays here"
