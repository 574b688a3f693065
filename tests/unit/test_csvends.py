"""A bound for the records of a CSV is never too small, and mostly small enough to be of use."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import duckdb
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.csvrecords import Dialect, read_directly
from headrace.csvrecords.ends import Ends

cells = st.text('a", \n', max_size=12)
rows = st.lists(st.lists(cells, min_size=1, max_size=3), max_size=12)


def written(table: list[list[str]], quoting: int) -> list[bytes]:
    """The records as they stand in the file."""
    records = []
    for row in table:
        out = io.StringIO()
        csv.writer(out, quoting=quoting, lineterminator="\n").writerow(row)
        records.append(out.getvalue().encode())
    return records


@settings(max_examples=500)
@given(rows, st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.integers(1, 40))
@example([["a\n" * 20], ['"\n'], ["\n,"]], csv.QUOTE_MINIMAL, 7)
@example([['a"\n"b', "\n\n\n"]], csv.QUOTE_ALL, 3)
def test_it_is_never_too_small(table: list[list[str]], quoting: int, block: int) -> None:
    records = written(table, quoting)
    data, ends = b"".join(records), Ends(b'"', b",")
    for at in range(0, len(data), block):
        ends.see(data[at : at + block])
    assert ends.longest >= max(map(len, records), default=0)


@settings(max_examples=200)
@given(st.lists(st.text("a \n", max_size=9), max_size=9), st.integers(1, 40))
def test_without_quotes_each_line_is_a_record(lines: list[str], block: int) -> None:
    data, ends = "\n".join(lines).encode(), Ends(b"", b",")
    for at in range(0, len(data), block):
        ends.see(data[at : at + block])
    longest = max((len(line) for line in data.splitlines(keepends=True)), default=0)
    assert longest <= ends.longest <= longest + 2 * block


def test_it_is_small_where_records_are(tmp_path: Path) -> None:
    path = tmp_path / "chunk.csv"
    line = b'%d,"Change Price, manual","Cancel ""Order""",2024-01-01\n'
    path.write_bytes(b"a,b,c,d\n" + b"".join(line % n for n in range(100_000)))
    direct = read_directly(path, Dialect())
    assert direct and direct.longest <= 2 << 18


def test_a_long_record_among_short_ones_is_read(tmp_path: Path) -> None:
    path = tmp_path / "chunk.csv"
    long, short = '"\n' * (2 << 20), [f"row {n}" for n in range(60_000)]
    with path.open("w", newline="") as out:
        csv.writer(out, lineterminator="\n").writerows(
            [["a", "b"], *([v, ""] for v in (*short, long, *short))]
        )
    direct = read_directly(path, Dialect())
    assert direct and 6 << 20 < direct.longest < 8 << 20
    read = (
        f"read_csv('{path}', auto_detect = false, strict_mode = true, header = true, quote = '\"', "
        f"columns = {{'a': 'VARCHAR', 'b': 'VARCHAR'}}, max_line_size = {direct.longest}, "
        f"buffer_size = {direct.longest})"
    )
    told = duckdb.connect().execute(f"SELECT count(*), max(length(a)) FROM {read}").fetchall()
    assert told == [(120_001, len(long))]
