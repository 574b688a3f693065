"""What one step costs. What can be measured here is (``measure.py``); the rest is assumed, with the reason.

Seconds are CPU seconds of one core as this project's machines have them; bytes of a table are those of its
Parquet files. Prices are list prices of a large cloud, rounded, to be replaced by one's own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).parent / "measured.json"


def measured(meaning: str) -> Any:
    """A figure that ``measured.json`` has, for it is a run's."""
    return field(metadata={"meaning": meaning, "source": "measured"})


def assumed(value: float, meaning: str, reason: str) -> Any:
    return field(default=value, metadata={"meaning": meaning, "source": reason})


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Of the steps on a chunk's way, in the order of ARCHITECTURE.md."""

    request: float = measured("server: a small request (status of a job), s")
    create: float = measured("server: create a job, s")
    receive: float = measured("server: take in one chunk, whatever its size, s")
    receive_gb: float = measured("server: take in, hash and keep a GB, s")
    stage: float = measured("worker: stage one chunk, whatever its size, s")
    stage_million: float = measured("worker: stage a million rows of CSV, s")
    load: float = measured("worker: claim, commit and finish a job without keys, s")
    delta_million: float = measured("worker: load a million rows by key, s")
    scan_million: float = measured("worker: look a delta's keys up in a million rows of its table, s")

    upkeep: float = assumed(0.02, "worker: upkeep, a push, s", "evidence: 8 to 20 ms a push")
    statements: float = assumed(60, "database: statements of a job's life", "a job of one chunk, counted")
    statement: float = assumed(0.00015, "database: one statement by key, s", "a common figure of PostgreSQL")
    catalog: float = assumed(0.008, "database: the lake's commit, s", "the embedded catalog needs 8 ms")
    part_bytes: float = assumed(8e6, "S3: bytes of one part of an upload", "a little above the floor of 5 MB")
    file_bytes: float = assumed(256e6, "S3: bytes of a table's file", "upkeep makes files of this size")
    gets_file: float = assumed(4, "S3: GETs to look keys up in a file", "its footer and its keys")
    row_csv: float = assumed(95, "bytes of a row as CSV", "the files of make bench: 952 MB for 10 M rows")
    row_parquet: float = assumed(20, "bytes of a row in a table", "evidence: 98 MB for 5 M rows of 7 columns")

    @classmethod
    def read(cls, path: Path = MEASURED) -> Costs:
        return cls(**json.loads(path.read_text())["seconds"])

    def scan_gets(self, rows: float) -> float:
        """GETs that look keys up in so many rows of a table."""
        files = max(1.0, rows * self.row_parquet / self.file_bytes)
        return files * self.gets_file

    def parts(self, size: float) -> int:
        """PUTs of a chunk of so many bytes: its parts, and begin and end of an upload of several."""
        parts = -(-size // self.part_bytes)
        return int(parts) + 2 if parts > 1 else 1


@dataclass(frozen=True, kw_only=True)
class Prices:
    """In dollars."""

    core_hour: float = 0.04
    database_core_hour: float = 0.09
    put: float = 0.005 / 1000
    get: float = 0.0004 / 1000
    gb_month: float = 0.023


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Where parts outside of our hands end: requests a second of one prefix of a bucket."""

    put: float = 3500
    get: float = 5500


def told(costs: Costs) -> list[tuple[str, float, str]]:
    """Each figure with its meaning and its source, for the page."""
    return [(f.metadata["meaning"], getattr(costs, f.name), f.metadata["source"]) for f in fields(costs)]
