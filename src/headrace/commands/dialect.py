"""How a CSV is written and what its columns are: options of ``push`` and of what sends again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from headrace.commands.ending import Code, Stop

_TYPES = ("STRING", "INTEGER", "FLOAT", "BOOLEAN", "DATE", "TIME", "DATETIME")

Separator = Annotated[
    str | None, typer.Option(help="what stands between fields; '\\t' is a tab; default: ','")
]
Quote = Annotated[str | None, typer.Option(help="what stands around fields; default: '\"'")]
Charset = Annotated[str | None, typer.Option(help="for instance windows-1252; default: UTF-8")]
Decimal = Annotated[str | None, typer.Option(help="decimal separator; default: '.'")]
Thousands = Annotated[str | None, typer.Option(help="separator of thousands; default: none")]
DateFormat = Annotated[str | None, typer.Option(help="Java pattern such as dd.MM.yyyy; default: ISO 8601")]
ColumnTypes = Annotated[
    list[str] | None,
    typer.Option(
        "--type",
        help="COLUMN=TYPE, with " + ", ".join(_TYPES) + "; may be given several times",
        metavar="COLUMN=TYPE",
    ),
]
AllowRejects = Annotated[
    int | None, typer.Option(min=0, help="so many rows may be rejected; default: none, and the job fails")
]


def csv_options(**said: str | None) -> dict[str, str] | None:
    """The options as fields of the API; None if nothing was said."""
    names = {
        "separator": "separatorSequence",
        "quote": "quoteSequence",
        "charset": "charSet",
        "decimal": "decimalSeparator",
        "thousands": "thousandSeparator",
        "date_format": "dateFormat",
    }
    fields = {names[name]: value for name, value in said.items() if value is not None}
    if fields.get("separatorSequence") == "\\t":  # a shell makes it hard to type one
        fields["separatorSequence"] = "\t"
    return fields or None


def schema(types: Sequence[str] | None, table: str) -> dict[str, Any] | None:
    """The declared columns as a tableSchema; None if there are none. Raises Stop."""
    if not types:
        return None
    return {"tableName": table, "columns": [_column(said) for said in types]}


def corrected(declared: dict[str, Any] | None, types: Sequence[str]) -> dict[str, Any]:
    """The tableSchema of a job with these types in it; its other columns stay as they were. Raises Stop."""
    columns = {column["columnName"].casefold(): column for column in (declared or {}).get("columns") or ()}
    for column in map(_column, types):
        known = columns.get(column["columnName"].casefold(), {})
        columns[column["columnName"].casefold()] = {**known, **column}
    return {**(declared or {}), "columns": list(columns.values())}


def _column(said: str) -> dict[str, str]:
    name, _, kind = said.rpartition("=")
    if not name or kind.upper() not in _TYPES:
        raise Stop(f"--type is COLUMN=TYPE with one of {', '.join(_TYPES)}, not '{said}'.", code=Code.USAGE)
    return {"columnName": name, "columnType": kind.upper()}


def given(**fields: Any) -> dict[str, Any]:
    """The fields that were said."""
    return {name: value for name, value in fields.items() if value is not None}
