"""The story of one chunk: from raw bytes to checked, typed Parquet.

``look`` is the cheap check before a chunk is accepted; ``stage`` does the work afterwards, in a child
process, because a hostile file may crash a parser or eat its memory. Staging has two ways:

* the *straight* way lets the engine read the file and converts strictly; the first value that does not
  fit ends it. Nearly every chunk goes this way and pays for nothing else;
* the *careful* way numbers the lines, converts leniently, writes what is good, names what is bad and
  counts what was cut.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from heapq import merge
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb

from headrace import csvrecords
from headrace.children import ChildDied, limit_this_process, process_pool
from headrace.conversion import (
    Source,
    expectation,
    is_bad,
    lenient,
    literal,
    quoted,
    stored_type,
    strict,
)
from headrace.csvrecords import BadRecord, Dialect
from headrace.durable import sync
from headrace.errors import ChunkFailed, ChunkUnreadable
from headrace.model import (
    CHANGE_DATE,
    FLOAT,
    STRING,
    UNKNOWN,
    Column,
    ColumnCsvOptions,
    ColumnKind,
    ColumnType,
    CsvOptions,
    Cut,
    FileType,
    PushSpec,
    Reject,
    StageReport,
    decimal,
    fold,
)

HEAD_BYTES = 1 << 20
"""A header must end within so much of a file."""

MOST_COLUMNS = 1900
"""The lake's catalog notes changes in a table of its own with all columns, and SQLite takes 2,000."""

FIRST_REJECTS = 10
_USUAL_HEADER = 16 << 10
_USUAL_WIDTH = 50
_MOST_DIGITS = 38
_CELLS_A_GROUP = 5_000_000
_DICTIONARY_BYTES = 128 << 20
_USUAL_LINE = 2 << 20
_LONGEST_LINE = 64 << 20
_READ_BUFFER = 32 << 20
_LONGEST_VALUE = 200
_LONGEST_RAW = 2000
_PARQUET_MAGIC = b"PAR1"


@dataclass(frozen=True)
class StageTask:
    """Everything a child needs to stage one chunk.

    ``wanted`` holds what is known of columns by folded name: their spelling, type and length in the table
    or in the client's schema; those in ``fixed`` are the table's and stay as they are. ``keys`` are
    folded names, too. ``string_length`` cuts every other string; None keeps them whole.
    """

    source: Path
    target: Path
    rejects: Path
    file_type: FileType
    csv: CsvOptions
    wanted: dict[str, Column]
    fixed: frozenset[str]
    keys: frozenset[str]
    string_length: int | None


@dataclass(frozen=True)
class _Field:
    """A column on its way: where it is read, what it becomes."""

    source: Source
    name: str
    type: ColumnType
    length: int | None
    fixed: bool
    key: bool


class Stager:
    """Warm child processes: some that stage, one that only looks, so that no answer waits for a long file."""

    def __init__(self, *, processes: int, memory_mb: int, seconds: int) -> None:
        self._seconds = seconds
        self.closed = False
        self._stagers = process_pool(processes, _start_child, (memory_mb,), at_once=True)
        self._looker = process_pool(1, _start_child, (memory_mb,), at_once=True)

    def look(self, path: Path, spec: PushSpec, *, said_to_be_csv: bool = False) -> tuple[FileType, list[str]]:
        """What a chunk is, and its column names. Raises ChunkUnreadable."""
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        kind = kind_of(head, spec, said_to_be_csv=said_to_be_csv)
        if kind is FileType.CSV:
            return kind, header(head, complete=len(head) < HEAD_BYTES, csv=spec.csv or CsvOptions())
        try:
            names = self._looker.schedule(_parquet_columns, args=(path,), timeout=60).result()
        except (ChildDied, TimeoutError) as error:
            raise ChunkUnreadable("The Parquet file cannot be read: its footer is damaged.") from error
        _check_names(names)
        return kind, names

    def stage(self, task: StageTask) -> StageReport:
        """Stage in a child. Raises ChunkFailed when the chunk, and nothing else, is lost.

        A child that dies may have been somebody else's victim, so its chunk gets a second one.
        """
        for last in (False, True):
            try:
                return self._stagers.schedule(stage, args=(task,), timeout=self._seconds).result()
            except ChildDied as error:
                if last or self.closed:
                    raise ChunkFailed(
                        f"The process that read it ended with code {error.code}: the file is damaged, or "
                        "needs more memory than staging_memory_mb."
                    ) from error
            except TimeoutError as error:
                raise ChunkFailed("Reading it took longer than staging_seconds.") from error
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Kill the children. What they were staging is not lost, but not staged either."""
        self.closed = True
        for pool in (self._stagers, self._looker):
            pool.stop()
            pool.join()


def kind_of(head: bytes, spec: PushSpec, *, said_to_be_csv: bool) -> FileType:
    """What a chunk is: Parquet if its bytes say so, CSV only if the client does, for the job or the chunk.

    Text alone is no CSV: a proxy's error page would become a table. Raises ChunkUnreadable.
    """
    if not head:
        raise ChunkUnreadable("The chunk is empty: send a CSV with its header, or a Parquet file.")
    if head.startswith(_PARQUET_MAGIC):
        return FileType.PARQUET
    if spec.file_type is FileType.CSV or (spec.file_type is None and (spec.csv or said_to_be_csv)):
        return FileType.CSV
    raise ChunkUnreadable(
        "The chunk is not a Parquet file (it does not begin with PAR1). "
        'For CSV create the job with "fileType": "CSV".'
    )


def header(head: bytes, *, complete: bool, csv: CsvOptions) -> list[str]:
    """The column names of a CSV; nameless columns get one from their position."""
    try:
        dialect = dialect_of(csv)
        record = csvrecords.first_record(head[:_USUAL_HEADER], dialect, complete=False)
        record = record or csvrecords.first_record(head, dialect, complete=complete)
    except (ValueError, LookupError) as error:
        raise ChunkUnreadable(f"The CSV cannot be read: {error}.") from error
    if record is None:
        raise ChunkUnreadable(f"The CSV has no header line within its first {HEAD_BYTES} bytes.")
    names = [(name or "").strip() or f"column_{n}" for n, name in enumerate(record, 1)]
    _check_names(names)
    return names


def _check_names(names: Sequence[str]) -> None:
    """Refuse at once what no table could hold. Raises ChunkUnreadable."""
    if len(names) > MOST_COLUMNS:
        raise ChunkUnreadable(f"A table may have {MOST_COLUMNS} columns; this chunk has {len(names)}.")
    seen: set[str] = set()
    for name in names:
        if not name or "\0" in name:
            raise ChunkUnreadable("The name of a column is empty or holds the character NUL.")
        if fold(name) in seen:
            raise ChunkUnreadable(
                f"The header has the column '{name}' twice; names match without regard to case."
            )
        seen.add(fold(name))


def dialect_of(csv: CsvOptions) -> Dialect:
    standard = Dialect()
    ending = csv.line_ending if csv.line_ending not in (None, "\n", "\r\n", "\r") else None
    return Dialect(
        separator=csv.separator or standard.separator,
        quote=csv.quote if csv.quote is not None else standard.quote,
        escape=csv.escape or standard.escape,
        line_ending=ending,
        charset=csv.charset or standard.charset,
    )


# -- in the child --------------------------------------------------------------------------------------

_engine: duckdb.DuckDBPyConnection | None = None
_memory_mb = 0


def _start_child(memory_mb: int) -> None:
    global _memory_mb  # noqa: PLW0603  a fact about the process
    limit_this_process(memory_mb)
    _memory_mb = memory_mb
    _new_engine()


def _new_engine() -> None:
    global _engine  # noqa: PLW0603  one engine a process
    if _engine:
        _engine.close()
    _engine = duckdb.connect(
        config={
            "threads": "1",  # in the order of the file for nothing, and 10 % less CPU than two
            "memory_limit": f"{_memory_mb}MB",
            "enable_external_file_cache": "false",  # every file is read once
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
    )
    _engine.execute("SET TimeZone='UTC'")


def _renew_if_bloated() -> None:
    """What a hostile chunk made the engine keep must not fail the next one."""
    held = _db().execute("SELECT sum(memory_usage_bytes) FROM duckdb_memory()").fetchall()[0][0]
    if held > (_memory_mb << 20) // 8:
        _new_engine()


def _db() -> duckdb.DuckDBPyConnection:
    if _engine is None:
        raise RuntimeError("not a staging process")
    return _engine


def _parquet_columns(path: Path) -> list[str]:
    """The names as the file has them: the engine would rename what stands twice."""
    try:
        query = f"SELECT name, num_children, precision FROM parquet_schema({literal(str(path))})"
        schema = _db().execute(query).fetchall()
        _described(f"read_parquet({literal(str(path))}, hive_partitioning=false)")
    except duckdb.Error as error:
        raise ChunkUnreadable(f"Internal error while validating the Parquet: {_first_line(error)}") from error
    if any((precision or 0) > _MOST_DIGITS for _, _, precision in schema):
        raise ChunkUnreadable(f"A DECIMAL may have {_MOST_DIGITS} digits; this file has a longer one.")
    names: list[str] = []
    left: list[int] = []
    for name, children, _ in schema[1:]:  # depth first; the first is the root
        if not left:
            names.append(name)
        else:
            left[-1] -= 1
        if children:
            left.append(children)
        while left and left[-1] == 0:
            left.pop()
    return [name or f"column_{number}" for number, name in enumerate(names, 1)]


def _described(relation: str) -> list[tuple[str, str]]:
    rows = _db().execute(f"DESCRIBE FROM {relation}").fetchall()
    return [(name, type) for name, type, *_ in rows]


def stage(task: StageTask) -> StageReport:
    """Stage one chunk; the target appears whole or not at all. Raises ChunkFailed."""
    with _scratch(task.target) as scratch:
        try:
            report = (
                _stage_csv(task, scratch) if task.file_type is FileType.CSV else _stage_parquet(task, scratch)
            )
        except duckdb.Error as error:
            raise ChunkFailed(_first_line(error)) from error
        finally:
            _renew_if_bloated()
        scratch.staged.rename(task.target)
        if scratch.rejects.exists():
            scratch.rejects.rename(task.rejects)
        else:
            task.rejects.unlink(missing_ok=True)  # of an earlier try
        return report


@dataclass(frozen=True)
class _Scratch:
    """Files of one try; a try that dies leaves them under names that nobody reads."""

    staged: Path
    rejects: Path
    records: Path
    bad_records: Path
    bad_values: Path


@contextmanager
def _scratch(target: Path) -> Iterator[_Scratch]:
    target.parent.mkdir(parents=True, exist_ok=True)
    stem = f".{target.name}.{uuid4().hex}"
    scratch = _Scratch(
        *(target.parent / f"{stem}.{part}" for part in ("staged", "rejects", "csv", "bad1", "bad2"))
    )
    try:
        yield scratch
    finally:
        for path in vars(scratch).values():
            path.unlink(missing_ok=True)


def _stage_csv(task: StageTask, scratch: _Scratch) -> StageReport:
    with task.source.open("rb") as file:
        head = file.read(HEAD_BYTES)
    names = header(head, complete=len(head) < HEAD_BYTES, csv=task.csv)
    fields, notes = _fields(task, [(f"c{n}", name, "VARCHAR") for n, name in enumerate(names)])
    direct = csvrecords.direct_dialect(task.source, dialect_of(task.csv))
    if direct:
        relation = _read_csv(task.source, direct, [f"c{n}" for n in range(len(names))], header=True)
        report = _straight(relation, fields, scratch)
        if report:
            return replace(report, notes=notes)
    bad_rows = _rewrite(task, scratch, len(names))
    columns = [f"c{n}" for n in range(len(names))]
    relation = _read_csv(scratch.records, Dialect(), columns, header=False, numbered=True)
    report = _careful(relation, fields, scratch, bad_rows)
    return replace(report, notes=(*notes, *report.notes))


def _stage_parquet(task: StageTask, scratch: _Scratch) -> StageReport:
    path = literal(str(task.source))
    relation = f"read_parquet({path}, hive_partitioning=false)"
    empty = {
        row[0]
        for row in _db()
        .execute(f"SELECT name FROM parquet_schema({path}) WHERE logical_type LIKE 'Null%'")
        .fetchall()
    }
    try:
        names = _parquet_columns(task.source)
    except ChunkUnreadable as error:
        raise ChunkFailed(error.message) from error
    described = _described(relation)
    # whatever the columns are called, here they are c0, c1 …
    cells = ", ".join(f"{quoted(name)} AS c{n}" for n, (name, _) in enumerate(described))
    types = [
        (f"c{n}", name, '"NULL"' if name in empty else type)
        for n, (name, (_, type)) in enumerate(zip(names, described, strict=True))
    ]
    fields, notes = _fields(task, types)
    if report := _straight(f"(SELECT {cells} FROM {relation})", fields, scratch):
        return replace(report, notes=notes)
    numbered = f"(SELECT row_number() OVER () AS _line, {cells} FROM {relation})"  # one thread: file order
    report = _careful(numbered, fields, scratch, bad_rows=0)
    return replace(report, notes=(*notes, *report.notes))


def _fields(task: StageTask, columns: Sequence[tuple[str, str, str]]) -> tuple[list[_Field], tuple[str, ...]]:
    """What becomes of each column of the file, given as (SQL, name, engine type)."""
    fields, notes = [], []
    for sql, name, engine_type in columns:
        if fold(name) == fold(CHANGE_DATE):
            notes.append(f"The column {name} of the file is not used: Headrace sets it at the commit.")
            continue
        wanted = task.wanted.get(fold(name))
        source = Source(sql, engine_type, _options(task, name))
        known = wanted is not None and wanted.type != UNKNOWN
        type = wanted.type if wanted and known else stored_type(engine_type)
        length = (wanted.length if wanted else None) or task.string_length
        fields.append(
            _Field(
                source,
                wanted.name if wanted else name,
                type,
                length if type == STRING else None,
                fold(name) in task.fixed,
                fold(name) in task.keys,
            )
        )
    if not fields:
        raise ChunkFailed(f"The file has no column but {CHANGE_DATE}, which Headrace sets itself.")
    return fields, tuple(notes)


def _options(task: StageTask, name: str) -> ColumnCsvOptions:
    return task.csv.of_column(name)


def _read_csv(
    path: Path, dialect: Dialect, columns: Sequence[str], *, header: bool, numbered: bool = False
) -> str:
    types = {**({"_line": "BIGINT"} if numbered else {}), **dict.fromkeys(columns, "VARCHAR")}
    listed = ", ".join(f"{literal(name)}: {literal(type)}" for name, type in types.items())
    ending = "new_line='\\n', " if numbered else ""  # else a quoted \\r could be taken for it
    # never below what the file may hold: behind a longer line the engine may end early, in silence
    longest = min(_LONGEST_LINE, max(_USUAL_LINE, path.stat().st_size))
    return (
        f"read_csv({literal(str(path))}, auto_detect=false, header={header}, columns={{{listed}}}, "
        f"delim={literal(dialect.separator)}, quote={literal(dialect.quote or '')}, "
        f"escape={literal(dialect.escape or '')}, nullstr='', allow_quoted_nulls=false, strict_mode=true, "
        f"max_line_size={longest}, buffer_size={max(longest, _READ_BUFFER)}, {ending}"
        "compression='none', hive_partitioning=false)"
    )


# -- the straight way ----------------------------------------------------------------------------------


def _straight(relation: str, fields: Sequence[_Field], scratch: _Scratch) -> StageReport | None:
    """Write the chunk in one pass; None when anything in it needs care."""
    try:
        rows = _write(
            f"SELECT {_select(fields, strict, _must_fit)} FROM {relation}", len(fields), scratch.staged
        )
    except (duckdb.IOException, duckdb.OutOfMemoryException):
        raise  # not the rows' fault: the careful way would meet the same
    except duckdb.Error:
        return None
    return StageReport(rows, 0, _columns(fields))


def _select(
    fields: Sequence[_Field],
    convert: Callable[[Source, ColumnType], str],
    limit: Callable[[str, int], str],
) -> str:
    """The stored columns. A column without a value is left out: it is NULL in whatever type it gets."""
    stored = [f for f in fields if f.type != UNKNOWN or f.key] or fields
    values = ((convert(f.source, f.type), f) for f in stored)
    return ", ".join(f"{limit(v, f.length) if f.length else v} AS {quoted(f.name)}" for v, f in values)


def _must_fit(value: str, length: int) -> str:
    # bytes first: counting characters costs more, and most strings are short
    return (
        f"CASE WHEN strlen({value}) <= {length} OR length({value}) <= {length} THEN {value} "
        f"WHEN {value} IS NULL THEN NULL ELSE error('longer than {length}') END"
    )


def _cut(value: str, length: int) -> str:
    return f"left({value}, {length})"


def _write(query: str, columns: int, path: Path) -> int:
    options = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1"
    if columns > _USUAL_WIDTH:  # the writer holds a row group in memory, and a dictionary for each column
        rows_a_group = max(2048, _CELLS_A_GROUP // columns)
        dictionary = max(8192, _DICTIONARY_BYTES // columns)
        options += f", ROW_GROUP_SIZE {rows_a_group}, STRING_DICTIONARY_PAGE_SIZE_LIMIT {dictionary}"
    copy = f"COPY ({query}) TO {literal(str(path))} ({options})"
    rows = int(_db().execute(copy).fetchall()[0][0])
    sync(path)  # here, beside other chunks, so that the load's own sync has nothing left to write
    return rows


def _columns(fields: Sequence[_Field]) -> tuple[Column, ...]:
    return tuple(Column(f.name, f.type, f.length) for f in fields)


# -- the careful way -----------------------------------------------------------------------------------


def _rewrite(task: StageTask, scratch: _Scratch, width: int) -> int:
    """The same records, numbered, in a CSV that the engine surely reads; answers how many could not be."""
    count = 0
    with scratch.bad_records.open("w", encoding="utf-8") as out:

        def note(bad: BadRecord) -> None:
            nonlocal count
            count += 1
            reject = Reject(bad.line, None, None, bad.message, bad.code, bad.raw)
            out.write(json.dumps(vars(reject), ensure_ascii=False) + "\n")

        csvrecords.rewrite(task.source, scratch.records, dialect_of(task.csv), width=width, on_bad=note)
    return count


def _careful(relation: str, fields: Sequence[_Field], scratch: _Scratch, bad_rows: int) -> StageReport:
    declared, fields = fields, [_exact(f, relation) for f in fields]
    any_bad = " OR ".join(is_bad(f.source, f.type) for f in fields)
    bad_values = _write_rejects(relation, fields, any_bad, scratch.bad_values)
    good = f"(SELECT * FROM {relation} WHERE NOT ({any_bad}))"
    cuts = _cuts(good, fields)
    rows = _write(f"SELECT {_select(fields, lenient, _cut)} FROM {good}", len(fields), scratch.staged)
    first = _merge_rejects(scratch) if bad_rows + bad_values else ()
    notes = tuple(
        f"The column {before.name} holds values that do not fit {before.type}: stored as {after.type}."
        for before, after in zip(declared, fields, strict=True)
        if before.type != after.type
    )
    return StageReport(rows, bad_rows + bad_values, _columns(fields), cuts, first, notes)


def _exact(field: _Field, relation: str) -> _Field:
    """A DECIMAL that keeps every value of the file as it is: wider if need be, else FLOAT."""
    if field.type.kind is not ColumnKind.DECIMAL or field.fixed:
        return field
    scale = field.type.scale
    for type in (field.type, decimal(38, scale), FLOAT):
        inexact = f"{is_bad(field.source, type)} AND NOT {is_bad(field.source, FLOAT)}"
        if not _db().execute(f"SELECT count(*) FROM {relation} WHERE {inexact}").fetchall()[0][0]:
            return replace(field, type=type)
    return field


def _write_rejects(relation: str, fields: Sequence[_Field], any_bad: str, path: Path) -> int:
    def first_bad(show: Callable[[_Field], str]) -> str:
        return "CASE " + " ".join(f"WHEN {is_bad(f.source, f.type)} THEN {show(f)}" for f in fields) + " END"

    raw = ", ".join(f"{quoted(f.name)} := {f.source.sql}" for f in fields)
    value = first_bad(lambda f: f"left({f.source.sql}::VARCHAR, {_LONGEST_VALUE})")
    expected = first_bad(lambda f: literal(expectation(f.source, f.type)))
    record = f"left(to_json(struct_pack({raw}))::VARCHAR, {_LONGEST_RAW})"
    query = (
        f'SELECT _line AS line, {first_bad(lambda f: literal(f.name))} AS "column", {value} AS "value", '
        f"{expected} AS expected, 'value-does-not-fit' AS code, {record} AS raw "
        f"FROM {relation} WHERE {any_bad}"
    )
    return int(_db().execute(f"COPY ({query}) TO {literal(str(path))} (FORMAT json)").fetchall()[0][0])


def _cuts(relation: str, fields: Sequence[_Field]) -> tuple[Cut, ...]:
    limited = [f for f in fields if f.length]
    if not limited:
        return ()
    measured = ", ".join(
        f"count(*) FILTER (length({value}) > {f.length}), max(length({value}))"
        for f, value in ((f, lenient(f.source, f.type)) for f in limited)
    )
    numbers = _db().execute(f"SELECT {measured} FROM {relation}").fetchall()[0]
    found = zip(limited, numbers[::2], numbers[1::2], strict=True)
    return tuple(Cut(f.name, f.length or 0, rows, longest) for f, rows, longest in found if rows)


def _merge_rejects(scratch: _Scratch) -> tuple[Reject, ...]:
    """Bad records and bad values as one file, by line; answers the first of them."""
    first: list[Reject] = []
    sources = [_read_rejects(path) for path in (scratch.bad_records, scratch.bad_values) if path.exists()]
    with scratch.rejects.open("w", encoding="utf-8") as out:
        for reject in merge(*sources, key=lambda r: int(r["line"])):
            out.write(json.dumps(reject, ensure_ascii=False) + "\n")
            if len(first) < FIRST_REJECTS:
                first.append(Reject(**reject))
    sync(scratch.rejects)
    return tuple(first)


def _read_rejects(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            reject = json.loads(line)
            yield {name: reject.get(name) for name in Reject.__dataclass_fields__}


def _first_line(error: Exception) -> str:
    """The engine's message without its advice and without our paths."""
    text = str(error).strip().splitlines()[0]
    return " ".join(word for word in text.split() if "/" not in word)
