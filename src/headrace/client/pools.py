"""A pool and its tables, as a person uses them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pyarrow as pa

from headrace.client.calls import Calls
from headrace.client.journal import opened_journal
from headrace.client.parts import Part, parts_of_files, parts_of_rows
from headrace.client.progress import Progress, progress_bar
from headrace.client.pushing import Push, Pushed, Wish
from headrace.client.sources import files_of, is_parquet, is_rereadable
from headrace.errors import InvalidRequest

_TYPES = {"replace": "REPLACE", "delta": "DELTA"}


@dataclass(frozen=True)
class How:
    """How a push is sent: the size of its chunks, about, and how many are under way at once."""

    part_bytes: int = 64 << 20
    csv_part_bytes: int = 512 << 20
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

        ``data``: a path or glob of CSV or Parquet files, a pandas, polars or pyarrow table, a relation of
        DuckDB, or an iterator of these. ``mode``: 'replace' or 'delta'. ``keys``: with them a delta updates
        rows and adds the others, without them it appends. ``order_by``: of rows with one key the one with the
        largest value wins; else the last one does. Everything else is a field of the job as the API names
        it: ``connectionId``, ``tableSchema``, ``csvParsingOptions``, ``upsertStrategy`` …

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

    def _pushed(
        self, data: Any, wanted: Mapping[str, Any], kind: str, order_by: str | None, how: How
    ) -> Pushed:
        files = files_of(data)
        spec = {"fileType": _file_type(files), "dataPoolId": self.id, **wanted}
        wish = Wish(self.id, spec, kind, order_by)
        asked = (self.calls.url, self.id, kind, order_by, spec, [str(f) for f in files or ()])
        with (
            opened_journal(asked, again=is_rereadable(data)) as journal,
            progress_bar(str(spec["targetName"]), how.progress) as told,
        ):
            push = Push(self.calls, wish, journal, at_once=how.at_once, told=told)
            return push.run(_parts(data, files, journal.parts, spec, how))

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

    # -- reading ---------------------------------------------------------------------------------------

    def jobs(self, limit: int = 100, offset: int = 0) -> list[dict[str, Any]]:
        """The jobs of the pool, newest first, deleted ones too."""
        found: list[dict[str, Any]] = self.calls.get(f"{self._ours}/jobs", limit=limit, offset=offset)
        return found

    def job(self, job_id: str) -> dict[str, Any]:
        """One job with its chunks, counts, phases and logs."""
        found: dict[str, Any] = self.calls.get(f"{self._ours}/jobs/{job_id}")
        return found

    def rejects(self, job_id: str) -> pa.Table:
        """The rows of a job that could not be stored, and why."""
        return pa.Table.from_pylist(list(self._reject_pages(job_id)))

    def _reject_pages(self, job_id: str, page: int = 10_000) -> Iterator[dict[str, Any]]:
        offset = 0
        while rows := self.calls.get(f"{self._ours}/jobs/{job_id}/rejects", limit=page, offset=offset):
            yield from rows
            offset += len(rows)

    def tables(self) -> list[str]:
        """The names of the pool's tables."""
        return [table["name"] for table in self.calls.get(f"{self._ours}/tables")]

    def table(self, name: str, connection: str | None = None) -> Table:
        return Table(self.calls, self.id, name, connection)

    def sql(self, text: str, max_rows: int | None = None) -> list[dict[str, Any]]:
        """The rows of one SELECT over the pool's tables, as dictionaries."""
        body = {"sql": text, "maxRows": max_rows}
        answer = self.calls.repeatable("POST", f"{self._ours}/sql", json=body).json()
        names = [column["name"] for column in answer["columns"]]
        return [dict(zip(names, row, strict=True)) for row in answer["rows"]]

    def _job(self, job_id: str) -> str:
        return f"{self._ours}/jobs/{job_id}"

    @property
    def _ours(self) -> str:
        return f"/api/v1/pools/{self.id}"


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
        params = {"format": "arrow", **({"connection": self.connection} if self.connection else {})}
        reply = self.calls.repeatable("GET", f"{self._path}/export", params=params)
        with pa.ipc.open_stream(io.BytesIO(reply.content)) as stream:
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


def _file_type(files: Sequence[Path] | None) -> str:
    """Of all files of a push: they are chunks of one job."""
    kinds = {"PARQUET" if is_parquet(file) else "CSV" for file in files or ()}
    if len(kinds) > 1:
        raise InvalidRequest("Some of the files are Parquet and some are not: push them one after the other.")
    return kinds.pop() if kinds else "PARQUET"


def _parts(
    data: Any, files: Sequence[Path] | None, folder: Path, spec: Mapping[str, Any], how: How
) -> Callable[[], Iterator[Part]]:
    if files is None:
        return lambda: parts_of_rows(data, folder, most_bytes=how.part_bytes)
    options = spec.get("csvParsingOptions") or {}
    return lambda: parts_of_files(files, folder, most_bytes=how.csv_part_bytes, options=options)
