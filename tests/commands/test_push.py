"""``headrace push``: what lands, how it ends, and what it says to go on."""

from __future__ import annotations

import gzip
import json
import shlex
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from client.cutting import CuttingProxy
from commands.conftest import ORDERS
from commands.running import done, next_of, started
from harness import RunningServer, create_pool, sql, wait_for

pytestmark = pytest.mark.usefixtures("there")
DIALECT = ("--separator", ";", "--decimal", ",", "--type", "amount=FLOAT")


def test_a_push_lands(pool: str, api: httpx.Client, orders: str) -> None:
    ended = done("push", orders, "--pool", pool, "--table", "orders", "--separator", ";")
    first, second = ended.out.splitlines()
    assert first == "REPLACE of orders: 3 rows in, 3 inserted."
    assert second.startswith("job ")
    assert ended.err == ""
    assert sql(api, pool, "SELECT id, amount FROM orders ORDER BY id") == [
        ["01", "1,50"],
        ["02", "x"],
        ["03", "3"],
    ]


def test_a_pool_may_be_named(api: httpx.Client, orders: str) -> None:
    pool = create_pool(api, "called so")
    done("push", orders, "--pool", "called so", "--table", "orders", "--separator", ";")
    assert done("tables", "ls", "--pool", pool, "-o", "csv").out == "name,connection,columns\norders,,4\n"


def test_a_bad_row_fails_and_the_next_command_shows_it(pool: str, orders: str) -> None:
    ended = done("push", orders, "--pool", pool, "--table", "orders", *DIALECT, code=1)
    assert "'x' found, expected FLOAT" in ended.err
    assert ended.out == ""
    [reject] = done(*shlex.split(next_of(ended)), "-o", "json").json
    assert (reject["line"], reject["column"], reject["value"]) == (3, "amount", "x")


def test_allowed_rejects_end_with_three(pool: str, api: httpx.Client, orders: str) -> None:
    words = ("push", orders, "--pool", pool, "--table", "orders", *DIALECT, "--allow-rejects", "1")
    ended = done(*words, "-o", "json", code=3)
    assert (ended.json["inserted"], ended.json["rejected"]) == (2, 1)
    assert "rejected rows: 1." in ended.err
    assert next_of(ended) == f"rejects show {ended.json['job']} --pool {pool}"
    assert sql(api, pool, "SELECT sum(amount) FROM orders") == [[4.5]]


def test_dates_by_their_format(pool: str, api: httpx.Client, orders: str) -> None:
    words = ("--separator", ";", "--type", "day=DATE", "--date-format", "dd.MM.yyyy")
    done("push", orders, "--pool", pool, "--table", "orders", *words)
    assert sql(api, pool, "SELECT day FROM orders ORDER BY id") == [["2024-02-01"], ["2024-02-02"], [None]]


def test_types_are_guessed_if_one_asks(pool: str, api: httpx.Client, home: Path) -> None:
    (home / "n.csv").write_bytes("n\tname\n1\tÄ\n".encode("latin-1"))
    words = ("--infer-types", "--charset", "latin-1", "--separator", "\\t")
    done("push", str(home / "n.csv"), "--pool", pool, "--table", "t", *words)
    assert sql(api, pool, "SELECT n + 1, name FROM t") == [[2, "Ä"]]


def test_a_delta_and_a_deletion(pool: str, api: httpx.Client, home: Path) -> None:
    (home / "a.csv").write_text("id,n\n1,1\n2,2\n")
    (home / "b.csv").write_text("id,n\n2,20\n2,21\n3,3\n")
    keyed = ("--pool", pool, "--table", "t", "--key", "id")
    done("push", str(home / "a.csv"), *keyed)
    done("push", str(home / "b.csv"), *keyed, "--delta", "--order-by", "n")
    assert sql(api, pool, "SELECT id, n FROM t ORDER BY id") == [["1", "1"], ["2", "21"], ["3", "3"]]
    ended = done("push", "-", *keyed, "--delete", "-o", "csv", stdin=b"id\n1\n9\n")
    assert ",1,1," in ended.out.splitlines()[1]  # deleted, not found
    assert sql(api, pool, "SELECT id FROM t ORDER BY id") == [["2"], ["3"]]


def test_a_dry_run_changes_nothing(fresh: str, orders: str) -> None:
    words = ("push", orders, "--pool", fresh, "--table", "orders", "--dry-run")
    ended = done(*words, "--separator", ";")
    assert "orders  created  id      STRING  added" in ended.out
    assert "REPLACE of orders: 3 rows in, 3 inserted." in ended.out
    assert done(*words, *DIALECT, "-o", "json", code=1).json["errorCode"] == "rows-rejected"
    assert (
        done(*words, *DIALECT, "--allow-rejects", "1", "-o", "json", code=3).json["counts"]["rejected"] == 1
    )
    assert done("tables", "ls", "--pool", fresh, "-o", "json").json == []
    assert {job["status"] for job in done("jobs", "ls", "--pool", fresh, "-o", "json").json} == {"NEW"}
    assert all(job["deletedAt"] for job in done("jobs", "ls", "--pool", fresh, "-o", "json").json)


# -- kinds of files ------------------------------------------------------------------------------------

TABLE = pa.table({"id": ["1", "2"], "n": [1, 2]})


def _arrow() -> bytes:
    file = pa.BufferOutputStream()
    with pa.ipc.new_stream(file, TABLE.schema) as stream:
        stream.write_table(TABLE)
    return file.getvalue().to_pybytes()


def _parquet() -> bytes:
    file = pa.BufferOutputStream()
    pq.write_table(TABLE, file)
    return file.getvalue().to_pybytes()


NDJSON = b"".join(json.dumps(row).encode() + b"\n" for row in TABLE.to_pylist())
FILES = {
    "t.parquet": _parquet(),
    "t.ndjson": NDJSON,
    "t.jsonl.gz": gzip.compress(NDJSON),
    "t.arrows": _arrow(),
    "t.csv.gz": gzip.compress(b"id,n\n1,1\n2,2\n"),
}


@pytest.mark.parametrize("name", FILES)
def test_kinds_of_files(pool: str, api: httpx.Client, home: Path, name: str) -> None:
    (home / name).write_bytes(FILES[name])
    done("push", str(home / name), "--pool", pool, "--table", "t", "--type", "n=INTEGER")
    assert sql(api, pool, "SELECT id, n FROM t ORDER BY id") == [["1", 1], ["2", 2]]


@pytest.mark.parametrize("name", ["t.parquet", "t.arrows", "t.csv.gz", "t.ndjson"])
def test_what_comes_from_a_pipe(pool: str, api: httpx.Client, name: str) -> None:
    format = ("--format", "ndjson") if name == "t.ndjson" else ()  # text does not tell
    words = ("push", "-", "--pool", pool, "--table", "t", "--type", "n=INTEGER", *format)
    done(*words, stdin=FILES[name])
    assert sql(api, pool, "SELECT id, n FROM t ORDER BY id") == [["1", 1], ["2", 2]]


def test_several_files_are_chunks_of_one_job(pool: str, home: Path) -> None:
    for n in range(3):
        (home / f"part-{n}.csv").write_text(f"id\n{n}\n")
    job = done("push", str(home / "part-*.csv"), "--pool", pool, "--table", "t", "-o", "json").json
    assert job["inserted"] == 3
    assert done("jobs", "show", job["job"], "--pool", pool, "-o", "json").json["chunks"][2]["rows"] == 1


# -- what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["nowhere.csv", "--table", "t"], 1, "There is no file nowhere.csv"),
        (["-", "x.csv", "--table", "t"], 2, "pushed alone"),
        (["ORDERS", "--table", "t", "--delete"], 2, "--key"),
        (["ORDERS", "--table", "t", "--type", "n=NUMBER"], 2, "COLUMN=TYPE"),
        (["ORDERS", "--table", "t", "--allow-rejects", "-1"], 2, "allow-rejects"),
        (["ORDERS"], 2, "--table"),
        (["ORDERS", "--table", "t", "--key", "nokey"], 1, "nokey"),
        (["ORDERS", "--table", "t", "--charset", "nonsense"], 1, "nonsense"),
    ],
)
def test_what_is_refused(pool: str, orders: str, words: list[str], code: int, told: str) -> None:
    said = [orders if word == "ORDERS" else word for word in words]
    assert told in done("push", *said, "--pool", pool, code=code).err


def test_without_a_pool(orders: str) -> None:
    ended = done("push", orders, "--table", "t", code=2)
    assert next_of(ended) == "pools ls"


# -- what is interrupted -------------------------------------------------------------------------------


def test_an_interrupted_push_goes_on(
    server: RunningServer, fresh: str, api: httpx.Client, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the second of two files is on its way; what is told is what goes on."""
    rows = "".join(f"{n}\n" for n in range(200_000))
    (home / "1.csv").write_text("id\n1\n")
    (home / "2.csv").write_text(f"id\n{rows}")
    with CuttingProxy(server.url) as proxy:
        monkeypatch.setenv("HEADRACE_URL", proxy.url)
        monkeypatch.setenv("HEADRACE_KEY", server.admin_key)
        words = (
            "push",
            str(home / "1.csv"),
            str(home / "2.csv"),
            "--pool",
            fresh,
            "--table",
            "t",
            "--key",
            "id",
        )
        proxy.allow(500_000)  # then it is cut, and the client tries again and again
        with started(*words) as process:
            wait_for(lambda: proxy.spent, what="the cut")
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
            assert process.stderr is not None
            told = process.stderr.read().decode().splitlines()
        assert told[0] == "headrace: interrupted."
        assert told[1] == f"Next: {shlex.join(['headrace', *words])}"
        proxy.allow(None)
        done(*shlex.split(told[1].removeprefix("Next: headrace ")))
    assert len(done("jobs", "ls", "--pool", fresh, "-o", "json").json) == 1
    assert sql(api, fresh, "SELECT count(*) FROM t") == [[200_000]]


def test_a_stream_is_pushed_while_it_comes(fresh: str, api: httpx.Client) -> None:
    """The first rows are there before the last ones are written."""
    words = ("push", "-", "--pool", fresh, "--table", "t", "--delta")
    row = b"x" * 999 + b"\n"
    with started(*words, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"text\n" + row * 70_000)
        process.stdin.flush()

        def first_chunk() -> bool:
            jobs = api.get(f"/api/v1/pools/{fresh}/jobs").json()
            return bool(jobs and api.get(f"/api/v1/pools/{fresh}/jobs/{jobs[0]['id']}").json()["chunks"])

        wait_for(first_chunk, what="the first chunk")
        process.stdin.write(row)
        process.stdin.close()
        assert process.wait(60) == 0
    assert sql(api, fresh, "SELECT count(*) FROM t") == [[70_001]]


def test_a_server_that_is_not_there(orders: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_URL", "http://127.0.0.1:1")
    monkeypatch.setattr(time, "sleep", lambda _: None)
    clock = iter(range(0, 100_000, 100))
    monkeypatch.setattr("headrace.client.calls.time.monotonic", lambda: next(clock))
    ended = done("push", orders, "--pool", "p", "--table", "t", code=1)
    assert "the server cannot be reached" in ended.err
    assert next_of(ended) == shlex.join(["push", orders, "--pool", "p", "--table", "t"])


def test_the_orders_are_the_ones_of_the_fixture(orders: str) -> None:
    assert Path(orders).read_bytes() == ORDERS
