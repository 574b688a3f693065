"""Spellings of paths, methods and headers that have opened other servers open and change nothing here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable

import pytest

from access.stage import Stage, body
from access.test_matrix import CLOSED, IN_A_POOL, nothing_changes
from counted import counted
from headrace.web.rules import Endpoint

REFUSED = {400, 401, 403, 404, 405}

PATHS: dict[str, Callable[[str], str]] = {
    "doubled slashes": lambda p: p.replace("/", "//"),
    "a slash at the end": lambda p: p + "/",
    "encoded slashes": lambda p: "/" + p[1:].replace("/", "%2f"),
    "one encoded slash": lambda p: p[::-1].replace("/", "F2%", 1)[::-1],
    "encoded twice": lambda p: p.replace("/", "%252f"),
    "a dot": lambda p: "/." + p.replace("/", "/./"),
    "up and down": lambda p: "/x/.." + p,
    "up and down, encoded": lambda p: "/x/%2e%2e" + p,
    "up and down, all encoded": lambda p: "/x%2f%2e%2e" + p,
    "from what is open": lambda p: "/healthz/.." + p,
    "from what is open, encoded": lambda p: "/healthz%2f..%2f" + p[1:],
    "from what is open, with a semicolon": lambda p: "/healthz;/.." + p,
    "a matrix parameter": lambda p: p + ";x=/healthz",
    "a semicolon in the middle": lambda p: p.replace("/api", "/api;x=1", 1),
    "what is open at the end": lambda p: p + "/../healthz",
    "upper case": lambda p: p.upper(),
    "encoded letters": lambda p: re.sub("[aeiou]", lambda m: f"%{ord(m[0]):02x}", p),
    "a backslash": lambda p: p.replace("/", "\\"),
    "a slash and a backslash": lambda p: "/\\" + p[1:],
    "NUL at the end": lambda p: p + "%00",
    "an extension": lambda p: p + ".json",
    "a fragment": lambda p: p + "#/healthz",
    "a tab": lambda p: p + "%09",
    "with its host": lambda p: "http://localhost" + p,
    "overlong UTF-8": lambda p: p.replace("/", "/%c0%af"),
    "another base": lambda p: p.replace("/integration/", "/integration-hybrid/"),
    "two bases": lambda p: "/data-ingestion" + p,
    "a query that is a path": lambda p: p + "?/healthz",
}


def tried(name: str, statuses: Iterable[tuple[str, int]], allowed: set[int]) -> None:
    every = list(statuses)
    wrong = [f"{what}: {status}" for what, status in every if status not in allowed]
    counted(name, len(every), len(wrong))
    assert every
    assert not wrong


def _path(stage: Stage, route: Endpoint) -> str:
    return stage.target.path(route).partition("?")[0]


def _content(route: Endpoint) -> bytes:
    sent = body(route)
    return json.dumps(sent["json"]).encode() if "json" in sent else sent.get("content", b"")


@pytest.mark.parametrize("trick", PATHS)
def test_a_path_without_a_key(stage: Stage, trick: str) -> None:
    with nothing_changes(stage):
        found = [
            (f"{r.method} {path}", stage.raw(r.method, path, content=_content(r)))
            for r in CLOSED
            for path in [PATHS[trick](_path(stage, r))]
        ]
    tried("tricks with paths", found, REFUSED - {403})


@pytest.mark.parametrize("up", ["..", "%2e%2e", ".%2e", "..;", "..%2f", "%2e%2e%2f"])
def test_out_of_ones_own_pool(stage: Stage, up: str) -> None:
    key = stage.key("admin", pools=[stage.other_pool])
    pool = stage.target.pool
    with nothing_changes(stage):
        found = [
            (path, stage.raw(r.method, path, f"Authorization: {key}", content=_content(r)))
            for r in IN_A_POOL
            for path in [
                _path(stage, r).replace(pool, f"{stage.other_pool}/{up}/{pool}"),
                _path(stage, r).replace(pool, f"{stage.other_pool}{up}{pool}"),
            ]
        ]
    tried("tricks with paths", found, {400, 403, 404, 405})


@pytest.mark.parametrize(
    "method", ["HEAD", "OPTIONS", "TRACE", "CONNECT", "PATCH", "PROPFIND", "get", "GETS"]
)
def test_a_method_without_a_key(stage: Stage, method: str) -> None:
    with nothing_changes(stage):
        found = [(r.path, stage.raw(method, _path(stage, r))) for r in CLOSED]
    tried("tricks with methods", found, REFUSED)


OVERRIDES = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")


@pytest.mark.parametrize("method", ["DELETE", "POST", "PUT"])
def test_a_method_in_a_header_or_in_the_query(stage: Stage, method: str) -> None:
    """Whoever may read may not write, however the method is spelled."""
    key = stage.key("read")
    headers = [f"Authorization: {key}", *(f"{name}: {method}" for name in OVERRIDES)]
    with nothing_changes(stage):
        found = [
            (r.path, stage.raw("GET", f"{_path(stage, r)}?_method={method}", *headers, content=_content(r)))
            for r in CLOSED
        ]
    tried("tricks with methods", found, {*REFUSED, 200})


HEADERS: dict[str, Callable[[Stage], list[str]]] = {
    "another path": lambda s: [
        "X-Original-URL: /healthz",
        "X-Rewrite-URL: /healthz",
        "X-Override-URL: /healthz",
    ],
    "another prefix": lambda s: ["X-Forwarded-Prefix: /healthz", "X-Script-Name: /healthz"],
    "a neighbour": lambda s: [
        "X-Forwarded-For: 127.0.0.1",
        "X-Real-IP: 127.0.0.1",
        "Forwarded: for=127.0.0.1",
    ],
    "somebody": lambda s: ["X-Remote-User: admin", "Remote-User: admin", "X-Forwarded-User: admin"],
    "a bad key, then a good one": lambda s: [
        "Authorization: AppKey nobody",
        f"Authorization: AppKey {s.admin}",
    ],
    "a good key, then a bad one": lambda s: [
        f"Authorization: AppKey {s.admin}",
        "authorization: AppKey nobody",
    ],
    "a good key twice": lambda s: [f"Authorization: AppKey {s.admin}"] * 2,
    "a good key folded onto a bad one": lambda s: ["Authorization: AppKey nobody", f" AppKey {s.admin}"],
    "a folded header": lambda s: ["X-Nothing: x", f"\tAuthorization: AppKey {s.admin}"],
    "a blank before the colon": lambda s: [f"Authorization : AppKey {s.admin}"],
    "an underscore": lambda s: [f"Authorization_: AppKey {s.admin}", f"HTTP_AUTHORIZATION: AppKey {s.admin}"],
    "a key of spaces": lambda s: ["Authorization: AppKey    \t "],
    "NUL in the key": lambda s: [f"Authorization: AppKey {s.admin}\0"],
    "a long key": lambda s: ["Authorization: AppKey " + "x" * 20_000],
    "a key beyond ASCII": lambda s: ["Authorization: AppKey \xff\xfe"],
}


@pytest.mark.parametrize("trick", HEADERS)
def test_a_header(stage: Stage, trick: str) -> None:
    lines = HEADERS[trick](stage)
    with nothing_changes(stage):
        found = [
            (f"{r.method} {r.path}", stage.raw(r.method, _path(stage, r), *lines, content=_content(r)))
            for r in CLOSED
        ]
    tried("tricks with headers", found, {400, 401, 431})


@pytest.mark.parametrize("field", ["access_token", "api_key", "key", "Authorization", "token"])
def test_a_key_in_the_url(stage: Stage, field: str) -> None:
    with nothing_changes(stage):
        found = [(r.path, stage.raw(r.method, f"{_path(stage, r)}?{field}={stage.admin}")) for r in CLOSED]
    tried("tricks with paths", found, {400})


# -- what must be nowhere ------------------------------------------------------------------------------


def test_no_secret_is_told(stage: Stage) -> None:
    stage.assert_no_secret_is_told()
