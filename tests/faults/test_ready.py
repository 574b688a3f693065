"""With 10,000 jobs in the ledger a server that was killed is ready again within 5 seconds of CPU."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import psutil
from ran import ran

from harness import RunningServer, add_chunk, create_job, create_pool, held, run_job, wait_for, wait_for_job

JOBS, SECONDS = 10_000, 5.0


def test_after_a_kill(tmp_path: Path) -> None:
    """Most have ended, one was being loaded, one waited."""
    server = RunningServer(tmp_path / "data").start()
    with server.client() as api:
        pool = create_pool(api)
        done = run_job(api, pool, "t", [b"a\n1\n"], fileType="CSV")["id"]
        server.stop()
        multiply(server, done)
        server.start()
    with server.client() as api, held(server, pool):
        waiting = [create_job(api, pool, "t", type="DELTA", fileType="CSV")["id"] for _ in range(2)]
        for job in waiting:
            assert add_chunk(api, pool, job, b"a\n2\n").status_code == 200
            assert api.post(f"/api/v1/pools/{pool}/jobs/{job}/execute").status_code == 202
        status = f"/api/v1/pools/{pool}/jobs/{waiting[0]}"
        wait_for(lambda: api.get(status).json()["status"] == "RUNNING")
        server.kill()
    server.start()
    spent = sum(psutil.Process(server.pid).cpu_times()[:2])
    with server, server.client() as api:
        assert spent < SECONDS
        assert [wait_for_job(api, pool, job)["status"] for job in waiting] == ["DONE", "DONE"]
        assert len(api.get(f"/api/v1/pools/{pool}/jobs?limit=1000&offset=9500").json()) > 500
    ran("jobs in the ledger of a server that is ready again", JOBS, beside=f"{spent:.1f} s of CPU")


def multiply(server: RunningServer, job: str) -> None:
    """The ledger has this job 10,000 times, each with its chunk."""
    with closing(sqlite3.connect(server.data_dir / "metadata.sqlite")) as db, db:
        for table, column in (("jobs", "id"), ("chunks", "job_id")):
            rows = db.execute(f"SELECT * FROM {table} WHERE {column} = ?", [job])
            names = [name for name, *_ in rows.description]
            [row] = rows.fetchall()
            places = ", ".join("?" * len(names))
            copies = [list(row) for _ in range(JOBS)]
            for number, copy in enumerate(copies):
                copy[names.index(column)] = f"{number:08}{job[8:]}"
                if table == "chunks":
                    copy[names.index("id")] = str(uuid4())
            db.executemany(f"INSERT INTO {table} VALUES ({places})", copies)
