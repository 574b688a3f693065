"""What goes wrong, in which shape: 400 is a ValidationExceptionDescriptor, the rest an ExceptionReference."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract.pycelonis import assert_fits
from contract.sending import Wire, json_200
from harness import (
    PUSH,
    RunningServer,
    add_chunk,
    create_job,
    create_pool,
    execute,
    new_key,
    parquet,
    run_job,
    sql,
    wait_for_job,
)

NOBODY = str(uuid.UUID(int=0))


def assert_validation(reply: httpx.Response) -> list[dict[str, Any]]:
    """``{"errors": [{attribute, error, errorCode, additionalInfo}]}``, strings or null, and a sentence."""
    assert reply.status_code == 400, f"{reply.status_code} {reply.text}"
    assert reply.headers["content-type"].startswith("application/json")
    errors: list[dict[str, Any]] = reply.json()["errors"]
    assert errors
    for error in errors:
        assert set(error) == {"attribute", "error", "errorCode", "additionalInfo"}
        assert all(value is None or isinstance(value, str) for value in error.values())
        assert error["error"]
    return errors


def assert_reference(reply: httpx.Response, status: int) -> dict[str, Any]:
    """``{"reference", "message", "shortMessage"}``: strict clients need the first two as strings."""
    assert reply.status_code == status, f"{reply.status_code} {reply.text}"
    assert reply.headers["content-type"].startswith("application/json")
    body: dict[str, Any] = reply.json()
    assert isinstance(body["reference"], str)
    assert isinstance(body["message"], str)
    assert body["message"]
    assert isinstance(body["shortMessage"], str | None)
    return body


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that takes chunks of 10,000 bytes."""
    folder: Path = tmp_path_factory.mktemp("small") / "data"
    with RunningServer(folder, env={"HEADRACE_MAX_CHUNK_BYTES": "10000"}) as server:
        yield server


# -- 401 and 403 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization", [None, "", "AppKey", "AppKey nonsense", "Bearer nonsense", "Basic YTpi", "nonsense"]
)
def test_no_key_or_none_of_ours(wire: Wire, pool: str, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    for method, path in (
        ("GET", f"{PUSH}/{pool}/jobs/"),
        ("POST", f"{PUSH}/{pool}/jobs/"),
        ("POST", f"{PUSH}/{NOBODY}/jobs/{NOBODY}/chunks/upserted"),
        ("GET", "/integration/api/pools"),
        ("GET", "/api/cloud"),
    ):
        reply = wire(method, path, headers=headers)
        assert reply.status_code == 401, path
        assert reply.text


def test_each_kind_of_key_only_under_its_own_word(wire: Wire, app_key: str, user_key: str, pool: str) -> None:
    def status(authorization: str) -> int:
        return wire("GET", f"{PUSH}/{pool}/jobs/", headers={"Authorization": authorization}).status_code

    assert status(f"AppKey {app_key}") == status(f"Bearer {user_key}") == 200
    assert status(f"Bearer {app_key}") == status(f"AppKey {user_key}") == 401


@pytest.mark.parametrize("word", ["AppKey", "appkey", "APPKEY"])
@pytest.mark.parametrize("header", ["Authorization", "authorization", "AUTHORIZATION"])
def test_case_does_not_matter(wire: Wire, app_key: str, pool: str, header: str, word: str) -> None:
    assert wire("GET", f"{PUSH}/{pool}/jobs/", headers={header: f"{word} {app_key}"}).status_code == 200


def test_a_deleted_key_is_unknown(wire: Wire, api: httpx.Client, pool: str) -> None:
    made = api.post(
        "/api/v1/keys", json={"name": "k", "kind": "application", "permissions": ["push"], "pools": None}
    )
    assert made.status_code == 201
    headers = {"Authorization": f"AppKey {made.json()['key']}"}
    assert wire("GET", f"{PUSH}/{pool}/jobs/", headers=headers).status_code == 200
    assert api.delete(f"/api/v1/keys/{made.json()['id']}").status_code in (200, 204)
    assert wire("GET", f"{PUSH}/{pool}/jobs/", headers=headers).status_code == 401


def test_a_key_that_may_only_read(wire: Wire, api: httpx.Client, pool: str) -> None:
    headers = {"Authorization": f"AppKey {new_key(api, 'application', ['read'])}"}
    job = create_job(api, pool, "T", type="REPLACE")["id"]
    assert json_200(wire("GET", f"{PUSH}/{pool}/jobs/", headers=headers))
    for method, path, body in (
        ("POST", f"{PUSH}/{pool}/jobs/", {"json": {"targetName": "T"}}),
        ("POST", f"{PUSH}/{pool}/jobs/{job}/chunks/upserted", {"files": {"file": ("f", b"")}}),
        ("POST", f"{PUSH}/{pool}/jobs/{job}", {}),
        ("DELETE", f"{PUSH}/{pool}/jobs/{job}", {}),
        ("POST", "/integration/api/pools", {"json": {"name": "P"}}),
    ):
        assert_reference(wire(method, path, headers=headers, **body), 403)


def test_a_key_of_another_pool(wire: Wire, api: httpx.Client, pool: str) -> None:
    """It neither pushes to this pool nor learns of it."""
    other = create_pool(api, "the only one")
    headers = {"Authorization": f"AppKey {new_key(api, 'application', ['push', 'read'], pools=[other])}"}
    reply = wire("POST", f"{PUSH}/{pool}/jobs/", json={"targetName": "T"}, headers=headers)
    assert reply.status_code in (403, 404)
    assert [p["id"] for p in json_200(wire("GET", "/integration/api/pools", headers=headers))] == [other]


# -- 404 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unknown", [NOBODY, "no-uuid", "%2e%2e", "a'b"])
def test_unknown_pool(api: httpx.Client, unknown: str) -> None:
    assert_reference(api.post(f"{PUSH}/{unknown}/jobs/", json={"targetName": "T"}), 404)
    assert_reference(api.get(f"{PUSH}/{unknown}/jobs/"), 404)
    assert_reference(api.get(f"/integration/api/pools/{unknown}"), 404)
    assert_reference(api.get(f"/integration/api/pools/{unknown}/tables"), 404)


@pytest.mark.parametrize("unknown", [NOBODY, "no-uuid", "a'b"])
def test_unknown_job(api: httpx.Client, pool: str, unknown: str) -> None:
    assert_reference(api.get(f"{PUSH}/{pool}/jobs/{unknown}"), 404)
    assert_reference(api.get(f"{PUSH}/{pool}/jobs/{unknown}/chunks"), 404)
    assert_reference(execute(api, pool, unknown), 404)
    assert_reference(add_chunk(api, pool, unknown, b"A\n1\n"), 404)
    assert_reference(add_chunk(api, pool, unknown, b"A\n1\n", "deleted"), 404)


def test_a_job_of_another_pool_is_unknown(api: httpx.Client, pool: str) -> None:
    job = create_job(api, pool, "T", type="REPLACE")["id"]
    other = create_pool(api)
    assert_reference(api.get(f"{PUSH}/{other}/jobs/{job}"), 404)
    assert_reference(add_chunk(api, other, job, parquet({"A": [1]})), 404)
    assert_reference(execute(api, other, job), 404)
    assert api.delete(f"{PUSH}/{other}/jobs/{job}").status_code in (200, 204, 404)
    assert json_200(api.get(f"{PUSH}/{pool}/jobs/{job}"))["status"] == "NEW"


# -- 400 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"targetName": "T", "keys": "ID"}']
)
def test_a_job_that_cannot_be_read(api: httpx.Client, pool: str, body: bytes) -> None:
    reply = api.post(f"{PUSH}/{pool}/jobs/", content=body, headers={"Content-Type": "application/json"})
    assert_validation(reply)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("targetName", None),
        ("targetName", ""),
        ("type", "SOMETHING"),
        ("fileType", "XLSX"),
        ("upsertStrategy", "GUESS"),
        ("keys", "ID"),
        ("fallbackVarcharLength", "long"),
        ("fallbackVarcharLength", 10**30),
        ("tableSchema", []),
    ],
)
def test_a_wrong_field_is_named(api: httpx.Client, pool: str, field: str, value: object) -> None:
    reply = api.post(f"{PUSH}/{pool}/jobs/", json={"targetName": "T", "type": "REPLACE", field: value})
    assert field in [error["attribute"] for error in assert_validation(reply)]


HALF = '"\\ud800"'
"""Half of a character: JSON can say it, UTF-8 cannot."""


@pytest.mark.parametrize(
    "fields",
    [
        f'"targetName": {HALF}',
        f'"targetName": "T", "keys": [{HALF}]',
        f'"targetName": "T", "foreignKeys": {HALF}',
        f'"targetName": "T", "mirrorTargetNames": [{HALF}]',
        f'"targetName": "T", "csvParsingOptions": {{"charSet": "UTF-8", "separatorSequence": {HALF}}}',
        f'"targetName": "T", "tableSchema": {{"columns": [{{"columnName": {HALF}}}]}}',
    ],
    ids=["name", "keys", "foreign keys", "mirrors", "csv", "column"],
)
def test_half_a_character_does_not_poison_the_list_of_jobs(api: httpx.Client, pool: str, fields: str) -> None:
    url = f"{PUSH}/{pool}/jobs/"
    reply = api.post(url, content=f"{{{fields}}}", headers={"Content-Type": "application/json"})
    assert_validation(reply)
    assert json_200(api.get(url)) == []


@pytest.mark.parametrize("fields", [f'"name": {HALF}', f'"name": "P", "description": {HALF}'])
def test_half_a_character_does_not_poison_the_list_of_pools(small: RunningServer, fields: str) -> None:
    """On a server of its own: the list is everybody's."""
    with small.client() as api:
        headers = {"Content-Type": "application/json"}
        reply = api.post("/integration/api/pools", content=f"{{{fields}}}", headers=headers)
        assert json_200(api.get("/integration/api/pools")) == []
        assert_validation(reply)


@pytest.mark.parametrize(
    "body", [{"name": 5}, {"name": "P", "id": 5}, {"name": "P", "id": "no uuid"}, [], None], ids=str
)
def test_a_pool_that_cannot_be(api: httpx.Client, body: object) -> None:
    assert_validation(api.post("/integration/api/pools", json=body))


def test_an_update_that_cannot_be(api: httpx.Client, pool: str) -> None:
    assert_validation(api.put(f"/integration/api/pools/{pool}", json={"name": 7}))
    assert isinstance(json_200(api.get(f"/integration/api/pools/{pool}"))["name"], str)


@pytest.mark.parametrize("field", ["tags", "locked", "contentVersion", "permissions"])
def test_a_pool_of_wrong_types_breaks_nobodys_list(api: httpx.Client, pool: str, field: str) -> None:
    """pycelonis lists all pools and raises when one of them has a field of another type."""
    api.put(f"/integration/api/pools/{pool}", json={"name": "P", field: "text"})
    assert_fits("pool", json_200(api.get(f"/integration/api/pools/{pool}")))


def test_an_unknown_connection(api: httpx.Client, pool: str) -> None:
    body = {"targetName": "T", "type": "REPLACE", "connectionId": NOBODY}
    reply = api.post(f"{PUSH}/{pool}/jobs/", json=body)
    assert reply.status_code in (400, 404)


@pytest.mark.parametrize(
    "bytes_", [b"not parquet at all", b"PAR1" + b"\0" * 40 + b"PAR1", parquet({"A": [1]})[:-9]], ids=range(3)
)
def test_a_chunk_that_is_no_parquet_is_refused_and_forgotten(
    api: httpx.Client, pool: str, bytes_: bytes
) -> None:
    job = create_job(api, pool, "T", type="REPLACE", fileType="PARQUET")["id"]
    assert_validation(add_chunk(api, pool, job, bytes_))
    assert json_200(api.get(f"{PUSH}/{pool}/jobs/{job}/chunks")) == []
    assert add_chunk(api, pool, job, parquet({"A": [1]})).status_code == 200
    execute(api, pool, job)
    assert wait_for_job(api, pool, job)["status"] == "DONE"


@pytest.mark.parametrize("kind", ["upserted", "deleted"])
@pytest.mark.parametrize(
    ("file_type", "data"), [("CSV", b"ID,B\n1,2\n"), ("PARQUET", parquet({"ID": [1], "B": [2]}))]
)
def test_keys_must_be_in_the_chunk(
    api: httpx.Client, pool: str, kind: str, file_type: str, data: bytes
) -> None:
    job = create_job(api, pool, "T", type="DELTA", fileType=file_type, keys=["ID", "MISSING"])["id"]
    errors = assert_validation(add_chunk(api, pool, job, data, kind))
    assert "MISSING" in str(errors)


@pytest.mark.parametrize(
    "spec", [{"type": "DELTA"}, {"type": "REPLACE", "keys": ["A"]}], ids=["no keys", "replace"]
)
def test_deleting_needs_a_delta_with_keys(api: httpx.Client, pool: str, spec: dict[str, Any]) -> None:
    job = create_job(api, pool, "T", **spec)["id"]
    assert_validation(add_chunk(api, pool, job, parquet({"A": [1]}), "deleted"))


@pytest.mark.parametrize("kind", ["upserted", "deleted"])
def test_no_chunk_once_the_job_is_executed(api: httpx.Client, pool: str, kind: str) -> None:
    job = run_job(api, pool, "T", [parquet({"A": [1]})], type="DELTA", keys=["A"])["id"]
    assert_validation(add_chunk(api, pool, job, parquet({"A": [2]}), kind))
    assert sql(api, pool, 'SELECT "A" FROM "T"') == [[1]]


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"", "multipart/form-data; boundary=x"),
        (b"--x--\r\n", "multipart/form-data; boundary=x"),
        (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nA\n1',
            "multipart/form-data; boundary=x",
        ),
        (b"", "text/csv"),
    ],
    ids=["empty form", "no part", "cut off", "empty body"],
)
def test_a_body_that_holds_no_chunk(api: httpx.Client, pool: str, content: bytes, content_type: str) -> None:
    job = create_job(api, pool, "T", type="REPLACE", fileType="CSV")["id"]
    url = f"{PUSH}/{pool}/jobs/{job}/chunks/upserted"
    assert_validation(api.post(url, content=content, headers={"Content-Type": content_type}))
    assert json_200(api.get(f"{PUSH}/{pool}/jobs/{job}/chunks")) == []


# -- 409 and 413 ---------------------------------------------------------------------------------------


def test_execute_twice(api: httpx.Client, pool: str) -> None:
    job = run_job(api, pool, "T", [parquet({"A": [1]})], type="DELTA")["id"]
    body = assert_reference(execute(api, pool, job), 409)
    assert isinstance(body["shortMessage"], str)
    assert sql(api, pool, 'SELECT count(*) FROM "T"') == [[1]]


def test_execute_many_times_at_once(api: httpx.Client, pool: str) -> None:
    job = create_job(api, pool, "T", type="DELTA")["id"]
    add_chunk(api, pool, job, parquet({"A": [1]}))
    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(lambda _: execute(api, pool, job).status_code, range(8)))
    assert sorted(statuses) == [200] + [409] * 7
    assert wait_for_job(api, pool, job)["status"] == "DONE"
    assert sql(api, pool, 'SELECT count(*) FROM "T"') == [[1]]


LARGE = b"A\n" + b"1\n" * (16 << 20)


@pytest.mark.parametrize(
    ("case", "status"), [("unknown key", 401), ("unknown job", 404), ("locked job", 400)]
)
def test_a_large_chunk_hears_why_it_is_refused(
    wire: Wire, api: httpx.Client, pool: str, case: str, status: int
) -> None:
    """The answer comes before the body has been read; the client must still get to see it."""
    job = run_job(api, pool, "T", [b"A\n1\n"], type="REPLACE", fileType="CSV")["id"]
    key = "AppKey nonsense" if case == "unknown key" else api.headers["Authorization"]
    path = f"{PUSH}/{pool}/jobs/{NOBODY if case == 'unknown job' else job}/chunks/upserted"
    headers = {"Authorization": key, "Content-Type": "text/csv"}
    reply = wire("POST", path, content=LARGE, headers=headers)
    assert (reply.status_code, bool(reply.text)) == (status, True)


@pytest.mark.parametrize("told", [True, False], ids=["with its length", "streamed"])
def test_a_chunk_that_is_too_large(small: RunningServer, told: bool) -> None:
    rows = b"A\n" + b"1\n" * 10_000
    with small.client() as api:
        pool = create_pool(api)
        job = create_job(api, pool, "T", type="REPLACE", fileType="CSV")["id"]
        url = f"{PUSH}/{pool}/jobs/{job}/chunks/upserted"
        content = rows if told else (rows[start : start + 1000] for start in range(0, len(rows), 1000))
        reply = api.post(url, content=content, headers={"Content-Type": "text/csv"})
        assert_reference(reply, 413)
        assert json_200(api.get(f"{PUSH}/{pool}/jobs/{job}/chunks")) == []
        assert add_chunk(api, pool, job, b"A\n1\n").status_code == 200


# -- ERROR ---------------------------------------------------------------------------------------------


def test_a_job_with_a_bad_row_leaves_the_table(api: httpx.Client, pool: str) -> None:
    columns = [{"columnName": "N", "columnType": "INTEGER"}]
    spec = {"type": "REPLACE", "fileType": "CSV", "tableSchema": {"tableName": "T", "columns": columns}}
    assert run_job(api, pool, "T", [b"N\n1\n"], **spec)["status"] == "DONE"

    job = run_job(api, pool, "T", [b"N\n2\n", b"N\n3\nthree\n"], **spec)

    assert job["status"] == "ERROR"
    logs = "\n".join(job["logs"])
    assert "three" in logs
    assert "INTEGER" in logs
    assert sql(api, pool, 'SELECT "N" FROM "T"') == [[1]]


def test_execute_without_a_chunk_ends(api: httpx.Client, pool: str) -> None:
    """Whatever it means, it ends in DONE or ERROR and says so."""
    job = create_job(api, pool, "T", type="DELTA")["id"]
    reply = execute(api, pool, job)
    if reply.status_code == 200:
        ended = wait_for_job(api, pool, job)
        assert ended["logs"]
    else:
        assert_validation(reply)


# -- the id of a request -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"), [("/api/v1/pools/x/jobs", 404), ("/api/v1/nothing", 404), ("/api/cloud", 200)]
)
def test_every_answer_has_an_id(api: httpx.Client, path: str, status: int) -> None:
    first, second = api.get(path), api.get(path)
    assert (first.status_code, second.status_code) == (status, status)
    assert uuid.UUID(first.headers["x-request-id"]) != uuid.UUID(second.headers["x-request-id"])
    if status != 200:
        assert first.json()["reference"] == first.headers["x-request-id"]
