"""Undoing on real lakes: tables are what they were, whatever the job did and whatever upkeep did since."""

# ruff: noqa: F811  the fixtures are those of another file

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from counted import counted
from engine.test_upkeep import (  # noqa: F401  fixtures
    START,
    Lake,
    NewLake,
    disk,
    engines,
    new_lake,
)
from headrace.errors import NotUndoable
from headrace.model import (
    INTEGER,
    STRING,
    Column,
    ColumnType,
    JobType,
    Table,
    TableRef,
    UpsertStrategy,
    decimal,
)
from headrace.tables import Load
from headrace.tables.catalog import table_name
from lakes import files_of

A, B = TableRef("a"), TableRef('b "é"', "connection-1")
KEYS = ("k",)
K_V = {"k": INTEGER, "v": STRING}
PROGRAMS = int(os.environ.get("HEADRACE_UNDO_PROGRAMS", "8"))

Row = dict[str, Any]
State = tuple[tuple[str, ...], list[Row], bool]
"""Columns, rows, whether keys are known to be unique."""


# -- the model -----------------------------------------------------------------------------------------


@dataclass
class Model:
    """For each table its states, the youngest last, with the job that made each."""

    states: dict[TableRef, list[tuple[str, State]]] = field(default_factory=lambda: {A: [], B: []})
    jobs: dict[str, tuple[TableRef, ...]] = field(default_factory=dict)

    def now(self, ref: TableRef) -> State | None:
        return self.states[ref][-1][1] if self.states[ref] else None

    def push(self, job: str, targets: tuple[TableRef, ...], push: Push, at: Any) -> None:
        self.jobs[job] = targets
        for ref in targets:
            after = push.applied(self.now(ref), at)
            if after != self.now(ref):  # nothing depends on a job that changed nothing
                self.states[ref].append((job, after))

    def can_undo(self, job: str) -> bool:
        changed = [states for states in self.states.values() if any(by == job for by, _ in states)]
        return all(states[-1][0] == job for states in changed)

    def undo(self, job: str) -> None:
        del self.jobs[job]
        for states in self.states.values():
            if states and states[-1][0] == job:
                states.pop()


@dataclass
class Push:
    type: JobType
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    upserts: list[Row]
    deletes: list[int]

    def applied(self, old: State | None, at: Any) -> State:
        new = [{**row, "at": at} for row in self.upserts]
        unique = bool(self.keys)
        if old is None or self.type is JobType.REPLACE:
            return self.columns, new, unique
        columns, rows, was_unique = old
        keep = {row["k"]: row for row in rows}
        if self.keys:
            gone = {row["k"] for row in new} | set(self.deletes)
            new = [{**{c: keep.get(r["k"], {}).get(c) for c in columns}, **r} for r in new]
            rows = [row for row in rows if row["k"] not in gone]
        all_columns = (*columns, *(c for c in self.columns if c not in columns))
        return all_columns, [*rows, *new], was_unique and (unique or not new)


def a_push(chance: random.Random) -> Push:
    columns = ("k", "v", *(("w",) if chance.random() < 0.3 else ()))
    type = JobType.REPLACE if chance.random() < 0.25 else JobType.DELTA
    upserts = [
        {"k": k, **{c: f"{c}{chance.randrange(99)}" for c in columns[1:]}}
        for k in chance.sample(range(30), chance.choice([0, 1, 3, 12]))
    ]
    deletes = chance.sample(range(30), chance.choice([0, 0, 4])) if type is JobType.DELTA else []
    return Push(type, columns, KEYS, upserts, [k for k in deletes if k not in {r["k"] for r in upserts}])


# -- the lake ------------------------------------------------------------------------------------------


def load(
    lake: Lake,
    columns: dict[str, ColumnType],
    upserts: Sequence[tuple[Any, ...]] = (),
    deletes: Sequence[tuple[Any, ...]] = (),
    *,
    targets: tuple[TableRef, ...] = (A,),
    type: JobType = JobType.DELTA,
    keys: tuple[str, ...] = KEYS,
    strategy: UpsertStrategy | None = None,
    lengths: int | None = None,
) -> tuple[str, Any]:
    """Commits one job; answers its id and its change date."""
    number = next(lake.numbers)
    job, at = f"job-{number}", START + timedelta(hours=number)
    lake.tables.load(
        lake.pool,
        Load(
            job_id=job,
            fence=1,
            type=type,
            targets=targets,
            columns=tuple(Column(n, t, lengths if t == STRING else None) for n, t in columns.items()),
            makes_table=True,
            upserts=lake._staged(f"{number}-upserts", columns, upserts),
            upsert_rows=len(upserts),
            deletes=lake._staged(f"{number}-deletes", columns, deletes),
            delete_rows=len(deletes),
            keys=keys,
            unique=bool(keys),
            strategy=strategy,
            duplicates=0,
            change_date=at,
            still_mine=lambda: None,
        ),
    )
    return job, at.replace(tzinfo=None)


def undo(lake: Lake, job: str, *targets: TableRef) -> Any:
    foreseen = lake.tables.preview_undo(lake.pool, job, targets or (A,))
    done = lake.tables.undo(lake.pool, job, targets or (A,))
    assert foreseen.tables == done.tables
    assert lake.tables.undo(lake.pool, job, targets or (A,)) == done  # once
    assert lake.tables.undoing(lake.pool, job) == done
    return done


def table(lake: Lake, ref: TableRef = A) -> Table | None:
    return lake.tables.find(lake.pool, ref)


def rows(lake: Lake, ref: TableRef = A, version: int | None = None) -> list[tuple[Any, ...]]:
    """In the table's own order of columns, and in any order of rows."""
    at = f" AT (VERSION => {version})" if version is not None else ""
    with lake.tables._cursor(lake.pool) as (cursor, found):
        return sorted(cursor.execute(f"SELECT * FROM {table_name(found, ref)}{at}").fetchall(), key=repr)


def look(lake: Lake, ref: TableRef = A) -> Any:
    """All that a table is: its columns in their order, lengths, known keys, rows with their change dates."""
    found = table(lake, ref)
    if found is None:
        return None
    with lake.tables._cursor(lake.pool) as (cursor, inner):
        described = cursor.execute(f"DESCRIBE SELECT * FROM {table_name(inner, ref)}").fetchall()
    return found.columns, found.unique_keys, described, rows(lake, ref)


def maintain(lake: Lake, ref: TableRef) -> None:
    lake.tables.maintain(lake.pool, ref)
    lake.tables.expire(lake.pool)


# -- programs ------------------------------------------------------------------------------------------


def run(lake: Lake, seed: int) -> int:
    """A program of pushes, undos and upkeep beside the model; answers how many jobs were undone."""
    chance, model, undone = random.Random(seed), Model(), 0
    for _ in range(14):
        what = chance.random()
        if what < 0.5 or not model.jobs:
            push_one(lake, model, chance)
        elif what < 0.85:
            undone += undo_one(lake, model, chance)
        else:
            maintain(lake, chance.choice([A, B]))
        for ref in (A, B):
            assert_as_the_model(lake, ref, model.now(ref))
    return undone


def push_one(lake: Lake, model: Model, chance: random.Random) -> None:
    push = a_push(chance)
    targets = chance.choice([(A,), (A,), (B,), (A, B)])
    columns = dict.fromkeys(push.columns, STRING) | {"k": INTEGER}
    upserts = [tuple(row[c] for c in push.columns) for row in push.upserts]
    deletes = [(k, *[None] * (len(columns) - 1)) for k in push.deletes]
    job, at = load(lake, columns, upserts, deletes, targets=targets, type=push.type, keys=push.keys)
    model.push(job, targets, push, at)


def undo_one(lake: Lake, model: Model, chance: random.Random) -> int:
    job = chance.choice(list(model.jobs)[-3:])
    targets = model.jobs[job]
    if not model.can_undo(job):
        with pytest.raises(NotUndoable, match="undo them first"):
            lake.tables.undo(lake.pool, job, targets)
        return 0
    try:
        undo(lake, job, *targets)
    except NotUndoable:  # a newer job may have touched a table and left it as it was
        newer = list(model.jobs)[list(model.jobs).index(job) + 1 :]
        assert any(set(model.jobs[other]) & set(targets) for other in newer)
        return 0
    model.undo(job)
    return 1


def assert_as_the_model(lake: Lake, ref: TableRef, state: State | None) -> None:
    found = table(lake, ref)
    if state is None:
        assert found is None
        return
    columns, expected, unique = state
    assert found is not None
    assert sorted(c.name for c in found.columns) == sorted(columns)
    assert found.unique_keys == (KEYS if unique else ())
    named = [*(c.name for c in found.columns), "at"]
    with lake.tables._cursor(lake.pool) as (cursor, inner):
        selected = ", ".join(f'"{c.name}"' for c in found.columns)
        name = table_name(inner, ref)
        got = cursor.execute(f'SELECT {selected}, "_CELONIS_CHANGE_DATE" FROM {name}').fetchall()
    wanted = [tuple(row.get(c) for c in named) for row in expected]
    assert sorted(got, key=repr) == sorted(wanted, key=repr)


def test_programs_of_loads_and_undos(new_lake: NewLake) -> None:
    undone = sum(run(new_lake(loads=1), seed) for seed in range(PROGRAMS))
    assert undone > PROGRAMS
    counted("jobs undone in programs beside a model", undone, 0)


# -- one by one ----------------------------------------------------------------------------------------


def test_columns_lengths_and_known_keys_are_as_before(new_lake: NewLake) -> None:
    """A column is widened and one is added; whole files come back as links to the bytes of then."""
    lake = new_lake(A)
    narrow, wide = {"k": INTEGER, "d": decimal(10, 2)}, {"k": INTEGER, "d": decimal(20, 4), "v": STRING}
    load(lake, narrow, [(1, Decimal("1.25")), (2, None)], keys=())
    load(lake, {"k": INTEGER, "v": STRING}, [(3, "x")], lengths=5, keys=())
    before = look(lake)
    job, _ = load(lake, wide, [(4, Decimal("1.0001"), "y"), (3, None, "z")], lengths=9)
    assert look(lake)[0] != before[0]
    files = set(data_files(lake))
    [told] = undo(lake, job).tables
    assert (told.rebuilt, told.removed, told.restored, told.rows) == (True, 2, 1, 3)
    assert look(lake) == before
    new = set(data_files(lake)) - files
    assert len(new) == 2
    assert {size_and_inode(lake, path) for path in new} <= {size_and_inode(lake, path) for path in files}


def test_a_table_that_was_replaced(new_lake: NewLake) -> None:
    """Of then one file is whole and one has lost a row: a link and a copy."""
    lake = new_lake(B)
    load(lake, K_V, [(1, "a"), (2, "b")], targets=(B,))
    load(lake, K_V, [(3, "c")], [(2, None)], targets=(B,))
    before = look(lake, B)
    job, _ = load(lake, {"z": STRING}, [("x",)], targets=(B,), type=JobType.REPLACE, keys=())
    files = set(data_files(lake, B))
    [told] = undo(lake, job, B).tables
    assert (told.rebuilt, told.removed, told.restored, told.rows) == (True, 1, 2, 2)
    assert look(lake, B) == before
    new = set(data_files(lake, B)) - files
    old = {size_and_inode(lake, path) for path in files_of(lake.data).keys() - new}
    linked = [size_and_inode(lake, path) in old for path in new]
    assert sorted(linked) == [False, True]
    version = lake.tables.versions(lake.pool, B)[1].version  # the version of the job is readable still
    assert [row[0] for row in rows(lake, B, version)] == ["x"]


def test_what_comes_back_outlives_the_versions_it_came_from(new_lake: NewLake) -> None:
    lake = new_lake(A, keep_days=0.0, loads=1)
    load(lake, K_V, [(1, "a"), (2, "b")])
    before = look(lake)
    job, _ = load(lake, {"z": STRING}, [("x",)], type=JobType.REPLACE, keys=())
    undo(lake, job)
    for number in (3, 4):
        load(lake, K_V, [(number, "c")])
        maintain(lake, A)
    with lake.tables._cursor(lake.pool) as (cursor, inner):
        cursor.execute(f"CALL ducklake_cleanup_old_files('{inner.alias}', cleanup_all => true)")
    assert [row[:2] for row in look(lake)[3]] == [(1, "a"), (2, "b"), (3, "c"), (4, "c")]
    assert look(lake)[3][:2] == before[3]


def test_a_version_that_is_no_longer_kept(new_lake: NewLake) -> None:
    lake = new_lake(A, keep_days=0.0, loads=1)
    load(lake, K_V, [(1, "a")])
    job, _ = load(lake, K_V, [(2, "b")])
    after = look(lake)
    maintain(lake, A)
    for ask in (lake.tables.preview_undo, lake.tables.undo):
        with pytest.raises(NotUndoable, match="keep_versions_days"):
            ask(lake.pool, job, (A,))
    assert look(lake) == after


def test_a_version_is_old_from_when_it_was_replaced(new_lake: NewLake) -> None:
    """However old the version before the last job is, that job can be undone."""
    lake = new_lake(A, keep_days=1.0, loads=1)
    load(lake, K_V, [(1, "a")])
    before = look(lake)
    with lake.tables._cursor(lake.pool) as (cursor, inner):
        cursor.execute(
            f"UPDATE {inner.books}.ducklake_snapshot SET snapshot_time = (now() - INTERVAL 9 DAY)::VARCHAR"
        )
    job, _ = load(lake, K_V, [(2, "b")])
    maintain(lake, A)
    undo(lake, job)
    assert look(lake) == before


def test_columns_called_as_the_engines_own(new_lake: NewLake) -> None:
    lake = new_lake(A)
    for columns in ({"k": INTEGER, "filename": STRING}, {"k": INTEGER, "filename": STRING, "rowid": STRING}):
        load(lake, columns, [(1, *["x"] * (len(columns) - 1))], type=JobType.REPLACE)
        before = look(lake)
        delta, _ = load(lake, columns, [(1, *["y"] * (len(columns) - 1))])
        undo(lake, delta)
        assert look(lake) == before
        job, _ = load(lake, {**columns, "more": STRING}, [(1, *["z"] * len(columns))])
        undo(lake, job)
        assert look(lake) == before


def test_rows_of_one_key_keep_their_order(new_lake: NewLake) -> None:
    """They were appended: the newest is the one whose other columns go on."""
    lake = new_lake(A)
    for value in "abc":
        load(lake, K_V, [(1, value)], keys=())
    wider, _ = load(lake, {**K_V, "w": STRING}, [(1, "d", "d")])
    undo(lake, wider)
    changed, _ = load(lake, K_V, [(1, "e")])
    undo(lake, changed)
    load(lake, {"k": INTEGER}, [(1,)])
    assert [row[:2] for row in rows(lake)] == [(1, "c")]


def test_a_clock_that_was_set_back(new_lake: NewLake) -> None:
    """Rows of another job bear the same change date: they stay."""
    lake = new_lake(A)
    load(lake, K_V, [(1, "a")])
    before = look(lake)
    lake.numbers = iter([1])
    lake.tables.load(lake.pool, replace(_load(lake), job_id="again"))
    undo(lake, "again")
    assert look(lake) == before


def _load(lake: Lake) -> Load:
    """The second row under the change date of the first job."""
    return Load(
        job_id="",
        fence=1,
        type=JobType.DELTA,
        targets=(A,),
        columns=tuple(Column(n, t) for n, t in K_V.items()),
        makes_table=True,
        upserts=lake._staged("again", K_V, [(2, "b")]),
        upsert_rows=1,
        deletes=(),
        delete_rows=0,
        keys=KEYS,
        unique=True,
        strategy=None,
        duplicates=0,
        change_date=START + timedelta(hours=1),
        still_mine=lambda: None,
    )


def data_files(lake: Lake, ref: TableRef = A) -> list[str]:
    """Of the table as it is now."""
    with lake.tables._cursor(lake.pool) as (cursor, inner):
        query = "SELECT data_file FROM ducklake_list_files(?, ?, schema => ?)"
        asked = [inner.alias, ref.name, ref.connection_id or "main"]
        return [name for (name,) in cursor.execute(query, asked).fetchall()]


def size_and_inode(lake: Lake, path: str) -> tuple[int, int]:
    """In a store the same bytes are another object."""
    return files_of(lake.data)[path], Path(path).stat().st_ino if lake.data.folder else 0
