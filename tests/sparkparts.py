"""Apache Spark for tests: a small one, started only where a test asks for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

ENGINE = os.environ.get("HEADRACE_TEST_ENGINE", "lake")
"""The engine that the suites of the port are run over."""

# a thread that ends leaves its connection to the JVM to the collector of garbage
SPARKS_OWN = (
    [pytest.mark.filterwarnings("ignore:.*socket.socket:pytest.PytestUnraisableExceptionWarning")]
    if ENGINE == "spark"
    else []
)

SMALL = {
    "spark.sql.shuffle.partitions": "2",
    "spark.default.parallelism": "2",
    "spark.driver.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:MaxMetaspaceSize=400m",
}
"""Hundreds of tiny loads: what a large cluster gains by many tasks is lost here."""


def of_engine(folder: Path) -> dict[str, Any]:
    """The settings of a server that runs over ``ENGINE``."""
    if ENGINE == "lake":
        return {}
    config = folder / "spark.conf"
    config.write_text("".join(f"{name} {value}\n" for name, value in SMALL.items()))
    return {"engine": ENGINE, "spark_url": "local[2]", "spark_config": config, "load_memory_mb": 1024}
