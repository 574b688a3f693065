"""What browsers are told, what they cannot be made to send, and where no secret may stand."""

from __future__ import annotations

import base64
import json
import re
import socket
import ssl
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from harness import PUSH, RunningServer, create_job, create_pool, new_key, run_job
from headrace.web.routes import OPEN, ROUTES

STATE_CHANGING = [r for r in ROUTES if r.method not in ("GET", "HEAD", "OPTIONS")]


def basic(secret: str) -> str:
    return "Basic " + base64.b64encode(f"admin:{secret}".encode()).decode()


def path_of(template: str) -> str:
    return re.sub(r"{\w+:part}", "00000000-0000-0000-0000-000000000000", template)


# -- headers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/api/cloud", 200),
        ("GET", "/integration/api/pools", 200),
        ("GET", "/api/v1/keys", 200),
        ("GET", "/nothing", 404),
        ("PATCH", "/api/cloud", 405),
        ("POST", f"{PUSH}/none/jobs", 400),
        ("GET", "/integration/api/pools/none", 404),
        ("GET", "/openapi.json", 200),
    ],
)
def test_headers_of_every_answer(api: httpx.Client, method: str, path: str, status: int) -> None:
    reply = api.request(method, path)
    assert reply.status_code == status
    assert_guarded(reply)
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "strict-transport-security" not in reply.headers


def assert_guarded(reply: httpx.Response) -> None:
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["x-frame-options"] == "DENY"
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert "server" not in reply.headers


def test_headers_of_answers_with_data(api: httpx.Client, pool: str) -> None:
    run_job(api, pool, "t", [b"a\n1\n"], fileType="CSV")
    export = api.get(f"/api/v1/pools/{pool}/tables/t/export")
    rows = api.post(f"/api/v1/pools/{pool}/sql", json={"sql": "SELECT * FROM t"})
    for reply in (export, rows):
        assert reply.status_code == 200
        assert_guarded(reply)
        assert reply.headers["cache-control"] == "no-store"


def test_the_page_of_the_api_runs_its_own_script_only(api: httpx.Client) -> None:
    page = api.get("/docs")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    [inline] = re.findall(r"<script>(.*?)</script>", page.text)
    digest = base64.b64encode(sha256(inline.encode()).digest()).decode()
    assert policy["script-src"].split() == ["'self'", f"'sha256-{digest}'"]
    assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
    assert not re.search(r"(src|href)=\"(?!/docs/)", page.text)
    assert_guarded(api.get("/docs/swagger-ui.css"))


# -- TLS -----------------------------------------------------------------------------------------------


def connect(server: RunningServer, version: ssl.TLSVersion) -> str | None:
    where = urlsplit(server.url)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection((where.hostname or "", where.port or 0), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        return secure.version()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_from_1_2_on(tls_server: RunningServer) -> None:
    assert connect(tls_server, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    assert connect(tls_server, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    for old in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            connect(tls_server, old)


def test_browsers_are_told_to_stay_with_tls(tls_server: RunningServer) -> None:
    with tls_server.client() as api:
        for path in ("/healthz", "/nothing", "/docs"):
            assert api.get(path).headers["strict-transport-security"] == "max-age=31536000"


@pytest.mark.parametrize(("trusted", "believed"), [("127.0.0.1", True), ("192.0.2.1", False), ("", False)])
def test_a_proxy_that_ends_tls_is_believed_if_it_is_named(
    tmp_path: Path, trusted: str, believed: bool
) -> None:
    env = {"HEADRACE_TRUSTED_PROXIES": trusted}
    with RunningServer(tmp_path / "data", env=env) as server, server.client() as api:
        reply = api.get("/healthz", headers={"X-Forwarded-Proto": "https"})
        assert ("strict-transport-security" in reply.headers) == believed


# -- browsers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "route", [r for r in ROUTES if r.needs != OPEN], ids=lambda r: f"{r.method} {r.path}"
)
def test_what_a_browser_sends_by_itself_opens_nothing(server: RunningServer, route: object) -> None:
    """Basic credentials are for the description of the API alone, and cookies for nothing."""
    secret = server.admin_key
    method, path = route.method, path_of(route.path)  # type: ignore[attr-defined]
    with server.client("") as client:
        for headers in ({"Authorization": basic(secret)}, {"Cookie": f"key={secret}; session={secret}"}):
            assert client.request(method, path, headers=headers).status_code == 401
        assert client.request(method, path).status_code == 401


def test_the_description_may_be_read_with_basic(server: RunningServer) -> None:
    with server.client(basic(server.admin_key)) as client:
        assert client.get("/docs").status_code == client.get("/openapi.json").status_code == 200


ELSEWHERE = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize("headers", ELSEWHERE, ids=str)
@pytest.mark.parametrize("by_itself", ["basic", "cookie"])
def test_a_page_of_another_site_is_refused(
    server: RunningServer, headers: dict[str, str], by_itself: str
) -> None:
    """Before anything asks who it is: 403, not 401."""
    sent = {"Authorization": basic(server.admin_key)} if by_itself == "basic" else {"Cookie": "session=x"}
    with server.client("") as client:
        for route in STATE_CHANGING:
            reply = client.request(route.method, path_of(route.path), headers={**headers, **sent})
            assert reply.status_code == 403, route
        own = {"Origin": server.url, "Sec-Fetch-Site": "same-origin"}
        assert client.post("/integration/api/pools", headers={**own, **sent}).status_code == 401


def test_a_key_may_come_from_any_page(api: httpx.Client) -> None:
    """No page can read somebody else's key; who sends one means it."""
    for headers in ELSEWHERE:
        reply = api.post("/integration/api/pools", json={"name": "p"}, headers=headers)
        assert reply.status_code == 200


def test_no_page_of_another_site_may_read(api: httpx.Client) -> None:
    reply = api.get("/integration/api/pools", headers={"Origin": "https://evil.example"})
    assert not [name for name in reply.headers if name.startswith("access-control-")]


# -- secrets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["key", "access_token", "api_key", "apikey", "Authorization", "tableName"])
def test_a_key_in_a_url_is_refused(api: httpx.Client, pool: str, server: RunningServer, name: str) -> None:
    """Even beside a good one: it stands in the logs of every proxy on the way now."""
    for path in ("/integration/api/pools", f"{PUSH}/{pool}/jobs", "/healthz"):
        reply = api.get(path, params={name: server.admin_key})
        assert reply.status_code == 400
        assert server.admin_key not in reply.text
        assert "Authorization header" in reply.text


def test_tables_may_be_named_like_half_a_key(api: httpx.Client, pool: str) -> None:
    name = "hr_employees_and_departments_2024"
    run_job(api, pool, name, [b"a\n1\n"], fileType="CSV")
    reply = api.get(f"/integration/api/pools/{pool}/columns", params={"tableName": name})
    assert reply.status_code == 200


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RunningServer]:
    with RunningServer(tmp_path / "data") as server:
        yield server


def test_no_secret_in_logs_answers_or_process_lists(own: RunningServer) -> None:
    """Each way to go wrong with a key in hand. Only the first start shows a key: the first one, once."""
    with own.client() as api:
        pool = create_pool(api)
        secrets = [new_key(api), new_key(api, "personal")]
        answers = []
        for secret in (*secrets, own.admin_key):
            for sent in (
                f"AppKey {secret}",
                f"Bearer {secret}",
                f"Basic {secret}",
                secret,
                f"AppKey  {secret}x",
            ):
                for path in ("/api/cloud", f"{PUSH}/{pool}/jobs/none", "/api/v1/keys/none", "/docs"):
                    answers.append(api.get(path, headers={"Authorization": sent}).text)
                    answers.append(api.post(path, content=b"{", headers={"Authorization": sent}).text)
            answers.append(api.get("/healthz", params={"key": secret}).text)
        create_job(api, pool, "t")
        answers.append(json.dumps(api.get("/api/v1/keys").json()))
        process = psutil.Process(own.pid)
        shown = [" ".join(p.cmdline()) for p in (process, *process.children(recursive=True))]
        log = "".join(line for line in own.log.splitlines() if not line.startswith("The admin key is"))
    for secret in (*secrets, own.admin_key):
        assert secret not in "".join(answers)
        assert secret not in log
        assert secret not in "".join(shown)
