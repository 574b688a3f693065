"""The vendor's dialect: what clients send, and what they read back, is the same job."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.errors import InvalidRequest
from headrace.model import (
    BOOLEAN,
    CHANGE_DATE,
    DATE,
    DATETIME,
    FLOAT,
    INTEGER,
    STRING,
    TIME,
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
    Table,
    TableRef,
    UpsertStrategy,
    decimal,
)
from headrace.replays import Corrections
from headrace.web import wire
from headrace.web.wire import DataPool, DataPushJob, DataSource, to_spec

AT = datetime(2024, 2, 29, 12, 34, 56, 789999, UTC)


def spec_of(**sent: Any) -> PushSpec:
    return to_spec(DataPushJob.model_validate(sent))


def shown(spec: PushSpec, **more: Any) -> dict[str, Any]:
    """The job as a client reads it."""
    found: dict[str, Any] = json.loads(
        json.dumps(wire.job(Job("j", "p", spec, JobStatus.NEW, AT, AT, **more)))
    )
    return found


# -- there and back ------------------------------------------------------------------------------------

names = st.text(min_size=1, max_size=8)
maybe = st.none() | names
lengths = st.none() | st.integers(1, 500_000_000)
kinds = st.sampled_from([k for k in ColumnKind if k not in (ColumnKind.DECIMAL, ColumnKind.UNKNOWN)])
declared = st.builds(DeclaredColumn, names, st.none() | kinds, lengths, lengths, st.booleans())
options = st.builds(
    CsvOptions,
    separator=maybe,
    quote=maybe | st.just(""),  # empty: no quoting at all
    escape=maybe,
    line_ending=maybe,
    charset=maybe,
    decimal_separator=maybe,
    thousands_separator=maybe,
    date_format=maybe,
    columns=st.dictionaries(names, st.builds(ColumnCsvOptions, maybe, maybe, maybe), max_size=3),
)
specs = st.builds(
    PushSpec,
    names,
    st.sampled_from(JobType),
    st.sampled_from(FileType),
    keys=st.lists(names, max_size=3).map(tuple),
    columns=st.lists(declared, max_size=3).map(tuple),
    csv=st.none() | options,
    connection_id=maybe,
    upsert_strategy=st.none() | st.sampled_from(UpsertStrategy),
    fallback_length=lengths,
    allow_duplicate=st.booleans(),
    mirror_names=st.lists(names, max_size=2).map(tuple),
    post_execution_query=maybe,
    foreign_keys=maybe,
)


@settings(max_examples=150, deadline=None)
@given(specs)
def test_a_job_that_is_sent_back_is_the_same_job(spec: PushSpec) -> None:
    again = spec_of(**shown(spec))
    assert replace(again, schema_table_name=None) == spec


def test_what_is_not_set_is_null() -> None:
    reply = shown(PushSpec("t"))
    assert {name for name, value in reply.items() if value is None} == {
        "keys",
        "tableSchema",
        "csvParsingOptions",
        "connectionId",
        "upsertStrategy",
        "fallbackVarcharLength",
        "mirrorTargetNames",
        "postExecutionQuery",
        "foreignKeys",
        "lastPing",
        "changeDate",
    }
    assert (reply["type"], reply["fileType"], reply["allowDuplicate"]) == ("REPLACE", "PARQUET", False)
    assert (reply["id"], reply["dataPoolId"], reply["status"], reply["logs"]) == ("j", "p", "NEW", [])


# -- what clients send ---------------------------------------------------------------------------------


def test_nulls_mean_that_nothing_is_said() -> None:
    nulls = dict.fromkeys(DataPushJob.model_fields)
    assert spec_of(**nulls) == spec_of() == PushSpec("")
    inner = {"tableSchema": {"tableName": None, "columns": None}, "csvParsingOptions": {}}
    assert spec_of(**inner) == PushSpec("", csv=CsvOptions())
    column = {"columnName": "c", "columnType": None, "fieldLength": None, "decimals": None, "pkField": None}
    assert spec_of(tableSchema={"columns": [column]}).columns == (DeclaredColumn("c"),)


def test_zeros_and_empty_texts_mean_it_too() -> None:
    column = {"columnName": "c", "columnType": "", "fieldLength": 0, "decimals": 0}
    nameless = {"columnName": "", "columnType": "INTEGER"}
    spec = spec_of(
        targetName="t",
        type="",
        fileType=" ",
        connectionId="",
        upsertStrategy="",
        fallbackVarcharLength=0,
        keys=[],
        postExecutionQuery="",
        foreignKeys="",
        tableSchema={"columns": [column, nameless, {"columnName": None}]},
    )
    assert spec == PushSpec("t", columns=(DeclaredColumn("c"),))
    csv = spec_of(
        csvParsingOptions=dict.fromkeys(wire.CSVParsingOptions.model_fields, "")
        | {"additionalColumnOptions": []}
    ).csv
    assert csv == CsvOptions(quote="")


def test_what_only_the_server_sets_is_ignored() -> None:
    sent = {
        "id": "x",
        "status": "DONE",
        "logs": ["x"],
        "changeDate": 1,
        "lastModified": "now",
        "unknown": {"a": [1]},
    }
    assert spec_of(targetName="t", **sent) == PushSpec("t")


@pytest.mark.parametrize(
    ("said", "meant"), [("DELTA", "DELTA"), ("delta", "DELTA"), (" Replace ", "REPLACE"), ("UPSERT", "DELTA")]
)
def test_types_of_jobs(said: str, meant: str) -> None:
    assert spec_of(type=said).type is JobType(meant)


def test_numbers_may_come_as_texts_and_texts_as_numbers() -> None:
    spec = spec_of(targetName=7, fallbackVarcharLength="80", keys=[1])
    assert (spec.target_name, spec.fallback_length, spec.keys) == ("7", 80, ("1",))


@pytest.mark.parametrize(("said", "kept"), [("a", "a"), ([{"a": 1}], "[{'a': 1}]"), ({}, "{}")])
def test_foreign_keys_may_have_any_form(said: Any, kept: str) -> None:
    assert spec_of(foreignKeys=said).foreign_keys == kept


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"type": "MERGE"}, "type"),
    ({"fileType": "XLSX"}, "fileType"),
    ({"upsertStrategy": "x"}, "upsertStrategy"),
    ({"fallbackVarcharLength": -1}, "fallbackVarcharLength"),
    ({"fallbackVarcharLength": 2**31}, "fallbackVarcharLength"),
    ({"tableSchema": {"columns": [{"columnName": "c", "columnType": "VARCHAR"}]}}, "tableSchema"),
    ({"tableSchema": {"columns": [{"columnName": "c", "columnType": "UNKNOWN"}]}}, "tableSchema"),
    ({"tableSchema": {"columns": [{"columnName": "c", "fieldLength": -5}]}}, "fieldLength"),
    ({"tableSchema": {"columns": [{"columnName": "c", "decimals": -1}]}}, "decimals"),
]


@pytest.mark.parametrize(("sent", "attribute"), WRONG)
def test_what_is_wrong_is_named(sent: dict[str, Any], attribute: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        spec_of(targetName="t", **sent)
    assert caught.value.attribute == attribute


@pytest.mark.parametrize(
    "sent",
    [
        {"keys": "a"},
        {"tableSchema": []},
        {"maxRejectedShare": 1.5},
        {"maxRejectedRows": -1},
        {"allowDuplicate": "perhaps"},
    ],
)
def test_what_has_another_form_is_refused(sent: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        spec_of(targetName="t", **sent)


def test_the_rejects_that_a_job_allows() -> None:
    spec = spec_of(targetName="t", maxRejectedRows=0, maxRejectedShare=0.5)
    assert (spec.max_rejected_rows, spec.max_rejected_share) == (0, 0.5)


@pytest.mark.parametrize(("sent", "strict"), [(True, True), (False, False), (None, False)])
def test_lengths_are_strict_if_the_job_says_so(sent: bool | None, strict: bool) -> None:
    assert spec_of(targetName="t", strictLengths=sent).strict_lengths is strict


def test_what_is_corrected_for_a_replay() -> None:
    assert wire.to_corrections(wire.Replay.model_validate({})) == Corrections()
    sent = {
        "tableSchema": {"columns": [{"columnName": "a", "columnType": "date"}]},
        "csvParsingOptions": {"dateFormat": "dd.MM.yyyy", "unknown": 1},
        "maxRejectedRows": 3,
        "maxRejectedShare": 0.5,
        "leaveUnreadable": True,
    }
    assert wire.to_corrections(wire.Replay.model_validate(sent)) == Corrections(
        (DeclaredColumn("a", ColumnKind.DATE),), CsvOptions(date_format="dd.MM.yyyy"), 3, 0.5, True
    )


# -- what clients read ---------------------------------------------------------------------------------


def test_moments_are_milliseconds() -> None:
    assert wire.millis(None) is None
    assert wire.millis(AT) == wire.millis(AT.astimezone(timezone(timedelta(hours=9)))) == 1_709_210_096_789
    reply = shown(PushSpec("t"), last_ping=AT, change_date=AT)
    assert reply["lastModified"] == reply["lastPing"] == reply["changeDate"] == 1_709_210_096_789


@settings(max_examples=300)
@given(st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)))
def test_milliseconds_are_never_rounded_up(at: datetime) -> None:
    whole = at.replace(microsecond=at.microsecond // 1000 * 1000, tzinfo=UTC)
    expected = (whole - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert wire.millis(at.replace(tzinfo=UTC)) == expected


def test_a_chunk() -> None:
    chunk = Chunk("c", "j", "p", 1, ChunkType.DELETE, 10, "5e", FileType.CSV, AT)
    assert wire.chunk(chunk) == {
        "id": "c",
        "pushJobId": "j",
        "type": "DELETE",
        "creationDate": 1_709_210_096_789,
        "checksum": "5e",
    }


def test_columns_of_a_table() -> None:
    columns = (
        Column("i", INTEGER),
        Column("f", FLOAT),
        Column("m", decimal(18, 2)),
        Column("b", BOOLEAN),
        Column("d", DATE),
        Column("t", TIME),
        Column("at", DATETIME),
        Column("s", STRING),
        Column("s80", STRING, 80),
    )
    told = [
        (c["name"], c["type"], c["length"]) for c in wire.columns(Table(TableRef("t"), columns), CHANGE_DATE)
    ]
    assert told == [
        ("i", "INTEGER", None),
        ("f", "FLOAT", None),
        ("m", "FLOAT", None),
        ("b", "STRING", None),
        ("d", "DATE", None),
        ("t", "STRING", None),
        ("at", "DATE", None),
        ("s", "STRING", wire.LONGEST_STRING),
        ("s80", "STRING", 320),
        (CHANGE_DATE, "DATE", None),
    ]


def test_schemas_are_named_by_pool_and_connection() -> None:
    assert wire.schema_name("p", None) == "p"
    assert shown(PushSpec("t", connection_id="c"))["targetSchema"] == wire.schema_name("p", "c") == "p_c"
    assert wire.table("p", TableRef("t", "c"), "SAP")["schemaName"] == "p_c"


def test_a_pool_gives_back_what_it_was_given() -> None:
    sent = DataPool.model_validate(
        {"id": "x", "name": "n", "description": "d", "tags": [{"name": "é"}], "junk": 1}
    )
    kept = wire.attributes(sent)
    assert kept == {"description": "d", "tags": [{"name": "é"}]}
    reply = wire.pool(Pool("p", "pool", AT, kept))
    assert reply == {
        "id": "p",
        "name": "pool",
        "timeStamp": 1_709_210_096_789,
        "description": "d",
        "tags": [{"name": "é"}],
        "permissions": [],
        "configurationStatus": "CONFIGURED",
        "locked": False,
    }
    assert wire.pool(Pool("p", "pool", AT, {"id": "x", "name": "y", "timeStamp": 0}))["id"] == "p"


def test_a_connection_gives_back_what_it_was_given() -> None:
    sent = DataSource.model_validate({"id": "x", "name": "n", "type": "SAP", "metadata": {"a": [None]}})
    kept = wire.attributes(sent)
    assert kept == {"type": "SAP", "metadata": {"a": [None]}}
    reply = wire.connection(Connection("c", "p", "n", AT, kept))
    assert (reply["id"], reply["poolId"], reply["targetSchemaName"]) == ("c", "p", "p_c")
    assert (reply["type"], reply["metadata"], reply["connected"]) == ("SAP", {"a": [None]}, True)
