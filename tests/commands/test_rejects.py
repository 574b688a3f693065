"""``headrace rejects``: shown, downloaded, sent again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from commands.running import cells, done, next_of
from harness import own_job, run_job, sql

pytestmark = pytest.mark.usefixtures("there")
Filled = tuple[str, str]


def test_rejects_show(filled: Filled) -> None:
    pool, job = filled
    header, reject = cells(done("rejects", "show", job, "--pool", pool, "-o", "csv").out)
    assert header == ["chunk", "line", "column", "value", "expected", "hint", "marked"]
    assert reject[:5] == ["1", "4", "n", "x", "INTEGER (64 bit, no fraction)"]
    assert ">>x<<" in done("rejects", "show", job, "--pool", pool).out


def test_rejects_download_and_push_again(filled: Filled, home: Path, api: httpx.Client) -> None:
    pool, job = filled
    file = home / "bad.csv"
    assert done("rejects", "download", job, "--pool", pool).out.splitlines()[1].startswith('"c","x",')
    done("rejects", "download", job, "--pool", pool, "--to", str(file))
    file.write_text("\n".join(line.replace('"x"', '"3"', 1) for line in file.read_text().splitlines()))
    words = ("--pool", pool, "--table", "corrected")
    kept = "\n".join(",".join(line.split(",")[:2]) for line in file.read_text().splitlines())
    done("push", "-", *words, stdin=kept.encode())
    assert sql(api, pool, "SELECT n FROM corrected") == [["3"]]


def test_rejects_replay(api: httpx.Client, pool: str) -> None:
    spec: dict[str, Any] = {"fileType": "CSV", "keys": ["id"], "maxRejectedRows": 1}
    spec["tableSchema"] = {"columns": [{"columnName": "n", "columnType": "FLOAT"}]}
    job = run_job(api, pool, "t", [b"id,n\n1,1\n2,2;5\n"], **spec)["id"]
    failed = done("rejects", "replay", job, "--pool", pool, code=1)
    assert next_of(failed).startswith("rejects show ")
    told = done("rejects", "replay", job, "--pool", pool, "--decimal", ";", "-o", "csv")
    assert told.err.splitlines()[-1] == "DONE"
    assert sql(api, pool, "SELECT sum(n) FROM t") == [[3.5]]
    assert "replayed" in done("rejects", "replay", job, "--pool", pool, code=1).err


def test_a_type_corrects_its_column_alone(api: httpx.Client, pool: str) -> None:
    spec: dict[str, Any] = {"fileType": "CSV", "keys": ["id"], "maxRejectedRows": 1}
    columns = [{"columnName": "n", "columnType": "FLOAT"}, {"columnName": "d", "columnType": "DATE"}]
    spec["tableSchema"] = {"columns": columns}
    job = run_job(api, pool, "t", [b"id,n,d\n1,1,2024-01-01\n2,2;5,2024-01-02\n"], **spec)["id"]
    said = ("--decimal", ";", "--type", "n=FLOAT", "-o", "json")
    again = done("rejects", "replay", job, "--pool", pool, *said).json["id"]
    schema = own_job(api, pool, again)["tableSchema"]["columns"]
    assert {column["columnName"]: column["columnType"] for column in schema} == {"n": "FLOAT", "d": "DATE"}
    assert sql(api, pool, "SELECT sum(n) FROM t") == [[3.5]]
