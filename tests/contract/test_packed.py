"""Chunks that come packed: by their bytes, by their name, by the request's encoding; and bombs."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import pytest
import zstandard

from harness import (
    PUSH,
    RunningServer,
    create_job,
    create_pool,
    execute,
    parquet,
    sql,
    wait_for,
    wait_for_job,
)

ROWS = "".join(f"{n},name {n}\n" for n in range(20_000))
CSV = f"id,name\n{ROWS}".encode()
MiB = 1 << 20


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def streamed_zstd(data: bytes) -> bytes:
    """Without a size in its header, as pipes write it."""
    packing = zstandard.ZstdCompressor().compressobj()
    return packing.compress(data) + packing.flush()


PACKED = {
    "gzip": gzip.compress(CSV),
    "members": gzip.compress(CSV[:1000]) + gzip.compress(CSV[1000:5000]) + gzip.compress(CSV[5000:]),
    "padded": gzip.compress(CSV) + b"\0" * 40_000,
    "zstd": zstd(CSV),
    "frames": zstd(CSV[:999]) + streamed_zstd(CSV[999:7000]) + zstd(b"") + zstd(CSV[7000:]),
    "skipped": b"\x50\x2a\x4d\x18\x03\0\0\0xyz" + streamed_zstd(CSV),
}


def send(
    api: httpx.Client, pool: str, job: str, data: bytes, name: str = "file", type: str | None = None
) -> httpx.Response:
    return api.post(f"{PUSH}/{pool}/jobs/{job}/chunks/upserted", files={"file": (name, data, type)})


def finish(api: httpx.Client, pool: str, job: str) -> dict[str, Any]:
    execute(api, pool, job)
    return wait_for_job(api, pool, job)


@pytest.mark.parametrize("name", PACKED)
def test_a_packed_chunk_is_the_unpacked_one(api: httpx.Client, pool: str, name: str) -> None:
    job = create_job(api, pool, "t", fileType="CSV")["id"]
    assert send(api, pool, job, PACKED[name]).status_code == 200
    [chunk] = api.get(f"{PUSH}/{pool}/jobs/{job}/chunks").json()
    assert chunk["checksum"] == hashlib.sha256(PACKED[name]).hexdigest()
    shown = finish(api, pool, job)
    assert shown["status"] == "DONE", shown["logs"]
    packing = "zstd" if name in ("zstd", "frames", "skipped") else "gzip"
    assert f"Chunk 1 came packed ({packing}) and was unpacked; others alike are not named." in shown["logs"]
    assert sql(api, pool, "SELECT count(*), sum(id::INT), max(name) FROM t") == [
        [20_000, 199990000, "name 9999"]
    ]


@pytest.mark.parametrize("name", ["file.csv.gz", "file.CSV.zst", "file.csv"])
def test_the_name_within_the_name_counts(api: httpx.Client, pool: str, name: str) -> None:
    job = create_job(api, pool, "t")["id"]
    assert send(api, pool, job, gzip.compress(b"a,b\n1,2\n"), name).status_code == 200
    assert finish(api, pool, job)["status"] == "DONE"
    assert sql(api, pool, "SELECT a, b FROM t") == [["1", "2"]]


def test_many_packed_chunks_are_told_once(api: httpx.Client, pool: str) -> None:
    job = create_job(api, pool, "t", fileType="CSV")["id"]
    for number in range(5):
        assert send(api, pool, job, gzip.compress(b"a\n%d\n" % number)).status_code == 200
    logs = finish(api, pool, job)["logs"]
    assert len([line for line in logs if "packed" in line]) == 1
    assert sql(api, pool, "SELECT count(*) FROM t") == [[5]]


def test_parquet_may_be_packed_too(api: httpx.Client, pool: str) -> None:
    job = create_job(api, pool, "t")["id"]
    assert send(api, pool, job, gzip.compress(parquet({"a": [1, 2]}))).status_code == 200
    assert finish(api, pool, job)["status"] == "DONE"
    assert sql(api, pool, "SELECT sum(a) FROM t") == [[3]]


def test_a_name_alone_packs_nothing(api: httpx.Client, pool: str) -> None:
    job = create_job(api, pool, "t", fileType="CSV")["id"]
    assert send(api, pool, job, b"a\n1\n", "file.csv.gz").status_code == 200
    logs = finish(api, pool, job)["logs"]
    note = "is called packed by its name, and is not: it is read as it is"
    assert any(note in line for line in logs)


@pytest.mark.parametrize("data", [b"a", b"a\n1", b"a\n\n", b"\x1f\x8b", b"\x28\xb5\x2f"], ids=repr)
def test_a_chunk_of_a_few_bytes(api: httpx.Client, pool: str, data: bytes) -> None:
    job = create_job(api, pool, "t", fileType="CSV")["id"]
    assert send(api, pool, job, data).status_code in (200, 400)
    listed = api.get(f"{PUSH}/{pool}/jobs/{job}/chunks").json()
    assert [c["checksum"] for c in listed] in ([], [hashlib.sha256(data).hexdigest()])


# -- the request's encoding ----------------------------------------------------------------------------


def encoded(api: httpx.Client, pool: str, job: str, body: bytes, encoding: str, type: str) -> httpx.Response:
    headers = {"Content-Encoding": encoding, "Content-Type": type}
    return api.post(f"{PUSH}/{pool}/jobs/{job}/chunks/upserted", content=body, headers=headers)


def form(data: bytes) -> bytes:
    head = b'--b7\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n\r\n'
    return head + data + b"\r\n--b7--\r\n"


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("zstd", zstd), ("identity", bytes)],
)
@pytest.mark.parametrize("type", ["text/csv", "multipart/form-data; boundary=b7", "multipart/form-data"])
def test_the_checksum_is_that_of_the_chunk_in_the_request(
    api: httpx.Client, pool: str, encoding: str, pack: Any, type: str
) -> None:
    job = create_job(api, pool, "t", fileType="CSV")["id"]
    body = form(CSV) if type.startswith("multipart") else CSV
    assert encoded(api, pool, job, pack(body), encoding, type).status_code == 200
    [chunk] = api.get(f"{PUSH}/{pool}/jobs/{job}/chunks").json()
    assert chunk["checksum"] == hashlib.sha256(CSV).hexdigest()
    assert finish(api, pool, job)["status"] == "DONE"
    assert sql(api, pool, "SELECT count(*) FROM t") == [[20_000]]


def test_an_encoded_request_with_a_packed_chunk(api: httpx.Client, pool: str) -> None:
    job = create_job(api, pool, "t", fileType="CSV")["id"]
    body = gzip.compress(form(zstd(CSV)))
    assert encoded(api, pool, job, body, "gzip", "multipart/form-data; boundary=b7").status_code == 200
    assert finish(api, pool, job)["status"] == "DONE"
    assert sql(api, pool, "SELECT count(*) FROM t") == [[20_000]]


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, zstd"])
def test_another_encoding_is_refused(api: httpx.Client, pool: str, encoding: str) -> None:
    job = create_job(api, pool, "t", fileType="CSV")["id"]
    reply = encoded(api, pool, job, CSV, encoding, "text/csv")
    assert reply.status_code == 400
    assert encoding in reply.text
    assert "gzip and zstd" in reply.text


# -- damage --------------------------------------------------------------------------------------------


def spoiled(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


CHECKED = zstandard.ZstdCompressor(write_checksum=True).compress(CSV)
WIDE = zstandard.ZstdCompressor(
    compression_params=zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
).compressobj()

DAMAGED = {
    "gzip cut": (PACKED["gzip"][:-1], "breaks off after"),
    "gzip early": (PACKED["gzip"][:11], "breaks off after 11 bytes"),
    "gzip spoiled": (spoiled(PACKED["gzip"], 20_000), "damaged behind its byte"),
    "gzip checksum": (spoiled(PACKED["gzip"], len(PACKED["gzip"]) - 6), "incorrect data check"),
    "gzip and more": (PACKED["gzip"] + b"garbage", "damaged behind its byte"),
    "zstd cut": (PACKED["zstd"][:-1], "breaks off after"),
    "zstd early": (PACKED["zstd"][:5], "breaks off after 5 bytes"),
    "zstd spoiled": (spoiled(CHECKED, 10_000), "damaged behind its byte"),
    "zstd and more": (PACKED["zstd"] + b"garbage", "damaged behind its byte"),
    "zstd window": (WIDE.compress(CSV) + WIDE.flush(), "requires too much memory"),
    "twice": (gzip.compress(PACKED["gzip"]), "packed twice"),
    "both": (zstd(PACKED["gzip"]), "packed twice"),
    "nothing": (gzip.compress(b""), "empty"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_a_400_with_its_place(
    server: RunningServer, api: httpx.Client, pool: str, name: str
) -> None:
    data, reason = DAMAGED[name]
    job = create_job(api, pool, "t", fileType="CSV")["id"]
    reply = send(api, pool, job, data)
    assert reply.status_code == 400, reply.text
    assert reason in reply.json()["errors"][0]["error"]
    assert reply.json()["errors"][0]["errorCode"] == "chunk-unreadable"
    assert list((server.data_dir / "chunks").glob(f"{job}/*")) == []
    assert send(api, pool, job, b"a\n1\n").status_code == 200


@pytest.mark.parametrize("end", [-1, 1000])
def test_an_encoded_request_that_breaks_off(api: httpx.Client, pool: str, end: int) -> None:
    job = create_job(api, pool, "t", fileType="CSV")["id"]
    reply = encoded(api, pool, job, gzip.compress(CSV)[:end], "gzip", "text/csv")
    assert (reply.status_code, "breaks off" in reply.text) == (400, True)


# -- bombs ---------------------------------------------------------------------------------------------

LIMIT = 64 * MiB
ZEROS = 10 << 30


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    env = {"HEADRACE_MAX_UNPACKED_BYTES": str(LIMIT)}
    with RunningServer(tmp_path_factory.mktemp("small") / "data", env=env) as running:
        yield running


def gzip_bomb() -> bytes:
    """10 GB of zeros: what a little of them deflates to, again and again."""
    deflating = zlib.compressobj(9, wbits=31)
    head = deflating.compress(bytes(MiB)) + deflating.flush(zlib.Z_FULL_FLUSH)
    again = deflating.compress(bytes(MiB)) + deflating.flush(zlib.Z_FULL_FLUSH)
    return head + again * (ZEROS // MiB - 1)  # it has no end, which nobody gets to see


def zstd_bomb() -> bytes:
    """10 GB of zeros: a frame of blocks of 128 KB that each repeat one byte."""
    block = ((128 << 10) << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    return b"\x28\xb5\x2f\xfd\x00\x38" + block * (ZEROS // (128 << 10))


class Watched:
    """The largest memory and disk that a server takes while something is done."""

    def __init__(self, server: RunningServer) -> None:
        self._process = psutil.Process(server.pid)
        self._folder = server.data_dir / "chunks"
        self.before = self._process.memory_info().rss
        self.grown = self.disk = 0

    def look(self) -> bool:
        self.grown = max(self.grown, self._process.memory_info().rss - self.before)
        files = [entry.stat().st_size for folder in os.scandir(self._folder) for entry in os.scandir(folder)]
        self.disk = max(self.disk, sum(files))
        return False


@pytest.mark.parametrize("bomb", [gzip_bomb, zstd_bomb])
@pytest.mark.parametrize("way", ["bytes", "encoding", "both"])
def test_a_bomb_is_refused(small: RunningServer, bomb: Any, way: str) -> None:
    data = bomb()
    pack = gzip.compress if bomb is gzip_bomb else zstd
    headers = {"Content-Type": "text/csv"} | (
        {} if way == "bytes" else {"Content-Encoding": "gzip" if bomb is gzip_bomb else "zstd"}
    )
    body = pack(data) if way == "both" else data
    with small.client() as api:
        pool = create_pool(api, "a pool")
        job = create_job(api, pool, "t", fileType="CSV")["id"]
        watched = Watched(small)
        with ThreadPoolExecutor(1) as threads:
            path = f"{PUSH}/{pool}/jobs/{job}/chunks/upserted"
            reply = threads.submit(_posted, api, path, body, headers)
            wait_for(lambda: watched.look() or reply.done(), what="the refusal")
        status, text = reply.result()
        assert (status, "Unpacked" in text) == (413, True), text
        assert watched.grown < 128 * MiB
        assert watched.disk <= LIMIT
        assert list((small.data_dir / "chunks").glob(f"{job}/*")) == []
        assert send(api, pool, job, b"a\n1\n").status_code == 200


def _posted(api: httpx.Client, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    reply = api.post(path, content=body, headers=headers)
    return reply.status_code, reply.text
