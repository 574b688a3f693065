"""``headrace tables``: what is in a pool, in each form."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest

from commands.running import cells, done, next_of
from harness import run_job

pytestmark = pytest.mark.usefixtures("there")
Filled = tuple[str, str]


def test_tables_ls_and_show(filled: Filled) -> None:
    pool, _ = filled
    assert done("tables", "ls", "--pool", pool, "-o", "csv").out == "name,connection,columns\nt,,3\n"
    assert done("tables", "show", "t", "--pool", pool, "-o", "json").json["rows"] == 2
    assert cells(done("tables", "show", "t", "--pool", pool, "-o", "csv").out)[2] == ["n", "INTEGER", ""]
    assert "rows      2\n" in done("tables", "show", "t", "--pool", pool).out


def test_tables_head(filled: Filled) -> None:
    pool, _ = filled
    rows = cells(done("tables", "head", "t", "--pool", pool, "-n", "1", "-o", "csv").out)
    assert [row[:2] for row in rows] == [["id", "n"], ["a", "1"]]


def test_tables_profile(api: httpx.Client, pool: str) -> None:
    columns = [f"c{n}" for n in range(120)]
    header, row = ",".join(columns), ",".join(f'"{n}"' for n in range(120))
    run_job(api, pool, 'odd "name"', [f"{header}\n{row}\n{',' * 119}\n".encode()], fileType="CSV")
    profiled = done("tables", "profile", 'odd "name"', "--pool", pool, "-o", "json").json
    assert len(profiled) == 121
    assert profiled[119] == {
        **{"column": "c119", "type": "STRING", "rows": 2, "empty": 1, "distinct": 1},
        **{"least": "119", "largest": "119"},
    }


@pytest.mark.parametrize("format", ["csv", "ndjson", "parquet", "arrow"])
def test_tables_export(filled: Filled, home: Path, format: str) -> None:
    file = home / f"t.{format}"
    ended = done("tables", "export", "t", "--pool", filled[0], "--format", format, "--to", str(file))
    assert ended.out == ""
    assert [path.name for path in home.glob("*t.*")] == [file.name]
    if format == "parquet":
        assert pq.read_table(file).column("id").to_pylist() == ["a", "b"]
    if format == "ndjson":
        assert json.loads(file.read_text().splitlines()[1])["n"] == 2


def test_tables_export_to_a_pipe(filled: Filled) -> None:
    assert done("tables", "export", "t", "--pool", filled[0]).out.splitlines()[0].startswith("id,n,")


def test_an_export_that_fails_leaves_no_file(filled: Filled, home: Path) -> None:
    words = ("tables", "export", "nothing", "--pool", filled[0], "--to", str(home / "x.csv"))
    assert next_of(done(*words, code=1)) == f"tables ls --pool {filled[0]}"
    assert not list(home.glob("*x.csv*"))


def test_tables_versions(api: httpx.Client, pool: str) -> None:
    jobs = [run_job(api, pool, "v", [b"id,n\nz,9\n"], fileType="CSV", type="DELTA")["id"] for _ in range(2)]
    found = done("tables", "versions", "v", "--pool", pool, "-o", "json").json
    assert [version["job"] for version in found] == jobs[::-1]


def test_a_table_of_a_connection(api: httpx.Client, pool: str) -> None:
    made = api.post(f"/integration/api/pools/{pool}/data-sources", json={"name": "c"}).json()["id"]
    run_job(api, pool, "t", [b"a\n1\n"], fileType="CSV", connectionId=made)
    words = ("--pool", pool, "--connection", made, "-o", "json")
    assert done("tables", "head", "t", *words).json[0]["a"] == "1"
    assert done("tables", "profile", "t", *words).json[0]["rows"] == 1
    assert done("tables", "versions", "t", *words).json[0]["change"] == "REPLACE"
