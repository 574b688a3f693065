"""Staging NDJSON: its records as text in Parquet, their types from what all of them hold.

Whole numbers are INTEGER if all of a column fit in 64 bit, DECIMAL(38,0) if they fit in 38 digits. Numbers
with a fraction are FLOAT if each has at most 15 digits, for so many a FLOAT gives back as they were, else a
DECIMAL of 38 digits. What does not fit there is STRING, and so is a column of several kinds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from headrace.conversion import literal
from headrace.errors import ChunkFailed, ChunkUnreadable
from headrace.lattice import FLOAT_DIGITS, MOST_DIGITS
from headrace.model import UNKNOWN, Reject, StageReport, fold
from headrace.staging.fields import fields_of
from headrace.staging.jsonrecords import Line, MalformedLine, Number, Pairs, lines_of, record_of
from headrace.staging.looking import HEAD_BYTES, check_names
from headrace.staging.tasks import Scratch, StageTask
from headrace.staging.writing import Numbered, write_rows

MOST_KEYS = 1900
"""Each key costs memory for what its values could be: more than a table may have would not fit."""

_ROWS_A_BATCH = 20_000
_BYTES_A_BATCH = 16 << 20
_LOOKED_AT = 64 << 20
_LARGEST_EXPONENT = 300
_NUMBER = re.compile(r"-?(\d+)(?:\.(\d+))?")


def stage_ndjson(task: StageTask, scratch: Scratch) -> StageReport:
    with TemporaryDirectory(dir=scratch.records.parent, prefix=f"{scratch.records.name}.") as folder:
        table = _Table(Path(folder))
        bad_rows = _read(task, scratch, table)
        table.flush()
        if not table.columns:
            raise ChunkFailed("No line is a JSON object with a key.")
        fields, notes = fields_of(task, [_typed(task, column) for column in table.columns])
        relation = table.relation()
        report = write_rows(
            fields,
            scratch,
            straight=None if bad_rows else relation,
            careful=lambda: Numbered(
                relation, bad_rows, located=lambda rejects: _located(task.source, rejects)
            ),
        )
    return replace(report, notes=(*notes, *report.notes))


def _located(source: Path, rejects: Iterable[Reject]) -> Iterator[Reject]:
    """The rejects of a file, in its order, each with where its line begins in bytes."""
    with source.open("rb") as file:
        lines = lines_of(file)
        for reject in rejects:
            line = next(line for line in lines if line.number == reject.line)
            yield replace(reject, byte_offset=line.offset)


def ndjson_columns(path: Path) -> list[str]:
    """The keys in the first lines of a file. Raises ChunkUnreadable when there are none."""
    names: dict[str, str] = {}
    problem = "it has no line"
    with path.open("rb") as file:
        for line in lines_of(file):
            try:
                names |= {fold(key): names.get(fold(key), key) for key, _ in record_of(line)}
            except MalformedLine as error:
                problem = f"line {line.number}: {error}"
            if line.offset > (HEAD_BYTES if names else _LOOKED_AT):
                break
    if not names:
        raise ChunkUnreadable(f"The NDJSON cannot be read: no line is an object with keys ({problem}).")
    check_names(list(names.values()))
    return list(names.values())


def _read(task: StageTask, scratch: Scratch, table: _Table) -> int:
    """All records to the table, the bad ones to the rejects; answers how many those are."""
    bad_rows = 0
    with task.source.open("rb") as file, scratch.bad_records.open("w", encoding="utf-8") as out:
        for line in lines_of(file):
            try:
                table.add(line, record_of(line))
            except MalformedLine as error:
                bad_rows += 1
                reject = Reject(line.number, None, None, str(error), error.code, line.raw, line.offset)
                out.write(json.dumps(vars(reject), ensure_ascii=False) + "\n")
    return bad_rows


def _typed(task: StageTask, column: _Column) -> tuple[str, str, str]:
    """As SQL, name and type: text where somebody asks for a type, which then is read as from a CSV."""
    wanted = task.wanted.get(fold(column.name))
    type = column.engine_type
    if (wanted and wanted.type != UNKNOWN) or type == "VARCHAR":
        return column.sql, column.name, "VARCHAR"
    return (column.sql if type == '"NULL"' else f"CAST({column.sql} AS {type})"), column.name, type


@dataclass
class _Column:
    """The values of a batch, and what is known of those of all batches."""

    sql: str
    name: str
    values: list[str | None]
    text: bool = False
    boolean: bool = False
    number: bool = False
    whole: bool = True
    large: bool = False
    double: bool = True
    before_point: int = 0
    behind_point: int = 0

    def add(self, value: Any, row: int) -> None:
        if row > len(self.values):
            self.values.extend([None] * (row - len(self.values)))
        self.values.append(self._noted(value))

    def _noted(self, value: Any) -> str | None:
        if value is None:
            return None
        if isinstance(value, bool):
            self.boolean = True
            return "true" if value else "false"
        if isinstance(value, Number):
            self.number = True
            return self._noted_number(value)
        self.text = True
        return str(value)

    def _noted_number(self, spelled: str) -> str:
        text = _without_exponent(spelled)
        found = _NUMBER.fullmatch(text)
        if found is None:  # an exponent that no DECIMAL and hardly a FLOAT has
            self.whole, self.double, self.before_point = False, False, MOST_DIGITS + 1
            return text
        before, behind = found[1].lstrip("0"), (found[2] or "").rstrip("0")
        self.whole = self.whole and found[2] is None
        self.large = self.large or not _fits_64_bits(before, negative=text[0] == "-")
        self.double = self.double and len((before + behind).strip("0")) <= FLOAT_DIGITS
        self.before_point = max(self.before_point, len(before))
        self.behind_point = max(self.behind_point, len(behind))
        return text

    @property
    def engine_type(self) -> str:
        if self.text or (self.boolean and self.number):
            return "VARCHAR"
        if not self.number:
            return "BOOLEAN" if self.boolean else '"NULL"'
        if self.whole and not self.large:
            return "BIGINT"
        if not self.whole and self.double:
            return "DOUBLE"
        fits = self.before_point + self.behind_point <= MOST_DIGITS
        return f"DECIMAL({MOST_DIGITS},{self.behind_point})" if fits else "VARCHAR"


def _fits_64_bits(digits: str, *, negative: bool) -> bool:
    return len(digits) < 19 or (len(digits) == 19 and int(digits) < 2**63 + negative)


def _without_exponent(spelled: str) -> str:
    if "e" not in spelled and "E" not in spelled:
        return spelled
    value = Decimal(spelled)
    if value and abs(value.adjusted()) > _LARGEST_EXPONENT:
        return spelled
    text = format(value, "f")
    return text if "." in text else f"{text}.0"  # 1e3 was written by somebody who has fractions


class _Table:
    """Records as text columns of Parquet files; a new file where records have new keys."""

    def __init__(self, folder: Path) -> None:
        self.columns: list[_Column] = []
        self._folder = folder
        self._by_key: dict[str, _Column] = {}
        self._lines: list[int] = []
        self._bytes = 0
        self._files: list[Path] = []
        self._out: Any = None

    def add(self, line: Line, pairs: Pairs) -> None:
        """Raises MalformedLine for what cannot be a row."""
        columns = self._columns_of(pairs)
        for column, (_, value) in zip(columns, pairs, strict=True):
            column.add(value, len(self._lines))
        self._lines.append(line.number)
        self._bytes += len(line.data)
        if len(self._lines) >= _ROWS_A_BATCH or self._bytes >= _BYTES_A_BATCH:
            self.flush()

    def _columns_of(self, pairs: Pairs) -> list[_Column]:
        keys = [key for key, _ in pairs]
        found = [self._by_key.get(key) for key in keys]
        if None in found or len({id(column) for column in found}) < len(found):
            _refuse_keys(keys)
            return [column or self._new(key) for key, column in zip(keys, found, strict=True)]
        return found  # type: ignore[return-value]

    def _new(self, key: str) -> _Column:
        known = next((c for c in self.columns if fold(c.name) == fold(key)), None)
        if known is None:
            if len(self.columns) == MOST_KEYS:
                raise ChunkFailed(f"A chunk of NDJSON may have {MOST_KEYS} keys; this one has more.")
            known = _Column(f"c{len(self.columns)}", key, [])
            self.columns.append(known)
        self._by_key[key] = known
        return known

    def flush(self) -> None:
        """Write the batch."""
        import pyarrow as pa  # noqa: PLC0415  36 MB, and most children never need it
        import pyarrow.parquet as pq  # noqa: PLC0415

        rows = len(self._lines)
        cells: dict[str, Any] = {"_line": pa.array(self._lines, pa.int64())}
        for column in self.columns:
            column.values.extend([None] * (rows - len(column.values)))
            cells[column.sql] = pa.array(column.values, pa.large_string())
            column.values = []
        batch = pa.table(cells)
        if self._out is None or self._out.schema != batch.schema:
            self._close()
            self._files.append(self._folder / f"{len(self._files)}.parquet")
            self._out = pq.ParquetWriter(
                self._files[-1], batch.schema, compression="lz4", use_dictionary=False, write_statistics=False
            )
        self._out.write_table(batch)
        self._lines, self._bytes = [], 0

    def _close(self) -> None:
        if self._out is not None:
            self._out.close()

    def relation(self) -> str:
        self._close()
        files = ", ".join(literal(str(path)) for path in self._files)
        return f"read_parquet([{files}], union_by_name=true, hive_partitioning=false)"


def _refuse_keys(keys: Sequence[str]) -> None:
    seen: set[str] = set()
    for key in keys:
        if not key or "\0" in key:
            raise MalformedLine("malformed-json", "a key is empty or holds the character NUL")
        if fold(key) in seen:
            raise MalformedLine("malformed-json", f"the key '{key}' stands there twice")
        seen.add(fold(key))
