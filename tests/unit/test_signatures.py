"""What bytes are, from real files of each kind where this machine can write one."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sqlite3
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import zstandard
from pyarrow import feather, ipc, orc

from harness import parquet
from headrace.errors import ChunkUnreadable
from headrace.model import CsvOptions, FileType, Label, PushSpec
from headrace.staging.looking import kind_of, notes_on
from headrace.staging.signatures import FOREIGN, description, foreign, readable

TABLE = pa.table({"a": [1, 2], "b": ["x", "y"]})


def arrow(new: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    with new(file, TABLE.schema, **options) as out:
        out.write_table(TABLE)
    return file.getvalue()


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name in names:
            out.writestr(name, "<xml/>" * 9)
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as out:
        out.addfile(tarfile.TarInfo("a.csv"), io.BytesIO())
    return file.getvalue()


def written(write: Any) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def sqlite(folder: Path) -> bytes:
    with sqlite3.connect(folder / "a.sqlite") as db:
        db.execute("CREATE TABLE t (a)")
    db.close()
    return (folder / "a.sqlite").read_bytes()


def duck(folder: Path) -> bytes:
    with duckdb.connect(str(folder / "a.duckdb")) as db:
        db.execute("CREATE TABLE t (a INT)")
    return (folder / "a.duckdb").read_bytes()


FILES: list[tuple[str, Any]] = [
    ("a Parquet file with an encrypted footer", b"PARE" + b"\x15\0" * 20 + b"PARE"),
    ("a file that was packed twice (gzip)", gzip.compress(b"a")),
    ("a file that was packed twice (zstd)", zstandard.compress(b"a")),
    ("an Excel workbook (.xlsx)", zipped("[Content_Types].xml", "_rels/.rels", "xl/workbook.xml")),
    ("an Excel workbook (.xlsx)", zipped("xl/workbook.xml")),
    ("an Excel workbook (.xlsx)", zipped("docProps/app.xml", "xl/workbook.xml")),
    ("a zip archive", zipped("a.csv")),
    ("a zip archive", zipped()),
    ("an old Office file (.xls)", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500)),
    ("a bzip2 file", bz2.compress(b"a")),
    ("an xz file", lzma.compress(b"a")),
    ("an lz4 file", pa.compress(b"a", "lz4", asbytes=True)),
    ("a snappy file", b"\xff\x06\0\0sNaPpY\x01"),
    ("a 7-Zip archive", b"7z\xbc\xaf\x27\x1c\0\x04"),
    ("a RAR archive", b"Rar!\x1a\x07\x01\0"),
    ("a tar archive", tarred()),
    ("an ORC file", written(lambda file: orc.write_table(TABLE, file))),
    ("an Avro file", b"Obj\x01\x04\x16avro.schema"),
    ("an old Feather file (version 1)", b"FEA1\0\0\0\0" + bytes(50)),
    ("an SQLite database", sqlite),
    ("a DuckDB database", duck),
    ("an HDF5 file", b"\x89HDF\r\n\x1a\n\0"),
    ("a PDF", b"%PDF-1.7\n%"),
    ("an RTF document", rb"{\rtf1\ansi"),
    ("a program (ELF)", Path(sys.executable).read_bytes()[:4096]),
    ("a program (.exe)", b"MZ\x90\0" + bytes(60) + b"PE\0\0"),
    ("a picture", b"\x89PNG\r\n\x1a\n\0\0"),
    ("a picture", b"\xff\xd8\xff\xe0\0\x10JFIF"),
    ("a web page (HTML)", b"<!DOCTYPE html>\n<html><body>502 Bad Gateway"),
    ("a web page (HTML)", b"\xef\xbb\xbf\r\n <HTML>"),
    ("an XML document", b'<?xml version="1.0"?><a/>'),
    ("a JSON array", b'[\n  {"a": 1},\n  {"a": 2}\n]'),
    ("a JSON document over several lines", b'{\n  "a": 1\n}'),
]


@pytest.mark.parametrize(("name", "data"), FILES, ids=[f"{n} {name}" for n, (name, _) in enumerate(FILES)])
@pytest.mark.parametrize("kind", [None, *FileType])
def test_what_is_not_read_is_named(name: str, data: Any, kind: FileType | None, tmp_path: Path) -> None:
    head = data if isinstance(data, bytes) else data(tmp_path)
    [known] = {known for known in FOREIGN if known.name == name}
    assert foreign(head) is known
    for label in (None, *FileType):
        with pytest.raises(ChunkUnreadable) as caught:
            kind_of(head, PushSpec("t", file_type=kind), Label(label))
        assert caught.value.message == f"The chunk is {name}. {known.advice}"


def test_every_kind_has_a_file_here() -> None:
    assert {name for name, _ in FILES} == {known.name for known in FOREIGN}


READABLE = [
    (FileType.PARQUET, parquet(TABLE)),
    (FileType.ARROW, arrow(ipc.new_stream)),
    (FileType.ARROW, arrow(ipc.new_file)),
    (FileType.ARROW, written(lambda file: feather.write_feather(TABLE, file))),
]


@pytest.mark.parametrize(("kind", "data"), READABLE)
@pytest.mark.parametrize("job", [None, *FileType])
@pytest.mark.parametrize("called", [None, *FileType])
def test_what_surely_is_something_is_read_as_that(
    kind: FileType, data: bytes, job: FileType | None, called: FileType | None
) -> None:
    spec, label = PushSpec("t", file_type=job), Label(called)
    assert readable(data) is kind
    assert kind_of(data, spec, label) is kind
    says = f"the job says {job}" if job not in (None, kind) else f"it is called {called}"
    wrong = job not in (None, kind) or called not in (None, kind)
    assert notes_on(kind, spec, label) == ((f"is read as {kind}, though {says}",) if wrong else ())


C, P, N, A = FileType.CSV, FileType.PARQUET, FileType.NDJSON, FileType.ARROW
LINES = b'{"a": 1}\n{"a": 2}\n'
TEXTS: list[tuple[bytes, FileType | None, FileType | None, FileType | None]] = [
    # bytes, the job's word, the chunk's word, what it is
    (b"a,b\n1,2\n", C, None, C),
    (b"a,b\n1,2\n", None, C, C),
    (b"a,b\n1,2\n", P, C, C),
    (b"a,b\n1,2\n", N, C, C),
    (b"a,b\n1,2\n", P, None, None),
    (b"a,b\n1,2\n", None, None, None),
    (b"a,b\n1,2\n", N, None, None),
    (b"a,b\n1,2\n", A, None, None),
    (b"a,b\n1,2\n", P, P, None),
    (LINES, N, None, N),
    (LINES, None, N, N),
    (LINES, P, N, N),
    (LINES, C, N, N),
    (LINES, C, None, None),
    (LINES, P, C, None),
    (LINES, None, None, None),
    (b'\xef\xbb\xbf  {"a": 1}', N, None, N),
    (b"{a}", N, None, N),  # whose lines will be rejects
    (b"{a},{b}\n1,2\n", C, None, C),
    (b"[a],[b]\n1,2\n", C, None, C),
    (b"PAR1,PAR2\n1,2\n", C, None, C),
    (b"PAR1,PAR2\n1,2\n", None, C, C),
    (b"PAR1", C, None, P),
    (b"ORC,b\n1,2\n", C, None, C),
    (b"BZh9,b\n1,2\n", C, None, C),
    (b"MZ,b\n", C, None, C),
    ("\ufeffa,b\n1,2\n".encode("utf-16"), C, None, C),
    ("\ufeffa,b\n1,2\n".encode("utf-16"), P, C, C),
    (b"a,b\0\x01\x02", C, None, C),  # a charset of its own, perhaps
    (b"a,b\0\x01\x02", P, C, None),  # a damaged file, called wrong
    (bytes(range(200)), P, None, None),
]


@pytest.mark.parametrize(("data", "job", "called", "kind"), TEXTS)
def test_text_needs_a_word_of_the_client(
    data: bytes, job: FileType | None, called: FileType | None, kind: FileType | None
) -> None:
    spec, label = PushSpec("t", file_type=job), Label(called)
    if kind:
        assert kind_of(data, spec, label) is kind
    else:
        with pytest.raises(ChunkUnreadable, match="The chunk is not"):
            kind_of(data, spec, label)


def test_csv_options_are_a_word_unless_the_job_says_another() -> None:
    assert kind_of(b"a,b", PushSpec("t", csv=CsvOptions()), Label()) is C
    with pytest.raises(ChunkUnreadable, match="does not begin with PAR1"):
        kind_of(b"a,b", PushSpec("t", csv=CsvOptions(), file_type=P), Label())


def test_nothing_is_refused_as_empty() -> None:
    for spec in (PushSpec("t"), PushSpec("t", file_type=C)):
        with pytest.raises(ChunkUnreadable, match="empty"):
            kind_of(b"", spec, Label())


DESCRIPTIONS = [
    (b"a;b;c\n1;2;3\n4;5;6\n", "a CSV with the separator ';' and 3 columns"),
    (b"a\tb\n1\t2\n", "a CSV with the separator a tab and 2 columns"),
    (b'a,b\n"1;2;3",2\n', "a CSV with the separator ',' and 2 columns"),
    (b"a,b,c", "a CSV with the separator ',' and 3 columns"),
    ("größe|b\nä|2\n".encode("latin-1"), "a CSV with the separator '|' and 2 columns"),
    (b"Service unavailable", "looks like text"),
    (b"a,b\n1,2,3\n4\n", "looks like text"),
    (LINES, '"fileType": "NDJSON"'),
    (b"\0\x01\x02", "binary file"),
]


@pytest.mark.parametrize(("data", "words"), DESCRIPTIONS)
def test_what_it_looks_like(data: bytes, words: str) -> None:
    assert words in description(data)
