"""What pycelonis 2.x sends and reads: every field of a transport, mostly null, and strict replies."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import httpx
import pandas as pd

from contract.sending import json_200
from harness import FINAL, RunningServer, wait_for


def _words(text: str) -> list[str]:
    return text.split()


JOB_FIELDS = _words(
    "id targetName lastModified lastPing status type fileType targetSchema upsertStrategy "
    "fallbackVarcharLength dataPoolId connectionId postExecutionQuery allowDuplicate foreignKeys keys logs "
    "tableSchema csvParsingOptions mirrorTargetNames changeDate"
)
EARLIER_JOB_FIELDS = [*JOB_FIELDS, "tenantId", "sanitizedPostExecutionQuery", "optionalTenantId"]
POOL_FIELDS = _words(
    "permissions id name description timeStamp configurationStatus locked contentId contentVersion tags "
    "originalId monitoringTarget customMonitoringTarget customMonitoringTargetActive exported "
    "monitoringMessageColumnsMigrated creatorUserId objectId"
)
COLUMN_FIELDS = _words("columnName columnType fieldLength decimals pkField")

NEW_BASE = "/data-ingestion/api/v1/data-push"
EARLIER_BASE = "/integration/api/v1/data-push"

_TYPES: dict[str, dict[type, list[str]]] = {
    "user": {
        str: _words(
            "id email name teamName teamId teamDomain apiToken token language avatarUrl notificationsTime "
            "timeZone nameOrEmail nameAndEmail"
        ),
        int: _words("role effectiveRole"),
        bool: _words("active accountCreated current backendAccess cloudAdmin admin member analyst"),
        list: ["groupIds"],
    },
    "team": {
        str: _words("id name domain privacyType allowedDomain termsOfUseUrl permissionsManagementMode"),
        int: _words(
            "memberLimit tableRowsLimit dataPushJobSubmissionLimitPerSec dataPushJobSubmissionLimitPerHour"
        ),
        bool: _words("trackingEnabled unlimitedDataPushJobSubmissions active visible"),
    },
    "pool": {
        str: _words("id name description configurationStatus contentId originalId creatorUserId objectId"),
        int: _words("contentVersion timeStamp"),
        bool: _words("locked exported monitoringTarget customMonitoringTarget"),
        list: _words("permissions tags"),
    },
    "source": {
        str: _words(
            "id name poolId type metadata uplinkId uplinkName signature internalSystemId targetSchemaName "
            "anonymizationAlgorithm saltId customExtractorId customExtractorName creatorUserId "
            "creatorUsername normalizedName parameterName"
        ),
        int: ["extractorPort"],
        bool: _words("connected locked useUplink exported imported configured reachableAndValid"),
        list: ["configuration"],
    },
    "table": {
        str: _words("name loaderSource dataSourceId dataSourceName type schemaName"),
        bool: ["available"],
        list: ["columns"],
    },
    "column": {str: _words("name type"), int: ["length"]},
    "job": {
        str: _words(
            "id targetName status type fileType targetSchema upsertStrategy dataPoolId connectionId "
            "postExecutionQuery foreignKeys"
        ),
        int: _words("fallbackVarcharLength lastModified lastPing changeDate"),
        bool: ["allowDuplicate"],
        list: _words("keys logs mirrorTargetNames"),
    },
    "chunk": {str: _words("id type pushJobId checksum"), int: ["creationDate"]},
}


def assert_fits(transport: str, reply: dict[str, Any]) -> None:
    """The types that the pydantic models insist on, null always aside; one wrong field fails the call."""
    for kind, fields in _TYPES[transport].items():
        for field in fields:
            value = reply.get(field)
            assert value is None or type(value) is kind, f"{transport}.{field} is {value!r}"


def transport(fields: Sequence[str], **values: Any) -> dict[str, Any]:
    """All fields, the unset ones as null."""
    assert set(values) <= set(fields)
    return {field: values.get(field) for field in fields}


def column(name: str, kind: str | None = None, **more: Any) -> dict[str, Any]:
    return transport(COLUMN_FIELDS, columnName=name, columnType=kind, **more)


def chunk(frame: pd.DataFrame) -> bytes:
    """pandas and pyarrow: snappy, INT96 timestamps, no index."""
    file = io.BytesIO()
    frame.to_parquet(file, engine="pyarrow", use_deprecated_int96_timestamps=True, index=False)
    return file.getvalue()


class PyCelonis:
    def __init__(self, server: RunningServer, authorization: str, base: str = NEW_BASE) -> None:
        headers = {"user-agent": "pycelonis/2.14.1", "authorization": authorization}
        self.client = server.client(headers=headers, follow_redirects=True)
        self.base = base
        self.job_fields = JOB_FIELDS if base == NEW_BASE else EARLIER_JOB_FIELDS

    def __enter__(self) -> PyCelonis:
        return self

    def __exit__(self, *exc: object) -> None:
        self.client.close()

    def get(self, path: str, **params: str) -> Any:
        return json_200(self.client.get(path, params=params))

    def create_pool(self, name: str) -> dict[str, Any]:
        pool: dict[str, Any] = json_200(
            self.client.post("/integration/api/pools", json=transport(POOL_FIELDS, name=name))
        )
        assert isinstance(pool["id"], str)
        return pool

    def tables(self, pool: str) -> list[dict[str, Any]]:
        tables: list[dict[str, Any]] = self.get(f"/integration/api/pools/{pool}/tables")
        assert all(isinstance(table["name"], str) for table in tables)
        return tables

    def table(self, pool: str, name: str, connection: str | None = None) -> dict[str, Any]:
        """As ``get_table``: by name without regard to case and by connection."""
        found = [
            t
            for t in self.tables(pool)
            if t["name"].casefold() == name.casefold() and t["dataSourceId"] == connection
        ]
        assert found, f"PyCelonisNotFoundError: {name}"
        return found[0]

    def create_job(
        self, pool: str, target: str, columns: list[dict[str, Any]] | None = None, **more: Any
    ) -> str:
        schema = None if columns is None else {"tableName": target, "columns": columns}
        body = transport(self.job_fields, targetName=target, dataPoolId=pool, tableSchema=schema, **more)
        job = json_200(self.client.post(f"{self.base}/{pool}/jobs/", json=body))
        self.assert_job(job, pool)
        return str(job["id"])

    def assert_job(self, job: dict[str, Any], pool: str) -> None:
        assert_fits("job", job)
        assert isinstance(job["id"], str)
        assert job["dataPoolId"] == pool
        assert job["status"] in ("NEW", "QUEUED", "RUNNING", "DONE", "ERROR")

    def add_chunk(self, pool: str, job: str, data: bytes, kind: str = "upserted") -> httpx.Response:
        return self.client.post(
            f"{self.base}/{pool}/jobs/{job}/chunks/{kind}",
            files={"file": ("file", io.BytesIO(data), "application/octet-stream")},
        )

    def status(self, pool: str, job: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.get(f"{self.base}/{pool}/jobs/{job}")
        self.assert_job(shown, pool)
        return shown

    def execute(self, pool: str, job: str) -> dict[str, Any]:
        """As ``execute``: only a NEW job, then polled until DONE or ERROR, then read once more."""
        assert self.status(pool, job)["status"] == "NEW"
        reply = self.client.post(f"{self.base}/{pool}/jobs/{job}")
        assert reply.status_code < 300, reply.text
        wait_for(lambda: self.status(pool, job)["status"] in FINAL, 60, "the end of the push")
        return self.status(pool, job)

    def delete_job(self, pool: str, job: str) -> None:
        assert self.client.delete(f"{self.base}/{pool}/jobs/{job}").status_code < 300

    def push(
        self, pool: str, target: str, frame: pd.DataFrame, rows_per_chunk: int = 100_000, **more: Any
    ) -> None:
        """One job from creation to deletion."""
        job = self.create_job(pool, target, **more)
        for start in range(0, len(frame), rows_per_chunk):
            reply = self.add_chunk(pool, job, chunk(frame.iloc[start : start + rows_per_chunk]))
            assert reply.status_code < 300, reply.text
        ended = self.execute(pool, job)
        self.delete_job(pool, job)
        assert ended["status"] == "DONE", "\n".join(ended["logs"] or [])

    def create_table(self, pool: str, name: str, frame: pd.DataFrame, **more: Any) -> dict[str, Any]:
        """As ``create_table``: push with REPLACE, delete the job, then look the table up."""
        self.tables(pool)
        self.push(pool, name, frame, type="REPLACE", **more)
        return self.table(pool, name, more.get("connectionId"))
