"""The stream that tells pages to look again: what it tells, to whom, and when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from console.browser import Person
from console.door import inside, proof_of
from console.stage import Stage
from harness import RunningServer, create_job, create_pool, new_key, run_job
from headrace.changes import MOST_WATCHES


@contextmanager
def following(client: httpx.Client, pool: str) -> Iterator[Iterator[str]]:
    """The lines of a stream."""
    with client.stream("GET", f"/console/pools/{pool}/changes", timeout=60) as reply:
        assert reply.status_code == 200, reply.read()
        assert reply.headers["content-type"].startswith("text/event-stream")
        yield reply.iter_lines()


def next_event(lines: Iterator[str]) -> str:
    return next(line for line in lines if line.startswith("event:"))


def test_it_tells_at_once_and_at_each_change(stage: Stage) -> None:
    pool = create_pool(stage.api, "told")
    with inside(stage.server, stage.reader) as stranger, inside(stage.server, stage.server.admin_key) as me:
        assert stranger.get(f"/console/pools/{pool}/changes").status_code == 403
        with following(me, pool) as lines:
            assert next_event(lines) == "event: changed"
            create_job(stage.api, pool, "t", fileType="CSV")
            assert next_event(lines) == "event: changed"


def test_it_ends_with_the_session(stage: Stage) -> None:
    with inside(stage.server, stage.reader) as me, following(me, stage.pool) as lines:
        next_event(lines)
        me.post("/console/sign-out", data={"csrf": proof_of(me, "/console")})
        assert next_event(lines) == "event: changed"
        assert "event: changed" not in list(lines)


def test_it_ends_with_the_key(stage: Stage) -> None:
    pool = create_pool(stage.api, "told for a while")
    secret = new_key(stage.api, permissions=["read"], pools=[pool], name="for a while")
    [key] = [key for key in stage.api.get("/api/v1/keys").json() if key["name"] == "for a while"]
    with inside(stage.server, secret) as me, following(me, pool) as lines:
        next_event(lines)
        assert stage.api.delete(f"/api/v1/keys/{key['id']}").is_success
        run_job(stage.api, pool, "t", [b"a\n1\n"], fileType="CSV")
        list(lines)


def test_a_session_has_few_streams(stage: Stage) -> None:
    with inside(stage.server, stage.reader) as me, ExitStack() as held:
        streams = [held.enter_context(following(me, stage.pool)) for _ in range(MOST_WATCHES)]
        assert [next_event(lines) for lines in streams] == ["event: changed"] * MOST_WATCHES
        with me.stream("GET", stage.at("/changes")) as refused:
            assert refused.status_code == 503
    with inside(stage.server, stage.reader) as me, following(me, stage.pool) as lines:
        next_event(lines)


def test_a_page_that_is_told_nothing_looks_by_itself(admin: Person, stage: Stage) -> None:
    pool = create_pool(stage.api, "untold")
    admin.page.route("**/changes", lambda route: route.fulfill(status=503))
    admin.open(stage.at("/jobs", pool))
    create_job(stage.api, pool, "t", fileType="CSV")
    expect(admin.page.locator(".state")).to_have_text("NEW")


def test_a_page_that_is_over_asks_for_nothing(admin: Person, stage: Stage) -> None:
    asked: list[str] = []
    admin.page.on("request", lambda request: asked.append(request.url))
    admin.open(stage.at(f"/jobs/{stage.jobs['updated']}"))
    admin.page.wait_for_load_state("networkidle")
    assert not any(url.endswith("/changes") for url in asked)


@pytest.mark.parametrize("faults", ["false", "true"])
def test_it_does_not_hold_up_the_end_of_the_server(tmp_path: Path, faults: str) -> None:
    env = {"HEADRACE_DRAIN_SECONDS": "600", "HEADRACE_TEST_FAULTS": faults}
    with (
        RunningServer(tmp_path / "data", env=env) as server,
        server.client() as api,
        inside(server, server.admin_key) as me,
        following(me, create_pool(api)) as lines,
    ):
        next_event(lines)
        assert server.stop(timeout=60) == 0
