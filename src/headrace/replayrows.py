"""Rejects written anew: as CSV in our own dialect, whatever they were read from."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Sequence

from headrace.csvrecords import Dialect, Fields, MalformedRecord, plain_record, records_of
from headrace.errors import InvalidRequest
from headrace.model import CHANGE_DATE, Chunk, CsvOptions, FileType, Reject, fold
from headrace.rejected import Number, values_of
from headrace.staging.looking import dialect_of


class Rows:
    """The rejects of one chunk as lines of CSV."""

    def __init__(self, chunk: Chunk, csv: CsvOptions) -> None:
        report = chunk.report
        assert report is not None
        names = list(report.header) or [c.name for c in report.columns]
        self._places = [n for n, name in enumerate(names) if fold(name) != fold(CHANGE_DATE)]
        self._names = names
        self._is_csv = chunk.file_type is FileType.CSV
        self._csv = csv
        self._dialect = _dialect(csv)
        self.header = plain_record([names[n] for n in self._places])

    def lines(self, reject: Reject) -> list[bytes]:
        """The row, or what the text of a bad record holds now. Raises ValueError: why it can't be sent."""
        if not reject.whole:
            raise ValueError("it was too long to be kept, or is no text")
        if reject.column is None:
            return [self._line(fields) for fields in self._records(reject)]
        values = {fold(name): self._spelled(name, value) for name, value in values_of(reject).items()}
        if not values:
            raise ValueError("it was too long to be kept")
        return [self._line([values.get(fold(name)) for name in self._names])]

    def _spelled(self, name: str, value: str | None) -> str | None:
        """A number of Parquet as the options of the new job want it."""
        if not isinstance(value, Number):
            return value
        return value.replace(".", self._csv.of_column(name).decimal_separator or ".")

    def _line(self, fields: Sequence[str | None]) -> bytes:
        return plain_record([fields[n] for n in self._places])

    def _records(self, reject: Reject) -> Iterator[Fields]:
        if not self._is_csv:
            raise ValueError("it could not be read, and was no CSV")
        try:
            records = records_of(self._text(reject), self._dialect)
        except MalformedRecord as error:
            raise ValueError(str(error)) from error
        if not records:
            raise ValueError("it is blank")
        width = len(self._names)
        for record in records:
            if len(record) < width or any(extra is not None for extra in record[width:]):
                raise ValueError(f"{len(record)} fields instead of {width}")
            yield record

    def _text(self, reject: Reject) -> str:
        if reject.base64 is None:
            return reject.raw or ""
        try:
            return b64decode(reject.base64).decode(self._dialect.codec())
        except UnicodeDecodeError as error:
            raise ValueError("there are bytes that the charset does not have") from error


def _dialect(csv: CsvOptions) -> Dialect:
    try:
        return dialect_of(csv)
    except ValueError as error:
        raise InvalidRequest(f"{error}.", attribute="csvParsingOptions") from error
