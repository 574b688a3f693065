"""The contract of a store for uploads in parts, over a disk and over S3, and what is true of S3 alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from headrace.chunks import PartStore
from headrace.chunks.parts import DiskParts
from headrace.chunks.s3parts import S3Parts
from headrace.errors import DiskFull, StorageUnreachable, UploadLocked
from headrace.locks import LocksOfProcess
from headrace.model import now
from headrace.objects import Objects
from objectstore import ObjectStore
from scale.test_chunk_stores import PIECE, SIZES, some_bytes


@pytest.fixture
def objects(object_store: ObjectStore) -> Objects:
    return object_store.objects(object_store.place())


def in_objects(objects: Objects, temp: Path, **more: int) -> S3Parts:
    settings = {"min_free_bytes": 0, "piece_bytes": PIECE, **more}
    return S3Parts(objects, temp, LocksOfProcess(), **settings)


@pytest.fixture(params=["disk", "s3"])
def parts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PartStore]:
    made: PartStore
    if request.param == "disk":
        made = DiskParts(tmp_path / "uploads", min_free_bytes=0)
    else:
        made = in_objects(request.getfixturevalue("objects"), tmp_path / "temp")
    yield made
    made.close()


def append(parts: PartStore, data: bytes, upload: str = "upload") -> int:
    part = parts.open("job", upload)
    for start in range(0, len(data), 700):
        part.write(memoryview(data)[start : start + 700])
    return part.keep()


def read(parts: PartStore, upload: str = "upload") -> bytes:
    with parts.reading("job", upload) as path:
        return path.read_bytes()


def is_there(parts: PartStore, upload: str = "upload") -> bool:
    try:
        parts.come("job", upload)
    except FileNotFoundError:
        return False
    return True


def test_parts_follow_each_other(parts: PartStore, tmp_path: Path) -> None:
    parts.begin("job", "upload")
    assert (parts.come("job", "upload").bytes, read(parts)) == (0, b"")
    whole = b""
    for size in SIZES:
        whole += some_bytes(size)
        assert append(parts, some_bytes(size)) == len(whole)
        assert parts.come("job", "upload").bytes == len(whole)
    assert read(parts) == whole
    assert abs(parts.come("job", "upload").at - now()) < timedelta(hours=1)
    assert not list(tmp_path.glob("temp/*")), "what was at work has gone"


def test_a_part_is_taken_back_alone(parts: PartStore, tmp_path: Path) -> None:
    parts.begin("job", "upload")
    append(parts, some_bytes(PIECE + 1))
    part = parts.open("job", "upload")
    part.write(some_bytes(3 * PIECE))
    part.take_back()
    assert parts.come("job", "upload").bytes == PIECE + 1
    append(parts, b"other")
    assert read(parts) == some_bytes(PIECE + 1) + b"other"
    assert not list(tmp_path.glob("temp/*"))


@pytest.mark.parametrize("size", [0, 1, PIECE, 2 * PIECE - 1, 3 * PIECE + 5, 9 * PIECE])
def test_it_is_cut_anywhere(parts: PartStore, size: int) -> None:
    parts.begin("job", "upload")
    append(parts, some_bytes(3 * PIECE + 5))
    whole = some_bytes(3 * PIECE + 5) + b"more"
    append(parts, b"more")
    parts.cut("job", "upload", size)
    assert read(parts) == whole[:size]
    append(parts, b"on")
    assert read(parts) == whole[:size] + b"on"


def test_one_has_its_lock(parts: PartStore) -> None:
    parts.begin("job", "upload")
    parts.begin("job", "other")
    held = parts.lock("job", "upload")
    with pytest.raises(UploadLocked):
        parts.lock("job", "upload")
    parts.lock("job", "other").release()
    held.check()
    held.release()
    parts.lock("job", "upload").release()
    parts.lock("job", "not there").release()


def test_what_is_not_there(parts: PartStore) -> None:
    for act in (parts.open, parts.come):
        with pytest.raises(FileNotFoundError):
            act("job", "none")
    with pytest.raises(FileNotFoundError):
        read(parts, "none")
    parts.drop("job", "none")


def test_drop_and_sweep(parts: PartStore) -> None:
    for upload in ("known", "unknown", "dropped"):
        parts.begin("job", upload)
        append(parts, some_bytes(2 * PIECE), upload)
    for _ in range(2):
        parts.drop("job", "dropped")
        assert not is_there(parts, "dropped")
    parts.sweep({"known"}, older_s=3600)
    assert is_there(parts, "unknown")
    parts.sweep({"known"})
    assert not is_there(parts, "unknown")
    assert read(parts, "known") == some_bytes(2 * PIECE)


@pytest.mark.parametrize("kind", ["disk", "s3"])
def test_below_the_watermark(kind: str, objects: Objects, tmp_path: Path) -> None:
    full: PartStore = (
        DiskParts(tmp_path / "uploads", min_free_bytes=1 << 60)
        if kind == "disk"
        else in_objects(objects, tmp_path / "temp", min_free_bytes=1 << 60)
    )
    for act in (full.begin, full.open):
        with pytest.raises(DiskFull):
            act("job", "upload")
    full.close()


# -- a store of objects --------------------------------------------------------------------------------


@pytest.fixture
def stored(objects: Objects, tmp_path: Path) -> Iterator[S3Parts]:
    made = in_objects(objects, tmp_path / "temp")
    yield made
    made.close()


def test_a_piece_behind_a_gap_counts_as_nothing(stored: S3Parts, objects: Objects) -> None:
    """As a process leaves it that dies while several are on their way."""
    stored.begin("job", "upload")
    append(stored, some_bytes(PIECE))
    objects.put(f"uploads/job/upload/{3 * PIECE:020}", b"behind a gap")
    assert stored.come("job", "upload").bytes == PIECE
    assert read(stored) == some_bytes(PIECE)
    append(stored, some_bytes(2 * PIECE))
    assert read(stored) == some_bytes(PIECE) + some_bytes(2 * PIECE), "it would fit now, and has gone"


def test_who_has_lost_the_lock_changes_nothing(stored: S3Parts) -> None:
    """What it sends has a name already, and what it takes back is its own."""
    stored.begin("job", "upload")
    late, other = stored.open("job", "upload"), stored.open("job", "upload")
    late.write(b"late")
    other.write(some_bytes(2 * PIECE))
    assert other.keep() == 2 * PIECE
    with pytest.raises(UploadLocked):
        late.keep()
    with pytest.raises(UploadLocked):
        late.take_back()
    assert read(stored) == some_bytes(2 * PIECE)


def test_a_store_that_is_away(tmp_path: Path) -> None:
    with ObjectStore() as own:
        stored = in_objects(own.objects("away"), tmp_path / "temp")
        stored.begin("job", "upload")
        part = stored.open("job", "upload")
        part.write(b"some")
        own.stop()
        with pytest.raises(StorageUnreachable):
            part.keep()
        with pytest.raises(StorageUnreachable):
            part.take_back()
        assert not list((tmp_path / "temp").iterdir())
        stored.close()
