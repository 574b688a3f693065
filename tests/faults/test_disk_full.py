"""A disk that is full at each step of a chunk's way: said clearly, nothing broken, and no restart needed.

The data folder is a small file system of its own. It is filled by a file beside the server's, so that
the server meets the real end of the disk and not its own watermark.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract.resumable import Tus
from harness import (
    PUSH,
    RunningServer,
    add_chunk,
    create_job,
    create_pool,
    execute,
    own_job,
    run_job,
    sql,
    wait_for,
    wait_for_job,
)

MB = 1_000_000
ENV = {"HEADRACE_MIN_FREE_DISK_BYTES": "0", "HEADRACE_LEASE_SECONDS": "2"}


@dataclass
class Disk:
    path: Path

    @property
    def free(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Take all but so many bytes."""
        with (self.path / "filler").open("ab") as filler:
            while (missing := self.free - leave) > 0:
                filler.write(b"x" * min(missing, MB))
                filler.flush()

    def empty(self) -> None:
        (self.path / "filler").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    """64 MB."""
    path = tmp_path_factory.mktemp("disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(path)], check=True)
    yield Disk(path)
    # the children of a server that has ended follow it in a moment
    wait_for(lambda: subprocess.run(["umount", str(path)], check=False).returncode == 0, 30, "the unmounting")


@pytest.fixture(scope="module")
def server(disk: Disk) -> Iterator[RunningServer]:
    """Its log is on the full disk, too: that it cannot be written must stop nothing."""
    with RunningServer(disk.path / "data", env=ENV) as running:
        yield running
        disk.empty()


@pytest.fixture(scope="module")
def api(server: RunningServer) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def pool(api: httpx.Client, disk: Disk) -> Iterator[str]:
    """With a table t of 500 rows; it goes away with all it took of the disk."""
    made = create_pool(api)
    assert run_job(api, made, "t", [rows(500)], **SPEC)["status"] == "DONE"
    yield made
    disk.empty()
    assert api.delete(f"/integration/api/pools/{made}").status_code == 200


SPEC: dict[str, Any] = {"fileType": "CSV", "keys": ["a"]}


def rows(count: int, seed: int = 0) -> bytes:
    """About a kilobyte a row that no codec makes smaller than half."""
    chance = random.Random(seed)
    return b"a,b\n" + b"".join(b"%d,%b\n" % (n, chance.randbytes(500).hex().encode()) for n in range(count))


def assert_full(reply: httpx.Response) -> None:
    assert reply.status_code == 507, f"{reply.status_code} {reply.text}"
    assert "disk-full" in reply.text
    assert "make room" in reply.text


def works(api: httpx.Client, pool: str) -> None:
    """A push from its beginning to its end, in the same process as before."""
    assert run_job(api, pool, "t", [rows(300)], type="DELTA", **SPEC)["status"] == "DONE"
    assert sql(api, pool, "SELECT count(*), count(DISTINCT a) FROM t") == [[500, 500]]


def test_while_a_chunk_is_received(api: httpx.Client, pool: str, disk: Disk, server: RunningServer) -> None:
    job = create_job(api, pool, "t", type="DELTA", **SPEC)["id"]
    assert add_chunk(api, pool, job, rows(10)).status_code == 200
    kept = own_job(api, pool, job)["chunks"]
    disk.fill(leave=MB // 2)
    assert_full(add_chunk(api, pool, job, rows(3000)))
    assert [c["sha256"] for c in own_job(api, pool, job)["chunks"]] == [kept[0]["sha256"]]
    assert [p.name for p in (server.data_dir / "chunks" / job).iterdir()] == [kept[0]["id"]]
    disk.empty()
    assert add_chunk(api, pool, job, rows(300)).status_code == 200
    assert execute(api, pool, job).status_code == 200
    assert wait_for_job(api, pool, job)["status"] == "DONE"


def test_in_the_middle_of_an_upload(api: httpx.Client, pool: str, disk: Disk, server: RunningServer) -> None:
    """What has come stays, and it goes on where it stopped when there is room again."""
    data = rows(3000)
    tus = Tus(api, pool, create_job(api, pool, "t", type="DELTA", **SPEC)["id"])
    place = tus.create(len(data))
    assert tus.patch(place, 0, data[:MB]).status_code == 204
    disk.fill(leave=MB // 2)
    assert_full(tus.patch(place, MB, data[MB:]))
    disk.empty()
    offset = tus.offset(place)
    assert MB <= offset < len(data)
    assert (server.data_dir / "uploads" / tus.job / place.rpartition("/")[2]).read_bytes() == data[:offset]
    assert tus.patch(place, offset, data[offset:]).status_code == 204
    assert own_job(api, pool, tus.job)["chunks"][0]["bytes"] == len(data)
    works(api, pool)


def test_while_it_is_staged(api: httpx.Client, pool: str, disk: Disk) -> None:
    """It fits as it came, but its Parquet does not fit beside it."""
    job = create_job(api, pool, "u", **SPEC)["id"]
    data = rows(15_000)
    disk.fill(leave=len(data) + 3 * MB)
    assert add_chunk(api, pool, job, data).status_code == 200
    assert execute(api, pool, job).status_code == 200
    ended = wait_for_job(api, pool, job)
    assert ended["status"] == "ERROR"
    assert "No space left on device" in ended["logs"][-1]
    disk.empty()
    assert run_job(api, pool, "u", [data], **SPEC)["status"] == "DONE"
    works(api, pool)


@pytest.mark.parametrize("leave", [300_000, 100_000, 20_000, 0])
def test_while_it_is_committed(api: httpx.Client, pool: str, disk: Disk, leave: int) -> None:
    """It is loaded once, now or when there is room again; or it ends in ERROR and says why."""
    job = create_job(api, pool, "t", type="DELTA", **SPEC)["id"]
    assert add_chunk(api, pool, job, rows(400, seed=1)).status_code == 200
    wait_for(lambda: own_job(api, pool, job)["chunks"][0]["state"] == "staged")
    disk.fill(leave)
    reply = execute(api, pool, job)
    if reply.status_code != 200:
        assert_full(reply)
        assert api.get(f"{PUSH}/{pool}/jobs/{job}").json()["status"] == "NEW"
        disk.empty()
        assert execute(api, pool, job).status_code == 200
    for _ in range(100):  # it may end, or try in vain
        if own_job(api, pool, job)["finishedAt"]:
            break
    disk.empty()
    ended = wait_for_job(api, pool, job)
    if ended["status"] == "ERROR":
        assert own_job(api, pool, job)["errorCode"] == "disk-full"
    assert sql(api, pool, "SELECT count(*) FROM t") == [[500]]
    versions = api.get(f"/api/v1/pools/{pool}/tables/t").json()["versions"]
    assert len([v for v in versions if v["job"] == job]) == (ended["status"] == "DONE")
    works(api, pool)


def test_when_not_a_byte_is_left(api: httpx.Client, pool: str, disk: Disk) -> None:
    """Whatever must be written is refused, whatever is only read is answered."""
    job = create_job(api, pool, "t", type="DELTA", **SPEC)["id"]
    assert add_chunk(api, pool, job, rows(10)).status_code == 200
    wait_for(lambda: own_job(api, pool, job)["chunks"][0]["state"] == "staged")
    disk.fill()
    jobs = f"{PUSH}/{pool}/jobs"
    refused = [
        api.post(jobs, json={"targetName": "t"}),
        add_chunk(api, pool, job, rows(10)),
        execute(api, pool, job),
        api.delete(f"{jobs}/{job}"),
        api.post("/integration/api/pools", json={"name": "another"}),
        api.post("/api/v1/keys", json={"name": "k", "permissions": ["push"]}),
    ]
    for reply in refused:
        assert_full(reply)
    for path in (jobs, f"{jobs}/{job}", f"{jobs}/{job}/chunks", "/integration/api/pools", "/readyz"):
        assert api.get(path).status_code == 200, path
    for reply in (  # the catalog of a pool that nobody has open needs a few bytes to be opened
        api.get(f"/api/v1/pools/{pool}/tables/t"),
        api.post(f"/api/v1/pools/{pool}/sql", json={"sql": "SELECT count(*) FROM t"}),
    ):
        assert reply.status_code in (200, 507), reply.text
    disk.empty()
    assert [c["state"] for c in own_job(api, pool, job)["chunks"]] == ["staged"]
    assert execute(api, pool, job).status_code == 200
    assert wait_for_job(api, pool, job)["status"] == "DONE"
    works(api, pool)


def test_below_the_watermark(tmp_path: Path) -> None:
    """Chunks are refused long before; all else goes on."""
    server = RunningServer(tmp_path / "data")
    with server, server.client() as api:
        pool = create_pool(api)
        assert run_job(api, pool, "t", [rows(500)], **SPEC)["status"] == "DONE"
        staged = create_job(api, pool, "t", type="DELTA", **SPEC)["id"]
        assert add_chunk(api, pool, staged, rows(300)).status_code == 200
    server.env = {"HEADRACE_MIN_FREE_DISK_BYTES": str(2**60)}
    with server, server.client() as api:
        job = create_job(api, pool, "t", type="DELTA", **SPEC)["id"]
        assert_full(add_chunk(api, pool, job, rows(10)))
        assert execute(api, pool, staged).status_code == 200
        assert wait_for_job(api, pool, staged)["status"] == "DONE"
        assert sql(api, pool, "SELECT count(*) FROM t") == [[500]]
        assert api.get(f"/api/v1/pools/{pool}/tables/t/export").status_code == 200
        assert api.delete(f"{PUSH}/{pool}/jobs/{job}").status_code == 200
