"""One table of settings, read once at the start. Nothing else reads the environment.

Every row has a name, a default and a sentence; ``docs/settings.md`` repeats them and a test compares.
The environment's name of a setting is ``HEADRACE_`` and its name in capitals.
"""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from headrace.objects import Access

OF_CLIENTS = frozenset({"HEADRACE_URL", "HEADRACE_KEY", "HEADRACE_PROFILE"})
"""Variables that are no settings: they tell the commands of a client which server is meant."""


class StringProfile(StrEnum):
    OPEN = "open"
    CELONIS = "celonis"


class CatalogPlace(StrEnum):
    FILES = "files"
    DATABASE = "database"


class ExecuteLimits(StrEnum):
    OPEN = "open"
    CELONIS = "celonis"


class Engine(StrEnum):
    LAKE = "lake"
    SPARK = "spark"


class LogFormat(StrEnum):
    JSON = "json"
    TEXT = "text"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="HEADRACE_",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,  # a URL may hold a password
    )

    data_dir: Path = Field(Path("headrace-data"), description="folder that holds everything the server keeps")
    database_url: SecretStr = Field(
        SecretStr(""),
        description="PostgreSQL for metadata and catalogs, postgresql://…; default: SQLite in the folder",
    )
    storage_url: str = Field(
        "",
        description="store of chunks, uploads, rejects, and of tables whose catalogs are in the database, "
        "s3://bucket/prefix; default: the folder",
    )
    storage_endpoint: str = Field("", description="where the store is, https://…; default: that of AWS")
    storage_region: str = Field("us-east-1", description="region of the store")
    storage_key: str = Field(
        default_factory=lambda: os.environ.get("AWS_ACCESS_KEY_ID", ""),
        description="id of the access key to the store; default: AWS_ACCESS_KEY_ID, or, where no table is in "
        "the store, the machine's role",
    )
    storage_secret: SecretStr = Field(
        default_factory=lambda: SecretStr(os.environ.get("AWS_SECRET_ACCESS_KEY", "")),
        description="secret that belongs to storage_key; default: AWS_SECRET_ACCESS_KEY",
    )
    catalogs: CatalogPlace | None = Field(
        None,
        description="catalogs of pools: 'files' of SQLite beside their data, or in the 'database' of "
        "database_url; default: where the metadata are",
    )
    worker: bool = Field(
        True,
        description="stage and load in the server; false: 'headrace worker' does, for a database_url",
    )
    engine: Engine = Field(
        Engine.LAKE,
        description="where tables live: 'lake' on this machine, 'spark' in Iceberg, loaded by Apache Spark",
    )
    spark_url: str = Field(
        "local[*]", description="the Spark cluster of engine spark: spark://host:7077, yarn, local[2], …"
    )
    spark_config: Path | None = Field(
        None, description="file of further Spark settings, the Iceberg catalog's among them"
    )
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
    max_unpacked_bytes: int = Field(
        2**32, gt=0, description="largest chunk taken that comes packed, in unpacked bytes"
    )
    max_job_bytes: int = Field(0, ge=0, description="most bytes of all chunks of one job; 0: no limit")
    max_pool_bytes: int = Field(
        0,
        ge=0,
        description="most bytes of a pool on disk, waiting chunks and old versions included; 0: no limit",
    )
    max_json_bytes: int = Field(2**20, gt=0, description="largest JSON request taken, in bytes")
    max_json_depth: int = Field(64, gt=0, description="deepest nesting of a JSON request")
    max_header_bytes: int = Field(
        2**16, ge=2**10, description="most bytes of a request's line and headers together"
    )
    max_headers: int = Field(100, ge=10, description="most headers of a request")
    max_connections: int = Field(1000, gt=0, description="connections that are open at the same time")
    max_uploads: int = Field(256, gt=0, description="chunks that are received at the same time")
    max_unfinished_uploads: int = Field(
        1000, gt=0, description="resumable uploads of a pool that are not finished at the same time"
    )
    upload_hours: float = Field(
        24.0, gt=0, description="how long a resumable upload waits for its next part, in hours"
    )
    max_queued_jobs: int = Field(10_000, gt=0, description="executed jobs that wait at the same time")
    execute_limits: ExecuteLimits = Field(
        ExecuteLimits.OPEN,
        description="executes: 'open' as many as one likes, 'celonis' 10 a second and 250 in a full UTC hour",
    )
    min_bytes_per_second: int = Field(
        1000, gt=0, description="a client that sends its request more slowly is cut off"
    )
    slow_seconds: int = Field(30, gt=0, description="for so long a client may be that slow")
    keep_alive_seconds: int = Field(20, gt=0, description="how long a connection may rest between requests")
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
    sql_warm_processes: int = Field(
        4, ge=0, description="idle query processes that are kept for the pools queried last"
    )
    keep_versions_days: float = Field(
        7.0, ge=0, description="how long a version of a table stays readable once it is replaced"
    )
    keep_failed_hours: float = Field(
        24.0, ge=0, description="how long a failed job keeps its chunks, to be run again; 0: not at all"
    )
    upkeep_loads: int = Field(25, ge=1, description="loads of a table between two rounds of its upkeep")
    upkeep_share: float = Field(
        0.1, gt=0, le=1, description="of its time the server spends at most so much on upkeep"
    )
    token_hours: float = Field(
        168.0, gt=0, le=768, description="how long a token of an OAuth client is good, in hours"
    )
    token_key_days: float = Field(
        90.0, gt=0, description="a key that signs tokens is replaced by a new one after so many days"
    )
    session_hours: float = Field(
        12.0, gt=0, le=768, description="how long a sign-in to the console is good, in hours"
    )
    keep_jobs_days: float = Field(
        365.0, ge=0, description="how long a job that has ended stays in the ledger; 0: for ever"
    )
    keep_rejects_days: float = Field(
        90.0,
        ge=0,
        description="how long rows that could not be stored stay readable; 0: as long as their job",
    )
    keep_new_jobs_days: float = Field(
        30.0, ge=0, description="how long a job to which nobody has pushed anything stays; 0: for ever"
    )
    audit_days: float = Field(365.0, gt=0, description="how long an entry of the audit is kept")
    log_format: LogFormat = Field(
        LogFormat.JSON, description="lines of the log: 'json' for machines, 'text' for people"
    )
    log_level: LogLevel = Field(
        LogLevel.INFO, description="from which level on lines are logged: debug, info, warning or error"
    )
    otlp_endpoint: str = Field(
        default_factory=lambda: os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        description="where traces go, by OTLP over HTTP, with the extra otel; none: there are none",
    )
    metrics_loopback: bool = Field(
        False, description="/metrics answers without a key to whoever asks from the same machine"
    )
    metrics_token_file: Path | None = Field(
        None, description="file with a token that opens /metrics and nothing else, sent as Bearer"
    )
    trusted_proxies: str = Field(
        "", description="addresses or networks of proxies, with commas, whose X-Forwarded-… is believed"
    )
    drain_seconds: float = Field(30.0, ge=0, description="how long SIGTERM waits for work under way")
    test_faults: bool = Field(
        False, description="for tests of clients: faults can be wished for, and the server be reset"
    )
    crash_at: str = Field(
        "", description="for tests of recovery: the server kills itself, or stops, at this crash point"
    )

    @field_validator("database_url")
    @classmethod
    def _of_postgresql(cls, url: SecretStr) -> SecretStr:
        if url.get_secret_value() and not url.get_secret_value().startswith("postgresql://"):
            raise ValueError("it must begin with postgresql://")
        return url

    @field_validator("storage_url")
    @classmethod
    def _of_s3(cls, url: str) -> str:
        if url and not re.fullmatch(r"s3://[^/\s]+(/[^/\s]+)*/?", url):
            raise ValueError("it must be like s3://bucket/prefix")
        return url

    @property
    def storage_access(self) -> Access:
        secret = self.storage_secret.get_secret_value()
        return Access(self.storage_endpoint, self.storage_key, secret, self.storage_region)

    @property
    def shared(self) -> bool:
        """Whether several processes may serve and work on one data folder."""
        return bool(self.database_url.get_secret_value())

    @property
    def catalogs_in_database(self) -> bool:
        return (self.catalogs or CatalogPlace.DATABASE) is CatalogPlace.DATABASE and self.shared

    @property
    def database(self) -> Path | str:
        """Where the metadata are: a file of SQLite, or a URL, which may hold a password."""
        return self.database_url.get_secret_value() or self.data_dir.resolve() / "metadata.sqlite"


def keep_from_children() -> None:
    """Take secrets out of the environment, once the settings are read: children run what users send."""
    for name in ("HEADRACE_DATABASE_URL", "HEADRACE_STORAGE_SECRET", "AWS_SECRET_ACCESS_KEY"):
        os.environ.pop(name, None)


def named_in_vain() -> list[str]:
    """Variables of the environment that look like settings and are none: a name that was mistyped, say."""
    known = {f"HEADRACE_{name.upper()}" for name in Settings.model_fields} | OF_CLIENTS
    return sorted(name for name in os.environ if name.startswith("HEADRACE_") and name not in known)
