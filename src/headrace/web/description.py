"""What the OpenAPI document says of each route: its answers, its errors, and what may be called next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI

from headrace import errors
from headrace.errors import HeadraceError
from headrace.web import answers, api, audit, ends, faults, jobs, keys, oauth, uploads, vendor, wire
from headrace.web.errors import is_ours


@dataclass(frozen=True)
class Told:
    """``answer`` is the type of a route's JSON, None: an empty body. ``files``: the media types of files.

    ``also`` are the types of other statuses whose answers are not like everybody's. ``then`` are calls that
    make sense next: a handler, and where its parameters come from.
    """

    answer: Any = None
    status: int = 200
    files: tuple[str, ...] = ()
    also: Mapping[int, Any] = field(default_factory=dict)
    errors: tuple[type[HeadraceError], ...] = ()
    then: tuple[tuple[Callable[..., Any], Mapping[str, str]], ...] = field(default=())


_CSV = "text/csv"
_POOL = {"pool_id": "$request.path.pool_id"}
_JOB = {**_POOL, "job_id": "$request.path.job_id"}
_NEW_JOB = {**_POOL, "job_id": "$response.body#/id"}
_NEW_POOL = {"pool_id": "$response.body#/id"}
_NEW_KEY = {"key_id": "$response.body#/id"}
_NEW_CONNECTION = {**_POOL, "connection_id": "$response.body#/id"}

_OF_AN_UPLOAD = (
    errors.UnknownTus,
    errors.WrongMediaType,
    errors.UploadLocked,
    errors.ChecksumMismatch,
    errors.KeyReused,
)

TOLD: dict[Callable[..., Any], Told] = {
    vendor.create_job: Told(
        wire.JobAnswer,
        errors=(errors.KeyReused,),
        then=(
            (vendor.push_upserted, _NEW_JOB),
            (vendor.push_deleted, _NEW_JOB),
            (vendor.execute_job, _NEW_JOB),
            (vendor.get_job, _NEW_JOB),
            (vendor.delete_job, _NEW_JOB),
            (api.get_job, _NEW_JOB),
            (jobs.get_rejects, _NEW_JOB),
        ),
    ),
    vendor.list_jobs: Told(list[wire.JobAnswer]),
    vendor.get_job: Told(wire.JobAnswer),
    vendor.execute_job: Told(
        errors=(errors.TooManySubmissions, errors.KeyReused),
        then=((vendor.get_job, _JOB), (vendor.list_chunks, _JOB), (api.list_tables, _POOL)),
    ),
    vendor.delete_job: Told(then=((api.get_job, _JOB),)),
    vendor.list_chunks: Told(list[wire.PushedChunkAnswer]),
    vendor.push_upserted: Told(
        errors=(errors.KeyReused,), then=((vendor.list_chunks, _JOB), (vendor.execute_job, _JOB))
    ),
    vendor.push_deleted: Told(
        errors=(errors.KeyReused,), then=((vendor.list_chunks, _JOB), (vendor.execute_job, _JOB))
    ),
    vendor.cloud: Told(wire.UserAnswer),
    vendor.permissions: Told(list[wire.PermissionsAnswer]),
    vendor.team: Told(wire.TeamAnswer),
    vendor.list_pools: Told(list[wire.PoolAnswer]),
    vendor.create_pool: Told(
        wire.PoolAnswer,
        then=(
            (vendor.create_job, _NEW_POOL),
            (vendor.create_connection, _NEW_POOL),
            (vendor.list_tables, _NEW_POOL),
            (vendor.list_columns, _NEW_POOL),
            (vendor.get_pool, _NEW_POOL),
            (vendor.update_pool, _NEW_POOL),
            (vendor.delete_pool, _NEW_POOL),
            (vendor.nothing, _NEW_POOL),
            (api.list_jobs, _NEW_POOL),
            (api.run_query, _NEW_POOL),
            (api.get_table, _NEW_POOL),
            (api.export_table, _NEW_POOL),
        ),
    ),
    vendor.paged_pools: Told(wire.PoolPageAnswer),
    vendor.get_pool: Told(wire.PoolAnswer),
    vendor.update_pool: Told(wire.PoolAnswer),
    vendor.delete_pool: Told(),
    vendor.list_connections: Told(list[wire.ConnectionAnswer]),
    vendor.create_connection: Told(
        wire.ConnectionAnswer,
        then=(
            (vendor.get_connection, _NEW_CONNECTION),
            (vendor.search_tables, _NEW_CONNECTION),
            (vendor.delete_connection, _NEW_CONNECTION),
        ),
    ),
    vendor.get_connection: Told(wire.ConnectionAnswer),
    vendor.delete_connection: Told(),
    vendor.search_tables: Told(wire.FoundTablesAnswer),
    vendor.list_tables: Told(list[wire.PoolTableAnswer]),
    vendor.list_columns: Told(list[wire.PoolColumnAnswer]),
    vendor.nothing: Told(list[Any]),
    api.list_jobs: Told(list[answers.OwnJobAnswer]),
    api.get_job: Told(answers.WholeJobAnswer),
    api.put_schema: Told(answers.WholeJobAnswer),
    jobs.create_job: Told(
        answers.WholeJobAnswer,
        status=201,
        errors=(errors.KeyReused,),
        then=(
            (api.push_chunk, _NEW_JOB),
            (api.put_schema, _NEW_JOB),
            (jobs.execute_job, _NEW_JOB),
            (jobs.replay_rejects, _NEW_JOB),
        ),
    ),
    jobs.execute_job: Told(
        answers.WholeJobAnswer,
        status=202,
        also={200: answers.OutlookAnswer},
        errors=(errors.TooManySubmissions, errors.Busy, errors.KeyReused),
        then=(
            (api.get_job, _JOB),
            (jobs.get_rejects, _JOB),
            (jobs.replay_rejects, _JOB),
            (ends.cancel_job, _JOB),
            (ends.undo_job, _JOB),
        ),
    ),
    ends.cancel_job: Told(
        answers.WholeJobAnswer,
        also={202: answers.WholeJobAnswer},
        then=((api.get_job, _JOB), (ends.retry_job, _JOB)),
    ),
    ends.retry_job: Told(
        answers.WholeJobAnswer,
        status=201,
        errors=(errors.TooManySubmissions,),
        then=((api.get_job, _NEW_JOB), (ends.cancel_job, _NEW_JOB), (ends.undo_job, _NEW_JOB)),
    ),
    ends.clone_job: Told(
        answers.WholeJobAnswer, status=201, then=((api.push_chunk, _NEW_JOB), (api.get_job, _NEW_JOB))
    ),
    ends.undo_job: Told(
        answers.UndoingAnswer, errors=(errors.Busy,), then=((api.get_job, _JOB), (api.list_tables, _POOL))
    ),
    jobs.get_rejects: Told(list[answers.RejectAnswer], files=(_CSV,)),
    jobs.replay_rejects: Told(
        answers.WholeJobAnswer,
        status=201,
        errors=(errors.TooManySubmissions,),
        then=((api.get_job, _NEW_JOB),),
    ),
    api.run_query: Told(answers.QueryAnswer, errors=(errors.QueryTooLong,)),
    api.list_tables: Told(list[answers.TableAnswer]),
    api.maintain_pool: Told(list[answers.TableAnswer]),
    api.foresee_retention: Told(list[answers.GoneAnswer]),
    api.run_retention: Told(list[answers.GoneAnswer]),
    api.get_table: Told(answers.WholeTableAnswer),
    api.export_table: Told(files=tuple(api.MEDIA_TYPES.values()), errors=(errors.QueryTooLong,)),
    api.cancel_query: Told(status=204),
    api.push_chunk: Told(
        answers.ChunkAnswer,
        status=201,
        errors=(errors.KeyReused,),
        then=((vendor.list_chunks, _JOB), (vendor.execute_job, _JOB)),
    ),
    uploads.uploads_options: Told(status=204),
    uploads.create_upload: Told(status=201, errors=_OF_AN_UPLOAD),
    uploads.find_upload: Told(errors=_OF_AN_UPLOAD),
    uploads.patch_upload: Told(status=204, errors=_OF_AN_UPLOAD, then=((vendor.list_chunks, _JOB),)),
    uploads.end_upload: Told(status=204, errors=_OF_AN_UPLOAD),
    keys.create_key: Told(
        answers.NewKeyAnswer,
        status=201,
        then=(
            (keys.get_key, _NEW_KEY),
            (keys.rotate_key, _NEW_KEY),
            (keys.disable_key, _NEW_KEY),
            (keys.enable_key, _NEW_KEY),
            (keys.revoke_key, _NEW_KEY),
        ),
    ),
    keys.list_keys: Told(list[answers.KeyAnswer]),
    keys.get_key: Told(answers.KeyAnswer),
    keys.rotate_key: Told(answers.NewKeyAnswer),
    keys.disable_key: Told(answers.KeyAnswer),
    keys.enable_key: Told(answers.KeyAnswer),
    keys.revoke_key: Told(status=204),
    keys.create_client: Told(
        answers.NewClientAnswer,
        status=201,
        then=(
            (keys.get_client, _NEW_KEY),
            (keys.rotate_client, _NEW_KEY),
            (keys.disable_client, _NEW_KEY),
            (keys.enable_client, _NEW_KEY),
            (keys.revoke_client, _NEW_KEY),
        ),
    ),
    keys.list_clients: Told(list[answers.KeyAnswer]),
    keys.get_client: Told(answers.KeyAnswer),
    keys.rotate_client: Told(answers.NewClientAnswer),
    keys.disable_client: Told(answers.KeyAnswer),
    keys.enable_client: Told(answers.KeyAnswer),
    keys.revoke_client: Told(status=204),
    keys.explain_permission: Told(answers.ExplanationAnswer, errors=(errors.NotFound,)),
    audit.read_audit: Told(list[answers.AuditAnswer], files=(_CSV, "application/x-ndjson")),
    oauth.create_token: Told(
        answers.TokenAnswer,
        also={
            400: answers.TokenRefusedAnswer | wire.ErrorsAnswer,
            401: answers.TokenRefusedAnswer,
        },
    ),
    oauth.list_signing_keys: Told(answers.SigningKeysAnswer),
    oauth.describe_oauth: Told(answers.OAuthAnswer),
    faults.list_faults: Told(list[faults.FaultAnswer]),
    faults.add_fault: Told(faults.FaultAnswer, status=201),
    faults.clear_faults: Told(status=204),
    faults.mark: Told(status=204),
    faults.reset: Told(status=204),
    api.metrics: Told(files=("text/plain",)),
    api.healthz: Told(answers.HealthAnswer),
    api.readyz: Told(answers.ReadyAnswer),
}
"""Every handler, with what it answers. A route without a line here stops the server."""

_ANY_REQUEST = (
    errors.InvalidRequest,
    errors.TooSlow,
    errors.TooLarge,
    errors.HeadersTooLarge,
    errors.Internal,
    errors.Overloaded,
    errors.Forbidden,
)

_RETRY_AFTER = {"Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}}
_FILE = {"schema": {"type": "string", "format": "binary"}}


def responses(handler: Callable[..., Any], path: str, method: str, *, has_key: bool) -> dict[int | str, Any]:
    """The answers of a route, and every error that it may answer with."""
    told = TOLD[handler]
    answer: dict[str, Any] = {"description": "It is done."}
    if told.files:
        answer["content"] = dict.fromkeys(told.files, _FILE)
    if told.answer is not None:
        answer["model"] = told.answer
    if told.then:
        answer["links"] = {operation_id(h): _link(h, parameters) for h, parameters in told.then}
    documented: dict[int | str, Any] = {told.status: answer}
    for status, model in told.also.items():
        documented[status] = {"description": "It is told.", "model": model}
    kinds: list[type[HeadraceError]] = [*_ANY_REQUEST, *told.errors]
    kinds += [errors.Unauthorized] if has_key else []
    kinds += [errors.NotFound] if "{" in path else []
    kinds += [errors.Conflict, errors.DiskFull, errors.DiskFailed] if method != "GET" else []
    for kind in kinds:
        documented.setdefault(kind.status, _error(kind, path))
    return documented


def operation_id(handler: Callable[..., Any]) -> str:
    """``vendor.list_jobs`` and ``api.list_jobs`` are two."""
    return f"{handler.__module__.rpartition('.')[2]}.{handler.__name__}"


def _link(handler: Callable[..., Any], parameters: Mapping[str, str]) -> dict[str, Any]:
    return {"operationId": operation_id(handler), "parameters": dict(parameters)}


def _error(kind: type[HeadraceError], path: str) -> dict[str, Any]:
    told: dict[str, Any] = {"description": (kind.__doc__ or "").strip().splitlines()[0]}
    if kind.status in (429, 503):
        told["headers"] = _RETRY_AFTER
    if is_ours(path):
        schema = {"$ref": f"#/components/schemas/{answers.Problem.__name__}"}
        return {**told, "content": {"application/problem+json": {"schema": schema}}}
    bad = kind.status == errors.InvalidRequest.status
    return {**told, "model": wire.ErrorsAnswer if bad else wire.ReferenceAnswer}


def describe(app: FastAPI, *, open_paths: Iterable[str]) -> dict[str, Any]:
    """The document: the framework's, with our errors in the place of its own, and with the keys."""
    document = app.openapi()
    components = document["components"]
    if "securitySchemes" in components:
        return document  # the framework keeps it
    components["schemas"][answers.Problem.__name__] = answers.Problem.model_json_schema()
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _drop_the_422_of_the_framework(operation["responses"])
            if path not in open_paths:
                operation["security"] = [{"key": []}]
    components["securitySchemes"] = {"key": _KEY}
    return document


_KEY = {
    "type": "apiKey",
    "in": "header",
    "name": "Authorization",
    "description": "AppKey <application key>, or Bearer <personal key>",
}


def _drop_the_422_of_the_framework(told: dict[str, Any]) -> None:
    """It adds one to every route; where a request is wrong, we answer 400."""
    content = told.get("422", {}).get("content", {}).get("application/json", {})
    if content.get("schema", {}).get("$ref", "").endswith("/HTTPValidationError"):
        del told["422"]
