"""Moving house: a folder into a database and a store, broken off anywhere, and equal at the end."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from commands.running import headrace
from contract.resumable import Tus
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
from headrace import house
from headrace.errors import Conflict, NotFound
from headrace.folders import CannotStart, only_server_of
from headrace.metadata import Metadata
from headrace.metadata.moving import Marks
from headrace.model import Pool, now
from headrace.moving import Different
from headrace.server import run
from headrace.settings import Settings
from headrace.wiring import metadata_of
from objectstore import ObjectStore
from postgres import Postgres
from scale.installation import environment
from scale.test_storms import LONG

KILLS = int(os.environ.get("HEADRACE_MOVE_KILLS", "1"))
SEED = int(os.environ.get("HEADRACE_FAULT_SEED", "20261130"))
PART = b"k,v\n1,a\n"
ODD = "ä 'q\" \\ 😀"


@dataclass(frozen=True)
class Left:
    """A folder whose server has stopped, and what it had said of itself."""

    folder: Path
    pool: str
    waiting: str
    failed: str
    undoable: str
    upload: str
    seen: Mapping[str, Any]


def seen(api: httpx.Client, pool: str) -> dict[str, Any]:
    """What must be the same at the new place."""
    tables = api.get(f"/api/v1/pools/{pool}/tables").json()
    return {
        "tables": tables,
        "rows": {t["name"]: sorted(map(str, sql(api, pool, f'FROM "{t["name"]}"'))) for t in tables},
        "versions": {t["name"]: api.get(f"/api/v1/pools/{pool}/tables/{t['name']}").json() for t in tables},
        "jobs": api.get(f"/api/v1/pools/{pool}/jobs?limit=100").json(),
        "pools": api.get("/integration/api/pools").json(),
        "keys": [{**key, "lastUsedAt": None} for key in api.get("/api/v1/keys").json()],
    }


def things_that_wait(api: httpx.Client, pool: str, folder: Path) -> tuple[str, str, str]:
    """A failed job with rejects, a NEW one with a staged chunk, and its upload, half of which has come."""
    columns = [{"columnName": "a", "columnType": "INTEGER"}]
    schema = {"tableName": "x", "columns": columns}
    failed = run_job(api, pool, "x", [b"a\n1\nx\n"], fileType="CSV", tableSchema=schema)
    assert failed["status"] == "ERROR"
    waiting = create_job(api, pool, "t", fileType="CSV", type="DELTA", keys=["k"])["id"]
    assert add_chunk(api, pool, waiting, b"k,v,w\n1,waited,\n").is_success
    tus = Tus(api, pool, waiting)
    upload = tus.create(2 * len(PART))
    assert tus.patch(upload, 0, PART).is_success
    staged = folder / "pools" / pool / "staging" / waiting
    wait_for(lambda: list(staged.glob("*.parquet")), what="the staging")
    return failed["id"], waiting, upload


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Left:
    """With tables of files, deletions and receipts in their catalog, and work of every kind that waits."""
    server = RunningServer(tmp_path_factory.mktemp("full") / "data")
    with server, server.client() as api:
        pool = create_pool(api, ODD)
        create_pool(api, "empty")
        rows = "".join(f"{n},{n % 7},{ODD!r}\n" for n in range(20_000))
        run_job(api, pool, "t", [f"k,v,w\n{rows}".encode()], fileType="CSV", type="DELTA", keys=["k"])
        for n in range(4):
            changed = [
                f"k,v,w\n{n},new,\x00\n{20_000 + n},,\n".encode(),
                ("deleted", f"k\n{n + 50}\n".encode()),
            ]
            undoable = run_job(api, pool, "t", changed, fileType="CSV", type="DELTA", keys=["k"])
            assert undoable["status"] == "DONE"
        run_job(api, pool, "u", [b"a\n1\n"], fileType="CSV", connectionId=None)
        failed, waiting, upload = things_that_wait(api, pool, server.data_dir)
        return Left(server.data_dir, pool, waiting, failed, undoable["id"], upload, seen(api, pool))


@pytest.fixture
def left(full: Left, tmp_path: Path) -> Iterator[Left]:
    """The folder, as it was again afterwards: catalogs know where their data are."""
    kept = tmp_path / "kept"
    shutil.copytree(full.folder, kept)
    yield full
    shutil.rmtree(full.folder)
    shutil.copytree(kept, full.folder)


def settings_of(left: Left, url: str, **more: Any) -> Settings:
    return Settings(data_dir=left.folder, database_url=SecretStr(url), **more)


class Broken(BaseException):
    """The move ends here."""


def broken_off(known: set[str], every: int = 1) -> Callable[[str], None]:
    """At the first line that was not told before, or each so many of them."""

    def tell(line: str) -> None:
        if line not in known:
            known.add(line)
            if len(known) % every == 0:
                raise Broken

    return tell


def contents(folder: Path) -> dict[str, bytes]:
    """What must not change before the end."""
    files = [
        folder / "metadata.sqlite",
        *folder.glob("pools/*/catalog.sqlite"),
        *folder.glob("pools/*/data/**/*.parquet"),
    ]
    return {str(path.relative_to(folder)): dump(path) for path in files}


def dump(path: Path) -> bytes:
    if path.suffix != ".sqlite":
        return path.read_bytes()
    with closing(sqlite3.connect(path)) as db:
        return "\n".join(db.iterdump()).encode()


def check_moved(left: Left, env: Mapping[str, str]) -> None:
    """All is there, all that waited goes on, and nobody starts on what was left."""
    with pytest.raises(CannotStart, match="has moved to a database"):
        run(Settings(data_dir=left.folder, database_url=SecretStr("")), print)
    server = RunningServer(left.folder, env=env, name="moved")
    with server, server.client() as api:
        assert seen(api, left.pool) == left.seen
        tus = Tus(api, left.pool, left.waiting)
        assert tus.offset(left.upload) == len(PART)
        assert tus.patch(left.upload, len(PART), PART).is_success
        assert execute(api, left.pool, left.waiting).is_success
        done = wait_for_job(api, left.pool, left.waiting)
        assert done["status"] == "DONE", done
        rejects = api.get(f"/api/v1/pools/{left.pool}/jobs/{left.failed}/rejects").json()
        assert [reject["value"] for reject in rejects] == ["x"]
        assert sql(api, left.pool, "SELECT value FROM rejects") == [["x"]]
        assert api.post(f"/api/v1/pools/{left.pool}/jobs/{left.waiting}/undo").is_success
        assert api.post(f"/api/v1/pools/{left.pool}/jobs/{left.undoable}/undo").is_success
        assert (
            run_job(api, left.pool, "t", [b"k,v,w\n9,9,9\n"], fileType="CSV", keys=["k"])["status"] == "DONE"
        )
        assert sql(api, left.pool, "SELECT count(*) FROM t") == [[1]]
        assert api.post(f"/api/v1/pools/{left.pool}/upkeep").is_success


def test_it_moves(left: Left, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command, with what it says before."""
    url = postgres.database()
    monkeypatch.setenv("HEADRACE_DATABASE_URL", url)
    before = contents(left.folder)
    words = ["migrate", "--data-dir", str(left.folder)]
    foreseen = headrace(*words, "--dry-run")
    assert foreseen.code == 0, foreseen.err
    assert "catalogs of pools: 2" in foreseen.out
    assert "rows of pools: 2" in foreseen.out
    assert postgres.run("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", url_name(url)) == [(0,)]
    moved = headrace(*words)
    assert moved.code == 0, moved.err
    assert "All was compared" in moved.err
    assert postgres.password not in moved.out + moved.err
    aside = {f"{name}.moved" if name.endswith(".sqlite") else name: data for name, data in before.items()}
    assert {name: dump_aside(left.folder / name) for name in aside} == aside
    again = headrace(*words)
    assert again.code == 1
    assert "has moved already" in again.err
    with pytest.raises(CannotStart, match="has moved to a database"):
        run(Settings(data_dir=left.folder, database_url=SecretStr("")), print)


def url_name(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


def dump_aside(path: Path) -> bytes:
    if path.suffix != ".moved":
        return path.read_bytes()
    with closing(sqlite3.connect(path)) as db:
        return "\n".join(db.iterdump()).encode()


def test_all_goes_into_a_store(left: Left, postgres: Postgres, object_store: ObjectStore) -> None:
    """Broken off before it was compared; and an object that has other bytes is found."""
    url, stored = postgres.database(), object_store.environment("house")
    more = {name.removeprefix("HEADRACE_").lower(): value for name, value in stored.items()}
    settings, there = settings_of(left, url, **more), object_store.objects("house")

    def spoil(line: str) -> None:
        if line == "rejects: 1 files copied":
            [found] = there.found("rejects")
            there.put(found.key, b"x" * found.size, overwrite=True)
            raise Broken

    with pytest.raises(Broken):
        house.move(settings, spoil)
    with pytest.raises(Different, match=r"rejects: .* has other bytes there"):
        house.move(settings, print)
    there.delete([found.key for found in there.found("rejects")])
    with pytest.raises(Different, match=r"rejects: .* is missing there"):
        house.move(settings, print)
    [rejects] = left.folder.glob("pools/*/rejects/*/*")
    there.put(f"rejects/{left.pool}/{left.failed}/1", rejects, overwrite=True)
    house.move(settings, print)
    assert not list(left.folder.glob("pools/*/data"))
    for name in ("chunks/*", "uploads/*", "pools/*/data.moved"):
        for old in left.folder.glob(name):
            shutil.rmtree(old)
    check_moved(left, environment(url, **stored))


def test_broken_off_at_each_step(left: Left, postgres: Postgres) -> None:
    """Before the end the folder is as it was, and the new place is nobody's."""
    url, before, told = postgres.database(), contents(left.folder), set[str]()
    while True:
        with suppress(Broken):
            house.move(settings_of(left, url), broken_off(told, 1 if LONG else 5))
            break
        if (left.folder / "metadata.sqlite").exists():
            assert contents(left.folder) == before
        with pytest.raises(CannotStart, match="is being moved into this database"):
            metadata_of(settings_of(left, url))
        assert len(told) < 100
    assert len(told) > 15
    check_moved(left, environment(url))


@pytest.mark.timeout(120 + 30 * KILLS)
def test_killed_at_random(
    left: Left, postgres: Postgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The moments of death are what is random here, so they are times."""
    chance, moved = random.Random(SEED), 0
    url = postgres.database()
    shutil.copytree(left.folder, tmp_path / "as it was")
    for _ in range(KILLS):
        if killed(left.folder, url, chance):
            continue
        moved += 1  # it was whole before: another begins
        assert_whole(left, url)
        shutil.rmtree(left.folder)
        shutil.copytree(tmp_path / "as it was", left.folder)
        url = postgres.database()
    assert_whole(left, url)
    with capsys.disabled():
        print(f"\n{KILLS - moved} deaths of {moved + 1} moves (seed {SEED})")


def killed(folder: Path, url: str, chance: random.Random) -> bool:
    """A move that dies somewhere; False: it did not come to that."""
    command = [sys.executable, "-m", "headrace", "migrate", "--data-dir", str(folder)]
    env = {**os.environ, "HEADRACE_DATABASE_URL": url}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=env, **quiet) as moving:  # type: ignore[call-overload]
        for _ in range(chance.randrange(12)):
            moving.stderr.readline()
        time.sleep(chance.uniform(0, 0.1))
        moving.kill()
        return bool(moving.wait())


def assert_whole(left: Left, url: str) -> None:
    with closing(Marks(url)) as marks:
        whole = marks.done("whole")
    if not whole:
        house.move(settings_of(left, url), print)  # which compares all of it
    assert {path.name for path in left.folder.glob("*.sqlite*")} == {"metadata.sqlite.moved"}
    assert not list(left.folder.glob("pools/*/catalog.sqlite"))


def test_a_difference_ends_it(left: Left, postgres: Postgres) -> None:
    url = postgres.database()
    name = url_name(url)

    def tell(line: str) -> None:
        if line == f"catalog of {left.pool}: copied":
            postgres.run("UPDATE pools SET name = 'other'", name)
            schema = f"headrace_lake_{left.pool.replace('-', '_')}"
            postgres.run(f"UPDATE {schema}.ducklake_data_file SET end_snapshot = 2", name)

    with pytest.raises(Different) as different:
        house.move(settings_of(left, url), tell)
    assert "rows of pools" in str(different.value)
    assert f"tables of {left.pool}" in str(different.value)
    with pytest.raises(CannotStart, match="is being moved into this database"):
        metadata_of(settings_of(left, url))
    assert (left.folder / "metadata.sqlite").exists()


@pytest.mark.skipif(not LONG, reason="a server of its own: a part of make test-scale")
def test_who_goes_on_with_the_old_server_moves_anew(left: Left, postgres: Postgres) -> None:
    """Whatever was pushed after the move was broken off is in no copy: that is found, at each step."""
    url, told = postgres.database(), set[str]()
    while "All was compared, and is the same." not in told:
        with pytest.raises(Broken):
            house.move(settings_of(left, url), broken_off(told))
    with RunningServer(left.folder) as server, server.client() as api:
        assert run_job(api, left.pool, "t", [b"k\n1\n"], fileType="CSV")["status"] == "DONE"
    with pytest.raises(Different) as different:
        house.move(settings_of(left, url), print)
    assert f"catalog of {left.pool}: it was changed here" in str(different.value)
    assert "rows of jobs" in str(different.value)


def test_the_store_of_another_installation_is_refused(
    left: Left, postgres: Postgres, object_store: ObjectStore
) -> None:
    prefix = object_store.place()
    object_store.objects(prefix).claim("another")
    stored = object_store.environment(prefix)
    more = {name.removeprefix("HEADRACE_").lower(): value for name, value in stored.items()}
    with pytest.raises(CannotStart, match="belongs to another installation"):
        house.move(settings_of(left, postgres.database(), **more), print)
    assert [found.key for found in object_store.objects(prefix).found("")] == ["installation"]


def test_what_is_refused(left: Left, postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.database()
    with pytest.raises(CannotStart, match="database_url, which is not set"):
        house.move(Settings(data_dir=left.folder), print)
    (tmp_path / "empty" / "pools").mkdir(parents=True)
    with pytest.raises(NotFound):
        house.move(Settings(data_dir=tmp_path / "empty", database_url=SecretStr(url)), print)
    with pytest.raises(Broken):
        house.move(settings_of(left, url), broken_off(set()))
    with closing(sqlite3.connect(left.folder / "metadata.sqlite")) as books, books:
        books.execute("UPDATE installation SET id = 'another'")
    with pytest.raises(Conflict, match="Another folder is being moved"):
        house.move(settings_of(left, url), print)
    used = postgres.database()
    with closing(Metadata(used)) as theirs:
        theirs.pools.add(Pool("theirs", "theirs", now()))
    with pytest.raises(Conflict, match="in use"):
        house.move(settings_of(left, used), print)
    with only_server_of(left.folder), pytest.raises(CannotStart, match="Another Headrace server"):
        house.move(settings_of(left, postgres.database()), print)
