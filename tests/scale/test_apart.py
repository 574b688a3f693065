"""Servers and a worker of one installation with data folders of their own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from contract.resumable import Tus, checksum
from harness import (
    RunningServer,
    RunningWorker,
    add_chunk,
    create_job,
    create_pool,
    execute,
    sql,
    wait_for,
    wait_for_job,
)
from objectstore import ObjectStore
from postgres import Postgres
from scale.installation import environment

PREFIX = "apart"
PIECE = 8 << 20
ROWS = 1_500_000
TOTAL = sum(n % 7 for n in range(ROWS))


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, object_store: ObjectStore
) -> Iterator[list[RunningServer]]:
    folder = tmp_path_factory.mktemp("apart")
    env = environment(postgres.database(), **object_store.environment(PREFIX))
    made = [RunningServer(folder / name, options=["--no-worker"], env=env) for name in ("one", "other")]
    worker = RunningWorker(folder / "worker", env=env, name="worker")
    with ExitStack() as stack:
        for process in (*made, worker):
            stack.enter_context(process)
        shutil.copy(made[0].data_dir / "admin-key", made[1].data_dir)
        yield made


@pytest.fixture
def apis(servers: list[RunningServer]) -> Iterator[list[httpx.Client]]:
    with ExitStack() as stack:
        yield [stack.enter_context(server.client()) for server in servers]


def test_the_first_key_is_that_of_the_first(servers: list[RunningServer], apis: list[httpx.Client]) -> None:
    assert "The admin key is" in servers[0].log
    assert "The admin key is" not in servers[1].log
    assert apis[1].get("/api/v1/keys").status_code == 200


def test_an_upload_begins_here_and_ends_there(
    servers: list[RunningServer], apis: list[httpx.Client], object_store: ObjectStore, postgres: Postgres
) -> None:
    pool = create_pool(apis[0])
    job = create_job(apis[0], pool, "t", fileType="CSV")["id"]
    one, other = (Tus(api, pool, job) for api in apis)
    data = b"a,b\n" + b"".join(b"%d,%d\n" % (n, n % 7) for n in range(ROWS))
    first, second = PIECE + 1000, PIECE + 2_000_000
    place = one.create(len(data))
    assert one.patch(place, 0, data[:first]).status_code == 204
    assert other.offset(place) == first
    wrong = other.patch(place, first, data[first:second], **checksum(b"something else"))
    assert wrong.status_code == 460
    assert one.offset(place) == first
    assert other.patch(place, first, data[first:second], **checksum(data[first:second])).status_code == 204
    servers[0].kill()
    servers[0].start()
    apis[0].base_url = servers[0].url
    assert one.offset(place) == second
    with other.half_sent(place, second, data[second : second + 10], says=len(data) - second):
        wait_for(lambda: is_locked(postgres, "upload", job, place.rpartition("/")[2]), what="its lock")
        assert one.patch(place, second, data[second:]).status_code == 423
    wait_for(lambda: one.patch(place, one.offset(place), b"").status_code == 204, what="its end")
    here = one.offset(place)
    assert here in (second, second + 10)
    assert one.patch(place, here, data[here:]).status_code == 204
    assert other.offset(place) == len(data)
    assert execute(apis[1], pool, job).is_success
    assert wait_for_job(apis[0], pool, job)["status"] == "DONE"
    assert sql(apis[0], pool, "SELECT count(*), max(a::INT), sum(b::INT) FROM t") == [[ROWS, ROWS - 1, TOTAL]]
    there = object_store.objects(PREFIX)
    wait_for(lambda: not [*there.found("uploads"), *there.found("chunks")], what="the end of its pieces")
    for server in servers:
        assert not [*server.data_dir.glob("uploads/**/*"), *server.data_dir.glob("temp/*/uploads/*")]


def is_locked(postgres: Postgres, *what: str) -> bool:
    number = "hashtextextended(E'{}', 0)".format("\\n".join(what))
    held = f"(classid::bigint << 32 | objid::bigint) = {number}"
    return bool(postgres.run(f"SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND {held}"))


def test_rejects_are_read_at_another_server(apis: list[httpx.Client], object_store: ObjectStore) -> None:
    pool = create_pool(apis[0])
    columns = [{"columnName": "a", "columnType": "INTEGER"}]
    job = create_job(apis[0], pool, "t", fileType="CSV", tableSchema={"tableName": "t", "columns": columns})
    assert add_chunk(apis[0], pool, job["id"], b"a\n1\nx\n2\ny\n").is_success
    assert execute(apis[0], pool, job["id"]).is_success
    assert wait_for_job(apis[0], pool, job["id"])["status"] == "ERROR"
    for api in apis:
        found = api.get(f"/api/v1/pools/{pool}/jobs/{job['id']}/rejects").json()
        assert [(reject["line"], reject["value"]) for reject in found] == [(3, "x"), (5, "y")]
    found = "SELECT job_id, line, value FROM rejects ORDER BY line"
    assert sql(apis[0], pool, found) == [[job["id"], 3, "x"], [job["id"], 5, "y"]]
    there = object_store.objects(PREFIX)
    assert list(there.found(f"rejects/{pool}"))
    assert apis[1].delete(f"/integration/api/pools/{pool}").is_success
    assert not list(there.found(f"rejects/{pool}"))
