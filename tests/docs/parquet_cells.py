"""The columns of the table of Parquet types in docs/types.md: what each row's file holds."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa

from headrace.model import BOOLEAN, DATE, DATETIME, FLOAT, INTEGER, STRING, TIME, ColumnType, decimal

_DAY, _NOON = datetime(2024, 2, 29), datetime(2024, 2, 29, 12, 34, 56, 789000)
_UUID = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")

ASKED: dict[str, ColumnType] = {
    "STRING": STRING,
    "INTEGER": INTEGER,
    "FLOAT": FLOAT,
    "FLOAT, 2 decimals": decimal(18, 2),
    "BOOLEAN": BOOLEAN,
    "DATE": DATE,
    "TIME": TIME,
    "DATETIME": DATETIME,
}
"""The columns of the table beside the first three."""


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC)


def _days(days: int) -> Any:
    return pa.array([days], pa.int32()).cast(pa.date32())


FILES: dict[tuple[str, str], Any] = {
    ("BOOLEAN", "true"): pa.array([True]),
    ("INT32, INT(8, signed)", "-128"): pa.array([-128], pa.int8()),
    ("INT32, INT(16, signed)", "1"): pa.array([1], pa.int16()),
    ("INT32", "2147483647"): pa.array([2147483647], pa.int32()),
    ("INT32, INT(8, unsigned)", "0"): pa.array([0], pa.uint8()),
    ("INT32, INT(16, unsigned)", "65535"): pa.array([65535], pa.uint16()),
    ("INT32, INT(32, unsigned)", "4294967295"): pa.array([4294967295], pa.uint32()),
    ("INT64", "9007199254740993"): pa.array([2**53 + 1], pa.int64()),
    ("INT64", "-9223372036854775808"): pa.array([-(2**63)], pa.int64()),
    ("INT64, INT(64, unsigned)", "1"): pa.array([1], pa.uint64()),
    ("INT64, INT(64, unsigned)", "18446744073709551615"): pa.array([2**64 - 1], pa.uint64()),
    ("INT32, DECIMAL(9,2)", "1.50"): pa.array([Decimal("1.50")], pa.decimal128(9, 2)),
    ("INT64, DECIMAL(18,3)", "2.000"): pa.array([Decimal("2.000")], pa.decimal128(18, 3)),
    ("INT64, DECIMAL(18,3)", "1.255"): pa.array([Decimal("1.255")], pa.decimal128(18, 3)),
    ("FIXED_LEN_BYTE_ARRAY, DECIMAL(38,2)", "12345678901234567890.25"): pa.array(
        [Decimal("12345678901234567890.25")], pa.decimal128(38, 2)
    ),
    ("FIXED_LEN_BYTE_ARRAY(2), FLOAT16", "0.5"): pa.array([0.5], pa.float16()),
    ("FLOAT", "0.1"): pa.array([0.1], pa.float32()),
    ("DOUBLE", "2.0"): pa.array([2.0]),
    ("DOUBLE", "2.5"): pa.array([2.5]),
    ("DOUBLE", "1e300"): pa.array([1e300]),
    ("DOUBLE", "NaN"): pa.array([float("nan")]),
    ("DOUBLE", "-Infinity"): pa.array([float("-inf")]),
    ("INT32, DATE", "2024-02-29"): pa.array([date(2024, 2, 29)]),
    ("INT32, DATE", "12024-01-01"): _days(3_672_148),
    ("INT32, TIME(millis)", "12:34:56.789"): pa.array([time(12, 34, 56, 789000)], pa.time32("ms")),
    ("INT64, TIME(micros)", "12:34:56.789012"): pa.array([time(12, 34, 56, 789012)], pa.time64("us")),
    ("INT64, TIME(nanos)", "12:34:56.000000001"): pa.array([45_296_000_000_001], pa.time64("ns")),
    ("INT64, TIMESTAMP(millis)", "2024-02-29 12:34:56.789"): pa.array([_NOON], pa.timestamp("ms")),
    ("INT64, TIMESTAMP(micros)", "2024-02-29 00:00"): pa.array([_DAY], pa.timestamp("us")),
    ("INT64, TIMESTAMP(nanos)", "2024-02-29 00:00"): pa.array([_DAY], pa.timestamp("ns")),
    ("INT64, TIMESTAMP(micros, UTC)", "2024-02-29 12:34:56.789Z"): pa.array(
        [_utc(_NOON)], pa.timestamp("us", tz="Europe/Berlin")
    ),
    ("INT96", "2024-02-29 12:34:56.789"): pa.array([_NOON], pa.timestamp("ns")),
    ("BYTE_ARRAY, STRING", "007"): pa.array(["007"]),
    ("BYTE_ARRAY, STRING", "2024-02-29"): pa.array(["2024-02-29"]),
    ("BYTE_ARRAY, STRING", "12,5"): pa.array(["12,5"]),
    ("BYTE_ARRAY, STRING, in a dictionary", "yes"): pa.array(["yes"]).dictionary_encode(),
    ("BYTE_ARRAY", "1.5"): pa.array([b"1.5"]),
    ("BYTE_ARRAY", "the bytes FF FE"): pa.array([b"\xff\xfe"]),
    ("BYTE_ARRAY, JSON", "[1]"): pa.array(["[1]"]).cast(pa.string()),
    ("FIXED_LEN_BYTE_ARRAY(3)", "abc"): pa.array([b"abc"], pa.binary(3)),
    ("FIXED_LEN_BYTE_ARRAY(16), UUID", str(_UUID)): pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([_UUID.bytes], pa.binary(16))
    ),
    ("any, all NULL", "NULL"): pa.array([None], pa.null()),
    ("LIST", "[1, 2]"): pa.array([[1, 2]]),
    ("a group", "{a: 1}"): pa.array([{"a": 1}]),
    ("MAP", "{k: 1}"): pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
}
"""By the Parquet type, physical and logical, and the value as the table writes it."""

INT96 = ("INT96",)
"""Types for which the writer wants ``use_deprecated_int96_timestamps``."""
