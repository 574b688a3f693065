"""The Python client against a real server: all kinds of data, and a network that fails."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import duckdb
import httpx
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from client.cutting import CuttingProxy
from harness import RunningServer, create_pool, new_key, wait_for
from headrace import Client
from headrace.client import How, Lost, Pool
from headrace.client.calls import Calls
from headrace.client.parts import parts_of_files, parts_of_rows
from headrace.client.sources import ROWS_A_STEP, UnknownData
from headrace.errors import (
    ChunkUnreadable,
    HeadraceError,
    InvalidRequest,
    LoadFailed,
    NotCancellable,
    NotFound,
    NotRetryable,
    NotUndoable,
    RowsRejected,
    Unauthorized,
)

ROWS = [("0001", 1, 1.5), ("0002", 2, None), ("0003", 3, -2.0)]
FRAME = pd.DataFrame(ROWS, columns=["id", "n", "x"])
TABLE = pa.Table.from_pandas(FRAME, preserve_index=False)
QUICK = 20.0


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "headrace" / "pushes"


@pytest.fixture
def mine(server: RunningServer, pool: str) -> Iterator[Pool]:
    with Client(server.url, server.admin_key) as client:
        yield client.pool(pool)


def _sources(folder: Path) -> dict[str, Any]:
    FRAME.to_csv(folder / "part-1.csv", index=False)
    FRAME.iloc[:0].to_csv(folder / "part-2.csv", index=False)
    pq.write_table(TABLE, folder / "whole.parquet")
    return {
        "path": folder / "whole.parquet",
        "text path": str(folder / "part-1.csv"),
        "glob": str(folder / "part-*.csv"),
        "paths": [folder / "part-1.csv", folder / "part-2.csv"],
        "pandas": FRAME,
        "polars": pl.from_pandas(FRAME),
        "polars lazy": pl.from_pandas(FRAME).lazy(),
        "arrow": TABLE,
        "arrow batch": TABLE.to_batches()[0],
        "arrow reader": TABLE.to_reader(),
        "duckdb": duckdb.connect().from_arrow(TABLE),
        "frames": [FRAME.head(1), FRAME.iloc[1:]],
        "iterator": iter([TABLE.slice(0, 2), FRAME.iloc[2:]]),
    }


KINDS = (
    *("path", "text path", "glob", "paths", "pandas", "polars", "polars lazy", "arrow", "arrow batch"),
    *("arrow reader", "duckdb", "frames", "iterator"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_lands(mine: Pool, tmp_path: Path, kind: str) -> None:
    pushed = mine.push(_sources(tmp_path)[kind], table="t", **_typed(kind))
    assert pushed.counts["inserted"] == 3
    found = mine.sql("SELECT id, n, x FROM t ORDER BY id")
    assert [tuple(row.values()) for row in found] == ROWS


def _typed(kind: str) -> dict[str, Any]:
    """A CSV has the types that its schema says."""
    if kind not in ("text path", "glob", "paths"):
        return {}
    columns = [{"columnName": "n", "columnType": "INTEGER"}, {"columnName": "x", "columnType": "FLOAT"}]
    return {"tableSchema": {"columns": columns}}


def test_the_sources_are_all_tested(tmp_path: Path) -> None:
    assert set(KINDS) == set(_sources(tmp_path))


def test_a_table_comes_back_as_every_kind(mine: Pool) -> None:
    mine.push(FRAME, table="t")
    table = mine.table("t")
    assert table.to_arrow().column("id").to_pylist() == ["0001", "0002", "0003"]
    assert list(table.to_pandas()["n"]) == [1, 2, 3]
    assert table.to_polars()["x"].to_list() == [1.5, None, -2.0]
    assert table.describe()["rows"] == 3
    assert mine.tables() == ["t"]


def test_delta_delete_and_order(mine: Pool) -> None:
    mine.push(FRAME, table="t", keys=["id"])
    changed = pd.DataFrame({"id": ["0002", "0004", "0004"], "n": [20, 41, 40], "x": [None, 4.0, 4.0]})
    pushed = mine.push(changed, table="t", keys=["id"], mode="delta", order_by="n")
    assert (pushed.counts["updated"], pushed.counts["inserted"], pushed.counts["duplicates"]) == (1, 1, 1)
    deleted = mine.delete(pd.DataFrame({"id": ["0001", "none"]}), table="t", keys=["id"])
    assert (deleted.counts["deleted"], deleted.counts["notFound"]) == (1, 1)
    assert mine.sql("SELECT id, n FROM t ORDER BY id") == [
        {"id": "0002", "n": 20},
        {"id": "0003", "n": 3},
        {"id": "0004", "n": 41},
    ]


def test_a_failed_push_says_why_and_shows_its_rejects(mine: Pool, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("id,n\n1,x\n2,2\n")
    schema = {"columns": [{"columnName": "n", "columnType": "INTEGER"}]}
    with pytest.raises(RowsRejected) as failed:
        mine.push(tmp_path / "bad.csv", table="t", tableSchema=schema)
    assert any("line 2" in line and "'x'" in line for line in failed.value.logs)
    rejects = mine.rejects(failed.value.job_id).to_pylist()
    assert [(r["line"], r["column"], r["value"]) for r in rejects] == [(2, "n", "x")]
    assert mine.job(failed.value.job_id)["status"] == "ERROR"
    assert mine.jobs()[0]["id"] == failed.value.job_id


def test_the_server_s_errors_are_raised_here(server: RunningServer, mine: Pool) -> None:
    with pytest.raises(ChunkUnreadable, match="key columns nokey"):
        mine.push(FRAME, table="t", keys=["nokey"], mode="delta")
    with pytest.raises(NotFound):
        mine.table("nothing").describe()
    with pytest.raises(InvalidRequest, match="upsert"):
        mine.push(FRAME, table="t", mode="upsert")
    with pytest.raises(UnknownData, match="int cannot be pushed"):
        mine.push(3, table="t")
    with pytest.raises(FileNotFoundError):
        mine.push("nowhere/*.csv", table="t")
    with Client(server.url, "wrong") as stranger, pytest.raises(Unauthorized):
        stranger.pools()
    with Client(server.url, server.admin_key) as client, pytest.raises(NotFound, match="No pools"):
        client.pool("no such pool")


def test_files_of_two_kinds_are_refused(mine: Pool, tmp_path: Path) -> None:
    _sources(tmp_path)
    with pytest.raises(InvalidRequest, match="one after the other"):
        mine.push([tmp_path / "part-1.csv", tmp_path / "whole.parquet"], table="t")


def test_a_personal_key_goes_as_bearer(server: RunningServer, api: httpx.Client, pool: str) -> None:
    key = new_key(api, "personal", ["push", "read"])
    with Client(server.url, key) as client:
        assert client.pool(pool).push(FRAME, table="t").counts["inserted"] == 3


def test_a_self_signed_certificate(tls_server: RunningServer) -> None:
    with tls_server.client() as api:
        pool = create_pool(api)
    with Client(tls_server.url, tls_server.admin_key, verify=False) as client:
        assert client.pool(pool).push(FRAME, table="t").counts["inserted"] == 3


def test_a_new_pool(server: RunningServer) -> None:
    with Client(server.url, server.admin_key) as client:
        made = client.create_pool("made by the client")
        assert client.pools()[made.id] == "made by the client"
        assert client.pool("made by the client").id == made.id


# -- parts ---------------------------------------------------------------------------------------------


def test_the_same_rows_make_the_same_parts(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": range(3 * ROWS_A_STEP), "t": "text"})
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append([p.sha256 for p in parts_of_rows(frame, tmp_path / name, most_bytes=1)])
    assert made[0] == made[1]
    assert len(made[0]) == 3


def test_a_large_csv_is_cut_between_records(tmp_path: Path) -> None:
    chance = random.Random(7)
    records = [f'{n},"{"line" + chr(10) if chance.random() < 0.5 else ""}""{n}"""\n' for n in range(60_000)]
    file = tmp_path / "large.csv"
    file.write_text("n,text\n" + "".join(records), newline="")
    parts = list(parts_of_files([file], tmp_path, most_bytes=1 << 20, options={}))
    texts = [part.path.read_bytes().decode() for part in parts]
    assert len(parts) > 1
    assert all(text.startswith("n,text\n") for text in texts)
    assert "".join(text.removeprefix("n,text\n") for text in texts) == "".join(records)
    assert all(text.count('"') % 2 == 0 for text in texts)


def test_a_csv_that_cannot_be_cut_stays_whole(tmp_path: Path) -> None:
    file = tmp_path / "large.csv"
    file.write_text("n\n" + "1\n" * 2_000_000)
    for options in ({"charSet": "utf-16"}, {"escapeSequence": "\\"}, {"lineEnding": "|"}, {"charSet": "?"}):
        assert len(list(parts_of_files([file], tmp_path, most_bytes=1 << 20, options=options))) == 1
    assert len(list(parts_of_files([file], tmp_path, most_bytes=1 << 20, options={}))) > 1


# -- what is interrupted goes on -----------------------------------------------------------------------

MANY = int(os.environ.get("HEADRACE_CUT_ROWS", "400000"))
CUTS = range(int(os.environ.get("HEADRACE_CUTS", "6")))
BIG = pd.DataFrame({"id": range(MANY), "text": [f"row {n % 1000}" for n in range(MANY)]})
PARTS = -(-MANY // 100_000)
WHOLE = [{"n": MANY, "s": sum(range(MANY)), "d": MANY}]
HOW = How(part_bytes=1, at_once=3)  # a part for each step of rows


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each part was sent."""
    counted: Counter[str] = Counter()
    real = Calls.once

    def once(self: Calls, method: str, path: str, **more: Any) -> httpx.Response:
        if "files" in more:
            counted[more["files"]["file"][0]] += 1
        return real(self, method, path, **more)

    monkeypatch.setattr(Calls, "once", once)
    return counted


@pytest.mark.parametrize("seed", CUTS)
def test_a_push_goes_on_where_the_network_cut_it(
    server: RunningServer, pool: str, sent: Counter[str], cache: Path, seed: int
) -> None:
    chance = random.Random(seed)
    with CuttingProxy(server.url) as proxy, Client(proxy.url, server.admin_key, patience=0.0) as client:
        there = client.pool(pool)

        def push() -> Any:
            return there.push(BIG, table="big", mode="delta", how=HOW)

        proxy.allow(chance.randrange(2_000, 5 * MANY))  # of some six bytes a row
        with pytest.raises((Lost, httpx.TransportError)):
            push()
        assert proxy.spent
        proxy.allow(None)
        push()
    assert max(sent.values()) <= 2
    assert not list(cache.glob("*.parts"))
    with Client(server.url, server.admin_key) as direct:
        assert direct.pool(pool).sql(COUNTED) == WHOLE


COUNTED = "SELECT count(*) AS n, sum(id) AS s, count(DISTINCT id) AS d FROM big"


# after its n-th part the client goes on when the interrupt has struck, not before: it can't be done by then;
# a pipe, for a lock could be held by the very thread that is interrupted
INTERRUPTED = """
import itertools, os, signal, sys
import pandas as pd
from headrace import Client
from headrace.client import How

url, key, pool, file, until = sys.argv[1:]
(struck, strikes), parts = os.pipe(), itertools.count(1)

def strike(*_):
    os.write(strikes, b"!")
    raise KeyboardInterrupt

def progress(_):
    print("part", flush=True)
    if next(parts) == int(until):
        os.read(struck, 1)

signal.signal(signal.SIGINT, strike)
how = How(part_bytes=1, at_once=1, progress=progress)
Client(url, key).pool(pool).push(pd.read_parquet(file), table="big", mode="delta", how=how)
"""


@pytest.mark.parametrize("seed", CUTS[: max(1, len(CUTS) // 2)])
def test_a_push_goes_on_after_an_interrupt(
    server: RunningServer, pool: str, mine: Pool, tmp_path: Path, seed: int
) -> None:
    BIG.to_parquet(tmp_path / "big.parquet")
    until = random.Random(seed).randrange(1, PARTS)
    command = [sys.executable, "-c", INTERRUPTED, server.url, server.admin_key, pool]
    command.append(str(tmp_path / "big.parquet"))
    with subprocess.Popen([*command, str(until)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as first:
        assert first.stdout is not None
        for _ in range(until):
            assert first.stdout.readline() == b"part\n"
        first.send_signal(signal.SIGINT)
        assert first.wait(60) != 0
    before = len(mine.job(mine.jobs()[0]["id"])["chunks"])
    subprocess.run([*command, "0"], check=True, stdout=subprocess.DEVNULL, timeout=120)
    assert len(mine.jobs()) == 1
    assert until <= before <= len(mine.job(mine.jobs()[0]["id"])["chunks"]) == PARTS
    assert mine.sql(COUNTED) == WHOLE


def test_other_data_does_not_go_on_with_the_old(server: RunningServer, mine: Pool, cache: Path) -> None:
    with CuttingProxy(server.url) as proxy, Client(proxy.url, server.admin_key, patience=0.0) as client:
        there = client.pool(mine.id)
        proxy.allow(700_000)
        with pytest.raises((Lost, HeadraceError, httpx.TransportError)):
            there.push(BIG, table="big", mode="delta", how=HOW)
        proxy.allow(None)
        other = BIG.assign(text="other")
        there.push(other, table="big", mode="delta", how=HOW)
    assert mine.sql("SELECT count(*) AS n, min(text) AS t, max(text) AS u FROM big") == [
        {"n": MANY, "t": "other", "u": "other"}
    ]


def test_two_pushes_of_the_same_at_once_are_two(mine: Pool) -> None:
    others: list[Any] = []

    def second(_arrived: int) -> None:
        if not others:
            others.append("under way")
            mine.push(FRAME, table="t", mode="delta")

    mine.push(FRAME, table="t", mode="delta", how=How(progress=second))
    assert mine.sql("SELECT count(*) AS n FROM t") == [{"n": 6}]


def test_a_server_that_is_busy_is_asked_again(server: RunningServer, mine: Pool) -> None:
    """A restart in the middle: refused connections are waited out."""
    with CuttingProxy(server.url) as proxy, Client(proxy.url, server.admin_key, patience=QUICK) as client:
        there = client.pool(mine.id)
        proxy.allow(300_000)
        arrived: list[int] = []
        # the proxy opens again as soon as it has cut
        how = How(part_bytes=1, at_once=2, progress=arrived.append)
        done: list[Any] = []
        pushing = Thread(target=lambda: done.append(there.push(BIG, table="big", mode="delta", how=how)))
        pushing.start()
        wait_for(lambda: proxy.spent, QUICK, "the cut")
        proxy.allow(None)
        pushing.join(60)
    assert done and done[0].counts["inserted"] == MANY


# -- afterwards ----------------------------------------------------------------------------------------


def test_a_push_is_undone_and_its_versions_are_read(mine: Pool) -> None:
    first = mine.push(FRAME, table="t", keys=["id"])
    last = mine.push(FRAME.assign(n=9), table="t", keys=["id"], mode="delta")
    foreseen = mine.undo(last.job_id, preview=True)
    assert (foreseen["tables"][0]["removed"], foreseen["tables"][0]["restored"]) == (3, 3)
    assert mine.sql("SELECT max(n) AS n FROM t") == [{"n": 9}]
    assert mine.undo(last.job_id)["tables"] == foreseen["tables"]
    versions = mine.table("t").versions()
    assert [(v["job"], v["undo"]) for v in versions] == [
        (last.job_id, True),
        (last.job_id, False),
        (first.job_id, False),
    ]
    assert {row["n"] for row in mine.table("t").at(versions[1]["version"])} == {9}
    assert {row["n"] for row in mine.table("t").at(versions[0]["version"], max_rows=5)} == {1, 2, 3}
    with pytest.raises(NotUndoable, match="undone already"):
        mine.undo(last.job_id)
    with pytest.raises(NotCancellable, match="is DONE"):
        mine.cancel(last.job_id)


def test_a_failed_push_is_run_again_corrected(mine: Pool, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('k,n\na,"1,5"\n')
    schema = {"columns": [{"columnName": "n", "columnType": "FLOAT", "decimals": 1}]}
    with pytest.raises(LoadFailed) as failed:
        mine.push(tmp_path / "rows.csv", table="t", tableSchema=schema)
    assert failed.value.job_id
    new = mine.retry(failed.value.job_id, csvParsingOptions={"decimalSeparator": ","})
    wait_for(lambda: mine.job(new["id"])["status"] == "DONE")
    assert mine.sql("SELECT k, n FROM t") == [{"k": "a", "n": "1.5"}]
    with pytest.raises(NotRetryable, match=new["id"]):
        mine.retry(failed.value.job_id)
