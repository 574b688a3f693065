"""Apache Spark for tests: started only where a test asks for it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil
import pytest

from harness import wait_for
from headrace.locks import LocksOfProcess
from headrace.tables.sandbox import Sandbox
from headrace.tables.spark import SparkTables
from headrace.tables.sparkdriver import java_home

ENGINE = os.environ.get("HEADRACE_TEST_ENGINE", "lake")
"""The engine that the suites of the port are run over."""

# a thread that ends leaves its connection to the JVM to the collector of garbage
SPARKS_OWN = (
    [pytest.mark.filterwarnings("ignore:.*socket.socket:pytest.PytestUnraisableExceptionWarning")]
    if ENGINE == "spark"
    else []
)

ONLY_WITH_SPARK = [
    pytest.mark.skipif(
        "HEADRACE_SPARK" not in os.environ, reason="starts Spark: set HEADRACE_SPARK, or make test-spark"
    ),
    pytest.mark.filterwarnings("ignore:.*socket.socket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.timeout(1500),
]

SMALL = {
    "spark.sql.shuffle.partitions": "2",
    "spark.default.parallelism": "2",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.extraJavaOptions": "-XX:+UseSerialGC -XX:MaxMetaspaceSize=400m",
}
"""Hundreds of tiny loads: what a large cluster gains by many tasks is lost here."""


def of_engine(folder: Path) -> dict[str, Any]:
    """The settings of a server that runs over ``ENGINE``."""
    if ENGINE == "lake":
        return {}
    config = folder / "spark.conf"
    config.write_text("".join(f"{name} {value}\n" for name, value in SMALL.items()))
    return {"engine": ENGINE, "spark_url": "local[2]", "spark_config": config, "load_memory_mb": 1024}


@contextmanager
def spark_tables(
    folder: Path,
    url: str = "local[2]",
    *,
    keep_days: float = 7.0,
    loads: int = 25,
    config: Mapping[str, str] = MappingProxyType({}),
    **more: str,
) -> Iterator[SparkTables]:
    """``config`` are settings of Spark; so are ``more``, with ``__`` for a dot."""
    sandbox = Sandbox(processes=1, memory_mb=1024, temp=folder)
    config = {**SMALL, **config, **{name.replace("__", "."): value for name, value in more.items()}}
    tables = SparkTables(
        folder / "pools",
        url=url,
        config=config,
        memory_mb=1024,
        locks=LocksOfProcess(),
        sandbox=sandbox,
        keep_versions_days=keep_days,
        upkeep_loads=loads,
    )
    try:
        yield tables
    finally:
        tables.close()
        sandbox.close()


@dataclass
class Cluster:
    """A master and workers, each a process of its own, with the executors that they start."""

    url: str
    master: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]

    def executors(self, worker: int) -> list[psutil.Process]:
        try:
            children = psutil.Process(self.workers[worker].pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [child for child in children if _is_executor(child)]

    def processes(self) -> list[psutil.Process]:
        alive = [p for p in (self.master, *self.workers) if p.poll() is None]
        found = [psutil.Process(p.pid) for p in alive]
        return [*found, *(child for p in found for child in p.children(recursive=True))]


def _is_executor(process: psutil.Process) -> bool:
    try:
        return "CoarseGrainedExecutorBackend" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # it has ended; what started the worker is a zombie among its children
        return False


@contextmanager
def cluster(folder: Path, *, workers: int = 2, memory: str = "1g") -> Iterator[Cluster]:
    with ExitStack() as stack:

        def start(role: str, *options: str) -> tuple[subprocess.Popen[bytes], Path]:
            log = folder / f"{role}-{len(list(folder.glob('*.log')))}.log"
            command = [_spark_class(), f"org.apache.spark.deploy.{role.lower()}.{role}", *options]
            env = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m"}
            env["SPARK_WORKER_DIR"] = str(folder / "work")
            if home := java_home():
                env["JAVA_HOME"] = home
            with log.open("wb") as out:
                process = subprocess.Popen(command, stdout=out, stderr=out, env=env)
            stack.callback(_end, process)
            return process, log

        master, log = start("Master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0")
        url = wait_for(lambda: _url(log), timeout=120, what="Spark's master")
        sizes = ("--host", "127.0.0.1", "--cores", "1", "--memory", memory, "--webui-port", "0")
        started = [start("Worker", *sizes, url) for _ in range(workers)]
        for _, log in started:
            wait_for(lambda log=log: "Successfully registered" in log.read_text(), timeout=120)  # type: ignore[misc]
        yield Cluster(url, master, [process for process, _ in started])


def _spark_class() -> str:
    found = importlib.util.find_spec("pyspark")
    assert found and found.origin
    return str(Path(found.origin).parent / "bin" / "spark-class")


def _url(log: Path) -> str | None:
    lines: Sequence[str] = log.read_text().splitlines()
    found = [
        line.split("Starting Spark master at ")[1] for line in lines if "Starting Spark master at" in line
    ]
    return found[0].strip() if found else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """With what it has started."""
    if process.poll() is None:
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for child in children:
            if child.is_running():
                child.kill()
    process.wait()
