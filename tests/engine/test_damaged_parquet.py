"""Mutated and cut Parquet files through the real children: refused, failed, or read, and nothing else.

A bit that turns over in the bytes of a value is another value, and no reader can tell it: only a file that
has checksums can be held to its rows.
"""

from __future__ import annotations

import os
import random
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from counted import counted
from harness import parquet
from headrace.errors import ChunkFailed, ChunkUnreadable
from headrace.model import FileType, PushSpec
from headrace.staging import Stager
from stagings import READER, stage_task

CASES = int(os.environ.get("HEADRACE_DAMAGED_FILES", "1000"))
SECONDS = 10
ROWS = 200

TABLE = pa.table(
    {
        "text": [f"text {n % 37}" for n in range(ROWS)],
        "number": pa.array([n if n % 5 else None for n in range(ROWS)], pa.int64()),
        "amount": pa.array([Decimal(n) / 4 for n in range(ROWS)], pa.decimal128(18, 2)),
        "at": [datetime(2024, 2, 29, 12, n % 60) for n in range(ROWS)],
        "list": [[n, None] for n in range(ROWS)],
        "share": [n / 7 for n in range(ROWS)],
    }
)
RIGHT = [tuple(row.values()) for row in TABLE.to_pylist()]

FORMS = [
    {"compression": codec, "row_group_size": 50, "data_page_version": version, "write_page_checksum": checked}
    for codec in ("none", "snappy", "zstd", "gzip")
    for version in ("1.0", "2.0")
    for checked in (False, True)
]


def flipped(data: bytearray, dice: random.Random) -> None:
    for _ in range(dice.choice([1, 1, 1, 2, 8])):
        data[dice.randrange(4, len(data))] ^= 1 << dice.randrange(8)


def overwritten(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(4, len(data) - 8)
    data[at : at + dice.randrange(1, 200)] = dice.randbytes(dice.randrange(1, 200))


def cut(data: bytearray, dice: random.Random) -> None:
    del data[dice.randrange(4, len(data)) :]


def cut_within(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(4, len(data) - 8)
    del data[at : at + dice.randrange(1, 500)]


def swapped(data: bytearray, dice: random.Random) -> None:
    size, last = dice.randrange(16, 400), len(data) - 450
    one, other = dice.randrange(4, last), dice.randrange(4, last)
    data[one : one + size], data[other : other + size] = data[other : other + size], data[one : one + size]


def in_the_footer(data: bytearray, dice: random.Random) -> None:
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for _ in range(dice.choice([1, 1, 4])):
        data[dice.randrange(max(4, footer), len(data) - 8)] = dice.randrange(256)


def absurd_length(data: bytearray, dice: random.Random) -> None:
    length = dice.choice([0, 1, 7, len(data), 2**31 - 1, 2**31, 2**32 - 1, dice.randrange(2**32)])
    data[-8:-4] = struct.pack("<I", length)


def absurd_number(data: bytearray, dice: random.Random) -> None:
    """A varint of the headers or the footer becomes a huge one."""
    at = dice.randrange(4, len(data) - 12)
    data[at : at + 5] = b"\xff\xff\xff\xff\x0f"


def lengthened(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(4, len(data))
    data[at:at] = dice.randbytes(dice.randrange(1, 5000))


MUTATIONS: list[Callable[[bytearray, random.Random], None]] = [
    flipped,
    overwritten,
    cut,
    cut_within,
    swapped,
    in_the_footer,
    absurd_length,
    absurd_number,
    lengthened,
]


@pytest.fixture(scope="module")
def stager() -> Iterator[Stager]:
    running = Stager(processes=1, memory_mb=512, seconds=SECONDS)
    yield running
    running.close()


def outcome(stager: Stager, folder: Path, data: bytes) -> str:
    """What becomes of a chunk; anything but that is the test's failure."""
    task = stage_task(folder, FileType.PARQUET, data)
    try:
        stager.look(task.source, PushSpec("t"))
    except ChunkUnreadable:
        return "refused"
    try:
        report = stager.stage(task)
    except ChunkFailed as error:
        assert "longer than" not in error.message, "it hung"
        left = list(task.target.parent.iterdir()) if task.target.parent.exists() else []
        assert not [path for path in left if not path.name.startswith(".")], "rows of a file that failed"
        return "failed"
    rows = READER.execute(f"FROM read_parquet('{task.target}', hive_partitioning = false)").fetchall()
    task.target.unlink()
    assert len(rows) == report.rows
    return "read right" if _shown(rows) == _shown(RIGHT) else "read otherwise"


def _shown(rows: list[tuple[object, ...]]) -> list[list[str]]:
    """Lists are stored as JSON text."""
    return [[str(cell).replace("null", "None").replace(" ", "") for cell in row] for row in rows]


def test_damage_ends_one_chunk_at_most(stager: Stager, tmp_path: Path) -> None:
    files = [(form, parquet(TABLE, **form)) for form in FORMS]
    for _, data in files:
        assert outcome(stager, tmp_path, data) == "read right"
    found: Counter[tuple[str, bool]] = Counter()
    wrong = []
    for number in range(CASES):
        dice = random.Random(number)
        form, whole = dice.choice(files)
        data = bytearray(whole)
        mutation = dice.choice(MUTATIONS)
        mutation(data, dice)
        what = outcome(stager, tmp_path, bytes(data))
        found[what, bool(form["write_page_checksum"])] += 1
        if what == "read otherwise" and form["write_page_checksum"] and mutation is not in_the_footer:
            wrong.append((number, mutation.__name__))
    for checked in (False, True):
        kinds = ("refused", "failed", "read right", "read otherwise")
        shown = ", ".join(f"{found[kind, checked]} {kind}" for kind in kinds)
        name = f"damaged Parquet files {'with' if checked else 'without'} checksums ({shown})"
        counted(name, sum(n for (_, c), n in found.items() if c is checked), len(wrong) if checked else 0)
    assert sum(found.values()) == CASES
    assert wrong == []
    assert outcome(stager, tmp_path, files[0][1]) == "read right"


def test_a_page_with_another_checksum_is_named(stager: Stager, tmp_path: Path) -> None:
    data = bytearray(
        parquet({"a": ["same"] * 5, "b": ["x" * 100] * 5}, write_page_checksum=True, compression="none")
    )
    data[data.index(b"x" * 100) + 50] = ord("y")
    with pytest.raises(ChunkFailed, match=r"page at byte \d+ \(column b, row group 1\) has another checksum"):
        stager.stage(stage_task(tmp_path, FileType.PARQUET, bytes(data)))


def test_checksums_of_a_file_without_rows(stager: Stager, tmp_path: Path) -> None:
    data = parquet({"a": pa.array([], pa.string())}, write_page_checksum=True)
    assert stager.stage(stage_task(tmp_path, FileType.PARQUET, data)).rows == 0
