"""Data of lakes in a store of objects: ``pools/<poolId>/data/…``.

The engine reads and writes there by itself. What is written is there as a whole or not at all, and survives:
nothing is to be synced. A staged chunk becomes a file of a table by a copy within the store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from headrace.conversion import literal
from headrace.errors import StorageUnreachable
from headrace.objects import Access, CannotReach, Objects
from headrace.tables.lakedata import ATTEMPTS
from headrace.tables.serving import Blocks, ServedObjects

_ROOT = "pools"

_UPLOADS = "SET s3_uploader_max_filesize = '50GB'; SET s3_uploader_thread_limit = 8"
"""So its parts have 5 MB, and few of them stand in memory."""

Published = Callable[[str], str | None]
"""The key of the object that has the same bytes as a staged file; None: there is none."""


@dataclass(frozen=True)
class DataObjects:
    """``root`` is the key to which ``place`` leads."""

    place: str
    root: str
    objects: Objects = field(repr=False, compare=False)
    published: Published = field(repr=False, compare=False)
    served: ServedObjects = field(repr=False, compare=False)

    @property
    def folder(self) -> None:
        return None

    def make(self) -> None:
        pass

    def make_folder(self, path: str) -> str:
        return path

    def take(self, source: str, path: str, checksum: int | None = None) -> None:  # noqa: ARG002
        if source.startswith(self.place):
            self.objects.copy(self._key(source), self._key(path))
        elif not self._is_copied(source, path):
            self.objects.put(self._key(path), Path(source), overwrite=True)

    def _is_copied(self, source: str, path: str) -> bool:
        """A worker that lost the job may just have staged the chunk anew, in other types."""
        published, key = self.published(source), self._key(path)
        if published is None:
            return False
        with suppress(FileNotFoundError):
            self.objects.copy(published, key)
            return self.objects.size(key) == Path(source).stat().st_size
        return False

    def written(self) -> AbstractContextManager[None]:
        return nullcontext()

    def settle(self, path: str) -> None:
        pass

    def remove(self, path: str) -> None:
        key = self._key(path)
        with suppress(StorageUnreachable):  # what stays is swept
            if path.endswith(".parquet"):
                self.objects.delete([key])
            else:
                self.objects.delete_below(key)

    def attempts(self, job_id: str) -> Collection[str]:
        names = self.objects.folders(f"{self.root}/{ATTEMPTS}")
        return [f"{self.place}{ATTEMPTS}/{name}" for name in names if name.startswith(f"{job_id}-")]

    def check(self, files: Collection[str]) -> None:
        pass

    def tidy(self, needed: Callable[[], Collection[str]]) -> None:
        pass

    def drop(self) -> None:
        self.objects.delete_below(self.root)

    def bytes(self) -> int:
        return sum(found.size for found in self.objects.found(self.root))

    def _key(self, path: str) -> str:
        assert path.startswith(self.place), path
        return f"{self.root}/{path.removeprefix(self.place)}"


class DataStore:
    """Below ``url``. Raises CannotReach."""

    extensions: Collection[str] = ("httpfs",)

    def __init__(self, url: str, access: Access, published: Published) -> None:
        self._url = url.rstrip("/")
        self._access = access
        self._published = published
        self._objects = Objects(url, access)
        self._blocks = Blocks(Objects(url, access, hasty=True))

    def set_up(self, engine: duckdb.DuckDBPyConnection) -> None:
        engine.execute(_UPLOADS)
        try:
            engine.execute(f"CREATE SECRET headrace_data ({self._secret()})")
        except duckdb.Error:  # its words may be those of the statement
            raise CannotReach("The engine does not take the access to the store of storage_url.") from None

    def _secret(self) -> str:
        access, scheme = self._access, self._access.endpoint.partition("://")
        parts = {
            "SCOPE": literal(self._url),
            "KEY_ID": literal(access.key),
            "SECRET": literal(access.secret),
            "REGION": literal(access.region),
        }
        if access.endpoint:
            parts |= {
                "ENDPOINT": literal(scheme[2].rstrip("/")),
                "USE_SSL": str(scheme[0] == "https").lower(),
                "URL_STYLE": "'path'",
            }
        return ", ".join(["TYPE s3", *(f"{name} {value}" for name, value in parts.items())])

    def of(self, pool_id: str) -> DataObjects:
        root = f"{_ROOT}/{pool_id}/data"
        served = ServedObjects(self._blocks, root)
        return DataObjects(f"{self._url}/{root}/", root, self._objects, self._published, served)

    def holds(self, place: str) -> bool:
        return place.startswith(f"{self._url}/{_ROOT}/")

    def pools(self) -> Collection[str]:
        # by the objects themselves: some stores go on listing folders that are empty
        names = self._objects.folders(_ROOT)
        return [name for name in names if next(self._objects.found(f"{_ROOT}/{name}"), None)]

    def bytes(self, pool_id: str) -> int:
        return self.of(pool_id).bytes()

    def is_away(self, error: duckdb.Error) -> bool:
        said = str(error)
        return "HTTP" in said and "404" not in said
