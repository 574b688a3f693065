"""Tables of 10,000 columns, cells of 50 MB, headers in any order: through the real server."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import pyarrow.parquet as pq

from harness import RunningServer, add_chunk, create_job, create_pool, run_job, sql

WIDE = 10_000
NAMES = [f"column {n}" for n in range(WIDE)]
KEYED = {"type": "DELTA", "fileType": "CSV", "keys": ["column 0"]}


def wide(rows: range, sign: str = "", names: list[str] = NAMES) -> bytes:
    lines = [",".join(names), *(",".join([str(n), *[f"{sign}{n}"] * (len(names) - 1)]) for n in rows)]
    return "\n".join(lines).encode()


def done(api: httpx.Client, pool: str, chunks: list[bytes | tuple[str, bytes]], **spec: object) -> None:
    job = run_job(api, pool, "wide", chunks, **({"fileType": "CSV"} | spec))
    assert job["status"] == "DONE", job["logs"]


def test_a_table_of_10000_columns(api: httpx.Client, pool: str) -> None:
    done(api, pool, [wide(range(20)), wide(range(20, 30))])
    query = 'SELECT count(*), max("column 9999"), max("column 0") FROM wide'
    assert sql(api, pool, query) == [[30, "9", "9"]]
    done(api, pool, [wide(range(25, 35), "x"), ("deleted", b"column 0\n1\n2\n")], **KEYED)
    counts = "SELECT count(*), count(*) FILTER (starts_with(\"column 9999\", 'x')) FROM wide"
    assert sql(api, pool, counts) == [[33, 10]]
    done(api, pool, [wide(range(3))])
    assert sql(api, pool, query) == [[3, "2", "2"]]


def test_one_column_more_is_refused(api: httpx.Client, pool: str) -> None:
    job = create_job(api, pool, "wide", fileType="CSV")["id"]
    reply = add_chunk(api, pool, job, wide(range(1), names=[*NAMES, "one more"]))
    assert (reply.status_code, "10000 columns; this chunk has 10001" in reply.text) == (400, True)


def test_whole_rows_of_4000_columns_fit_the_usual_memory(tmp_path: Path) -> None:
    """Columns that are kept, upkeep, an export: each holds whole rows."""
    names = NAMES[:4000]
    with RunningServer(tmp_path / "data") as server:
        with server.client(timeout=240) as api:
            pool = create_pool(api)
            done(api, pool, [wide(range(20), names=names)], **KEYED)
            done(api, pool, [wide(range(2), "x", names=["COLUMN 0", "column 77"])], **KEYED)
            assert api.post(f"/api/v1/pools/{pool}/upkeep").status_code == 200
            row = 'SELECT "column 77", "column 78" FROM wide WHERE "column 0" = \'1\''
            assert sql(api, pool, row) == [["x1", "1"]]
            exported = api.get(f"/api/v1/pools/{pool}/tables/wide/export", params={"format": "parquet"})
            table = pq.read_table(io.BytesIO(exported.content))
            assert (table.num_rows, table.column_names[:-1]) == (20, names)
        assert '"level": "error"' not in server.log


def test_a_load_without_the_memory_for_it_says_so(tmp_path: Path) -> None:
    names = NAMES[:4000]
    with (
        RunningServer(tmp_path / "data", env={"HEADRACE_LOAD_MEMORY_MB": "256"}) as server,
        server.client() as api,
    ):
        pool = create_pool(api)
        done(api, pool, [wide(range(3), names=names)], **KEYED)
        chunk = wide(range(2), "x", names=["column 0", "column 77"])
        new = create_job(api, pool, "wide", **KEYED)["id"]
        assert add_chunk(api, pool, new, chunk).status_code == 200
        foreseen = api.post(f"/api/v1/pools/{pool}/jobs/{new}/execute?dryRun=true")
        assert (foreseen.status_code, foreseen.json()["errorCode"]) == (200, "load-memory")
        job = run_job(api, pool, "wide", [chunk], **KEYED)
        assert job["status"] == "ERROR"
        assert "load_memory_mb" in job["logs"][-1]
        assert sql(api, pool, "SELECT count(*) FROM wide WHERE starts_with(\"column 77\", 'x')") == [[0]]


def test_a_cell_of_50_mb(api: httpx.Client, pool: str) -> None:
    cell = "0123456789abcdef\n" * 3_000_000
    job = run_job(api, pool, "large", [f'n,text\n1,a\n2,"{cell}"\n3,b\n'.encode()], fileType="CSV")
    assert job["status"] == "DONE", job["logs"]
    assert sql(api, pool, "SELECT n, length(text) FROM large ORDER BY n") == [
        ["1", 1],
        ["2", len(cell)],
        ["3", 1],
    ]


def test_columns_come_in_another_order_and_case_in_each_chunk(api: httpx.Client, pool: str) -> None:
    chunks = [
        b"KUNNR,Name,Amount\n1,a,10\n",
        b"amount;kunnr;NAME\n20;2;b\n".replace(b";", b","),
        b"name,AMOUNT,new,Kunnr\nc,30,x,3\n",
        b'"kUnNr"\n4\n',
    ]
    job = run_job(api, pool, "ordered", chunks, fileType="CSV")
    assert job["status"] == "DONE", job["logs"]
    assert sql(api, pool, "SELECT KUNNR, Name, Amount, new FROM ordered ORDER BY 1") == [
        ["1", "a", "10", None],
        ["2", "b", "20", None],
        ["3", "c", "30", "x"],
        ["4", None, None, None],
    ]
