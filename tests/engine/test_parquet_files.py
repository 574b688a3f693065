"""Every Parquet file that the writers of Arrow and of DuckDB can make: its rows, or a refusal by name."""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from counted import counted
from harness import parquet
from headrace.errors import ChunkUnreadable
from headrace.model import FileType
from headrace.staging.parquetfiles import parquet_columns
from stagings import READER, Staged, stage, staging_engine

ROWS = 60


@pytest.fixture(scope="module", autouse=True)
def engine() -> Iterator[None]:
    with staging_engine():
        yield


# -- a table of everything -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """A type of Arrow, values of it, and what is stored for each of them."""

    type: pa.DataType
    values: list[Any]
    stored: list[Any]
    column: str
    """The type of the stored column."""


def _naive(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at


def _kinds() -> dict[str, Kind]:
    dice = random.Random(7)
    some = range(12)
    kinds: dict[str, Kind] = {}

    def add(name: str, type: Any, values: list[Any], column: str, stored: list[Any] | None = None) -> None:
        kinds[name] = Kind(type, values, values if stored is None else stored, column)

    for bits in (8, 16, 32, 64):
        edges = [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 0, -1]
        add(f"int{bits}", getattr(pa, f"int{bits}")(), edges, "INTEGER")
        unsigned = [0, 1, 2**bits - 1, 2 ** (bits - 1)]
        wide = "DECIMAL(20,0)" if bits == 64 else "INTEGER"
        stored = [Decimal(v) for v in unsigned] if bits == 64 else None
        add(f"uint{bits}", getattr(pa, f"uint{bits}")(), unsigned, wide, stored)
    odd = [-0.0, 0.5, float("inf"), float("-inf"), float("nan"), -1.25]
    for name in ("float16", "float32", "float64"):
        add(name, getattr(pa, name)(), odd, "FLOAT")
    add("double", pa.float64(), [0.1, 1e300, 5e-324, 2.0**53 + 2, 0.0], "FLOAT")
    for name, digits, scale in (
        ("decimal32", 9, 2),
        ("decimal64", 18, 4),
        ("decimal128", 38, 10),
        ("decimal128", 5, 5),
        ("decimal256", 38, 0),
    ):
        largest = Decimal((0, (9,) * digits, -scale))
        smallest = Decimal((1, (9,) * digits, -scale))
        exact = [largest, smallest, Decimal((0, (0,), -scale)), Decimal((1, (1, 2), -scale))]
        with localcontext(prec=60):
            add(
                f"{name}({digits},{scale})",
                getattr(pa, name)(digits, scale),
                exact,
                f"DECIMAL({digits},{scale})",
            )
    add("bool", pa.bool_(), [True, False, False], "BOOLEAN")
    days = [date(1, 1, 1), date(1970, 1, 1), date(2024, 2, 29), date(9999, 12, 31)]
    add("date32", pa.date32(), days, "DATE")
    add("date64", pa.date64(), days, "DATE")
    clock = [time(0), time(23, 59, 59), time(12, 34, 56)]
    add("time32 s", pa.time32("s"), clock, "TIME")
    add("time32 ms", pa.time32("ms"), [*clock, time(1, 2, 3, 4000)], "TIME")
    fine = [*clock, time(23, 59, 59, 999999)]
    add("time64 us", pa.time64("us"), fine, "TIME")
    add("time64 ns", pa.time64("ns"), fine, "TIME")
    far = [
        datetime(1, 1, 1),
        datetime(1969, 12, 31, 23, 59, 59),
        datetime(2024, 2, 29, 12),
        datetime(9999, 12, 31),
    ]
    near = [
        datetime(1700, 1, 1),
        datetime(1969, 12, 31, 23, 59, 59, 999999),
        datetime(2200, 1, 1, 0, 0, 0, 1),
    ]
    for unit in ("s", "ms", "us"):
        add(f"timestamp {unit}", pa.timestamp(unit), far, "DATETIME")
        zoned = [at.replace(tzinfo=UTC) for at in far]
        add(f"timestamp {unit} zone", pa.timestamp(unit, "America/New_York"), zoned, "DATETIME", far)
    add("timestamp ns", pa.timestamp("ns"), near, "DATETIME")
    add(
        "timestamp ns zone",
        pa.timestamp("ns", "UTC"),
        [a.replace(tzinfo=UTC) for a in near],
        "DATETIME",
        near,
    )
    spans = [timedelta(0), timedelta(days=-3), timedelta(seconds=5)]
    for unit, factor in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        counts = [int(span.total_seconds()) * factor for span in spans]
        add(f"duration {unit}", pa.duration(unit), spans, "INTEGER", counts)
    words = ["", "é😀", "a\0b", "x" * 300, *("".join(dice.choices("abcü \n\"'", k=9)) for _ in some)]
    raw = [word.encode() for word in words]
    for name in ("string", "large_string", "string_view"):
        add(name, getattr(pa, name)(), words, "STRING")
    for name in ("binary", "large_binary", "binary_view"):
        add(name, getattr(pa, name)(), raw, "STRING", words)
    add("fixed_size_binary", pa.binary(3), [b"abc", b"   ", b"\0\0\0"], "STRING", ["abc", "   ", "\0\0\0"])
    add("dictionary", pa.dictionary(pa.int8(), pa.string()), words[:5], "STRING")
    add("dictionary of numbers", pa.dictionary(pa.int32(), pa.int64()), [5, 7, 5], "INTEGER")
    ids = [UUID(int=dice.getrandbits(128)) for _ in some]
    add("uuid", pa.uuid(), [id.bytes for id in ids], "STRING", [str(id) for id in ids])
    documents = ['{"a": [1, 2.50]}', "null", '"x"']
    add("json", pa.json_(), documents, "STRING")
    lists = [[], [1, None], [3]]
    shown = ["[]", "[1,null]", "[3]"]
    add("list", pa.list_(pa.int32()), lists, "STRING", shown)
    add("large_list", pa.large_list(pa.int32()), lists, "STRING", shown)
    add("list_view", pa.list_view(pa.int32()), lists, "STRING", shown)
    add("fixed list", pa.list_(pa.int32(), 2), [[1, 2], [3, None]], "STRING", ["[1,2]", "[3,null]"])
    add("list of lists", pa.list_(pa.list_(pa.string())), [[["a"], []], []], "STRING", ['[["a"],[]]', "[]"])
    add("struct", pa.struct({"a": pa.int32(), "b": pa.string()}), [{"a": 1, "b": "x"}, {"a": None, "b": ""}],
        "STRING", ['{"a":1,"b":"x"}', '{"a":null,"b":""}'])  # fmt: skip
    add("map", pa.map_(pa.string(), pa.int32()), [[("k", 1)], []], "STRING", ['{"k":1}', "{}"])
    deep = pa.struct({"l": pa.list_(pa.struct({"m": pa.map_(pa.string(), pa.date32())}))})
    add(
        "deep",
        deep,
        [{"l": [{"m": [("k", date(2024, 2, 29))]}]}],
        "STRING",
        ['{"l":[{"m":{"k":"2024-02-29"}}]}'],
    )
    return kinds


KINDS = _kinds()


def everything(
    names: list[str], *, nullable: bool = True, rows: int = ROWS
) -> tuple[pa.Table, list[tuple[Any, ...]]]:
    """A table with these columns, and the rows that are to be stored for it."""
    dice = random.Random(rows)
    picks = {
        name: [
            dice.randrange(len(KINDS[name].values)) if not nullable or dice.random() < 0.8 else None
            for _ in range(rows)
        ]
        for name in names
    }
    arrays = [_array(KINDS[name], picks[name]) for name in names]
    fields = [
        pa.field(name, array.type, nullable=nullable) for name, array in zip(names, arrays, strict=True)
    ]
    stored = [[None if n is None else KINDS[name].stored[n] for n in picks[name]] for name in names]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields)), list(zip(*stored, strict=True))


def _array(kind: Kind, picks: list[int | None]) -> pa.Array:
    values = [None if n is None else kind.values[n] for n in picks]
    if pa.types.is_dictionary(kind.type):
        return pa.array(values, kind.type.value_type).dictionary_encode()
    return pa.array(values, kind.type)


def staged(folder: Path, data: bytes) -> Staged:
    return stage(folder, FileType.PARQUET, data)


BY_ARROW, BY_DUCKDB = (
    "columns of Parquet files that Arrow wrote",
    "columns of Parquet files that DuckDB wrote",
)
TALLY: dict[str, int] = {}


@pytest.fixture(scope="module", autouse=True)
def tally() -> Iterator[None]:
    yield
    for name, cases in TALLY.items():
        counted(name, cases, 0)


def check(folder: Path, table: pa.Table, rows: list[tuple[Any, ...]], **options: Any) -> None:
    found = staged(folder, parquet(table, **options))
    assert repr(found.rows) == repr(rows)
    assert found.rejects == []
    TALLY[BY_ARROW] = TALLY.get(BY_ARROW, 0) + table.num_columns


# -- what Arrow writes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_every_type(tmp_path: Path, name: str) -> None:
    table, rows = everything([name])
    check(tmp_path, table, rows)
    assert [str(c.type) for c in staged(tmp_path, parquet(table)).report.columns] == [KINDS[name].column]
    check(tmp_path, *everything([name], nullable=False))


CODECS = ["none", "snappy", "gzip", "zstd", "lz4", "brotli"]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("pages", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_every_codec_and_page(tmp_path: Path, codec: str, pages: str, dictionary: bool) -> None:
    options = {"compression": codec, "data_page_version": pages, "use_dictionary": dictionary}
    check(tmp_path, *everything(list(KINDS)), **options)
    check(tmp_path, *everything(list(KINDS), nullable=False), **options)


@pytest.mark.parametrize("size", [1, 7, ROWS - 1, ROWS, 10 * ROWS])
def test_every_size_of_row_groups(tmp_path: Path, size: int) -> None:
    check(tmp_path, *everything(list(KINDS)), row_group_size=size)


FORMS: list[dict[str, Any]] = [
    {"write_page_index": True, "write_page_checksum": True},
    {"write_statistics": False, "store_schema": False},
    {"data_page_size": 1, "write_batch_size": 3},
    {"dictionary_pagesize_limit": 8, "data_page_size": 64, "write_batch_size": 5},
    {"use_compliant_nested_type": False},
    {"use_byte_stream_split": ["float32", "float64"], "use_dictionary": False},
    {"bloom_filter_options": {"string": {"ndv": 100, "fpp": 0.01}, "int64": True}},
    {"store_decimal_as_integer": True},
    {"write_time_adjusted_to_utc": True},
    {"version": "2.4", "coerce_timestamps": "us"},
    {"version": "2.6", "sorting_columns": [pq.SortingColumn(0)]},
]


@pytest.mark.parametrize("form", FORMS, ids=["+".join(form) for form in FORMS])
def test_every_form(tmp_path: Path, form: dict[str, Any]) -> None:
    check(tmp_path, *everything(list(KINDS)), **form)


def test_the_oldest_form(tmp_path: Path) -> None:
    """Version 1.0 has no unsigned numbers of 32 bit and no nanoseconds, Arrow writes wider ones."""
    names = [name for name in KINDS if name not in ("timestamp ns", "timestamp ns zone")]
    check(tmp_path, *everything(names), version="1.0")


def test_int96(tmp_path: Path) -> None:
    names = [name for name in KINDS if name.startswith("timestamp ns")]
    table, rows = everything(names)
    found = staged(tmp_path, parquet(table, use_deprecated_int96_timestamps=True))
    assert found.rows == rows


NUMBERS = ["int32", "int64", "uint32", "uint64", "date32", "time32 ms", "time64 us", "timestamp us"]
NUMBERS += ["timestamp ns", "duration us"]
TEXTS = ["string", "large_string", "binary", "json"]
FIXED = ["fixed_size_binary", "uuid", "float16", "decimal128(38,10)"]
ENCODINGS = [
    ("PLAIN", [*NUMBERS, *TEXTS, *FIXED, "bool", "float32", "float64"]),
    ("RLE", ["bool"]),
    ("DELTA_BINARY_PACKED", NUMBERS),
    ("DELTA_LENGTH_BYTE_ARRAY", TEXTS),
    ("DELTA_BYTE_ARRAY", [*TEXTS, *FIXED]),
    ("BYTE_STREAM_SPLIT", ["float32", "float64", "int32", "int64", *FIXED]),
    ("RLE_DICTIONARY", [*NUMBERS, *TEXTS, *FIXED, "float64"]),
]


@pytest.mark.parametrize(("encoding", "names"), ENCODINGS, ids=[e[0] for e in ENCODINGS])
@pytest.mark.parametrize("pages", ["1.0", "2.0"])
def test_every_encoding(tmp_path: Path, encoding: str, names: list[str], pages: str) -> None:
    how: dict[str, Any] = {"use_dictionary": False, "column_encoding": dict.fromkeys(names, encoding)}
    options = {"use_dictionary": names} if encoding == "RLE_DICTIONARY" else how
    for rows in (1, ROWS, 5000):
        table, stored = everything(names, rows=rows)
        data = parquet(table, data_page_version=pages, **options)
        used = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0).encodings
        assert encoding in used
        check(tmp_path, table, stored, data_page_version=pages, **options)


def test_a_column_of_nothing_and_a_file_of_no_rows(tmp_path: Path) -> None:
    table, _ = everything(list(KINDS), rows=0)
    assert staged(tmp_path, parquet(table)).rows == []
    nothing = pa.table({name: pa.nulls(3, kind.type) for name, kind in KINDS.items() if name != "dictionary"})
    found = staged(tmp_path, parquet(nothing))
    assert found.rows == [(None,) * nothing.num_columns] * 3


def test_a_file_without_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(parquet(pa.table({})))
    with pytest.raises(ChunkUnreadable, match="column"):
        parquet_columns(tmp_path / "file")


@pytest.mark.parametrize("precision", [39, 76])
def test_more_digits_than_a_table_has_are_refused(tmp_path: Path, precision: int) -> None:
    (tmp_path / "file").write_bytes(parquet({"v": pa.array([Decimal("1.5")], pa.decimal256(precision, 2))}))
    with pytest.raises(ChunkUnreadable, match="may have 38 digits"):
        parquet_columns(tmp_path / "file")


# -- encryption ----------------------------------------------------------------------------------------


class Keys(pe.KmsClient):
    """Keys in the open: what matters is that we have none."""

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        return base64.b64encode(key_bytes)

    def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
        return base64.b64decode(wrapped_key)


@pytest.mark.parametrize("plaintext_footer", [False, True])
@pytest.mark.parametrize("algorithm", ["AES_GCM_V1", "AES_GCM_CTR_V1"])
def test_an_encrypted_file_is_refused_by_name(tmp_path: Path, plaintext_footer: bool, algorithm: str) -> None:
    table, _ = everything(["int64", "string"])
    keys = {"columns": ["string"]}
    how = pe.EncryptionConfiguration(
        footer_key="footer",
        column_keys=keys,
        plaintext_footer=plaintext_footer,
        encryption_algorithm=algorithm,
    )
    properties = pe.CryptoFactory(lambda _: Keys()).file_encryption_properties(pe.KmsConnectionConfig(), how)
    with pq.ParquetWriter(tmp_path / "file", table.schema, encryption_properties=properties) as out:
        out.write_table(table)
    with pytest.raises(ChunkUnreadable, match="encrypted"):
        parquet_columns(tmp_path / "file")


def test_a_file_that_duckdb_has_encrypted(tmp_path: Path) -> None:
    writer = duckdb.connect()
    writer.execute("SET force_mbedtls_unsafe = 'true'")
    writer.execute("PRAGMA add_parquet_key('k', '0123456789112345')")
    options = "FORMAT parquet, ENCRYPTION_CONFIG {footer_key: 'k'}"
    writer.execute(f"COPY (SELECT 1 AS a) TO '{tmp_path / 'file'}' ({options})")
    assert (tmp_path / "file").read_bytes()[:4] in (b"PARE", b"PAR1")
    with pytest.raises(ChunkUnreadable, match="encrypted"):
        parquet_columns(tmp_path / "file")


# -- what DuckDB writes --------------------------------------------------------------------------------

DUCK: dict[str, tuple[str, str, Any]] = {
    # SQL, the type of the stored column, the stored value
    "TINYINT": ("(-128)::TINYINT", "INTEGER", -128),
    "SMALLINT": ("(-32768)::SMALLINT", "INTEGER", -32768),
    "INTEGER": ("(-2147483648)::INTEGER", "INTEGER", -(2**31)),
    "BIGINT": ("(-9223372036854775808)::BIGINT", "INTEGER", -(2**63)),
    "UTINYINT": ("255::UTINYINT", "INTEGER", 255),
    "USMALLINT": ("65535::USMALLINT", "INTEGER", 65535),
    "UINTEGER": ("4294967295::UINTEGER", "INTEGER", 2**32 - 1),
    "UBIGINT": ("18446744073709551615::UBIGINT", "DECIMAL(20,0)", Decimal(2**64 - 1)),
    "HUGEINT": ("1024::HUGEINT", "FLOAT", 1024.0),  # as its writer stores it
    "UHUGEINT": ("1024::UHUGEINT", "FLOAT", 1024.0),
    "FLOAT": ("0.5::FLOAT", "FLOAT", 0.5),
    "DOUBLE": ("0.1::DOUBLE", "FLOAT", 0.1),
    "DECIMAL 4": ("1.25::DECIMAL(4,2)", "DECIMAL(4,2)", Decimal("1.25")),
    "DECIMAL 9": ("1.25::DECIMAL(9,2)", "DECIMAL(9,2)", Decimal("1.25")),
    "DECIMAL 18": ("1.25::DECIMAL(18,2)", "DECIMAL(18,2)", Decimal("1.25")),
    "DECIMAL 38": ("1.25::DECIMAL(38,2)", "DECIMAL(38,2)", Decimal("1.25")),
    "BOOLEAN": ("true", "BOOLEAN", True),
    "DATE": ("DATE '0001-01-01'", "DATE", date(1, 1, 1)),
    "TIME": ("TIME '12:34:56.123456'", "TIME", time(12, 34, 56, 123456)),
    "TIMETZ": ("'12:34:56+02'::TIMETZ", "TIME", time(10, 34, 56)),
    "TIMESTAMP": ("TIMESTAMP '2024-02-29 12:00:00.12'", "DATETIME", datetime(2024, 2, 29, 12, 0, 0, 120000)),
    "TIMESTAMP_S": ("'2024-02-29 12:00:00'::TIMESTAMP_S", "DATETIME", datetime(2024, 2, 29, 12)),
    "TIMESTAMP_MS": ("'2024-02-29 12:00:00'::TIMESTAMP_MS", "DATETIME", datetime(2024, 2, 29, 12)),
    "TIMESTAMP_NS": ("'2024-02-29 12:00:00'::TIMESTAMP_NS", "DATETIME", datetime(2024, 2, 29, 12)),
    "TIMESTAMPTZ": ("'2024-02-29 12:00:00+02'::TIMESTAMPTZ", "DATETIME", datetime(2024, 2, 29, 10)),
    "INTERVAL": ("INTERVAL '1 month 3 days 5 seconds'", "STRING", "1 month 3 days 00:00:05"),
    "VARCHAR": ("'é😀'", "STRING", "é😀"),
    "BLOB": ("encode('é')", "STRING", "é"),
    "BIT": ("'0101'::BIT", "STRING", "0101"),
    "UUID": (f"'{UUID(int=10)}'::UUID", "STRING", str(UUID(int=10))),
    "JSON": ("""'{"a": 1.50}'::JSON""", "STRING", '{"a": 1.50}'),
    "ENUM": ("'b'::ENUM('a', 'b')", "STRING", "b"),
    "LIST": ("[1, NULL]", "STRING", "[1,null]"),
    "ARRAY": ("[1, 2]::INTEGER[2]", "STRING", "[1,2]"),
    "STRUCT": ("{'a': 1, 'b': 'x'}", "STRING", '{"a":1,"b":"x"}'),
    "MAP": ("MAP {'k': 1}", "STRING", '{"k":1}'),
    "BIGNUM": (f"'{3**90}'::BIGNUM", "STRING", str(3**90)),
    "VARIANT": ("{'a': 1.50, 'b': 'x'}::VARIANT", "STRING", '{"a":1.50,"b":"x"}'),
    "GEOMETRY": ("'POINT (1 2)'::GEOMETRY", "STRING", "POINT (1 2)"),
}  # fmt: skip


def by_duckdb(folder: Path, query: str, options: str = "FORMAT parquet") -> bytes:
    path = folder / "written.parquet"
    READER.execute(f"COPY ({query}) TO '{path}' ({options})")
    return path.read_bytes()


@pytest.mark.parametrize("name", DUCK)
def test_every_type_of_duckdb(tmp_path: Path, name: str) -> None:
    sql, type, stored = DUCK[name]
    data = by_duckdb(tmp_path, f"SELECT unnest([{sql}, NULL]) AS v, 1 AS k")
    found = staged(tmp_path, data)
    assert (str(found.report.columns[0].type), found.rows) == (type, [(stored, 1), (None, 1)])


DUCK_FORMS = [
    *(f"COMPRESSION {codec}, PARQUET_VERSION {v}" for codec in (
        "uncompressed", "snappy", "gzip", "zstd", "brotli", "lz4", "lz4_raw") for v in ("V1", "V2")),
    "ROW_GROUP_SIZE 2048",
    "PARQUET_VERSION V2, DICTIONARY_SIZE_LIMIT 1",
    "STRING_DICTIONARY_PAGE_SIZE_LIMIT 4096",
    "WRITE_BLOOM_FILTER true",
]  # fmt: skip


@pytest.mark.parametrize("form", DUCK_FORMS)
def test_every_form_of_duckdb(tmp_path: Path, form: str) -> None:
    known = {name: found for name, found in DUCK.items() if name != "ARRAY"}  # its CASE knows none
    columns = [f"CASE WHEN n % 3 > 0 THEN {sql} END AS c{n}" for n, (sql, *_) in enumerate(known.values())]
    query = f"SELECT n, 'text ' || n % 50 AS t, {', '.join(columns)} FROM range(5000) r(n)"
    found = staged(tmp_path, by_duckdb(tmp_path, query, f"FORMAT parquet, {form}"))
    row, nothing = tuple(stored for *_, stored in known.values()), (None,) * len(known)
    assert found.rows == [(n, f"text {n % 50}", *(row if n % 3 else nothing)) for n in range(5000)]
    TALLY[BY_DUCKDB] = TALLY.get(BY_DUCKDB, 0) + len(known) + 2


def test_a_writer_whose_name_is_no_text_is_not_taken_for_encryption(tmp_path: Path) -> None:
    data = parquet({"a": [1, 2]}, store_schema=False)
    data = data.replace(b"parquet-cpp-arrow", b"\xff\xferquet-cpp-arrow")
    (tmp_path / "file").write_bytes(data)
    assert parquet_columns(tmp_path / "file") == ["a"]
    assert staged(tmp_path, data).rows == [(1,), (2,)]


def test_a_column_is_not_its_namesake_within_another(tmp_path: Path) -> None:
    """Only what is declared to be empty at the top is empty."""
    inner = pa.array([{"x": None}, {"x": None}], pa.struct([("x", pa.null())]))
    lists = pa.array([[None], []], pa.list_(pa.null()))
    table = pa.table({"x": [1, 2], "s": inner, "element": ["a", "b"], "l": lists, "none": pa.nulls(2)})
    staged = stage(tmp_path, FileType.PARQUET, parquet(table))
    stored = {"x": "INTEGER", "s": "STRING", "element": "STRING", "l": "STRING"}
    assert {name: type for name, type in staged.types.items() if name != "none"} == stored
    assert [row[:1] + row[2:3] for row in staged.rows] == [(1, "a"), (2, "b")]
