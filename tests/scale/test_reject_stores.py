"""The contract of where rejects lie, over folders and over S3; and what is true of the latter alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace.model import Chunk, ChunkType, FileType, Reject, now
from headrace.objects import Objects
from headrace.rejectfiles import Alike, RejectFiles, RejectFolders, RejectObjects
from objectstore import ObjectStore

SAID = '{"line": 2, "column": null, "value": null, "expected": "x", "code": "y", "raw": "z"}\n'


@pytest.fixture
def objects(object_store: ObjectStore) -> Objects:
    return object_store.objects(object_store.place())


@pytest.fixture(params=["folders", "objects"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> RejectFiles:
    if request.param == "folders":
        return RejectFolders(tmp_path / "pools")
    return RejectObjects(request.getfixturevalue("objects"), tmp_path / "temp", tmp_path / "pools")


def chunk(number: int, job: str = "j", pool: str = "p") -> Chunk:
    return Chunk(f"c{number}", job, pool, number, ChunkType.UPSERT, 1, "", FileType.CSV, now())


def record(line: int, raw: str = "ü", code: str = "too-few-fields") -> Reject:
    return Reject(line, None, None, "1 fields instead of 2", code, raw)


def write(files: RejectFiles, chunk: Chunk, *rejects: Reject) -> None:
    path = files.path(chunk)
    path.parent.mkdir(parents=True, exist_ok=True)
    if rejects:
        path.write_text("".join(json.dumps(vars(r), ensure_ascii=False) + "\n" for r in rejects))
    else:
        path.unlink(missing_ok=True)
    files.publish(chunk)


def shown(files: RejectFiles, tmp_path: Path, pool: str = "p") -> dict[str, int]:
    """What SQL of the pool reads: files and their lines."""
    files.gather(pool)
    folder = tmp_path / "pools" / pool / "rejects"
    return {str(p.relative_to(folder)): len(p.read_text().splitlines()) for p in folder.glob("*/*.ndjson")}


def test_they_are_read_in_pages_over_all_chunks(files: RejectFiles) -> None:
    one, none, two = chunk(1), chunk(2), chunk(3)
    found = [record(n, str(n), "odd" if n % 2 else "even") for n in range(5)]
    write(files, one, *found[:3])
    write(files, two, *found[3:])
    assert list(files.of(one)) == found[:3]
    assert list(files.of(none)) == []
    pages = [(1, 1), (2, 2), (None, 3), (10, 5)]
    assert [
        [(c.number, r.line) for c, r in files.page([one, none, two], limit=limit, offset=offset)]
        for limit, offset in pages
    ] == [[(1, 1)], [(1, 2), (3, 3)], [(3, 3), (3, 4)], []]
    alike = files.page([one, two], limit=2, offset=1, alike=Alike("even", None))
    assert [(c.number, r.line) for c, r in alike] == [(1, 2), (3, 4)]


def test_sql_reads_what_is_there_now(files: RejectFiles, tmp_path: Path) -> None:
    assert shown(files, tmp_path) == {}
    write(files, chunk(1), record(1), record(2))
    write(files, chunk(2), record(1))
    write(files, chunk(1, "other"), record(1))
    assert shown(files, tmp_path) == {
        "job_id=j/1.ndjson": 2,
        "job_id=j/2.ndjson": 1,
        "job_id=other/1.ndjson": 1,
    }
    write(files, chunk(1), record(3))  # staged again
    write(files, chunk(2))
    files.drop("p", "other")
    assert shown(files, tmp_path) == {"job_id=j/1.ndjson": 1}
    assert list(files.of(chunk(2))) == []


def test_those_of_a_job_go(files: RejectFiles) -> None:
    write(files, chunk(1), record(1))
    write(files, chunk(1, "other"), record(1))
    assert sorted(files.jobs()) == [("p", "j"), ("p", "other")]
    for _ in range(2):
        files.drop("p", "j")
        assert list(files.of(chunk(1))) == []
    assert list(files.jobs()) == [("p", "other")]


def test_files_of_an_older_version_are_taken_over(files: RejectFiles, tmp_path: Path) -> None:
    old = tmp_path / "c1.rejects.ndjson"
    old.write_text(SAID)
    files.adopt(old, chunk(1))
    assert list(files.of(chunk(1))) == [Reject(2, None, None, "x", "y", "z")]
    assert not old.exists()


# -- a store of objects --------------------------------------------------------------------------------


def test_another_folder_sees_them(objects: Objects, tmp_path: Path) -> None:
    one, other = (RejectObjects(objects, tmp_path / n / "temp", tmp_path / n / "pools") for n in "ab")
    write(one, chunk(1), record(1))
    assert not list((tmp_path / "a").rglob("*.ndjson")), "what is published needs no room"
    assert list(other.of(chunk(1))) == [record(1)]
    assert shown(other, tmp_path / "b") == {"job_id=j/1.ndjson": 1}


def test_they_go_with_their_pool(objects: Objects, tmp_path: Path) -> None:
    files = RejectObjects(objects, tmp_path / "temp", tmp_path / "pools")
    for pool in ("p", "q", "r"):
        write(files, chunk(1, pool=pool), record(1))
    files.drop_pool("p")
    assert [pool for pool, _ in files.jobs()] == ["q", "r"]
    files.sweep({"q"}, older_s=3600)
    assert [pool for pool, _ in files.jobs()] == ["q", "r"]
    files.sweep({"q"})
    assert [pool for pool, _ in files.jobs()] == ["q"]
