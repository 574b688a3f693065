"""Users' reading in real children, on real lakes: what it answers, what it can neither reach nor break."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import duckdb
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from duckdb_extensions import import_extension

from harness import wait_for
from headrace.errors import Conflict, Draining, NotFound, QueryCancelled, QueryRefused, QueryTooLong
from headrace.model import TableRef
from headrace.tables import reading
from headrace.tables import sandbox as module
from headrace.tables.datafolders import DataFolders
from headrace.tables.lakedata import LakesData
from headrace.tables.lakefiles import LakeFiles
from headrace.tables.sandbox import Answer, ExportFormat, Sandbox
from headrace.tables.sqlitecatalogs import SqliteCatalog

ORDERS, EMPTY, ODD = TableRef("orders"), TableRef("empty"), TableRef('a/b.c "q" é😀', "conn-1")
COLUMNS = ("id", "text", "price", "day", "at", "ratio", "good")
ROWS = 20_000
ENDLESS = "SELECT count(*) FROM range(100000000000000) t(i) WHERE hash(i) = 1"
HUNGRY = "SELECT list(repeat(i::VARCHAR, 100)) AS l, count(DISTINCT i) FROM range(100000000) t(i)"


@dataclass
class Lake:
    files: LakeFiles
    catalog: Path
    writer: duckdb.DuckDBPyConnection

    def write(self, sql: str) -> None:
        self.writer.execute(sql)


@pytest.fixture(scope="module", autouse=True)
def extensions() -> None:
    for extension in ("ducklake", "sqlite_scanner"):
        import_extension(extension)


def files_in(folder: Path, lakes: LakesData | None = None) -> LakeFiles:
    data = (lakes or DataFolders(folder.parent)).of(folder.name)
    return LakeFiles(SqliteCatalog(folder / "catalog.sqlite"), data, folder / "rejects")


def new_lake(folder: Path, lakes: LakesData | None = None) -> Lake:
    folder.mkdir(parents=True, exist_ok=True)
    files, catalog = files_in(folder, lakes), SqliteCatalog(folder / "catalog.sqlite")
    files.data.make()
    writer = duckdb.connect(config={"threads": "1"})
    if lakes:
        for extension in lakes.extensions:
            import_extension(extension, con=writer)
            writer.execute(f"LOAD {extension}")
        lakes.set_up(writer)
    writer.execute(
        f"LOAD ducklake; LOAD sqlite_scanner; ATTACH 'ducklake:sqlite:{catalog.path}' AS lake "
        f"(DATA_PATH '{files.data.place}', META_JOURNAL_MODE 'WAL'); USE lake"
    )
    return Lake(files, catalog.path, writer)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """A pool's lake with three tables and our books, and another pool's beside it."""
    root = tmp_path_factory.mktemp("pools")
    other = new_lake(root / "other")
    other.write("CREATE TABLE secret AS SELECT 'theirs' AS s FROM range(100)")
    other.writer.close()
    made = new_lake(root / "mine")
    made.write(
        "CREATE TABLE orders AS SELECT i AS id, CASE i % 3 WHEN 0 THEN '' WHEN 1 THEN NULL "
        "ELSE 'a \"b\", é😀' || chr(10) || i END AS text, (i / 4)::DECIMAL(38, 9) AS price, "
        "DATE '2024-02-29' + i::INTEGER AS day, "
        "TIMESTAMP '2024-02-29 12:00:00.000001' + to_seconds(i) AS at, "
        "CASE WHEN i = 1 THEN 'nan'::DOUBLE ELSE i / 8 END AS ratio, i % 2 = 0 AS good "
        f'FROM range({ROWS}) t(i); CREATE TABLE empty AS FROM orders LIMIT 0; CREATE SCHEMA "conn-1"; '
        'CREATE TABLE "conn-1"."a/b.c ""q"" é😀" AS SELECT 7 AS "c/d ""e"" ö"; CREATE SCHEMA headrace; '
        "CREATE TABLE headrace.loads AS SELECT 'ours' AS job"
    )
    yield made
    made.writer.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    made = Sandbox(processes=1, memory_mb=256)
    yield made
    made.close()


@pytest.fixture
def ask(shared: Sandbox, lake: Lake):
    def ask(sql: str, *, max_rows: int = 100, seconds: float = 20, query_id: str | None = None) -> Answer:
        tables = [ORDERS, EMPTY, ODD]
        return shared.query(lake.files, tables, sql, max_rows=max_rows, seconds=seconds, query_id=query_id)

    return ask


# -- answers -------------------------------------------------------------------------------------------


def test_answer(ask) -> None:
    answer = ask("SELECT id, text AS id FROM orders WHERE id < 3 ORDER BY 1 DESC; -- the end")
    assert answer.columns == (("id", "BIGINT"), ("id", "VARCHAR"))
    assert answer.rows == [[2, 'a "b", é😀\n2'], [1, None], [0, ""]]
    assert not answer.truncated
    assert answer.milliseconds >= 0


@pytest.mark.parametrize(
    ("sql", "type", "value"),
    [
        ("170141183460469231731687303715884105727", "HUGEINT", 170141183460469231731687303715884105727),
        ("12345678901234567890.123456789::DECIMAL(38,9)", "DECIMAL(38,9)", "12345678901234567890.123456789"),
        ("1.5::DOUBLE", "DOUBLE", 1.5),
        ("'nan'::DOUBLE", "DOUBLE", "nan"),
        ("'-inf'::FLOAT", "FLOAT", "-inf"),
        ("true", "BOOLEAN", True),
        ("DATE '2024-02-29'", "DATE", "2024-02-29"),
        ("DATE 'infinity'", "DATE", "infinity"),
        ("TIME '23:59:59.5'", "TIME", "23:59:59.5"),
        ("TIMESTAMP '2024-02-29 12:00:00'", "TIMESTAMP", "2024-02-29T12:00:00"),
        ("TIMESTAMP '2024-02-29 12:00:00.000001'", "TIMESTAMP", "2024-02-29T12:00:00.000001"),
        ("TIMESTAMP '20000-01-01 00:00:00'", "TIMESTAMP", "20000-01-01T00:00:00"),
        (
            "TIMESTAMPTZ '2024-02-29 12:00:00+02'",
            "TIMESTAMP WITH TIME ZONE",
            "2024-02-29T10:00:00+00",
        ),
        ("INTERVAL '1 month 2 days'", "INTERVAL", "1 month 2 days"),
        ("'\\xAA\\x00'::BLOB", "BLOB", "qgA="),
        ("NULL", "INTEGER", None),
        ("[1, NULL]", "INTEGER[]", [1, None]),
        ("[TIMESTAMPTZ '2024-02-29 12:00:00+00']", "TIMESTAMP WITH TIME ZONE[]", ["2024-02-29 12:00:00+00"]),
        ("{'a': 1, 'b': ['x']}", "STRUCT(a INTEGER, b VARCHAR[])", {"a": 1, "b": ["x"]}),
        ("MAP {'k': 1}", "MAP(VARCHAR, INTEGER)", {"k": 1}),
        ("'{\"a\": [1]}'::JSON", "JSON", {"a": [1]}),
        ("'00000000-0000-0000-0000-000000000001'::UUID", "UUID", "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_values(ask, sql: str, type: str, value: object) -> None:
    answer = ask(f"SELECT {sql} AS v")
    assert answer.columns == (("v", type),)
    assert answer.rows == [[value]]
    json.dumps(answer.rows, allow_nan=False)


def test_names_of_connections(ask) -> None:
    assert ask('SELECT "c/d ""e"" ö" FROM "conn-1"."a/b.c ""q"" é😀"').rows == [[7]]


def test_truncation(ask) -> None:
    assert ask("FROM orders", max_rows=ROWS).truncated is False
    cut = ask("SELECT id FROM orders ORDER BY id", max_rows=1500)
    assert cut.truncated
    assert [row[0] for row in cut.rows] == list(range(1500))


def test_answer_is_bounded_in_bytes(ask) -> None:
    cut = ask("SELECT repeat('x', 4000000) FROM range(30)")
    assert cut.truncated
    assert 0 < len(cut.rows) * 4_000_000 <= reading.MAX_ANSWER_BYTES
    with pytest.raises(QueryTooLong, match="One row"):
        ask("SELECT repeat('x', 40000000)")


def test_time_travel(ask, lake: Lake, shared: Sandbox) -> None:
    lake.write("CREATE TABLE travel AS SELECT 1 AS v")
    [(version,)] = lake.writer.execute("SELECT max(snapshot_id) FROM lake.snapshots()").fetchall()
    lake.write("INSERT INTO travel VALUES (2)")
    tables = [TableRef("travel")]
    for sql, rows in ((f"FROM travel AT (VERSION => {version})", [[1]]), ("FROM travel", [[1], [2]])):
        assert shared.query(lake.files, tables, sql, max_rows=9, seconds=20).rows == rows


def test_sees_every_commit_at_once(shared: Sandbox, lake: Lake) -> None:
    lake.write("CREATE TABLE growing AS SELECT 0 AS v")
    for n in range(1, 11):
        lake.write(f"INSERT INTO growing VALUES ({n})")
        answer = shared.query(
            lake.files, [TableRef("growing")], "SELECT count(*) FROM growing", max_rows=1, seconds=20
        )
        assert answer.rows == [[n + 1]]


def test_lake_that_is_not_there_yet_and_lake_made_anew(shared: Sandbox, tmp_path: Path) -> None:
    files = files_in(tmp_path / "pool")
    assert shared.query(files, [], "SELECT 1", max_rows=1, seconds=20).rows == [[1]]
    for value in ("first", "second"):
        made = new_lake(tmp_path / "pool")
        made.write(f"CREATE TABLE t AS SELECT '{value}' AS v")
        assert shared.query(files, [TableRef("t")], "FROM t", max_rows=1, seconds=20).rows == [[value]]
        made.writer.close()
        shutil.rmtree(tmp_path / "pool")


def test_upkeep_of_a_table_with_a_new_column_is_not_noticed(shared: Sandbox, lake: Lake) -> None:
    """A changed table gets another inlined table, and upkeep drops the first, which the engine remembers."""
    table = TableRef("inlined")

    def rows() -> list[list[object]]:
        return shared.query(lake.files, [table], "FROM inlined ORDER BY 1", max_rows=9, seconds=20).rows

    lake.write("CREATE TABLE inlined AS SELECT 1 AS a")
    lake.write("INSERT INTO inlined VALUES (2)")
    lake.write("ALTER TABLE inlined ADD COLUMN b INTEGER")
    lake.write("INSERT INTO inlined VALUES (3, 3)")
    assert rows() == [[1, None], [2, None], [3, 3]]
    before = inlined_tables(lake)
    lake.write("CALL ducklake_flush_inlined_data('lake')")
    assert before - inlined_tables(lake), "the engine drops no table any more: is all this still needed?"
    assert rows() == [[1, None], [2, None], [3, 3]]
    pieces = shared.export(lake.files, table, ["a", "b"], ExportFormat.CSV)
    assert sorted(b"".join(pieces).split()) == [b"1,", b"2,", b"3,3", b"a,b"]


def inlined_tables(lake: Lake) -> set[str]:
    rows = lake.writer.execute("SELECT table_name FROM __ducklake_metadata_lake.ducklake_inlined_data_tables")
    return {name for (name,) in rows.fetchall()}


# -- refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT nosuch FROM orders", 'Referenced column "nosuch" not found'),
        ("SELECT text::INTEGER FROM orders WHERE id = 2", "Could not convert string"),
        ("SELECT upper(1, 2, 3)", "No function matches"),
        ("SELECT * FROM nosuch", 'no table "nosuch"'),
        ("SELECT * FROM headrace.loads", "no table"),
        ("DROP TABLE orders", "Only one SELECT"),
        ("SELEKT 1", "Only one SELECT"),
    ],
)
def test_refusals_are_clean(ask, lake: Lake, sql: str, said: str) -> None:
    with pytest.raises(QueryRefused) as refusal:
        ask(sql)
    assert said in refusal.value.message
    for leak in ("LINE 1", "Did you mean", "Candidate", lake.files.data.place, "lake."):
        assert leak not in refusal.value.message


# -- limits --------------------------------------------------------------------------------------------


def test_time_limit(ask) -> None:
    started = monotonic()
    with pytest.raises(QueryTooLong, match=r"longer than 0\.5 s"):
        ask(ENDLESS, seconds=0.5)
    assert monotonic() - started < 2.5
    assert ask("SELECT count(*) FROM orders").rows == [[ROWS]]


@pytest.mark.parametrize("sql", [HUNGRY, "SELECT repeat('x', 2000000000) || repeat('y', 2000000000)"])
def test_memory_limit(ask, sql: str) -> None:
    with pytest.raises(QueryTooLong):
        ask(sql)
    assert ask("SELECT count(*) FROM orders").rows == [[ROWS]]


def test_busy(ask, shared: Sandbox, lake: Lake) -> None:
    """A query that waits keeps its time; one that waits too long says so."""
    with ThreadPoolExecutor(2) as threads:
        long = threads.submit(ask, ENDLESS, seconds=1.5)
        wait_for(lambda: busy(shared), what="the query to run")
        with pytest.raises(QueryTooLong, match="No process was free"):
            ask("SELECT 1", seconds=0.1)
        waited = threads.submit(ask, "SELECT count(*) FROM orders", seconds=5)
        assert waited.result().rows == [[ROWS]]
        assert isinstance(long.exception(), QueryTooLong)


def busy(sandbox: Sandbox) -> bool:
    return any(psutil.Process(pid).cpu_percent(0.05) > 30 for pid in sandbox.pids())


def test_crash_fails_one_query(ask, shared: Sandbox) -> None:
    with ThreadPoolExecutor(1) as threads:
        doomed = threads.submit(ask, ENDLESS)
        wait_for(lambda: busy(shared), what="the query to run")
        for pid in shared.pids():
            os.kill(pid, signal.SIGKILL)
        assert isinstance(doomed.exception(), QueryTooLong)
    assert ask("SELECT 1").rows == [[1]]


def test_crash_of_an_idle_child_is_not_noticed(ask, shared: Sandbox) -> None:
    ask("SELECT 1")
    for pid in shared.pids():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not shared.pids(), what="the children to die")
    assert ask("SELECT 1").rows == [[1]]


def test_a_query_can_be_cancelled_while_it_runs_and_while_it_waits(ask, shared: Sandbox, lake: Lake) -> None:
    with ThreadPoolExecutor(2) as threads:
        runs = threads.submit(ask, ENDLESS, query_id="runs")
        wait_for(lambda: busy(shared), what="the query to run")
        waits = threads.submit(ask, ENDLESS, query_id="waits")
        with pytest.raises(Conflict):
            ask("SELECT 1", query_id="runs")
        wait_for(lambda: (lake.files, "waits") in shared._running, what="the query to wait")
        shared.cancel(lake.files, "waits")
        shared.cancel(lake.files, "runs")
        assert isinstance(runs.exception(), QueryCancelled)
        assert isinstance(waits.exception(), QueryCancelled)
    with pytest.raises(NotFound):
        shared.cancel(lake.files, "runs")
    with pytest.raises(NotFound):
        shared.cancel(files_in(Path("another")), "waits")
    assert ask("SELECT 1", query_id="runs").rows == [[1]]


def test_deep_queries_end_somehow(ask) -> None:
    with pytest.raises((QueryRefused, QueryTooLong)):
        ask("SELECT " + "(SELECT " * 900 + "1" + ")" * 900 + " + nosuch")
    assert ask("SELECT 1").rows == [[1]]


# -- exports -------------------------------------------------------------------------------------------


def exported(sandbox: Sandbox, lake: Lake, format: ExportFormat, table: TableRef = ORDERS) -> bytes:
    pieces = list(sandbox.export(lake.files, table, COLUMNS, format))
    assert all(len(piece) == module.CHUNK_BYTES for piece in pieces[:-1])
    return b"".join(pieces)


def whole(lake: Lake, table: str = "orders") -> pa.Table:
    return lake.writer.execute(f"FROM {table}").to_arrow_table()


def assert_same(got: pa.Table, lake: Lake, table: str = "orders") -> None:
    want = whole(lake, table)
    assert got.column_names == want.column_names
    for name in (n for n in COLUMNS if n != "ratio"):
        assert got[name].cast(want[name].type) == want[name], name
    assert str(got["ratio"].to_pylist()) == str(want["ratio"].to_pylist())


def test_export_parquet(shared: Sandbox, lake: Lake) -> None:
    assert_same(pq.read_table(io.BytesIO(exported(shared, lake, ExportFormat.PARQUET))), lake)


def test_export_arrow(shared: Sandbox, lake: Lake) -> None:
    assert_same(pa.ipc.open_stream(exported(shared, lake, ExportFormat.ARROW)).read_all(), lake)


def test_export_csv(shared: Sandbox, lake: Lake) -> None:
    data = exported(shared, lake, ExportFormat.CSV)
    assert data.splitlines()[:3] == [
        b"id,text,price,day,at,ratio,good",
        b'0,"",0.000000000,2024-02-29,2024-02-29 12:00:00.000001,0.0,true',
        b"1,,0.250000000,2024-03-01,2024-02-29 12:00:01.000001,nan,false",
    ]
    rows = list(csv.reader(io.StringIO(data.decode(), newline="")))
    assert [row[1] for row in rows[1:]] == [text or "" for text in whole(lake)["text"].to_pylist()]


def test_export_ndjson(shared: Sandbox, lake: Lake) -> None:
    def never(constant: str) -> None:
        raise AssertionError(constant)

    lines = exported(shared, lake, ExportFormat.NDJSON).splitlines()
    rows = [json.loads(line, parse_constant=never) for line in lines]
    assert list(rows[0]) == list(COLUMNS)
    assert rows[1]["ratio"] == "nan"
    assert [row["text"] for row in rows] == whole(lake)["text"].to_pylist()
    assert lines[1].startswith(b'{"id":1,"text":null,"price":0.250000000,"day":"2024-03-01"')


@pytest.mark.parametrize("format", list(ExportFormat))
def test_export_of_nothing(shared: Sandbox, lake: Lake, format: ExportFormat) -> None:
    data = exported(shared, lake, format, EMPTY)
    if format is ExportFormat.PARQUET:
        assert_same(pq.read_table(io.BytesIO(data)), lake, "empty")
    if format is ExportFormat.ARROW:
        assert_same(pa.ipc.open_stream(data).read_all(), lake, "empty")
    if format is ExportFormat.CSV:
        assert data == b"id,text,price,day,at,ratio,good\n"
    if format is ExportFormat.NDJSON:
        assert data == b""


def test_export_takes_the_order_of_the_columns_and_odd_names(shared: Sandbox, lake: Lake) -> None:
    assert (
        b"".join(shared.export(lake.files, ORDERS, ("good", "id"), ExportFormat.CSV))[:15]
        == b"good,id\ntrue,0\n"
    )
    assert b"".join(shared.export(lake.files, ODD, ('c/d "e" ö',), ExportFormat.NDJSON)) == (
        '{"c/d \\"e\\" ö":7}\n'.encode()
    )


@pytest.mark.parametrize("format", list(ExportFormat))
def test_export_closed_early_frees_its_child(shared: Sandbox, lake: Lake, format: ExportFormat) -> None:
    pieces = shared.export(lake.files, ORDERS, COLUMNS, format)
    assert next(pieces)
    pieces.close()
    assert exported(shared, lake, ExportFormat.NDJSON, EMPTY) == b""


def test_export_that_fails_raises(shared: Sandbox, lake: Lake) -> None:
    with pytest.raises(QueryRefused):
        list(shared.export(lake.files, TableRef("nosuch"), ("a",), ExportFormat.CSV))


def test_export_that_breaks_off_raises(shared: Sandbox, lake: Lake) -> None:
    pieces = shared.export(lake.files, ORDERS, COLUMNS, ExportFormat.NDJSON)
    next(pieces)
    for pid in shared.pids():
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(QueryTooLong):
        list(pieces)
    assert exported(shared, lake, ExportFormat.NDJSON, EMPTY) == b""


# -- the end -------------------------------------------------------------------------------------------


def test_close_ends_children_and_their_work(lake: Lake) -> None:
    sandbox = Sandbox(processes=1, memory_mb=256)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(sandbox.query, lake.files, [], ENDLESS, max_rows=1, seconds=60)
        wait_for(lambda: busy(sandbox), what="the query to run")
        pids = sandbox.pids()
        sandbox.close()
        assert isinstance(running.exception(), Draining)
    assert pids
    assert not any(psutil.pid_exists(pid) for pid in pids)
    sandbox.close()
    with pytest.raises(Draining):
        sandbox.query(lake.files, [], "SELECT 1", max_rows=1, seconds=1)


PARENT = """
import sys
from pathlib import Path
from threading import Thread
from time import sleep
from headrace.tables.datafolders import DataFolder
from headrace.tables.lakefiles import LakeFiles
from headrace.tables.sums import Sums
from headrace.tables.sqlitecatalogs import SqliteCatalog
from headrace.tables.sandbox import Sandbox

if __name__ == "__main__":
    sandbox = Sandbox(processes=2, memory_mb=256)
    files = LakeFiles(SqliteCatalog(Path("none")), DataFolder(Path("none"), Sums(Path("none"))), Path("none"))
    sandbox.query(files, [], "SELECT 1", max_rows=1, seconds=60)
    # from a thread of its own, as requests come; the first child is busy with it or idle
    Thread(target=lambda: sandbox.query(files, [], sys.argv[1], max_rows=1, seconds=600), daemon=True).start()
    while not any(Path(f"/proc/{pid}/stat").read_text().split()[2] == "R" for pid in sandbox.pids()):
        sleep(0.01)
    print(*sandbox.pids(), flush=True)
    sys.stdin.read()
"""


def test_children_die_with_the_server(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen(
        [sys.executable, script, ENDLESS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert pids
    wait_for(lambda: not any(map(alive, pids)), 5, "the children to die")


def alive(pid: int) -> bool:
    """A zombie is not: whoever inherited it has yet to look."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
