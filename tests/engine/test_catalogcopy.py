"""Copies of a real lake's catalog, beside a writer and beside readers."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from engine.test_sandbox import extensions, new_lake  # noqa: F401  the fixture installs what a lake needs
from harness import wait_for
from headrace.tables.catalogcopy import state_of

COPY = "import sys; from pathlib import Path; from headrace.tables.catalogcopy import copy_catalog; "


def copied(catalog: Path, target: Path) -> set[str]:
    """In a process of its own, as in the server: the engine of this one has the catalog open."""
    script = COPY + "print(*sorted(copy_catalog(Path(sys.argv[1]), Path(sys.argv[2]))))"
    run = subprocess.run([sys.executable, "-c", script, catalog, target], capture_output=True, check=True)
    return set(run.stdout.decode().split())


def tables(path: Path) -> list[tuple[str]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as copy:
        return copy.execute(
            "SELECT table_name FROM ducklake_table WHERE end_snapshot IS NULL ORDER BY 1"
        ).fetchall()


def test_a_copy_can_be_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    lake = new_lake(tmp_path / "lake")
    lake.write("CREATE TABLE one AS SELECT 1 AS a; CREATE TABLE two AS SELECT 2 AS a")
    target = tmp_path / "copy.sqlite"
    assert copied(lake.catalog, target)
    assert target.read_bytes()[18:20] == b"\x01\x01"
    assert tables(target) == [("one",), ("two",)]
    assert sorted(os.listdir(tmp_path)) == ["copy.sqlite", "lake"]  # noqa: PTH208


def test_a_copy_holds_what_is_in_the_wal_alone(tmp_path: Path) -> None:
    """A reader from outside keeps the write-ahead log from being folded into the catalog."""
    lake = new_lake(tmp_path / "lake")
    lake.write("CREATE TABLE early AS SELECT 1 AS a")
    command = [sys.executable, "-c", READER, lake.catalog]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"reading\n"
        lake.write("CREATE TABLE late AS SELECT 1 AS a")
        assert lake.catalog.with_name("catalog.sqlite-wal").stat().st_size
        copied(lake.catalog, tmp_path / "copy.sqlite")
        reader.communicate()
    assert tables(tmp_path / "copy.sqlite") == [("early",), ("late",)]


READER = """
import sqlite3, sys
reader = sqlite3.connect(sys.argv[1])
reader.execute("BEGIN")
reader.execute("SELECT * FROM ducklake_table").fetchall()
print("reading", flush=True)
sys.stdin.read()
"""


def test_the_state_changes_with_every_commit_and_with_nothing_else(tmp_path: Path) -> None:
    lake = new_lake(tmp_path / "lake")
    seen = set()
    for n in range(3):
        lake.write(f"CREATE TABLE t{n} AS SELECT 1 AS a")
        assert state_of(lake.catalog) is None  # too young to be told from the next one
        settled = wait_for(lambda: state_of(lake.catalog), 5, "the clock to go on")
        lake.writer.execute("FROM t0").fetchall()
        assert state_of(lake.catalog) == settled
        seen.add(settled)
    assert len(seen) == 3


def test_there_is_no_copy_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        copied(tmp_path / "none.sqlite", tmp_path / "copy.sqlite")
    assert not (tmp_path / "none.sqlite").exists()
