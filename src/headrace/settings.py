"""One table of settings, read once at the start. Nothing else reads the environment.

Every row has a name, a default and a sentence; ``docs/settings.md`` repeats them and a test compares.
The environment's name of a setting is ``HEADRACE_`` and its name in capitals.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class StringProfile(StrEnum):
    OPEN = "open"
    CELONIS = "celonis"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="HEADRACE_", frozen=True, extra="forbid")

    data_dir: Path = Field(Path("headrace-data"), description="folder that holds everything the server keeps")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    tls: bool = Field(False, description="serve HTTPS, with a self-signed certificate unless one is given")
    tls_cert: Path | None = Field(None, description="PEM file with the certificate chain")
    tls_key: Path | None = Field(None, description="PEM file with the certificate's private key")
    string_profile: StringProfile = Field(
        StringProfile.OPEN,
        description="strings without a declared length: 'open' keeps them, 'celonis' cuts at 80 characters",
    )
    max_chunk_bytes: int = Field(2**30, gt=0, description="largest chunk taken, in bytes")
    max_json_bytes: int = Field(2**20, gt=0, description="largest JSON request taken, in bytes")
    min_free_disk_bytes: int = Field(
        2**29, ge=0, description="below this much free disk no chunk is taken (507), in bytes"
    )
    staging_processes: int = Field(
        default_factory=lambda: max(1, min(8, os.cpu_count() or 1)),
        ge=1,
        description="child processes that turn chunks into typed Parquet; default: one a core, at most 8",
    )
    staging_memory_mb: int = Field(2048, ge=256, description="memory that one staging process may use, in MB")
    staging_seconds: int = Field(3600, gt=0, description="longest time that staging one chunk may take")
    load_workers: int = Field(2, ge=1, description="jobs that are loaded at the same time")
    load_memory_mb: int = Field(1024, ge=256, description="memory for joining and sorting in loads, in MB")
    lease_seconds: int = Field(
        60, gt=0, description="a load without a sign of life for so long is taken over"
    )
    sql_seconds: float = Field(
        30.0, gt=0, description="longest time that a query may take, or a dry run wait for staging"
    )
    sql_rows: int = Field(10_000, gt=0, description="most rows that a query answers")
    sql_memory_mb: int = Field(512, ge=128, description="memory that one query may use, in MB")
    sql_processes: int = Field(2, ge=1, description="queries that run at the same time")
    keep_versions_days: float = Field(7.0, ge=0, description="how long old versions of tables stay readable")
    upkeep_loads: int = Field(25, ge=1, description="loads of a table between two rounds of its upkeep")
    drain_seconds: float = Field(30.0, ge=0, description="how long SIGTERM waits for work under way")
    crash_at: str = Field(
        "", description="for tests of recovery: the server kills itself at this crash point"
    )
