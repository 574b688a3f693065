"""The contract of a store for chunks, over a disk and over S3; and what is true of the latter alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cutting import Cutting
from pydantic import SecretStr

from harness import (
    RunningServer,
    add_chunk,
    create_job,
    create_pool,
    execute,
    run_job,
    sql,
    wait_for,
    wait_for_job,
)
from headrace.chunks import ChunkStore
from headrace.chunks.disk import DiskChunks
from headrace.chunks.s3 import S3Chunks
from headrace.errors import StorageUnreachable
from headrace.folders import CannotStart
from headrace.model import Chunk, ChunkType, FileType, now
from headrace.objects import Access, Objects
from headrace.server import run
from headrace.settings import Settings
from headrace.wiring import arriving_of
from objectstore import ObjectStore
from postgres import Postgres
from scale.installation import Installation, installation
from scale.test_storms import LONG

PIECE = 1000
SIZES = (0, 1, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE, 5 * PIECE + 1)


@pytest.fixture
def objects(object_store: ObjectStore) -> Objects:
    return object_store.objects(object_store.place())


@pytest.fixture(params=["disk", "s3"])
def chunks(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ChunkStore]:
    made: ChunkStore
    if request.param == "disk":
        made = DiskChunks(tmp_path / "chunks", min_free_bytes=0)
    else:
        place = request.getfixturevalue("objects")
        made = S3Chunks(place, tmp_path / "temp", min_free_bytes=0, piece_bytes=PIECE)
    yield made
    made.close()


def some_bytes(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def keep(chunks: ChunkStore, job: str, chunk: str, data: bytes = b"data") -> None:
    incoming = chunks.receive(job, chunk)
    for start in range(0, len(data), 700):
        incoming.write(memoryview(data)[start : start + 700])
    assert incoming.keep().read_bytes() == data
    incoming.release()
    incoming.release()


def read(chunks: ChunkStore, job: str, chunk: str) -> bytes:
    with chunks.reading(job, chunk) as path:
        return path.read_bytes()


def is_there(chunks: ChunkStore, job: str, chunk: str) -> bool:
    try:
        read(chunks, job, chunk)
    except FileNotFoundError:
        return False
    return True


@pytest.mark.parametrize("size", SIZES)
def test_its_bytes_are_those_that_came(chunks: ChunkStore, size: int, tmp_path: Path) -> None:
    keep(chunks, "job", "chunk", some_bytes(size))
    assert read(chunks, "job", "chunk") == some_bytes(size)
    assert not list(tmp_path.glob("temp/*")), "what was read has gone"


def test_it_appears_when_it_is_whole(chunks: ChunkStore) -> None:
    incoming = chunks.receive("job", "chunk")
    incoming.write(some_bytes(3 * PIECE))
    assert not is_there(chunks, "job", "chunk")
    incoming.keep()
    incoming.release()
    assert is_there(chunks, "job", "chunk")


@pytest.mark.parametrize("kept", [False, True])
def test_discard_leaves_nothing_and_may_be_repeated(chunks: ChunkStore, kept: bool, tmp_path: Path) -> None:
    incoming = chunks.receive("job", "chunk")
    incoming.write(some_bytes(3 * PIECE))
    if kept:
        incoming.keep()
    for _ in range(2):
        incoming.discard()
    assert not is_there(chunks, "job", "chunk")
    chunks.drop("job")
    assert list(chunks.jobs()) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_adopted_bytes_are_written_once_more(chunks: ChunkStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(some_bytes(3 * PIECE))
    incoming = chunks.adopt("job", "chunk", source)
    incoming.write(source.read_bytes())
    incoming.keep()
    incoming.release()
    assert read(chunks, "job", "chunk") == source.read_bytes()


def test_drop_keeps_nothing_of_its_job(chunks: ChunkStore) -> None:
    for job, chunk in (("job", "a"), ("job", "b"), ("other", "c")):
        keep(chunks, job, chunk, some_bytes(2 * PIECE))
    assert sorted(chunks.jobs()) == ["job", "other"]
    for _ in range(2):
        chunks.drop("job")
        assert list(chunks.jobs()) == ["other"]
    assert read(chunks, "other", "c") == some_bytes(2 * PIECE)


def test_sweep_keeps_what_was_recorded_and_what_is_young(chunks: ChunkStore) -> None:
    keep(chunks, "job", "recorded")
    keep(chunks, "job", "unknown")
    half = chunks.receive("job", "half")
    half.write(some_bytes(3 * PIECE))
    chunks.sweep("job", ["recorded", "elsewhere"], older_s=3600)
    assert is_there(chunks, "job", "unknown")
    chunks.sweep("job", ["recorded", "elsewhere"])
    half.discard()
    assert is_there(chunks, "job", "recorded")
    assert not is_there(chunks, "job", "unknown")
    chunks.sweep("no such job", [])


def test_another_job_takes_over_the_bytes(chunks: ChunkStore) -> None:
    old, new = (
        Chunk(f"chunk of {job}", job, "p", 1, ChunkType.UPSERT, 4, "", FileType.CSV, now())
        for job in ("old", "new")
    )
    keep(chunks, "old", old.id, some_bytes(3 * PIECE))
    chunks.take_over(old, new)
    chunks.drop("old")
    assert read(chunks, "new", new.id) == some_bytes(3 * PIECE)
    with pytest.raises(FileNotFoundError):
        chunks.take_over(old, new)


# -- a store of objects --------------------------------------------------------------------------------


@pytest.fixture
def stored(objects: Objects, tmp_path: Path) -> Iterator[S3Chunks]:
    made = S3Chunks(objects, tmp_path / "temp", min_free_bytes=0, piece_bytes=PIECE)
    yield made
    made.close()


def keys(objects: Objects) -> list[str]:
    return sorted(found.key for found in objects.found("chunks"))


def test_pieces_go_while_it_comes(stored: S3Chunks, objects: Objects) -> None:
    incoming = stored.receive("job", "chunk")
    incoming.write(some_bytes(3 * PIECE))
    wait_for(lambda: len(keys(objects)) == 2, what="the pieces that are whole, but the last one")
    incoming.keep()
    assert keys(objects) == [f"chunks/job/chunk/{name}" for name in ("00000", "00001", "00002.end")]
    incoming.discard()


def test_what_a_dead_process_has_left_is_swept(stored: S3Chunks, objects: Objects) -> None:
    incoming = stored.receive("job", "chunk")
    incoming.write(some_bytes(3 * PIECE))
    wait_for(lambda: len(keys(objects)) == 2, what="its pieces")
    assert not is_there(stored, "job", "chunk")
    stored.sweep("job", ["chunk of another"])
    assert keys(objects) == []
    incoming.release()


def test_a_name_is_given_once(stored: S3Chunks, objects: Objects) -> None:
    keep(stored, "job", "chunk", b"first")
    second = stored.receive("job", "chunk")
    second.write(b"second")
    with pytest.raises(FileExistsError):
        second.keep()
    second.release()
    assert read(stored, "job", "chunk") == b"first"


def test_what_was_written_while_its_answer_was_lost_is_written(object_store: ObjectStore) -> None:
    place, cutting = object_store.place(), Cutting(object_store.endpoint, 20261130, 0.5)
    access = Access("", object_store.key, object_store.secret)
    with cutting.running() as url:
        objects = Objects(object_store.url(place), replace(access, endpoint=url))
        for number in range(20):
            insist(lambda number=number: objects.put(f"{number}", b"%d" % number))  # type: ignore[misc]
        insist(lambda: refused_as_taken(objects, "7", b"other"))
    assert cutting.cut > 5
    there = object_store.objects(place)
    assert [there.get(f"{number}") for number in range(20)] == [b"%d" % number for number in range(20)]


def insist(act: Callable[[], None]) -> None:
    """Until it is answered."""
    while True:
        try:
            return act()
        except StorageUnreachable:
            pass


def refused_as_taken(objects: Objects, key: str, data: bytes) -> None:
    with pytest.raises(FileExistsError):
        objects.put(key, data)


def test_a_store_that_is_away(tmp_path: Path) -> None:
    with ObjectStore() as own:
        chunks = S3Chunks(own.objects("away"), tmp_path / "temp", min_free_bytes=0, piece_bytes=PIECE)
        incoming = chunks.receive("job", "chunk")
        own.stop()
        incoming.write(some_bytes(2 * PIECE))
        with pytest.raises(StorageUnreachable) as refused:
            incoming.keep()
        assert own.secret not in f"{refused.value} {refused.value.__cause__!r}"
        incoming.discard()
        chunks.close()


# -- an installation -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, object_store: ObjectStore
) -> Iterator[Installation]:
    folder, env = tmp_path_factory.mktemp("whole"), object_store.environment("whole")
    with installation(folder, postgres.database(), servers=1, workers=1, **env) as made:
        yield made


def test_chunks_wait_in_the_store_alone(whole: Installation, object_store: ObjectStore) -> None:
    """Received by a server, staged and loaded by a worker."""
    [server] = whole.servers
    there = object_store.objects("whole")
    with server.client() as api:
        pool = create_pool(api)
        job = create_job(api, pool, "t", fileType="CSV", type="DELTA", keys=["k"])["id"]
        rows = "".join(f"{n},{n % 7}\n" for n in range(1_000_000))
        assert add_chunk(api, pool, job, f"k,v\n{rows}".encode()).is_success
        assert add_chunk(api, pool, job, b"k,v\n0,last\n").is_success
        assert len([found for found in there.found("chunks") if ".end" in found.key]) == 2
        assert len(list(there.found("chunks"))) > 2
        assert not list(server.data_dir.glob("chunks/**/*"))
        assert execute(api, pool, job).is_success
        assert wait_for_job(api, pool, job)["status"] == "DONE"
        assert sql(api, pool, "SELECT count(*), min(v) FILTER (k = '0') FROM t") == [[1_000_000, "last"]]
    wait_for(lambda: not [*there.found("chunks"), *there.found("staged")], what="the end of the chunks")
    wait_for(lambda: not left(server.data_dir), what="the end of what was fetched")


def left(folder: Path) -> list[Path]:
    places = ("chunks", "staged")
    return [p for place in places for p in folder.glob(f"temp/*/{place}/**/*") if p.is_file()]


def test_a_failed_job_runs_again_with_its_chunks(whole: Installation) -> None:
    with whole.servers[0].client() as api:
        pool = create_pool(api)
        job = run_job(
            api, pool, "t", [b"a;b\n1;2\n3\n"], fileType="CSV", csvParsingOptions={"separatorSequence": ";"}
        )
        assert job["status"] == "ERROR"
        again = api.post(f"/api/v1/pools/{pool}/jobs/{job['id']}/retry", json={"maxRejectedRows": 1})
        assert again.is_success, again.text
        assert wait_for_job(api, pool, again.json()["id"])["status"] == "DONE"
        assert sql(api, pool, "SELECT a, b FROM t") == [["1", "2"]]


@pytest.mark.skipif(not LONG, reason="a server and a store of its own: a part of make test-scale")
def test_when_the_store_is_started_anew(tmp_path: Path, postgres: Postgres) -> None:
    with ObjectStore() as own:
        env = {"HEADRACE_DATABASE_URL": postgres.database(), **own.environment("anew")}
        with RunningServer(tmp_path / "data", env=env) as server, server.client() as api:
            pool = create_pool(api)
            job = create_job(api, pool, "t", fileType="CSV")["id"]
            assert add_chunk(api, pool, job, b"a\n1\n").is_success
            own.stop()
            refused = add_chunk(api, pool, job, b"a\n2\n")
            assert refused.status_code == 503
            assert refused.json()["shortMessage"] == "storage-unreachable"
            own.start()
            assert add_chunk(api, pool, job, b"a\n2\n").is_success
            assert execute(api, pool, job).is_success
            assert wait_for_job(api, pool, job)["status"] == "DONE"
            assert sql(api, pool, "SELECT a FROM t ORDER BY a") == [["1"], ["2"]]
            assert own.secret not in server.log


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"storage_secret": SecretStr("wrong")}, "storage_url cannot be used"),
        ({"storage_url": "s3://no-such-bucket/x"}, "storage_url cannot be used"),
    ],
)
def test_a_start_that_cannot_use_it_says_why(
    tmp_path: Path, object_store: ObjectStore, change: dict[str, Any], said: str
) -> None:
    env = object_store.environment("start")
    right = {name.removeprefix("HEADRACE_").lower(): value for name, value in env.items()}
    settings = Settings(data_dir=tmp_path, **(right | change))
    with pytest.raises(CannotStart) as refused:
        arriving_of(settings, tmp_path, tmp_path)
    assert said in str(refused.value)
    assert object_store.secret not in str(refused.value)


def test_a_place_belongs_to_one_installation(
    whole: Installation, object_store: ObjectStore, postgres: Postgres, tmp_path: Path
) -> None:
    """Another one would sweep chunks that it does not know."""
    env = {"HEADRACE_DATABASE_URL": postgres.database(), **object_store.environment("whole")}
    with pytest.raises(AssertionError, match="belongs to another installation"):
        RunningServer(tmp_path / "data", env=env).start()
    with whole.servers[0].client() as api:
        assert run_job(api, create_pool(api), "t", [b"a\n1\n"], fileType="CSV")["status"] == "DONE"


def test_a_store_needs_a_database(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="need database_url"):
        run(Settings(data_dir=tmp_path, storage_url="s3://bucket"), print)
