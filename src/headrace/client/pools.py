"""A pool and its tables, as a person uses them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

from headrace.client.calls import Calls
from headrace.client.files import files_of, kind_by, kind_of
from headrace.client.journal import opened_journal
from headrace.client.parts import Part, parts_of_files, parts_of_rows, parts_of_stream
from headrace.client.progress import Progress, progress_bar
from headrace.client.pushing import Push, Pushed, Wish, failure, polled
from headrace.errors import InvalidRequest

if TYPE_CHECKING:
    import pyarrow as pa

Parts = Callable[[], Iterator[Part]]
"""The parts of a push, from the first one each time."""

_TYPES = {"replace": "REPLACE", "delta": "DELTA"}


@dataclass(frozen=True)
class How:
    """How a push is sent: the size of its chunks, about, and how many are under way at once.

    ``part_bytes`` of what is in memory, ``csv_part_bytes`` of text files, ``stream_part_bytes`` of streams.
    """

    part_bytes: int = 64 << 20
    csv_part_bytes: int = 512 << 20
    stream_part_bytes: int = 64 << 20
    at_once: int = 4
    progress: Progress | None = None


@dataclass(frozen=True)
class Pool:
    """A data pool of a server."""

    calls: Calls
    id: str

    def push(
        self,
        data: Any,
        *,
        table: str,
        keys: Sequence[str] = (),
        mode: str = "replace",
        order_by: str | None = None,
        how: How | None = None,
        **spec: Any,
    ) -> Pushed:
        """Push rows to a table and wait until they are there.

        ``data``: a path or glob of CSV, Parquet, NDJSON or Arrow files, a pandas, polars or pyarrow table, a
        relation of DuckDB, an iterator of these, or a binary stream (``sys.stdin.buffer``). ``mode``:
        'replace' or 'delta'. ``keys``: with them a delta updates rows and adds the others, without them it
        appends. ``order_by``: of rows with one key the one with the largest value wins; else the last one
        does. Everything else is a field of the job as the API names it: ``connectionId``, ``tableSchema``,
        ``csvParsingOptions``, ``upsertStrategy`` …

        Called again after an interruption, the same push goes on where it stopped.
        Raises LoadFailed, whose ``logs`` say why, or what the server refuses.
        """
        wanted = {"targetName": table, "type": _type(mode), "keys": list(keys) or None, **spec}
        return self._pushed(data, wanted, "upserted", order_by, how or How())

    def delete(
        self, data: Any, *, table: str, keys: Sequence[str], how: How | None = None, **spec: Any
    ) -> Pushed:
        """Delete the rows whose key is in the data; other columns of it do not count."""
        wanted = {"targetName": table, "type": "DELTA", "keys": list(keys), **spec}
        return self._pushed(data, wanted, "deleted", None, how or How())

    def dry_run(
        self,
        data: Any,
        *,
        table: str,
        keys: Sequence[str] = (),
        mode: str = "replace",
        delete: bool = False,
        order_by: str | None = None,
        how: How | None = None,
        **spec: Any,
    ) -> dict[str, Any]:
        """What such a push, or such a ``delete``, would do, in the fields of the API. Nothing is changed."""
        wanted = {"targetName": table, "type": _type(mode), "keys": list(keys) or None, **spec}
        kind = "deleted" if delete else "upserted"
        with self._prepared(data, wanted, kind, order_by, how or How(), again=False) as (push, parts):
            return push.rehearse(parts)

    def _pushed(
        self, data: Any, wanted: Mapping[str, Any], kind: str, order_by: str | None, how: How
    ) -> Pushed:
        with self._prepared(data, wanted, kind, order_by, how) as (push, parts):
            return push.run(parts)

    @contextmanager
    def _prepared(
        self,
        data: Any,
        wanted: Mapping[str, Any],
        kind: str,
        order_by: str | None,
        how: How,
        *,
        again: bool = True,
    ) -> Iterator[tuple[Push, Parts]]:
        data = _peekable(data)
        files = files_of(data)
        spec = {"fileType": _file_type(data, files), "dataPoolId": self.id, **wanted}
        wish = Wish(self.id, spec, kind, order_by)
        asked = (self.calls.url, self.id, kind, order_by, spec, [str(f) for f in files or ()])
        total = sum(file.stat().st_size for file in files) if files else None
        with (
            opened_journal(asked, again=again and (files is not None or _is_rereadable(data))) as journal,
            progress_bar(str(spec["targetName"]), how.progress, total) as told,
        ):
            push = Push(self.calls, wish, journal, at_once=how.at_once, told=told)
            yield push, _parts(data, files, journal.parts, spec, how)

    # -- afterwards ------------------------------------------------------------------------------------

    def undo(self, job_id: str, preview: bool = False) -> dict[str, Any]:
        """Take back what the last job of its tables did; with ``preview`` only say what that would do.

        Answers, for each table, how many rows go and come back. Raises NotUndoable.
        """
        asked: dict[str, Any] = {"params": {"dryRun": preview}, "headers": {"Idempotency-Key": str(uuid4())}}
        done: dict[str, Any] = self.calls.repeatable("POST", f"{self._job(job_id)}/undo", **asked).json()
        return done

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Call off a job that waits or runs; answers it, RUNNING still if its end takes long.

        Raises NotCancellable.
        """
        job: dict[str, Any] = self.calls.repeatable("POST", f"{self._job(job_id)}/cancel").json()
        return job

    def retry(self, job_id: str, **changes: Any) -> dict[str, Any]:
        """Run a job in ERROR again with its chunks; ``changes`` are fields of the job as the API names them.

        Answers the new job, QUEUED. Raises NotRetryable, and Lost after a lost answer: then ``retriedBy`` of
        the old job says whether there is a new one.
        """
        job: dict[str, Any] = self.calls.once("POST", f"{self._job(job_id)}/retry", json=changes).json()
        return job

    # -- jobs ---------------------------------------------------------------------------------------

    def jobs(self, limit: int = 100, offset: int = 0) -> list[dict[str, Any]]:
        """The jobs of the pool, newest first, deleted ones too."""
        found: list[dict[str, Any]] = self.calls.get(f"{self._ours}/jobs", limit=limit, offset=offset)
        return found

    def job(self, job_id: str) -> dict[str, Any]:
        """One job with its chunks, counts, phases and logs."""
        found: dict[str, Any] = self.calls.get(self._job(job_id))
        return found

    def watch(self, job_id: str) -> Iterator[dict[str, Any]]:
        """The job each time that it is looked at, until it has ended."""
        return polled(lambda: self.job(job_id))

    def wait(self, job_id: str) -> Pushed:
        """The job once it is DONE. Raises LoadFailed."""
        *_, job = self.watch(job_id)
        if job["status"] != "DONE":
            raise failure(job["errorCode"], job["logs"], job_id)
        return Pushed(job_id, job["targetName"], job["counts"] or {}, tuple(job["logs"]))

    def _job(self, job_id: str) -> str:
        return f"{self._ours}/jobs/{quote(job_id, safe='')}"

    # -- rejects ---------------------------------------------------------------------------------------

    def rejects(self, job_id: str) -> pa.Table:
        """The rows of a job that could not be stored, and why."""
        import pyarrow as pa  # noqa: PLC0415  slow to import

        return pa.Table.from_pylist(list(self.reject_rows(job_id)))

    def reject_rows(self, job_id: str, page: int = 10_000) -> Iterator[dict[str, Any]]:
        """The same, one after the other."""
        offset = 0
        while rows := self.calls.get(f"{self._job(job_id)}/rejects", limit=page, offset=offset):
            yield from rows
            offset += len(rows)

    def rejects_as_csv(self, job_id: str) -> Iterator[bytes]:
        """All of them as a file to correct and push."""
        return self.calls.streamed(f"{self._job(job_id)}/rejects", format="csv")

    def replay(self, job_id: str, **corrections: Any) -> str:
        """Send the rejects of a DONE job again, once; answers the id of the new job, which is QUEUED.

        Corrections are fields as the API names them: ``csvParsingOptions``, ``tableSchema`` …
        """
        made = self.calls.once("POST", f"{self._job(job_id)}/rejects/replay", json=corrections)
        return str(made.json()["id"])

    # -- tables ----------------------------------------------------------------------------------------

    def tables(self) -> list[str]:
        """The names of the pool's tables."""
        return [table["name"] for table in self.described_tables()]

    def described_tables(self) -> list[dict[str, Any]]:
        """The tables of the pool with their columns."""
        found: list[dict[str, Any]] = self.calls.get(f"{self._ours}/tables")
        return found

    def table(self, name: str, connection: str | None = None) -> Table:
        return Table(self.calls, self.id, name, connection)

    def maintain(self) -> list[str]:
        """Look after all tables now, as the server does now and then; needs an administrator's key."""
        done = self.calls.repeatable("POST", f"{self._ours}/upkeep").json()
        return [table["name"] for table in done]

    def sql(self, text: str, max_rows: int | None = None) -> list[dict[str, Any]]:
        """The rows of one SELECT over the pool's tables, as dictionaries."""
        found = self.query(text, max_rows)
        names = [column["name"] for column in found.columns]
        return [dict(zip(names, row, strict=True)) for row in found.rows]

    def query(self, text: str, max_rows: int | None = None) -> Found:
        """The same with types, and with columns that are called alike."""
        body = {"sql": text, "maxRows": max_rows}
        answer = self.calls.repeatable("POST", f"{self._ours}/sql", json=body).json()
        return Found(answer["columns"], answer["rows"], answer["truncated"])

    @property
    def _ours(self) -> str:
        return f"/api/v1/pools/{self.id}"


@dataclass(frozen=True)
class Found:
    """The answer to a query: columns with name and type, rows, and whether there were more."""

    columns: list[dict[str, str]]
    rows: list[list[Any]]
    truncated: bool


@dataclass(frozen=True)
class Table:
    """A table of a pool."""

    calls: Calls
    pool_id: str
    name: str
    connection: str | None = None

    def describe(self) -> dict[str, Any]:
        """Columns, rows and versions."""
        found: dict[str, Any] = self.calls.get(self._path, connection=self.connection)
        return found

    def export(self, format: str) -> Iterator[bytes]:
        """The whole table as a file, while it comes: csv, parquet, ndjson or arrow."""
        return self.calls.streamed(f"{self._path}/export", format=format, connection=self.connection)

    def versions(self) -> list[dict[str, Any]]:
        """The versions that can be read, newest first, each with the job that it made or took back."""
        found: list[dict[str, Any]] = self.describe()["versions"]
        return found

    def at(self, version: int, max_rows: int | None = None) -> list[dict[str, Any]]:
        """The rows of a version, as dictionaries, as many as a query of the server answers."""
        names = [name for name in (self.connection, self.name) if name]
        table = ".".join('"' + name.replace('"', '""') + '"' for name in names)
        return Pool(self.calls, self.pool_id).sql(
            f"SELECT * FROM {table} AT (VERSION => {int(version)})", max_rows
        )

    def to_arrow(self) -> pa.Table:
        import pyarrow as pa  # noqa: PLC0415  slow to import

        with pa.ipc.open_stream(io.BytesIO(b"".join(self.export("arrow")))) as stream:
            return stream.read_all()

    def to_pandas(self) -> Any:
        return self.to_arrow().to_pandas()

    def to_polars(self) -> Any:
        import polars  # noqa: PLC0415  an extra

        return polars.from_arrow(self.to_arrow())

    @property
    def _path(self) -> str:
        return f"/api/v1/pools/{self.pool_id}/tables/{quote(self.name, safe='')}"


def _type(mode: str) -> str:
    if mode not in _TYPES:
        raise InvalidRequest(f"mode is one of {', '.join(_TYPES)}, not '{mode}'.", attribute="mode")
    return _TYPES[mode]


def _peekable(data: Any) -> Any:
    """A stream whose first bytes can be looked at; everything else as it is."""
    is_stream = isinstance(data, io.RawIOBase | io.BufferedIOBase) and not isinstance(data, io.BufferedReader)
    return io.BufferedReader(data) if is_stream else data


def _file_type(data: Any, files: Sequence[Path] | None) -> str:
    if isinstance(data, io.BufferedReader):
        return kind_by(data.peek(8)[:8])
    return kind_of(files or ())


def _is_rereadable(data: Any) -> bool:
    if isinstance(data, io.BufferedReader):
        return False
    from headrace.client.sources import is_rereadable  # noqa: PLC0415  Arrow is slow to import

    return is_rereadable(data)


def _parts(data: Any, files: Sequence[Path] | None, folder: Path, spec: Mapping[str, Any], how: How) -> Parts:
    kind, options = str(spec["fileType"]), spec.get("csvParsingOptions") or {}
    if isinstance(data, io.BufferedReader):
        size = how.stream_part_bytes
        return lambda: parts_of_stream(data, folder, kind=kind, most_bytes=size, options=options)
    if files is None:
        return lambda: parts_of_rows(data, folder, most_bytes=how.part_bytes)
    return lambda: parts_of_files(files, folder, kind=kind, most_bytes=how.csv_part_bytes, options=options)
