"""What a command shows: a table for people, JSON or CSV for programs.

Values come from whoever pushed them. In a table a control character is shown and not sent: it could take
the terminal over.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


Output = Annotated[Format, typer.Option("--output", "-o", help="how the answer is shown")]

Row = Mapping[str, Any]


def show(rows: Iterable[Row], columns: Sequence[str], format: Format) -> None:
    """Rows, of which a table and a CSV have these columns; JSON has all that there is."""
    if format is Format.JSON:
        _json(list(rows))
    else:
        show_cells(([row.get(name) for name in columns] for row in rows), columns, format)


def show_cells(rows: Iterable[Sequence[Any]], columns: Sequence[str], format: Format) -> None:
    """Rows by their order; two columns may be called alike."""
    if format is Format.JSON:
        _json([dict(zip(columns, row, strict=True)) for row in rows])
    elif format is Format.CSV:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_written(value) for value in row] for row in rows)
    else:
        _table(rows, columns)


def show_one(record: Row, format: Format) -> None:
    """One thing: its fields below each other, or as the only row."""
    if format is Format.JSON:
        _json(record)
    elif format is Format.CSV:
        show_cells([list(record.values())], list(record), format)
    else:
        fields = [(name, value) for name, value in record.items() if value not in (None, [], {})]
        width = max((len(name) for name, _ in fields), default=0)
        for name, value in fields:
            print(f"{plain(name):{width}}  {plain(_cell(value))}")


def plain(text: str) -> str:
    """Without the power to command a terminal."""
    return "".join(c if c.isprintable() or c == " " else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))


def _written(value: Any) -> Any:
    """A cell of a CSV: NULL is empty, what has parts is JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _table(rows: Iterable[Sequence[Any]], columns: Sequence[str]) -> None:
    if sys.stdout.isatty():
        _table_for_eyes(rows, columns)
        return
    cells = [[plain(_cell(value)) for value in row] for row in [columns, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _table_for_eyes(rows: Iterable[Sequence[Any]], columns: Sequence[str]) -> None:
    from rich.table import Table  # noqa: PLC0415  only for eyes
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(Text(plain(name)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(_cell(value))) for value in row))
    console().print(table)


def console() -> Console:
    from rich.console import Console  # noqa: PLC0415

    return Console(highlight=False)
