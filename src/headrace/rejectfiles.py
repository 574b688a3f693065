"""Where the rows lie that could not be stored: files beside the lakes, or objects of a store.

They outlive their chunks, not their job, and go with their pool.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Protocol

from headrace.model import Chunk, Reject
from headrace.objects import Found, Objects, folders_of


@dataclass(frozen=True)
class Alike:
    """Rejects for one reason."""

    code: str
    column: str | None

    def __contains__(self, reject: Reject) -> bool:
        return reject.code == self.code and reject.column == self.column


class RejectFiles(Protocol):
    """The rejects of each chunk as JSON lines, by its pool, its job and its number.

    Each method may raise StorageUnreachable where it is a store of objects.
    """

    def path(self, chunk: Chunk) -> Path:
        """The file into which those of a chunk are written."""

    def publish(self, chunk: Chunk) -> None:
        """They are written, or there are none: whoever asks shall find them so. May be repeated."""

    def of(self, chunk: Chunk) -> Iterator[Reject]:
        """In the order of the chunk."""

    def page(
        self, chunks: Sequence[Chunk], *, limit: int | None, offset: int, alike: Alike | None = None
    ) -> Iterator[tuple[Chunk, Reject]]:
        """A part of the rejects of all these chunks, or of those alike."""

    def gather(self, pool_id: str) -> None:
        """All of a pool, into the folder that its SQL reads."""

    def adopt(self, file: Path, chunk: Chunk) -> None:
        """Take a file that lies elsewhere."""

    def jobs(self) -> Iterator[tuple[str, str]]:
        """Pool and job of all that lie here."""

    def drop(self, pool_id: str, job_id: str) -> None:
        """Forget those of a job. May be repeated."""

    def drop_pool(self, pool_id: str) -> None:
        """Forget those of a pool. May be repeated."""

    def sweep(self, pool_ids: Collection[str], *, older_s: float = 0.0) -> None:
        """Forget those of all pools but these; ``older_s``: not what came in the last seconds."""


class RejectFolders:
    """``<pools>/<poolId>/rejects/job_id=<jobId>/<number>.ndjson``, where SQL of the pool reads them."""

    def __init__(self, pools: Path) -> None:
        self._pools = pools

    def path(self, chunk: Chunk) -> Path:
        return self._folder(chunk.pool_id, chunk.job_id) / f"{chunk.number}.ndjson"

    def publish(self, chunk: Chunk) -> None:
        pass

    def of(self, chunk: Chunk) -> Iterator[Reject]:
        return map(_read, self._lines(chunk))

    def page(
        self, chunks: Sequence[Chunk], *, limit: int | None, offset: int, alike: Alike | None = None
    ) -> Iterator[tuple[Chunk, Reject]]:
        end = None if limit is None else offset + limit
        if alike:
            some = ((chunk, reject) for chunk in chunks for reject in self.of(chunk) if reject in alike)
            return islice(some, offset, end)
        lines = chain.from_iterable(((chunk, line) for line in self._lines(chunk)) for chunk in chunks)
        return ((chunk, _read(line)) for chunk, line in islice(lines, offset, end))

    def gather(self, pool_id: str) -> None:
        pass

    def adopt(self, file: Path, chunk: Chunk) -> None:
        target = self.path(chunk)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
        self.publish(chunk)

    def jobs(self) -> Iterator[tuple[str, str]]:
        for folder in self._pools.glob("*/rejects/job_id=*"):
            yield folder.parent.parent.name, folder.name.removeprefix("job_id=")

    def drop(self, pool_id: str, job_id: str) -> None:
        shutil.rmtree(self._folder(pool_id, job_id), ignore_errors=True)

    def drop_pool(self, pool_id: str) -> None:
        """They have gone with the folder of the pool."""

    def sweep(self, pool_ids: Collection[str], *, older_s: float = 0.0) -> None:
        """They go with the folder of the pool."""

    def _folder(self, pool_id: str, job_id: str) -> Path:
        return self._pools / pool_id / "rejects" / f"job_id={job_id}"

    def _lines(self, chunk: Chunk) -> Iterator[str]:
        with suppress(FileNotFoundError), self.path(chunk).open(encoding="utf-8") as lines:
            yield from lines


class RejectObjects(RejectFolders):
    """``rejects/<poolId>/<jobId>/<number>``, and what SQL asks for as files of ``pools``, too.

    ``temp``: a folder of this process for what is at work.
    """

    def __init__(self, objects: Objects, temp: Path, pools: Path) -> None:
        super().__init__(temp)
        self._objects = objects
        self._temp = temp
        self._shown = RejectFolders(pools)
        self._pools_shown = pools
        self._gathered: dict[Path, Found] = {}
        self._gathering = threading.Lock()
        temp.mkdir(parents=True, exist_ok=True)

    def publish(self, chunk: Chunk) -> None:
        path, key = self.path(chunk), _key(chunk)
        if path.exists():
            self._objects.put(key, path, overwrite=True)
            path.unlink()
        else:  # of an earlier try
            self._objects.delete([key])

    def gather(self, pool_id: str) -> None:
        """What has changed since it was asked last."""
        with self._gathering:
            folder = self._pools_shown / pool_id / "rejects"
            found = {
                self._file(folder, object): object for object in self._objects.found(f"{_ROOT}/{pool_id}")
            }
            for path, object in found.items():
                if self._gathered.get(path) != object or not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    self._objects.fetch(object.key, path)
                    self._gathered[path] = object
            for path in folder.glob("job_id=*/*.ndjson"):
                if path not in found:
                    path.unlink(missing_ok=True)
                    self._gathered.pop(path, None)

    def jobs(self) -> Iterator[tuple[str, str]]:
        return iter(sorted({folders_of(found) for found in self._objects.found(_ROOT)}))

    def drop(self, pool_id: str, job_id: str) -> None:
        super().drop(pool_id, job_id)
        self._shown.drop(pool_id, job_id)
        self._objects.delete_below(f"{_ROOT}/{pool_id}/{job_id}")

    def drop_pool(self, pool_id: str) -> None:
        self._objects.delete_below(f"{_ROOT}/{pool_id}")

    def sweep(self, pool_ids: Collection[str], *, older_s: float = 0.0) -> None:
        before = datetime.now(UTC) - timedelta(seconds=older_s)
        strays = (found for found in self._objects.found(_ROOT) if folders_of(found)[0] not in pool_ids)
        self._objects.delete([found.key for found in strays if not older_s or found.at < before])

    def _lines(self, chunk: Chunk) -> Iterator[str]:
        if chunk.report and not chunk.report.rejected:
            return
        with suppress(FileNotFoundError), TemporaryFile(dir=self._temp) as file:
            self._objects.read_into(_key(chunk), file)
            file.seek(0)
            yield from (line.decode() for line in file)

    def _file(self, folder: Path, object: Found) -> Path:
        _, _, number = object.key.rpartition("/")
        return folder / f"job_id={folders_of(object)[1]}" / f"{number}.ndjson"


_ROOT = "rejects"


def key_of(pool_id: str, job_id: str, number: int | str) -> str:
    return f"{_ROOT}/{pool_id}/{job_id}/{number}"


def _key(chunk: Chunk) -> str:
    return key_of(chunk.pool_id, chunk.job_id, chunk.number)


def _read(line: str) -> Reject:
    return Reject(**json.loads(line))
