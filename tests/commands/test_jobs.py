"""``headrace jobs``: what was pushed, and what became of it."""

from __future__ import annotations

import httpx
import pytest

from commands.running import cells, done, next_of
from harness import run_job

pytestmark = pytest.mark.usefixtures("there")
Filled = tuple[str, str]


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
