"""What is asked for when rejects are sent again, and how their rows are written."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from headrace.errors import InvalidRequest
from headrace.model import (
    INTEGER,
    STRING,
    Chunk,
    ChunkType,
    Column,
    ColumnCsvOptions,
    ColumnKind,
    CsvOptions,
    DeclaredColumn,
    FileType,
    JobType,
    PushSpec,
    Reject,
    StageReport,
    UpsertStrategy,
    now,
)
from headrace.replayrows import Rows
from headrace.replays import Corrections, corrected

AMOUNT = DeclaredColumn("amount", ColumnKind.FLOAT, decimals=2)
KEY = DeclaredColumn("id", ColumnKind.INTEGER, primary_key=True)


def chunk(header: str = "id amount", columns: str = "id amount") -> Chunk:
    named = tuple(Column(name, INTEGER if name == "id" else STRING) for name in columns.split())
    report = StageReport(0, 1, named, header=tuple(header.split()))
    return Chunk("c", "j", "p", 1, ChunkType.UPSERT, 1, "", FileType.CSV, now(), report=report)


def values(**sent: object) -> Reject:
    return Reject(2, list(sent)[-1], "", "", "value-does-not-fit", json.dumps(sent))


def record(raw: str, **more: object) -> Reject:
    return replace(Reject(2, None, None, "", "too-few-fields", raw), **more)


def lines(reject: Reject, csv: CsvOptions = CsvOptions(), **more: str) -> list[str]:
    return [line.decode() for line in Rows(chunk(**more), csv).lines(reject)]


# -- the job -------------------------------------------------------------------------------------------


def test_the_job_is_a_delta_on_the_same_tables_in_our_own_dialect() -> None:
    spec = PushSpec(
        "t",
        JobType.REPLACE,
        FileType.PARQUET,
        columns=(KEY, AMOUNT),
        csv=CsvOptions(";", "'", "\\", "|", "cp1252", ",", date_format="dd.MM.yyyy"),
        connection_id="c",
        upsert_strategy=UpsertStrategy.UPSERT_WITH_NULLIFICATION,
        mirror_names=("m",),
        max_rejected_rows=5,
        strict_lengths=True,
    )
    assert spec.csv
    changed = corrected(spec, Corrections((AMOUNT,), max_rejected_share=0.5), spec.csv)
    assert changed == replace(
        spec,
        type=JobType.DELTA,
        file_type=FileType.CSV,
        keys=("id",),
        columns=(AMOUNT,),
        csv=CsvOptions(decimal_separator=",", date_format="dd.MM.yyyy"),
        max_rejected_rows=None,
        max_rejected_share=0.5,
    )
    assert corrected(spec, Corrections(), spec.csv).columns == spec.columns


def test_only_what_is_corrected_changes() -> None:
    own = ColumnCsvOptions(decimal_separator=".")
    csv = CsvOptions(";", quote="'", decimal_separator=",", columns={"a": own, "b": own})
    other = ColumnCsvOptions(decimal_separator="_")
    change = CsvOptions(quote="", date_format="dd.MM.yyyy", columns={"b": other})
    assert csv.corrected(change) == CsvOptions(
        ";", quote="", decimal_separator=",", date_format="dd.MM.yyyy", columns={"a": own, "b": other}
    )
    assert csv.corrected(None) is csv


# -- the rows ------------------------------------------------------------------------------------------


def test_values_are_written_as_they_were_sent() -> None:
    assert lines(values(id="1", amount='a "b",\n')) == ['"1","a ""b"",\n"\n']
    assert lines(values(id=None, amount="")) == [',""\n']
    assert lines(values(AMOUNT="x", ID="1")) == ['"1","x"\n']


def test_numbers_of_parquet_are_written_as_the_options_want_them() -> None:
    comma = CsvOptions(decimal_separator=",")
    assert lines(values(id=1, amount=2.5), comma) == ['"1","2,5"\n']
    assert lines(values(id=1, amount="2.5"), comma) == ['"1","2.5"\n']
    assert lines(values(id=1, amount=2.5)) == ['"1","2.5"\n']


def test_a_record_is_read_anew() -> None:
    assert lines(record("1;2"), CsvOptions(";")) == ['"1","2"\n']
    assert lines(record('"1","2"\n"3"4,5\n6,7'), CsvOptions(quote="")) == [
        '"""1""","""2"""\n',
        '"""3""4","5"\n',
        '"6","7"\n',
    ]
    data = base64.b64encode("1,é".encode("cp1252")).decode()
    assert lines(record("1,\ufffd", base64=data), CsvOptions(charset="cp1252")) == ['"1","é"\n']


def test_the_change_date_of_a_file_is_left_out() -> None:
    assert lines(record("1,x,2"), header="id _CELONIS_CHANGE_DATE amount") == ['"1","2"\n']
    rows = Rows(chunk(header="id _Celonis_Change_Date amount"), CsvOptions())
    assert rows.header == b'"id","amount"\n'
    assert rows.lines(values(id="1", amount="x")) == [b'"1","x"\n']


def test_a_chunk_without_a_header_of_text_has_the_names_of_its_columns() -> None:
    assert Rows(chunk(header=""), CsvOptions()).header == b'"id","amount"\n'


@pytest.mark.parametrize(
    ("reject", "csv", "words"),
    [
        (record("1"), CsvOptions(), "1 fields instead of 2"),
        (record("1,2,3"), CsvOptions(), "3 fields instead of 2"),
        (record('1,"2'), CsvOptions(), "never closed"),
        (record("1,2\n3"), CsvOptions(), "1 fields instead of 2"),
        (record("\n"), CsvOptions(), "blank"),
        (record("1,2", whole=False), CsvOptions(), "too long to be kept"),
        (record("1,\ufffd", base64=base64.b64encode(b"1,\xff").decode()), CsvOptions(), "bytes that"),
        (replace(values(id="1", amount="x"), raw='{"id": "1", "am'), CsvOptions(), "too long to be kept"),
    ],
)
def test_rows_that_cannot_be_sent_again(reject: Reject, csv: CsvOptions, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        lines(reject, csv)


def test_a_record_of_another_format_cannot_be_sent_again() -> None:
    rows = Rows(replace(chunk(), file_type=FileType.PARQUET), CsvOptions())
    with pytest.raises(ValueError, match="no CSV"):
        rows.lines(record("1,2"))


def test_options_that_contradict_each_other() -> None:
    with pytest.raises(InvalidRequest):
        Rows(chunk(), CsvOptions(quote=","))
