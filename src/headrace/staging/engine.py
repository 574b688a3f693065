"""In the child: its one engine."""

from __future__ import annotations

import duckdb

from headrace.children import limit_this_process

_engine: duckdb.DuckDBPyConnection | None = None
_memory_mb = 0


def start_child(memory_mb: int) -> None:
    global _memory_mb  # noqa: PLW0603  a fact about the process
    limit_this_process(memory_mb)
    _memory_mb = memory_mb
    _new_engine()


def _new_engine() -> None:
    global _engine  # noqa: PLW0603  one engine a process
    if _engine:
        _engine.close()
    _engine = duckdb.connect(
        config={
            "threads": "1",  # in the order of the file for nothing, and 10 % less CPU than two
            "memory_limit": f"{_memory_mb}MB",
            "enable_external_file_cache": "false",  # every file is read once
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
    )
    _engine.execute("SET TimeZone='UTC'")


def renew_if_bloated() -> None:
    """What a hostile chunk made the engine keep must not fail the next one."""
    held = db().execute("SELECT sum(memory_usage_bytes) FROM duckdb_memory()").fetchall()[0][0]
    if held > (_memory_mb << 20) // 8:
        _new_engine()


def db() -> duckdb.DuckDBPyConnection:
    if _engine is None:
        raise RuntimeError("not a staging process")
    return _engine


def described(relation: str) -> list[tuple[str, str]]:
    rows = db().execute(f"DESCRIBE FROM {relation}").fetchall()
    return [(name, type) for name, type, *_ in rows]


def first_line(error: Exception) -> str:
    """The engine's message without its advice and without our paths."""
    text = str(error).strip().splitlines()[0]
    return " ".join(word for word in text.split() if "/" not in word)
