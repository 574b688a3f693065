"""Real answers fit the shapes that the OpenAPI document tells, and it tells them for every route."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter

from harness import PUSH, RunningServer, add_chunk, create_job, execute, held, run_job
from headrace.web.answers import Problem
from headrace.web.description import TOLD, operation_id
from headrace.web.routes import OPEN, ROUTES, TEST_ROUTES
from headrace.web.wire import ErrorsAnswer, ReferenceAnswer


@pytest.fixture(scope="module")
def document(api: httpx.Client) -> dict[str, Any]:
    reply = api.get("/openapi.json")
    assert reply.status_code == 200
    told: dict[str, Any] = reply.json()
    return told


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_route_is_told(document: dict[str, Any]) -> None:
    told = {(method, path) for method, path, _ in operations(document)}
    assert told == {(r.method, r.path.replace(":part", "")) for r in ROUTES}
    assert TOLD.keys() == {r.handler for r in (*ROUTES, *TEST_ROUTES)}


def test_every_operation_has_a_name_of_its_own(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)


def test_links_lead_to_operations_and_give_them_parameters(document: dict[str, Any]) -> None:
    by_name = {operation["operationId"]: operation for _, _, operation in operations(document)}
    links = [
        link
        for operation in by_name.values()
        for answer in operation["responses"].values()
        for link in answer.get("links", {}).values()
    ]
    assert len(links) > 20
    for link in links:
        known = {parameter["name"] for parameter in by_name[link["operationId"]]["parameters"]}
        assert link["parameters"].keys() <= known


def test_every_answer_has_a_shape_or_no_body(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        for status, answer in operation["responses"].items():
            for content in answer.get("content", {}).values():
                assert content["schema"] or path.endswith(("/data-models", "/variables")), (
                    method,
                    path,
                    status,
                )


def test_references_are_there(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    names = set(re.findall(r"#/components/schemas/([\w-]+)", text))
    assert names <= document["components"]["schemas"].keys()
    assert "HTTPValidationError" not in text


def test_who_needs_a_key_is_told(document: dict[str, Any]) -> None:
    open_paths = {r.path for r in ROUTES if r.needs == OPEN}
    for _, path, operation in operations(document):
        assert ("security" in operation) == (path not in open_paths)
        with_credentials = path not in open_paths or path == "/oauth2/token"
        assert ("401" in operation["responses"]) == with_credentials


# -- real answers --------------------------------------------------------------------------------------


OF_A_KEY = (
    ("get", "GET", ""),
    ("rotate", "POST", "/rotate"),
    ("disable", "POST", "/disable"),
    ("enable", "POST", "/enable"),
)


def test_real_answers_fit(api: httpx.Client, pool: str, server: RunningServer) -> None:
    """Of every route that answers JSON, with as many of its fields filled as one push can fill."""
    pools, jobs, ours = "/integration/api/pools", f"{PUSH}/{pool}/jobs", f"/api/v1/pools/{pool}"
    api.put(
        f"{pools}/{pool}",
        json={"name": "p", "description": "d", "tags": [{"name": "t"}], "contentVersion": 1},
    )
    connection = api.post(f"{pools}/{pool}/data-sources", json={"name": "c", "metadata": {"a": [1]}})
    there = f"{pools}/{pool}/data-sources/{connection.json()['id']}"
    columns = [
        {"columnName": "a", "columnType": "INTEGER"},
        {"columnName": "b", "columnType": "STRING", "fieldLength": 9},
    ]
    options = {
        "dateFormat": "yyyy",
        "additionalColumnOptions": [{"columnName": "a", "decimalSeparator": ","}],
    }
    spec = {
        "type": "DELTA",
        "fileType": "CSV",
        "keys": ["a"],
        "tableSchema": {"tableName": "t", "columns": columns},
        "csvParsingOptions": options,
        "connectionId": connection.json()["id"],
        "upsertStrategy": "UPSERT_WITH_NULLIFICATION",
        "mirrorTargetNames": ["m"],
        "foreignKeys": "f",
        "postExecutionQuery": "q",
        "fallbackVarcharLength": 5,
        "maxRejectedRows": 1,
    }
    chunks = [b"a,b\n1,x\n2,y\nbad,z\n", ("deleted", b"a\n2\n")]
    job = run_job(api, pool, "t", chunks, {"duplicateRemovalColumn": "b"}, **spec)["id"]
    new = create_job(api, pool, "u", fileType="CSV")["id"]
    assert add_chunk(api, pool, new, b"a\n1\n").status_code == 200
    key = api.post(
        "/api/v1/keys",
        json={"name": "k", "permissions": ["push"], "pools": [pool], "expiresAt": "2099-01-01"},
    )
    client, also = (
        api.post("/api/v1/clients", json={"name": n, "permissions": ["push"]}) for n in ("c", "d")
    )
    holder = also.json()
    other = create_job(api, pool, "w", fileType="CSV", type="DELTA")["id"]
    table = f"connection={connection.json()['id']}"
    last = run_job(api, pool, "last", [b"a\n1\n"], fileType="CSV")["id"]
    failing = {**spec, "connectionId": None, "mirrorTargetNames": None, "maxRejectedRows": 0}
    failed = run_job(api, pool, "failed", [b"a\nx\n"], **failing)
    assert failed["status"] == "ERROR", failed
    first, waits = (create_job(api, pool, "held", fileType="CSV")["id"] for _ in range(2))
    with held(server, pool):
        for queued in (first, waits):
            add_chunk(api, pool, queued, b"a\n1\n")
            execute(api, pool, queued)
        cancelled = api.post(f"{ours}/jobs/{waits}/cancel")
    answers = {
        "vendor.create_job": api.post(jobs, json={"targetName": "t", **spec}),
        "vendor.list_jobs": api.get(jobs),
        "vendor.get_job": api.get(f"{jobs}/{job}"),
        "vendor.list_chunks": api.get(f"{jobs}/{job}/chunks"),
        "vendor.cloud": api.get("/api/cloud"),
        "vendor.permissions": api.get("/api/cloud/permissions"),
        "vendor.team": api.get("/api/team"),
        "vendor.list_pools": api.get(pools),
        "vendor.create_pool": api.post(pools, json={"name": "q"}),
        "vendor.paged_pools": api.get(f"{pools}/paged"),
        "vendor.get_pool": api.get(f"{pools}/{pool}"),
        "vendor.update_pool": api.put(f"{pools}/{pool}", json={"name": "r"}),
        "vendor.list_connections": api.get(f"{pools}/{pool}/data-sources"),
        "vendor.create_connection": connection,
        "vendor.get_connection": api.get(there),
        "vendor.search_tables": api.get(f"{there}/search-tables"),
        "vendor.list_tables": api.get(f"{pools}/{pool}/tables"),
        "vendor.list_columns": api.get(
            f"{pools}/{pool}/columns?tableName=t&schemaName={connection.json()['id']}"
        ),
        "vendor.nothing": api.get(f"{pools}/{pool}/variables"),
        "api.list_jobs": api.get(f"{ours}/jobs"),
        "api.get_job": api.get(f"{ours}/jobs/{job}"),
        "api.put_schema": api.put(f"{ours}/jobs/{new}/schema", json={"columns": columns}),
        "api.push_chunk": api.post(f"{ours}/jobs/{new}/chunks", content=b"a,b\n1,x\n"),
        "jobs.create_job": api.post(f"{ours}/jobs", json={"targetName": "t", **spec}),
        "jobs.get_rejects": api.get(f"{ours}/jobs/{job}/rejects"),
        "jobs.execute_job": api.post(f"{ours}/jobs/{other}/execute"),
        "jobs.replay_rejects": api.post(
            f"{ours}/jobs/{job}/rejects/replay", json={"tableSchema": {"columns": columns[1:]}}
        ),
        "ends.cancel_job": cancelled,
        "ends.clone_job": api.post(f"{ours}/jobs/{job}/clone", json={"targetName": "v"}),
        "ends.undo_job": api.post(f"{ours}/jobs/{last}/undo"),
        "ends.retry_job": api.post(f"{ours}/jobs/{failed['id']}/retry"),
        "api.run_query": api.post(
            f"{ours}/sql", json={"sql": f'SELECT * FROM "{connection.json()["id"]}".t'}
        ),
        "api.list_tables": api.get(f"{ours}/tables"),
        "api.maintain_pool": api.post(f"{ours}/upkeep"),
        "api.foresee_retention": api.get("/api/v1/gc"),
        "api.run_retention": api.post("/api/v1/gc"),
        "api.get_table": api.get(f"{ours}/tables/t?{table}"),
        "keys.list_keys": api.get("/api/v1/keys"),
        "keys.create_key": key,
        **{
            f"keys.{what}_key": api.request(method, f"/api/v1/keys/{key.json()['id']}{rest}")
            for what, method, rest in OF_A_KEY
        },
        "keys.list_clients": api.get("/api/v1/clients"),
        "keys.create_client": client,
        **{
            f"keys.{what}_client": api.request(method, f"/api/v1/clients/{client.json()['id']}{rest}")
            for what, method, rest in OF_A_KEY
        },
        "keys.explain_permission": api.get(f"/api/v1/permissions/explain?action=push&pool={pool}"),
        "audit.read_audit": api.get("/api/v1/audit"),
        "oauth.create_token": api.post(
            "/oauth2/token",
            data={"grant_type": "client_credentials"},
            auth=(holder["clientId"], holder["clientSecret"]),
        ),
        "oauth.list_signing_keys": api.get("/oauth2/jwks"),
        "oauth.describe_oauth": api.get("/.well-known/oauth-authorization-server"),
        "api.healthz": api.get("/healthz"),
        "api.readyz": api.get("/readyz"),
    }
    usual = {route.handler for route in ROUTES}  # the others are there on request alone
    told = {operation_id(handler): told for handler, told in TOLD.items() if handler in usual}
    assert answers.keys() == {name for name, t in told.items() if t.answer is not None}
    for name, reply in answers.items():
        assert reply.status_code == told[name].status, (name, reply.text)
        assert TypeAdapter(told[name].answer).validate_json(reply.content) or name == "vendor.nothing", name
    assert answers["jobs.get_rejects"].json()
    dry = api.post(f"{ours}/jobs/{new}/execute?dryRun=true")
    assert TypeAdapter(told["jobs.execute_job"].also[200]).validate_json(dry.content), dry.text


def test_errors_fit(api: httpx.Client, pool: str) -> None:
    for shape, reply in (
        (ErrorsAnswer, api.post(f"{PUSH}/{pool}/jobs", json={})),
        (ReferenceAnswer, api.get(f"{PUSH}/{pool}/jobs/none")),
        (ReferenceAnswer, api.get("/api/cloud", headers={"Authorization": ""})),
        (Problem, api.get(f"/api/v1/pools/{pool}/jobs/none")),
        (Problem, api.post(f"/api/v1/pools/{pool}/sql", json={})),
    ):
        assert reply.status_code >= 400
        shape.model_validate_json(reply.content)
