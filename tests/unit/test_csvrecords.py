"""CSV records: each rule by example, then round trips through real DuckDB."""

from __future__ import annotations

import codecs
import csv
import encodings
import io
import pkgutil
import tempfile
from pathlib import Path
from time import process_time

import duckdb
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from headrace.csvrecords import (
    BadRecord,
    Dialect,
    MalformedRecord,
    Places,
    direct,
    direct_dialect,
    first_record,
    lines,
    records_of,
    rewrite,
    rewriting,
)
from headrace.csvrecords.dialect import extends_ascii

CONNECTION = duckdb.connect(config={"threads": "1"})
FOLDER = Path(tempfile.mkdtemp(prefix="headrace-csv-"))
Rows = list[list[str | None]]

BACKSLASH = Dialect(escape="\\")
SEMICOLON = Dialect(";")


def duckdb_rows(path: Path, dialect: Dialect, width: int, options: str) -> Rows:
    names = ", ".join(f"'c{n}': 'VARCHAR'" for n in range(width))
    sql = f"""SELECT * FROM read_csv(?, auto_detect = false, strict_mode = true, nullstr = '',
        allow_quoted_nulls = false, columns = {{{names}}}, delim = ?, quote = ?, escape = ?, {options})"""
    marks = [dialect.separator, dialect.quote or "", dialect.escape or ""]
    return [list(row) for row in CONNECTION.execute(sql, [str(path), *marks]).fetchall()]


def records(data: bytes, width: int, dialect: Dialect = Dialect()) -> tuple[Rows, list[BadRecord]]:
    """The records of a file as DuckDB reads them from the rewritten one, each with its line in front."""
    destination = FOLDER / "plain.csv"
    bad: list[BadRecord] = []
    options = "header = false, new_line = '\\n', max_line_size = 100_000_000, buffer_size = 400_000_000"
    with destination.open("wb") as out:
        written = rewrite(io.BytesIO(data), out, dialect, width=width, on_bad=bad.append)
    rows = duckdb_rows(destination, dialect.plain, width + 1, options)
    assert written == len(rows)
    return rows, bad


def only_good(data: bytes, width: int, dialect: Dialect = Dialect()) -> Rows:
    rows, bad = records(data, width, dialect)
    assert bad == []
    return rows


# -- the rules, one by one -----------------------------------------------------------------------------

GOOD: list[tuple[str, Dialect, Rows]] = [
    ("a,b\n1,2\n3,4\n", Dialect(), [["2", "1", "2"], ["3", "3", "4"]]),
    ("a,b\n1,2\n3,4", Dialect(), [["2", "1", "2"], ["3", "3", "4"]]),
    ("a,b\r1,2\n3,4\r\n5,6\n\r7,8", Dialect(), [[*"212"], [*"334"], [*"456"], [*"678"]]),
    ("a,b\n\n\r\n1,2\n\n", Dialect(), [["4", "1", "2"]]),
    ("\n\r\na,b\n1,2\n", Dialect(), [["4", "1", "2"]]),
    ("a,b\n,\n", Dialect(), [["2", None, None]]),
    ('a,b\n"",""\n', Dialect(), [["2", "", ""]]),
    ('a,b\n"x""y",""""\n', Dialect(), [["2", 'x"y', '"']]),
    ('a,b\n  "x"  ,  "y"  \n', Dialect(), [["2", "x", "y"]]),
    ('a,b\n  x  ," y "\n', Dialect(), [["2", "  x  ", " y "]]),
    ('a,b\nx"y,z"\n', Dialect(), [["2", 'x"y', 'z"']]),
    ('a,b\n\t"x",1\n', Dialect(), [["2", '\t"x"', "1"]]),
    ('a,b\n"x\ny","\r\n\r"\n1,2', Dialect(), [["2", "x\ny", "\r\n\r"], ["6", "1", "2"]]),
    ('"a\nx",b\n1,2\n', Dialect(), [["3", "1", "2"]]),
    ("a,b\n1,2,\n3,4,,\n", Dialect(), [["2", "1", "2"], ["3", "3", "4"]]),
    ("a,b\n1,x\x00y\n", Dialect(), [["2", "1", "x\x00y"]]),
    ("a,b\n1,\u2028\x0b\x1c\x85\n", Dialect(), [["2", "1", "\u2028\x0b\x1c\x85"]]),
    ('a,b\n"x\\",\\\n', Dialect(), [["2", "x\\", "\\"]]),
    ('a,b\n"x\\"y","\\\\"\n', BACKSLASH, [["2", 'x"y', "\\"]]),
    ('a,b\n"x""y","\\n\\"\n\\""', BACKSLASH, [["2", 'x"y', '\\n"\n"']]),
    ('a,b\nx\\,\\"y\n', BACKSLASH, [["2", "x\\", '\\"y']]),
    ('a,b\n"x","\\\\"\n', BACKSLASH, [["2", "x", "\\"]]),
    ('a,b\n"x,"y\n', Dialect(quote=None), [["2", '"x', '"y']]),
    ('a,b\n"",\n', Dialect(quote=""), [["2", '""', None]]),
    ('a;b\n1,5;"x"\n;2,5\n3;4\n', SEMICOLON, [["2", "1,5", "x"], ["3", None, "2,5"], ["4", "3", "4"]]),
    ("a;b\n'x;y';\"z\"\n", Dialect(";", "'"), [["2", "x;y", '"z"']]),
    ("a b\n  \n", Dialect(" "), [["2", None, None]]),
    ('a b\n"x" "y z"\n', Dialect(" "), [["2", "x", "y z"]]),
    ("a<§§§>b\n1<§§§>2\n", Dialect("<§§§>"), [["2", "1", "2"]]),
    ('a<||>b\n"1" <||> "2"\n', Dialect("<||>"), [["2", "1", "2"]]),
    ("a→b\n«x→««y«→2\n", Dialect("→", "«", None), [["2", "x→«y", "2"]]),
    ('a;b;\n1\n;2;\n"3;\n";4', Dialect(";", line_ending=";\n"), [["2", "1\n", "2"], ["3", "3;\n", "4"]]),
    ('a,b|1,x\ny|"2|",\r|', Dialect(line_ending="|"), [["2", "1", "x\ny"], ["3", "2|", "\r"]]),
    ("a,b|||1,2|||3,|4", Dialect(line_ending="|||"), [["2", "1", "2"], ["3", "3", "|4"]]),
    ("a,b", Dialect(), []),
    ("", Dialect(), []),
    ("\n", Dialect(), []),
]


@pytest.mark.parametrize(("text", "dialect", "expected"), GOOD)
def test_two_columns(text: str, dialect: Dialect, expected: Rows) -> None:
    assert only_good(text.encode(), 2, dialect) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n1\n\n2\n\n", [["2", "1"], ["3", None], ["4", "2"], ["5", None]]),
        ("\na\n1", [["3", "1"]]),
        ('a\n""\n\r\n" "', [["2", ""], ["3", None], ["4", " "]]),
        ("a\n \n1,\n", [["2", " "], ["3", "1"]]),
        ("a\n", []),
    ],
)
def test_one_column(text: str, expected: Rows) -> None:
    assert only_good(text.encode(), 1) == expected


BAD: list[tuple[bytes, Dialect, Rows, list[tuple[int, str, str]]]] = [
    (b'a,b\n"x"y,1\n3,4', Dialect(), [["3", "3", "4"]], [(2, "text-after-quote", '"x"y,1')]),
    (b'a,b\n"x"\t,1\n3,4', Dialect(), [["3", "3", "4"]], [(2, "text-after-quote", '"x"\t,1')]),
    (b'a,b\n"x"  "y",1\n3,4', Dialect(), [["2", "x  y", "1"], ["3", "3", "4"]], []),
    (b'a,b\n1,"x\ny"z\n3,4', Dialect(), [["4", "3", "4"]], [(2, "text-after-quote", '1,"x\ny"z')]),
    (b"a,b\n1\n3,4", Dialect(), [["3", "3", "4"]], [(2, "too-few-fields", "1")]),
    (b"a,b\n  \n3,4", Dialect(), [["3", "3", "4"]], [(2, "too-few-fields", "  ")]),
    (b"a,b\n1,2,3\n3,4", Dialect(), [["3", "3", "4"]], [(2, "too-many-fields", "1,2,3")]),
    (b'a,b\n1,2,""\n3,4', Dialect(), [["3", "3", "4"]], [(2, "too-many-fields", '1,2,""')]),
    (b'a,b\n1,"x\n3,4\n', Dialect(), [["3", "3", "4"]], [(2, "unclosed-quote", '1,"x')]),
    (b'a,b\n1,"', Dialect(), [], [(2, "unclosed-quote", '1,"')]),
    (
        b'a,b\n1,"x\n3\n"5"6,7\n8,9\n',
        Dialect(),
        [["5", "8", "9"]],
        [(2, "text-after-quote", '1,"x\n3\n"5"6,7')],
    ),
    (
        b'a,b\n"x\n3\n\n4,5\r\n',
        Dialect(),
        [["5", "4", "5"]],
        [(2, "unclosed-quote", '"x'), (3, "too-few-fields", "3")],
    ),
    (b'a,"b\n1,2\n', Dialect(), [["2", "1", "2"]], [(1, "unclosed-quote", 'a,"b')]),
    (b"a,b\n1,\xff\n3,4", Dialect(), [["3", "3", "4"]], [(2, "undecodable", "1,\ufffd")]),
    (b'a,b\n1,"\xff\n"\n3,4', Dialect(), [["4", "3", "4"]], [(2, "undecodable", '1,"\ufffd\n"')]),
    (b"a,b\n1,\xed\xa0\x80\n3,4", Dialect(), [["3", "3", "4"]], [(2, "undecodable", "1,\ufffd\ufffd\ufffd")]),
    (b"a,b\n1,\x81\n\xdf,4", Dialect(charset="cp1252"), [["3", "ß", "4"]], [(2, "undecodable", "1,\ufffd")]),
    (b"a,b\n1,2\n3,4\xc3", Dialect(), [["2", "1", "2"]], [(3, "undecodable", "3,4\ufffd")]),
]


@pytest.mark.parametrize(("data", "dialect", "rows", "problems"), BAD)
def test_bad_records_are_named_and_the_others_kept(
    data: bytes, dialect: Dialect, rows: Rows, problems: list[tuple[int, str, str]]
) -> None:
    found, bad = records(data, 2, dialect)
    assert found == rows
    assert [(b.line, b.code, b.raw) for b in bad] == problems


def test_raw_text_is_kept_whole_up_to_a_mebi() -> None:
    longest = 1 << 20
    _, bad = records(
        b"a,b\n" + b"x" * longest + b"\n" + b"x" * (longest + 1) + b"\n" + b'"' + b"y\n" * 500, 2
    )
    assert [(len(b.raw), b.whole) for b in bad[:3]] == [(longest, True), (2000, False), (2, True)]
    assert bad[2].message == "a quote is opened and never closed"


@pytest.mark.parametrize(
    ("data", "charset", "raw", "kept"),
    [
        (b"a,b\n1\n", "utf-8", "1", None),
        (b"a,b\n1,caf\xe9\n", "utf-8", "1,caf\ufffd", b"1,caf\xe9"),
        (b"a,b\n1,caf\x81\xe9\n", "cp1252", "1,caf\ufffdé", b"1,caf\x81\xe9"),
    ],
)
def test_bytes_of_records_that_the_charset_does_not_have_are_kept(
    data: bytes, charset: str, raw: str, kept: bytes | None
) -> None:
    _, [bad] = records(data, 2, Dialect(charset=charset))
    assert (bad.raw, bad.data, bad.whole) == (raw, kept, True)


def test_bytes_that_are_not_sure_are_not_kept() -> None:
    _, [bad] = records("a,b\n1,".encode("utf-16-le") + b"\x00\xd8\n\x00", 2, Dialect(charset="utf-16-le"))
    assert (bad.code, bad.data, bad.whole) == ("undecodable", None, False)


@pytest.mark.parametrize(
    ("text", "dialect", "expected"),
    [
        ('1,"x', Dialect(quote=""), [["1", '"x']]),
        ('1,"x\n3\n"5"6,7', Dialect(quote=""), [["1", '"x'], ["3"], ['"5"6', "7"]]),
        ("1;2", Dialect(";"), [["1", "2"]]),
        ('1,"x\ny"', Dialect(), [["1", "x\ny"]]),
        ("1,x|2,y", Dialect(line_ending="|"), [["1", "x"], ["2", "y"]]),
        ("", Dialect(), []),
    ],
)
def test_records_of_a_text(text: str, dialect: Dialect, expected: list[list[str]]) -> None:
    assert records_of(text, dialect) == expected


@pytest.mark.parametrize("text", ['1,"x', '"1"2'])
def test_a_text_that_holds_no_whole_records(text: str) -> None:
    with pytest.raises(MalformedRecord):
        records_of(text, Dialect())


def test_lines_that_are_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK", 8)
    for module in (lines, rewriting):
        monkeypatch.setattr(module, "LONGEST", 20)
    data = b"a,b\n" + b'"' * 101 + b'\n1,2\n"x\n' + b"5,6\n" * 8 + b"y" * 99
    rows, bad = records(data, 2)
    assert rows == [["3", "1", "2"]] + [[str(n), "5", "6"] for n in range(5, 13)]
    assert [(b.line, b.code) for b in bad] == [(2, "too-long"), (4, "unclosed-quote"), (13, "too-long")]


@pytest.mark.parametrize("piece", ["x" * 25, 'x"\n'])
def test_a_huge_cell_takes_linear_time(piece: str) -> None:
    """CPU: eight times the cell takes eight times as long, not 64 times."""
    small, large = (_cpu_of_a_cell(piece * times) for times in (250_000, 2_000_000))
    assert large < 24 * small


def _cpu_of_a_cell(cell: str) -> float:
    data = ('a,b\n"' + cell.replace('"', '""') + '",1\n2,3\n').encode()
    before = process_time()
    rows = only_good(data, 2)
    spent = process_time() - before
    assert rows[0][1] == cell
    assert rows[1][1:] == ["2", "3"]
    return spent


# -- charsets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("charset", "encoded"),
    [
        ("UTF8", "utf-8"),
        ("utf-8", "utf-8-sig"),
        ("UTF-16", "utf-16"),
        ("UTF-16", "utf-16-le"),
        ("utf-32", "utf-32"),
        ("utf-32", "utf-32-le"),
        ("windows-1252", "cp1252"),
        ("ISO-8859-1", "latin-1"),
    ],
)
def test_charsets(charset: str, encoded: str) -> None:
    data = "ä,b\n1,ö\n".encode(encoded)
    dialect = Dialect(charset=charset)
    assert first_record(data, dialect, complete=True) == ["ä", "b"]
    assert only_good(data, 2, dialect) == [["2", "1", "ö"]]


def _text_codecs() -> list[str]:
    """Every charset that this Python has and that a file may have."""
    found = set()
    for alias in {module.name for module in pkgutil.iter_modules(encodings.__path__)}:
        try:
            Dialect(charset=alias)
            found.add(codecs.lookup(alias).name)
        except ValueError:
            continue
    return sorted(found)


@pytest.mark.parametrize("charset", _text_codecs())
def test_every_charset_of_python_is_read_while_it_streams(
    charset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = "".join(map(chr, (*range(32, 0x250), *range(0x370, 0x500), *range(0x3041, 0x30FF)))) + "中한字글"
    known = [c for c in sample if _survives(c, charset) and c not in '",\r\n\\\x85\u2028\u2029']
    rows: Rows = [[f"r{n}", "".join(known[n::7])[:200]] for n in range(7)]
    text = "a,b\r\n" + "".join(f'{one},"{two}"\r\n' for one, two in rows)
    data = text.encode(charset)
    for block in (5, 64, 1 << 20):
        monkeypatch.setattr(lines, "BLOCK", block)
        found, bad = records(data, 2, Dialect(charset=charset))
        assert ([row[1:] for row in found], bad) == ([[one, two or ""] for one, two in rows], [])
        places = Places(io.BytesIO(data), Dialect(charset=charset))
        start = places.of_line(5)
        announced = b"\x1b$)C" if charset == "iso2022_kr" else b""  # once, before its first use
        rest = (announced + data[start:]).decode(Dialect(charset=charset).codec(data))
        assert rest == text[text.index("r3,") :]


@pytest.mark.parametrize("charset", _text_codecs())
def test_ascii_is_read_as_such_only_where_it_always_is(charset: str) -> None:
    """Else the engine would read the bytes, and another text would stand in the table."""
    if not extends_ascii(codecs.lookup(charset).name):
        return
    for probe in (bytes(range(128)), b"\x1b$B'(\x1b(B", b"+AGE-", b"~{VP~}", b"\\x41\\n\\u0041", b"\x0e\x0f"):
        assert probe.decode(charset) == probe.decode("ascii")


def _survives(char: str, charset: str) -> bool:
    return char.encode(charset, "ignore").decode(charset, "ignore") == char


@pytest.mark.parametrize("charset", ["utf-16-be", "utf-32-be", "utf-16-le"])
@pytest.mark.parametrize("general", [True, False])
def test_byte_order_marks(charset: str, general: bool) -> None:
    dialect = Dialect(charset=charset[:6] if general else charset)
    assert only_good("\ufeffä,b\n1,ö\n".encode(charset), 2, dialect) == [["2", "1", "ö"]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"charset": "klingon"},
        {"charset": "base64"},
        {"charset": "idna"},
        {"charset": "punycode"},
        {"charset": "a\0b"},
        {"separator": ""},
        {"separator": "\n"},
        {"separator": '"'},
        {"quote": "''"},
        {"escape": "ab"},
        {"escape": ","},
        {"quote": "\n"},
        {"quote": " "},
        {"line_ending": ","},
        {"line_ending": '"\n'},
        {"separator": "||", "line_ending": "|"},
    ],
)
def test_impossible_dialects(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"charset|must"):
        Dialect(**wrong)


# -- the header ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "complete", "expected"),
    [
        (b"a,b\n1", False, ["a", "b"]),
        (b'\r\n\na,,""\n', False, ["a", None, ""]),
        (b'"a\nb",c\r\n', False, ["a\nb", "c"]),
        (b"a,b", False, None),
        (b"a,b", True, ["a", "b"]),
        (b"a,b\r", False, None),
        (b"a,b\r", True, ["a", "b"]),
        (b'"a\n', False, None),
        (b"\xef\xbb\xbfa\n\xc3", False, ["a"]),
        (b"\xef\xbb", False, None),
        (b"", False, None),
        (b"", True, None),
        (b"\n\n", True, None),
    ],
)
def test_first_record(head: bytes, complete: bool, expected: list[str | None] | None) -> None:
    assert first_record(head, Dialect(), complete=complete) == expected


@pytest.mark.parametrize(
    ("head", "complete", "code"),
    [
        (b'"a"b\n', False, "text-after-quote"),
        (b'"a\nb\n', True, "unclosed-quote"),
        (b"a\xff,b\n", False, "undecodable"),
        (b"a,\xc3", True, "undecodable"),
    ],
)
def test_malformed_header(head: bytes, complete: bool, code: str) -> None:
    with pytest.raises(MalformedRecord) as caught:
        first_record(head, Dialect(), complete=complete)
    assert caught.value.code == code


# -- what DuckDB may read itself -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "dialect", "expected"),
    [
        (b"", Dialect(), Dialect()),
        (b"a,b\n1,2", Dialect(), Dialect()),
        (b"a,b\n1,2", Dialect(line_ending="\r\n", charset="UTF8"), Dialect()),
        (b'a,b\n1," "\n" ","x "" y"', Dialect(), Dialect()),
        (b"a\n1,2", Dialect("§"), Dialect("§")),
        (b'a\n1,"2', Dialect("§"), None),
        (b"a\r\n1", Dialect(), None),
        (b'a\n  "', Dialect(), None),
        (b'a\n  ""', Dialect(), None),
        (b"a\n1,\0", Dialect(), None),
        (b"a,b\r\n1,2", Dialect(), Dialect()),
        (b"a\n1", Dialect(quote=None), Dialect(quote=None, escape=None)),
        (b"a\n1", Dialect(escape=None), Dialect()),
        (b"a\n1", BACKSLASH, Dialect()),
        (b"a\n1\\", BACKSLASH, None),
        (b"a\n1", Dialect(charset="cp1252"), Dialect()),
        (b"a\n\xe4", Dialect(charset="cp1252"), None),
        (b"a\n1", Dialect(charset="utf-16"), None),
        (b"a\n1", Dialect(charset="utf-7"), None),
        (b"a\n\x1b$B'(\x1b(B", Dialect(charset="iso2022_jp"), None),
        (b"a\n1", Dialect(charset="unicode_escape"), None),
        (b'a,b\n1,  "x"\n3,4\n', Dialect(), None),
        (b'a,b\n1, "x"\n3,4\n', Dialect(), Dialect()),
        (b'a,b\n1,  x\n3,"4"\n', Dialect(), Dialect()),
        (b"\na\n1", Dialect(), None),
        (b'"a\r"\n1', Dialect(), None),
        (b'"a"b\n1', Dialect(), None),
        (b"\xef\xbb\xbf\r\na\n1", Dialect(), None),
        (b'a,b\n"x" "y",1\n', Dialect(), Dialect()),
        (b'a,b\n"x"  "y",1\n', Dialect(), None),
        (b"a\n1", Dialect("<--->"), None),
        (b"a\n1", Dialect(" "), None),
        (b"a\n1", Dialect(quote="«"), None),
        (b"a\n1", Dialect(line_ending=";\n"), None),
    ],
)
def test_direct_dialect(data: bytes, dialect: Dialect, expected: Dialect | None) -> None:
    path = FOLDER / "direct.csv"
    path.write_bytes(data)
    assert direct_dialect(path, dialect) == expected


@pytest.mark.parametrize("before", range(6))
def test_a_late_quote_is_seen_across_blocks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, before: int
) -> None:
    monkeypatch.setattr(direct, "_SEARCHED", 4)
    path = tmp_path / "rows.csv"
    for quote, known in ((b'  "2"', None), (b' "2" ', Dialect())):
        path.write_bytes(b"a,b\n" + b"1" * before + b"," + quote + b"\n")
        assert direct_dialect(path, Dialect()) == known


# -- properties ----------------------------------------------------------------------------------------

CHARS = st.one_of(st.sampled_from(list("\"'\\,;| \n\r\tx\x00«§→")), st.characters(exclude_categories=["Cs"]))


def _encodable(dialect: Dialect) -> bool:
    """Whether the charset has the marks, and they are not the charset's own (``\\`` in Shift JIS)."""
    marks = f"{dialect.separator}{dialect.quote}{dialect.escape}{dialect.own_ending}"
    return marks.encode(dialect.charset, "ignore").decode(dialect.charset) == marks


DIALECTS = st.builds(
    Dialect,
    st.sampled_from([",", ";", "\t", "|", "§", "→", "<|>", "::::::", " "]),
    st.sampled_from(['"', "'", "«"]),
    st.sampled_from([None, '"', "\\", "^"]),
    st.sampled_from([None, "\n", "\r\n", "\r", "~\n", "~~"]),
    st.sampled_from(["utf-8", "utf-16", "utf-32-be", "cp1252", "gb18030", "utf-7", "shift_jis"]),
).filter(_encodable)


@st.composite
def tables(draw: st.DrawFn, charset: str) -> Rows:
    width = draw(st.integers(1, 3))
    text = st.text(CHARS, max_size=8).map(lambda t: t.encode(charset, "ignore").decode(charset, "ignore"))
    row = st.lists(st.none() | text, min_size=width, max_size=width)
    return [[f"c{n}" for n in range(width)], *draw(st.lists(row, max_size=6))]


def quoted(field: str, dialect: Dialect, own: bool) -> str:
    """As a client would: with doubled quotes, or with the dialect's own escape if it has one."""
    quote, escape = dialect.quote or "", dialect.escape
    if own and escape and escape != quote:
        field = field.replace(escape, escape * 2).replace(quote, escape + quote)
    elif escape and escape != quote:
        field = field.replace(escape, escape * 2).replace(quote, quote * 2)
    else:
        field = field.replace(quote, quote * 2)
    return quote + field + quote


def plain_enough(field: str, dialect: Dialect) -> bool:
    reserved = {dialect.quote or "", "\n", "\r", *dialect.separator, *(dialect.own_ending or ""), "\ufeff"}
    return bool(field) and not reserved & set(field)


def written(rows: Rows, dialect: Dialect, draw: st.DrawFn) -> bytes:
    def cell(field: str | None) -> str:
        if field is None:
            return ""
        if plain_enough(field, dialect) and draw(st.booleans()):
            return field
        blanks = "" if " " in dialect.separator else draw(st.sampled_from(["", "", " ", "  "]))
        return blanks + quoted(field, dialect, draw(st.booleans())) + blanks

    endings = [dialect.own_ending] if dialect.own_ending else ["\n", "\r\n"]
    lines = [dialect.separator.join(map(cell, row)) + draw(st.sampled_from(endings)) for row in rows]
    return "".join(lines).encode(dialect.charset)


@settings(max_examples=250, deadline=None)
@given(st.data(), DIALECTS, st.sampled_from([1, 2, 3, 7, 1 << 20]))
def test_every_dialect_survives(data: st.DataObject, dialect: Dialect, block: int) -> None:
    rows = data.draw(tables(dialect.charset))
    file = written(rows, dialect, data.draw)
    assume(not file.decode(dialect.charset).startswith("\ufeff\ufeff"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BLOCK", block)
        found = only_good(file, len(rows[0]), dialect)
    assert [row[1:] for row in found] == rows[1:]
    assert first_record(file, dialect, complete=True) == rows[0]


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.sampled_from(["\n", "\r\n"]))
def test_reads_what_the_csv_module_writes(data: st.DataObject, quoting: int, ending: str) -> None:
    # the module writes a \r without quotes, so that nobody can tell it from a line break
    rows = [[(field or "").replace("\r", "\n") for field in row] for row in data.draw(tables("utf-8"))]
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=quoting, lineterminator=ending).writerows(rows)
    found = only_good(buffer.getvalue().encode(), len(rows[0]))
    assert [[field or "" for field in row[1:]] for row in found] == rows[1:]


def _has_header(data: bytes, dialect: Dialect, width: int) -> bool:
    try:
        return len(first_record(data, dialect, complete=True) or ()) == width
    except MalformedRecord:
        return False


NOISE = st.text(st.sampled_from(list('"""",,,\n\n\r xß\\;§|\'')), max_size=40)
HEADED = st.builds(str.__add__, st.sampled_from(["", "a\n", "a,b\n", "a;b\r\n", "a§b\n", "a||b\r"]), NOISE)
SIMPLE_DIALECTS = st.builds(
    Dialect, st.sampled_from([",", ";", "§", "||"]), st.sampled_from(['"', "'", None]), st.just("\\")
)


@settings(max_examples=500, deadline=None)
@given(HEADED, st.sampled_from([1, 2, 3]), SIMPLE_DIALECTS)
@example('a,b\n"x"  "y",1\n', 2, Dialect())
@example('a\n""""|', 1, Dialect("||"))
@example("a\n\r\n", 1, Dialect())
@example("\na,b\n1,2\n", 2, Dialect())
def test_duckdb_never_misreads_what_it_reads_directly(text: str, width: int, dialect: Dialect) -> None:
    path = FOLDER / "noise.csv"
    path.write_text(text, newline="")
    direct = direct_dialect(path, dialect)
    if direct is None or not _has_header(text.encode(), dialect, width):
        return
    try:
        rows = duckdb_rows(path, direct, width, "header = true")
    except duckdb.Error:
        return
    found, bad = records(text.encode(), width, dialect)
    assert [row[1:] for row in found] == rows
    assert bad == []


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | NOISE.map(str.encode), st.integers(1, 8))
def test_blocks_do_not_matter(data: bytes, block: int) -> None:
    whole = records(data, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BLOCK", block)
        assert records(data, 2) == whole


@settings(max_examples=100, deadline=None)
@given(NOISE, st.integers(0, 40))
def test_a_cut_head_gives_the_same_header_or_none(text: str, length: int) -> None:
    data = text.encode()
    try:
        header = first_record(data[:length], Dialect(), complete=False)
    except MalformedRecord:
        with pytest.raises(MalformedRecord):
            first_record(data, Dialect(), complete=True)
        return
    assert header is None or header == first_record(data, Dialect(), complete=True)
