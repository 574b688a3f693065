"""What stands in the columns of a table: asked by SQL like anybody's, in the same confined children."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from headrace.conversion import literal, quoted
from headrace.model import Column, ColumnKind, Key, Table
from headrace.pools import Pools, of_table

_COLUMNS_A_QUERY = 12
_LONGEST_QUERY = 16_000
"""Bytes, well below what a query may have; a name may have 512 characters and stands there several times."""

MOST_COLUMNS = 240
"""So many columns are counted; a table may have ten thousand."""

_TOP = 5
_LONGEST = 60
_SIDE_BY_SIDE = 100
_COMPARED = frozenset(ColumnKind) - {ColumnKind.BOOLEAN}

_NUMBERS = (ColumnKind.INTEGER, ColumnKind.FLOAT, ColumnKind.DECIMAL)
_MOMENTS = (ColumnKind.DATE, ColumnKind.DATETIME)
_STEPS = 12
_FEWEST_VALUES = 3
"""Of fewer, the most frequent ones say it all."""


@dataclass(frozen=True)
class Common:
    """A value that stands in many rows."""

    value: str
    rows: int


@dataclass(frozen=True)
class ColumnProfile:
    """``distinct`` is about so many; ``longest`` in characters, of text alone.

    ``spread``: how many rows there are in each of a few equal steps from ``low`` to ``high``, of numbers and
    dates; () where that tells nothing.
    """

    column: Column
    rows: int
    nulls: int
    distinct: int
    low: str | None
    high: str | None
    longest: int | None
    top: tuple[Common, ...]
    spread: tuple[int, ...] = ()

    @property
    def null_share(self) -> float:
        return self.nulls / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class FirstRows:
    columns: tuple[tuple[str, str], ...]
    rows: Sequence[Sequence[object]]
    partly: bool = False


@dataclass(frozen=True)
class Profiles:
    pools: Pools

    def of(self, pool_id: str, name: str, connection_id: str | None, by: Key) -> list[ColumnProfile]:
        """Each column of the table. Raises NotFound, QueryTooLong."""
        table = self.pools.find_table(pool_id, name, connection_id)
        return [
            profile
            for some in _parts(table.columns[:MOST_COLUMNS])
            for profile in self._some(pool_id, table, some, by)
        ]

    def first_rows(
        self, pool_id: str, name: str, connection_id: str | None, by: Key, *, limit: int
    ) -> FirstRows:
        table = self.pools.find_table(pool_id, name, connection_id)
        some = _first(table.columns)
        asked = ", ".join(quoted(c.name) for c in some) if len(some) < len(table.columns) else "*"
        answer = self.pools.query(pool_id, by, f"SELECT {asked} FROM {of_table(table.ref)}", limit, None)
        return FirstRows(answer.columns, answer.rows, partly=asked != "*")

    def _some(
        self, pool_id: str, table: Table, columns: Sequence[Column], by: Key
    ) -> Iterator[ColumnProfile]:
        asked = ", ".join(part for column in columns for part in _aggregates(column))
        sql = f"SELECT count(*), {asked} FROM {of_table(table.ref)}"
        rows, *values = self.pools.query(pool_id, by, sql, 1, None).rows[0]
        top = self._top(pool_id, table, columns, by)
        distincts = dict(zip((c.name for c in columns), values[1::5], strict=True))
        telling = [c for c in columns if _number(distincts[c.name]) >= _FEWEST_VALUES]
        spread = self._spread(pool_id, table, telling, by)
        for at, column in enumerate(columns):
            there, distinct, low, high, longest = values[at * 5 : at * 5 + 5]
            yield ColumnProfile(
                column,
                _number(rows),
                _number(rows) - _number(there),
                min(_number(distinct), _number(there)),  # it is an estimate
                _text(low),
                _text(high),
                _number(longest) if longest is not None else None,
                top.get(column.name, ()),
                spread.get(column.name, ()),
            )

    def _top(
        self, pool_id: str, table: Table, columns: Sequence[Column], by: Key
    ) -> dict[str, tuple[Common, ...]]:
        """The values that stand in more than one row, the most frequent first."""
        # by their places: a column of the table may have the name of one of ours
        parts = [
            f"(SELECT {literal(str(at))} AS place, left(CAST({quoted(c.name)} AS VARCHAR), {_LONGEST}) AS v, "
            f"count(*) AS n FROM {of_table(table.ref)} WHERE {quoted(c.name)} IS NOT NULL GROUP BY 2 "
            f"HAVING count(*) > 1 ORDER BY 3 DESC, 2 LIMIT {_TOP})"
            for at, c in enumerate(columns)
        ]
        sql = f"SELECT place, v, n FROM ({' UNION ALL '.join(parts)}) ORDER BY place, n DESC, v"
        found: dict[str, list[Common]] = {}
        for at, value, rows in self.pools.query(pool_id, by, sql, None, None).rows:
            found.setdefault(columns[_number(at)].name, []).append(Common(str(value), _number(rows)))
        return {name: tuple(common) for name, common in found.items()}

    def _spread(
        self, pool_id: str, table: Table, columns: Sequence[Column], by: Key
    ) -> dict[str, tuple[int, ...]]:
        """Rows in equal steps of each column that can be divided into some; one query for all."""
        parts = [
            part
            for at, c in enumerate(columns)
            if (part := _steps(at, quoted(c.name), c.type.kind, of_table(table.ref)))
        ]
        if not parts:
            return {}
        found: dict[str, list[int]] = {}
        for at, step, rows in self.pools.query(pool_id, by, " UNION ALL ".join(parts), None, None).rows:
            found.setdefault(columns[_number(at)].name, [0] * _STEPS)[_number(step)] = _number(rows)
        return {name: tuple(rows) for name, rows in found.items()}


def _steps(at: int, name: str, kind: ColumnKind, table: str) -> str | None:
    """Place, step from 0, rows. By names of ours alone outside the innermost: the table's may be the same."""
    if kind in _NUMBERS:
        value = f"CAST({name} AS DOUBLE)"
    elif kind in _MOMENTS:
        value = f"epoch(CAST({name} AS TIMESTAMP))"
    else:
        return None
    here = f"FROM {table} WHERE isfinite({value})"
    return (
        f"(SELECT {literal(str(at))}, CAST(least(floor((v - l) / (h - l) * {_STEPS}), {_STEPS - 1}) AS INT), "
        f"count(*) FROM (SELECT {value} AS v {here}), (SELECT min({value}) AS l, max({value}) AS h {here}) "
        "WHERE h > l AND isfinite(h - l) GROUP BY 2)"
    )


def _parts(columns: Sequence[Column]) -> Iterator[Sequence[Column]]:
    """As many columns at once as fit into one query."""
    part: list[Column] = []
    size = 0
    for column in columns:
        cost = 300 + 8 * len(quoted(column.name).encode())
        if part and (len(part) == _COLUMNS_A_QUERY or size + cost > _LONGEST_QUERY):
            yield part
            part, size = [], 0
        part.append(column)
        size += cost
    if part:
        yield part


def _first(columns: Sequence[Column]) -> Sequence[Column]:
    """Those that a person can look at side by side."""
    shown = columns[:_SIDE_BY_SIDE]
    while sum(len(quoted(c.name).encode()) + 2 for c in shown) > _LONGEST_QUERY:
        shown = shown[:-1]
    return shown if len(shown) < len(columns) else columns


def _aggregates(column: Column) -> Iterator[str]:
    name = quoted(column.name)
    yield f"count({name})"
    yield f"approx_count_distinct({name})"
    for least_or_most in ("min", "max"):
        compared = column.type.kind in _COMPARED
        yield f"left(CAST({least_or_most}({name}) AS VARCHAR), {_LONGEST})" if compared else "NULL"
    yield f"max(length({name}))" if column.type.kind is ColumnKind.STRING else "NULL"


def _number(value: object) -> int:
    return int(str(value))


def _text(value: object) -> str | None:
    return None if value is None else str(value)
