"""The benchmark's data: an event log of 9 columns, in CSV chunks, with a key of two columns.

Keys come in no order; a quarter of the activities is quoted; some stamps have no milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

COLUMNS = {
    "case_id": ("STRING", "VARCHAR"),
    "event_no": ("INTEGER", "BIGINT"),
    "activity": ("STRING", "VARCHAR"),
    "ts": ("DATETIME", "TIMESTAMP"),
    "resource": ("STRING", "VARCHAR"),
    "cost": ("FLOAT", "DECIMAL(18,2)"),
    "quantity": ("INTEGER", "BIGINT"),
    "flag": ("BOOLEAN", "BOOLEAN"),
    "d": ("DATE", "DATE"),
}
"""Column name to the type on the wire and the engine's."""

KEYS = ("case_id", "event_no")

TABLE_SCHEMA = {
    "columns": [
        {"columnName": name, "columnType": wire, "decimals": 2 if wire == "FLOAT" else 0}
        for name, (wire, _) in COLUMNS.items()
    ]
}


@dataclass(frozen=True)
class Files:
    chunks: list[Path]
    delta: Path
    large: Path
    frame: Path
    """The rows of the chunks as one Parquet file."""


def make(folder: Path, *, rows: int, delta_rows: int, large_bytes: int) -> Files:
    """Four chunks of ``rows`` in all, a delta (half updates, half new), one file of about ``large_bytes``."""
    folder.mkdir(parents=True, exist_ok=True)
    db = duckdb.connect()
    chunks = [folder / f"chunk{n}.csv" for n in range(4)]
    part = rows // 4
    for n, chunk in enumerate(chunks):
        _copy(db, _events(n * part, (n + 1) * part, seed=0), chunk)
    delta = folder / "delta.csv"
    half = delta_rows // 2
    updates = _events(0, half, seed=77, step=rows // half)
    inserts = _events(40_000_000, 40_000_000 + half, seed=77)
    _copy(db, f"SELECT * FROM ({updates} UNION ALL {inserts}) ORDER BY hash(case_id, event_no)", delta)
    frame = folder / "frame.parquet"
    db.execute(f"COPY ({_events(0, rows, seed=0)}) TO '{frame}' (FORMAT parquet)")
    return Files(chunks, delta, _repeated(chunks, folder / "large.csv", large_bytes), frame)


def copy_events(db: duckdb.DuckDBPyConnection, numbers: str, path: Path, *, seed: int) -> None:
    """The events of these numbers, a query with one column ``i``, as one chunk: CSV, or Parquet by name."""
    kind = "parquet" if path.suffix == ".parquet" else "csv"
    db.execute(f"COPY ({_events_of(numbers, seed=seed)}) TO '{path}' (FORMAT {kind})")


def read_csv(path: Path) -> str:
    """The plain engine's reading of a chunk, all columns typed."""
    types = ", ".join(f"'{name}': '{engine}'" for name, (_, engine) in COLUMNS.items())
    return f"read_csv('{path}', header=true, auto_detect=false, delim=',', quote='\"', columns={{{types}}})"


def _copy(db: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    db.execute(f"COPY ({query}) TO '{path}' (FORMAT csv, HEADER true)")


def _events(start: int, end: int, *, seed: int, step: int = 1) -> str:
    return _events_of(f"SELECT r * {step} AS i FROM range({start}, {end}) t(r)", seed=seed)


def _events_of(numbers: str, *, seed: int) -> str:
    return f"""SELECT 'CASE-' || lpad((((i * 7919) % 100000007) // 8)::VARCHAR, 9, '0') AS case_id,
        ((i * 7919) % 8)::BIGINT AS event_no,
        ['Create Order', 'Approve Order', 'Send Invoice', 'Receive Goods', 'Pay Invoice',
         'Change Price, manual', 'Cancel "Order"', 'Block Payment'
         ][1 + (hash(i, {seed}) % 8)::INT] AS activity,
        TIMESTAMP '2024-01-01' + INTERVAL 1 SECOND * (hash(i, {seed} + 1) % 60000000)::INT
            + INTERVAL 1 MILLISECOND * (hash(i, {seed} + 9) % 1000)::INT AS ts,
        'user_' || (hash(i, {seed} + 2) % 5000)::VARCHAR AS resource,
        ((hash(i, {seed} + 3) % 10000000) / 100.0)::DECIMAL(18, 2) AS cost,
        (hash(i, {seed} + 4) % 1000)::BIGINT AS quantity,
        (hash(i, {seed} + 5) % 2) = 0 AS flag,
        (DATE '2024-01-01' + (hash(i, {seed} + 6) % 700)::INT) AS d
        FROM ({numbers})"""


def _repeated(chunks: list[Path], target: Path, size: int) -> Path:
    """The chunks over and over, the header once, cut at the end of a record."""
    with target.open("wb") as out:
        out.write(chunks[0].open("rb").readline())
        while True:
            for chunk in chunks:
                with chunk.open("rb") as source:
                    source.readline()
                    body = source.read()
                left = size - out.tell()
                if left <= len(body):
                    out.write(body[: body.rfind(b"\n", 0, left) + 1])
                    return target
                out.write(body)
