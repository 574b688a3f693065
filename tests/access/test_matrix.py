"""Every route against everybody who must not get in, generated from the list of routes.

A route that is added is in here by itself; one whose path or body the stage cannot fill fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from access.stage import NOBODIES, OTHERS, SALES, Headers, Stage, new_target
from counted import counted
from harness import FINAL, own_job, wait_for
from headrace.model import Permission
from headrace.web import api as api_handlers
from headrace.web import ends as end_handlers
from headrace.web import jobs as job_handlers
from headrace.web import routes as routes_module
from headrace.web.limits import RequestLimits
from headrace.web.routes import ROUTES, Endpoint, application
from headrace.web.rules import ANY, OPEN
from headrace.web.vendor import delete_pool

PUSH, READ, ADMIN = Permission.PUSH, Permission.READ, Permission.ADMIN
CLOSED = [route for route in ROUTES if route.needs != OPEN]
IN_A_POOL = [route for route in CLOSED if "{pool_id" in route.path]
LEAVES_OPEN = {
    "/healthz",
    "/readyz",
    "/oauth2/token",
    "/oauth2/jwks",
    "/.well-known/oauth-authorization-server",
}


@contextmanager
def nothing_changes(stage: Stage) -> Any:
    before = stage.state()
    yield
    after = stage.state()
    changed = {name: (rows, after[name]) for name, rows in before.items() if rows != after[name]}
    assert not changed


def refuse(stage: Stage, routes: Iterable[Endpoint], headers: Headers, status: int) -> None:
    """Every one of the routes answers with this status, and nothing has changed."""
    cases, differences = 0, []
    with nothing_changes(stage):
        for route in routes:
            reply = stage.send(route, headers)
            cases += 1
            if reply.status_code != status:
                differences.append(f"{route.method} {route.path}: {reply.status_code} {reply.text[:200]}")
    counted("access matrix", cases, len(differences))
    assert cases
    assert not differences


# -- 401 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", NOBODIES)
def test_nobody(stage: Stage, who: str) -> None:
    refuse(stage, CLOSED, NOBODIES[who](stage), 401)


# -- 403 -----------------------------------------------------------------------------------------------

Makes = Callable[..., str]
identities = pytest.mark.parametrize(
    "made_by",
    [Stage.key, lambda *a, **k: Stage.key(*a, kind="personal", **k), Stage.token],
    ids=["key", "personal", "token"],
)


@identities
@pytest.mark.parametrize("permission", Permission)
def test_of_another_pool(stage: Stage, made_by: Makes, permission: Permission) -> None:
    stranger = made_by(stage, permission, pools=[stage.other_pool])
    closed = [r for r in CLOSED if r in IN_A_POOL or r.needs is ADMIN or r.whole_server]
    refuse(stage, closed, [("Authorization", stranger)], 403)
    for route in set(CLOSED) - set(closed):
        reply = stage.send(route, [("Authorization", stranger)])
        assert reply.is_success
        assert stage.target.pool not in reply.text, "a list shows what the key may see"


@identities
@pytest.mark.parametrize("given", [READ, PUSH])
def test_without_the_permission(stage: Stage, made_by: Makes, given: Permission) -> None:
    lacking = [r for r in CLOSED if isinstance(r.needs, Permission) and r.needs not in given.includes]
    refuse(stage, lacking, [("Authorization", made_by(stage, given))], 403)


def test_without_the_scope(stage: Stage) -> None:
    token = stage.token("admin", scope="integration.data-pools:data_push")
    refuse(stage, [r for r in CLOSED if r.needs is ADMIN], [("Authorization", token)], 403)


@identities
def test_of_other_tables(stage: Stage, made_by: Makes) -> None:
    stranger = made_by(stage, "admin", tables=OTHERS)
    closed = [r for r in CLOSED if r.of_job or r.of_table or (r in IN_A_POOL and not r.narrowed)]
    refuse(
        stage,
        [*closed, *(r for r in CLOSED if (r.needs is ADMIN and r not in IN_A_POOL) or r.whole_server)],
        [("Authorization", stranger)],
        403,
    )


@identities
def test_of_the_tables_but_not_of_the_pool(stage: Stage, made_by: Makes) -> None:
    known = made_by(stage, "admin", tables=SALES)
    whole = [r for r in IN_A_POOL if not (r.of_job or r.of_table or r.narrowed)]
    assert {"delete_pool", "update_pool"} <= {r.handler.__name__ for r in whole}
    refuse(stage, whole, [("Authorization", known)], 403)


# -- that the matrix can see a difference --------------------------------------------------------------


NOTHING_TO_DO = {
    api_handlers.cancel_query: 404,  # no query runs
    job_handlers.execute_job: 409,  # it was executed by the other route
    job_handlers.replay_rejects: 409,  # there are none
    end_handlers.cancel_job: 409,  # it is NEW
    end_handlers.retry_job: 409,  # it has not failed
    end_handlers.undo_job: 409,  # nothing was done yet
}
"""What these answer to who may: they were let in."""


def test_the_same_requests_succeed_for_who_may(stage: Stage) -> None:
    target = new_target(stage.api)
    last = {
        "execute_job": 1,
        "delete_job": 2,
        "revoke_key": 2,
        "revoke_client": 2,
        "delete_connection": 2,
        "delete_pool": 3,
    }
    before = stage.state()
    for route in sorted(CLOSED, key=lambda r: last.get(r.handler.__name__, 0)):
        if route.handler is delete_pool:
            wait_for(lambda: own_job(stage.api, target.pool, target.job)["status"] in FINAL)
        reply = stage.send(route, [("Authorization", f"AppKey {stage.admin}")], target)
        let_in = reply.is_success or reply.status_code == NOTHING_TO_DO.get(route.handler)
        assert let_in, f"{route.method} {route.path}: {reply.text}"
    assert stage.state() != before


def test_the_rest_is_open_on_purpose() -> None:
    assert {route.path for route in ROUTES if route.needs == OPEN} == LEAVES_OPEN


# -- what must be nowhere: of all the secrets of the tests before, none --------------------------------


def test_no_secret_is_told(stage: Stage) -> None:
    refuse(stage, CLOSED, [("Authorization", stage.key("read").replace("AppKey", "Bearer"))], 401)
    stage.assert_no_secret_is_told()


def test_no_secret_is_stored(stage: Stage) -> None:
    files = [p for p in stage.server.data_dir.rglob("*") if p.is_file() and p.name != "admin-key"]
    assert any(path.name == "metadata.sqlite-wal" for path in files)
    for path in files:
        content = path.read_bytes()
        assert not any(secret[14:].encode() in content for secret in stage.secrets), path.name
        assert path.stat().st_mode & 0o077 == 0, path.name


def test_no_secret_is_in_a_list_of_processes(stage: Stage) -> None:
    server = psutil.Process(stage.server.pid)
    for process in (server, *server.children(recursive=True)):
        shown = " ".join([*process.cmdline(), *process.environ().values()])
        assert not any(secret[14:] in shown for secret in stage.secrets)


# -- that there is no route beside the list ------------------------------------------------------------


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """The real application, without anything behind it."""
    made: list[FastAPI] = []

    def remembered(*args: Any, **options: Any) -> FastAPI:
        made.append(FastAPI(*args, **options))
        return made[-1]

    monkeypatch.setattr(routes_module, "FastAPI", remembered)
    application(SimpleNamespace(note=None, rehearsal=None), RequestLimits(1, 1, 1))  # type: ignore[arg-type]
    return made[0]


def test_every_route_of_the_application_is_in_the_list(app: FastAPI) -> None:
    registered = {(method, route.path) for route in app.routes for method in route.methods}  # type: ignore[attr-defined]
    pages = ("/docs", "/docs/{name:part}", "/openapi.json", "/help", "/help/{path:path}")
    assert registered == {(route.method, route.path) for route in ROUTES} | {("GET", path) for path in pages}
    assert all(isinstance(route, APIRoute) for route in app.routes)


def test_every_route_of_the_application_has_its_rule(app: FastAPI) -> None:
    by_path = {(r.method, r.path): r for r in ROUTES}
    for route in app.routes:
        assert isinstance(route, APIRoute)
        [method] = route.methods
        rules = [d for d in route.dependant.dependencies if d.call.__qualname__.startswith("guard.")]  # type: ignore[union-attr]
        listed = by_path.get((method, route.path))
        open_ = listed is not None and listed.needs == OPEN and not listed.changes
        assert len(rules) == (0 if open_ else 1), route.path


def test_a_rule_is_a_permission_or_said_to_be_none() -> None:
    assert all(isinstance(r.needs, Permission) or r.needs in (ANY, OPEN) for r in ROUTES)
    assert len({(r.method, r.path) for r in ROUTES}) == len(ROUTES)
    with pytest.raises(TypeError):
        Endpoint("GET", "/new", print, tag="a route without a rule")  # type: ignore[call-arg]


def test_what_only_knows_its_pool_says_whether_it_is_narrowed() -> None:
    """A narrowed route of the list promises that its handler asks for the key, or shows no table."""
    shows_no_table = {"get_pool", "list_connections", "get_connection", "nothing"}
    for route in ROUTES:
        if route.narrowed and route.handler.__name__ not in shows_no_table:
            assert "key" in route.handler.__annotations__, route.path
