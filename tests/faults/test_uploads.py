"""The server is killed in the middle of uploads, and where they become chunks; clients go on."""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress
from pathlib import Path

import httpx
from tusclient.client import TusClient

from contract.resumable import Tus, checksum
from harness import RunningServer, create_job, create_pool, execute, own_job, sql, wait_for, wait_for_job

CSV = b"id,name\n" + b"".join(b"%d,n%d\n" % (n, n) for n in range(20_000))
HALF = len(CSV) // 2


def test_killed_again_and_again(tmp_path: Path) -> None:
    server = RunningServer(tmp_path / "data").start()
    with server.client() as api:
        pool = create_pool(api)
        job = create_job(api, pool, "t", type="DELTA", keys=["id"], fileType="CSV")["id"]
        tus = Tus(api, pool, job)
        plain, checked = tus.create(len(CSV)), tus.create(len(CSV))
        assert tus.patch(plain, 0, CSV[:1000]).status_code == 204
        assert tus.patch(checked, 0, CSV[:1000], **checksum(CSV[:1000])).status_code == 204
        folder = server.data_dir / "uploads" / job
        stray = folder / "nobody knows it"
        stray.touch()
        rest = CSV[1000:]
        with (
            tus.half_sent(plain, 1000, rest[: HALF - 1000], says=len(rest)),
            tus.half_sent(checked, 1000, rest[: HALF - 1000], says=len(rest), **checksum(rest)),
        ):
            wait_for(lambda: [size_of(folder, place) for place in (plain, checked)] == [HALF] * 2)
            assert tus.offset(checked) == 1000, "nobody has compared the rest"
            server.kill()

    server.env = {"HEADRACE_CRASH_AT": "kept"}
    server.start()
    assert not stray.exists()
    with server.client() as api:
        tus = Tus(api, pool, job)
        assert (tus.offset(plain), tus.offset(checked)) == (HALF, 1000)
        with suppress(httpx.TransportError):
            tus.patch(plain, HALF, CSV[HALF:])
    assert ended(server) == -9

    server.env = {"HEADRACE_CRASH_AT": "recorded"}
    server.start()
    with server.client() as api:
        tus = Tus(api, pool, job)
        assert own_job(api, pool, job)["chunks"] == []
        with suppress(httpx.TransportError):
            tus.head(plain)  # it has come whole, and becomes a chunk now
    assert ended(server) == -9

    server.env = {}
    with server.start(), server.client() as api:
        tus = Tus(api, pool, job)
        assert tus.offset(plain) == len(CSV)
        assert [c["id"] for c in own_job(api, pool, job)["chunks"]] == [plain.rpartition("/")[2]]
        client = TusClient(server.url + tus.path, headers={"Authorization": f"AppKey {server.admin_key}"})
        url = server.url + checked
        client.uploader(
            file_stream=io.BytesIO(CSV), url=url, chunk_size=50_000, upload_checksum=True
        ).upload()
        shown = own_job(api, pool, job)["chunks"]
        assert [c["sha256"] for c in shown] == [hashlib.sha256(CSV).hexdigest()] * 2
        execute(api, pool, job)
        assert wait_for_job(api, pool, job)["status"] == "DONE"
        assert sql(api, pool, "SELECT count(*) FROM t") == [[20_000]]
        assert not list(folder.glob("*"))


def size_of(folder: Path, place: str) -> int:
    return (folder / place.rpartition("/")[2]).stat().st_size


def ended(server: RunningServer) -> int:
    process, server.process = server.process, None
    assert process is not None
    return process.wait(30)
