"""Any table, written in any dialect that the options can express, reads back equal: our own reader."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import csvcases
from counted import counted
from csvcases import Case
from headrace.csvrecords import BadRecord, Dialect, Places, first_record, lines, rewrite

CASES = int(os.environ.get("HEADRACE_CSV_READ", "40000"))
PARTS = 6


def told(made: Case) -> tuple[list[tuple[int, list[str | None]]], list[tuple[int, str, int]]]:
    """What our reader says: records with their lines, rejects with code and place."""
    plain, bad = io.BytesIO(), list[BadRecord]()
    rewrite(io.BytesIO(made.data), plain, made.dialect, width=len(made.names), on_bad=bad.append)
    places = Places(io.BytesIO(made.data), made.dialect)
    rows = plain_rows(plain.getvalue(), made.dialect.plain.separator)
    return [(int(line or 0), row) for line, *row in rows], [
        (b.line, b.code, places.of_line(b.line)) for b in bad
    ]


def plain_rows(data: bytes, separator: str) -> Iterator[list[str | None]]:
    """Plain CSV needs no more than this to be read."""
    mark = re.escape(separator)
    cell = re.compile(rf'(?:"((?:[^"]|"")*)"|([^"{mark}\n]*))({mark}|\n)')
    text, row, at = data.decode(), [], 0
    while at < len(text):
        found = cell.match(text, at)
        assert found, text[at : at + 40]
        row.append(found[2] or None if found[1] is None else found[1].replace('""', '"'))
        at = found.end()
        if found[3] == "\n":
            yield row
            row = []


def difference(made: Case) -> str | None:
    rows, rejects = told(made)
    header = first_record(made.data, made.dialect, complete=True)
    expected = made.rejects
    if made.charset in csvcases.STATEFUL:  # what comes before may be written in several ways
        rejects, expected = [(*r[:2], 0) for r in rejects], [(*r[:2], 0) for r in expected]
    if (header, rows, rejects) == (made.names, made.rows, expected):
        return None
    return f"{made}\n  header {header}\n  rows {rows}\n  rejects {rejects}"


@pytest.mark.parametrize("part", range(PARTS))
def test_any_table_in_any_dialect(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = range(part, CASES, PARTS)
    differences = []
    for number in numbers:
        # a file of some bytes, cut into blocks at any place, reads like a file of gigabytes
        monkeypatch.setattr(lines, "BLOCK", 1 << 20 if number % 3 else 4 + number % 23)
        if found := difference(csvcases.case(number)):
            differences.append(f"case {number}: {found}")
    counted("csv conformance, reader", len(numbers), len(differences))
    assert not differences, "\n".join(differences[:3])


# -- hypothesis, for the smallest table that goes wrong -------------------------------------------------

SEPARATORS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1, max_size=4
)
ONE = st.characters(exclude_categories=["Cs"], exclude_characters="\r\n ")


@st.composite
def dialects(draw: st.DrawFn) -> Dialect:
    """Of any characters at all."""
    separator, quote = draw(SEPARATORS), draw(ONE)
    escape = draw(st.sampled_from([None, quote]) | ONE)
    ending = draw(st.sampled_from([None, "\n", "\r\n"]) | SEPARATORS)
    try:
        found = Dialect(separator, quote, escape, ending)
    except ValueError:
        found = Dialect()
    return found if csvcases._writable(found) else Dialect()


@settings(max_examples=400)
@given(st.data(), dialects())
def test_dialects_of_any_characters(data: st.DataObject, dialect: Dialect) -> None:
    quote, escape = dialect.quote or "", dialect.own_escape
    marks = st.sampled_from(
        [*dialect.separator, quote, dialect.escape or quote, *"\r\n ", *(dialect.own_ending or "")]
    )
    text = st.text(marks | st.characters(exclude_categories=["Cs"]), max_size=6)
    width = data.draw(st.integers(1, 3))
    names = [f"c{n}" for n in range(width)]
    rows = data.draw(st.lists(st.lists(st.none() | text, min_size=width, max_size=width), max_size=4))

    def spelled(cell: str | None) -> str:
        if cell is None:
            return ""
        doubled = cell.replace(escape, escape * 2) if escape else cell
        return quote + doubled.replace(quote, (escape or quote) + quote) + quote

    ending = dialect.own_ending or "\n"
    written = [dialect.separator.join(map(spelled, row)) for row in ([*names], *rows)]
    made = Case(dialect, "utf-8", names, "".join(line + ending for line in written).encode())
    line = 1
    for row, record in zip(([*names], *rows), written, strict=True):
        if line > 1 and (record or width == 1):
            made.rows.append((line, [*row]))
        one_more = record + ending
        line += one_more.count(ending) if dialect.own_ending else len(csvcases.ENDING.findall(one_more))
    found = difference(made)
    counted("csv conformance, hypothesis", 1, int(bool(found)))
    assert found is None, found


@settings(max_examples=400)
@given(
    st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), min_size=2, max_size=2)),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from([",", ";", "\t", "|", "→"]),
)
def test_what_the_csv_module_writes_it_and_we_read_alike(
    rows: list[list[str]], quoting: int, separator: str
) -> None:
    rows = [["a", "b"], *rows]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, quoting=quoting, lineterminator="\r\n").writerows(rows)
    theirs = list(csv.reader(io.StringIO(text.getvalue(), newline=""), delimiter=separator, strict=True))
    made = Case(Dialect(separator), "utf-8", ["a", "b"], text.getvalue().encode())
    ours, rejects = told(made)
    same = [[cell or "" for cell in row] for _, row in ours] == theirs[1:] == rows[1:] and not rejects
    counted("csv conformance, hypothesis", 1, int(not same))
    assert same, (ours, theirs)
