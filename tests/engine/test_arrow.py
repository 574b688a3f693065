"""Arrow IPC, streams and files: what Parquet would have held."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import ipc

from harness import parquet
from headrace.errors import ChunkFailed, ChunkUnreadable
from headrace.model import INTEGER, STRING, Column, Cut, FileType, PushSpec
from headrace.staging import Stager
from headrace.staging.arrowfiles import arrow_columns
from stagings import Staged, stage, stage_task, staging_engine


@pytest.fixture(scope="module", autouse=True)
def engine() -> Iterator[None]:
    with staging_engine():
        yield


def arrow(
    table: pa.Table, *, file: bool = False, rows: int | None = None, packed: str | None = None
) -> bytes:
    out = io.BytesIO()
    new = ipc.new_file if file else ipc.new_stream
    with new(out, table.schema, options=ipc.IpcWriteOptions(compression=packed)) as writer:
        writer.write_table(table, max_chunksize=rows)
    return out.getvalue()


def staged(folder: Path, data: bytes, *wanted: Column, **more: Any) -> Staged:
    return stage(folder, FileType.ARROW, data, *wanted, **more)


NOON = datetime(2024, 2, 29, 12, 0, 0, 123456)

TYPES: dict[str, pa.Array] = {
    **{f"int{n}": pa.array([-(2 ** (n - 1)), None], f"int{n}") for n in (8, 16, 32, 64)},
    **{f"uint{n}": pa.array([2**n - 1, None], f"uint{n}") for n in (8, 16, 32, 64)},
    "half": pa.array([0.5, None], pa.float16()),
    "float": pa.array([0.5, None], pa.float32()),
    "double": pa.array([0.1, None], pa.float64()),
    "decimal32": pa.array([Decimal("1.25"), None], pa.decimal32(5, 2)),
    "decimal64": pa.array([Decimal("1.25"), None], pa.decimal64(15, 2)),
    "decimal128": pa.array([Decimal("1.25"), None], pa.decimal128(38, 2)),
    "decimal256": pa.array([Decimal("1.25"), None], pa.decimal256(38, 2)),
    "bool": pa.array([True, None]),
    "date32": pa.array([date(2024, 2, 29), None]),
    "date64": pa.array([date(2024, 2, 29), None], pa.date64()),
    **{f"time {u}": pa.array([time(12, 0, 1), None], pa.time32(u)) for u in ("s", "ms")},
    **{f"time {u}": pa.array([time(12, 0, 1), None], pa.time64(u)) for u in ("us", "ns")},
    **{
        f"stamp {u}": pa.array([datetime(2024, 2, 29), None], pa.timestamp(u))
        for u in ("s", "ms", "us", "ns")
    },
    "zone": pa.array([NOON.replace(tzinfo=UTC), None], pa.timestamp("us", "Europe/Berlin")),
    **{
        f"duration {u}": pa.array([timedelta(seconds=5), None], pa.duration(u))
        for u in ("s", "ms", "us", "ns")
    },
    "string": pa.array(["é", None]),
    "large string": pa.array(["é", None], pa.large_string()),
    "string view": pa.array(["é", None], pa.string_view()),
    "binary": pa.array([b"a", None]),
    "binary view": pa.array([b"a", None], pa.binary_view()),
    "fixed binary": pa.array([b"ab", None], pa.binary(2)),
    "dictionary": pa.array(["a", None]).dictionary_encode(),
    "dictionary of numbers": pa.array([7, None]).dictionary_encode(),
    "list": pa.array([[1, None], None]),
    "large list": pa.array([[1, None], None], pa.large_list(pa.int64())),
    "list view": pa.array([[1, None], None], pa.list_view(pa.int64())),
    "fixed list": pa.array([[1, 2], None], pa.list_(pa.int64(), 2)),
    "struct": pa.array([{"a": 1, "b": "x"}, None]),
    "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
    "uuid": pa.array([b"\1" * 16, None], pa.uuid()),
    "json": pa.array(['{"a": 1}', None], pa.json_()),
    "null": pa.nulls(2),
}


@pytest.mark.parametrize("name", TYPES)
def test_a_type_is_stored_as_in_parquet(tmp_path: Path, name: str) -> None:
    table = pa.table({"v": TYPES[name], "k": [1, 2]})
    (tmp_path / "p").mkdir()
    expected = stage(tmp_path / "p", FileType.PARQUET, parquet(table))
    for number, file in enumerate((False, True)):
        (tmp_path / f"{number}").mkdir()
        found = staged(tmp_path / f"{number}", arrow(table, file=file))
        assert repr(found) == repr(expected)
    assert expected.rows[0][0] is not None
    assert expected.rows[1][0] is None or name == "null"


def test_run_ends_are_what_they_stand_for(tmp_path: Path) -> None:
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["a", None]))
    assert staged(tmp_path, arrow(pa.table({"v": runs}))).rows == [("a",), ("a",), (None,)]


NOT_STORED = {
    "union": pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])]),
    "interval": pa.array([(1, 2, 3), None], pa.month_day_nano_interval()),
    "empty struct": pa.array([{}, None], pa.struct([])),
}


@pytest.mark.parametrize("name", NOT_STORED)
def test_a_type_that_no_table_stores_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(arrow(pa.table({"k": [1, 2], "the v": NOT_STORED[name]})))
    with pytest.raises(ChunkUnreadable, match="The column the v has the Arrow type"):
        arrow_columns(tmp_path / "file")


@pytest.mark.parametrize("packed", [None, "lz4", "zstd"])
@pytest.mark.parametrize("file", [False, True])
def test_many_batches_keep_their_order(tmp_path: Path, file: bool, packed: str | None) -> None:
    table = pa.table({"n": range(25_000), "t": [f"text {n}" for n in range(25_000)]})
    found = staged(tmp_path, arrow(table, file=file, rows=999, packed=packed))
    assert found.rows == list(zip(range(25_000), table["t"].to_pylist(), strict=True))


def test_dictionaries_that_change_between_batches(tmp_path: Path) -> None:
    out = io.BytesIO()
    parts = [pa.array(texts).dictionary_encode() for texts in (["a", "b"], ["c", "a"], ["b", None])]
    with ipc.new_stream(out, pa.schema([("v", parts[0].type)])) as writer:
        for part in parts:
            writer.write_batch(pa.record_batch({"v": part}))
    assert [v for (v,) in staged(tmp_path, out.getvalue()).rows] == ["a", "b", "c", "a", "b", None]


def test_what_does_not_fit_is_a_reject_and_cuts_are_counted(tmp_path: Path) -> None:
    table = pa.table({"n": ["1", "x", "3"], "t": ["abc", "abc", "ab"]})
    found = staged(tmp_path, arrow(table), Column("N", INTEGER), Column("t", STRING, 2))
    assert found.rows == [(1, "ab"), (3, "ab")]
    assert [(r["line"], r["column"], r["value"]) for r in found.rejects] == [(2, "N", "x")]
    assert found.report.cuts == (Cut("t", 2, 1, 3),)


def test_no_rows_and_no_batches(tmp_path: Path) -> None:
    table = pa.table({"a": pa.array([], pa.int32()), "b": pa.array([], pa.string())})
    for file in (False, True):
        found = staged(tmp_path, arrow(table, file=file))
        assert (found.rows, found.types) == ([], {"a": "INTEGER", "b": "STRING"})


def test_names(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(arrow(pa.Table.from_arrays([pa.array([1])] * 3, ["a", "", "é 😀"])))
    assert arrow_columns(tmp_path / "file") == ["a", "column_2", "é 😀"]


# -- damage, in a child --------------------------------------------------------------------------------


def test_damaged_arrow_ends_one_chunk_at_most(tmp_path: Path) -> None:
    table = pa.table(
        {"t": [f"text {n}" for n in range(500)], "n": range(500), "l": [[n] for n in range(500)]}
    )
    variants = [arrow(table, file=f, rows=100, packed=p) for f in (False, True) for p in (None, "zstd")]
    stager = Stager(processes=1, memory_mb=256, seconds=10)
    read = refused = failed = 0
    try:
        for number in range(120):
            dice = random.Random(number)
            data = damaged(dice.choice(variants), dice)
            task = stage_task(tmp_path, FileType.ARROW, data)
            try:
                stager.look(task.source, PushSpec("t", file_type=FileType.ARROW))
            except ChunkUnreadable:
                refused += 1
                continue
            try:
                read += stager.stage(task).rows <= 500
            except ChunkFailed:
                failed += 1
                assert not task.target.exists()
            task.target.unlink(missing_ok=True)
        assert stager.stage(stage_task(tmp_path, FileType.ARROW, variants[0])).rows == 500
    finally:
        stager.close()
    assert read + refused + failed == 120
    assert refused > 10
    assert failed > 10


def damaged(data: bytes, dice: random.Random) -> bytes:
    """Still with its magic in front."""
    if dice.random() < 0.3:
        return data[: dice.randrange(9, len(data))]
    spoiled = bytearray(data)
    for _ in range(dice.choice([1, 3, 20])):
        spoiled[dice.randrange(8, len(data))] = dice.randrange(256)
    return bytes(spoiled)
