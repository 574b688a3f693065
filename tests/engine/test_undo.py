"""Undoing on real lakes: tables are what they were, whatever the job did and whatever upkeep did since."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
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
)
from headrace.tables import Load
from headrace.tables.catalog import table_name

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
    return lake.tables._named(lake.pool, ref)


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


def test_programs_of_loads_and_undos(new_lake: NewLake) -> None:  # noqa: F811
    undone = sum(run(new_lake(loads=1), seed) for seed in range(PROGRAMS))
    assert undone > PROGRAMS
    counted("jobs undone in programs beside a model", undone, 0)
