"""Servers that receive and workers that load, as processes of one installation: none of them is special."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from world import APPENDED, KEYED, Job, World, strays

from commands.running import headrace
from harness import (
    RunningServer,
    RunningWorker,
    add_chunk,
    create_job,
    create_pool,
    execute,
    run_job,
    sql,
    wait_for,
    wait_for_job,
)
from headrace import crashpoints
from postgres import Postgres
from scale.installation import Installation, environment, installation

ROUNDS = int(os.environ.get("HEADRACE_SCALE_ROUNDS", "8"))
SEED = int(os.environ.get("HEADRACE_FAULT_SEED", "20261123"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("whole"), postgres.database()) as made:
        yield made


@pytest.fixture
def apis(whole: Installation) -> Iterator[list[httpx.Client]]:
    clients = [server.client() for server in whole.servers]
    yield clients
    for client in clients:
        client.close()


def test_a_push_over_two_servers(apis: list[httpx.Client]) -> None:
    one, other = apis
    pool = create_pool(one)
    job = create_job(other, pool, "t", fileType="CSV")["id"]
    assert add_chunk(one, pool, job, b"a\n1\n").is_success
    assert add_chunk(other, pool, job, b"a\n2\n").is_success
    assert execute(one, pool, job).is_success
    assert wait_for_job(other, pool, job)["status"] == "DONE"
    for api in apis:
        assert sql(api, pool, "SELECT a FROM t ORDER BY a") == [["1"], ["2"]]


def test_keys_and_tokens_are_those_of_the_installation(whole: Installation, apis: list[httpx.Client]) -> None:
    one, other = apis
    made = one.post("/api/v1/clients", json={"name": "mine", "permissions": ["read"]}).json()
    form = {"grant_type": "client_credentials", "client_id": made["clientId"]}
    with whole.servers[0].client("") as nobody:
        token = nobody.post("/oauth2/token", data={**form, "client_secret": made["clientSecret"]}).json()
    bearer = {"Authorization": f"Bearer {token['access_token']}"}
    assert other.get("/api/cloud", headers=bearer).status_code == 200
    other.delete(f"/api/v1/clients/{made['clientId']}")
    assert one.get("/api/cloud", headers=bearer).status_code == 401


def test_an_idempotency_key_is_that_of_the_installation(apis: list[httpx.Client]) -> None:
    pool = create_pool(apis[0])
    body = {"targetName": "t", "dataPoolId": pool}
    made = {
        api.post(
            f"/integration/api/v1/data-push/{pool}/jobs", json=body, headers={"Idempotency-Key": "k"}
        ).json()["id"]
        for api in apis
    }
    assert len(made) == 1


def test_an_upload_goes_on_at_another_server(apis: list[httpx.Client]) -> None:
    one, other = apis
    pool = create_pool(one)
    job = create_job(one, pool, "t", fileType="CSV")["id"]
    tus = {"Tus-Resumable": "1.0.0"}
    begun = one.post(f"/api/v1/pools/{pool}/jobs/{job}/uploads", headers={**tus, "Upload-Length": "4"})
    place = httpx.URL(begun.headers["Location"]).path
    part = {**tus, "Content-Type": "application/offset+octet-stream"}
    assert one.patch(place, headers={**part, "Upload-Offset": "0"}, content=b"a\n").status_code == 204
    assert other.head(place, headers=tus).headers["Upload-Offset"] == "2"
    assert other.patch(place, headers={**part, "Upload-Offset": "2"}, content=b"1\n").status_code == 204
    assert execute(one, pool, job).is_success
    assert wait_for_job(one, pool, job)["status"] == "DONE"


def test_what_one_server_changes_the_other_shows(apis: list[httpx.Client]) -> None:
    """A pool is deleted and made anew under its id: nobody goes on with the old one."""
    one, other = apis
    pool = create_pool(one)
    for _ in range(3):
        assert run_job(one, pool, "t", [b"a\n1\n"], fileType="CSV", type="DELTA")["status"] == "DONE"
    assert sql(other, pool, "SELECT count(*) FROM t") == [[3]]
    undone = one.get(f"/api/v1/pools/{pool}/jobs?limit=1").json()[0]["id"]
    assert other.post(f"/api/v1/pools/{pool}/jobs/{undone}/undo").is_success
    assert sql(one, pool, "SELECT count(*) FROM t") == [[2]]
    assert other.delete(f"/integration/api/pools/{pool}").is_success
    assert one.post("/integration/api/pools", json={"name": "again", "id": pool}).is_success
    assert other.get(f"/api/v1/pools/{pool}/tables").json() == []
    assert run_job(other, pool, "t", [b"b\n7\n"], fileType="CSV")["status"] == "DONE"
    for api in apis:
        assert sql(api, pool, "SELECT b FROM t") == [["7"]]


def test_jobs_of_one_table_keep_their_order_over_workers(apis: list[httpx.Client]) -> None:
    pool, ids = create_pool(apis[0]), []
    for number in range(12):
        api = apis[number % 2]
        job = create_job(api, pool, "t", fileType="CSV", type="DELTA", keys=["k"])["id"]
        add_chunk(api, pool, job, f"k,v\n1,{number}\n".encode())
        execute(api, pool, job)
        ids.append(job)
    assert [wait_for_job(apis[0], pool, job)["status"] for job in ids] == ["DONE"] * 12
    assert sql(apis[1], pool, "SELECT k, v FROM t") == [["1", "11"]]


def test_a_server_that_works_by_itself_may_join(whole: Installation) -> None:
    """And its start takes nothing from those that run."""
    with whole.servers[0].client() as api:
        pool = create_pool(api)
        job = create_job(api, pool, "t", fileType="CSV")["id"]
        add_chunk(api, pool, job, b"a\n1\n")
        third = RunningServer(whole.servers[0].data_dir, env=whole.servers[0].env, name="third")
        with third, third.client() as other:
            assert execute(other, pool, job).is_success
            assert wait_for_job(other, pool, job)["status"] == "DONE"
        assert sql(api, pool, "SELECT a FROM t") == [["1"]]


def test_nothing_is_loaded_without_a_worker(tmp_path: Path, postgres: Postgres) -> None:
    database = postgres.database()
    with installation(tmp_path, database, servers=1, workers=0) as made, made.servers[0].client() as api:
        pool = create_pool(api)
        job = create_job(api, pool, "t", fileType="CSV")["id"]
        add_chunk(api, pool, job, b"a\n1\n")
        assert execute(api, pool, job).is_success
        assert api.get(f"/integration/api/v1/data-push/{pool}/jobs/{job}").json()["status"] == "QUEUED"
        with RunningWorker(tmp_path / "data", env=environment(database), name="worker"):
            assert wait_for_job(api, pool, job)["status"] == "DONE"


@pytest.mark.parametrize("point", ["claimed", "reduced", "before-commit", "committed", "finished", "staged"])
def test_a_worker_that_dies_is_followed_by_another(tmp_path: Path, postgres: Postgres, point: str) -> None:
    assert point in crashpoints.POINTS
    database = postgres.database()
    with installation(tmp_path, database, servers=1, workers=0) as made, made.servers[0].client() as api:
        pool = create_pool(api)
        run = {"env": environment(database, HEADRACE_CRASH_AT=point), "name": "doomed"}
        doomed = RunningWorker(tmp_path / "data", **run).start()
        job = create_job(api, pool, "t", fileType="CSV", type="DELTA")["id"]
        add_chunk(api, pool, job, b"a\n1\n")
        execute(api, pool, job)
        wait_for(lambda: doomed.process and doomed.process.poll() is not None, what="its death")
        with RunningWorker(tmp_path / "data", env=environment(database), name="worker"):
            assert wait_for_job(api, pool, job)["status"] == "DONE"
            assert sql(api, pool, "SELECT a FROM t") == [["1"]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["worker"], "A worker needs database_url"),
        (["serve", "--no-worker"], "A server without a worker needs database_url"),
    ],
)
def test_alone_it_makes_no_sense(words: list[str], said: str, tmp_path: Path) -> None:
    ended = headrace(*words, "--data-dir", str(tmp_path))
    assert ended.code == 1
    assert said in ended.err


# -- deaths --------------------------------------------------------------------------------------------


@pytest.mark.timeout(120 + 30 * ROUNDS)
def test_processes_are_killed_at_random(
    tmp_path: Path, postgres: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two servers and two workers; one of them is killed, again and again, and started anew."""
    chance = random.Random(SEED)
    with installation(tmp_path, postgres.database()) as made:
        with made.servers[0].client() as api:
            world = World(made.servers[0], create_pool(api))
        jobs, job = 0, random_job(chance)
        for _ in range(ROUNDS):
            killer = _kill_later(made, chance)
            while killer.is_alive():
                with chance.choice(made.servers).client() as api, suppress(httpx.TransportError):
                    world.check_acknowledged(job, api)
                    world.step(job, api)
                    world.apply(job)
                    jobs += 1
                    job = random_job(chance)
            killer.join()
        with made.servers[0].client() as api:
            world.step(job, api)
            world.apply(job)
        for server in made.servers:
            with server.client() as api:
                world.check(api)
        wait_for(lambda: not strays(made.servers[0].data_dir), what="the sweeping")
    with capsys.disabled():
        print(f"\n{ROUNDS} deaths, {jobs + 1} jobs, 0 differences (seed {SEED})")


def random_job(chance: random.Random) -> Job:
    rows = [
        (f"k{chance.randrange(40)}", f"v{chance.randrange(10**6)}") for _ in range(chance.randrange(1, 30))
    ]
    parts = [rows[i::3] for i in range(3)]
    upserts = [("upserted", part) for part in parts if part]
    match chance.randrange(4):
        case 0:
            return Job(KEYED, "REPLACE", ["k"], upserts)
        case 1:
            return Job(APPENDED, "DELTA", [], upserts)
        case _:
            deletes = [("deleted", [(f"k{chance.randrange(40)}", "") for _ in range(5)])]
            return Job(KEYED, "DELTA", ["k"], [*upserts, *deletes])


def _kill_later(made: Installation, chance: random.Random) -> threading.Thread:
    """The moment of death is what is random here, so it is a time."""
    victim, seconds = chance.choice(made.processes), chance.uniform(0, 1.5)

    def kill() -> None:
        time.sleep(seconds)
        victim.kill()
        victim.start()

    thread = threading.Thread(target=kill)
    thread.start()
    return thread
