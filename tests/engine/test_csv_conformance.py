"""Any table, written in any dialect that the options can express, reads back equal: the whole staging.

Both ways: as a chunk goes, straight where the engine surely reads it as we do, and by force the careful one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import pytest

import csvcases
from counted import counted
from csvcases import Case
from headrace.csvrecords import direct_dialect
from headrace.model import FileType
from headrace.staging import StageTask, csvfiles, looking, story, writing
from headrace.staging import engine as child

CASES = int(os.environ.get("HEADRACE_CSV_STAGED", "2000"))
PARTS = 6
_FIRST = 1_000_000  # other cases than those of our reader alone

READER = duckdb.connect(config={"threads": "1"})


@pytest.fixture(scope="module", autouse=True)
def engine() -> Iterator[None]:
    with patch.object(child, "_memory_mb", 1024), patch.object(child, "_engine", None):
        child._new_engine()
        yield


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual ones hold 32 MB, and these files some bytes."""
    monkeypatch.setattr(csvfiles, "_READ_BUFFER", 1 << 20)
    monkeypatch.setattr(csvfiles, "_USUAL_LINE", 1 << 18)
    monkeypatch.setattr(writing, "sync", lambda _: None)


def careful() -> AbstractContextManager[Any]:
    return patch.object(writing, "_straight", lambda *_: None)


def staged(made: Case, folder: Path) -> tuple[list[str], list[list[Any]], list[tuple[int, str, int]]]:
    task = StageTask(
        source=folder / "chunk",
        target=folder / "staging" / "chunk.parquet",
        rejects=folder / "rejects.ndjson",
        file_type=FileType.CSV,
        csv=made.options,
        wanted={},
        fixed=frozenset(),
        keys=frozenset(),
        string_length=None,
    )
    report = story.stage(task)
    found = READER.execute(f"FROM read_parquet('{task.target}', hive_partitioning = false)").fetchall()
    assert report.rows == len(found)
    lines = task.rejects.read_bytes().splitlines() if report.rejected else []
    rejects = [(r["line"], r["code"], r["byte_offset"]) for r in map(json.loads, lines)]
    return [c.name for c in report.columns], [list(row) for row in found], rejects


def difference(made: Case, folder: Path, *, by_force: bool) -> str | None:
    with careful() if by_force else nullcontext():
        names, rows, rejects = staged(made, folder)
    expected = made.rejects
    if made.charset in csvcases.STATEFUL:
        rejects, expected = [(*r[:2], 0) for r in rejects], [(*r[:2], 0) for r in expected]
    if (names, rows, rejects) == (made.names, [row for _, row in made.rows], expected):
        return None
    return f"by force {by_force}: {made}\n  names {names}\n  rows {rows}\n  rejects {rejects}"


@pytest.mark.parametrize("part", range(PARTS))
def test_any_table_in_any_dialect_is_staged_equal(part: int, tmp_path: Path) -> None:
    differences, straight, cases = [], 0, 0
    for number in range(_FIRST + part, _FIRST + CASES, PARTS):
        made = csvcases.case(number)
        (tmp_path / "chunk").write_bytes(made.data)
        direct = direct_dialect(tmp_path / "chunk", looking.dialect_of(made.options)) is not None
        straight += direct
        for by_force in (True, False) if direct else (False,):
            cases += 1
            if found := difference(made, tmp_path, by_force=by_force):
                differences.append(f"case {number}, {found}")
    counted("csv conformance, staging", cases, len(differences))
    assert not differences, "\n".join(differences[:3])
    assert straight > CASES / PARTS / 10, "too few files go the straight way"
