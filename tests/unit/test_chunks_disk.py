"""Chunks on a disk: whole or not at all, durable when kept, and nothing left behind."""

from __future__ import annotations

import errno
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.chunks.disk import DiskChunks
from headrace.errors import DiskFailed, DiskFull
from headrace.model import Chunk, ChunkType, FileType, now

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*ScandirIterator:pytest.PytestUnraisableExceptionWarning",  # out with the xfail below
    "ignore:.*scandir:ResourceWarning",
)


@pytest.fixture
def chunks(tmp_path: Path) -> DiskChunks:
    return DiskChunks(tmp_path / "chunks", min_free_bytes=0)


def keep(chunks: DiskChunks, job: str, chunk: str, data: bytes = b"data") -> Path:
    incoming = chunks.receive(job, chunk)
    incoming.write(data)
    return incoming.keep()


def names(path: Path) -> list[str]:
    return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


def test_a_chunk_appears_when_it_is_whole(chunks: DiskChunks) -> None:
    path = chunks.path("job", "chunk")
    incoming = chunks.receive("job", "chunk")
    incoming.write(b"one ")
    assert not path.exists()
    incoming.write(memoryview(b"-two-")[1:4])
    assert incoming.keep() == path
    assert path.read_bytes() == b"one two"
    assert names(path.parent) == ["chunk"]


@settings(max_examples=30, deadline=None)
@given(parts=st.lists(st.binary(max_size=50)))
def test_its_bytes_are_those_that_came(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]) -> None:
    chunks = DiskChunks(tmp_path_factory.mktemp("chunks"), min_free_bytes=0)
    incoming = chunks.receive("job", "chunk")
    for part in parts:
        incoming.write(part)
    assert incoming.keep().read_bytes() == b"".join(parts)


def test_keep_syncs_the_bytes_then_the_name(chunks: DiskChunks, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[str, bool]] = []
    path = chunks.path("job", "chunk")

    def fsync(handle: int) -> None:
        steps.append((Path(f"/proc/self/fd/{handle}").readlink().name, path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    keep(chunks, "job", "chunk")
    assert steps == [("chunk.part", False), ("job", True), ("chunks", True)]


def test_discard_leaves_nothing_and_may_be_repeated(chunks: DiskChunks) -> None:
    for kept in (False, True):
        incoming = chunks.receive("job", "chunk")
        incoming.write(b"data")
        if kept:
            incoming.keep()
        for _ in range(2):
            incoming.discard()
        assert names(chunks.path("job", "")) == []
    late = chunks.receive("job", "chunk")
    chunks.drop("job")
    late.discard()


def test_a_chunk_that_is_arriving_is_not_received_twice(chunks: DiskChunks) -> None:
    incoming = chunks.receive("job", "chunk")
    with pytest.raises(FileExistsError):
        chunks.receive("job", "chunk")
    incoming.discard()


def test_below_the_watermark_nothing_is_taken(tmp_path: Path) -> None:
    full = DiskChunks(tmp_path / "chunks", min_free_bytes=1 << 60)
    with pytest.raises(DiskFull):
        full.receive("job", "chunk")
    assert list(full.jobs()) == []


class Disk:
    """A file on a disk that takes some bytes at a time, and then no more."""

    def __init__(self, room: int, number: int = errno.ENOSPC) -> None:
        self.room, self.number, self.taken = room, number, b""

    def write(self, data: memoryview) -> int:
        if self.room <= len(self.taken):
            raise OSError(self.number, os.strerror(self.number))
        part = bytes(data[: min(3, self.room - len(self.taken))])
        self.taken += part
        return len(part)

    def close(self) -> None: ...


def received_on(chunks: DiskChunks, disk: Any) -> Any:
    incoming = chunks.receive("job", "chunk")
    incoming._file.close()
    incoming._file = disk
    return incoming


def test_a_write_goes_on_until_all_is_written(chunks: DiskChunks) -> None:
    disk = Disk(100)
    received_on(chunks, disk).write(b"ten bytes!")
    assert disk.taken == b"ten bytes!"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_to_be_full(chunks: DiskChunks, number: int) -> None:
    incoming = received_on(chunks, Disk(5, number))
    with pytest.raises(DiskFull):
        incoming.write(b"ten bytes!")
    incoming.discard()
    assert names(chunks.path("job", "")) == []


def test_a_disk_that_fails_is_told_as_one(chunks: DiskChunks) -> None:
    with pytest.raises(DiskFailed):
        received_on(chunks, Disk(0, errno.EIO)).write(b"x")


def test_another_fault_is_neither(chunks: DiskChunks) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EACCES)):
        received_on(chunks, Disk(0, errno.EACCES)).write(b"x")


def test_a_disk_may_be_full_at_the_end_only(chunks: DiskChunks, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    incoming = chunks.receive("job", "chunk")
    with pytest.raises(DiskFull):
        incoming.keep()
    incoming.discard()
    assert names(chunks.path("job", "")) == []


def test_drop_keeps_nothing_of_its_job(chunks: DiskChunks, tmp_path: Path) -> None:
    for chunk in ("a", "b"):
        keep(chunks, "job", chunk)
    keep(chunks, "other", "c")
    assert sorted(chunks.jobs()) == ["job", "other"]
    for _ in range(2):
        chunks.drop("job")
        assert names(tmp_path / "chunks") == ["other", "other/c"]
    for _ in range(2):
        chunks.drop("other")
        assert names(tmp_path / "chunks") == []


def test_sweep_keeps_what_was_recorded(chunks: DiskChunks, tmp_path: Path) -> None:
    for chunk in ("recorded", "unknown"):
        keep(chunks, "job", chunk)
    half = chunks.receive("job", "half")
    chunks.sweep("job", ["recorded", "elsewhere"])
    half.discard()
    assert names(tmp_path / "chunks" / "job") == ["recorded"]
    chunks.sweep("no such job", [])


def test_sweep_closes_what_it_opens(chunks: DiskChunks) -> None:
    keep(chunks, "job", "chunk")
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        chunks.drop("job")
    assert found == []


def test_an_installation_is_opened_again(chunks: DiskChunks, tmp_path: Path) -> None:
    keep(chunks, "job", "chunk")
    again = DiskChunks(tmp_path / "chunks", min_free_bytes=0)
    assert again.path("job", "chunk").read_bytes() == b"data"


def test_another_job_takes_over_the_bytes(chunks: DiskChunks) -> None:
    old, new = (
        Chunk(f"chunk of {job}", job, "p", 1, ChunkType.UPSERT, 4, "", FileType.CSV, now())
        for job in ("old", "new")
    )
    first = keep(chunks, "old", old.id)
    chunks.take_over(old, new)
    path = chunks.path("new", new.id)
    assert path.stat().st_ino == first.stat().st_ino
    chunks.drop("old")
    assert path.read_bytes() == b"data"
    with pytest.raises(FileNotFoundError):
        chunks.take_over(old, new)
