"""A place in a store of objects that speaks S3: ``s3://bucket/prefix``, of AWS or of anybody else."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TypeVar
from uuid import uuid4

from headrace.errors import StorageUnreachable

_TIMEOUT = timedelta(seconds=120)
"""Of one request: a part goes through within that, or the network is not there."""

_CONNECTING = timedelta(seconds=10)
_RETRYING = timedelta(seconds=30)
_HASTE = timedelta(seconds=5)

_OWNER = "installation"
"""The object that says whose all others are."""


class CannotReach(Exception):
    """The message says what to do, and holds no secret."""


@dataclass(frozen=True)
class Access:
    """``endpoint``: "" is AWS. ``key``: "" leaves it to the machine (its role, or AWS_… variables)."""

    endpoint: str = ""
    key: str = ""
    secret: str = field(default="", repr=False)
    region: str = "us-east-1"


@dataclass(frozen=True)
class Found:
    key: str
    size: int
    at: datetime
    """When it was written, by the clock of the store."""

    tag: str = ""
    """Of these bytes: written anew, it has another."""


class Objects:
    """Objects by keys below the URL. Each method raises StorageUnreachable besides what it says.

    What is written is there as a whole or not at all, and survives; whoever lists sees it from then on.
    """

    def __init__(self, url: str, access: Access, *, hasty: bool = False) -> None:
        """``hasty``: somebody waits for an answer. Raises CannotReach."""
        try:
            import obstore  # noqa: PLC0415  an extra
            from obstore.store import S3Store  # noqa: PLC0415
        except ImportError as error:
            raise CannotReach("storage_url needs a driver: pip install 'headrace[s3]'.") from error
        self._obstore = obstore
        config = {
            "region": access.region,
            "endpoint": access.endpoint,
            "access_key_id": access.key,
            "secret_access_key": access.secret,
        }
        self._store = S3Store.from_url(
            url,
            config={name: value for name, value in config.items() if value},  # type: ignore[arg-type]
            client_options={
                "timeout": _HASTE if hasty else _TIMEOUT,
                "connect_timeout": _HASTE if hasty else _CONNECTING,
                "allow_http": access.endpoint.startswith("http://"),
            },
            retry_config={"max_retries": 5, "retry_timeout": _HASTE if hasty else _RETRYING},
        )

    def put(self, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        """Raises FileExistsError if something else is there, unless ``overwrite``."""
        if not overwrite:
            self._create(key, data)
            return
        with self._reaching():
            self._obstore.put(self._store, key, data)  # what is large goes in parts

    def _create(self, key: str, data: bytes | Path) -> None:
        try:
            with self._reaching():
                self._obstore.put(self._store, key, data, mode="create", use_multipart=False)
        except FileExistsError:  # perhaps since a try of ours whose answer was lost
            if self.get(key) != (data if isinstance(data, bytes) else data.read_bytes()):
                raise

    def claim(self, owner: str) -> None:
        """For whoever comes first, and for good. Raises CannotReach."""
        try:
            self._create(_OWNER, owner.encode())
        except FileExistsError as error:
            raise CannotReach(
                "What storage_url names belongs to another installation of Headrace, which would lose its "
                f"chunks: name another prefix. (Its id is in the object {_OWNER}; this one is {owner}.)"
            ) from error

    def get(self, key: str) -> bytes:
        """Raises FileNotFoundError."""
        with self._reaching():
            return bytes(self._obstore.get(self._store, key).bytes())

    def piece(self, key: str, offset: int, length: int) -> bytes:
        """Raises FileNotFoundError."""
        with self._reaching():
            return bytes(self._obstore.get_range(self._store, key, start=offset, length=length))

    def size(self, key: str) -> int:
        """Raises FileNotFoundError."""
        with self._reaching():
            return self._obstore.head(self._store, key)["size"]

    def read_into(self, key: str, file: IO[bytes]) -> None:
        """Append all of it. Raises FileNotFoundError."""
        with self._reaching():
            for data in self._obstore.get(self._store, key).stream():
                file.write(data)

    def fetch(self, key: str, path: Path) -> None:
        """Into the place of a file, as a whole; what is not there is no file any more."""
        part = path.with_name(f"{path.name}.{uuid4().hex}.part")
        try:
            with part.open("xb") as file:
                self.read_into(key, file)
            part.replace(path)
        except FileNotFoundError:
            path.unlink(missing_ok=True)
        finally:
            part.unlink(missing_ok=True)

    @contextmanager
    def joined(self, keys: Iterable[str], path: Path) -> Iterator[Path]:
        """A file of all of them, one behind the other, which goes afterwards. Raises FileNotFoundError."""
        try:
            with path.open("xb") as file:
                for key in keys:
                    self.read_into(key, file)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def found(self, prefix: str) -> Iterator[Found]:
        """All whose key begins with ``prefix`` and a slash, in no order."""
        with self._reaching():
            for page in self._obstore.list(self._store, prefix):
                for meta in page:
                    yield Found(meta["path"], meta["size"], meta["last_modified"], meta["e_tag"] or "")

    def folders(self, prefix: str) -> list[str]:
        """What follows ``prefix`` and a slash, up to the next one."""
        with self._reaching():
            found = self._obstore.list_with_delimiter(self._store, prefix)
            return [folder.rpartition("/")[2] for folder in found["common_prefixes"]]

    def copy(self, key: str, to: str) -> None:
        """Within the store: the bytes do not come here. Raises FileNotFoundError."""
        with self._reaching():
            self._obstore.copy(self._store, key, to)

    def delete(self, keys: Collection[str]) -> None:
        """What is not there is no error."""
        if keys:
            with self._reaching():
                self._obstore.delete(self._store, list(keys))

    def delete_below(self, prefix: str) -> None:
        """All whose key begins with ``prefix`` and a slash."""
        self.delete([found.key for found in self.found(prefix)])

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        errors = self._obstore.exceptions
        try:
            yield
        except errors.NotFoundError as error:
            raise FileNotFoundError(str(error)) from None
        except (errors.AlreadyExistsError, errors.PreconditionError) as error:
            raise FileExistsError(str(error)) from None
        except errors.BaseError as error:
            raise StorageUnreachable from error


Owner = TypeVar("Owner", bound=Hashable)


def strays(
    found: Iterable[Found], owner: Callable[[Found], Owner], kept: Collection[Owner], older_s: float
) -> set[Owner]:
    """Whose objects nobody keeps, and are as old as that, each of them; 0: whatever their age.

    Of what is still coming the oldest object may be old.
    """
    before, newest = datetime.now(UTC) - timedelta(seconds=older_s), dict[Owner, datetime]()
    for object in found:
        newest[owner(object)] = max(newest.get(owner(object), object.at), object.at)
    return {of for of, at in newest.items() if of not in kept and (not older_s or at < before)}


def folders_of(found: Found) -> tuple[str, str]:
    """The last two that it lies in."""
    outer, inner, _ = found.key.rsplit("/", 2)
    return outer.rpartition("/")[2], inner
