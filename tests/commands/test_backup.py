"""``headrace backup`` and ``headrace restore``: what was there is there again, whatever went on meanwhile."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from commands.running import done, headrace, next_of
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
from headrace import backups
from headrace.errors import Busy
from headrace.metadata import holding

KEYED: dict[str, Any] = {"fileType": "CSV", "type": "DELTA", "keys": ["id"]}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RunningServer]:
    with RunningServer(tmp_path / "data") as server:
        yield server


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a server that was here: three small files of one table."""
    with RunningServer(tmp_path_factory.mktemp("stopped") / "data") as server, server.client() as api:
        pool = create_pool(api, "mine")
        for n in range(3):
            run_job(api, pool, "t", [_rows(n, 1)], fileType="CSV", type="DELTA")
    return server.data_dir


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """For tests that only look at it."""
    with RunningServer(tmp_path_factory.mktemp("shared") / "data") as server:
        with server.client() as api:
            run_job(api, create_pool(api), "t", [_rows(0, 10)], fileType="CSV")
        yield server


def _rows(first: int, count: int, value: str = "x") -> bytes:
    return ("id,v\n" + "".join(f"{n},{value}\n" for n in range(first, first + count))).encode()


def _restored(home: Path, name: str = "restored") -> RunningServer:
    done("restore", str(home / "backup"), "--data-dir", str(home / name))
    return RunningServer(home / name)


def test_a_server_that_runs_comes_back_elsewhere(own: RunningServer, home: Path) -> None:
    """Tables with their versions, rejects, jobs that wait with their chunks; and what was under way, once."""
    with own.client() as api:
        pool = create_pool(api)
        run_job(api, pool, "t", [_rows(0, 5000)], **KEYED)
        run_job(api, pool, "t", [("deleted", b"id\n" + b"".join(b"%d\n" % n for n in range(3000)))], **KEYED)
        run_job(api, pool, "t", [_rows(4000, 2000, "new")], **KEYED)
        typed = {"tableSchema": {"columns": [{"columnName": "v", "columnType": "INTEGER"}]}}
        bad = run_job(api, pool, "u", [b"id,v\n1,x\n"], fileType="CSV", maxRejectedRows=1, **typed)
        waiting = create_job(api, pool, "w", fileType="CSV")["id"]
        add_chunk(api, pool, waiting, b"id\n1\n")
        query = "SELECT count(*), min(id), sum(hash(id, v, _CELONIS_CHANGE_DATE) % 1000) FROM t"
        before, jobs = sql(api, pool, query), api.get(f"/api/v1/pools/{pool}/jobs").json()
        old = sql(api, pool, "SELECT count(*) FROM t AT (VERSION => 4)")
        busy = create_pool(api)
        with _appending(own, busy):
            for name in ("earlier", "backup"):
                done("backup", str(home / name), "--data-dir", str(own.data_dir))
        run_job(api, pool, "t", [_rows(0, 1, "after")], type="REPLACE", fileType="CSV")
        assert sql(api, pool, "SELECT count(*) FROM t") == [[1]]
    own.stop()
    own.data_dir.rename(home / "gone")  # the restored one must need nothing of it
    with _restored(home) as server, server.client() as api:
        _each_append_counts_once(api, busy)
        assert sql(api, pool, query) == before
        assert sql(api, pool, "SELECT count(*) FROM t AT (VERSION => 4)") == old
        assert sql(api, pool, "SELECT raw->>'v' FROM rejects") == [["x"]]
        assert api.get(f"/api/v1/pools/{pool}/jobs").json() == jobs
        assert api.get(f"/api/v1/pools/{pool}/jobs/{bad['id']}/rejects").json()[0]["value"] == "x"
        execute(api, pool, waiting)
        assert wait_for_job(api, pool, waiting)["status"] == "DONE"
        run_job(api, pool, "t", [_rows(0, 100, "later")], **KEYED)
        assert sql(api, pool, "SELECT count(*) FROM t WHERE v = 'later'") == [[100]]
        assert api.post(f"/api/v1/pools/{pool}/upkeep").status_code == 200
        assert sql(api, pool, "SELECT count(*) FROM t") == [[before[0][0] + 100]]
    assert "fault" not in done("doctor", "--data-dir", str(home / "restored"), "--port", "0", "-o", "csv").out


@contextmanager
def _appending(server: RunningServer, pool: str) -> Iterator[None]:
    """Meanwhile two clients append a hundred rows, again and again; some jobs have ended before."""
    stop = threading.Event()

    def push() -> None:
        with server.client() as mine:
            while not stop.is_set():
                run_job(mine, pool, "t", [_rows(0, 100)], fileType="CSV", type="DELTA")

    pushing = [threading.Thread(target=push) for _ in range(2)]
    for thread in pushing:
        thread.start()
    try:
        with server.client() as api:
            wait_for(lambda: _done(api, pool) > 2, what="jobs to end")
        yield
    finally:
        stop.set()
        for thread in pushing:
            thread.join()


def _each_append_counts_once(api: httpx.Client, pool: str) -> None:
    for job in api.get(f"/api/v1/pools/{pool}/jobs?limit=1000").json():
        if job["status"] not in ("NEW", "DONE"):
            assert wait_for_job(api, pool, job["id"])["status"] == "DONE"
    assert _done(api, pool) > 2
    assert sql(api, pool, "SELECT count(*) FROM t") == [[100 * _done(api, pool)]]


def _done(api: httpx.Client, pool: str) -> int:
    jobs = api.get(f"/api/v1/pools/{pool}/jobs?limit=1000").json()
    return sum(job["status"] == "DONE" for job in jobs)


def test_what_was_committed_and_not_told_is_not_loaded_twice(home: Path) -> None:
    """The moment that matters: the rows are in the table, and the job does not know it yet."""
    with RunningServer(home / "data", env={"HEADRACE_CRASH_AT": "committed"}) as server:
        with server.client() as api:
            pool = create_pool(api)
            job = create_job(api, pool, "t", fileType="CSV", type="DELTA")["id"]
            add_chunk(api, pool, job, _rows(0, 10))
            execute(api, pool, job)
            assert server.process is not None
            server.process.wait(60)
        server.process = None
        done("backup", str(home / "backup"), "--data-dir", str(server.data_dir))
    with _restored(home) as restored, restored.client() as api:
        assert wait_for_job(api, pool, job)["status"] == "DONE"
        assert sql(api, pool, "SELECT count(*) FROM t") == [[10]]


def test_links_cost_no_room(shared: RunningServer, home: Path) -> None:
    told = done(
        "backup", str(home / "backup"), "--data-dir", str(shared.data_dir), "--link", "-o", "json"
    ).json
    [file] = (home / "backup").glob("pools/*/data/up/**/*.parquet")
    assert file.stat().st_nlink == 2
    assert (told["pools"], told["files"]) == (1, 2)  # a table, and the admin's key
    assert not list((shared.data_dir / "temp").glob("backup-*"))


def test_nobody_else_may_read_it(shared: RunningServer, home: Path) -> None:
    done("backup", str(home / "backup"), "--data-dir", str(shared.data_dir))
    modes = {path.stat().st_mode & 0o077 for path in (home / "backup").rglob("*")}
    assert modes | {(home / "backup").stat().st_mode & 0o077} == {0}


def test_a_file_that_is_missing_is_named(stopped: Path, home: Path) -> None:
    done("backup", str(home / "backup"), "--data-dir", str(stopped))
    copied, *_ = (home / "backup").glob("pools/*/data/up/**/*.parquet")
    copied.write_bytes(copied.read_bytes()[:-1])
    ended = done("restore", str(home / "backup"), "--data-dir", str(home / "r"), code=1)
    assert "not whole" in ended.err and "bytes" in ended.err
    file, *_ = stopped.glob("pools/*/data/up/**/*.parquet")
    file.rename(home / "aside")
    try:
        ended = done("backup", str(home / "other"), "--data-dir", str(stopped), code=1)
        seen = headrace("doctor", "--data-dir", str(stopped), "--port", "0", "-o", "json")
    finally:
        (home / "aside").rename(file)
    assert str(file) in ended.err
    assert next_of(ended) == "doctor"
    assert not [path for path in home.iterdir() if path.name.startswith(("r", "other"))]
    assert (seen.code, [f["check"] for f in seen.json if f["state"] == "fault"]) == (1, ["data"])


def test_nothing_is_overwritten(shared: RunningServer, home: Path) -> None:
    (home / "backup").mkdir()
    (home / "backup" / "mine").touch()
    words = ("backup", str(home / "backup"), "--data-dir", str(shared.data_dir))
    assert "is there already" in done(*words, code=1).err
    assert (
        "no whole backup" in done("restore", str(home / "backup"), "--data-dir", str(home / "r"), code=1).err
    )
    assert "no server's folder" in done("backup", str(home / "b"), "--data-dir", str(home / "x"), code=1).err


def test_tables_in_iceberg_are_not_copied(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_ENGINE", "spark")
    refused = headrace("backup", str(home / "backup"), "--data-dir", str(home / "data"))
    assert refused.code == 1
    assert "copy its folder and the warehouse" in refused.err
    assert not (home / "backup").exists()


def test_a_moment_that_takes_too_long_is_given_up(
    shared: RunningServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shared.client() as api:
        monkeypatch.setattr(holding, "LONGEST_S", -1.0)
        with pytest.raises(Busy, match="stop the server"):
            backups.make(shared.data_dir, home / "backup", told=lambda _: None)
        create_pool(api)  # and the server goes on
    assert not list(home.glob("backup*"))


def test_a_folder_that_somebody_writes_to_is_waited_for(
    shared: RunningServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "_BUSY_SECONDS", 0.0)
    with closing(sqlite3.connect(shared.data_dir / "metadata.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert (
            "cannot be held"
            in done("backup", str(home / "b"), "--data-dir", str(shared.data_dir), code=1).err
        )
        other.execute("ROLLBACK")
    done("backup", str(home / "b"), "--data-dir", str(shared.data_dir))


def test_maintain_a_folder_that_nobody_uses(stopped: Path, home: Path) -> None:
    assert done("maintain", "--data-dir", str(stopped)).out == "mine: t\n"
    assert len(list(stopped.rglob("compact/*.parquet"))) == 1
    assert "no server's folder" in done("maintain", "--data-dir", str(home / "x"), code=1).err
