"""Hooks of schemathesis: half of all calls are aimed at things that are there.

Ids that are drawn at random are answered with 404. What ``HEADRACE_FUZZ_WORLD`` names is put in their place
in every other call, and a job that may be filled is made for each call that needs one.
"""

from __future__ import annotations

import json
import os
from typing import Any
from zlib import crc32

import httpx
import schemathesis
from schemathesis.transport.serialization import Binary

WORLD: dict[str, str] = json.loads(os.environ.get("HEADRACE_FUZZ_WORLD", "{}"))

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")


def _made(path: str, **body: Any) -> str:
    """The id of something new in the pool of the world."""
    headers = {"Authorization": WORLD["authorization"]}
    reply = httpx.post(WORLD["url"] + path, json=body, headers=headers, trust_env=False)
    assert reply.status_code in (200, 201), reply.text
    return str(reply.json()["id"])


def _new_job(**spec: Any) -> str:
    path = f"/integration/api/v1/data-push/{WORLD['pool_id']}/jobs"
    return _made(path, targetName=WORLD["name"], fileType="CSV", type="DELTA", maxRejectedShare=1, **spec)


def _new_connection() -> str:
    return _made(f"/integration/api/pools/{WORLD['pool_id']}/data-sources", name="c")


def _new_upload(job_id: str) -> str:
    url = f"{WORLD['url']}/api/v1/pools/{WORLD['pool_id']}/jobs/{job_id}/uploads"
    headers = {"Authorization": WORLD["authorization"], "Tus-Resumable": "1.0.0", "Upload-Length": "9"}
    reply = httpx.post(url, headers=headers, trust_env=False)
    assert reply.status_code == 201, reply.text
    return reply.headers["Location"].rpartition("/")[2]


def _new_holder(path: str) -> str:
    """The id of a key, or of a client, that nobody uses."""
    of = "keys" if path.startswith("/api/v1/keys") else "clients"
    return _made(f"/api/v1/{of}", name="k", permissions=["read"])


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    sent = case.path_parameters or {}
    if _is_step_of_a_chain(case) or crc32(repr(sorted(sent.items())).encode()) % 2 == 0:
        _spare_the_world(sent, case.method)
    else:
        _aim_at_the_world(sent, case.method, case.path)
        _make_sense(case)


def _is_step_of_a_chain(case: Any) -> bool:
    return case.meta is not None and case.meta.phase.name.value == "stateful"


def _spare_the_world(sent: dict[str, Any], method: str) -> None:
    """Whoever deletes the pool, or changes the key that all calls are made with, finds nothing."""
    for name in ("pool_id", "connection_id", "job_id"):
        if method == "DELETE" and sent.get(name) == WORLD[name]:
            sent[name] = "none"
    if method != "GET" and sent.get("key_id") == WORLD["key_id"]:
        sent["key_id"] = "none"


def _aim_at_the_world(sent: dict[str, Any], method: str, path: str) -> None:
    for name in ("pool_id", "connection_id", "name"):
        if name in sent:
            sent[name] = WORLD[name]
    if method == "DELETE" and "connection_id" in sent:
        sent["connection_id"] = _new_connection()
    elif method == "DELETE" and "job_id" not in sent:
        _spare_the_world(sent, method)
    if "key_id" in sent:
        sent["key_id"] = _new_holder(path)
    if "job_id" in sent and "upload_id" in sent:
        sent["job_id"] = _new_job()
        sent["upload_id"] = _new_upload(sent["job_id"])
    elif "job_id" in sent:
        keys = ["a"] if path.endswith("deleted") else None
        as_it_is = method == "GET" or path.endswith("/replay")
        sent["job_id"] = WORLD["job_id"] if as_it_is else _new_job(keys=keys)


def _make_sense(case: Any) -> None:
    """Random SQL is refused by its grammar, and random bytes have no header: these go further."""
    if case.path.endswith("/columns") and isinstance(case.query, dict):
        case.query["tableName"] = WORLD["name"]
    if case.path.endswith("/sql") and isinstance(case.body, dict):
        case.body["sql"] = f"SELECT * FROM {WORLD['name']}"
    if "/uploads" in case.path and case.method != "OPTIONS":
        case.headers["Tus-Resumable"] = "1.0.0"
    if "/chunks" in case.path and case.method == "POST":
        case.body = _with_a_header(case.body)


def _with_a_header(body: Any) -> Any:
    if isinstance(body, Binary):
        return Binary(b"a,b\n" + body.data)
    return (
        {**body, "file": _with_a_header(body["file"])} if isinstance(body, dict) and "file" in body else body
    )
