"""Random jobs of every kind, for the real server and for the model of it (engine/model_of_loads.py)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from engine import model_of_loads as model
from engine.model_of_loads import FLOAT, INTEGER, STRING, Chunk
from harness import parquet
from headrace.model import ChunkType, FileType, JobType, PushSpec, UpsertStrategy

DELETE, UPSERT = ChunkType.DELETE, ChunkType.UPSERT
ARROW = {STRING: pa.string(), INTEGER: pa.int64(), FLOAT: pa.float64()}
KINDS = {"id": INTEGER, "k": STRING, "v": STRING, "w": FLOAT, "n": INTEGER}
VALUES: dict[Any, tuple[model.Value, ...]] = {
    STRING: (None, "", "a", "b", "ab", "1", "é"),
    INTEGER: (None, *range(8)),
    FLOAT: (None, 0.5, 1.0, 2.25),
}


def random_job(chance: random.Random, tables: Sequence[str]) -> model.Job:
    keys = chance.choice([(), ("id",), ("ID",), ("id",), ("id", "k"), ("K",)])
    type = chance.choice([JobType.DELTA] * 5 + [JobType.REPLACE])
    first, *others = chance.sample(tables, 3)
    spec = PushSpec(
        first,
        type,
        FileType.PARQUET,
        keys=keys,
        upsert_strategy=chance.choice([None, None, *UpsertStrategy]),
        allow_duplicate=chance.random() < 0.2,
        mirror_names=tuple(others[: chance.choice([0, 0, 0, 1, 2])]),
    )
    deletes = [False, True] if keys and type is JobType.DELTA else [False]
    kinds = [False, *(chance.choice(deletes) for _ in range(chance.randrange(3)))]
    return model.Job(spec, tuple(random_chunk(chance, keys, deletes) for deletes in kinds))


def random_chunk(chance: random.Random, keys: Sequence[str], deletes: bool) -> Chunk:
    new = chance.choice([()] * 6 + [(f"new{chance.randrange(6)}",)])
    others = [*chance.sample(sorted(KINDS), 3), *new]
    names = list(dict.fromkeys([*map(str.lower, keys), *([] if deletes else others)]))
    kinds = [KINDS.get(name, STRING) for name in names]
    rows = chance.choice([1, 3, 20, 200])
    values = tuple(tuple(chance.choice(VALUES[kind]) for kind in kinds) for _ in range(rows))
    return Chunk(DELETE if deletes else UPSERT, tuple(zip(names, kinds, strict=True)), values)


def as_parquet(chunk: Chunk) -> bytes:
    arrays = [
        pa.array([row[n] for row in chunk.rows], ARROW[kind]) for n, (_, kind) in enumerate(chunk.columns)
    ]
    return parquet(pa.Table.from_arrays(arrays, [name for name, _ in chunk.columns]))


def as_body(spec: PushSpec) -> dict[str, Any]:
    """All but its name, as ``create_job`` takes it."""
    return {
        "type": spec.type,
        "fileType": "PARQUET",
        "keys": list(spec.keys) or None,
        "upsertStrategy": spec.upsert_strategy,
        "allowDuplicate": spec.allow_duplicate,
        "mirrorTargetNames": list(spec.mirror_names) or None,
    }


def assert_same_rows(rows: list[list[Any]], table: model.Table) -> None:
    """``rows`` have the columns of the table in its order; each row is there as often."""
    wanted = [[row.values.get(n) for n in table.folded] for row in table.rows]
    assert sorted(rows, key=repr) == sorted(wanted, key=repr), table.name
