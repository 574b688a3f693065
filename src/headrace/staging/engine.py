"""In the child: its one engine."""

from __future__ import annotations

import duckdb

from headrace.children import address_space, limit_this_process

_USUAL_BYTES = 1 << 30
"""More address space than is left in use by any chunk that is not very wide; most leave 600 MB."""

_engine: duckdb.DuckDBPyConnection | None = None
_memory_mb = 0


def start_child(memory_mb: int) -> None:
    global _memory_mb  # noqa: PLW0603  a fact about the process
    limit_this_process(memory_mb)
    _memory_mb = memory_mb
    _new_engine()


def _new_engine() -> None:
    global _engine  # noqa: PLW0603  one engine a process
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


def worn_out() -> bool:
    """Whether what a chunk has left behind could fail the next one: the child had better end.

    The allocators keep address space that they have freed, and it counts against the limit of the process.
    """
    try:
        held = db().execute("SELECT sum(memory_usage_bytes) FROM duckdb_memory()").fetchall()[0][0]
    except (duckdb.Error, MemoryError):
        return True
    return bool(held > (_memory_mb << 20) // 8 or address_space() > _USUAL_BYTES)


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
