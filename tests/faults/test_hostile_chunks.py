"""A chunk whose parser is killed, or eats its memory, ends itself and nothing else: in the real server."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import httpx
import psutil
import pyarrow as pa
import pytest

from harness import (
    RunningServer,
    add_chunk,
    create_job,
    create_pool,
    execute,
    own_job,
    parquet,
    run_job,
    sql,
    wait_for,
    wait_for_job,
)


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server whose chunks all have to pass by the same child."""
    env = {"HEADRACE_STAGING_PROCESSES": "1", "HEADRACE_STAGING_MEMORY_MB": "256"}
    with RunningServer(tmp_path_factory.mktemp("lone") / "data", env=env) as running:
        yield running


@pytest.fixture
def client(lone: RunningServer) -> Iterator[httpx.Client]:
    with lone.client() as api:
        yield api


def parser_of(server: RunningServer, job: str, *, other_than: int = 0) -> int | None:
    """The child that has the job's chunk open right now."""
    for child in psutil.Process(server.pid).children(recursive=True):
        try:
            if child.pid != other_than and any(job in file.path for file in child.open_files()):
                return child.pid
        except psutil.Error:  # it has just ended
            continue
    return None


SLOW = b"n,t\n" + b'1,"some ""text"""\n' * 500_000 + b"too,many,fields\n"
"""Read in seconds: its last record sends all of it on the careful way."""


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGKILL])
def test_a_parser_that_is_killed_takes_nothing_with_it(
    lone: RunningServer, client: httpx.Client, how: signal.Signals
) -> None:
    pool = create_pool(client)
    hostile = create_job(client, pool, "hostile", fileType="CSV")["id"]
    assert add_chunk(client, pool, hostile, SLOW).status_code == 200
    first = wait_for(lambda: parser_of(lone, hostile), what="the parser")
    waiting = create_job(client, pool, "good", fileType="CSV")["id"]
    assert add_chunk(client, pool, waiting, b"a\n1\n").status_code == 200
    os.kill(first, how)
    second = wait_for(lambda: parser_of(lone, hostile, other_than=first), what="the second try")
    os.kill(second, how)
    execute(client, pool, waiting)
    assert wait_for_job(client, pool, waiting)["status"] == "DONE"
    assert sql(client, pool, "SELECT a FROM good") == [["1"]]
    execute(client, pool, hostile)
    shown = wait_for_job(client, pool, hostile)
    assert (shown["status"], own_job(client, pool, hostile)["errorCode"]) == ("ERROR", "chunk-failed")
    assert any(f"ended with code -{how.value}" in line for line in shown["logs"]), shown["logs"]
    assert client.get("/readyz").status_code == 200
    assert nothing_of(client, pool, "hostile")


def nothing_of(api: httpx.Client, pool: str, table: str) -> bool:
    return table not in [t["name"] for t in api.get(f"/api/v1/pools/{pool}/tables").json()]


def test_a_parser_that_is_killed_once_is_forgiven(lone: RunningServer, client: httpx.Client) -> None:
    pool = create_pool(client)
    job = create_job(client, pool, "t", fileType="CSV", maxRejectedRows=1)["id"]
    assert add_chunk(client, pool, job, SLOW).status_code == 200
    os.kill(wait_for(lambda: parser_of(lone, job), what="the parser"), signal.SIGKILL)
    execute(client, pool, job)
    assert wait_for_job(client, pool, job, timeout=120)["status"] == "DONE"
    assert sql(client, pool, "SELECT count(*) FROM t") == [[500_000]]


def test_a_parser_that_overruns_its_memory(client: httpx.Client) -> None:
    """A page that unpacks to more than the child may have."""
    hungry = parquet(pa.table({"t": ["x" * 300_000_000]}), compression="zstd", use_dictionary=False)
    pool = create_pool(client)
    hostile = create_job(client, pool, "hostile")["id"]
    assert add_chunk(client, pool, hostile, hungry).status_code == 200
    execute(client, pool, hostile)
    shown = wait_for_job(client, pool, hostile)
    assert (shown["status"], own_job(client, pool, hostile)["errorCode"]) == ("ERROR", "chunk-failed")
    assert nothing_of(client, pool, "hostile")
    assert run_job(client, pool, "good", [b"a\n2\n"], fileType="CSV")["status"] == "DONE"


def test_one_that_overruns_its_memory_while_it_is_looked_at(client: httpx.Client) -> None:
    pool = create_pool(client)
    hostile = create_job(client, pool, "hostile", fileType="NDJSON")["id"]
    reply = add_chunk(client, pool, hostile, b'{"t": [' + b'"ab",' * 13_000_000 + b'"ab"]}\n')
    assert reply.status_code == 400
    assert "memory" in reply.text
    assert add_chunk(client, pool, hostile, b'{"t": []}\n').status_code == 200
    execute(client, pool, hostile)
    assert wait_for_job(client, pool, hostile)["status"] == "DONE"
