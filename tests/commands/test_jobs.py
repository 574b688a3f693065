"""``headrace jobs``: what was pushed, and what became of it."""

from __future__ import annotations

import os
import pty
from typing import Any

import httpx
import pytest

from commands.running import cells, done, next_of, started
from harness import RunningServer, add_chunk, create_job, execute, held, own_job, run_job, sql, wait_for_job

pytestmark = pytest.mark.usefixtures("there")
Filled = tuple[str, str]

COMMA: dict[str, Any] = {
    "fileType": "CSV",
    "type": "DELTA",
    "keys": ["k"],
    "tableSchema": {
        "columns": [
            {"columnName": "n", "columnType": "FLOAT"},
            {"columnName": "day", "columnType": "DATE"},
        ]
    },
}
WITH_COMMAS = b'k,n,day\na,"1,5",2024-01-31\n'


def test_jobs_ls(filled: Filled) -> None:
    pool, job = filled
    header, line = done("jobs", "ls", "--pool", pool).out.splitlines()
    assert header.split() == ["id", "table", "type", "status", "rows", "rejected", "finished", "error"]
    assert line.split()[:6] == [job, "t", "REPLACE", "DONE", "3", "1"]
    assert [row[:6] for row in cells(done("jobs", "ls", "--pool", pool, "-o", "csv").out)][1] == line.split()[
        :6
    ]
    assert done("jobs", "ls", "--pool", pool, "-o", "json").json[0]["id"] == job
    assert done("jobs", "ls", "--pool", pool, "--offset", "1", "-o", "json").json == []


def test_jobs_show(filled: Filled) -> None:
    pool, job = filled
    told = dict(line.split(maxsplit=1) for line in done("jobs", "show", job, "--pool", pool).out.splitlines())
    assert (told["status"], told["inserted"], told["rejected"]) == ("DONE", "2", "1")
    assert done("jobs", "show", job, "--pool", pool, "-o", "json").json["counts"]["rowsIn"] == 3


def test_jobs_logs(filled: Filled) -> None:
    pool, job = filled
    lines = done("jobs", "logs", job, "--pool", pool).out.splitlines()
    assert lines[-1] == "REPLACE of t: 3 rows in, 2 inserted, 1 rejected."


def test_jobs_watch(filled: Filled, api: httpx.Client, fresh: str) -> None:
    pool, job = filled
    ended = done("jobs", "watch", job, "--pool", pool, "-o", "json", code=3)
    assert ended.json["status"] == "DONE"
    assert ended.err.splitlines()[0] == "DONE"
    assert next_of(ended) == f"rejects show {job} --pool {pool}"
    good = run_job(api, fresh, "u", [b"a\n1\n"], fileType="CSV")["id"]
    assert done("jobs", "watch", good, "--pool", fresh).err == "DONE\n"
    empty = run_job(api, fresh, "v", [])["id"]
    assert "(chunk-failed)" in done("jobs", "watch", empty, "--pool", fresh, code=1).err


def test_a_job_that_is_not_there(filled: Filled) -> None:
    ended = done("jobs", "show", "nothing", "--pool", filled[0], code=1)
    assert next_of(ended) == f"jobs ls --pool {filled[0]}"


# -- cancel --------------------------------------------------------------------------------------------


def test_jobs_cancel(api: httpx.Client, pool: str, server: RunningServer) -> None:
    run_job(api, pool, "t", [b"a\n1\n"], fileType="CSV")
    running, waiting = (create_job(api, pool, "t", fileType="CSV")["id"] for _ in range(2))
    for job in (running, waiting):
        add_chunk(api, pool, job, b"a\n2\n")
    with held(server, pool):
        for job in (running, waiting):
            execute(api, pool, job)
        ended = done("jobs", "cancel", waiting, "--pool", pool, "-o", "json")
        assert (ended.json["status"], ended.json["errorCode"]) == ("ERROR", "cancelled")
    wait_for_job(api, pool, running)
    assert sql(api, pool, "SELECT a FROM t") == [["2"]]
    late = done("jobs", "cancel", running, "--pool", pool, code=1)
    assert "is DONE" in late.err
    assert done("jobs", "cancel", waiting, "--pool", pool).out.startswith("id ")  # it is as one wants it


# -- retry ---------------------------------------------------------------------------------------------


def test_jobs_retry_with_a_correction(api: httpx.Client, pool: str) -> None:
    failed = run_job(api, pool, "again", [WITH_COMMAS], **COMMA)["id"]
    ended = done("jobs", "retry", failed, "--pool", pool, "--decimal", ",", "-o", "json")
    assert (ended.json["status"], ended.json["id"] != failed) == ("DONE", True)
    assert ended.err.splitlines()[-1] == "DONE"
    assert sql(api, pool, "SELECT n FROM again") == [[1.5]]
    told = done("jobs", "show", failed, "--pool", pool).out.splitlines()
    assert ["retried", "by", ended.json["id"]] in [line.split() for line in told]
    assert ended.json["id"] in done("jobs", "retry", failed, "--pool", pool, code=1).err


def test_jobs_retry_ends_as_its_job(api: httpx.Client, pool: str) -> None:
    failed = run_job(api, pool, "worse", [WITH_COMMAS], **COMMA)["id"]
    ended = done("jobs", "retry", failed, "--pool", pool, "-o", "json", code=1)
    assert next_of(ended) == f"rejects show {ended.json['id']} --pool {pool}"
    words = ("--pool", pool, "--allow-rejects", "1", "-o", "json")
    assert done("jobs", "retry", ended.json["id"], *words, code=3).json["counts"]["rejected"] == 1


def test_jobs_retry_without_waiting_and_with_another_type(api: httpx.Client, pool: str) -> None:
    """The other columns keep the types that they were declared with."""
    failed = run_job(api, pool, "typed", [WITH_COMMAS], **COMMA)["id"]
    words = ("--pool", pool, "--type", "N=STRING", "--no-wait", "-o", "json")
    ended = done("jobs", "retry", failed, *words)
    assert (ended.json["status"], ended.err) == ("QUEUED", "")
    assert wait_for_job(api, pool, ended.json["id"])["status"] == "DONE"
    assert sql(api, pool, "SELECT n, day FROM typed") == [["1,5", "2024-01-31"]]
    assert own_job(api, pool, ended.json["id"])["keys"] == ["k"]


# -- undo ----------------------------------------------------------------------------------------------


@pytest.fixture
def updated(api: httpx.Client, fresh: str) -> str:
    """The last job of a table of two rows: one changed, one new."""
    keyed = {"fileType": "CSV", "keys": ["k"]}
    run_job(api, fresh, "t", [b"k,v\n1,a\n"], **keyed)
    return str(run_job(api, fresh, "t", [b"k,v\n1,A\n2,b\n"], type="DELTA", **keyed)["id"])


def test_jobs_undo_is_previewed_and_done(api: httpx.Client, fresh: str, updated: str) -> None:
    said = done("jobs", "undo", updated, "--pool", fresh, "--dry-run", "-o", "csv")
    expected = [
        ["name", "connection", "change", "removed", "restored", "rows"],
        ["t", "", "restored", "2", "1", "1"],
    ]
    assert cells(said.out) == expected
    refused = done("jobs", "undo", updated, "--pool", fresh, code=2)
    assert "t: 2 rows would go, 1 come back; then it has 1." in refused.err
    assert next_of(refused) == f"jobs undo {updated} --pool {fresh} --yes"
    assert sql(api, fresh, "SELECT count(*) FROM t") == [[2]]
    assert cells(done("jobs", "undo", updated, "--pool", fresh, "--yes", "-o", "csv").out) == expected
    assert sql(api, fresh, "SELECT k, v FROM t") == [["1", "a"]]
    assert "undone already" in done("jobs", "undo", updated, "--pool", fresh, "--yes", code=1).err
    newest = done("tables", "versions", "t", "--pool", fresh, "-o", "json").json[0]
    assert (newest["job"], newest["undo"]) == (updated, True)


@pytest.mark.parametrize(("answer", "code", "rows"), [(b"y\n", 0, 1), (b"n\n", 1, 2)])
def test_jobs_undo_asks_at_a_terminal(
    api: httpx.Client, fresh: str, updated: str, answer: bytes, code: int, rows: int
) -> None:
    ours, theirs = pty.openpty()
    with started("jobs", "undo", updated, "--pool", fresh, stdin=theirs) as process:
        os.close(theirs)
        os.write(ours, answer)
        _, err = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == code, err
    assert b"Undo this job? [y/N]" in err
    assert sql(api, fresh, "SELECT count(*) FROM t") == [[rows]]


def test_jobs_undo_of_a_new_table(api: httpx.Client, fresh: str) -> None:
    job = run_job(api, fresh, "made", [b"a\n1\n"], fileType="CSV")["id"]
    said = done("jobs", "undo", job, "--pool", fresh, code=2).err
    assert "the table made would go, with its 1 rows; this job made it." in said
    ended = done("jobs", "undo", job, "--pool", fresh, "--yes", "-o", "json").json
    assert (ended["job"], ended["tables"][0]["change"]) == (job, "dropped")
