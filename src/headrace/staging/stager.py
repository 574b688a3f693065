"""In the server: warm child processes that stage, and one that only looks."""

from __future__ import annotations

from pathlib import Path

from headrace.children import ChildDied, process_pool
from headrace.errors import ChunkFailed, ChunkUnreadable
from headrace.model import NO_LABEL, CsvOptions, FileType, Label, PushSpec, StageReport
from headrace.staging.arrowfiles import arrow_columns
from headrace.staging.engine import start_child
from headrace.staging.looking import HEAD_BYTES, Seen, check_names, header, kind_of, notes_on
from headrace.staging.ndjsonfiles import ndjson_columns
from headrace.staging.parquetfiles import parquet_columns
from headrace.staging.story import stage_in_child
from headrace.staging.tasks import StageTask

_LOOKING_SECONDS = 60
_COLUMNS = {
    FileType.PARQUET: parquet_columns,
    FileType.NDJSON: ndjson_columns,
    FileType.ARROW: arrow_columns,
}


class Stager:
    """Warm child processes: some that stage, one that only looks, so that no answer waits for a long file."""

    def __init__(self, *, processes: int, memory_mb: int, seconds: int) -> None:
        self._seconds = seconds
        self.closed = False
        self._stagers = process_pool(processes, start_child, (memory_mb,), at_once=True)
        self._looker = process_pool(1, start_child, (memory_mb,), at_once=True)

    def look(self, path: Path, spec: PushSpec, label: Label = NO_LABEL) -> Seen:
        """What a chunk is, and its column names. Raises ChunkUnreadable."""
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        kind = kind_of(head, spec, label)
        if kind is FileType.CSV:
            names = header(head, complete=len(head) < HEAD_BYTES, csv=spec.csv or CsvOptions())
        else:
            names = self._columns(kind, path)
        check_names(names)
        return Seen(kind, names, notes_on(kind, spec, label))

    def _columns(self, kind: FileType, path: Path) -> list[str]:
        try:
            return self._looker.schedule(_COLUMNS[kind], args=(path,), timeout=_LOOKING_SECONDS).result()
        except (ChildDied, TimeoutError) as error:
            raise ChunkUnreadable(
                f"The {kind} file cannot be read: it is damaged where it says what it holds."
            ) from error
        except MemoryError as error:
            raise ChunkUnreadable(
                f"The {kind} file cannot be read: looking at it takes more memory than staging_memory_mb."
            ) from error

    def stage(self, task: StageTask) -> StageReport:
        """Stage in a child. Raises ChunkFailed when the chunk, and nothing else, is lost.

        A child that dies may have been somebody else's victim, and one that lacks memory may have spent it
        on other chunks, so the chunk gets a second one.
        """
        for last in (False, True):
            try:
                return self._stagers.schedule(stage_in_child, (task,), timeout=self._seconds).result()
            except ChildDied as error:
                if last or self.closed:
                    raise ChunkFailed(
                        f"The process that read it ended with code {error.code}: the file is damaged, or "
                        "needs more memory than staging_memory_mb."
                    ) from error
            except MemoryError as error:
                if last:
                    raise ChunkFailed("Reading it takes more memory than staging_memory_mb.") from error
            except TimeoutError as error:
                raise ChunkFailed("Reading it took longer than staging_seconds.") from error
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Kill the children. What they were staging is not lost, but not staged either."""
        self.closed = True
        for pool in (self._stagers, self._looker):
            pool.stop()
            pool.join()
