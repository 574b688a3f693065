"""Where staged chunks wait for the load of their job: a folder, or a store of objects."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from headrace.model import Job
from headrace.objects import Objects, folders_of


class StagedFiles(Protocol):
    """Each method may raise StorageUnreachable where it is a store of objects."""

    def path(self, pool_id: str, job_id: str, chunk_id: str) -> Path:
        """The file into which a chunk is staged, and out of which it is loaded."""

    def publish(self, pool_id: str, job_id: str, chunk_id: str) -> None:
        """It is whole: whoever loads the job shall find it. May be repeated."""

    def release(self, pool_id: str, job_id: str, chunk_id: str) -> None:
        """It is published, and who staged it has no use for it."""

    def fetch(self, pool_id: str, job_id: str, chunk_id: str) -> Path:
        """The file as it was published last; it need not be there."""

    def let_go(self, pool_id: str, job_id: str) -> None:
        """Of what was fetched of a job. May be repeated."""

    def scratch(self, job: Job) -> Path:
        """A folder for the files of one try to load a job, on the file system of the others."""

    def aside(self, job: Job) -> AbstractContextManager[Path]:
        """A folder that is gone afterwards, for what must not touch the job."""

    def drop(self, pool_id: str, job_id: str) -> None:
        """Forget all of a job. May be repeated."""

    def jobs(self) -> Iterator[tuple[str, str]]:
        """Pool and job of everything that lies here."""


class StagingFolder:
    """Beside a pool's data, on the same file system, outside the lake's sight."""

    def __init__(self, pools: Path) -> None:
        self._pools = pools

    def path(self, pool_id: str, job_id: str, chunk_id: str) -> Path:
        return self._folder(pool_id, job_id) / f"{chunk_id}.parquet"

    def publish(self, pool_id: str, job_id: str, chunk_id: str) -> None:
        pass

    def release(self, pool_id: str, job_id: str, chunk_id: str) -> None:
        pass

    def fetch(self, pool_id: str, job_id: str, chunk_id: str) -> Path:
        return self.path(pool_id, job_id, chunk_id)

    def let_go(self, pool_id: str, job_id: str) -> None:
        pass

    def scratch(self, job: Job) -> Path:
        folder = self._folder(job.pool_id, job.id) / f"reduced-{job.fence}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def aside(self, job: Job) -> Iterator[Path]:
        folder = self._folder(job.pool_id, job.id) / f"preview-{uuid4().hex}"
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def drop(self, pool_id: str, job_id: str) -> None:
        shutil.rmtree(self._folder(pool_id, job_id), ignore_errors=True)

    def jobs(self) -> Iterator[tuple[str, str]]:
        for folder in self._pools.glob("*/staging/*"):
            yield folder.parent.parent.name, folder.name

    def _folder(self, pool_id: str, job_id: str) -> Path:
        return self._pools / pool_id / "staging" / job_id


class StagedObjects(StagingFolder):
    """As ``staged/<poolId>/<jobId>/<chunkId>``. ``temp``: a folder of this process for what is at work."""

    def __init__(self, objects: Objects, temp: Path) -> None:
        super().__init__(temp)
        self._objects = objects

    def publish(self, pool_id: str, job_id: str, chunk_id: str) -> None:
        path = self.path(pool_id, job_id, chunk_id)
        self._objects.put(key_of(pool_id, job_id, chunk_id), path, overwrite=True)

    def release(self, pool_id: str, job_id: str, chunk_id: str) -> None:
        self.path(pool_id, job_id, chunk_id).unlink(missing_ok=True)

    def fetch(self, pool_id: str, job_id: str, chunk_id: str) -> Path:
        path = self.path(pool_id, job_id, chunk_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._objects.fetch(key_of(pool_id, job_id, chunk_id), path)
        return path

    def let_go(self, pool_id: str, job_id: str) -> None:
        super().drop(pool_id, job_id)

    def drop(self, pool_id: str, job_id: str) -> None:
        super().drop(pool_id, job_id)
        self._objects.delete_below(f"{_ROOT}/{pool_id}/{job_id}")

    def jobs(self) -> Iterator[tuple[str, str]]:
        return iter(sorted({folders_of(found) for found in self._objects.found(_ROOT)}))


def published(temp: Path, path: str) -> str | None:
    """The key of the object with the same bytes as a file that ``StagedObjects`` of this folder has."""
    parts = Path(path).relative_to(temp).parts if Path(path).is_relative_to(temp) else ()
    if len(parts) != 4 or not parts[3].endswith(".parquet"):
        return None
    pool_id, _, job_id, name = parts
    return key_of(pool_id, job_id, name.removesuffix(".parquet"))


_ROOT = "staged"


def key_of(pool_id: str, job_id: str, chunk_id: str) -> str:
    return f"{_ROOT}/{pool_id}/{job_id}/{chunk_id}"
