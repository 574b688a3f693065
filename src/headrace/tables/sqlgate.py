"""What users' SQL may say: one SELECT over the tables of its pool, by the engine's own parser.

The engine's settings alone do not hold SQL in (an ATTACH of another pool's catalog gets past them), so
everything here is a list of what is allowed; what nobody thought of is refused. The one list of what is not
is taken out of the engine's own built-in functions, and a test pins that list to the engine's version.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from functools import cache
from typing import Any

import duckdb

from headrace.conversion import literal
from headrace.errors import QueryRefused
from headrace.model import TableRef, fold

MAX_SQL_BYTES = 20_000
"""Longer texts are refused: the parser's time and memory grow with them."""

Names = frozenset[tuple[str, str]]
"""Folded (schema, name) pairs; the schema of a bare name is ''."""

_FIRST_WORD = re.compile(
    r"(?:[\s(]|--[^\n]*\n|/\*.*?\*/)*(?:select|with|from|values|table)\b", re.IGNORECASE | re.DOTALL
)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can bring one; the engine takes only UTF-8
_CTE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SYSTEM_PREFIXES = ("duckdb_", "ducklake", "pg_", "sqlite_", "pragma_", "information_schema", "__")
_SYSTEM_SCHEMAS = frozenset(
    {"headrace", "lake", "memory", "system", "temp", "pg_catalog", "information_schema"}
)

_EXPRESSIONS = frozenset(
    {
        *("BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT"),
        *("FUNCTION", "LAMBDA", "LAMBDA_REF", "OPERATOR", "POSITIONAL_REFERENCE", "STAR", "SUBQUERY"),
        *("TYPE", "WINDOW"),
    }
)
_NODES = frozenset(
    {
        *("SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"),
        *("BASE_TABLE", "EMPTY", "EXPRESSION_LIST", "JOIN", "SUBQUERY", "TABLE_FUNCTION"),
        *("ORDER_DEFAULT", "ASCENDING", "DESCENDING"),
    }
)
_NODE_ENDINGS = ("_MODIFIER", "_TYPE_INFO")
_TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "json_each", "json_tree", "repeat_row"})
_SYNTAX_FUNCTIONS = frozenset({"unnest", "unlist"})  # not in the engine's list of functions

_VIRTUAL_COLUMNS = frozenset({"filename", "rowid", "file_row_number", "file_index", "snapshot_id"})

_DENIED_PREFIXES = ("__", "pg_", "has_", "inet_", "json_serialize", "json_deserialize", "st_", "txid_")
_OUTWARD = """
    current_setting getvariable nextval currval setseed write_log parse_duckdb_log_message sleep_ms
    current_query current_query_id current_connection_id current_transaction_id current_database
    current_catalog current_schema current_schemas in_search_path col_description obj_description
    shobj_description get_block_size format_type format_pg_type map_to_pg_oid
"""
"""Functions that look at or change settings, the session, the catalog or the log."""

_INNER = """
    combine finalize stats vector_type create_sort_key constant_or_null remap_struct cast_to_type make_type
    get_type replace_type can_cast_implicitly is_histogram_other_bin variant_bytes_to_variant
    variant_normalize variant_to_parquet_variant
"""
"""Insides of the engine, not meant to meet made-up values."""

_DENIED = frozenset((_OUTWARD + _INNER).split())


def check(sql: str, tables: Collection[TableRef]) -> None:
    """Let one SELECT over these tables pass. Raises QueryRefused for everything else."""
    if len(sql.encode(errors="replace")) > MAX_SQL_BYTES:
        raise QueryRefused(f"The SQL is longer than {MAX_SQL_BYTES} bytes.")
    if not sql.isascii() and _LONE_SURROGATE.search(sql):
        raise QueryRefused("The SQL is not valid Unicode.")
    if not _FIRST_WORD.match(sql):
        raise QueryRefused  # other statements may touch files as soon as they are parsed
    known = _names(tables)
    pending = [(_parsed(sql), known)]
    while pending:
        node, scope = pending.pop()
        if isinstance(node, dict):
            _check_node(node, scope)
            pending.extend(_children(node, scope))
        elif isinstance(node, list):
            pending.extend((child, scope) for child in node)


def _names(tables: Collection[TableRef]) -> Names:
    """How SQL may spell the tables: a global one bare or in 'main', others with their connection."""
    names = set()
    for table in tables:
        if table.connection_id is None:
            names |= {("", fold(table.name)), ("main", fold(table.name))}
        elif fold(table.connection_id) not in _SYSTEM_SCHEMAS:
            names.add((fold(table.connection_id), fold(table.name)))
    return frozenset(names)


# -- parsing -------------------------------------------------------------------------------------------


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    """An engine that has nothing and may do nothing."""
    engine = duckdb.connect(
        config={
            "threads": "1",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",
        }
    )
    engine.execute("SET enable_external_access = false; SET lock_configuration = true")
    return engine


def _parsed(sql: str) -> Any:
    try:
        # a literal: for a parameter the engine's client imports whatever array library it finds
        [(text,)] = _parser().execute(f"SELECT json_serialize_sql({literal(sql)})").fetchall()
        tree = json.loads(text)
    except RecursionError as error:
        raise QueryRefused("The SQL is nested too deeply.") from error
    except duckdb.Error as error:
        raise QueryRefused("The SQL cannot be read.") from error
    if tree["error"] and tree["error_type"] == "parser":
        raise QueryRefused(f"The SQL cannot be read: {tree['error_message']}.")
    if tree["error"] or len(tree["statements"]) != 1:
        raise QueryRefused
    return tree["statements"][0]


@cache
def functions() -> frozenset[str]:
    """The functions that may be called: what the bare engine brings, less what looks outside the query."""
    rows = (
        _parser()
        .execute(
            "SELECT DISTINCT function_name FROM duckdb_functions() "
            "WHERE function_type IN ('scalar', 'aggregate', 'macro')"
        )
        .fetchall()
    )
    built_in = {name.lower() for (name,) in rows if not name.startswith(_DENIED_PREFIXES)}
    return frozenset(built_in - _DENIED | _SYNTAX_FUNCTIONS)


# -- one node of the tree ------------------------------------------------------------------------------


def _children(node: dict[str, Any], scope: Names) -> Iterator[tuple[Any, Names]]:
    """The parts of a node with the names that each may use: a CTE those before it, all else every CTE."""
    for cte in node.get("cte_map", {}).get("map", ()):
        name = _cte_name(cte["key"])
        recursive = cte["value"]["query"]["node"]["type"] == "RECURSIVE_CTE_NODE"
        yield cte["value"], scope | {name} if recursive else scope
        scope = scope | {name}
    for key, child in node.items():
        if key == "function" and node["type"] == "TABLE_FUNCTION":
            yield child["children"], scope  # its name was checked against another list
        elif key != "cte_map":
            yield child, scope


def _cte_name(name: str) -> tuple[str, str]:
    """Plain names only: one that looks like a file or a system table could come to mean that elsewhere."""
    if not _CTE_NAME.fullmatch(name) or fold(name).startswith(_SYSTEM_PREFIXES):
        raise QueryRefused(f"A WITH query may not be called '{name}': use letters, digits and '_'.")
    return "", fold(name)


def _check_node(node: dict[str, Any], scope: Names) -> None:
    kind = node.get("type")
    if "class" in node:
        _check_expression(node)
    elif isinstance(kind, str):
        if kind not in _NODES and not kind.endswith(_NODE_ENDINGS):
            raise QueryRefused(f"{_spoken(kind)} is not allowed here.")
        _check_source(node, kind, scope)


def _spoken(kind: str) -> str:
    return "DESCRIBE, SHOW or SUMMARIZE" if kind == "SHOW_REF" else kind.replace("_", " ")


def _check_expression(node: dict[str, Any]) -> None:
    kind = node["class"]
    if kind not in _EXPRESSIONS:
        raise QueryRefused(f"{_spoken(kind)} is not allowed here.")
    if kind == "COLUMN_REF":
        _check_columns(node["column_names"])
    if kind in ("FUNCTION", "WINDOW"):
        # in 'a.lower()' the column stands where a schema would
        _check_columns([node.get("catalog", ""), node.get("schema", "")])
        _check_function(node["function_name"], functions())


def _check_source(node: dict[str, Any], kind: str, scope: Names) -> None:
    if kind == "BASE_TABLE":
        _check_table(node, scope)
    elif kind == "TABLE_FUNCTION":
        _check_function(node["function"]["function_name"], _TABLE_FUNCTIONS)
    elif kind == "JOIN":
        _check_columns(node.get("using_columns", ()))


def _check_table(node: dict[str, Any], scope: Names) -> None:
    catalog, schema, name = (node.get(k, "") for k in ("catalog_name", "schema_name", "table_name"))
    if catalog or (fold(schema), fold(name)) not in scope:
        spoken = ".".join(f'"{part}"' for part in (catalog, schema, name) if part)
        raise QueryRefused(f"There is no table {spoken} in this pool.")


def _check_function(name: str, allowed: Collection[str]) -> None:
    if name.lower() not in allowed:
        raise QueryRefused(f"The function {name}() is not allowed here.")


def _check_columns(names: Collection[str]) -> None:
    if hidden := {fold(name) for name in names} & _VIRTUAL_COLUMNS:
        raise QueryRefused(
            f"The column '{min(hidden)}' is not allowed by name: the engine has one of its own under it."
        )
