"""Resumable uploads, by the public client and by hand."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError, TusUploadFailed

from contract.resumable import VERSION, Tus, checksum, metadata
from counted import counted
from harness import (
    RunningServer,
    create_job,
    create_pool,
    execute,
    new_key,
    own_job,
    parquet,
    sql,
    wait_for,
    wait_for_job,
)
from headrace.model import now
from lakes import kept_below

CSV = b"id,name\n" + b"".join(b"%d,n%d\n" % (n, n) for n in range(5000))


@pytest.fixture
def tus(api: httpx.Client, pool: str) -> Tus:
    return Tus(api, pool, create_job(api, pool, "t", type="DELTA", keys=["id"], fileType="CSV")["id"])


def files(server: RunningServer, tus: Tus) -> list[str]:
    return [name for folder in ("uploads", "chunks") for name in kept_below(server, f"{folder}/{tus.job}")]


# -- the public client ---------------------------------------------------------------------------------


@pytest.mark.parametrize("checks", [False, True], ids=["as it is", "with checksums"])
def test_tuspy(api: httpx.Client, server: RunningServer, tus: Tus, checks: bool) -> None:
    client = TusClient(server.url + tus.path, headers={"Authorization": f"AppKey {server.admin_key}"})
    told = {"filename": "orders.csv", "type": "upsert"}
    first = client.uploader(
        file_stream=io.BytesIO(CSV), chunk_size=20_000, metadata=told, upload_checksum=checks
    )
    first.upload(stop_at=40_000)
    assert own_job(api, tus.pool, tus.job)["chunks"] == []
    again = client.uploader(
        file_stream=io.BytesIO(CSV), url=first.url, chunk_size=20_000, upload_checksum=checks
    )
    assert again.offset == 40_000
    again.upload()
    [chunk] = own_job(api, tus.pool, tus.job)["chunks"]
    assert (chunk["bytes"], chunk["sha256"]) == (len(CSV), hashlib.sha256(CSV).hexdigest())
    assert first.url.endswith(chunk["id"])
    execute(api, tus.pool, tus.job)
    assert wait_for_job(api, tus.pool, tus.job)["status"] == "DONE"
    assert sql(api, tus.pool, "SELECT count(*), max(name) FROM t") == [[5000, "n999"]]


def test_tuspy_hears_of_refusals(server: RunningServer, tus: Tus) -> None:
    client = TusClient(server.url + tus.path, headers={"Authorization": "AppKey wrong"})
    with pytest.raises(TusCommunicationError):
        client.uploader(file_stream=io.BytesIO(CSV)).upload()
    client = TusClient(server.url + tus.path, headers={"Authorization": f"AppKey {server.admin_key}"})
    with pytest.raises(TusUploadFailed) as failed:
        client.uploader(file_stream=io.BytesIO(b"%PDF-1.7 is no table")).upload()
    assert failed.value.status_code == 400


# -- the protocol --------------------------------------------------------------------------------------


def test_what_is_spoken(api: httpx.Client, tus: Tus) -> None:
    reply = api.options(tus.path)
    assert reply.status_code == 204
    assert reply.headers["Tus-Version"] == "1.0.0"
    assert set(reply.headers["Tus-Extension"].split(",")) == {
        *("creation", "creation-with-upload", "checksum", "expiration", "termination")
    }
    assert reply.headers["Tus-Checksum-Algorithm"] == "sha1,sha256,md5"
    assert int(reply.headers["Tus-Max-Size"]) == 2**30


@pytest.mark.parametrize("sent", [{}, {"Tus-Resumable": "0.2.2"}])
def test_another_version(api: httpx.Client, tus: Tus, sent: dict[str, str]) -> None:
    place = tus.create(10)
    for method, path in (("POST", tus.path), ("HEAD", place), ("PATCH", place), ("DELETE", place)):
        reply = api.request(method, path, headers={**sent, "Upload-Length": "1"})
        assert (reply.status_code, reply.headers["Tus-Version"]) == (412, "1.0.0")
    assert tus.offset(place) == 0


def test_the_life_of_an_upload(api: httpx.Client, server: RunningServer, tus: Tus) -> None:
    said = metadata(filename="x.csv", type="delete")
    place = tus.create(len(CSV), Upload_Metadata=said)
    reply = tus.patch(place, 0, CSV[:99])
    assert (reply.status_code, reply.headers["Upload-Offset"], reply.content) == (204, "99", b"")
    assert parsedate_to_datetime(reply.headers["Upload-Expires"]) > now()
    shown = tus.head(place).headers
    assert (shown["Upload-Offset"], shown["Upload-Length"], shown["Upload-Metadata"]) == (
        "99",
        str(len(CSV)),
        said,
    )
    assert shown["Cache-Control"] == "no-store"
    assert tus.patch(place, 99, CSV[99:]).status_code == 204
    assert (tus.offset(place), tus.end(place).status_code) == (len(CSV), 409)
    assert tus.patch(place, len(CSV), b"").status_code == 409
    [chunk] = own_job(api, tus.pool, tus.job)["chunks"]
    assert (chunk["type"], chunk["fileType"], chunk["number"]) == ("DELETE", "CSV", 1)
    assert files(server, tus) == [chunk["id"]]


def test_the_first_part_may_come_along(api: httpx.Client, tus: Tus) -> None:
    reply = tus.post(len(CSV), CSV[:7])
    assert (reply.status_code, reply.headers["Upload-Offset"]) == (201, "7")
    assert tus.patch(reply.headers["Location"], 7, CSV[7:]).status_code == 204
    whole = tus.post(len(CSV), CSV, **checksum(CSV, "sha256"))
    assert (whole.status_code, whole.headers["Upload-Offset"]) == (201, str(len(CSV)))
    assert [c["bytes"] for c in own_job(api, tus.pool, tus.job)["chunks"]] == [len(CSV)] * 2


def test_a_first_part_that_fails_leaves_nothing(api: httpx.Client, server: RunningServer, tus: Tus) -> None:
    assert tus.post(len(CSV), CSV, **checksum(b"other")).status_code == 460
    assert tus.post(len(CSV), CSV + b"x").status_code == 413
    assert tus.post(5, b"%PDF-").status_code == 400
    assert files(server, tus) == []
    assert own_job(api, tus.pool, tus.job)["chunks"] == []


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "md5"])
def test_a_damaged_part_is_not_kept(tus: Tus, algorithm: str) -> None:
    place = tus.create(len(CSV))
    assert tus.patch(place, 0, CSV[:50], **checksum(CSV[:50], algorithm)).status_code == 204
    reply = tus.patch(place, 50, CSV[50:90], **checksum(CSV[50:91], algorithm))
    assert (reply.status_code, reply.json()["code"], reply.json()["retry"]) == (
        460,
        "checksum-mismatch",
        True,
    )
    assert tus.offset(place) == 50
    assert tus.patch(place, 50, CSV[50:], **checksum(CSV[50:], algorithm)).status_code == 204


def test_the_last_part_damaged_makes_no_chunk(api: httpx.Client, tus: Tus) -> None:
    place = tus.create(len(CSV))
    assert tus.patch(place, 0, CSV, **checksum(b"")).status_code == 460
    assert (tus.offset(place), own_job(api, tus.pool, tus.job)["chunks"]) == (0, [])


def test_what_is_refused(api: httpx.Client, tus: Tus) -> None:
    place = tus.create(10)
    good = {**VERSION, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}

    def patch(content: bytes = b"a", **headers: str) -> int:
        return api.patch(place, content=content, headers={**good, **headers}).status_code

    assert patch(**{"Content-Type": "text/csv"}) == 415
    assert patch(**{"Content-Encoding": "gzip"}) == 415
    assert patch(**{"Upload-Offset": "1"}) == 409
    assert patch(**{"Upload-Offset": "-1"}) == 400
    assert patch(**{"Upload-Checksum": "crc32 AAAA"}) == 400
    assert patch(**{"Upload-Checksum": "sha1 ?"}) == 400
    assert patch(content=b"x" * 11) == 413
    chunked = api.patch(place, content=iter([b"x" * 6, b"x" * 6]), headers=good)
    assert (chunked.status_code, tus.offset(place)) == (413, 0)
    assert tus.patch(place + "x", 0, b"a").status_code == 404
    assert tus.post(2**30 + 1).status_code == 413
    assert api.post(tus.path, headers=VERSION).status_code == 400
    assert tus.post(1, Upload_Metadata="type ?").status_code == 400
    assert tus.post(1, Upload_Metadata=metadata(type="other")).status_code == 400
    assert tus.post(1, Upload_Metadata="x " + "A" * 5000).status_code == 400
    assert Tus(api, tus.pool, "none").post(1).status_code == 404
    assert api.post(tus.path, content=b"a", headers={**VERSION, "Upload-Length": "1"}).status_code in (
        201,
        415,
    )


def test_another_method_for_those_who_cannot(api: httpx.Client, tus: Tus) -> None:
    place = tus.create(10)
    part = {**VERSION, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    reply = api.post(place, content=b"abc", headers={**part, "X-HTTP-Method-Override": "PATCH"})
    assert (reply.status_code, reply.headers["Upload-Offset"]) == (204, "3")
    assert api.post(place, headers={**VERSION, "X-HTTP-Method-Override": "DELETE"}).status_code == 204
    assert tus.head(place).status_code == 404
    elsewhere = api.post(f"/integration/api/pools/{tus.pool}", headers={"X-HTTP-Method-Override": "DELETE"})
    assert elsewhere.status_code == 405, "nowhere else"


def test_an_upload_that_is_ended_is_gone(server: RunningServer, tus: Tus) -> None:
    place = tus.create(10)
    tus.patch(place, 0, b"abc")
    assert tus.end(place).status_code == 204
    assert [tus.head(place).status_code, tus.end(place).status_code] == [404, 404]
    assert tus.patch(place, 3, b"d").status_code == 404
    assert files(server, tus) == []


def test_two_parts_at_once(api: httpx.Client, tus: Tus) -> None:
    place = tus.create(1000)
    with tus.half_sent(place, 0, b"x" * 100, says=200) as slow:
        wait_for(lambda: tus.patch(place, 999, b"y").status_code == 423, what="the first part's lock")
        for refused in (tus.patch(place, 100, b"y"), tus.end(place)):
            assert (refused.status_code, refused.json()["code"]) == (423, "upload-locked")
            assert refused.headers["Retry-After"] == "1"
        slow.sendall(b"x" * 100)
        assert slow.recv(4096).startswith(b"HTTP/1.1 204")
    assert tus.patch(place, 200, b"y").status_code == 204


# -- as every chunk ------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "packed"])
@pytest.mark.parametrize("kind", ["CSV", "PARQUET"])
def test_kinds_are_told_as_for_every_chunk(api: httpx.Client, tus: Tus, kind: str, pack: object) -> None:
    data = CSV if kind == "CSV" else parquet({"id": ["1"], "name": ["x"]})
    data = pack(data)  # type: ignore[operator]
    job = create_job(api, tus.pool, "t", fileType="NDJSON")["id"]
    mine = Tus(api, tus.pool, job)
    name = {"CSV": "a;b.csv", "PARQUET": "a"}[kind] + (".gz" if pack is gzip.compress else "")
    place = mine.create(len(data), Upload_Metadata=metadata(filename=name))
    assert mine.patch(place, 0, data[:3]).status_code == 204
    assert mine.patch(place, 3, data[3:]).status_code == 204
    shown = own_job(api, tus.pool, job)
    [chunk] = shown["chunks"]
    assert (chunk["fileType"], chunk["bytes"]) == (kind, len(data))
    assert chunk["sha256"] == hashlib.sha256(data).hexdigest()
    assert any("unpacked" in line for line in shown["logs"]) == (pack is gzip.compress)
    execute(api, tus.pool, job)
    assert wait_for_job(api, tus.pool, job)["status"] == "DONE"


def test_a_type_tells_the_kind(api: httpx.Client, tus: Tus) -> None:
    job = create_job(api, tus.pool, "t")["id"]
    mine = Tus(api, tus.pool, job)
    assert mine.post(len(CSV), CSV, Upload_Metadata=metadata(filetype="text/csv")).status_code == 201
    assert own_job(api, tus.pool, job)["chunks"][0]["fileType"] == "CSV"
    assert mine.post(len(CSV), CSV).status_code == 400, "text alone is no table"


def test_a_job_that_is_executed_takes_no_part(api: httpx.Client, tus: Tus) -> None:
    place = tus.create(len(CSV))
    tus.patch(place, 0, CSV[:10])
    execute(api, tus.pool, tus.job)
    refused = tus.patch(place, 10, CSV[10:])
    assert (refused.status_code, refused.json()["code"]) == (400, "job-locked")
    assert tus.post(10).json()["code"] == "job-locked"
    assert wait_for_job(api, tus.pool, tus.job)["status"] == "DONE"
    replace = create_job(api, tus.pool, "t", fileType="CSV")["id"]
    nothing = Tus(api, tus.pool, replace).post(10, Upload_Metadata=metadata(type="delete"))
    assert (nothing.status_code, nothing.json()["attribute"]) == (400, "type")


def test_an_idempotency_key(api: httpx.Client, tus: Tus) -> None:
    same = {"Idempotency_Key": "k"}
    place = tus.create(len(CSV), **same)
    assert tus.create(len(CSV), **same) == place
    assert tus.post(len(CSV) + 1, **same).status_code == 422
    assert tus.patch(place, 0, CSV[:10]).status_code == 204
    again = tus.post(len(CSV), CSV[:20], **same)
    assert (again.headers["Location"], again.headers["Upload-Offset"]) == (place, "10")
    assert tus.patch(place, 10, CSV[10:]).status_code == 204
    chunks = f"/api/v1/pools/{tus.pool}/jobs/{tus.job}/chunks"
    pushed = api.post(chunks, content=CSV, headers={"Idempotency-Key": "k"})
    assert place.endswith(pushed.json()["id"]), "the same chunk, pushed whole"
    execute(api, tus.pool, tus.job)
    assert tus.create(len(CSV), **same) == place
    assert tus.offset(place) == len(CSV)


def test_a_pushed_chunk_and_its_upload_are_one(api: httpx.Client, server: RunningServer, tus: Tus) -> None:
    chunks = f"/api/v1/pools/{tus.pool}/jobs/{tus.job}/chunks"
    pushed = api.post(chunks, content=CSV, headers={"Idempotency-Key": "k"}).json()["id"]
    place = tus.create(len(CSV), Idempotency_Key="k")
    assert tus.patch(place, 0, CSV).status_code == 204
    assert tus.offset(place) == len(CSV)
    assert [c["id"] for c in own_job(api, tus.pool, tus.job)["chunks"]] == [pushed]
    assert files(server, tus) == [pushed]


# -- who ----------------------------------------------------------------------------------------------


def test_the_upload_of_another_key_is_not_there(api: httpx.Client, server: RunningServer, tus: Tus) -> None:
    key = new_key(api, pools=[tus.pool])
    with server.client(f"AppKey {key}") as theirs, server.client(f"AppKey {new_key(api)}") as others:
        place = Tus(theirs, tus.pool, tus.job).create(10)
        for stranger in (api, others):  # the administrator, too
            mine = Tus(stranger, tus.pool, tus.job)
            unknown = mine.patch(place[:-1] + ("0" if place[-1] != "0" else "1"), 0, b"a")
            found = [mine.head(place), mine.patch(place, 0, b"a"), mine.end(place)]
            assert [reply.status_code for reply in found] == [404] * 3
            assert found[1].json().keys() == unknown.json().keys()
        other_job = create_job(api, tus.pool, "t")["id"]
        assert theirs.head(place.replace(tus.job, other_job), headers=VERSION).status_code == 404
        assert Tus(theirs, tus.pool, tus.job).offset(place) == 0


def test_no_path_leads_out_of_the_folder(api: httpx.Client, tus: Tus) -> None:
    for name in ("..", "%2e%2e", "..%2F..%2Fadmin-key", "%00", "a" * 300):
        assert api.patch(f"{tus.path}/{name}", headers=VERSION).status_code in (400, 404, 405, 415)
        assert api.head(f"{tus.path}/{name}", headers=VERSION).status_code in (400, 404, 405)


# -- cuts ----------------------------------------------------------------------------------------------


@settings(max_examples=int(os.environ.get("HEADRACE_UPLOAD_CUTS", "10")))
@given(data=st.data())
def test_whatever_is_cut_the_chunk_is_whole(
    api: httpx.Client, server: RunningServer, data: st.DataObject
) -> None:
    """Model: the bytes that were acknowledged stay, of a cut part a beginning, of one with checksum none."""
    pool = create_pool(api)
    tus = Tus(api, pool, create_job(api, pool, "t", fileType="CSV")["id"])
    rows = data.draw(st.integers(1, 3000), "rows")
    whole = b"a\n" + b"".join(b"%d\n" % n for n in range(rows))
    place, offset, parts = tus.create(len(whole)), 0, 0
    while offset < len(whole):
        size = data.draw(st.integers(1, len(whole)), "part") if parts < 8 else len(whole)
        part = whole[offset : offset + size]
        sum_ = checksum(part) if data.draw(st.booleans(), "checked") else {}
        what = data.draw(
            st.sampled_from(["send", "cut", "damage", "elsewhere"]) if parts < 8 else st.just("send")
        )
        parts += 1
        if what == "cut":
            sent = data.draw(st.integers(0, len(part) - 1), "sent")
            tus.cut(place, offset, part[:sent], says=len(part), **sum_)
            reached = wait_for(lambda: unlocked(tus, place), what="the end of the cut part") - 1
            assert offset <= reached <= (offset if sum_ else offset + sent)
            offset = reached
        elif what == "damage":
            assert tus.patch(place, offset, part, **checksum(part + b"x")).status_code in (460, *LATE)
        elif what == "elsewhere":
            assert tus.patch(place, offset + 1, part[1:]).status_code in LATE
        else:
            status = tus.patch(place, offset, part, **sum_).status_code
            assert status in (204, *LATE)
            offset += len(part) if status == 204 else 0
        reached = wait_for(lambda: unlocked(tus, place), what="the upload") - 1
        assert reached >= offset, "what was acknowledged stays"
        offset = reached
    [chunk] = own_job(api, pool, tus.job)["chunks"]
    assert chunk["sha256"] == hashlib.sha256(whole).hexdigest()
    counted("parts of uploads, cut and whole", parts, 0)


LATE = (409, 423)
"""A part whose client has gone may be begun after that: who comes meanwhile asks again where to go on."""


def unlocked(tus: Tus, place: str) -> int | None:
    """Where to go on, and one; None while a part is on its way: an empty part changes nothing."""
    offset = tus.offset(place)
    if offset == int(tus.head(place).headers["Upload-Length"]):
        return offset + 1
    return offset + 1 if tus.patch(place, offset, b"").status_code == 204 else None


# -- bounds --------------------------------------------------------------------------------------------


def test_quotas_number_and_time(tmp_path: Path) -> None:
    """One server with small limits; what an upload will have counts from its beginning."""
    env = {
        "HEADRACE_MAX_JOB_BYTES": "1000",
        "HEADRACE_MAX_UNFINISHED_UPLOADS": "3",
        "HEADRACE_UPLOAD_HOURS": "0.0006",  # about two seconds
    }
    with RunningServer(tmp_path / "data", env=env) as server, server.client() as api:
        pool = create_pool(api)
        tus = Tus(api, pool, create_job(api, pool, "t", fileType="CSV")["id"])
        other = Tus(api, pool, create_job(api, pool, "t", fileType="CSV")["id"])
        chunks = f"/api/v1/pools/{pool}/jobs/{tus.job}/chunks"
        place = tus.create(600)
        assert tus.post(401).status_code == 413
        assert api.post(chunks, content=b"a\n" + b"1" * 400).status_code == 413
        assert tus.create(400)
        assert other.create(1)
        full = other.post(1)
        assert (full.status_code, full.json()["code"], "Retry-After" in full.headers) == (
            503,
            "overloaded",
            True,
        )
        folder = server.data_dir / "uploads"
        wait_for(lambda: not list(folder.glob("*/*")), what="the sweep")
        assert tus.head(place).status_code == 404
        assert other.create(1), "there is room again"
        body = b"a\n" + b"1" * 998
        assert tus.post(1000, body).status_code == 201, "it counts once, though it was promised"
        assert api.post(chunks, content=b"a\n1").status_code == 413
