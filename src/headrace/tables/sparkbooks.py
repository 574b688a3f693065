"""Receipts of loads, and of their undoings, beside the tables of a pool.

A receipt is written before the commit and counts when every table of the job has the job among its versions.
Once that is known it is said in the file, for versions are dropped one day.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from headrace.durable import sync
from headrace.model import Receipt, TableRef, Undoing, UndoneTable
from headrace.tables.icebergstate import plain


@dataclass(frozen=True)
class Note:
    """``tables`` are the plain names of those that it is about; ``settled``: all of them have it."""

    job: str
    undo: bool
    tables: tuple[str, ...]
    settled: bool
    told: dict[str, Any]

    def receipt(self) -> Receipt:
        fields = {**self.told, "change_date": datetime.fromisoformat(self.told["change_date"])}
        return Receipt(**{**fields, "logs": tuple(fields["logs"])})

    def undoing(self) -> Undoing:
        tables = tuple(UndoneTable(**{**t, "ref": TableRef(**t["ref"])}) for t in self.told["tables"])
        return Undoing(self.told["job_id"], datetime.fromisoformat(self.told["at"]), tables)


class Books:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, job: str, *, undo: bool = False) -> Note | None:
        try:
            fields = json.loads(self._path(job, undo).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return Note(**{**fields, "tables": tuple(fields["tables"])})

    def all(self) -> Iterator[Note]:
        for path in sorted(self._folder.glob("*.json")):
            yield Note(**json.loads(path.read_text(encoding="utf-8")))

    def write(self, told: Receipt | Undoing, tables: Collection[str], *, settled: bool = False) -> Note:
        undo = isinstance(told, Undoing)
        fields = json.loads(json.dumps(asdict(told), default=str))
        note = Note(told.job_id, undo, tuple(tables), settled, fields)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(note.job, undo)
        written = path.with_suffix(".new")
        written.write_text(json.dumps(asdict(note), ensure_ascii=False), encoding="utf-8")
        sync(written)
        written.replace(path)
        sync(self._folder)
        return note

    def settle(self, note: Note) -> None:
        if not note.settled:
            self.write(note.undoing() if note.undo else note.receipt(), note.tables, settled=True)

    def forget(self, jobs: Collection[str]) -> int:
        """Answers how many."""
        paths = [self._path(job, undo) for job in jobs for undo in (False, True)]
        there = [path for path in paths if path.exists()]
        for path in there:
            path.unlink()
        return len(there)

    def _path(self, job: str, undo: bool) -> Path:
        return self._folder / f"{'undo-' if undo else 'load-'}{plain(job)}.json"
