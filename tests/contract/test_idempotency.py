"""``Idempotency-Key``: a request that is sent again under it has no second effect. The original has none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from harness import PUSH, create_job, own_job, sql, wait_for_job

ROWS = b"id,v\n1,a\n2,b\n"


def named(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def push(
    api: httpx.Client, pool: str, job: str, data: bytes, key: str | None, kind: str = "upserted"
) -> httpx.Response:
    url, files = f"{PUSH}/{pool}/jobs/{job}/chunks/{kind}", {"file": ("rows.csv", data)}
    return api.post(url, files=files, headers=named(key) if key else {})


@pytest.fixture
def job(api: httpx.Client, pool: str) -> str:
    return str(create_job(api, pool, "t", type="DELTA", fileType="CSV", keys=["id"])["id"])


def test_a_job_is_created_once(api: httpx.Client, pool: str) -> None:
    body = {"targetName": "t", "fileType": "CSV", "maxRejectedShare": 0.1}

    def create(_: int) -> str:
        reply = api.post(f"{PUSH}/{pool}/jobs", json=body, headers=named("k"))
        assert reply.status_code == 200, reply.text
        return str(reply.json()["id"])

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(create, range(16)))) == 1
    other = api.post(f"{PUSH}/{pool}/jobs", json={**body, "targetName": "u"}, headers=named("k"))
    assert (other.status_code, other.json()["shortMessage"]) == (422, "idempotency-key-reused")
    assert len(api.get(f"{PUSH}/{pool}/jobs").json()) == 1


def test_the_key_of_a_deleted_job_is_free(api: httpx.Client, pool: str) -> None:
    def create() -> str:
        return str(api.post(f"{PUSH}/{pool}/jobs", json={"targetName": "t"}, headers=named("k")).json()["id"])

    first = create()
    api.delete(f"{PUSH}/{pool}/jobs/{first}")
    assert create() != first


def test_a_chunk_is_stored_once(api: httpx.Client, pool: str, job: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda _: push(api, pool, job, ROWS, "k"), range(16)))
    assert {(r.status_code, r.content) for r in replies} == {(200, b"")}
    assert push(api, pool, job, ROWS, "another").status_code == 200
    assert [c["number"] for c in own_job(api, pool, job)["chunks"]] == [1, 2]


@pytest.mark.parametrize(("data", "kind"), [(b"id,v\n3,c\n", "upserted"), (ROWS, "deleted")])
def test_another_chunk_under_the_key_is_refused(
    api: httpx.Client, pool: str, job: str, data: bytes, kind: str
) -> None:
    push(api, pool, job, ROWS, "k")
    refused = push(api, pool, job, data, "k", kind)
    assert (refused.status_code, refused.json()["shortMessage"]) == (422, "idempotency-key-reused")
    assert len(own_job(api, pool, job)["chunks"]) == 1


def test_keys_belong_to_their_job(api: httpx.Client, pool: str, job: str) -> None:
    other = str(create_job(api, pool, "u", fileType="CSV")["id"])
    assert push(api, pool, job, ROWS, "k").status_code == 200
    assert push(api, pool, other, b"x\n1\n", "k").status_code == 200


def test_a_lost_answer_is_given_again_after_the_end(api: httpx.Client, pool: str, job: str) -> None:
    """The client heard nothing of chunk and execute, and sends both once more."""
    execute = f"{PUSH}/{pool}/jobs/{job}"
    push(api, pool, job, ROWS, "k")
    assert api.post(execute, headers=named("go")).status_code == 200
    assert wait_for_job(api, pool, job)["status"] == "DONE"
    again = [push(api, pool, job, ROWS, "k"), api.post(execute, headers=named("go"))]
    assert [(r.status_code, r.content) for r in again] == [(200, b""), (200, b"")]
    assert api.post(execute, headers=named("other")).status_code == 409
    assert api.post(execute).status_code == 409
    assert push(api, pool, job, ROWS, "new").status_code == 400
    assert sql(api, pool, "SELECT count(*) FROM t") == [[2]]


def test_without_a_key_the_same_bytes_count_again_and_the_log_says_so(api: httpx.Client, pool: str) -> None:
    job = str(create_job(api, pool, "t", type="DELTA", fileType="CSV")["id"])
    for _ in range(3):
        assert push(api, pool, job, ROWS, None).status_code == 200
    api.post(f"{PUSH}/{pool}/jobs/{job}")
    logs = wait_for_job(api, pool, job)["logs"]
    assert sql(api, pool, "SELECT count(*) FROM t") == [[6]]
    assert "Chunks 2, 3 have the same bytes as chunk 1; all of them count." in logs


@pytest.mark.parametrize("key", ["k" * 256])
def test_a_key_too_long_is_refused(api: httpx.Client, pool: str, key: str) -> None:
    reply = api.post(f"{PUSH}/{pool}/jobs", json={"targetName": "t"}, headers=named(key))
    assert reply.status_code == 400


def test_an_empty_key_is_none(api: httpx.Client, pool: str) -> None:
    reply = api.post(f"{PUSH}/{pool}/jobs", json={"targetName": "t"}, headers=named(""))
    assert (reply.status_code, reply.json()["errors"][0]["attribute"]) == (400, "idempotency-key")
