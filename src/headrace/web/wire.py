"""The vendor's dialect: field names, nulls, aliases, date forms. Nowhere else.

Clients send every field, mostly as null; unknown fields are ignored; 0 means "not set" for lengths and
decimals (Java primitives); timestamps are milliseconds since 1970.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from headrace.errors import InvalidRequest
from headrace.model import (
    Chunk,
    ChunkType,
    Column,
    ColumnCsvOptions,
    ColumnKind,
    Connection,
    CsvOptions,
    DeclaredColumn,
    FileType,
    Job,
    JobStatus,
    JobType,
    Pool,
    PushSpec,
    SubmissionLimits,
    Table,
    TableRef,
    UpsertStrategy,
)
from headrace.replays import Corrections

E = TypeVar("E", bound=StrEnum)

LONGEST_STRING = 65_000
"""What the vendor's store can hold; told for strings without a declared length."""

BYTES_PER_CHARACTER = 4

_LARGEST_LENGTH = (2**31 - 1) // BYTES_PER_CHARACTER
"""Clients hold lengths, four times as large, in 32 bits."""

_TYPE_ALIASES = {"UPSERT": "DELTA"}
_SCHEMA_TYPES = ("INTEGER", "DATE", "TIME", "DATETIME", "FLOAT", "BOOLEAN", "STRING")


Flag = Annotated[bool | None, BeforeValidator(lambda sent: None if sent == "" else sent)]


def _documented(**schema: Any) -> Any:
    """A field that is taken leniently, and told strictly."""
    return Field(None, json_schema_extra=schema)


def _one_word_of(*words: str) -> dict[str, Any]:
    return {"enum": [*words, None]}


_NAME = {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"\S"}, {"type": "null"}]}
_TARGET = {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 512, "pattern": r"\S"}]}
_ID = {"anyOf": [{"type": "string", "format": "uuid"}, {"type": "null"}]}
_LENGTH = {"minimum": 0, "maximum": _LARGEST_LENGTH}


class Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)


class ColumnTransport(Lenient):
    columnName: str | None = None
    columnType: str | None = _documented(**_one_word_of(*_SCHEMA_TYPES))
    fieldLength: int | None = _documented(description="characters of a STRING; 0 or null: not set", **_LENGTH)
    decimals: int | None = _documented(
        description="digits after the point of a FLOAT; 0 or null: not set", **_LENGTH
    )
    pkField: bool | None = None


class TableTransport(Lenient):
    tableName: str | None = None
    columns: list[ColumnTransport] | None = None


class AdditionalColumnOptions(Lenient):
    columnName: str | None = None
    dateFormat: str | None = None
    thousandsSeparator: str | None = None
    decimalSeparator: str | None = None
    emptyIsFalse: Flag = Field(None, description="ours: in a BOOLEAN column, as SAP writes flags")


class CSVParsingOptions(Lenient):
    escapeSequence: str | None = None
    quoteSequence: str | None = None
    separatorSequence: str | None = None
    lineEnding: str | None = None
    charSet: str | None = None
    decimalSeparator: str | None = None
    thousandSeparator: str | None = None
    dateFormat: str | None = Field(None, description="Java pattern, e.g. yyyy-MM-dd'T'HH:mm:ss.SSSXXX")
    emptyIsFalse: Flag = Field(None, description="ours: an empty BOOLEAN is false, not NULL")
    additionalColumnOptions: list[AdditionalColumnOptions] | None = None


class DataPushJob(Lenient):
    """What clients send to create a job; what only the server sets is ignored."""

    model_config = ConfigDict(json_schema_extra={"required": ["targetName"]})

    targetName: str | None = _documented(**_TARGET)
    type: str | None = _documented(description="null: REPLACE", **_one_word_of(*JobType))
    fileType: str | None = _documented(
        description="null: PARQUET; ours: NDJSON, ARROW", **_one_word_of(*FileType)
    )
    keys: list[str] | None = _documented(uniqueItems=True)
    tableSchema: TableTransport | None = None
    csvParsingOptions: CSVParsingOptions | None = None
    connectionId: str | None = None
    dataPoolId: str | None = None
    upsertStrategy: str | None = _documented(**_one_word_of(*UpsertStrategy))
    fallbackVarcharLength: int | None = _documented(**_LENGTH)
    allowDuplicate: bool | None = None
    mirrorTargetNames: list[str] | None = None
    postExecutionQuery: str | None = None
    foreignKeys: str | None = None
    maxRejectedRows: int | None = Field(
        None, ge=0, description="ours: so many bad rows are left out (default 0)"
    )
    maxRejectedShare: float | None = Field(None, ge=0, le=1, description="ours: so large a share may be bad")
    strictLengths: bool | None = Field(None, description="ours: reject strings that are too long, cut none")

    inferTypes: bool | None = Field(None, description="ours: guess the types of a CSV from its values")

    @field_validator("foreignKeys", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, list | dict) else value


class Replay(Lenient):
    """What is corrected before the rejects of a job are sent again; what is missing stays as it was."""

    tableSchema: TableTransport | None = None
    csvParsingOptions: CSVParsingOptions | None = None
    maxRejectedRows: int | None = Field(None, ge=0)
    maxRejectedShare: float | None = Field(None, ge=0, le=1)
    leaveUnreadable: bool = Field(False, description="leave rows behind that cannot be read even so")


class Changes(DataPushJob):
    """What is changed of the job that is run again or cloned; what is missing or null stays as it was."""

    model_config = ConfigDict(json_schema_extra={"required": []})


class Kept(BaseModel):
    """Taken as it is and given back: strict clients read it."""

    model_config = ConfigDict(extra="ignore", strict=True)


class Tag(Kept):
    name: str | None = None


class DataPool(Kept):
    """A pool; beside ``id`` and ``name`` its fields are kept and given back."""

    id: str | None = _documented(description="ours: a UUID for a new pool, such as scripts have it", **_ID)
    name: str | None = _documented(**_NAME)
    description: str | None = None
    permissions: list[str] | None = None
    configurationStatus: str | None = None
    locked: bool | None = None
    contentId: str | None = None
    contentVersion: int | None = None
    tags: list[Tag] | None = None
    originalId: str | None = None
    monitoringTarget: bool | None = None
    customMonitoringTarget: str | None = None
    customMonitoringTargetActive: bool | None = None
    exported: bool | None = None
    monitoringMessageColumnsMigrated: bool | None = None
    creatorUserId: str | None = None
    objectId: str | None = None


class DataSource(Kept):
    """A data connection; beside ``id`` and ``name`` its fields are kept and given back."""

    id: str | None = _documented(description="ours: a UUID to give a new data connection", **_ID)
    name: str | None = _documented(**_NAME)
    type: str | None = None
    metadata: Any = None
    uplinkId: str | None = None
    uplinkName: str | None = None
    useUplink: bool | None = None
    configuration: list[Any] | None = None
    anonymizationAlgorithm: str | None = None
    saltId: str | None = None
    customExtractorId: str | None = None
    customExtractorName: str | None = None
    creatorUserId: str | None = None
    creatorUsername: str | None = None
    parameterName: str | None = None


# -- the shapes of answers, for the description of the API -----------------------------------------------


class Answer(BaseModel):
    """Nothing is made from them, that would cost; tests and fuzzing hold every real answer to them."""

    model_config = ConfigDict(extra="forbid")


class ColumnAnswer(Answer):
    columnName: str
    columnType: ColumnKind | None
    fieldLength: int | None
    decimals: int | None
    pkField: bool


class SchemaAnswer(Answer):
    tableName: str
    columns: list[ColumnAnswer]


class ColumnOptionsAnswer(Answer):
    columnName: str
    dateFormat: str | None
    decimalSeparator: str | None
    thousandsSeparator: str | None


class CsvAnswer(Answer):
    escapeSequence: str | None
    quoteSequence: str | None
    separatorSequence: str | None
    lineEnding: str | None
    charSet: str | None
    decimalSeparator: str | None
    thousandSeparator: str | None
    dateFormat: str | None
    additionalColumnOptions: list[ColumnOptionsAnswer] | None


class JobAnswer(Answer):
    """A job; times are milliseconds since 1970."""

    id: str
    dataPoolId: str
    targetName: str
    type: JobType
    fileType: FileType
    status: JobStatus
    logs: list[str]
    keys: list[str] | None
    tableSchema: SchemaAnswer | None
    csvParsingOptions: CsvAnswer | None
    connectionId: str | None
    upsertStrategy: UpsertStrategy | None
    fallbackVarcharLength: int | None
    allowDuplicate: bool
    mirrorTargetNames: list[str] | None
    postExecutionQuery: str | None
    foreignKeys: str | None
    targetSchema: str
    lastModified: int
    lastPing: int | None
    changeDate: int | None


class PushedChunkAnswer(Answer):
    id: str
    pushJobId: str
    type: ChunkType
    creationDate: int
    checksum: str


class UserAnswer(Answer):
    id: str
    name: str
    email: str | None
    teamDomain: str


class PermissionsAnswer(Answer):
    serviceName: str
    permissions: list[str]


class TeamAnswer(Answer):
    id: str
    name: str
    domain: str
    trackingEnabled: bool
    unlimitedDataPushJobSubmissions: bool
    dataPushJobSubmissionLimitPerSec: int | None
    dataPushJobSubmissionLimitPerHour: int | None


class PoolAnswer(DataPool):
    model_config = ConfigDict(extra="forbid")

    id: str
    name: str
    permissions: list[str]
    description: str | None
    configurationStatus: str
    locked: bool
    timeStamp: int


class PoolPageAnswer(Answer):
    pageNumber: int
    totalCount: int
    content: list[PoolAnswer]


class ConnectionAnswer(DataSource):
    model_config = ConfigDict(extra="forbid")

    id: str
    name: str
    type: str
    connected: bool
    locked: bool
    configured: bool
    poolId: str
    targetSchemaName: str


class FoundTableAnswer(Answer):
    dataSourceId: str
    name: str
    alias: str | None
    schema_: str = Field(alias="schema")


class FoundTablesAnswer(Answer):
    availableTables: list[FoundTableAnswer]
    lookupSuccessful: bool
    message: str | None


class PoolTableAnswer(Answer):
    name: str
    loaderSource: str | None
    available: bool
    dataSourceId: str | None
    dataSourceName: str | None
    columns: list[Any]
    type: str
    schemaName: str


class PoolColumnAnswer(Answer):
    name: str
    length: int | None
    type: str


class ErrorAnswer(Answer):
    attribute: str | None
    error: str
    errorCode: str
    additionalInfo: str | None


class ErrorsAnswer(Answer):
    """400: what is wrong with which field."""

    errors: list[ErrorAnswer]


class ReferenceAnswer(Answer):
    """Every other error; ``shortMessage`` is our code."""

    reference: str
    message: str
    shortMessage: str
    error: str | None = None


def to_spec(sent: DataPushJob) -> PushSpec:
    """What the client asks for. Raises InvalidRequest, naming the field."""
    return PushSpec(
        target_name=sent.targetName or "",
        type=_one_of(JobType, "type", _TYPE_ALIASES.get(_upper(sent.type), _upper(sent.type)))
        or JobType.REPLACE,
        file_type=_one_of(FileType, "fileType", _upper(sent.fileType)),
        keys=tuple(sent.keys or ()),
        columns=declared(sent.tableSchema),
        schema_table_name=sent.tableSchema.tableName if sent.tableSchema else None,
        csv=_csv(sent.csvParsingOptions),
        connection_id=sent.connectionId or None,
        upsert_strategy=_one_of(UpsertStrategy, "upsertStrategy", _upper(sent.upsertStrategy)),
        fallback_length=_length("fallbackVarcharLength", sent.fallbackVarcharLength),
        allow_duplicate=bool(sent.allowDuplicate),
        mirror_names=tuple(sent.mirrorTargetNames or ()),
        post_execution_query=sent.postExecutionQuery or None,
        foreign_keys=sent.foreignKeys or None,
        max_rejected_rows=sent.maxRejectedRows,
        max_rejected_share=sent.maxRejectedShare,
        infer_types=bool(sent.inferTypes),
        strict_lengths=bool(sent.strictLengths),
    )


_FIELDS = {
    "targetName": "target_name",
    "type": "type",
    "fileType": "file_type",
    "keys": "keys",
    "tableSchema": "columns",
    "csvParsingOptions": "csv",
    "connectionId": "connection_id",
    "upsertStrategy": "upsert_strategy",
    "fallbackVarcharLength": "fallback_length",
    "allowDuplicate": "allow_duplicate",
    "mirrorTargetNames": "mirror_names",
    "postExecutionQuery": "post_execution_query",
    "foreignKeys": "foreign_keys",
    "maxRejectedRows": "max_rejected_rows",
    "maxRejectedShare": "max_rejected_share",
    "inferTypes": "infer_types",
    "strictLengths": "strict_lengths",
}


def to_changes(sent: Changes | None) -> dict[str, Any]:
    """Fields of a PushSpec that are to be others. Raises InvalidRequest, naming the field."""
    if sent is None:
        return {}
    spec = to_spec(sent)
    return {field: getattr(spec, field) for name, field in _FIELDS.items() if getattr(sent, name) is not None}


def to_corrections(sent: Replay) -> Corrections:
    """What is corrected for a replay. Raises InvalidRequest, naming the field."""
    return Corrections(
        declared(sent.tableSchema),
        _csv(sent.csvParsingOptions),
        sent.maxRejectedRows,
        sent.maxRejectedShare,
        sent.leaveUnreadable,
    )


def declared(sent: TableTransport | None) -> tuple[DeclaredColumn, ...]:
    """The columns of a tableSchema. Raises InvalidRequest."""
    return tuple(_declared(c) for c in (sent.columns if sent else None) or () if c.columnName)


def _upper(value: str | None) -> str:
    return (value or "").strip().upper()


def _one_of(words: type[E], attribute: str, value: str) -> E | None:
    if not value:
        return None
    try:
        return words(value)
    except ValueError as error:
        known = ", ".join(words)
        raise InvalidRequest(f"{attribute} is one of {known}, not '{value}'.", attribute=attribute) from error


def _length(attribute: str, value: int | None) -> int | None:
    if value is not None and not 0 <= value <= _LARGEST_LENGTH:
        raise InvalidRequest(f"{attribute} is a number from 0 to {_LARGEST_LENGTH}.", attribute=attribute)
    return value or None


def _declared(sent: ColumnTransport) -> DeclaredColumn:
    kind = _upper(sent.columnType)
    if kind and kind not in _SCHEMA_TYPES:
        raise InvalidRequest(
            f"columnType of {sent.columnName} is one of {', '.join(_SCHEMA_TYPES)}, not '{sent.columnType}'.",
            attribute="tableSchema",
        )
    return DeclaredColumn(
        sent.columnName or "",
        ColumnKind(kind) if kind else None,
        _length("fieldLength", sent.fieldLength),
        _length("decimals", sent.decimals),
        bool(sent.pkField),
    )


def _csv(sent: CSVParsingOptions | None) -> CsvOptions | None:
    if sent is None:
        return None
    return CsvOptions(
        separator=sent.separatorSequence or None,
        quote=sent.quoteSequence,
        escape=sent.escapeSequence or None,
        line_ending=sent.lineEnding or None,
        charset=sent.charSet or None,
        decimal_separator=sent.decimalSeparator or None,
        thousands_separator=sent.thousandSeparator or None,
        date_format=sent.dateFormat or None,
        empty_is_false=sent.emptyIsFalse,
        columns={
            c.columnName: ColumnCsvOptions(
                c.dateFormat or None,
                c.decimalSeparator or None,
                c.thousandsSeparator or None,
                c.emptyIsFalse,
            )
            for c in sent.additionalColumnOptions or ()
            if c.columnName
        },
    )


# -- what clients read ---------------------------------------------------------------------------------


def millis(at: datetime | None) -> int | None:
    return int(at.timestamp() * 1000) if at else None


def job(job: Job) -> dict[str, Any]:
    spec = job.spec
    return {
        "id": job.id,
        "dataPoolId": job.pool_id,
        "targetName": spec.target_name,
        "type": spec.type,
        "fileType": spec.file_type or FileType.PARQUET,
        "status": job.status,
        "logs": list(job.logs),
        "keys": list(spec.keys) or None,
        "tableSchema": _schema(spec),
        "csvParsingOptions": _csv_options(spec.csv),
        "connectionId": spec.connection_id,
        "upsertStrategy": spec.upsert_strategy,
        "fallbackVarcharLength": spec.fallback_length,
        "allowDuplicate": spec.allow_duplicate,
        "mirrorTargetNames": list(spec.mirror_names) or None,
        "postExecutionQuery": spec.post_execution_query,
        "foreignKeys": spec.foreign_keys,
        "targetSchema": schema_name(job.pool_id, spec.connection_id),
        "lastModified": millis(job.modified_at),
        "lastPing": millis(job.last_ping),
        "changeDate": millis(job.change_date),
    }


def request(spec: PushSpec, pool_id: str) -> dict[str, Any]:
    """What creates such a job, as a client would send it: nothing that it did not ask for."""
    sent = {
        "targetName": spec.target_name,
        "dataPoolId": pool_id,
        "type": spec.type,
        "fileType": spec.file_type,
        "keys": list(spec.keys) or None,
        "tableSchema": _schema(spec),
        "csvParsingOptions": _whole_csv_options(spec.csv),
        "connectionId": spec.connection_id,
        "upsertStrategy": spec.upsert_strategy,
        "fallbackVarcharLength": spec.fallback_length,
        "allowDuplicate": spec.allow_duplicate or None,
        "mirrorTargetNames": list(spec.mirror_names) or None,
        "postExecutionQuery": spec.post_execution_query,
        "foreignKeys": spec.foreign_keys,
        "maxRejectedRows": spec.max_rejected_rows,
        "maxRejectedShare": spec.max_rejected_share,
        "inferTypes": spec.infer_types or None,
        "strictLengths": spec.strict_lengths or None,
    }
    return {name: _said(value) for name, value in sent.items() if value is not None}


def _whole_csv_options(csv: CsvOptions | None) -> dict[str, Any] | None:
    """With what is ours alone."""
    told = _csv_options(csv)
    if csv is None or told is None:
        return None
    columns = [
        {**column, "emptyIsFalse": csv.columns[column["columnName"]].empty_is_false}
        for column in told["additionalColumnOptions"] or ()
    ]
    return {**told, "emptyIsFalse": csv.empty_is_false, "additionalColumnOptions": columns or None}


def _said(value: Any) -> Any:
    if isinstance(value, dict):
        idle = (None, False) if "pkField" in value else (None,)
        return {name: _said(inner) for name, inner in value.items() if inner not in idle}
    return [_said(inner) for inner in value] if isinstance(value, list) else value


def _schema(spec: PushSpec) -> dict[str, Any] | None:
    if not spec.columns:
        return None
    return {
        "tableName": spec.schema_table_name or spec.target_name,
        "columns": [
            {
                "columnName": c.name,
                "columnType": c.kind,
                "fieldLength": c.length,
                "decimals": c.decimals,
                "pkField": c.primary_key,
            }
            for c in spec.columns
        ],
    }


def _csv_options(csv: CsvOptions | None) -> dict[str, Any] | None:
    if csv is None:
        return None
    return {
        "escapeSequence": csv.escape,
        "quoteSequence": csv.quote,
        "separatorSequence": csv.separator,
        "lineEnding": csv.line_ending,
        "charSet": csv.charset,
        "decimalSeparator": csv.decimal_separator,
        "thousandSeparator": csv.thousands_separator,
        "dateFormat": csv.date_format,
        "additionalColumnOptions": [
            {
                "columnName": name,
                "dateFormat": options.date_format,
                "decimalSeparator": options.decimal_separator,
                "thousandsSeparator": options.thousands_separator,
            }
            for name, options in csv.columns.items()
        ]
        or None,
    }


def chunk(chunk: Chunk) -> dict[str, Any]:
    return {
        "id": chunk.id,
        "pushJobId": chunk.job_id,
        "type": chunk.type,
        "creationDate": millis(chunk.received_at),
        "checksum": chunk.sha256,
    }


def team(limits: SubmissionLimits | None) -> dict[str, Any]:
    """There is one team, which is the installation."""
    return {
        "id": "headrace",
        "name": "Headrace",
        "domain": "headrace",
        "trackingEnabled": False,
        "unlimitedDataPushJobSubmissions": limits is None,
        "dataPushJobSubmissionLimitPerSec": limits.per_second if limits else None,
        "dataPushJobSubmissionLimitPerHour": limits.per_hour if limits else None,
    }


def schema_name(pool_id: str, connection_id: str | None) -> str:
    return f"{pool_id}_{connection_id}" if connection_id else pool_id


def pool(pool: Pool) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "permissions": [],
        "description": None,
        "configurationStatus": "CONFIGURED",
        "locked": False,
    }
    return {
        **defaults,
        **pool.attributes,
        "id": pool.id,
        "name": pool.name,
        "timeStamp": millis(pool.created_at),
    }


def connection(connection: Connection) -> dict[str, Any]:
    return {
        "type": "PUSH",
        "connected": True,
        "locked": False,
        "configured": True,
        **connection.attributes,
        "id": connection.id,
        "name": connection.name,
        "poolId": connection.pool_id,
        "targetSchemaName": schema_name(connection.pool_id, connection.id),
    }


def table(pool_id: str, ref: TableRef, connection_name: str | None) -> dict[str, Any]:
    return {
        "name": ref.name,
        "loaderSource": None,
        "available": True,
        "dataSourceId": ref.connection_id,
        "dataSourceName": connection_name,
        "columns": [],
        "type": "TABLE",
        "schemaName": schema_name(pool_id, ref.connection_id),
    }


def columns(table: Table, change_date: str) -> list[dict[str, Any]]:
    told = [{"name": c.name, "length": _told_length(c), "type": _told_type(c)} for c in table.columns]
    return [*told, {"name": change_date, "length": None, "type": "DATE"}]


def _told_length(column: Column) -> int | None:
    if column.type.kind is not ColumnKind.STRING:
        return None
    return column.length * BYTES_PER_CHARACTER if column.length else LONGEST_STRING


def _told_type(column: Column) -> str:
    """The reply knows four words only."""
    return {
        ColumnKind.INTEGER: "INTEGER",
        ColumnKind.FLOAT: "FLOAT",
        ColumnKind.DECIMAL: "FLOAT",
        ColumnKind.DATE: "DATE",
        ColumnKind.DATETIME: "DATE",
    }.get(column.type.kind, "STRING")


def attributes(sent: DataPool | DataSource) -> dict[str, object]:
    """The fields that we only keep and give back."""
    own = {"id", "name", "timeStamp", "poolId", "targetSchemaName"}
    return sent.model_dump(exclude=own, exclude_none=True, mode="json")
