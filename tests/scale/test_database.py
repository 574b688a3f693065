"""A server whose metadata are in PostgreSQL: the same server, and what happens when the database does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from commands.running import headrace
from console.door import inside
from harness import (
    RunningServer,
    add_chunk,
    create_job,
    create_pool,
    execute,
    run_job,
    sql,
    wait_for,
    wait_for_job,
)
from postgres import Postgres
from scale.installation import LEASE_S


@pytest.fixture
def database(postgres: Postgres) -> str:
    return postgres.database()


@pytest.fixture
def running(tmp_path: Path, database: str) -> Iterator[RunningServer]:
    with RunningServer(tmp_path / "data", env={"HEADRACE_DATABASE_URL": database}) as server:
        yield server


def test_a_push(running: RunningServer) -> None:
    with running.client() as api:
        pool = create_pool(api)
        assert run_job(api, pool, "t", [b"a\n1\n"], fileType="CSV")["status"] == "DONE"
    assert not (running.data_dir / "metadata.sqlite").exists()
    running.restart()
    with running.client() as api:
        assert sql(api, pool, "SELECT a FROM t") == [["1"]]


def test_a_push_is_taken_up_after_a_crash(tmp_path: Path, database: str) -> None:
    url = {"HEADRACE_DATABASE_URL": database, "HEADRACE_LEASE_SECONDS": str(LEASE_S)}
    with RunningServer(tmp_path / "data", env={**url, "HEADRACE_CRASH_AT": "committed"}) as server:
        with server.client() as api:
            pool = create_pool(api)
            job = create_job(api, pool, "t", fileType="CSV")["id"]
            add_chunk(api, pool, job, b"a\n1\n")
            execute(api, pool, job)
        assert server.process
        wait_for(lambda: server.process and server.process.poll() is not None, what="the crash")
        server.process = None
        server.env = url
        server.start()
        with server.client() as api:
            assert wait_for_job(api, pool, job)["status"] == "DONE"
            assert sql(api, pool, "SELECT a FROM t") == [["1"]]


def test_when_the_database_is_started_anew(tmp_path: Path) -> None:
    """Requests are refused meanwhile, and may be sent again; the server goes on by itself."""
    with (
        Postgres() as own,
        RunningServer(tmp_path / "data", env={"HEADRACE_DATABASE_URL": own.database()}) as server,
        server.client() as api,
    ):
        pool = create_pool(api)
        job = create_job(api, pool, "t", fileType="CSV")["id"]
        add_chunk(api, pool, job, b"a\n1\n")
        own.stop()
        refused = add_chunk(api, pool, job, b"a\n2\n")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert refused.json()["shortMessage"] == "database-unreachable"
        assert api.get("/readyz").status_code == 503
        own.start()
        wait_for(lambda: api.get("/readyz").is_success, what="the server")
        assert add_chunk(api, pool, job, b"a\n2\n").is_success
        assert execute(api, pool, job).is_success
        assert wait_for_job(api, pool, job)["status"] == "DONE"
        assert sql(api, pool, "SELECT a FROM t ORDER BY a") == [["1"], ["2"]]
        assert own.password not in server.log


def test_nobody_sees_the_password(running: RunningServer, database: str, postgres: Postgres) -> None:
    with running.client() as api:
        run_job(api, create_pool(api), "t", [b"a\n1\n"], fileType="CSV")
        asked = [api.get(path) for path in ("/readyz", "/openapi.json")]
        assert all(postgres.password not in reply.text for reply in asked)
    with inside(running, running.admin_key) as console:
        assert console.get("/console/settings").text.count("**********") == 1
    family = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
    assert all(postgres.password not in " ".join(process.cmdline()) for process in family)
    children = family[1:]
    assert children
    assert all("HEADRACE_DATABASE_URL" not in process.environ() for process in children)
    assert postgres.password not in running.log
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADRACE_DATABASE_URL", database)
        for command in ("doctor", "keys list", "backup /tmp/nowhere"):
            ended = headrace(*command.split(), "--data-dir", str(running.data_dir))
            assert postgres.password not in ended.out + ended.err


def test_a_folder_that_belongs_to_another_database_is_refused(
    running: RunningServer, postgres: Postgres
) -> None:
    """A start drops what is left of deleted pools: with a database that knows nothing, that would be all."""
    with running.client() as api:
        pool = create_pool(api)
        run_job(api, pool, "t", [b"a\n1\n"], fileType="CSV")
    running.stop()
    refused = subprocess.run(
        [sys.executable, "-m", "headrace", "serve", "--data-dir", running.data_dir, "--port", "0"],
        env={**os.environ, "HEADRACE_DATABASE_URL": postgres.database()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert "knows none of the pools" in refused.stderr
    running.start()
    with running.client() as api:
        assert sql(api, pool, "SELECT a FROM t") == [["1"]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda url: url.replace("headrace:", "headrace:not"), "password authentication failed"),
        (lambda url: url.replace("/db", "/no_db"), "does not exist"),
        (lambda url: url.partition("?")[0].replace("@", "@127.0.0.1:1"), "refused"),
        (lambda url: url.replace("@", "@host:a-port"), "database_url is no URL"),
        (lambda url: "mysql" + url, "it must begin with postgresql://"),
    ],
)
def test_a_start_that_cannot_reach_it_says_why(
    tmp_path: Path,
    database: str,
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[str], str],
    said: str,
) -> None:
    monkeypatch.setenv("HEADRACE_DATABASE_URL", change(database))
    ended = headrace("keys", "list", "--data-dir", str(tmp_path))
    assert ended.code != 0
    assert said in ended.err
    assert postgres.password not in ended.out + ended.err
    assert "Traceback" not in ended.err


def test_keys_are_those_of_the_database(
    running: RunningServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_DATABASE_URL", database)
    made = headrace("keys", "create", "mine", "--permission", "admin", "--data-dir", str(running.data_dir))
    with running.client(f"AppKey {made.out.strip()}") as api:
        assert api.get("/api/v1/keys").status_code == 200


def test_a_backup_of_the_folder_alone_is_refused(
    running: RunningServer, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_DATABASE_URL", database)
    ended = headrace("backup", str(tmp_path / "copy"), "--data-dir", str(running.data_dir))
    assert ended.code == 1
    assert "PostgreSQL" in ended.err
    assert not (tmp_path / "copy").exists()


def test_the_doctor_asks_the_database(
    running: RunningServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_DATABASE_URL", database)
    ended = headrace("doctor", "--data-dir", str(running.data_dir), "-o", "csv")
    assert "PostgreSQL 18" in ended.out
