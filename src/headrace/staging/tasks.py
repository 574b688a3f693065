"""What a child needs to stage one chunk, and where it leaves the result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from headrace.conversion import Source
from headrace.model import Column, ColumnType, CsvOptions, FileType


@dataclass(frozen=True)
class StageTask:
    """Everything a child needs to stage one chunk.

    ``wanted`` holds what is known of columns by folded name: their spelling, type and length in the table
    or in the client's schema; those in ``fixed`` are the table's and stay as they are. ``keys`` are
    folded names, too. ``string_length`` cuts every other string; None keeps them whole. With
    ``strict_lengths`` what would be cut is rejected; where the chunk ``deletes``, only in its keys.
    ``infer``: what is not known of a CSV is guessed from its values. ``sha256`` is what the source must have
    if it has lain on the disk for a while.
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
    infer: bool = False
    strict_lengths: bool = False
    deletes: bool = False
    sha256: str | None = None


@dataclass(frozen=True)
class Field:
    """A column on its way: where it is read, what it becomes.

    ``guessed``: its values say what. ``strict``: a longer string is a reject.
    """

    source: Source
    name: str
    type: ColumnType
    length: int | None
    fixed: bool
    key: bool
    guessed: bool = False
    strict: bool = False


@dataclass(frozen=True)
class Scratch:
    """Files of one try; a try that dies leaves them under names that nobody reads."""

    staged: Path
    rejects: Path
    records: Path
    bad_records: Path
    bad_values: Path


@contextmanager
def scratch_files(target: Path) -> Iterator[Scratch]:
    target.parent.mkdir(parents=True, exist_ok=True)
    stem = f".{target.name}.{uuid4().hex}"
    scratch = Scratch(
        *(target.parent / f"{stem}.{part}" for part in ("staged", "rejects", "csv", "bad1", "bad2"))
    )
    try:
        yield scratch
    finally:
        for path in vars(scratch).values():
            path.unlink(missing_ok=True)
