"""In the server: warm child processes that stage, and one that only looks."""

from __future__ import annotations

from pathlib import Path

from headrace.children import ChildDied, process_pool
from headrace.errors import ChunkFailed, ChunkUnreadable
from headrace.model import CsvOptions, FileType, PushSpec, StageReport
from headrace.staging.engine import start_child
from headrace.staging.looking import HEAD_BYTES, check_names, header, kind_of
from headrace.staging.parquetfiles import parquet_columns
from headrace.staging.story import stage
from headrace.staging.tasks import StageTask


class Stager:
    """Warm child processes: some that stage, one that only looks, so that no answer waits for a long file."""

    def __init__(self, *, processes: int, memory_mb: int, seconds: int) -> None:
        self._seconds = seconds
        self.closed = False
        self._stagers = process_pool(processes, start_child, (memory_mb,), at_once=True)
        self._looker = process_pool(1, start_child, (memory_mb,), at_once=True)

    def look(self, path: Path, spec: PushSpec, *, said_to_be_csv: bool = False) -> tuple[FileType, list[str]]:
        """What a chunk is, and its column names. Raises ChunkUnreadable."""
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        kind = kind_of(head, spec, said_to_be_csv=said_to_be_csv)
        if kind is FileType.CSV:
            return kind, header(head, complete=len(head) < HEAD_BYTES, csv=spec.csv or CsvOptions())
        try:
            names = self._looker.schedule(parquet_columns, args=(path,), timeout=60).result()
        except (ChildDied, TimeoutError) as error:
            raise ChunkUnreadable("The Parquet file cannot be read: its footer is damaged.") from error
        check_names(names)
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
