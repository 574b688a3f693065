"""One action per key: each rule by example, then random chunks against brute force."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.model import FLOAT, INTEGER, STRING, ChunkType, Column
from headrace.reducing import Reduced, Reducer, StagedFile

UPSERT, DELETE = ChunkType.UPSERT, ChunkType.DELETE
COLUMNS = (Column("id", INTEGER), Column("k", STRING), Column("n", FLOAT), Column("v", STRING))
ARROW = {INTEGER: pa.int64(), STRING: pa.string(), FLOAT: pa.float64()}

Row = dict[str, object]


@dataclass(frozen=True)
class Sent:
    """A staged chunk: the columns that it has, and its rows."""

    type: ChunkType
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]

    def dicts(self) -> list[Row]:
        """What a chunk lacks is NULL."""
        nothing: Row = dict.fromkeys(c.name for c in COLUMNS)
        return [{**nothing, **dict(zip(self.columns, row, strict=True))} for row in self.rows]


def upserts(columns: str, *rows: tuple[object, ...]) -> Sent:
    return Sent(UPSERT, tuple(columns.split()), rows)


def deletes(columns: str, *rows: tuple[object, ...]) -> Sent:
    return Sent(DELETE, tuple(columns.split()), rows)


@dataclass(frozen=True)
class Outcome:
    """What is left: whole rows of the upserts, keys of the deletes, both sorted."""

    upserts: list[tuple[object, ...]]
    deletes: list[tuple[object, ...]]
    dropped: int


def reduced(
    reducer: Reducer,
    sent: Sequence[Sent],
    keys: Sequence[str],
    order: str | None = None,
    allow_duplicate: bool = False,
) -> tuple[Outcome, Reduced, list[Path]]:
    """The outcome in the files that the reducer names, what it says of it, and the files it was given."""
    with tempfile.TemporaryDirectory(prefix="headrace-reducing-") as name:
        files = [_staged(Path(name), n, chunk) for n, chunk in enumerate(sent, 1)]
        told = reducer.reduce(
            files, COLUMNS, keys, order=order, allow_duplicate=allow_duplicate, folder=Path(name)
        )
        names = [c.name for c in COLUMNS]
        outcome = Outcome(_rows(told.upserts, names), _rows(told.deletes, keys), told.dropped)
        assert (told.upsert_rows, told.delete_rows) == (len(outcome.upserts), len(outcome.deletes))
        return outcome, told, [f.path for f in files]


def _staged(folder: Path, number: int, chunk: Sent) -> StagedFile:
    types = {c.name: ARROW[c.type] for c in COLUMNS}
    schema = pa.schema([(name, types[name]) for name in chunk.columns])
    rows = [dict(zip(chunk.columns, row, strict=True)) for row in chunk.rows]
    path = folder / f"{number}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    columns = tuple(c for c in COLUMNS if c.name in chunk.columns)
    return StagedFile(path, number, chunk.type, len(rows), columns)


def _rows(paths: Sequence[Path], names: Sequence[str]) -> list[tuple[object, ...]]:
    rows = [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]
    return sorted((tuple(row.get(name) for name in names) for row in rows), key=_sortable)


def _sortable(row: Sequence[object]) -> list[tuple[bool, str]]:
    return [(value is not None, str(value)) for value in row]


# -- brute force ---------------------------------------------------------------------------------------


def brute_force(sent: Sequence[Sent], keys: Sequence[str], order: str | None, allow: bool) -> Outcome:
    """Look at each action and at all others of its key."""
    actions = [(chunk.type is DELETE, row) for chunk in sent for row in chunk.dicts()]
    left = [a for n, a in enumerate(actions) if not keys or _counts(n, actions, keys, order, allow)]
    names = [c.name for c in COLUMNS]
    return Outcome(
        sorted((tuple(map(row.get, names)) for gone, row in left if not gone), key=_sortable),
        sorted((tuple(map(row.get, keys)) for gone, row in left if gone), key=_sortable),
        len(actions) - len(left),
    )


def _counts(
    n: int, actions: Sequence[tuple[bool, Row]], keys: Sequence[str], order: str | None, allow: bool
) -> bool:
    """No other action of the same key comes later; with duplicates allowed only deletes come in between."""

    def place(m: int) -> tuple[bool, float, int]:
        value = actions[m][1].get(order) if order else None
        return value is not None, float(str(value)) if value is not None else 0.0, m

    def key(m: int) -> list[object]:
        return [actions[m][1].get(k) for k in keys]

    later = [m for m in range(len(actions)) if key(m) == key(n) and place(m) > place(n)]
    if allow and not actions[n][0]:
        return not any(actions[m][0] for m in later)
    return not later


values = {
    "id": st.sampled_from([None, 1, 2, 3]),
    "k": st.sampled_from([None, "", "a"]),
    "n": st.sampled_from([None, -1.0, 0.5, 9.0, 10.0]),
    "v": st.sampled_from([None, "x", "y", "z"]),
}


@st.composite
def staged_chunks(draw: st.DrawFn) -> Sent:
    """Any of the columns: one that held nothing but NULL is not in the file, be it a key."""
    columns = tuple(draw(st.lists(st.sampled_from(sorted(values)), min_size=1, unique=True)))
    rows = draw(st.lists(st.tuples(*(values[name] for name in columns)), max_size=6))
    return Sent(draw(st.sampled_from([UPSERT, UPSERT, DELETE])), columns, tuple(rows))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(staged_chunks(), max_size=4),
    st.sampled_from([(), ("id",), ("k",), ("id", "k"), ("n",)]),
    st.sampled_from([None, None, "n"]),
    st.booleans(),
)
def test_what_is_left_is_what_brute_force_leaves(
    reducer: Reducer, sent: list[Sent], keys: tuple[str, ...], order: str | None, allow: bool
) -> None:
    outcome, told, files = reduced(reducer, sent, keys, order, allow)
    assert outcome == brute_force(sent, keys, order, allow)
    if told.unique:
        left = _rows_of_keys(outcome, keys) + outcome.deletes
        assert keys
        assert len(set(left)) == len(left)
    if not told.dropped:
        assert keys == () or told.unique or allow
    if not keys:
        assert {*told.upserts, *told.deletes} <= set(files), "nothing is written anew"


def _rows_of_keys(outcome: Outcome, keys: Sequence[str]) -> list[tuple[object, ...]]:
    places = [[c.name for c in COLUMNS].index(k) for k in keys]
    return [tuple(row[p] for p in places) for row in outcome.upserts]


# -- the rules, one by one -----------------------------------------------------------------------------


def test_without_keys_all_rows_count(reducer: Reducer) -> None:
    outcome, told, files = reduced(reducer, [upserts("v", ("x",), ("x",)), upserts("v", ("x",))], ())
    assert len(outcome.upserts) == 3
    assert (told.upserts, told.dropped, told.unique) == (tuple(files), 0, False)


def test_chunks_without_a_repeated_key_stay_the_files_they_are(reducer: Reducer) -> None:
    sent = [upserts("id v", (1, "x"), (None, "y")), deletes("id", (2,)), upserts("id", (3,))]
    _, told, files = reduced(reducer, sent, ["id"])
    assert (told.upserts, told.deletes) == ((files[0], files[2]), (files[1],))
    assert (told.dropped, told.unique) == (0, True)


def numbered(folder: Path, *numbers: str) -> list[StagedFile]:
    """A chunk for each query of ``id``."""
    files = []
    for n, query in enumerate(numbers, 1):
        path = folder / f"{n}.parquet"
        copy = f"COPY (SELECT id::BIGINT AS id, 'v' AS v FROM ({query})) TO '{path}' (FORMAT parquet)"
        rows = duckdb.connect().execute(copy).fetchall()[0][0]
        files.append(StagedFile(path, n, UPSERT, rows, (COLUMNS[0], COLUMNS[3])))
    return files


@pytest.mark.parametrize("memory", ["", "SET memory_limit='1MB'"], ids=["enough", "too little to look"])
def test_one_key_that_repeats_among_many_is_found(tmp_path: Path, memory: str) -> None:
    made = Reducer(memory_mb=512, temp=tmp_path / "temp")
    made._looking.execute(memory)
    try:
        for other, rows in (("SELECT 300_000 AS id", 300_001), ("SELECT 299_999 AS id", 300_000)):
            files = numbered(tmp_path, "SELECT range AS id FROM range(300_000)", other)
            told = made.reduce(files, COLUMNS, ["id"], order=None, allow_duplicate=False, folder=tmp_path)
            assert (told.upsert_rows, told.dropped, told.unique) == (rows, 300_001 - rows, True)
    finally:
        made.close()


def test_numbers_that_are_equal_are_one_key(reducer: Reducer) -> None:
    sent = [
        upserts("n v", (0.0, "x"), (float("nan"), "x")),
        upserts("n v", (-0.0, "y"), (-float("nan"), "y")),
    ]
    outcome, told, _ = reduced(reducer, sent, ["n"])
    assert told.dropped == 2
    assert [row[3] for row in outcome.upserts] == ["y", "y"]


def test_empty_chunks_do_not_count(reducer: Reducer) -> None:
    _, told, files = reduced(reducer, [upserts("id"), deletes("id"), upserts("id", (1,))], ["id"])
    assert (told.upserts, told.deletes) == ((files[2],), ())


def test_the_last_action_wins(reducer: Reducer) -> None:
    sent = [upserts("id v", (1, "x"), (1, "y"), (2, "x")), deletes("id", (2,)), upserts("id v", (3, "x"))]
    outcome, told, _ = reduced(reducer, sent, ["id"])
    assert outcome == Outcome([(1, None, None, "y"), (3, None, None, "x")], [(2,)], 2)
    assert told.unique


def test_the_largest_value_wins_and_null_is_the_smallest(reducer: Reducer) -> None:
    sent = [upserts("id n v", (1, 10.0, "x"), (1, 9.0, "y"), (1, None, "z"))]
    assert reduced(reducer, sent, ["id"], "n")[0].upserts == [(1, None, 10.0, "x")]


def test_ties_go_by_arrival(reducer: Reducer) -> None:
    sent = [upserts("id n v", (1, 1.0, "x"), (1, 1.0, "y")), upserts("id n v", (1, 1.0, "z"))]
    assert reduced(reducer, sent, ["id"], "n")[0].upserts == [(1, None, 1.0, "z")]
    assert reduced(reducer, sent[::-1], ["id"], "n")[0].upserts == [(1, None, 1.0, "y")]


def test_null_is_a_key_like_any_other(reducer: Reducer) -> None:
    sent = [upserts("id k v", (None, "a", "x"), (None, "a", "y"), (None, None, "z"))]
    outcome = reduced(reducer, sent, ["id", "k"])[0]
    assert outcome.upserts == [(None, None, None, "z"), (None, "a", None, "y")]


def test_allowed_duplicates_count_back_to_the_last_delete(reducer: Reducer) -> None:
    sent = [
        upserts("id v", (1, "x"), (2, "x")),
        deletes("id", (1,), (2,)),
        upserts("id v", (1, "y"), (1, "z")),
    ]
    outcome, told, _ = reduced(reducer, sent, ["id"], allow_duplicate=True)
    assert outcome == Outcome([(1, None, None, "y"), (1, None, None, "z")], [(2,)], 3)
    assert not told.unique


def test_many_rows_in_one_chunk_keep_their_order(reducer: Reducer) -> None:
    """More than the engine reads at once: its threads must not decide who is last."""
    rows = tuple((key, f"{key} {turn}") for turn in range(4) for key in range(50_000))
    outcome, _, _ = reduced(reducer, [upserts("id v", *rows)], ["id"])
    assert outcome.dropped == 150_000
    assert {row[3] for row in outcome.upserts} == {f"{key} 3" for key in range(50_000)}
