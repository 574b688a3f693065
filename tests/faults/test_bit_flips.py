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
