"""The checksums of a Parquet file's pages, which no engine of ours looks at.

A bit that has turned over in a page is another value, and nothing but its checksum tells. Not every writer
sets them (Spark does); a file whose first page has none is left alone.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from headrace.conversion import literal
from headrace.errors import ChunkFailed
from headrace.staging.engine import db

_STOP = 0
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _STRUCT = *range(1, 9), 12
_COMPRESSED_SIZE, _CRC = 3, 4  # fields of a page's header
_DEEPEST = 16


def refuse_damaged_pages(path: Path) -> None:
    """Raises ChunkFailed when a page is not what its checksum says."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if not _has_checksums(path, data):
            return
        for group, column, start, size in _column_chunks(path):
            for page in _pages(data, start, start + size):
                if page.crc is not None and zlib.crc32(data[page.start : page.end]) != page.crc:
                    raise ChunkFailed(
                        f"The file is damaged: the page at byte {page.start} (column {column}, row group "
                        f"{group + 1}) has another checksum than its header says."
                    )


def _has_checksums(path: Path, data: mmap.mmap) -> bool:
    for *_, start, size in _column_chunks(path, "LIMIT 1"):
        return any(page.crc is not None for page in islice(_pages(data, start, start + size), 1))
    return False


def _column_chunks(path: Path, limit: str = "") -> list[tuple[int, str, int, int]]:
    """Row group, column, first byte and size of each."""
    query = (
        "SELECT row_group_id, path_in_schema, "
        "least(nullif(dictionary_page_offset, 0), nullif(data_page_offset, 0)) AS first, "
        "total_compressed_size "
        f"FROM parquet_metadata({literal(str(path))}) WHERE first > 0 AND total_compressed_size > 0 {limit}"
    )
    return db().execute(query).fetchall()


@dataclass(frozen=True)
class _Page:
    start: int
    end: int
    crc: int | None


def _pages(data: mmap.mmap, at: int, end: int) -> Iterator[_Page]:
    while at < end:
        try:
            header = _Thrift(data, at)
            fields = header.numbers()
            page = _Page(header.at, header.at + fields[_COMPRESSED_SIZE], fields.get(_CRC))
        except (IndexError, KeyError, RecursionError) as error:
            raise ChunkFailed(f"The file is damaged: there is no page at byte {at}.") from error
        yield page if page.crc is None else _Page(page.start, page.end, page.crc & 0xFFFFFFFF)
        if page.end <= at or page.end > len(data):
            raise ChunkFailed(f"The file is damaged: the page at byte {at} has no end.")
        at = page.end


class _Thrift:
    """So much of the compact protocol as a page's header needs."""

    def __init__(self, data: mmap.mmap, at: int) -> None:
        self._data = data
        self.at = at

    def numbers(self) -> dict[int, int]:
        """The whole numbers of a struct, by their fields; what else it has is passed over."""
        found: dict[int, int] = {}
        for field, type in self._fields():
            if type in (_I16, _I32, _I64):
                found[field] = self._zigzag()
            else:
                self._skip(type, 0)
        return found

    def _fields(self) -> Iterator[tuple[int, int]]:
        field = 0
        while (byte := self._byte()) != _STOP:
            delta = byte >> 4
            field = field + delta if delta else self._zigzag()
            yield field, byte & 15

    def _skip(self, type: int, depth: int) -> None:
        if depth > _DEEPEST:
            raise RecursionError
        if type == _BYTE:
            self.at += 1
        elif type in (_I16, _I32, _I64):
            self._varint()
        elif type == _DOUBLE:
            self.at += 8
        elif type == _BINARY:
            size = self._varint()
            self.at += size
        elif type == _STRUCT:
            for _, inner in self._fields():
                self._skip(inner, depth + 1)
        elif type not in (_TRUE, _FALSE):
            raise IndexError  # no page's header has lists or maps

    def _byte(self) -> int:
        byte = self._data[self.at]
        self.at += 1
        return byte

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise IndexError
        return value | byte << shift

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
