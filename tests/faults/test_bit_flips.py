"""Bits that turn over on the disk, in what waits to be loaded: the right rows, or an error, never others.

``HEADRACE_BIT_FLIPS`` of them (40) in staged files, ``HEADRACE_FAULT_SEED`` to see a run again.
"""

from __future__ import annotations

import gzip
import os
import random
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from born import BornServer, Nursery
from ran import ran

from harness import RunningServer, add_chunk, create_job, create_pool, execute, own_job, sql, wait_for
from harness import wait_for_job as ended

FLIPS = int(os.environ.get("HEADRACE_BIT_FLIPS", "40"))
SEED = int(os.environ.get("HEADRACE_FAULT_SEED", "20261123"))

ROWS = [[str(n), f"value {n * 7919 % 1000}"] for n in range(200)]
CSV = b"k,v\n" + b"".join(f"{k},{v}\n".encode() for k, v in ROWS)
SPEC = {"fileType": "CSV", "keys": ["k"]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, warm: Nursery) -> Iterator[RunningServer]:
    with BornServer(warm, tmp_path_factory.mktemp("flips") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def api(server: RunningServer) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def pool(api: httpx.Client) -> str:
    return create_pool(api)


def staged(api: httpx.Client, pool: str, table: str, data: bytes = CSV) -> str:
    """A NEW job with one chunk, which is staged."""
    job = str(create_job(api, pool, table, **SPEC)["id"])
    assert add_chunk(api, pool, job, data).status_code == 200
    wait_for(lambda: own_job(api, pool, job)["chunks"][0]["state"] == "staged")
    return job


def flip(path: Path, chance: random.Random) -> None:
    """One bit, of bytes that have lain there for an hour."""
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    long_ago = path.stat().st_mtime - 3600
    os.utime(path, (long_ago, long_ago))


def staged_file(server: RunningServer, pool: str, job: str) -> Path:
    [path] = (server.data_dir / "pools" / pool / "staging" / job).iterdir()
    return path


def raw_file(server: RunningServer, job: str) -> Path:
    [path] = (server.data_dir / "chunks" / job).iterdir()
    return path


@pytest.mark.timeout(120 + 5 * FLIPS)
def test_in_a_staged_file(server: RunningServer, api: httpx.Client, pool: str) -> None:
    """It is staged again from the raw chunk, and the job says so."""
    chance = random.Random(SEED)
    for number in range(FLIPS):
        job = staged(api, pool, "t")
        flip(staged_file(server, pool, job), chance)
        assert execute(api, pool, job).status_code == 200
        done = ended(api, pool, job)
        assert done["status"] == "DONE", done["logs"]
        assert "Chunk 1 was staged again: the disk had changed its staged file." in done["logs"]
        assert sql(api, pool, "SELECT k, v FROM t ORDER BY k::INT") == ROWS, f"flip {number}"
    ran("bits that turn over in staged files", FLIPS, seed=SEED)


@pytest.mark.parametrize("data", [CSV, gzip.compress(CSV)], ids=["plain", "packed"])
def test_in_a_raw_chunk_that_is_staged_again(
    data: bytes, server: RunningServer, api: httpx.Client, pool: str
) -> None:
    assert execute(api, pool, before := staged(api, pool, "t", data)).status_code == 200
    assert ended(api, pool, before)["status"] == "DONE"
    job = staged(api, pool, "t", data)
    staged_file(server, pool, job).unlink()
    flip(raw_file(server, job), random.Random(SEED))
    assert execute(api, pool, job).status_code == 200
    failed = ended(api, pool, job)
    assert (failed["status"], own_job(api, pool, job)["errorCode"]) == ("ERROR", "chunk-failed")
    assert "the disk has changed them" in failed["logs"][-1]
    assert sql(api, pool, "SELECT k, v FROM t ORDER BY k::INT") == ROWS


@pytest.mark.parametrize("data", [CSV, gzip.compress(CSV)], ids=["plain", "packed"])
def test_a_raw_chunk_that_has_lain_there_is_staged_again(
    data: bytes, server: RunningServer, api: httpx.Client, pool: str
) -> None:
    """Bytes that are old and as they were are no matter."""
    job = staged(api, pool, "t", data)
    staged_file(server, pool, job).unlink()
    os.utime(raw_file(server, job), (0, 0))
    assert execute(api, pool, job).status_code == 200
    assert ended(api, pool, job)["status"] == "DONE"
    assert sql(api, pool, "SELECT k, v FROM t ORDER BY k::INT") == ROWS


def test_in_a_raw_chunk_that_a_crash_left(tmp_path: Path, warm: Nursery) -> None:
    server = BornServer(warm, tmp_path / "data", env={"HEADRACE_CRASH_AT": "recorded"}).start()
    with server.client() as api:
        pool = create_pool(api)
        job = create_job(api, pool, "t", **SPEC)["id"]
        with pytest.raises(httpx.TransportError):
            add_chunk(api, pool, job, CSV)
    server.kill()
    flip(raw_file(server, job), random.Random(SEED))
    server.env = {}
    with server, server.client() as api:
        assert execute(api, pool, job).status_code == 200
        failed = ended(api, pool, job)
        assert failed["status"] == "ERROR" and "the disk has changed them" in failed["logs"][-1]


# -- in tables -----------------------------------------------------------------------------------------


def loaded(api: httpx.Client, pool: str, table: str) -> None:
    """Two loads of 200 rows, and one that deletes half of the first's."""
    for n, kind in enumerate(("upserted", "upserted", "deleted")):
        rows = [f"{k},x{n}\n" for k in range(100 * n, 200 + 100 * n)]
        job = create_job(api, pool, table, **SPEC, type="DELTA")["id"]
        data = ("k,v\n" + "".join(rows)).encode()
        assert add_chunk(api, pool, job, data, kind).status_code == 200
        assert execute(api, pool, job).status_code == 200
        assert ended(api, pool, job)["status"] == "DONE"


def table_files(server: RunningServer, pool: str) -> list[Path]:
    """But not those of our own books."""
    data = server.data_dir / "pools" / pool / "data"
    return sorted(p for p in data.rglob("*.parquet") if "headrace" not in p.relative_to(data).parts)


def refused(reply: httpx.Response) -> None:
    assert reply.status_code == 500, reply.text
    assert "table-damaged" in reply.text


@pytest.mark.timeout(120 + 5 * FLIPS)
def test_in_a_file_of_a_table(server: RunningServer, api: httpx.Client, pool: str) -> None:
    """Whatever bit it is: no query, export, load or undo goes on; a table beside it is as ever."""
    chance = random.Random(SEED)
    for table in ("t", "other"):
        loaded(api, pool, table)
    expected = sql(api, pool, "SELECT k, v FROM t ORDER BY k::INT")
    files = [p for p in table_files(server, pool) if p.stat().st_size]
    before = {table: _answers(api, pool, table) for table in ("t", "other")}
    assert all(before.values())
    for number in range(FLIPS):
        path = chance.choice(files)
        original, times = path.read_bytes(), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
        flip(path, chance)
        damaged = [table for table in ("t", "other") if not _answers(api, pool, table)]
        assert len(damaged) == 1, f"flip {number} in {path.name}"
        _refuses_all(api, pool, damaged[0])
        path.write_bytes(original)
        os.utime(path, ns=times)
    ran("bits that turn over in files of tables", FLIPS, seed=SEED)
    assert sql(api, pool, "SELECT k, v FROM t ORDER BY k::INT") == expected


def _answers(api: httpx.Client, pool: str, table: str) -> bool:
    reply = api.post(f"/api/v1/pools/{pool}/sql", json={"sql": f"SELECT count(*), max(v) FROM {table}"})
    if not reply.is_success:
        refused(reply)
    return reply.is_success


def _refuses_all(api: httpx.Client, pool: str, table: str) -> None:
    refused(api.get(f"/api/v1/pools/{pool}/tables/{table}/export?format=csv"))
    job = create_job(api, pool, table, **SPEC, type="DELTA")["id"]
    add_chunk(api, pool, job, b"k,v\n1,y\n")
    execute(api, pool, job)
    failed = ended(api, pool, job)
    assert (failed["status"], own_job(api, pool, job)["errorCode"]) == ("ERROR", "table-damaged")


def test_a_table_whose_file_is_damaged_can_be_replaced(
    server: RunningServer, api: httpx.Client, pool: str
) -> None:
    loaded(api, pool, "t")
    flip(table_files(server, pool)[0], random.Random(SEED))
    assert not _answers(api, pool, "t")
    job = staged(api, pool, "t")
    assert execute(api, pool, job).status_code == 200
    assert ended(api, pool, job)["status"] == "DONE"
    assert sql(api, pool, "SELECT k, v FROM t ORDER BY k::INT") == ROWS
    refused(api.post(f"/api/v1/pools/{pool}/sql", json={"sql": "SELECT count(*) FROM t AT (VERSION => 5)"}))


def test_while_the_server_is_down(tmp_path: Path, warm: Nursery) -> None:
    server = BornServer(warm, tmp_path / "data").start()
    with server.client() as api:
        pool = create_pool(api)
        loaded(api, pool, "t")
    server.stop()
    path = table_files(server, pool)[0]
    times = path.stat().st_mtime_ns
    flip(path, random.Random(SEED))
    os.utime(path, ns=(times, times))  # a disk that errs tells nobody
    with server, server.client() as api:
        assert not _answers(api, pool, "t")
