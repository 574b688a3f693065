"""Uploads beside a real database and real files: what is swept, and what is forgotten with its time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update

from headrace.chunks.parts import DiskParts
from headrace.errors import DiskFull, KeyReused, NotFound, Overloaded, UploadLocked
from headrace.metadata import Metadata, schema
from headrace.model import ChunkType, FileType, Job, JobStatus, Label, PushSpec, Upload, now
from headrace.uploads import Uploads

KEY: Any = SimpleNamespace(id="key")
HOUR = timedelta(hours=1)


@pytest.fixture
def metadata(database: Path | str) -> Iterator[Metadata]:
    opened = Metadata(database)
    for job in ("job", "other"):
        opened.jobs.add(Job(job, "pool", PushSpec("t"), JobStatus.NEW, now(), now()))
    yield opened
    opened.close()


@pytest.fixture
def parts(tmp_path: Path) -> DiskParts:
    return DiskParts(tmp_path / "uploads", min_free_bytes=0)


@pytest.fixture
def uploads(metadata: Metadata, parts: DiskParts) -> Uploads:
    """What becomes of whole ones is for tests with a server."""
    quotas = SimpleNamespace(room=lambda job: SimpleNamespace(bytes=100), chunk_bytes=100)
    pushes: Any = SimpleNamespace(
        quotas=quotas,
        get=metadata.jobs.get,
        open_job=lambda pool, job, *more: metadata.jobs.get(pool, job),
    )
    return Uploads(metadata, parts, pushes, most=2, keep=HOUR)


def wish(job: str = "job", **more: Any) -> Upload:
    return Upload("", job, "pool", "key", 10, ChunkType.UPSERT, now(), **more)


def age(parts: DiskParts, upload: Upload) -> None:
    long_ago = (now() - 2 * HOUR).timestamp()
    os.utime(parts.path(upload.job_id, upload.id), (long_ago, long_ago))


def begin(uploads: Uploads, upload: Upload, **more: Any) -> Any:
    given = {"offset": 0, "length": None, "checksum": None, **more}
    return uploads.begin_part(upload.pool_id, upload.job_id, upload.id, KEY, **given)


def test_it_comes_back_as_it_was_recorded(uploads: Uploads, metadata: Metadata) -> None:
    label = Label(FileType.NDJSON, packed=True)
    made, is_new = uploads.create(wish(label=label, metadata="x y", idempotency_key="k"))
    assert is_new
    assert metadata.uploads.get(made.id) == made
    assert uploads.create(wish(label=label, metadata="x y", idempotency_key="k")) == (made, False)
    with pytest.raises(KeyReused):
        uploads.create(wish(metadata="other", idempotency_key="k"))


def test_a_pool_has_so_many(uploads: Uploads, parts: DiskParts) -> None:
    made = [uploads.create(wish(job))[0] for job in ("job", "other")]
    with pytest.raises(Overloaded):
        uploads.create(wish())
    assert {p.name for p in parts.path("job", "x").parent.glob("*")} == {made[0].id}
    uploads.end("pool", "job", made[0].id, KEY)
    assert uploads.create(wish())


def test_what_has_expired_is_gone_before_it_is_swept(uploads: Uploads, parts: DiskParts) -> None:
    upload, _ = uploads.create(wish())
    assert uploads.find("pool", "job", upload.id, KEY) == (upload, 0)
    age(parts, upload)
    with pytest.raises(NotFound):
        uploads.find("pool", "job", upload.id, KEY)
    with pytest.raises(NotFound):
        begin(uploads, upload)


def test_a_part_gives_it_more_time(uploads: Uploads, parts: DiskParts) -> None:
    upload, _ = uploads.create(wish())
    part = begin(uploads, upload)
    age(parts, upload)
    part.write(b"abc")
    assert uploads.end_part(part) == 3
    uploads.sweep()
    assert uploads.find("pool", "job", upload.id, KEY)[1] == 3


def test_only_what_is_over_is_swept(uploads: Uploads, metadata: Metadata, parts: DiskParts) -> None:
    kept, over = (uploads.create(wish(job))[0] for job in ("job", "other"))
    metadata.jobs.queue("other", None, now())
    uploads.sweep()
    assert metadata.uploads.get(kept.id)
    assert metadata.uploads.get(over.id) is None
    assert not parts.path("other", over.id).exists()
    age(parts, kept)
    part_under_way = uploads._held(kept)
    with part_under_way:
        uploads.sweep()
        assert metadata.uploads.get(kept.id)
    uploads.sweep()
    assert metadata.uploads.get(kept.id) is None
    assert not parts.path("job", kept.id).parent.exists()


def test_a_start_forgets_files_that_nobody_knows(uploads: Uploads, parts: DiskParts) -> None:
    known, _ = uploads.create(wish())
    parts.begin("job", "unknown")
    parts.begin("gone", "unknown")
    uploads.start()
    uploads.close()
    assert [p.name for p in parts.path("job", "x").parent.glob("*")] == [known.id]
    assert not parts.path("gone", "x").parent.exists()


def test_finished_ones_are_remembered_for_a_while(uploads: Uploads, metadata: Metadata) -> None:
    upload, _ = uploads.create(wish())
    with metadata.engine.begin() as db:
        db.execute(update(schema.uploads).values(finished_at=now()))
    uploads.sweep()
    assert uploads.find("pool", "job", upload.id, KEY)[1] == 10
    with metadata.engine.begin() as db:
        db.exec_driver_sql("UPDATE uploads SET finished_at = '2020-01-01 00:00:00.000000'")
    uploads.sweep()
    assert metadata.uploads.get(upload.id) is None


def test_a_lock_ends_with_its_part(uploads: Uploads) -> None:
    upload, _ = uploads.create(wish())
    part = begin(uploads, upload)
    with pytest.raises(UploadLocked):
        begin(uploads, upload)
    part.write(b"ab")
    uploads.break_off(part, ConnectionError())
    assert uploads.end_part(begin(uploads, upload, offset=2)) == 2


def test_a_disk_below_its_watermark(tmp_path: Path) -> None:
    full = DiskParts(tmp_path / "uploads", min_free_bytes=1 << 60)
    for act in (full.begin, full.open):
        with pytest.raises(DiskFull):
            act("job", "upload")
